/*
 * test_compact.c - merging, dropping, yielding, cleaning up; standalone.  (What is merged: test_pick.c.)
 *
 * What must hold:
 *   - no user key lies in two files of a deeper level, and no output meets too much of the level below its own
 *   - deletions vanish where nothing older can lie beneath, and only there; snapshots keep what they see
 *   - a compaction that is told to stop leaves nothing behind; one that runs lets waiting memtables go first
 *   - old files stay as long as somebody reads them, and not longer
 *   - two files that LevelDB cut between two versions of a key are read and compacted as one
 */
#include "engine/test/test.h"

#include <time.h>
#include <unistd.h>

#include "engine/handle.h"
#include "engine/output.h"
#include "engine/work.h"

static char dir[64];
static LsmEnv *env;
static LsmOptions options;
static const LsmRead newest = {LSM_MAX_SEQUENCE, NULL, NULL};

static LsmSlice
text(const char *s)
{
	return lsm_slice(s, strlen(s));
}

static void
reset_options(void)
{
	lsm_options_init(&options);
	options.memtable_size = 64 << 10;
	options.block_cache_size = 0;
	options.file_size = 16 << 10;
	options.level1_size = 64 << 10;
	options.level_factor = 4;
	options.table.block_size = 1 << 10;
	options.table.compression = LSM_COMPRESS_NONE;
	options.level0_compression = LSM_COMPRESS_NONE;
	options.inline_work = true;
}

static LsmDb *db;

static void
open_store(void)
{
	LsmError err;

	MUST(lsm_open(env, &options, &db, &err), &err);
}

static void
put(const char *key, const char *value, size_t value_len)
{
	LsmBatch batch = {0};
	LsmStatus status;
	LsmError err;

	if (value == NULL)
		lsm_batch_delete(&batch, text(key));
	else
		lsm_batch_put(&batch, text(key), lsm_slice(value, value_len));
	while ((status = lsm_write(db, &batch, false, NULL, &err)) == LSM_BUSY)
		MUST(lsm_make_room(db, batch.memtable_cost, &err), &err);
	MUST(status, &err);
	lsm_batch_free(&batch);
}

static void
compact_all(void)
{
	LsmError err;

	MUST(lsm_compact_range(db, text(""), text(""), &err), &err);
}

/* Two keys at the ends of everything, so that a table of level 0 meets all others. */
static void
span_all(void)
{
	put("\001", "", 0);
	put("~", "", 0);
}

static uint64_t
count_entries(void)
{
	uint64_t files;
	uint64_t entries;
	LsmError err;

	MUST(lsm_verify(db, NULL, NULL, NULL, &files, &entries, &err), &err);
	return entries;
}

static bool
is(uint64_t seq, const char *key, const char *value)
{
	LsmRead read = {seq, NULL, NULL};
	LsmBuf got = {0};
	LsmError err;
	LsmStatus status = lsm_get(db, &read, text(key), &got, NULL, &err);
	bool same = value == NULL ? status == LSM_NOT_FOUND
							  : status == LSM_OK && lsm_slice_compare(lsm_buf_slice(&got), text(value)) == 0;

	lsm_buf_free(&got);
	return same;
}

static void
clean(void)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s/*", dir);
	if (system(command) != 0)
		exit(1);
}

/* Deeper levels: no user key in two files; no file meets more than the limit and one file of the level below. */
static void
check_shape(void)
{
	LsmError err;
	LsmFiles *files;

	MUST(lsm_enter(db, &err), &err);
	files = db->follow.files;
	for (int level = 1; level < LSM_NUM_LEVELS; level++)
	{
		const LsmLevel *l = &files->levels[level];

		for (int i = 0; i < l->n; i++)
		{
			if (i > 0)
				CHECK(lsm_slice_compare(lsm_ikey_user(l->files[i - 1]->largest), lsm_ikey_user(l->files[i]->smallest)) < 0);
			if (level + 1 < LSM_NUM_LEVELS)
			{
				uint64_t met = 0;
				int from;
				int to;

				lsm_level_range(&files->levels[level + 1], lsm_ikey_user(l->files[i]->smallest),
								lsm_ikey_user(l->files[i]->largest), &from, &to);
				for (; from < to; from++)
					met += files->levels[level + 1].files[from]->size;
				CHECK(met < 12 * options.file_size + 40000);
			}
		}
	}
	lsm_leave(db);
}

