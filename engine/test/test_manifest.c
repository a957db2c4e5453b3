/*
 * test_manifest.c - version edits, sets of files, the manifest, CURRENT.
 *
 * What must hold:
 *   - an edit's bytes are LevelDB's, and every truncated or altered one is refused or equal in effect
 *   - sets built from edits equal a plain list of files; overlaps and duplicates in a level are refused
 *   - a follower that reads the tail sees the same set as one that starts over; open descriptions are kept
 *   - a torn tail is the end at recovery, rot in the middle is LSM_CORRUPT
 *   - CURRENT names the new manifest after a roll, and bad contents are refused
 */
#include "engine/test/test.h"

#include <time.h>
#include <unistd.h>

#include "engine/env.h"
#include "engine/log_tail.h"
#include "engine/manifest.h"

static LsmEnv *env;
static char dir[64];

static LsmSlice
text(const char *s)
{
	return lsm_slice(s, strlen(s));
}

/* A file whose keys run from first to last. */
static LsmFileMeta *
make_file(uint64_t number, const char *first, const char *last)
{
	LsmBuf a = {0};
	LsmBuf b = {0};
	LsmFileMeta *file;

	lsm_ikey_append(&a, text(first), 100 + number, LSM_TYPE_VALUE);
	lsm_ikey_append(&b, text(last), number, LSM_TYPE_VALUE);
	file = lsm_file_new(number, 1000 + number, lsm_buf_slice(&a), lsm_buf_slice(&b));
	lsm_buf_free(&a);
	lsm_buf_free(&b);
	return file;
}

static void
add_file(LsmEdit *edit, int level, uint64_t number, const char *first, const char *last)
{
	LsmFileMeta *file = make_file(number, first, last);

	lsm_edit_add(edit, level, file);
	lsm_file_unref(file);
}

static void
test_edit_bytes(void)
{
	/* comparator, log 5, prev 0, next 300, last 7, delete 2/9, add 1/10 of 1010 bytes [a .. b] */
	static const char expected[] = "\x01\x1aleveldb.BytewiseComparator"
								   "\x02\x05\x09\x00\x03\xac\x02\x04\x07"
								   "\x06\x02\x09"
								   "\x07\x01\x0a\xf2\x07\x09"
								   "a\x01\x6e\x00\x00\x00\x00\x00\x00\x09"
								   "b\x01\x0a\x00\x00\x00\x00\x00\x00";
	LsmEdit edit = {0};
	LsmEdit back = {0};
	LsmBuf out = {0};
	LsmError err;

	edit.has_comparator = edit.has_log_number = edit.has_prev_log_number = true;
	edit.has_next_file = edit.has_last_seq = true;
	edit.log_number = 5;
	edit.next_file = 300;
	edit.last_seq = 7;
	lsm_edit_delete(&edit, 2, 9);
	add_file(&edit, 1, 10, "a", "b");
	CHECK(lsm_edit_encode(&edit, &out));
	CHECK(out.len == sizeof(expected) - 1);
	CHECK(memcmp(out.data, expected, sizeof(expected) - 1) == 0);

	MUST(lsm_edit_decode(lsm_buf_slice(&out), &back, "M", 0, &err), &err);
	CHECK(back.has_comparator && back.log_number == 5 && back.prev_log_number == 0);
	CHECK(back.next_file == 300 && back.last_seq == 7);
	CHECK(back.ndeleted == 1 && back.deleted[0].level == 2 && back.deleted[0].number == 9);
	CHECK(back.nadded == 1 && back.added[0].level == 1 && back.added[0].file->size == 1010);
	CHECK(lsm_slice_compare(back.added[0].file->largest, edit.added[0].file->largest) == 0);
	lsm_edit_free(&back);

	/* cut anywhere: whole fields only, or refused; never a crash */
	for (size_t len = 0; len < out.len; len++)
	{
		char *copy = malloc(len > 0 ? len : 1);
		LsmStatus status;

		memcpy(copy, out.data, len);
		status = lsm_edit_decode(lsm_slice(copy, len), &back, "M", 0, &err);
		CHECK(status == LSM_OK || status == LSM_CORRUPT);
		lsm_edit_free(&back);
		free(copy);
	}
	lsm_edit_free(&edit);
	lsm_buf_free(&out);

	CHECK(lsm_edit_decode(text("\x01\x03"
							   "abc"),
						  &back, "M", 3, &err) == LSM_INVALID);
	lsm_edit_free(&back);
	CHECK(lsm_edit_decode(text("\x08\x01"), &back, "M", 3, &err) == LSM_CORRUPT);
	CHECK(strcmp(err.file, "M") == 0 && err.offset == 3);
	lsm_edit_free(&back);
	CHECK(lsm_edit_decode(text("\x06\x07\x01"), &back, "M", 0, &err) == LSM_CORRUPT); /* level 7 */
	lsm_edit_free(&back);
	/* a compact pointer is read over */
	MUST(lsm_edit_decode(lsm_slice("\x05\x01\x09k\x01\x00\x00\x00\x00\x00\x00\x00\x02\x03", 14), &back, "M", 0, &err), &err);
	CHECK(back.has_log_number && back.log_number == 3);
	lsm_edit_free(&back);
}

