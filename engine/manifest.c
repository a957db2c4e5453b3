/*
 * manifest.c - see manifest.h.
 *
 * The order in which things reach the disk:
 *
 *   tables (contents, directory)  <  record in the manifest  <  removal of old files
 *   new manifest (contents, directory)  <  temporary file with its name
 *       <  rename to CURRENT  <  directory  <  removal of the old manifest
 */
#include "engine/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/log_tail.h"

/* ---- following ---- */

void
lsm_follow_init(LsmFollow *follow, LsmEnv *env)
{
	memset(follow, 0, sizeof(*follow));
	follow->env = env;
}

void
lsm_follow_free(LsmFollow *follow)
{
	if (follow->file != NULL)
		lsm_file_close(follow->file);
	lsm_files_unref(follow->files);
	memset(follow, 0, sizeof(*follow));
}

void
lsm_follow_set(LsmFollow *follow, uint64_t number, uint64_t length, LsmFiles *files)
{
	if (follow->file != NULL && follow->number != number)
	{
		lsm_file_close(follow->file);
		follow->file = NULL;
	}
	lsm_files_ref(files);
	lsm_files_unref(follow->files);
	follow->files = files;
	follow->number = number;
	follow->offset = length;
}

static void
note_counters(LsmManifestState *state, const LsmEdit *edit)
{
	if (edit->has_log_number)
		state->log_number = edit->log_number;
	if (edit->has_prev_log_number)
		state->prev_log_number = edit->prev_log_number;
	if (edit->has_next_file)
		state->next_file = edit->next_file;
	if (edit->has_last_seq)
		state->last_seq = edit->last_seq;
	state->has_log_number |= edit->has_log_number;
	state->has_next_file |= edit->has_next_file;
	state->has_last_seq |= edit->has_last_seq;
}

static LsmStatus
apply_record(LsmFilesBuilder *builder, LsmManifestState *state, LsmSlice record, const char *name, uint64_t offset,
			 LsmError *err)
{
	LsmEdit edit = {0};
	LsmStatus status = lsm_edit_decode(record, &edit, name, offset, err);

	if (status == LSM_OK)
		status = lsm_files_builder_apply(builder, &edit, err);
	if (status == LSM_OK)
		note_counters(state, &edit);
	else if (err != NULL && err->file[0] == '\0')
	{
		snprintf(err->file, sizeof(err->file), "%s", name);
		err->offset = offset;
	}
	lsm_edit_free(&edit);
	return status;
}

typedef struct TailDamage
{
	bool any;
	uint64_t offset;
	char why[96];
} TailDamage;

static void
note_damage(void *arg, uint64_t offset, uint64_t bytes, const char *why)
{
	TailDamage *damage = arg;

	(void) bytes;
	if (!damage->any)
	{
		damage->any = true;
		damage->offset = offset;
		snprintf(damage->why, sizeof(damage->why), "%s", why);
	}
}

/*
 * Applies the records in [*offset, length).  A fresh reader each time: one that
 * stood here before may hold a block that was read while the next record was
 * half written.
 */
static LsmStatus
read_tail(LsmFile *file, uint64_t *offset, uint64_t length, LsmFilesBuilder *builder, LsmManifestState *state,
		  LsmError *err)
{
	TailDamage damage = {0};
	LsmLogReader *reader;
	LsmStatus status = lsm_log_reader_new(file, *offset, note_damage, &damage, &reader, err);

	if (status != LSM_OK)
		return status;
	while (*offset < length)
	{
		LsmSlice record;

		status = lsm_log_read(reader, &record, err);
		if (damage.any)
			status = lsm_fail(err, LSM_CORRUPT, 0, file->name, damage.offset, "%s", damage.why);
		else if (status == LSM_NOT_FOUND || (status == LSM_OK && lsm_log_end_offset(reader) > length))
			status = lsm_fail(err, LSM_CORRUPT, 0, file->name, *offset, "manifest ends before its durable length %llu",
							  (unsigned long long) length);
		if (status == LSM_OK)
			status = apply_record(builder, state, record, file->name, lsm_log_record_offset(reader), err);
		if (status != LSM_OK)
			break;
		*offset = lsm_log_end_offset(reader);
	}
	lsm_log_reader_free(reader);
	return status;
}

