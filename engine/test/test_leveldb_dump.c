/*
 * test_leveldb_dump.c - the engine and LevelDB say the same of a file: what our readers find in logs, manifests and
 * tables is, put in the words of LevelDB's DumpFile (leveldbutil), its own output byte for byte.
 *
 * Files of both, before and after compactions, with snappy and without compression; keys and values of any bytes,
 * deletions, batches of several changes, values over several log blocks.  Left out is what we do not keep:
 * compaction pointers.
 *
 * LEVELDB_SEED=n for other contents.
 */
#include <dirent.h>
#include <leveldb/c.h>
#include <stdarg.h>
#include <unistd.h>

#include "engine/batch.h"
#include "engine/db.h"
#include "engine/log.h"
#include "engine/coding.h"
#include "engine/test/test.h"
#include "engine/version.h"

#define KEYS 400

extern char *leveldb_dump(const char *path, char **error); /* leveldb_dump.cc */

static LsmError err;
static char dir[] = "/tmp/test_leveldb_dump.XXXXXX";
static int files[LSM_FILE_SPILL + 1]; /* that were compared, by kind */

/* ---- LevelDB's words (db/dumpfile.cc, db/version_edit.cc, util/logging.cc, release 1.23) ---- */

static LsmBuf said;

static void
say(const char *format, ...)
{
	char text[200];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (n >= (int) sizeof(text) || !lsm_buf_append(&said, text, (size_t) n))
		abort();
}

static void
say_escaped(LsmSlice bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
	{
		unsigned char c = (unsigned char) bytes.data[i];

		if (c >= ' ' && c <= '~')
			say("%c", c);
		else
			say("\\x%02x", c);
	}
}

static void
say_batch(LsmSlice record, uint64_t offset)
{
	LsmBatchReader reader;
	LsmStatus status;

	CHECK(lsm_batch_reader_init(&reader, record));
	/* the reader counts on from the batch's sequence */
	say("--- offset %llu; sequence %llu\n", (unsigned long long) offset, (unsigned long long) lsm_get_fixed64(record.data));
	while ((status = lsm_batch_next(&reader, &err)) == LSM_OK)
	{
		say(reader.type == LSM_TYPE_VALUE ? "  put '" : "  del '");
		say_escaped(reader.key);
		if (reader.type == LSM_TYPE_VALUE)
		{
			say("' '");
			say_escaped(reader.value);
		}
		say("'\n");
	}
	CHECK(status == LSM_NOT_FOUND);
}

static void
say_key(LsmSlice ikey)
{
	say("'");
	say_escaped(lsm_ikey_user(ikey));
	say("' @ %llu : %d", (unsigned long long) lsm_ikey_seq(ikey), lsm_ikey_type(ikey));
}

static int
compare_deleted(const void *a, const void *b)
{
	const LsmLevelFile *x = a;
	const LsmLevelFile *y = b;

	return x->level != y->level ? x->level - y->level : x->number < y->number ? -1
																			  : x->number > y->number;
}

static void
say_edit(LsmSlice record, const char *name, uint64_t offset)
{
	LsmEdit edit = {0};

	MUST(lsm_edit_decode(record, &edit, name, offset, &err), &err);
	say("--- offset %llu; VersionEdit {", (unsigned long long) offset);
	if (edit.has_comparator)
		say("\n  Comparator: %s", LSM_COMPARATOR_NAME);
	if (edit.has_log_number)
		say("\n  LogNumber: %llu", (unsigned long long) edit.log_number);
	if (edit.has_prev_log_number)
		say("\n  PrevLogNumber: %llu", (unsigned long long) edit.prev_log_number);
	if (edit.has_next_file)
		say("\n  NextFile: %llu", (unsigned long long) edit.next_file);
	if (edit.has_last_seq)
		say("\n  LastSeq: %llu", (unsigned long long) edit.last_seq);
	/* LevelDB has them in a std::set */
	if (edit.ndeleted > 0)
		qsort(edit.deleted, (size_t) edit.ndeleted, sizeof(*edit.deleted), compare_deleted);
	for (int i = 0; i < edit.ndeleted; i++)
		say("\n  RemoveFile: %d %llu", edit.deleted[i].level, (unsigned long long) edit.deleted[i].number);
	for (int i = 0; i < edit.nadded; i++)
	{
		const LsmFileMeta *file = edit.added[i].file;

		say("\n  AddFile: %d %llu %llu ", edit.added[i].level, (unsigned long long) file->number, (unsigned long long) file->size);
		say_key(file->smallest);
		say(" .. ");
		say_key(file->largest);
	}
	say("\n}\n");
	lsm_edit_free(&edit);
}