/* Applies one edit to a set. */
static LsmStatus
apply(LsmFiles *base, const LsmEdit *edit, LsmFiles **files, LsmError *err)
{
	LsmFilesBuilder *builder = lsm_files_builder_new(base, NULL);
	LsmStatus status = lsm_files_builder_apply(builder, edit, err);

	if (status == LSM_OK)
		status = lsm_files_builder_finish(builder, files, err);
	lsm_files_builder_free(builder);
	return status;
}

static void
test_sets(void)
{
	LsmFiles *empty = lsm_files_new();
	LsmFiles *files = NULL;
	LsmFiles *more = NULL;
	LsmEdit edit = {0};
	LsmError err;
	int from;
	int to;

	add_file(&edit, 0, 3, "a", "m");
	add_file(&edit, 0, 8, "b", "z");
	add_file(&edit, 0, 5, "c", "d");
	add_file(&edit, 2, 6, "m", "p");
	add_file(&edit, 2, 4, "c", "f");
	add_file(&edit, 2, 9, "t", "v");
	MUST(apply(empty, &edit, &files, &err), &err);
	lsm_edit_free(&edit);
	CHECK(files->levels[0].n == 3 && files->levels[0].files[0]->number == 8 && files->levels[0].files[2]->number == 3);
	CHECK(files->levels[2].n == 3 && files->levels[2].files[0]->number == 4 && files->levels[2].files[2]->number == 9);
	CHECK(files->levels[2].bytes == 3019);

	CHECK(lsm_level_find_user(&files->levels[2], text("a")) == 0);
	CHECK(lsm_level_find_user(&files->levels[2], text("f")) == 0);
	CHECK(lsm_level_find_user(&files->levels[2], text("fa")) == 1);
	CHECK(lsm_level_find_user(&files->levels[2], text("w")) == 3);
	lsm_level_range(&files->levels[2], text("g"), text("l"), &from, &to);
	CHECK(from == to);
	lsm_level_range(&files->levels[2], text("f"), text("m"), &from, &to);
	CHECK(from == 0 && to == 2);
	lsm_level_range(&files->levels[2], text("n"), text("zz"), &from, &to);
	CHECK(from == 1 && to == 3);
	CHECK(lsm_file_overlaps(files->levels[2].files[0], text("f"), text("")));
	CHECK(!lsm_file_overlaps(files->levels[2].files[0], text("f0"), text("")));
	CHECK(!lsm_file_overlaps(files->levels[2].files[0], text(""), text("c")));
	CHECK(lsm_file_overlaps(files->levels[2].files[0], text(""), text("c0")));

	/* a move keeps the description */
	lsm_edit_delete(&edit, 2, 9);
	lsm_edit_add(&edit, 3, files->levels[2].files[2]);
	lsm_edit_delete(&edit, 0, 5);
	MUST(apply(files, &edit, &more, &err), &err);
	lsm_edit_free(&edit);
	CHECK(more->levels[2].n == 2 && more->levels[3].n == 1 && more->levels[0].n == 2);
	CHECK(more->levels[3].files[0] == files->levels[2].files[2]);
	lsm_files_unref(more);

	add_file(&edit, 2, 11, "e", "g"); /* overlaps 4 */
	CHECK(apply(files, &edit, &more, &err) == LSM_CORRUPT);
	lsm_edit_free(&edit);
	add_file(&edit, 0, 8, "b", "z"); /* there already */
	CHECK(apply(files, &edit, &more, &err) == LSM_CORRUPT);
	lsm_edit_free(&edit);
	lsm_edit_delete(&edit, 1, 4); /* in another level */
	CHECK(apply(files, &edit, &more, &err) == LSM_CORRUPT);
	lsm_edit_free(&edit);
	lsm_files_unref(files);
	lsm_files_unref(empty);
}

static bool
same_sets(const LsmFiles *a, const LsmFiles *b)
{
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
	{
		if (a->levels[level].n != b->levels[level].n || a->levels[level].bytes != b->levels[level].bytes)
			return false;
		for (int i = 0; i < a->levels[level].n; i++)
		{
			if (a->levels[level].files[i]->number != b->levels[level].files[i]->number)
				return false;
		}
	}
	return true;
}

