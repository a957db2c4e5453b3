/*
 * test_db.c - the store's face, standalone: open, write, get, reopen, many handles, refusal of damaged directories.
 *
 * What must hold:
 *   - what was written is read, before and after flush, compaction and reopening
 *   - a batch is seen whole or not at all, by other threads too, and also if it is larger than a memtable
 *   - sequence numbers never go back
 *   - a handle that holds its pin keeps arenas; one that does not, does not
 *   - a directory with something missing is refused, and nothing in it is removed
 */
#include "engine/test/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/db.h"
#include "engine/handle.h"

static char dir[64];
static LsmEnv *env;

static LsmSlice
text(const char *s)
{
	return lsm_slice(s, strlen(s));
}

static void
small_options(LsmOptions *options)
{
	lsm_options_init(options);
	options->memtable_size = 128 << 10;
	options->block_cache_size = 1 << 20;
	options->file_size = 64 << 10;
	options->level1_size = 256 << 10;
	options->level_factor = 4;
	options->manifest_size = 4 << 10;
	options->table.block_size = 2 << 10;
	options->inline_work = true;
}

static void
start_dir(void)
{
	LsmError err;

	MUST(lsm_env_posix_open(dir, &env, &err), &err);
}

static void
end_dir(void)
{
	char command[100];

	lsm_env_posix_close(env);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	if (system(command) != 0)
		exit(1);
}

static uint64_t
put(LsmDb *db, LsmSlice key, LsmSlice value)
{
	LsmBatch batch = {0};
	uint64_t seq;
	LsmError err;

	lsm_batch_put(&batch, key, value);
	MUST(lsm_write(db, &batch, false, &seq, &err), &err);
	lsm_batch_free(&batch);
	return seq;
}

static uint64_t
del(LsmDb *db, LsmSlice key)
{
	LsmBatch batch = {0};
	uint64_t seq;
	LsmError err;

	lsm_batch_delete(&batch, key);
	MUST(lsm_write(db, &batch, false, &seq, &err), &err);
	lsm_batch_free(&batch);
	return seq;
}

static const LsmRead newest = {LSM_MAX_SEQUENCE, NULL, NULL};

/* Does key have this value (NULL: none) at max_seq? */
static bool
has_at(LsmDb *db, uint64_t max_seq, const char *key, const char *value)
{
	LsmRead read = {max_seq, NULL, NULL};
	LsmBuf got = {0};
	LsmVersion version;
	LsmError err;
	LsmStatus status = lsm_get(db, &read, text(key), &got, &version, &err);
	bool same = value == NULL ? status == LSM_NOT_FOUND
							  : status == LSM_OK && lsm_slice_compare(lsm_buf_slice(&got), text(value)) == 0;

	lsm_buf_free(&got);
	return same;
}

static bool
has(LsmDb *db, const char *key, const char *value)
{
	return has_at(db, LSM_MAX_SEQUENCE, key, value);
}

static void
test_basics(void)
{
	LsmOptions options;
	LsmError err;
	LsmDb *db;
	uint64_t s1;
	uint64_t s2;
	uint64_t snapshot;

	start_dir();
	small_options(&options);
	MUST(lsm_open(env, &options, &db, &err), &err);
	CHECK(has(db, "a", NULL));
	s1 = put(db, text("a"), text("1"));
	snapshot = lsm_snapshot_take(db);
	CHECK(snapshot == s1);
	s2 = put(db, text("a"), text("2"));
	CHECK(s2 == s1 + 1);
	put(db, text(""), text("empty key"));
	put(db, text("empty value"), text(""));
	del(db, text("never there"));
	for (int round = 0; round < 4; round++)
	{
		/* in the memtable, in level 0, compacted, reopened */
		CHECK(has(db, "a", "2"));
		CHECK(has(db, "", "empty key"));
		CHECK(has(db, "empty value", ""));
		CHECK(has(db, "never there", NULL));
		CHECK(has(db, "b", NULL));
		if (round < 3)
		{
			CHECK(has_at(db, snapshot, "a", "1"));
			CHECK(has_at(db, snapshot, "", NULL));
		}
		if (round == 0)
			MUST(lsm_flush(db, &err), &err);
		else if (round == 1)
			MUST(lsm_compact_range(db, text(""), text(""), &err), &err);
		else if (round == 2)
		{
			lsm_snapshot_release(db, snapshot);
			lsm_close(db);
			MUST(lsm_open(env, &options, &db, &err), &err);
		}
	}
	CHECK(put(db, text("a"), text("3")) > s2 + 3);
	lsm_close(db);
	MUST(lsm_open(env, &options, &db, &err), &err);
	CHECK(has(db, "a", "3"));
	lsm_close(db);
	end_dir();
}

