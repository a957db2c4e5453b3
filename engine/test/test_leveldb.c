/*
 * test_leveldb.c - the real LevelDB library and the engine in the same directory.
 *
 * - Each opens what the other wrote and reads the same pairs, forward and
 *   backward, with every checksum verified: logs that were not flushed, tables,
 *   compacted tables, deletions, overwrites, values over several log blocks.
 * - Records of every length around a block's (32,700 to 32,800 bytes), starting
 *   with 0 to 8 bytes left in a block, written whole and streamed.
 * - A directory that both write in turn.
 * - For the same input, the table file and the log are LevelDB's byte for byte.
 * - LevelDB reads filters of a prime number of bytes.  Directories in turns have zstd, too, where it knows that; where it
 *   does not, it says so and shows no pair.
 *
 * LEVELDB_SEED=n runs one seed of the random part.
 */
#include <dirent.h>
#include <leveldb/c.h>
#include <unistd.h>

#include "engine/log.h"
#include "engine/test/model.h"

#define FIRST_LENGTH 32700
#define LAST_LENGTH 32800
#define MAX_REMAINDER 8

static LsmError err;
static char root[] = "/tmp/test_leveldb.XXXXXX";

static const char *const compression_names[] = {"no compression", "snappy", "zstd"};

static void
fail(const char *what, const char *text)
{
	fprintf(stderr, "test_leveldb: %s: %s\n", what, text);
	exit(1);
}

/* ---- directories ---- */

static void
path_of(char *path, size_t size, const char *dir, const char *name)
{
	snprintf(path, size, "%s/%s%s%s", root, dir, name ? "/" : "", name ? name : "");
}

static void
remove_dir(const char *dir)
{
	char path[512];
	struct dirent *entry;
	DIR *d;

	path_of(path, sizeof(path), dir, NULL);
	d = opendir(path);
	while (d != NULL && (entry = readdir(d)) != NULL)
	{
		path_of(path, sizeof(path), dir, entry->d_name);
		unlink(path);
	}
	if (d != NULL)
		closedir(d);
	path_of(path, sizeof(path), dir, NULL);
	rmdir(path);
}

/* The highest-numbered file of a kind; 0 if there is none. */
static uint64_t
last_file(const char *dir, LsmFileKind wanted, int *count)
{
	char path[512];
	struct dirent *entry;
	uint64_t last = 0;
	DIR *d;

	path_of(path, sizeof(path), dir, NULL);
	d = opendir(path);
	if (count)
		*count = 0;
	while (d != NULL && (entry = readdir(d)) != NULL)
	{
		LsmFileKind kind;
		uint64_t number;

		if (!lsm_parse_file_name(entry->d_name, &kind, &number) || kind != wanted)
			continue;
		if (count)
			(*count)++;
		if (number > last)
			last = number;
	}
	if (d != NULL)
		closedir(d);
	return last;
}

static void
read_whole(const char *dir, LsmFileKind kind, uint64_t number, LsmBuf *contents)
{
	char name[64];
	char path[512];
	char buf[65536];
	size_t n;
	FILE *f;

	lsm_file_name(name, kind, number);
	path_of(path, sizeof(path), dir, name);
	f = fopen(path, "rb");
	if (f == NULL)
		fail("could not open", path);
	lsm_buf_set(contents, NULL, 0);
	while ((n = fread(buf, 1, sizeof(buf), f)) > 0)
		if (!lsm_buf_append(contents, buf, n))
			abort();
	fclose(f);
}

/* ---- LevelDB ---- */

typedef struct Theirs
{
	leveldb_options_t *options;
	leveldb_filterpolicy_t *filter;
	leveldb_t *db;
} Theirs;

static void
theirs_check(char *error, const char *what)
{
	if (error != NULL)
		fail(what, error);
}