static void
test_versions_stay_together(void)
{
	char value[2000];
	uint64_t snapshots[60];

	reset_options();
	open_store();
	memset(value, 'v', sizeof(value));
	/* one key with more bytes of versions than several files, between others */
	for (int i = 0; i < 60; i++)
	{
		char key[16];

		value[0] = (char) i;
		put("m", value, sizeof(value));
		snapshots[i] = lsm_snapshot_take(db);
		snprintf(key, sizeof(key), "%c%03d", i % 2 ? 'a' : 'z', i);
		put(key, value, sizeof(value));
	}
	compact_all();
	check_shape();
	CHECK(count_entries() == 120);
	for (int i = 0; i < 60; i++)
	{
		LsmRead read = {snapshots[i], NULL, NULL};
		LsmBuf got = {0};
		LsmError err;

		MUST(lsm_get(db, &read, text("m"), &got, NULL, &err), &err);
		CHECK(got.data[0] == (char) i);
		lsm_buf_free(&got);
	}
	/* the newer half goes: only the oldest snapshot counts, so everything stays */
	for (int i = 30; i < 60; i++)
		lsm_snapshot_release(db, snapshots[i]);
	compact_all();
	CHECK(count_entries() == 120);
	for (int i = 0; i < 30; i++)
		lsm_snapshot_release(db, snapshots[i]);
	span_all();
	compact_all();
	CHECK(count_entries() == 61 + 2);
	CHECK(db->shared->nsnapshots == 0);
	lsm_close(db);
	clean();
}

/* More snapshots than the array holds still protect what they see. */
static void
test_many_snapshots(void)
{
	enum
	{
		N = LSM_MAX_SNAPSHOTS * 2
	};
	uint64_t snapshots[N];

	reset_options();
	open_store();
	for (int i = 0; i < N; i++)
	{
		char value[16];

		snprintf(value, sizeof(value), "%d", i);
		put("k", value, strlen(value));
		snapshots[i] = lsm_snapshot_take(db);
	}
	for (int i = 0; i < N; i++)
	{
		char value[16];

		/* released in an order of its own */
		if (i % 16 == 0)
			compact_all();
		snprintf(value, sizeof(value), "%d", i);
		CHECK(is(snapshots[i], "k", value));
		snprintf(value, sizeof(value), "%d", N - 1);
		CHECK(is(snapshots[N - 1], "k", value));
		if (i < N - 1)
			lsm_snapshot_release(db, snapshots[i]);
	}
	lsm_snapshot_release(db, snapshots[N - 1]);
	CHECK(db->shared->nsnapshots == 0);
	span_all();
	compact_all();
	CHECK(count_entries() == 1 + 2);
	lsm_close(db);
	clean();
}

static int
deepest_level(void)
{
	LsmStats stats;
	LsmError err;
	int deepest = -1;

	MUST(lsm_stats(db, &stats, &err), &err);
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
	{
		if (stats.levels[level].files > 0)
			deepest = level;
	}
	return deepest;
}

static void
test_deletions(void)
{
	uint64_t snapshot;
	LsmError err;

	reset_options();
	open_store();
	put("a", "1", 1);
	put("b", "1", 1);
	compact_all();
	CHECK(deepest_level() == 1);
	/* above what it deletes it stays, through a flush */
	put("a", NULL, 0);
	put("never", NULL, 0);
	MUST(lsm_flush(db, &err), &err);
	CHECK(count_entries() == 3); /* "never" met nothing older anywhere */
	CHECK(is(LSM_MAX_SEQUENCE, "a", NULL) && is(LSM_MAX_SEQUENCE, "b", "1"));
	compact_all();
	CHECK(count_entries() == 1);
	CHECK(is(LSM_MAX_SEQUENCE, "a", NULL));

	/* a snapshot in between keeps both */
	snapshot = lsm_snapshot_take(db);
	put("b", NULL, 0);
	compact_all();
	CHECK(count_entries() == 2);
	CHECK(is(snapshot, "b", "1") && is(LSM_MAX_SEQUENCE, "b", NULL));
	lsm_snapshot_release(db, snapshot);
	compact_all();
	CHECK(count_entries() == 0);
	CHECK(is(LSM_MAX_SEQUENCE, "b", NULL));
	lsm_close(db);
	clean();
}