/* One random edit of `files`: adds and deletes in levels 0 to 3. */
static void
random_edit(uint64_t *random, const LsmFiles *files, uint64_t *next, LsmEdit *edit)
{
	for (int level = 0; level < 4; level++)
	{
		const LsmLevel *l = &files->levels[level];
		char first[16];
		char last[16];

		if (l->n > 0 && test_random(random) % 2 == 0)
			lsm_edit_delete(edit, level, l->files[test_random(random) % (uint64_t) l->n]->number);
		if (test_random(random) % 3 == 0)
			continue;
		snprintf(first, sizeof(first), "k%08llu", (unsigned long long) *next);
		snprintf(last, sizeof(last), "k%08llux", (unsigned long long) *next);
		add_file(edit, level, (*next)++, first, last);
	}
}

static void
test_follow(uint64_t seed)
{
	uint64_t random = seed;
	LsmManifestWriter writer = {0};
	LsmFiles *model = lsm_files_new();
	uint64_t next = 10;
	uint64_t manifest = 2;
	LsmFollow behind;
	uint64_t number;
	LsmError err;
	LsmEdit edit = {.has_log_number = true, .has_next_file = true, .has_last_seq = true};

	CHECK(lsm_current_read(env, &number, &err) == LSM_NOT_FOUND);
	edit.next_file = next;
	MUST(lsm_manifest_roll(&writer, env, manifest, &edit, model, &err), &err);
	MUST(lsm_current_read(env, &number, &err), &err);
	CHECK(number == manifest);
	lsm_follow_init(&behind, env);
	for (int round = 0; round < 300; round++)
	{
		LsmFiles *files;
		LsmFollow fresh;

		lsm_edit_free(&edit);
		random_edit(&random, model, &next, &edit);
		edit.has_log_number = edit.has_next_file = edit.has_last_seq = true;
		edit.log_number = (uint64_t) round;
		edit.next_file = next;
		edit.last_seq = 1000 + (uint64_t) round;
		MUST(apply(model, &edit, &files, &err), &err);
		lsm_files_unref(model);
		model = files;
		if (test_random(&random) % 20 == 0)
		{
			MUST(lsm_manifest_roll(&writer, env, ++manifest, &edit, model, &err), &err);
		}
		else if (test_random(&random) % 10 == 0)
		{
			/* another process takes over */
			uint64_t length = lsm_manifest_length(&writer);

			MUST(lsm_manifest_open(&writer, env, manifest, length, &err), &err);
			MUST(lsm_manifest_append(&writer, &edit, &err), &err);
		}
		else
			MUST(lsm_manifest_append(&writer, &edit, &err), &err);
		if (test_random(&random) % 3 == 0)
		{
			LsmFileMeta *kept = behind.files != NULL && behind.files->levels[1].n > 0 ? behind.files->levels[1].files[0] : NULL;

			if (kept != NULL)
				lsm_file_ref(kept);
			MUST(lsm_follow_to(&behind, manifest, lsm_manifest_length(&writer), &err), &err);
			CHECK(same_sets(behind.files, model));
			CHECK(behind.state.log_number == (uint64_t) round && behind.state.last_seq == 1000 + (uint64_t) round);
			for (int i = 0; kept != NULL && i < behind.files->levels[1].n; i++)
			{
				if (behind.files->levels[1].files[i]->number == kept->number)
					CHECK(behind.files->levels[1].files[i] == kept);
			}
			if (kept != NULL)
				lsm_file_unref(kept);
		}
		if (round % 10 == 0)
		{
			lsm_follow_init(&fresh, env);
			MUST(lsm_follow_recover(&fresh, manifest, &err), &err);
			CHECK(same_sets(fresh.files, model));
			CHECK(fresh.offset == lsm_manifest_length(&writer));
			lsm_follow_free(&fresh);
		}
	}
	MUST(lsm_current_read(env, &number, &err), &err);
	CHECK(number == manifest);

	/* what is not there yet cannot be followed, and changes nothing */
	MUST(lsm_follow_to(&behind, manifest, lsm_manifest_length(&writer), &err), &err);
	CHECK(lsm_follow_to(&behind, manifest, lsm_manifest_length(&writer) + 1, &err) == LSM_CORRUPT);
	CHECK(same_sets(behind.files, model));
	CHECK(lsm_follow_to(&behind, 9999999, 10, &err) == LSM_CORRUPT);
	CHECK(same_sets(behind.files, model));
	CHECK(lsm_manifest_open(&writer, env, manifest, 1, &err) == LSM_INVALID);

	lsm_follow_free(&behind);
	lsm_manifest_close(&writer);
	lsm_edit_free(&edit);
	lsm_files_unref(model);
}