/* The key's value in the model: a number, or 0 for none. */
static void
check_model(LsmDb *db, const uint32_t *model, int n)
{
	LsmBuf got = {0};
	LsmError err;
	int wrong = 0;

	for (int i = 0; i < n; i++)
	{
		char key[16];
		LsmStatus status;
		uint32_t value = 0;

		snprintf(key, sizeof(key), "key%06d", i);
		status = lsm_get(db, &newest, text(key), &got, NULL, &err);
		if (status == LSM_OK)
			memcpy(&value, got.data, sizeof(value));
		else if (status != LSM_NOT_FOUND)
			MUST(status, &err);
		wrong += value != model[i] || (status == LSM_OK && got.len != 4 + value % 300);
	}
	CHECK(wrong == 0);
	lsm_buf_free(&got);
}

typedef struct Told
{
	uint64_t times, done, total;
	bool ordered;
} Told;

static void
follow_progress(void *arg, uint64_t done, uint64_t total)
{
	Told *told = arg;

	if (told->times++ == 0)
		told->ordered = done == 0;
	else
		told->ordered &= done > told->done && total == told->total;
	told->done = done;
	told->total = total;
}

/* Random batches against an array, over flushes, compactions and reopenings. */
static void
test_random_writes(uint64_t seed)
{
	enum
	{
		KEYS = 3000
	};
	uint32_t *model = calloc(KEYS, sizeof(uint32_t));
	uint64_t random = seed;
	LsmOptions options;
	LsmStats stats;
	uint64_t files;
	uint64_t entries;
	uint64_t last = 0;
	Told told = {0};
	LsmError err;
	LsmDb *db;

	start_dir();
	small_options(&options);
	MUST(lsm_open(env, &options, &db, &err), &err);
	for (int round = 0; round < 6000; round++)
	{
		LsmBatch batch = {0};
		int n = 1 + (int) (test_random(&random) % 10);
		uint64_t seq;

		for (int i = 0; i < n; i++)
		{
			int k = (int) (test_random(&random) % KEYS);
			char value[512] = {0};
			char key[16];

			snprintf(key, sizeof(key), "key%06d", k);
			if (test_random(&random) % 5 == 0)
			{
				lsm_batch_delete(&batch, text(key));
				model[k] = 0;
				continue;
			}
			model[k] = 1 + (uint32_t) (test_random(&random) % 1000000);
			memcpy(value, &model[k], sizeof(model[k]));
			lsm_batch_put(&batch, text(key), lsm_slice(value, 4 + model[k] % 300));
		}
		MUST(lsm_write(db, &batch, false, &seq, &err), &err);
		CHECK(seq > last);
		last = seq + batch.count - 1;
		lsm_batch_free(&batch);
		if (round % 1000 == 999)
			check_model(db, model, KEYS);
		if (round % 700 == 699)
		{
			lsm_close(db);
			MUST(lsm_open(env, &options, &db, &err), &err);
		}
		if (round % 1900 == 1899)
			MUST(lsm_compact_range(db, text("key000500"), text("key001500"), &err), &err);
	}
	MUST(lsm_stats(db, &stats, &err), &err);
	CHECK(stats.last_error.status == LSM_OK);
	CHECK(stats.last_seq >= last);
	CHECK(stats.levels[1].files + stats.levels[2].files > 0);
	MUST(lsm_compact_range(db, text(""), text(""), &err), &err);
	check_model(db, model, KEYS);
	MUST(lsm_verify(db, NULL, follow_progress, &told, &files, &entries, &err), &err);
	CHECK(files > 0);
	/* it is told how far that is, from nothing to all, after each file */
	CHECK(told.times == files + 1 && told.ordered && told.done == told.total);
	MUST(lsm_stats(db, &stats, &err), &err);
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
		told.total -= stats.levels[level].bytes;
	CHECK(told.total == 0);
	{
		uint64_t live = 0;

		for (int i = 0; i < KEYS; i++)
			live += model[i] != 0;
		CHECK(entries == live); /* compacted to the ground: one version each, no deletions */
	}
	lsm_close(db);
	end_dir();
	free(model);
}