static Theirs
theirs_open(const char *dir, LsmCompression compression, bool bloom, size_t write_buffer)
{
	Theirs theirs = {leveldb_options_create(), NULL, NULL};
	char path[512];
	char *error = NULL;

	leveldb_options_set_create_if_missing(theirs.options, 1);
	leveldb_options_set_paranoid_checks(theirs.options, 1);
	/* the numbers are the block type bytes, LevelDB's */
	leveldb_options_set_compression(theirs.options, (int) compression);
	if (write_buffer)
		leveldb_options_set_write_buffer_size(theirs.options, write_buffer);
	if (bloom)
	{
		theirs.filter = leveldb_filterpolicy_create_bloom(10);
		leveldb_options_set_filter_policy(theirs.options, theirs.filter);
	}
	path_of(path, sizeof(path), dir, NULL);
	theirs.db = leveldb_open(theirs.options, path, &error);
	theirs_check(error, "LevelDB's open");
	return theirs;
}

static void
theirs_close(Theirs *theirs)
{
	leveldb_close(theirs->db);
	leveldb_options_destroy(theirs->options);
	if (theirs->filter)
		leveldb_filterpolicy_destroy(theirs->filter);
}

static void
theirs_write(Theirs *theirs, const LsmBatch *batch, bool sync)
{
	leveldb_writeoptions_t *how = leveldb_writeoptions_create();
	leveldb_writebatch_t *copy = leveldb_writebatch_create();
	LsmBatchReader reader;
	char *error = NULL;
	LsmStatus status;

	if (!lsm_batch_reader_init(&reader, lsm_buf_slice(&batch->rep)))
		fail("batch", "too short");
	while ((status = lsm_batch_next(&reader, &err)) == LSM_OK)
	{
		if (reader.type == LSM_TYPE_VALUE)
			leveldb_writebatch_put(copy, reader.key.data, reader.key.len, reader.value.data, reader.value.len);
		else
			leveldb_writebatch_delete(copy, reader.key.data, reader.key.len);
	}
	CHECK(status == LSM_NOT_FOUND);
	leveldb_writeoptions_set_sync(how, sync);
	leveldb_write(theirs->db, how, copy, &error);
	theirs_check(error, "LevelDB's write");
	leveldb_writebatch_destroy(copy);
	leveldb_writeoptions_destroy(how);
}

static void
theirs_put(Theirs *theirs, LsmSlice key, LsmSlice value)
{
	leveldb_writeoptions_t *how = leveldb_writeoptions_create();
	char *error = NULL;

	leveldb_put(theirs->db, how, key.data, key.len, value.data, value.len, &error);
	theirs_check(error, "LevelDB's put");
	leveldb_writeoptions_destroy(how);
}

/* All pairs as LevelDB reads them, which must be the expected ones, in both directions and by get. */
static void
theirs_expect(Theirs *theirs, const Keys *keys, const Cell *state, const char *what)
{
	leveldb_readoptions_t *how = leveldb_readoptions_create();
	leveldb_iterator_t *it;
	char *error = NULL;
	int direction;
	int i;

	leveldb_readoptions_set_verify_checksums(how, 1);
	it = leveldb_create_iterator(theirs->db, how);
	for (direction = 1; direction >= -1; direction -= 2)
	{
		int at = direction > 0 ? 0 : keys->count - 1;

		for (direction > 0 ? leveldb_iter_seek_to_first(it) : leveldb_iter_seek_to_last(it); leveldb_iter_valid(it);
			 direction > 0 ? leveldb_iter_next(it) : leveldb_iter_prev(it))
		{
			LsmSlice key;
			LsmSlice value;

			key.data = leveldb_iter_key(it, &key.len);
			value.data = leveldb_iter_value(it, &value.len);
			while (at >= 0 && at < keys->count && !state[at].there)
				at += direction;
			if (at < 0 || at >= keys->count || lsm_slice_compare(key, keys->keys[at]) != 0)
				fail(what, "LevelDB finds another key than expected");
			if (value.len != state[at].len || model_hash(value) != state[at].hash)
				fail(what, "LevelDB finds another value than expected");
			at += direction;
		}
		leveldb_iter_get_error(it, &error);
		theirs_check(error, what);
		while (at >= 0 && at < keys->count && !state[at].there)
			at += direction;
		if (at >= 0 && at < keys->count)
			fail(what, "LevelDB finds too few keys");
	}
	leveldb_iter_destroy(it);
	for (i = 0; i < keys->count; i++)
	{
		size_t len;
		char *value = leveldb_get(theirs->db, how, keys->keys[i].data, keys->keys[i].len, &len, &error);

		theirs_check(error, what);
		if ((value != NULL) != state[i].there || (value != NULL && model_hash(lsm_slice(value, len)) != state[i].hash))
			fail(what, "LevelDB's get finds something else");
		leveldb_free(value);
	}
	leveldb_readoptions_destroy(how);
	CHECK(true);
}