static void
write_file(const char *name, const char *data, size_t len)
{
	LsmFile *file;
	LsmError err;

	MUST(lsm_file_open(env, name, LSM_OPEN_CREATE, &file, &err), &err);
	MUST(lsm_file_append(file, data, len, &err), &err);
	lsm_file_close(file);
}

static char *
read_all(const char *name, size_t *len)
{
	uint64_t size;
	LsmFile *file;
	LsmError err;
	char *data;

	MUST(env->ops->file_size(env, name, &size, &err), &err);
	data = malloc(size + 1);
	MUST(lsm_file_open(env, name, LSM_OPEN_READ, &file, &err), &err);
	MUST(lsm_file_read(file, 0, data, size, len, &err), &err);
	lsm_file_close(file);
	return data;
}

static void
test_current(void)
{
	static const char *bad[] = {"", "MANIFEST-000002", "\n", "000004.log\n", "MANIFEST-\n", "MANIFEST-000002\n\n", "CURRENT\n"};
	uint64_t number;
	LsmError err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
	{
		write_file("CURRENT", bad[i], strlen(bad[i]));
		CHECK(lsm_current_read(env, &number, &err) == LSM_CORRUPT);
	}
	write_file("CURRENT", "MANIFEST-000002\0\n", 17);
	CHECK(lsm_current_read(env, &number, &err) == LSM_CORRUPT);
	write_file("CURRENT", "MANIFEST-000077\n", 16);
	MUST(lsm_current_read(env, &number, &err), &err);
	CHECK(number == 77);
}

static bool
all_zero(const char *p, const char *end, size_t max)
{
	for (size_t i = 0; i < max && p + i < end; i++)
	{
		if (p[i] != 0)
			return false;
	}
	return true;
}

/* A manifest of several records, torn or rotten in every possible way. */
static void
test_damage(void)
{
	enum
	{
		RECORDS = 12
	};
	LsmManifestWriter writer = {0};
	LsmFiles *none = lsm_files_new();
	uint64_t ends[RECORDS + 1];
	LsmEdit edit = {.has_log_number = true, .has_next_file = true, .has_last_seq = true, .next_file = 5};
	LsmFollow follow;
	LsmError err;
	char name[64];
	char *data;
	size_t len;
	int corrupt = 0;

	MUST(lsm_manifest_roll(&writer, env, 700, &edit, none, &err), &err);
	ends[0] = lsm_manifest_length(&writer);
	for (int i = 0; i < RECORDS; i++)
	{
		char first[16];

		lsm_edit_free(&edit);
		snprintf(first, sizeof(first), "key%03d", i);
		add_file(&edit, 1, 1000 + (uint64_t) i, first, first);
		MUST(lsm_manifest_append(&writer, &edit, &err), &err);
		ends[i + 1] = lsm_manifest_length(&writer);
	}
	lsm_manifest_close(&writer);
	lsm_file_name(name, LSM_FILE_MANIFEST, 700);
	data = read_all(name, &len);
	CHECK(len == ends[RECORDS]);

	lsm_file_name(name, LSM_FILE_MANIFEST, 701);
	/* cut: the whole records before are the set */
	for (size_t cut = ends[0]; cut <= len; cut++)
	{
		int whole = 0;

		while (whole < RECORDS && ends[whole + 1] <= cut)
			whole++;
		write_file(name, data, cut);
		lsm_follow_init(&follow, env);
		MUST(lsm_follow_recover(&follow, 701, &err), &err);
		CHECK(follow.files->levels[1].n == whole);
		lsm_follow_free(&follow);
	}
	/* one byte changed: reported, or nothing but the last record is missing */
	for (size_t at = 0; at < len; at++)
	{
		LsmStatus status;

		data[at] ^= 0x41;
		write_file(name, data, len);
		data[at] ^= 0x41;
		lsm_follow_init(&follow, env);
		status = lsm_follow_recover(&follow, 701, &err);
		if (at < ends[RECORDS - 1])
			CHECK(status == LSM_CORRUPT);
		else
			CHECK(status == LSM_OK && follow.files->levels[1].n == RECORDS - 1);
		if (status == LSM_CORRUPT && strcmp(err.file, name) == 0)
			corrupt++;
		lsm_follow_free(&follow);
	}
	CHECK(corrupt == (int) ends[RECORDS - 1]);
	/* the file's second half never reached the disk, but grew it: sectors of zeros, with or without more behind */
	for (size_t lost = (ends[3] + 511) / 512 * 512; lost < len; lost += 512)
	{
		size_t n = len - lost < 512 ? len - lost : 512;
		char kept[512];
		int whole = 0;

		/* a record whose lost bytes were zeros is none the worse */
		while (whole < RECORDS && (ends[whole + 1] <= lost || all_zero(data + lost, data + ends[whole + 1], n)))
			whole++;
		memcpy(kept, data + lost, n);
		memset(data + lost, 0, n);
		write_file(name, data, len);
		memcpy(data + lost, kept, n);
		lsm_follow_init(&follow, env);
		MUST(lsm_follow_recover(&follow, 701, &err), &err);
		CHECK(follow.files->levels[1].n == whole);
		lsm_follow_free(&follow);
	}
	free(data);
	lsm_edit_free(&edit);
	lsm_files_unref(none);
}