static int
count_files(const char *suffix)
{
	char command[128];
	FILE *pipe;
	int n = -1;

	snprintf(command, sizeof(command), "ls %s | grep -c '%s$'", dir, suffix);
	pipe = popen(command, "r");
	if (fscanf(pipe, "%d", &n) != 1)
		n = -1;
	pclose(pipe);
	return n;
}

/* How many keys "n" + sequence there are; each leads to the record before it. */
static int
count_numbered(LsmDb *db, uint64_t *last)
{
	LsmScan *scan;
	LsmError err;
	int n = 0;

	MUST(lsm_scan_open(db, &newest, text("n"), text("o"), &scan, &err), &err);
	for (lsm_scan_first(scan); scan->valid; lsm_scan_next(scan), n++)
	{
		*last = 0;
		for (size_t i = 1; i < scan->key.len; i++)
			*last = *last << 8 | (unsigned char) scan->key.data[i];
		CHECK(scan->key.len == 9 && *last == scan->version.seq - 1);
	}
	MUST(scan->status, &scan->err);
	lsm_scan_close(scan);
	return n;
}

/* A batch no memtable can hold, before and after others, and in the log of a store with larger memtables. */
static void
test_large_batches(void)
{
	LsmBatch batch = {0};
	size_t big_len = 300 << 10;
	char *big = malloc(big_len);
	LsmOptions options;
	LsmBuf got = {0};
	uint64_t seq;
	uint64_t after;
	uint64_t numbered;
	LsmError err;
	LsmDb *db;

	start_dir();
	small_options(&options);
	memset(big, 'x', big_len);
	MUST(lsm_open(env, &options, &db, &err), &err);
	put(db, text("a"), text("old"));
	put(db, text("b"), text("old"));
	lsm_batch_put(&batch, text("big"), lsm_slice(big, big_len));
	lsm_batch_put(&batch, text("a"), text("new"));
	lsm_batch_delete(&batch, text("b"));
	lsm_batch_put(&batch, text("c"), text("first"));
	lsm_batch_put(&batch, text("c"), text("second"));
	lsm_batch_put_numbered(&batch, text("n"), 4, text("c"));
	MUST(lsm_write(db, &batch, true, &seq, &err), &err);
	after = put(db, text("d"), text("after"));
	CHECK(after == seq + 6);
	for (int round = 0; round < 3; round++)
	{
		CHECK(has(db, "a", "new") && has(db, "b", NULL) && has(db, "c", "second") && has(db, "d", "after"));
		CHECK(lsm_get(db, &newest, text("big"), &got, NULL, &err) == LSM_OK && got.len == big_len &&
			  memcmp(got.data, big, big_len) == 0);
		CHECK(count_numbered(db, &numbered) == 1 && numbered == seq + 4);
		if (round == 0)
		{
			lsm_close(db);
			MUST(lsm_open(env, &options, &db, &err), &err);
		}
		else if (round == 1)
		{
			put(db, text("a"), text("newer"));
			put(db, text("a"), text("new"));
			MUST(lsm_compact_range(db, text(""), text(""), &err), &err);
		}
	}
	lsm_close(db);

	/* written with large memtables, found in the log by a store with small ones */
	options.memtable_size = 4 << 20;
	MUST(lsm_open(env, &options, &db, &err), &err);
	put(db, text("e"), text("before"));
	MUST(lsm_write(db, &batch, false, &seq, &err), &err);
	put(db, text("e"), text("after"));
	lsm_close(db);
	options.memtable_size = 128 << 10;
	MUST(lsm_open(env, &options, &db, &err), &err);
	CHECK(has(db, "a", "new") && has(db, "b", NULL) && has(db, "c", "second") && has(db, "e", "after"));
	CHECK(lsm_get(db, &newest, text("big"), &got, NULL, &err) == LSM_OK && got.len == big_len);
	CHECK(count_numbered(db, &numbered) == 2 && numbered == seq + 4);
	lsm_close(db);
	lsm_batch_free(&batch);
	lsm_buf_free(&got);
	free(big);
	end_dir();
}