/* ---- ours ---- */

typedef struct Ours
{
	LsmOptions options;
	LsmEnv *env;
	LsmDb *db;
} Ours;

static void
ours_options(LsmOptions *options, LsmCompression compression, bool bloom)
{
	lsm_options_init_leveldb(options);
	options->inline_work = true;
	options->max_handles = 2;
	options->block_cache_size = 1 << 20;
	options->table.compression = options->level0_compression = compression;
	options->table.bloom_bits = bloom ? 10 : 0;
}

static void
ours_open(Ours *ours, const char *dir)
{
	char path[512];

	path_of(path, sizeof(path), dir, NULL);
	MUST(lsm_env_posix_open(path, &ours->env, &err), &err);
	MUST(lsm_open(ours->env, &ours->options, &ours->db, &err), &err);
}

static void
ours_close(Ours *ours)
{
	lsm_close(ours->db);
	lsm_env_posix_close(ours->env);
}

static void
report_damage(void *arg, const LsmError *what)
{
	fprintf(stderr, "%s: %s@%llu\n", what->text, what->file, (unsigned long long) what->offset);
	fail(arg, "verify reports damage");
}

static void
ours_expect(Ours *ours, const Keys *keys, const Cell *state, const char *what)
{
	LsmRead read = {LSM_MAX_SEQUENCE, NULL, NULL};
	Cell *found = model_state_new(keys);
	char message[256];
	uint64_t files;
	uint64_t entries;
	LsmStatus status = model_read(ours->db, &read, keys, found, message, sizeof(message), &err);

	if (status == LSM_INVALID && message[0])
		fail(what, message);
	MUST(status, &err);
	if (!model_same(keys, state, found))
	{
		model_explain(keys, state, found, message, sizeof(message));
		fail(what, message);
	}
	MUST(lsm_verify(ours->db, report_damage, NULL, (void *) what, &files, &entries, &err), &err);
	free(found);
	CHECK(true);
}

/* ---- records around the block's end ---- */

typedef enum Writer
{
	THEIRS,
	OURS,
	OURS_STREAMED
} Writer;

static const char *const writer_names[] = {"LevelDB", "ours", "ours, streamed"};

typedef struct Edge
{
	Writer writer;
	Theirs theirs;
	Ours ours;
	LsmFile *file;
	LsmLogWriter *log;
	uint64_t length; /* of the log so far, as the format says */
	uint64_t seq;
	int key;
	Keys keys;
	Cell *state;
} Edge;

/* Where the log's end is after a record of len bytes. */
static uint64_t
length_after(uint64_t length, size_t len)
{
	bool first = true;

	while (first || len > 0)
	{
		size_t left = LSM_LOG_BLOCK_SIZE - length % LSM_LOG_BLOCK_SIZE;
		size_t piece;

		if (left < LSM_LOG_HEADER_SIZE)
		{
			length += left;
			left = LSM_LOG_BLOCK_SIZE;
		}
		piece = left - LSM_LOG_HEADER_SIZE < len ? left - LSM_LOG_HEADER_SIZE : len;
		length += LSM_LOG_HEADER_SIZE + piece;
		len -= piece;
		first = false;
	}
	return length;
}

/* Bytes of a batch of one put with a 4-byte key: header, type, key's length and bytes, value's length and bytes. */
static size_t
batch_length(size_t value_len)
{
	return 12 + 1 + 1 + 4 + (value_len < 128 ? 1 : value_len < 16384 ? 2
																	 : 3) +
		   value_len;
}