/* Keys in order: nothing is rewritten on the way down. */
static void
test_sequential_fill_moves(void)
{
	LsmStats stats;
	char value[500];
	LsmError err;

	reset_options();
	open_store();
	memset(value, 's', sizeof(value));
	for (int i = 0; i < 3000; i++)
	{
		char key[16];

		snprintf(key, sizeof(key), "%08d", i);
		put(key, value, sizeof(value));
	}
	MUST(lsm_stats(db, &stats, &err), &err);
	CHECK(stats.compactions > 5);
	CHECK(stats.bytes_compacted == 0);
	CHECK(deepest_level() >= 2);
	CHECK(stats.compaction_debt < 100000);
	check_shape();
	lsm_close(db);
	clean();
}

static void
test_random_fill_shape(uint64_t seed)
{
	uint64_t random = seed;
	LsmStats stats;
	char value[500];
	LsmError err;

	reset_options();
	open_store();
	for (int i = 0; i < 6000; i++)
	{
		char key[16];

		memset(value, 'a' + i % 26, sizeof(value));
		snprintf(key, sizeof(key), "%08d", (int) (test_random(&random) % 4000));
		put(key, value, 100 + test_random(&random) % 400);
		if (i % 1000 == 999)
			check_shape();
	}
	MUST(lsm_stats(db, &stats, &err), &err);
	CHECK(stats.levels[0].files < options.level0_compact);
	CHECK(stats.levels[2].files > 0);
	CHECK(stats.compaction_debt == 0);
	CHECK(stats.last_error.status == LSM_OK);
	lsm_close(db);
	clean();
}

static uint64_t
level_bytes(const LsmStats *stats)
{
	uint64_t bytes = 0;

	for (int level = 0; level < LSM_NUM_LEVELS; level++)
		bytes += stats->levels[level].bytes;
	return bytes;
}

/* Writing everything once more, in any order, leaves little behind that is obsolete. */
static void
test_overwrite_space(uint64_t seed)
{
	uint64_t random = seed;
	uint64_t before;
	bool did = true;
	LsmStats stats;
	char value[500];
	LsmError err;

	reset_options();
	options.memtable_size = 16 << 10;
	open_store();
	memset(value, 'o', sizeof(value));
	for (int round = 0; round < 3; round++)
	{
		for (int i = 0; i < 5000; i++)
		{
			char key[16];

			/* 7919 is a prime: every key once a round */
			snprintf(key, sizeof(key), "%08d", (int) ((i * UINT64_C(7919) + random) % 5000));
			put(key, value, sizeof(value));
		}
		random = test_random(&random) % 5000;
	}
	MUST(lsm_flush(db, &err), &err);
	while (did)
		MUST(lsm_work(db, &did, &err), &err);
	MUST(lsm_stats(db, &stats, &err), &err);
	CHECK(stats.compaction_debt == 0);
	before = level_bytes(&stats);
	compact_all();
	MUST(lsm_stats(db, &stats, &err), &err);
	/* level_factor is 4: a third in the levels above the deepest; and level 0 */
	CHECK(before * 10 <= level_bytes(&stats) * 14);
	CHECK(before > level_bytes(&stats));
	lsm_close(db);
	clean();
}

/* ---- yielding ---- */

static int
count_files(const char *pattern)
{
	char command[128];
	FILE *pipe;
	int n;

	snprintf(command, sizeof(command), "ls %s | grep -c '%s'", dir, pattern);
	pipe = popen(command, "r");
	if (fscanf(pipe, "%d", &n) != 1)
		n = -1;
	pclose(pipe);
	return n;
}