LsmStatus
lsm_follow_to(LsmFollow *follow, uint64_t number, uint64_t length, LsmError *err)
{
	bool afresh = follow->number != number;
	LsmManifestState state = follow->state;
	uint64_t offset = follow->offset;
	LsmFile *file = follow->file;
	LsmFilesBuilder *builder;
	LsmFiles *files;
	LsmStatus status = LSM_OK;

	if (!afresh && offset == length)
		return LSM_OK;
	if (afresh)
	{
		memset(&state, 0, sizeof(state));
		offset = 0;
		file = NULL;
	}
	if (file == NULL)
	{
		char name[64];

		lsm_file_name(name, LSM_FILE_MANIFEST, number);
		status = lsm_file_open(follow->env, name, LSM_OPEN_READ, &file, err);
		if (status == LSM_NOT_FOUND)
			return lsm_fail(err, LSM_CORRUPT, 0, name, 0, "manifest is missing");
		if (status != LSM_OK)
			return status;
	}
	builder = lsm_files_builder_new(afresh ? NULL : follow->files, follow->files);
	if (builder == NULL)
		status = lsm_fail(err, LSM_NO_MEMORY, 0, file->name, 0, "out of memory");
	if (status == LSM_OK)
		status = read_tail(file, &offset, length, builder, &state, err);
	if (status == LSM_OK)
		status = lsm_files_builder_finish(builder, &files, err);
	lsm_files_builder_free(builder);
	if (status != LSM_OK)
	{
		if (file != follow->file)
			lsm_file_close(file);
		return status == LSM_NOT_FOUND ? lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "manifest is missing") : status;
	}
	if (file != follow->file && follow->file != NULL)
		lsm_file_close(follow->file);
	follow->file = file;
	follow->number = number;
	follow->offset = offset;
	follow->state = state;
	lsm_files_unref(follow->files);
	follow->files = files;
	return LSM_OK;
}

/* Reads at most `limit` records; later ones do not count. */
static LsmStatus
read_records(LsmFollow *follow, uint64_t number, uint64_t limit, LsmError *err)
{
	LsmFilesBuilder *builder = lsm_files_builder_new(NULL, NULL);
	LsmManifestState state = {0};
	LsmLogWalk walk = {0};
	LsmFiles *files = NULL;
	uint64_t n = 0;
	LsmStatus status;
	LsmSlice record;
	char name[64];

	lsm_file_name(name, LSM_FILE_MANIFEST, number);
	if (builder == NULL)
		return lsm_fail(err, LSM_NO_MEMORY, 0, name, 0, "out of memory");
	status = lsm_log_walk_open(&walk, follow->env, name, err);
	if (status == LSM_NOT_FOUND)
		status = lsm_fail(err, LSM_CORRUPT, 0, name, 0, "CURRENT names a manifest that does not exist");
	if (status != LSM_OK)
		goto done;
	while ((status = n++ < limit ? lsm_log_walk_next(&walk, &record, err) : LSM_NOT_FOUND) == LSM_OK)
	{
		status = apply_record(builder, &state, record, name, lsm_log_record_offset(walk.reader), err);
		if (status != LSM_OK)
			goto done;
	}
	if (status != LSM_NOT_FOUND)
		goto done;
	if (!state.has_log_number || !state.has_next_file || !state.has_last_seq)
	{
		status = lsm_fail(err, LSM_CORRUPT, 0, name, walk.good_end, "manifest holds no %s",
						  !state.has_log_number ? "log number" : !state.has_next_file ? "next file number"
																					  : "last sequence number");
		goto done;
	}
	status = lsm_files_builder_finish(builder, &files, err);
	if (status != LSM_OK)
		goto done;
	lsm_follow_set(follow, number, walk.good_end, files);
	lsm_files_unref(files);
	follow->state = state;

done:
	lsm_log_walk_close(&walk);
	lsm_files_builder_free(builder);
	return status;
}

LsmStatus
lsm_follow_recover(LsmFollow *follow, uint64_t number, LsmError *err)
{
	return read_records(follow, number, UINT64_MAX, err);
}