/* A batch whose record is `len` bytes long, in the log of whoever writes. */
static void
edge_write(Edge *edge, size_t len)
{
	size_t value_len = len > 20000 ? len - 21 : len > 200 ? len - 20
														  : len - 19;
	LsmBuf value = {0};
	LsmBatch batch = {0};
	Cell *cell = &edge->state[edge->key];
	LsmSlice key = edge->keys.keys[edge->key++];
	size_t done;

	if (batch_length(value_len) != len)
		fail("test", "a record length that cannot be made");
	model_value(&value, len * 131 + edge->seq, value_len);
	cell->there = true;
	cell->len = (uint32_t) value_len;
	cell->hash = model_hash(lsm_buf_slice(&value));
	if (!lsm_batch_put(&batch, key, lsm_buf_slice(&value)))
		abort();
	lsm_batch_set_sequence(&batch, ++edge->seq);
	if (batch.rep.len != len)
		fail("test", "the batch has not the length it should have");
	switch (edge->writer)
	{
		case THEIRS:
			theirs_put(&edge->theirs, key, lsm_buf_slice(&value));
			break;
		case OURS:
			MUST(lsm_write(edge->ours.db, &batch, false, NULL, &err), &err);
			break;
		case OURS_STREAMED:
			MUST(lsm_log_begin(edge->log, &err), &err);
			/* Parts of all sizes, empty ones too. */
			for (done = 0; done < len;)
			{
				size_t part = (done * 7 + edge->seq * 13) % 9000;

				if (part > len - done)
					part = len - done;
				MUST(lsm_log_append_part(edge->log, lsm_slice(batch.rep.data + done, part), &err), &err);
				done += part;
				if (part == 0)
				{
					MUST(lsm_log_append_part(edge->log, lsm_slice(batch.rep.data + done, 1), &err), &err);
					done++;
				}
			}
			MUST(lsm_log_end(edge->log, &err), &err);
			break;
	}
	edge->length = length_after(edge->length, len);
	lsm_buf_free(&value);
	lsm_batch_free(&batch);
}

/* Records of this length, one for each remainder. */
static void
edge_records(Edge *edge, size_t len)
{
	int remainder;

	for (remainder = 0; remainder <= MAX_REMAINDER; remainder++)
	{
		uint64_t block = LSM_LOG_BLOCK_SIZE;
		uint64_t at = edge->length % block;
		uint64_t filler;

		/* Fill up so that `remainder` bytes are left.  The filler is of a length that a batch can have. */
		while (block - at > 12000 || block - at < 400)
		{
			edge_write(edge, block - at > 12000 ? 9000 : 1000);
			at = edge->length % block;
		}
		filler = block - remainder - at - LSM_LOG_HEADER_SIZE;
		edge_write(edge, filler);
		if ((block - edge->length % block) % block != (uint64_t) remainder)
			fail("test", "the log does not end where it should");
		edge_write(edge, len);
	}
	edge_write(edge, 100);
}