typedef struct Asked
{
	int calls;
	int stop_after; /* 0: never */
	LsmDb *other;   /* if set: rotates a memtable at the first call */
	int waiting_before;
	int waiting_later; /* in how many calls */
	int waiting_last;
} Asked;

static bool
should_stop(void *arg)
{
	Asked *asked = arg;
	LsmShared *shared = db->shared;

	asked->calls++;
	if (asked->other != NULL && asked->calls == 1)
	{
		LsmBatch batch = {0};
		LsmError err;

		/* a writer fills a memtable while the compaction runs */
		while (atomic_load(&shared->waiting) == 0)
		{
			lsm_batch_clear(&batch);
			lsm_batch_put(&batch, text("written meanwhile"), text("0123456789"));
			if (lsm_write(asked->other, &batch, false, NULL, &err) == LSM_BUSY)
			{
				uint64_t generation = atomic_load(&shared->active_generation);

				MUST(lsm_make_room(asked->other, batch.memtable_cost, &err), &err);
				CHECK(atomic_load(&shared->active_generation) == generation + 1);
			}
		}
		lsm_batch_free(&batch);
		asked->waiting_before = atomic_load(&shared->waiting);
	}
	else if (asked->other != NULL && asked->calls > 1)
	{
		asked->waiting_last = atomic_load(&shared->waiting);
		asked->waiting_later += asked->waiting_last;
	}
	return asked->stop_after != 0 && asked->calls >= asked->stop_after;
}

static void
fill_randomly(uint64_t seed, int n)
{
	uint64_t random = seed;
	char value[400];

	for (int i = 0; i < n; i++)
	{
		char key[16];

		memset(value, 'a' + i % 26, sizeof(value));
		snprintf(key, sizeof(key), "%08d", (int) (test_random(&random) % 2000));
		put(key, value, sizeof(value));
	}
}

static void
test_interrupts(uint64_t seed)
{
	Asked asked = {0};
	uint64_t before;
	int tables;
	LsmError err;
	bool did;

	reset_options();
	options.inline_work = false;
	options.level0_compact = 3;
	options.level1_size = 64 << 20;
	options.level0_slow = 1000; /* nobody but the test compacts */
	options.level0_stop = 2000;
	open_store();
	fill_randomly(seed, 2000);
	MUST(lsm_flush(db, &err), &err);
	before = count_entries();
	tables = count_files("ldb");
	CHECK(tables > 3);
	db->should_stop = should_stop;
	db->stop_arg = &asked;
	asked.stop_after = 3;
	CHECK(lsm_work(db, &did, &err) == LSM_INTERRUPTED);
	CHECK(asked.calls == 3 && !did);
	CHECK(count_files("ldb") == tables);
	CHECK(atomic_load(&db->shared->worker) == 0);
	CHECK(lsm_compact_range(db, text(""), text(""), &err) == LSM_INTERRUPTED);
	db->should_stop = NULL;
	CHECK(count_files("ldb") == tables && count_entries() == before);
	MUST(lsm_work(db, &did, &err), &err);
	CHECK(did);
	CHECK(count_files("ldb") != tables);
	CHECK(count_entries() < before);

	/* a memtable that fills up during a compaction does not wait for its end */
	fill_randomly(seed + 1, 2000);
	MUST(lsm_flush(db, &err), &err);
	memset(&asked, 0, sizeof(asked));
	MUST(lsm_open_handle(db, &asked.other, &err), &err);
	db->should_stop = should_stop;
	MUST(lsm_work(db, &did, &err), &err);
	db->should_stop = NULL;
	CHECK(did && asked.calls > 2);
	CHECK(asked.waiting_before == 1 && asked.waiting_last == 0);
	CHECK(asked.waiting_later < asked.calls / 2); /* only while it was flushed */
	CHECK(is(LSM_MAX_SEQUENCE, "written meanwhile", "0123456789"));
	lsm_detach(asked.other);

	/* the rate is kept, roughly */
	{
		uint64_t start;
		uint64_t took;
		LsmStats a;
		LsmStats b;

		fill_randomly(seed + 2, 1000);
		MUST(lsm_flush(db, &err), &err);
		MUST(lsm_stats(db, &a, &err), &err);
		lsm_set_rate(db, 8 << 20);
		start = env->ops->now_us(env);
		do
			MUST(lsm_work(db, &did, &err), &err);
		while (did);
		took = env->ops->now_us(env) - start;
		MUST(lsm_stats(db, &b, &err), &err);
		CHECK(b.bytes_compacted > a.bytes_compacted + 200000);
		CHECK((double) took > (double) (b.bytes_compacted - a.bytes_compacted) / (8 << 20) * 1e6 * 0.7 - 50000);
	}
	lsm_close(db);
	clean();
}