/* ---- a copy that was made while the store changed ---- */

/* Files of the set at hand that the copy does not have. */
typedef struct Missing
{
	uint64_t *numbers;
	int n, cap;
} Missing;

static bool
note_missing(Missing *missing, uint64_t number)
{
	if (missing->n == missing->cap)
	{
		int cap = missing->cap > 0 ? missing->cap * 2 : 16;
		uint64_t *numbers = realloc(missing->numbers, (size_t) cap * sizeof(*numbers));

		if (numbers == NULL)
			return false;
		missing->numbers = numbers;
		missing->cap = cap;
	}
	missing->numbers[missing->n++] = number;
	return true;
}

static void
forget_missing(Missing *missing, uint64_t number)
{
	for (int i = 0; i < missing->n; i++)
	{
		if (missing->numbers[i] == number)
		{
			missing->numbers[i] = missing->numbers[--missing->n];
			return;
		}
	}
}

LsmStatus
lsm_follow_recover_whole(LsmFollow *follow, uint64_t number, bool (*have)(void *arg, const LsmFileMeta *file), void *arg,
						 LsmError *err)
{
	Missing missing = {0};
	LsmLogWalk walk = {0};
	uint64_t whole = 0;
	uint64_t n = 0;
	LsmStatus status;
	LsmSlice record;
	char name[64];

	lsm_file_name(name, LSM_FILE_MANIFEST, number);
	status = lsm_log_walk_open(&walk, follow->env, name, err);
	if (status != LSM_OK)
		goto done;
	while ((status = lsm_log_walk_next(&walk, &record, err)) == LSM_OK)
	{
		LsmEdit edit = {0};

		status = lsm_edit_decode(record, &edit, name, lsm_log_record_offset(walk.reader), err);
		for (int i = 0; status == LSM_OK && i < edit.ndeleted; i++)
			forget_missing(&missing, edit.deleted[i].number);
		for (int i = 0; status == LSM_OK && i < edit.nadded; i++)
		{
			if (!have(arg, edit.added[i].file) && !note_missing(&missing, edit.added[i].number))
				status = lsm_fail(err, LSM_NO_MEMORY, 0, name, 0, "out of memory");
		}
		lsm_edit_free(&edit);
		if (status != LSM_OK)
			goto done;
		n++;
		if (missing.n == 0)
			whole = n;
	}
	if (status == LSM_NOT_FOUND && whole > 0)
		status = read_records(follow, number, whole, err);

done:
	lsm_log_walk_close(&walk);
	free(missing.numbers);
	return status;
}

/* ---- CURRENT ---- */

static const char current_name[] = "CURRENT";

LsmStatus
lsm_current_read(LsmEnv *env, uint64_t *number, LsmError *err)
{
	char content[80];
	LsmFileKind kind;
	LsmFile *file;
	size_t len;
	LsmStatus status = lsm_file_open(env, current_name, LSM_OPEN_READ, &file, err);

	if (status != LSM_OK)
		return status;
	status = lsm_file_read(file, 0, content, sizeof(content) - 1, &len, err);
	lsm_file_close(file);
	if (status != LSM_OK)
		return status;
	if (len == 0 || content[len - 1] != '\n')
		return lsm_fail(err, LSM_CORRUPT, 0, current_name, 0, "CURRENT does not end with a newline");
	content[len - 1] = '\0';
	if (strlen(content) != len - 1 || !lsm_parse_file_name(content, &kind, number) || kind != LSM_FILE_MANIFEST)
		return lsm_fail(err, LSM_CORRUPT, 0, current_name, 0, "CURRENT does not name a manifest");
	return LSM_OK;
}

static LsmStatus
current_write(LsmEnv *env, uint64_t number, LsmError *err)
{
	char temp[64];
	char content[80];
	LsmFile *file;
	LsmStatus status;

	lsm_file_name(temp, LSM_FILE_TEMP, number);
	lsm_file_name(content, LSM_FILE_MANIFEST, number);
	strcat(content, "\n");
	status = lsm_file_open(env, temp, LSM_OPEN_CREATE, &file, err);
	if (status != LSM_OK)
		return status;
	status = lsm_file_append(file, content, strlen(content), err);
	if (status == LSM_OK)
		status = lsm_file_sync(file, err);
	lsm_file_close(file);
	if (status == LSM_OK)
		status = env->ops->rename(env, temp, current_name, err);
	if (status == LSM_OK)
		status = env->ops->sync_dir(env, err);
	return status;
}