static void
edge_test(Writer writer, const char *dir)
{
	size_t len;
	int i;
	uint64_t records = 0;

	for (len = FIRST_LENGTH; len <= LAST_LENGTH; len++)
	{
		Edge edge = {.writer = writer};
		char names[64][16];
		LsmSlice slices[64];
		uint64_t log;
		LsmBuf contents = {0};

		for (i = 0; i < 64; i++)
		{
			snprintf(names[i], sizeof(names[i]), "k%03d", i % 1000);
			slices[i] = lsm_slice(names[i], 4);
		}
		edge.keys.keys = slices;
		edge.keys.count = 64;
		edge.state = model_state_new(&edge.keys);
		remove_dir(dir);
		ours_options(&edge.ours.options, LSM_COMPRESS_SNAPPY, false);
		if (writer == THEIRS)
			edge.theirs = theirs_open(dir, LSM_COMPRESS_SNAPPY, false, 0);
		else
			ours_open(&edge.ours, dir);
		log = last_file(dir, LSM_FILE_LOG, NULL);
		if (writer == OURS_STREAMED)
		{
			/* The engine's store, but its log is written on by hand. */
			char name[64];
			char path[512];

			ours_close(&edge.ours);
			log = last_file(dir, LSM_FILE_LOG, NULL);
			lsm_file_name(name, LSM_FILE_LOG, log);
			path_of(path, sizeof(path), dir, NULL);
			MUST(lsm_env_posix_open(path, &edge.ours.env, &err), &err);
			MUST(lsm_file_open(edge.ours.env, name, LSM_OPEN_APPEND, &edge.file, &err), &err);
			MUST(lsm_log_writer_new(edge.file, 0, &edge.log, &err), &err);
		}

		edge_records(&edge, len);
		records += edge.seq;

		if (writer == THEIRS)
			theirs_close(&edge.theirs);
		else if (writer == OURS)
			ours_close(&edge.ours);
		else
		{
			lsm_log_writer_free(edge.log);
			lsm_file_close(edge.file);
			lsm_env_posix_close(edge.ours.env);
		}
		/* Nothing was flushed: it is the log that is read. */
		read_whole(dir, LSM_FILE_LOG, log, &contents);
		if (contents.len != edge.length)
			fail(writer_names[writer], "the log has another length than the format says");
		lsm_buf_free(&contents);

		if (writer == THEIRS)
		{
			ours_open(&edge.ours, dir);
			ours_expect(&edge.ours, &edge.keys, edge.state, "log by LevelDB");
			ours_close(&edge.ours);
		}
		else
		{
			edge.theirs = theirs_open(dir, LSM_COMPRESS_SNAPPY, false, 0);
			theirs_expect(&edge.theirs, &edge.keys, edge.state, "log by ours");
			theirs_close(&edge.theirs);
		}
		free(edge.state);
	}
	remove_dir(dir);
	printf("records of %d to %d bytes, 0 to %d bytes left: %llu written by %s\n", FIRST_LENGTH, LAST_LENGTH, MAX_REMAINDER,
		   (unsigned long long) records, writer_names[writer]);
}

/* ---- the same bytes ---- */

