/*
 * fuzz_manifest.c - any bytes as the edits of a manifest.
 *
 * The input is records with two bytes of length each; they go through the log
 * writer, so the log's format is not in the way (fuzz_log.c has that).  A manifest
 * that is taken has levels in order; the set written anew reads the same.
 */
#include "engine/fuzz/fuzz.h"
#include "engine/manifest.h"

static void
write_records(LsmEnv *env, const uint8_t *data, size_t size)
{
	LsmLogWriter *log;
	LsmFile *file;
	char name[64];

	lsm_file_name(name, LSM_FILE_MANIFEST, 2);
	FUZZ_CHECK(lsm_file_open(env, name, LSM_OPEN_CREATE, &file, NULL) == LSM_OK);
	FUZZ_CHECK(lsm_log_writer_new(file, 0, &log, NULL) == LSM_OK);
	while (size >= 2)
	{
		size_t len = (size_t) data[0] | (size_t) data[1] << 8;

		len = len < size - 2 ? len : size - 2;
		FUZZ_CHECK(lsm_log_append(log, lsm_slice(data + 2, len), NULL) == LSM_OK);
		data += 2 + len;
		size -= 2 + len;
	}
	lsm_log_writer_free(log);
	lsm_file_close(file);
}

static void
check_levels(const LsmFiles *files)
{
	for (int l = 0; l < LSM_NUM_LEVELS; l++)
	{
		const LsmLevel *level = &files->levels[l];

		for (int i = 0; i < level->n; i++)
		{
			const LsmFileMeta *file = level->files[i];

			FUZZ_CHECK(lsm_ikey_ok(file->smallest) && lsm_ikey_ok(file->largest));
			FUZZ_CHECK(lsm_ikey_compare(file->smallest, file->largest) <= 0);
			if (i > 0 && l == 0)
				FUZZ_CHECK(level->files[i - 1]->number > file->number);
			else if (i > 0)
				FUZZ_CHECK(lsm_ikey_compare(level->files[i - 1]->largest, file->smallest) < 0);
		}
	}
}

static bool
same_files(const LsmFiles *a, const LsmFiles *b)
{
	for (int l = 0; l < LSM_NUM_LEVELS; l++)
	{
		if (a->levels[l].n != b->levels[l].n)
			return false;
		for (int i = 0; i < a->levels[l].n; i++)
		{
			const LsmFileMeta *x = a->levels[l].files[i];
			const LsmFileMeta *y = b->levels[l].files[i];

			if (x->number != y->number || x->size != y->size || !fuzz_same(x->smallest, y->smallest) ||
				!fuzz_same(x->largest, y->largest))
				return false;
		}
	}
	return true;
}

/* Of the first record alone: decoded, encoded, decoded, encoded gives the same bytes. */
static void
check_edit(const uint8_t *data, size_t size)
{
	LsmEdit edit = {0};
	LsmEdit again = {0};
	LsmBuf first = {0};
	LsmBuf second = {0};

	if (lsm_edit_decode(lsm_slice(data, size), &edit, "x", 0, NULL) == LSM_OK)
	{
		FUZZ_CHECK(lsm_edit_encode(&edit, &first));
		FUZZ_CHECK(lsm_edit_decode(lsm_buf_slice(&first), &again, "x", 0, NULL) == LSM_OK);
		FUZZ_CHECK(lsm_edit_encode(&again, &second));
		FUZZ_CHECK(fuzz_same(lsm_buf_slice(&first), lsm_buf_slice(&second)));
	}
	lsm_edit_free(&edit);
	lsm_edit_free(&again);
	lsm_buf_free(&first);
	lsm_buf_free(&second);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	LsmFollow follow;
	LsmStatus status;
	LsmError err;
	LsmEnv *env;

	if (size >= 2)
		check_edit(data + 2, size - 2);
	FUZZ_CHECK(lsm_env_sim_new(1, &env) == LSM_OK);
	write_records(env, data, size);
	lsm_follow_init(&follow, env);
	status = lsm_follow_recover(&follow, 2, &err);
	if (status == LSM_OK)
	{
		LsmManifestWriter writer = {0};
		LsmFollow again;
		LsmEdit edit = {.has_comparator = true,
						.has_log_number = true,
						.has_next_file = true,
						.has_last_seq = true,
						.log_number = follow.state.log_number,
						.next_file = follow.state.next_file,
						.last_seq = follow.state.last_seq};
		uint64_t number;

		check_levels(follow.files);
		FUZZ_CHECK(lsm_manifest_roll(&writer, env, 4, &edit, follow.files, &err) == LSM_OK);
		lsm_manifest_close(&writer);
		FUZZ_CHECK(lsm_current_read(env, &number, &err) == LSM_OK && number == 4);
		lsm_follow_init(&again, env);
		FUZZ_CHECK(lsm_follow_recover(&again, 4, &err) == LSM_OK);
		FUZZ_CHECK(same_files(follow.files, again.files));
		FUZZ_CHECK(again.state.log_number == edit.log_number && again.state.next_file == edit.next_file &&
				   again.state.last_seq == edit.last_seq);
		lsm_follow_free(&again);
	}
	else
		FUZZ_CHECK(status == err.status && err.text[0] != '\0');
	lsm_follow_free(&follow);
	lsm_env_sim_free(env);
	return 0;
}