/* ---- files come and go ---- */

static void
test_old_files(uint64_t seed)
{
	LsmDb *other;
	LsmScan *scan;
	LsmError err;
	int tables;
	int live = 0;
	bool did = true;

	reset_options();
	open_store();
	MUST(lsm_open_handle(db, &other, &err), &err);
	fill_randomly(seed, 1500);
	MUST(lsm_flush(db, &err), &err);
	tables = count_files("ldb");
	MUST(lsm_scan_open(other, &newest, text(""), text(""), &scan, &err), &err);
	lsm_scan_first(scan);
	CHECK(scan->valid);
	compact_all();
	CHECK(count_files("ldb") > tables); /* the scan's files and the new ones */
	lsm_scan_release(scan);
	while (did)
		MUST(lsm_work(db, &did, &err), &err);
	MUST(lsm_enter(db, &err), &err);
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
		live += db->follow.files->levels[level].n;
	lsm_leave(db);
	CHECK(count_files("ldb") == live);
	CHECK(count_files("MANIFEST") == 1 && count_files("log") == 1);
	lsm_scan_next(scan);
	CHECK(scan->valid);

	/* who was asked to compact, and who leaves, with files still to remove has them swept by the next one */
	for (int leaves = 0; leaves < 2; leaves++)
	{
		LsmDb *asked;

		MUST(lsm_open_handle(db, &asked, &err), &err);
		fill_randomly(seed + 3, 300);
		lsm_scan_next(scan); /* pinned again */
		if (leaves)
		{
			MUST(lsm_flush(asked, &err), &err);
			CHECK(lsm_role_try(asked));
			MUST(lsm_compact_range_with_role(asked, text(""), text(""), LSM_JOB_WAIT, &err), &err);
			lsm_role_give(asked);
			CHECK(asked->ngarbage > 0);
			lsm_detach(asked);
		}
		else
			MUST(lsm_compact_range(asked, text(""), text(""), &err), &err);
		lsm_scan_release(scan);
		did = true;
		while (did)
			MUST(lsm_work(other, &did, &err), &err);
		live = 0;
		MUST(lsm_enter(db, &err), &err);
		for (int level = 0; level < LSM_NUM_LEVELS; level++)
			live += db->follow.files->levels[level].n;
		lsm_leave(db);
		CHECK(count_files("ldb") == live);
		if (!leaves)
			lsm_detach(asked);
	}
	lsm_scan_close(scan);
	lsm_detach(other);
	lsm_close(db);
	clean();
}

/* A table ends before it lies over more than ten times a file's size of the level beneath: to merge it would take long. */
static void
test_cut_above_much(void)
{
	LsmFileMeta *metas[30];
	LsmLevel beneath = {metas, 30, 0};
	LsmOutput output;
	LsmBuf ikey = {0};
	LsmError err;

	reset_options();
	open_store();
	for (int i = 0; i < 30; i++)
	{
		char key[16];

		snprintf(key, sizeof(key), "%03d", i);
		ikey.len = 0;
		CHECK(lsm_ikey_append(&ikey, text(key), 1, LSM_TYPE_VALUE));
		metas[i] = lsm_file_new(1000 + (uint64_t) i, options.file_size, lsm_buf_slice(&ikey), lsm_buf_slice(&ikey));
	}
	lsm_output_init(&output, db, 1, 0, &beneath);
	for (int i = 0; i < 30; i++)
	{
		char key[16];

		snprintf(key, sizeof(key), "%03d", i);
		ikey.len = 0;
		CHECK(lsm_ikey_append(&ikey, text(key), 5, LSM_TYPE_VALUE));
		MUST(lsm_output_add(&output, lsm_buf_slice(&ikey), text("value"), &err), &err);
	}
	MUST(lsm_output_finish(&output, &err), &err);
	CHECK(output.nfiles == 3);
	if (output.nfiles == 3)
	{
		CHECK(lsm_slice_compare(lsm_ikey_user(output.files[1]->smallest), text("011")) == 0);
		CHECK(lsm_slice_compare(lsm_ikey_user(output.files[2]->smallest), text("022")) == 0);
	}
	lsm_output_discard(&output);
	lsm_output_free(&output);
	for (int i = 0; i < 30; i++)
		lsm_file_unref(metas[i]);
	lsm_buf_free(&ikey);
	lsm_close(db);
	clean();
}