static void
say_log(LsmEnv *env, const char *name, bool manifest)
{
	LsmLogReader *reader;
	LsmSlice record;
	LsmFile *file;
	LsmStatus status;

	MUST(lsm_file_open(env, name, LSM_OPEN_READ, &file, &err), &err);
	MUST(lsm_log_reader_new(file, 0, NULL, NULL, &reader, &err), &err);
	while ((status = lsm_log_read(reader, &record, &err)) == LSM_OK)
	{
		if (manifest)
			say_edit(record, name, lsm_log_record_offset(reader));
		else
			say_batch(record, lsm_log_record_offset(reader));
	}
	CHECK(status == LSM_NOT_FOUND);
	lsm_log_reader_free(reader);
	lsm_file_close(file);
}

static void
say_table(LsmEnv *env, uint64_t number, uint64_t size)
{
	LsmTable *table;
	LsmIter *iter;

	MUST(lsm_table_open(env, NULL, number, size, &table, &err), &err);
	iter = lsm_table_iter(table, false, LSM_ALL_SEQS);
	for (lsm_iter_seek_first(iter); iter->valid; lsm_iter_next(iter))
	{
		LsmSlice ikey = iter->key;

		say("'");
		say_escaped(lsm_ikey_user(ikey));
		say("' @ %llu : %s => '", (unsigned long long) lsm_ikey_seq(ikey), lsm_ikey_type(ikey) == LSM_TYPE_DELETION ? "del" : "val");
		say_escaped(iter->value);
		say("'\n");
	}
	MUST(iter->status, &iter->err);
	lsm_iter_close(iter);
	lsm_table_unref(table);
}

/* ---- comparing ---- */

/* Takes the lines away that name compaction pointers. */
static void
without_pointers(char *text)
{
	char *line;

	while ((line = strstr(text, "\n  CompactPointer: ")) != NULL)
	{
		char *end = strchr(line + 1, '\n');

		memmove(line, end, strlen(end) + 1);
		text = line;
	}
}

static void
compare_file(LsmEnv *env, const char *name, LsmFileKind kind, uint64_t number)
{
	char path[512];
	char *error;
	char *theirs;
	uint64_t size;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	theirs = leveldb_dump(path, &error);
	if (theirs == NULL)
	{
		fprintf(stderr, "%s: LevelDB says: %s\n", name, error);
		free(error);
		CHECK(!"LevelDB dumps the file");
		return;
	}
	without_pointers(theirs);
	said.len = 0;
	if (kind == LSM_FILE_TABLE)
	{
		MUST(env->ops->file_size(env, name, &size, &err), &err);
		say_table(env, number, size);
	}
	else
		say_log(env, name, kind == LSM_FILE_MANIFEST);
	CHECK(lsm_buf_append(&said, "", 1));
	CHECK(strcmp(said.data, theirs) == 0);
	if (strcmp(said.data, theirs) != 0)
	{
		size_t at = 0;

		while (said.data[at] == theirs[at])
			at++;
		at = at > 40 ? at - 40 : 0;
		fprintf(stderr, "%s at %zu\nours: %.120s\ntheirs: %.120s\n", name, at, said.data + at, theirs + at);
	}
	if (strlen(theirs) > 0)
		files[kind]++;
	free(theirs);
}

/* Every file of the directory, which nobody has open. */
static void
compare_all(void)
{
	struct dirent *entry;
	LsmEnv *env;
	DIR *d;

	MUST(lsm_env_posix_open(dir, &env, &err), &err);
	d = opendir(dir);
	CHECK(d != NULL);
	while (d != NULL && (entry = readdir(d)) != NULL)
	{
		LsmFileKind kind;
		uint64_t number;

		if (lsm_parse_file_name(entry->d_name, &kind, &number) &&
			(kind == LSM_FILE_LOG || kind == LSM_FILE_MANIFEST || kind == LSM_FILE_TABLE))
			compare_file(env, entry->d_name, kind, number);
	}
	closedir(d);
	lsm_env_posix_close(env);
}

/* ---- contents ---- */

static uint64_t random_state;

static size_t
random_bytes(char *buf, size_t most)
{
	size_t n = test_random(&random_state) % (most + 1);

	for (size_t i = 0; i < n; i++)
		buf[i] = (char) test_random(&random_state);
	return n;
}