static void
same_bytes(LsmCompression compression, bool bloom)
{
	Keys keys = model_keys_new(77, 6000, false);
	Theirs theirs;
	Ours ours;
	LsmBuf a = {0};
	LsmBuf b = {0};
	LsmBuf value = {0};
	int count_a;
	int count_b;
	int i;
	int turn;

	remove_dir("a");
	remove_dir("b");
	ours_options(&ours.options, compression, bloom);
	theirs = theirs_open("a", compression, bloom, 0);
	ours_open(&ours, "b");
	for (i = 0; i < 8000; i++)
	{
		int key = (int) ((uint64_t) i * 7919 % (uint64_t) keys.count);
		LsmBatch batch = {0};

		if (i % 10 == 9)
		{
			if (!lsm_batch_delete(&batch, keys.keys[key]))
				abort();
		}
		else if (!lsm_batch_put(&batch, keys.keys[key], model_value(&value, (uint64_t) i, i % 1000 == 0 ? 70000 : i % 300)))
			abort();
		theirs_write(&theirs, &batch, false);
		MUST(lsm_write(ours.db, &batch, false, NULL, &err), &err);
		lsm_batch_free(&batch);
	}
	read_whole("a", LSM_FILE_LOG, last_file("a", LSM_FILE_LOG, NULL), &a);
	read_whole("b", LSM_FILE_LOG, last_file("b", LSM_FILE_LOG, NULL), &b);
	CHECK(a.len > 500000);
	CHECK(a.len == b.len && memcmp(a.data, b.data, a.len) == 0);

	/* The first turn flushes, the second merges all into the deepest level's files. */
	for (turn = 0; turn < 2; turn++)
	{
		uint64_t file_a;
		uint64_t file_b;

		if (turn == 0)
		{
			theirs_close(&theirs); /* reopening makes a table of the log */
			theirs = theirs_open("a", compression, bloom, 0);
			MUST(lsm_flush(ours.db, &err), &err);
		}
		else
		{
			leveldb_compact_range(theirs.db, NULL, 0, NULL, 0);
			MUST(lsm_compact_range(ours.db, (LsmSlice){NULL, 0}, (LsmSlice){NULL, 0}, &err), &err);
		}
		file_a = last_file("a", LSM_FILE_TABLE, &count_a);
		file_b = last_file("b", LSM_FILE_TABLE, &count_b);
		CHECK(count_a == 1);
		CHECK(count_b == 1);
		read_whole("a", LSM_FILE_TABLE, file_a, &a);
		read_whole("b", LSM_FILE_TABLE, file_b, &b);
		CHECK(a.len > 100000);
		CHECK(a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
	}
	theirs_close(&theirs);
	ours_close(&ours);
	remove_dir("a");
	remove_dir("b");
	lsm_buf_free(&a);
	lsm_buf_free(&b);
	lsm_buf_free(&value);
	model_keys_free(&keys);
	printf("same bytes: log and table, %s, %s\n", compression_names[compression], bloom ? "bloom filter" : "no filter");
}

/* ---- taking turns ---- */

static void
write_randomly(Theirs *theirs, Ours *ours, const Keys *keys, Cell *state, uint64_t *random, int batches, size_t big)
{
	LsmBatch batch = {0};

	while (batches-- > 0)
	{
		History history = {0};
		bool is_big = big > 0 && test_random(random) % 25 == 0;
		bool sync = test_random(random) % 50 == 0;

		model_random_batch(&history, keys, &batch, random, is_big ? 1 : 30, is_big ? big : 300);
		if (theirs)
			theirs_write(theirs, &batch, sync);
		else
			MUST(lsm_write(ours->db, &batch, sync, NULL, &err), &err);
		model_apply(state, &history, 0);
		model_history_free(&history);
	}
	lsm_batch_free(&batch);
}

static void
take_turns(uint64_t seed, LsmCompression compression)
{
	uint64_t random = seed * 6700417 + 1;
	bool bloom = seed % 4 >= 2;
	Keys keys = model_keys_new(seed, 900, true);
	Cell *state = model_state_new(&keys);
	char what[64];
	Ours ours;
	int turn;

	remove_dir("turns");
	ours_options(&ours.options, compression, bloom);
	/* Small, so that there are many files and levels. */
	ours.options.memtable_size = 1 << 20;
	ours.options.file_size = 128 << 10;
	ours.options.level1_size = 512 << 10;
	ours.options.level_factor = 4;
	ours.options.table.bloom_prime = seed % 2;
	for (turn = 0; turn < 10; turn++)
	{
		bool work = test_random(&random) % 3 == 0;
		int batches = 20 + (int) (test_random(&random) % 250);
		Theirs theirs;

		snprintf(what, sizeof(what), "seed %llu, turn %d", (unsigned long long) seed, turn);
		if (turn % 2 == (int) (seed % 2))
		{
			theirs = theirs_open("turns", compression, bloom, 256 << 10);
			theirs_expect(&theirs, &keys, state, what);
			write_randomly(&theirs, NULL, &keys, state, &random, batches, 200000);
			if (work)
				leveldb_compact_range(theirs.db, NULL, 0, NULL, 0);
			theirs_expect(&theirs, &keys, state, what);
			theirs_close(&theirs);
		}
		else
		{
			ours_open(&ours, "turns");
			ours_expect(&ours, &keys, state, what);
			write_randomly(NULL, &ours, &keys, state, &random, batches, 200000);
			if (work)
				MUST(lsm_compact_range(ours.db, (LsmSlice){NULL, 0}, (LsmSlice){NULL, 0}, &err), &err);
			ours_expect(&ours, &keys, state, what);
			ours_close(&ours);
		}
	}
	remove_dir("turns");
	free(state);
	model_keys_free(&keys);
	printf("seed %llu: written in turns, %s, %s\n", (unsigned long long) seed, compression_names[compression],
		   bloom ? "bloom filter" : "no filter");
}

/* A log by LevelDB that holds more than our memtable does, and a batch that alone is larger. */
static void
large_log(void)
{
	Keys keys = model_keys_new(3, 3000, false);
	Cell *state = model_state_new(&keys);
	Theirs theirs;
	LsmBatch batch = {0};
	LsmBuf value = {0};
	uint64_t random = 3;
	Ours ours;
	int i;

	remove_dir("large");
	theirs = theirs_open("large", LSM_COMPRESS_SNAPPY, false, 64 << 20);
	write_randomly(&theirs, NULL, &keys, state, &random, 600, 0);
	for (i = 0; i < keys.count; i += 2)
	{
		model_value(&value, (uint64_t) i, 9000);
		state[i].there = true;
		state[i].len = 9000;
		state[i].hash = model_hash(lsm_buf_slice(&value));
		if (!lsm_batch_put(&batch, keys.keys[i], lsm_buf_slice(&value)))
			abort();
	}
	CHECK(batch.rep.len > 5 << 20);
	theirs_write(&theirs, &batch, true);
	write_randomly(&theirs, NULL, &keys, state, &random, 100, 0);
	theirs_close(&theirs);

	ours_options(&ours.options, LSM_COMPRESS_SNAPPY, false);
	ours_open(&ours, "large");
	ours_expect(&ours, &keys, state, "a log larger than the memtable");
	write_randomly(NULL, &ours, &keys, state, &random, 100, 0);
	ours_close(&ours);
	theirs = theirs_open("large", LSM_COMPRESS_SNAPPY, false, 0);
	theirs_expect(&theirs, &keys, state, "after a log larger than the memtable");
	theirs_close(&theirs);
	remove_dir("large");
	lsm_batch_free(&batch);
	lsm_buf_free(&value);
	free(state);
	model_keys_free(&keys);
	printf("a log larger than the memtable\n");
}

/* Debian's LevelDB does not know zstd (1.23; later ones need not, either): it must say so, and make nothing up. */
static bool
knows_zstd(void)
{
	leveldb_readoptions_t *how = leveldb_readoptions_create();
	LsmBatch batch = {0};
	leveldb_iterator_t *it;
	char *error = NULL;
	Theirs theirs;
	int pairs = 0;
	Ours ours;
	bool knows;

	remove_dir("zstd");
	ours_options(&ours.options, LSM_COMPRESS_ZSTD, false);
	ours_open(&ours, "zstd");
	for (int i = 0; i < 1000; i++)
	{
		char text[64];
		int len = snprintf(text, sizeof(text), "key%04d, and a value that can be compressed", i);

		CHECK(lsm_batch_put(&batch, lsm_slice(text, 7), lsm_slice(text, (size_t) len)));
	}
	MUST(lsm_write(ours.db, &batch, true, NULL, &err), &err);
	MUST(lsm_flush(ours.db, &err), &err);
	ours_close(&ours);

	theirs = theirs_open("zstd", LSM_COMPRESS_NONE, false, 0);
	leveldb_readoptions_set_verify_checksums(how, 1);
	it = leveldb_create_iterator(theirs.db, how);
	for (leveldb_iter_seek_to_first(it); leveldb_iter_valid(it); leveldb_iter_next(it))
		pairs++;
	leveldb_iter_get_error(it, &error);
	knows = error == NULL;
	CHECK(pairs == (knows ? 1000 : 0));
	CHECK(knows || strstr(error, "bad block type") != NULL || strstr(error, "zstd") != NULL);
	printf("zstd: LevelDB %d.%d %s%s\n", leveldb_major_version(), leveldb_minor_version(),
		   knows ? "reads it" : "does not know it, so both ways is left out; it says: ", knows ? "" : error);
	leveldb_free(error);
	leveldb_iter_destroy(it);
	leveldb_readoptions_destroy(how);
	theirs_close(&theirs);
	remove_dir("zstd");
	lsm_batch_free(&batch);
	return knows;
}

int
main(void)
{
	const char *seed_text = getenv("LEVELDB_SEED");
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : 1;
	uint64_t last = seed_text ? seed : 8;
	bool zstd;

	if (mkdtemp(root) == NULL)
		fail("mkdtemp", root);
	zstd = knows_zstd();
	if (seed_text == NULL)
	{
		edge_test(THEIRS, "edge");
		edge_test(OURS, "edge");
		edge_test(OURS_STREAMED, "edge");
		same_bytes(LSM_COMPRESS_NONE, false);
		same_bytes(LSM_COMPRESS_SNAPPY, false);
		same_bytes(LSM_COMPRESS_SNAPPY, true);
		large_log();
	}
	for (; seed <= last; seed++)
	{
		LsmCompression compression = seed % 2 ? LSM_COMPRESS_SNAPPY : LSM_COMPRESS_NONE;

		take_turns(seed, zstd && seed % 4 == 3 ? LSM_COMPRESS_ZSTD : compression);
	}
	rmdir(root);
	return test_done();
}