/* Long records over several blocks: one lost page, wherever it is, ends the log there. */
static void
test_lost_pages(uint64_t seed)
{
	enum
	{
		RECORDS = 40,
		BIG = 40000
	};
	uint64_t random = seed;
	uint64_t ends[RECORDS + 1];
	LsmLogWriter *log;
	LsmFile *file;
	LsmError err;
	size_t len;
	char *data;
	char *big = malloc(BIG);

	for (int i = 0; i < BIG; i++)
		big[i] = (char) (1 + test_random(&random) % 255);
	MUST(lsm_file_open(env, "000900.log", LSM_OPEN_CREATE, &file, &err), &err);
	MUST(lsm_log_writer_new(file, 0, &log, &err), &err);
	ends[0] = 0;
	for (int i = 0; i < RECORDS; i++)
	{
		MUST(lsm_log_append(log, lsm_slice(big, 100 + test_random(&random) % (i % 4 == 0 ? BIG - 100 : 2000)), &err), &err);
		ends[i + 1] = lsm_log_length(log);
	}
	lsm_log_writer_free(log);
	lsm_file_close(file);
	data = read_all("000900.log", &len);
	for (size_t lost = 0; lost < len; lost += 512)
	{
		size_t n = len - lost < 512 ? len - lost : 512;
		LsmLogWalk walk;
		LsmSlice record;
		LsmStatus status;
		char kept[512];
		int whole = 0;
		int got = 0;

		while (whole < RECORDS && ends[whole + 1] <= lost)
			whole++;
		memcpy(kept, data + lost, n);
		memset(data + lost, 0, n);
		write_file("000901.log", data, len);
		memcpy(data + lost, kept, n);
		MUST(lsm_log_walk_open(&walk, env, "000901.log", &err), &err);
		while ((status = lsm_log_walk_next(&walk, &record, &err)) == LSM_OK)
			got++;
		CHECK(status == LSM_NOT_FOUND);
		CHECK(got == whole);
		lsm_log_walk_close(&walk);
	}
	/* a flipped bit in any record but the last is no torn tail */
	for (int i = 0; i < 200; i++)
	{
		size_t at = test_random(&random) % ends[RECORDS - 1];
		LsmLogWalk walk;
		LsmSlice record;
		LsmStatus status;
		uint64_t left = LSM_LOG_BLOCK_SIZE - at % LSM_LOG_BLOCK_SIZE;

		if (left < LSM_LOG_HEADER_SIZE && data[at] == 0)
			continue; /* a block's padding means nothing */
		data[at] ^= (char) (1 << test_random(&random) % 8);
		write_file("000901.log", data, len);
		MUST(lsm_log_walk_open(&walk, env, "000901.log", &err), &err);
		while ((status = lsm_log_walk_next(&walk, &record, &err)) == LSM_OK)
			;
		CHECK(status == LSM_CORRUPT);
		lsm_log_walk_close(&walk);
		{
			char *again = read_all("000900.log", &len);

			free(data);
			data = again;
		}
	}
	free(data);
	free(big);
}

int
main(void)
{
	uint64_t seed = (uint64_t) time(NULL) * 2654435761u + (uint64_t) getpid();
	char command[100];
	LsmError err;

	printf("seed %llu\n", (unsigned long long) seed);
	snprintf(dir, sizeof(dir), "/tmp/lsm_test_manifest.%d", (int) getpid());
	MUST(lsm_env_posix_open(dir, &env, &err), &err);
	test_edit_bytes();
	test_sets();
	test_follow(seed);
	test_current();
	test_damage();
	test_lost_pages(seed);
	lsm_env_posix_close(env);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	if (system(command) != 0)
		return 1;
	return test_done();
}