static void
fill_batch(LsmBatch *batch)
{
	static char value[100000];
	int changes = 1 + (int) (test_random(&random_state) % 5);

	lsm_batch_clear(batch);
	for (int i = 0; i < changes; i++)
	{
		char key[40];
		size_t n = (size_t) snprintf(key, sizeof(key), "k%d", (int) (test_random(&random_state) % KEYS));

		/* the same bytes for the same key, and not all of them printable */
		key[n++] = (char) (key[1] + 100);
		if (test_random(&random_state) % 4 == 0)
			CHECK(lsm_batch_delete(batch, lsm_slice(key, n)));
		else
			CHECK(lsm_batch_put(batch, lsm_slice(key, n), lsm_slice(value, random_bytes(value, test_random(&random_state) % 100 == 0 ? sizeof(value) : 200))));
	}
}

static void
ours_write(bool snappy, int batches)
{
	LsmOptions options;
	LsmBatch batch = {0};
	LsmEnv *env;
	LsmDb *db;

	lsm_options_init_leveldb(&options);
	options.inline_work = true;
	options.memtable_size = 256 << 10;
	options.table.compression = options.level0_compression = snappy ? LSM_COMPRESS_SNAPPY : LSM_COMPRESS_NONE;
	MUST(lsm_env_posix_open(dir, &env, &err), &err);
	MUST(lsm_open(env, &options, &db, &err), &err);
	for (int i = 0; i < batches; i++)
	{
		fill_batch(&batch);
		MUST(lsm_write(db, &batch, false, NULL, &err), &err);
	}
	lsm_close(db);
	lsm_env_posix_close(env);
	lsm_batch_free(&batch);
}

static void
theirs_write(bool snappy, int batches)
{
	leveldb_options_t *options = leveldb_options_create();
	leveldb_writeoptions_t *how = leveldb_writeoptions_create();
	char *error = NULL;
	LsmBatch batch = {0};
	leveldb_t *db;

	leveldb_options_set_create_if_missing(options, 1);
	leveldb_options_set_write_buffer_size(options, 256 << 10);
	leveldb_options_set_compression(options, snappy ? leveldb_snappy_compression : leveldb_no_compression);
	db = leveldb_open(options, dir, &error);
	CHECK(error == NULL);
	for (int i = 0; i < batches && error == NULL; i++)
	{
		leveldb_writebatch_t *copy = leveldb_writebatch_create();
		LsmBatchReader reader;

		fill_batch(&batch);
		CHECK(lsm_batch_reader_init(&reader, lsm_buf_slice(&batch.rep)));
		while (lsm_batch_next(&reader, &err) == LSM_OK)
		{
			if (reader.type == LSM_TYPE_VALUE)
				leveldb_writebatch_put(copy, reader.key.data, reader.key.len, reader.value.data, reader.value.len);
			else
				leveldb_writebatch_delete(copy, reader.key.data, reader.key.len);
		}
		leveldb_write(db, how, copy, &error);
		leveldb_writebatch_destroy(copy);
		/* What a close breaks off would leave half a table behind. */
		if (batches - i == 30)
			leveldb_compact_range(db, NULL, 0, NULL, 0);
	}
	CHECK(error == NULL);
	leveldb_close(db);
	leveldb_writeoptions_destroy(how);
	leveldb_options_destroy(options);
	lsm_batch_free(&batch);
}

static void
clear_directory(void)
{
	struct dirent *entry;
	DIR *d = opendir(dir);

	while (d != NULL && (entry = readdir(d)) != NULL)
	{
		char path[512];

		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		(void) unlink(path);
	}
	closedir(d);
}

int
main(void)
{
	const char *given = getenv("LEVELDB_SEED");

	random_state = given != NULL ? strtoull(given, NULL, 10) : 1;
	if (mkdtemp(dir) == NULL)
		abort();
	for (int snappy = 0; snappy < 2; snappy++)
	{
		/* a log that was not flushed; tables and compactions; what one wrote after the other */
		for (int first = 0; first < 2; first++)
		{
			(first ? theirs_write : ours_write)(snappy, 30);
			compare_all();
			(first ? theirs_write : ours_write)(snappy, 3000);
			compare_all();
			(first ? ours_write : theirs_write)(snappy, 3000);
			compare_all();
			clear_directory();
		}
	}
	CHECK(files[LSM_FILE_LOG] >= 8 && files[LSM_FILE_MANIFEST] == 12 && files[LSM_FILE_TABLE] >= 8);
	printf("%d logs, %d manifests, %d tables\n", files[LSM_FILE_LOG], files[LSM_FILE_MANIFEST], files[LSM_FILE_TABLE]);
	rmdir(dir);
	lsm_buf_free(&said);
	return test_done();
}