/* ---- damaged directories ---- */

static void
shell(const char *format, const char *a, const char *b)
{
	char command[300];

	snprintf(command, sizeof(command), format, a, b);
	if (system(command) != 0)
		exit(1);
}

static void
test_refusals(void)
{
	LsmOptions options;
	char saved[80];
	LsmError err;
	LsmDb *db;
	int tables;

	start_dir();
	small_options(&options);
	MUST(lsm_open(env, &options, &db, &err), &err);
	for (int i = 0; i < 4000; i++)
	{
		char key[16];

		snprintf(key, sizeof(key), "key%06d", i * 7919 % 4000);
		put(db, text(key), text("some value of no importance whatsoever, of a hundred bytes or so, to fill the tables"));
	}
	lsm_close(db);
	tables = count_files("ldb");
	CHECK(tables > 2);
	snprintf(saved, sizeof(saved), "%s.saved", dir);
	shell("cp -r %s %s", dir, saved);

	/* no CURRENT, but data: never start from nothing */
	shell("rm %s/CURRENT%s", dir, "");
	CHECK(lsm_open(env, &options, &db, &err) == LSM_CORRUPT);
	CHECK(db == NULL && strcmp(err.file, "CURRENT") == 0);
	CHECK(count_files("ldb") == tables);
	shell("cp %s/CURRENT %s/", saved, dir);

	/* a table is missing */
	shell("rm $(ls %s/*.ldb | head -1)%s", dir, "");
	CHECK(lsm_open(env, &options, &db, &err) == LSM_CORRUPT);
	CHECK(strstr(err.file, ".ldb") != NULL);
	CHECK(count_files("ldb") == tables - 1);
	shell("cp %s/*.ldb %s/", saved, dir);

	/* a table is too short; found when it is read, and by verify */
	shell("truncate -s -1 $(ls %s/*.ldb | head -1)%s", dir, "");
	MUST(lsm_open(env, &options, &db, &err), &err);
	{
		LsmBuf got = {0};
		bool corrupt = false;

		for (int i = 0; i < 3000; i++)
		{
			char key[16];
			LsmStatus status;

			snprintf(key, sizeof(key), "key%06d", i);
			status = lsm_get(db, &newest, text(key), &got, NULL, &err);
			CHECK(status == LSM_OK || status == LSM_CORRUPT); /* never "not found" */
			corrupt |= status == LSM_CORRUPT;
		}
		CHECK(corrupt);
		lsm_buf_free(&got);
	}
	lsm_close(db);
	shell("rm -r %s/*%s", dir, "");
	shell("cp %s/* %s/", saved, dir);

	/* the manifest is missing */
	shell("rm %s/MANIFEST*%s", dir, "");
	CHECK(lsm_open(env, &options, &db, &err) == LSM_CORRUPT);
	shell("cp %s/MANIFEST* %s/", saved, dir);
	MUST(lsm_open(env, &options, &db, &err), &err);
	CHECK(has(db, "key000000", "some value of no importance whatsoever, of a hundred bytes or so, to fill the tables"));
	lsm_close(db);

	/* leftovers of every kind are removed, other people's files are not */
	shell("touch %s/999999.ldb %s/999998.dbtmp", dir, dir);
	shell("touch %s/999997.spill %s/MANIFEST-999996", dir, dir);
	shell("touch %s/notes.txt %s/000000.bak", dir, dir);
	MUST(lsm_open(env, &options, &db, &err), &err);
	CHECK(count_files("ldb") >= 2 && count_files("999999.ldb") == 0 && count_files("dbtmp") == 0);
	CHECK(count_files("spill") == 0 && count_files("MANIFEST-999996") == 0);
	CHECK(count_files("notes.txt") == 1 && count_files("bak") == 1);
	CHECK(count_files("MANIFEST-[0-9]*") == 1);
	CHECK(put(db, text("x"), text("y")) > 0);
	lsm_close(db);
	shell("rm -r %s%s", saved, "");
	end_dir();
}