/* Level 1 as LevelDB could leave it: versions 9 .. 6 of "k" in one file, 5 .. 1 in the next. */
static void
test_split_key(void)
{
	LsmFileMeta *metas[2];
	LsmEdit edit = {0};
	LsmFilesBuilder *builder;
	LsmFiles *files;
	LsmManifestWriter writer = {0};
	LsmError err;

	reset_options();
	open_store();
	for (int f = 0; f < 2; f++)
	{
		LsmOutput output;
		LsmBuf ikey = {0};

		lsm_output_init(&output, db, 1, 0, NULL);
		for (uint64_t seq = f == 0 ? 9 : 5; seq >= (f == 0 ? 6 : 1); seq--)
		{
			char value[2] = {(char) ('0' + seq), 0};

			ikey.len = 0;
			lsm_ikey_append(&ikey, text("k"), seq, seq == 7 ? LSM_TYPE_DELETION : LSM_TYPE_VALUE);
			MUST(lsm_output_add(&output, lsm_buf_slice(&ikey), seq == 7 ? text("") : text(value), &err), &err);
		}
		MUST(lsm_output_finish(&output, &err), &err);
		metas[f] = output.files[0];
		lsm_file_ref(metas[f]);
		lsm_edit_add(&edit, 1, metas[f]);
		lsm_output_free(&output);
		lsm_buf_free(&ikey);
	}
	builder = lsm_files_builder_new(NULL, NULL);
	MUST(lsm_files_builder_apply(builder, &edit, &err), &err);
	MUST(lsm_files_builder_finish(builder, &files, &err), &err);
	lsm_files_builder_free(builder);
	edit.next_file = 100;
	edit.last_seq = 9;
	MUST(lsm_manifest_roll(&writer, env, 99, &edit, files, &err), &err);
	lsm_manifest_close(&writer);
	lsm_files_unref(files);
	lsm_edit_free(&edit);
	lsm_file_unref(metas[0]);
	lsm_file_unref(metas[1]);
	lsm_close(db);

	open_store();
	for (uint64_t seq = 1; seq <= 9; seq++)
	{
		char value[2] = {(char) ('0' + seq), 0};

		CHECK(is(seq, "k", seq == 7 ? NULL : value));
	}
	CHECK(is(LSM_MAX_SEQUENCE, "k", "9"));
	put("k", NULL, 0);
	compact_all();
	CHECK(is(LSM_MAX_SEQUENCE, "k", NULL));
	CHECK(count_entries() == 0);
	lsm_close(db);
	clean();
}

int
main(void)
{
	uint64_t seed = (uint64_t) time(NULL) * 2654435761u + (uint64_t) getpid();
	char command[100];
	LsmError err;

	printf("seed %llu\n", (unsigned long long) seed);
	snprintf(dir, sizeof(dir), "/tmp/lsm_test_compact.%d", (int) getpid());
	MUST(lsm_env_posix_open(dir, &env, &err), &err);
	test_versions_stay_together();
	test_many_snapshots();
	test_deletions();
	test_sequential_fill_moves();
	test_random_fill_shape(seed);
	test_overwrite_space(seed);
	test_interrupts(seed);
	test_old_files(seed);
	test_cut_above_much();
	test_split_key();
	lsm_env_posix_close(env);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	if (system(command) != 0)
		return 1;
	return test_done();
}