/* ---- writing ---- */

void
lsm_manifest_close(LsmManifestWriter *writer)
{
	if (writer->log != NULL)
		lsm_log_writer_free(writer->log);
	if (writer->file != NULL)
		lsm_file_close(writer->file);
	memset(writer, 0, sizeof(*writer));
}

uint64_t
lsm_manifest_length(const LsmManifestWriter *writer)
{
	return lsm_log_length(writer->log);
}

LsmStatus
lsm_manifest_open(LsmManifestWriter *writer, LsmEnv *env, uint64_t number, uint64_t length, LsmError *err)
{
	char name[64];
	uint64_t size;
	LsmStatus status;

	lsm_manifest_close(writer);
	lsm_file_name(name, LSM_FILE_MANIFEST, number);
	status = env->ops->file_size(env, name, &size, err);
	if (status != LSM_OK)
		return status;
	if (size != length)
		return lsm_fail(err, LSM_INVALID, 0, name, length, "manifest has %llu bytes, %llu are known to be durable",
						(unsigned long long) size, (unsigned long long) length);
	status = lsm_file_open(env, name, LSM_OPEN_APPEND, &writer->file, err);
	if (status != LSM_OK)
	{
		writer->file = NULL;
		return status;
	}
	status = lsm_log_writer_new(writer->file, length, &writer->log, err);
	if (status != LSM_OK)
	{
		writer->log = NULL;
		lsm_manifest_close(writer);
		return status;
	}
	writer->number = number;
	return LSM_OK;
}

LsmStatus
lsm_manifest_append(LsmManifestWriter *writer, const LsmEdit *edit, LsmError *err)
{
	LsmBuf record = {0};
	LsmStatus status;

	if (!lsm_edit_encode(edit, &record))
		status = lsm_fail(err, LSM_NO_MEMORY, 0, writer->file->name, 0, "out of memory");
	else
		status = lsm_log_append(writer->log, lsm_buf_slice(&record), err);
	if (status == LSM_OK)
		status = lsm_log_sync(writer->log, err);
	lsm_buf_free(&record);
	return status;
}

LsmStatus
lsm_manifest_roll(LsmManifestWriter *writer, LsmEnv *env, uint64_t number, const LsmEdit *edit, const LsmFiles *files,
				  LsmError *err)
{
	LsmEdit all = {0};
	LsmStatus status;
	char name[64];

	lsm_manifest_close(writer);
	lsm_file_name(name, LSM_FILE_MANIFEST, number);
	all.has_comparator = true;
	all.has_log_number = all.has_prev_log_number = all.has_next_file = all.has_last_seq = true;
	all.log_number = edit->log_number;
	all.next_file = edit->next_file;
	all.last_seq = edit->last_seq;
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
	{
		for (int i = 0; i < files->levels[level].n; i++)
		{
			if (!lsm_edit_add(&all, level, files->levels[level].files[i]))
			{
				status = lsm_fail(err, LSM_NO_MEMORY, 0, name, 0, "out of memory");
				goto done;
			}
		}
	}
	status = lsm_file_open(env, name, LSM_OPEN_CREATE, &writer->file, err);
	if (status != LSM_OK)
	{
		writer->file = NULL;
		goto done;
	}
	status = lsm_log_writer_new(writer->file, 0, &writer->log, err);
	if (status != LSM_OK)
	{
		writer->log = NULL;
		goto done;
	}
	writer->number = number;
	status = lsm_manifest_append(writer, &all, err);
	if (status == LSM_OK)
		status = env->ops->sync_dir(env, err);
	if (status == LSM_OK)
		status = current_write(env, number, err);

done:
	if (status != LSM_OK)
		lsm_manifest_close(writer);
	lsm_edit_free(&all);
	return status;
}