/* ---- handles, threads, processes ---- */

typedef struct Worker
{
	LsmDb *db;
	int number;
	_Atomic bool *stop;
	int bad;
	uint64_t reads;
} Worker;

/* Batches of ten keys that all get the same value, and a numbered one. */
static void *
writer_main(void *arg)
{
	Worker *w = arg;
	LsmBatch batch = {0};
	LsmError err;

	for (uint32_t i = 1; i <= 1500; i++)
	{
		LsmStatus status;

		lsm_batch_clear(&batch);
		for (int k = 0; k < 10; k++)
		{
			char key[32];

			snprintf(key, sizeof(key), "w%d-%d", w->number, k);
			lsm_batch_put(&batch, text(key), lsm_slice(&i, sizeof(i)));
		}
		lsm_batch_put_numbered(&batch, text("n"), 9, text(""));
		while ((status = lsm_write(w->db, &batch, i % 64 == 0, NULL, &err)) == LSM_BUSY)
			MUST(lsm_make_room(w->db, batch.memtable_cost, &err), &err);
		MUST(status, &err);
		w->bad += !has(w->db, "nothing", NULL);
	}
	lsm_batch_free(&batch);
	return NULL;
}

/* At one snapshot, all ten keys of a writer agree; and time does not run backwards. */
static void *
reader_main(void *arg)
{
	Worker *w = arg;
	uint32_t last[4] = {0};
	LsmBuf got = {0};
	LsmError err;

	while (!atomic_load(w->stop))
	{
		int number = (int) (w->reads++ % 4);
		uint64_t snapshot = lsm_snapshot_take(w->db);
		LsmRead read = {snapshot, NULL, NULL};
		uint32_t first = 0;

		for (int k = 0; k < 10; k++)
		{
			uint32_t value = 0;
			char key[32];
			LsmStatus status;

			snprintf(key, sizeof(key), "w%d-%d", number, k);
			status = lsm_get(w->db, &read, text(key), &got, NULL, &err);
			if (status == LSM_OK)
				memcpy(&value, got.data, sizeof(value));
			else if (status != LSM_NOT_FOUND)
				MUST(status, &err);
			if (k == 0)
				first = value;
			w->bad += value != first;
		}
		w->bad += first < last[number];
		last[number] = first;
		lsm_snapshot_release(w->db, snapshot);
	}
	lsm_buf_free(&got);
	return NULL;
}

static void *
worker_main(void *arg)
{
	Worker *w = arg;
	LsmError err;

	while (!atomic_load(w->stop))
	{
		bool did;

		MUST(lsm_work(w->db, &did, &err), &err);
		if (!did)
		{
			env->ops->wait_prepare(env, LSM_WAIT_WORK);
			env->ops->wait(env, LSM_WAIT_WORK, 5);
			env->ops->wait_end(env, LSM_WAIT_WORK);
		}
	}
	return NULL;
}

static void
test_threads(void)
{
	pthread_t threads[7];
	Worker workers[7];
	_Atomic bool stop = false;
	LsmOptions options;
	LsmStats stats;
	uint64_t numbered;
	LsmError err;
	LsmDb *db;

	start_dir();
	small_options(&options);
	options.inline_work = false;
	options.seek_compaction = true;
	options.table.bloom_bits = 0;
	MUST(lsm_open(env, &options, &db, &err), &err);
	for (int i = 0; i < 7; i++)
	{
		workers[i] = (Worker){NULL, i, &stop, 0, 0};
		MUST(lsm_open_handle(db, &workers[i].db, &err), &err);
		pthread_create(&threads[i], NULL, i < 4 ? writer_main : i < 6 ? reader_main
																	  : worker_main,
					   &workers[i]);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&stop, true);
	for (int i = 4; i < 7; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 7; i++)
	{
		CHECK(workers[i].bad == 0);
		lsm_detach(workers[i].db);
	}
	CHECK(workers[4].reads > 10);
	MUST(lsm_stats(db, &stats, &err), &err);
	CHECK(stats.last_seq == 4 * 1500 * 11);
	CHECK(count_numbered(db, &numbered) == 4 * 1500 && numbered == stats.last_seq - 1);
	CHECK(stats.flushes > 2);
	CHECK(stats.last_error.status == LSM_OK);
	lsm_close(db);
	MUST(lsm_open(env, &options, &db, &err), &err);
	for (int i = 0; i < 4; i++)
	{
		uint32_t value = 1500;
		char key[32];
		LsmBuf got = {0};

		snprintf(key, sizeof(key), "w%d-9", i);
		MUST(lsm_get(db, &newest, text(key), &got, NULL, &err), &err);
		CHECK(memcmp(got.data, &value, sizeof(value)) == 0);
		lsm_buf_free(&got);
	}
	lsm_close(db);
	end_dir();
}

/* Handles are handed out up to the limit, and again after detaching. */
static void
test_handles(void)
{
	LsmOptions options;
	LsmDb *others[4];
	LsmDb *more;
	LsmError err;
	LsmDb *db;

	start_dir();
	small_options(&options);
	options.max_handles = 4;
	MUST(lsm_open(env, &options, &db, &err), &err);
	for (int i = 0; i < 3; i++)
		MUST(lsm_open_handle(db, &others[i], &err), &err);
	CHECK(lsm_open_handle(db, &more, &err) == LSM_NO_MEMORY);
	lsm_detach(others[1]);
	MUST(lsm_open_handle(db, &others[1], &err), &err);
	put(db, text("k"), text("v"));
	for (int i = 0; i < 3; i++)
	{
		CHECK(has(others[i], "k", "v"));
		lsm_detach(others[i]);
	}
	lsm_close(db);
	end_dir();
}

/* A child process reads along while its parent writes, flushes and compacts. */
static void
test_processes(void)
{
	LsmOptions options;
	LsmError err;
	LsmDb *db;
	int to_child[2];
	int from_child[2];
	int status;
	pid_t pid;
	LsmShared *shared;
	LsmJournal *journal;
	LsmAttach attach = {0};

	start_dir();
	small_options(&options);
	journal = lsm_journal_log_new(env, 4096);
	{
		/* memory that the child shares */
		size_t size = lsm_shared_size(&options);
		FILE *file = tmpfile();
		void *memory;

		if (ftruncate(fileno(file), (long) size) != 0)
			exit(1);
		memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
		fclose(file);
		shared = lsm_shared_init(memory, &options);
	}
	attach.env = env;
	attach.shared = shared;
	attach.journal = journal;
	MUST(lsm_attach(&attach, &db, &err), &err);
	CHECK(lsm_ready(db, &err) == LSM_BUSY);
	MUST(lsm_recover(db, &err), &err);
	if (pipe(to_child) != 0 || pipe(from_child) != 0)
		exit(1);
	pid = fork();
	if (pid == 0)
	{
		LsmDb *mine;
		char c;

		attach.handle = 1;
		MUST(lsm_attach(&attach, &mine, &err), &err);
		while (read(to_child[0], &c, 1) == 1 && c != 'q')
		{
			char key[16];
			char value[16];
			int bad = 0;

			for (int i = 0; i < 100; i++)
			{
				snprintf(key, sizeof(key), "k%d", i);
				snprintf(value, sizeof(value), "v%c%d", c, i);
				bad += !has(mine, key, value);
			}
			c = bad == 0 ? 'y' : 'n';
			if (write(from_child[1], &c, 1) != 1)
				_exit(1);
		}
		lsm_detach(mine);
		_exit(0);
	}
	for (char round = 'A'; round <= 'Z'; round++)
	{
		char answer;

		for (int i = 0; i < 100; i++)
		{
			char key[16];
			char value[16];

			snprintf(key, sizeof(key), "k%d", i);
			snprintf(value, sizeof(value), "v%c%d", round, i);
			put(db, text(key), text(value));
		}
		if (round % 3 == 0)
			MUST(lsm_flush(db, &err), &err);
		if (round % 5 == 0)
			MUST(lsm_compact_range(db, text(""), text(""), &err), &err);
		CHECK(write(to_child[1], &round, 1) == 1);
		CHECK(read(from_child[0], &answer, 1) == 1);
		CHECK(answer == 'y');
	}
	CHECK(write(to_child[1], "q", 1) == 1);
	waitpid(pid, &status, 0);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	lsm_detach(db);
	journal->ops->close(journal);
	end_dir();
}

/* Writes until the memtable has been rotated `times` times. */
static void
fill(LsmDb *db, LsmShared *shared, int times, int *key_number)
{
	uint64_t until = atomic_load(&shared->active_generation) + (uint64_t) times;
	char big[1000];

	memset(big, 'c', sizeof(big));
	while (atomic_load(&shared->active_generation) < until)
	{
		LsmBatch batch = {0};
		LsmStatus status;
		LsmError err;
		char key[16];

		snprintf(key, sizeof(key), "c%06d", (*key_number)++);
		lsm_batch_put(&batch, text(key), lsm_slice(big, sizeof(big)));
		while ((status = lsm_write(db, &batch, false, NULL, &err)) == LSM_BUSY)
			MUST(lsm_make_room(db, batch.memtable_cost, &err), &err);
		MUST(status, &err);
		lsm_batch_free(&batch);
	}
}

static int
retired_arenas(LsmShared *shared)
{
	int n = 0;

	for (int i = 0; i < shared->options.memtable_slots; i++)
		n += shared->slots[i].state == LSM_SLOT_RETIRED;
	return n;
}

/* Somebody who stands still in a scan keeps an arena from being used again; letting go frees it. */
static void
test_pins(void)
{
	LsmOptions options;
	LsmShared *shared;
	LsmDb *other;
	LsmScan *scan;
	LsmError err;
	LsmDb *db;
	int n = 0;

	start_dir();
	small_options(&options);
	MUST(lsm_open(env, &options, &db, &err), &err);
	shared = db->shared;
	MUST(lsm_open_handle(db, &other, &err), &err);
	put(db, text("a"), text("1"));
	put(db, text("b"), text("2"));
	MUST(lsm_scan_open(other, &newest, text(""), text(""), &scan, &err), &err);
	lsm_scan_first(scan);
	CHECK(scan->valid && lsm_slice_compare(scan->key, text("a")) == 0);
	fill(db, shared, 1, &n);
	CHECK(retired_arenas(shared) == 1);
	CHECK(lsm_slice_compare(scan->value, text("1")) == 0); /* still what it was */
	lsm_scan_release(scan);
	fill(db, shared, 5, &n);
	CHECK(retired_arenas(shared) == 0);
	lsm_scan_next(scan);
	CHECK(scan->valid && lsm_slice_compare(scan->key, text("b")) == 0);
	CHECK(lsm_slice_compare(scan->value, text("2")) == 0);
	lsm_scan_next(scan);
	CHECK(!scan->valid && scan->status == LSM_OK); /* the scan's snapshot is older than the c's */
	lsm_scan_close(scan);

	/* one's own scan never stands in one's own way, and a thrown-away pin is dropped */
	MUST(lsm_scan_open(db, &newest, text(""), text(""), &scan, &err), &err);
	lsm_scan_first(scan);
	fill(db, shared, 6, &n);
	lsm_scan_next(scan);
	CHECK(scan->valid && lsm_slice_compare(scan->key, text("b")) == 0);
	lsm_unpin_all(db);
	CHECK(atomic_load(db->pin) == 0);
	lsm_scan_next(scan);
	CHECK(scan->valid && scan->key.data[0] == 'c');
	lsm_scan_close(scan);
	lsm_detach(other);
	lsm_close(db);
	end_dir();
}

int
main(void)
{
	uint64_t seed = (uint64_t) time(NULL) * 2654435761u + (uint64_t) getpid();

	printf("seed %llu\n", (unsigned long long) seed);
	snprintf(dir, sizeof(dir), "/tmp/lsm_test_db.%d", (int) getpid());
	test_basics();
	test_random_writes(seed);
	test_large_batches();
	test_refusals();
	test_handles();
	test_threads();
	test_processes();
	test_pins();
	return test_done();
}
