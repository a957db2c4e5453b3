/*
 * test_scan.c - scans in both directions, standalone.
 *
 * What must hold:
 *   - a scan shows the store as it was when it was opened, whatever is written, flushed and compacted meanwhile,
 *     released between moves or not
 *   - every move lands where it does on a sorted array, turning round included
 *   - bounds hold, and files outside of them are not opened
 *   - a cache that is too small for a scan costs nothing but time, and helps as far as it goes
 *   - a damaged block is an error, never the end of the data
 */
#include "engine/test/test.h"

#include <time.h>
#include <unistd.h>

#include "engine/handle.h"

#define KEYS 2000

static char dir[64];
static LsmEnv *env;
static LsmOptions options;
static const LsmRead newest = {LSM_MAX_SEQUENCE, NULL, NULL};

/* The model: key number -> value number, 0 if it is not there. */
typedef struct Model
{
	uint32_t values[KEYS];
} Model;

static LsmSlice
text(const char *s)
{
	return lsm_slice(s, strlen(s));
}

static LsmSlice
key_name(char *buf, int key)
{
	snprintf(buf, 16, "key%06d", key * 2); /* odd numbers are between keys */
	return text(buf);
}

static LsmSlice
value_of(char *buf, uint32_t value)
{
	memset(buf, 'a' + (int) (value % 26), 300);
	memcpy(buf, &value, sizeof(value));
	return lsm_slice(buf, 4 + value % 290);
}

static void
write_random(LsmDb *db, Model *model, uint64_t *random, int n)
{
	LsmBatch batch = {0};
	LsmError err;

	for (int i = 0; i < n; i++)
	{
		int key = (int) (test_random(random) % KEYS);
		char name[16];
		char value[300];

		if (test_random(random) % 4 == 0)
		{
			model->values[key] = 0;
			lsm_batch_delete(&batch, key_name(name, key));
		}
		else
		{
			model->values[key] = 1 + (uint32_t) (test_random(random) % 100000);
			lsm_batch_put(&batch, key_name(name, key), value_of(value, model->values[key]));
		}
	}
	MUST(lsm_write(db, &batch, false, NULL, &err), &err);
	lsm_batch_free(&batch);
}

/* The next key that is there from `at` on in steps of `by`, within [low, high); -1 if none. */
static int
model_walk(const Model *model, int at, int by, int low, int high)
{
	for (; at >= low && at < high; at += by)
	{
		if (model->values[at] != 0)
			return at;
	}
	return -1;
}

static bool
shows(const LsmScan *scan, const Model *model, int at)
{
	char name[16];
	char value[300];

	if (scan->status != LSM_OK)
		return false;
	if (at < 0)
		return !scan->valid;
	return scan->valid && lsm_slice_compare(scan->key, key_name(name, at)) == 0 &&
		   lsm_slice_compare(scan->value, value_of(value, model->values[at])) == 0;
}

typedef struct Open
{
	LsmScan *scan;
	Model seen; /* as it was when the scan was opened */
	int low, high;
	int at;
} Open;

static void
open_scan(LsmDb *db, Open *open, const Model *model, uint64_t *random)
{
	char lower_name[16];
	char upper_name[16];
	LsmSlice lower = {NULL, 0};
	LsmSlice upper = {NULL, 0};
	LsmError err;

	open->seen = *model;
	open->low = 0;
	open->high = KEYS;
	if (test_random(random) % 2 == 0)
	{
		open->low = (int) (test_random(random) % KEYS);
		lower = key_name(lower_name, open->low);
	}
	if (test_random(random) % 2 == 0)
	{
		open->high = (int) (test_random(random) % KEYS);
		upper = key_name(upper_name, open->high);
	}
	open->at = -1;
	MUST(lsm_scan_open(db, &newest, lower, upper, &open->scan, &err), &err);
}

static void
move(Open *open, uint64_t *random)
{
	int target = (int) (test_random(random) % (2 * KEYS)); /* key numbers and what lies between */
	char name[16];
	int at;

	snprintf(name, sizeof(name), "key%06d", target);
	switch (test_random(random) % (open->at < 0 ? 4 : 12))
	{
		case 0:
			lsm_scan_first(open->scan);
			at = model_walk(&open->seen, open->low, 1, open->low, open->high);
			break;
		case 1:
			lsm_scan_last(open->scan);
			at = model_walk(&open->seen, open->high - 1, -1, open->low, open->high);
			break;
		case 2:
			lsm_scan_seek(open->scan, text(name));
			at = (target + 1) / 2;
			at = model_walk(&open->seen, at < open->low ? open->low : at, 1, open->low, open->high);
			break;
		case 3:
			lsm_scan_seek_last(open->scan, text(name));
			at = target / 2;
			at = model_walk(&open->seen, at >= open->high ? open->high - 1 : at, -1, open->low, open->high);
			break;
		case 4:
		case 5:
		case 6:
		case 7:
			lsm_scan_next(open->scan);
			at = model_walk(&open->seen, open->at + 1, 1, open->low, open->high);
			break;
		default:
			lsm_scan_prev(open->scan);
			at = model_walk(&open->seen, open->at - 1, -1, open->low, open->high);
			break;
	}
	open->at = at;
	CHECK(shows(open->scan, &open->seen, at));
	if (test_random(random) % 3 == 0)
		lsm_scan_release(open->scan);
}

/* Several scans at once, while the store changes under them. */
static void
test_random_moves(uint64_t seed)
{
	enum
	{
		SCANS = 4
	};
	static Open scans[SCANS];
	static Model model;
	uint64_t random = seed;
	LsmError err;
	LsmDb *db;

	MUST(lsm_open(env, &options, &db, &err), &err);
	for (int i = 0; i < 200; i++)
		write_random(db, &model, &random, 20);
	for (int i = 0; i < SCANS; i++)
		open_scan(db, &scans[i], &model, &random);
	for (int round = 0; round < 12000; round++)
	{
		Open *open = &scans[test_random(&random) % SCANS];

		move(open, &random);
		if (test_random(&random) % 200 == 0)
		{
			lsm_scan_close(open->scan);
			open_scan(db, open, &model, &random);
		}
		if (test_random(&random) % 20 == 0)
			write_random(db, &model, &random, 1 + (int) (test_random(&random) % 30));
		if (test_random(&random) % 500 == 0)
			MUST(lsm_flush(db, &err), &err);
		if (test_random(&random) % 2000 == 0)
			MUST(lsm_compact_range(db, text(""), text(""), &err), &err);
		if (test_random(&random) % 1000 == 0)
			lsm_unpin_all(db);
	}
	for (int i = 0; i < SCANS; i++)
		lsm_scan_close(scans[i].scan);
	CHECK(db->shared->nsnapshots == 0);
	CHECK(atomic_load(db->pin) == 0 && db->pin_depth == 0);
	lsm_close(db);
}

static void
test_empty(void)
{
	LsmScan *scan;
	LsmError err;
	LsmDb *db;

	MUST(lsm_open(env, &options, &db, &err), &err);
	for (int round = 0; round < 2; round++)
	{
		MUST(lsm_scan_open(db, &newest, text(""), text(""), &scan, &err), &err);
		lsm_scan_next(scan); /* not standing anywhere */
		CHECK(!scan->valid);
		lsm_scan_first(scan);
		CHECK(!scan->valid && scan->status == LSM_OK);
		lsm_scan_last(scan);
		CHECK(!scan->valid && scan->status == LSM_OK);
		lsm_scan_seek(scan, text("a"));
		CHECK(!scan->valid);
		lsm_scan_seek_last(scan, text("a"));
		CHECK(!scan->valid);
		lsm_scan_close(scan);
		/* the second time with a key that is deleted */
		if (round == 0)
		{
			LsmBatch batch = {0};

			lsm_batch_put(&batch, text("a"), text("1"));
			lsm_batch_delete(&batch, text("a"));
			MUST(lsm_write(db, &batch, false, NULL, &err), &err);
			lsm_batch_free(&batch);
		}
	}
	lsm_close(db);
}

/* Only files that the range touches are opened, and of a level one at a time. */
static void
test_opens_little(void)
{
	LsmScan *scan;
	LsmError err;
	LsmDb *db;
	LsmDb *other;
	char lower[16];
	char upper[16];
	int files;
	int n = 0;

	MUST(lsm_open(env, &options, &db, &err), &err);
	for (int i = 0; i < KEYS; i += 10)
	{
		LsmBatch batch = {0};

		for (int k = i; k < i + 10; k++)
		{
			char name[16];
			char value[300];

			lsm_batch_put(&batch, key_name(name, k), value_of(value, 280 + (uint32_t) k % 10));
		}
		MUST(lsm_write(db, &batch, false, NULL, &err), &err);
		lsm_batch_free(&batch);
	}
	MUST(lsm_compact_range(db, text(""), text(""), &err), &err);
	MUST(lsm_open_handle(db, &other, &err), &err);
	MUST(lsm_scan_open(other, &newest, key_name(lower, 1000), key_name(upper, 1010), &scan, &err), &err);
	for (lsm_scan_first(scan); scan->valid; lsm_scan_next(scan))
		n++;
	CHECK(scan->status == LSM_OK && n == 10);
	files = 0;
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
		files += other->follow.files->levels[level].n;
	CHECK(files > 8);
	CHECK(other->tables.nopen >= 1 && other->tables.nopen <= 2);
	lsm_scan_close(scan);

	/* A level's next file is opened when the scan gets there. */
	MUST(lsm_scan_open(other, &newest, text(""), text(""), &scan, &err), &err);
	lsm_scan_first(scan);
	CHECK(scan->valid);
	CHECK(other->tables.nopen <= 4);
	n = 0;
	for (; scan->valid; lsm_scan_next(scan))
		n++;
	CHECK(n == KEYS && scan->status == LSM_OK);
	lsm_scan_close(scan);
	lsm_detach(other);
	lsm_close(db);
}

/* The table cache may be too small for anything. */
static void
test_small_table_cache(uint64_t seed)
{
	LsmOptions small = options;
	static Model model;
	uint64_t random = seed;
	LsmError err;
	LsmDb *db;
	int wrong = 0;
	LsmScan *scan;
	int at = -1;

	small.table_cache_size = 1;
	MUST(lsm_open(env, &small, &db, &err), &err);
	for (int i = 0; i < 300; i++)
		write_random(db, &model, &random, 20);
	for (int i = 0; i < KEYS; i++)
	{
		char name[16];
		LsmBuf got = {0};
		LsmStatus status = lsm_get(db, &newest, key_name(name, i), &got, NULL, &err);

		wrong += (status == LSM_OK) != (model.values[i] != 0);
		lsm_buf_free(&got);
	}
	CHECK(wrong == 0);
	CHECK(db->tables.nopen <= 1);
	MUST(lsm_scan_open(db, &newest, text(""), text(""), &scan, &err), &err);
	for (lsm_scan_first(scan); scan->valid; lsm_scan_next(scan))
	{
		at = model_walk(&model, at + 1, 1, 0, KEYS);
		wrong += !shows(scan, &model, at);
	}
	CHECK(wrong == 0 && scan->status == LSM_OK && model_walk(&model, at + 1, 1, 0, KEYS) == -1);
	lsm_scan_close(scan);
	lsm_close(db);
}

/* Scans that together go through more than the cache holds: right, and each pass finds part of its blocks. */
static void
test_small_block_cache(uint64_t seed)
{
	enum
	{
		READERS = 4,
		PASSES = 2
	};
	LsmOptions small = options;
	static Model model;
	uint64_t random = seed;
	LsmError err;
	LsmDb *db;
	LsmDb *handles[READERS];
	LsmScan *scans[READERS];
	LsmStats stats;
	uint64_t hits = 0;
	uint64_t misses = 0;
	int wrong = 0;

	small.block_cache_size = 192 << 10;
	MUST(lsm_open(env, &small, &db, &err), &err);
	for (int i = 0; i < 400; i++)
		write_random(db, &model, &random, 20);
	MUST(lsm_compact_range(db, text(""), text(""), &err), &err);
	for (int i = 0; i < READERS; i++)
	{
		MUST(lsm_open_handle(db, &handles[i], &err), &err);
		MUST(lsm_scan_open(handles[i], &newest, text(""), text(""), &scans[i], &err), &err);
	}
	for (int pass = 0; pass < PASSES; pass++)
	{
		int at = -1;

		for (int i = 0; i < READERS; i++)
			lsm_scan_first(scans[i]);
		do
		{
			at = model_walk(&model, at + 1, 1, 0, KEYS);
			for (int i = 0; i < READERS; i++)
			{
				wrong += !shows(scans[i], &model, at);
				lsm_scan_release(scans[i]);
				lsm_scan_next(scans[i]);
			}
		} while (at >= 0);
	}
	CHECK(wrong == 0);
	/* One after the other; the last one's hits are counted. */
	for (int i = 0; i < READERS; i++)
	{
		MUST(lsm_stats(db, &stats, &err), &err);
		hits = stats.cache.hits;
		misses = stats.cache.misses;
		for (lsm_scan_first(scans[i]); scans[i]->valid; lsm_scan_next(scans[i]))
			;
		CHECK(scans[i]->status == LSM_OK);
	}
	MUST(lsm_stats(db, &stats, &err), &err);
	hits = stats.cache.hits - hits;
	misses = stats.cache.misses - misses;
	CHECK(hits + misses > stats.cache.frames * 3 / 2 && hits > stats.cache.frames / 3);
	for (int i = 0; i < READERS; i++)
	{
		lsm_scan_close(scans[i]);
		lsm_detach(handles[i]);
	}
	lsm_close(db);
}

/* Flips a bit in the middle of the largest table: the scan must end with an error. */
static void
test_damage(uint64_t seed)
{
	static Model model;
	uint64_t random = seed;
	char command[300];
	LsmScan *scan;
	LsmError err;
	LsmDb *db;

	MUST(lsm_open(env, &options, &db, &err), &err);
	for (int i = 0; i < 300; i++)
		write_random(db, &model, &random, 20);
	MUST(lsm_compact_range(db, text(""), text(""), &err), &err);
	lsm_close(db);
	snprintf(command, sizeof(command),
			 "f=$(ls -S %s/*.ldb | head -1); printf '\\377\\377\\377\\377' | dd of=$f bs=1 seek=5000 conv=notrunc 2>/dev/null", dir);
	CHECK(system(command) == 0);
	MUST(lsm_open(env, &options, &db, &err), &err);
	MUST(lsm_scan_open(db, &newest, text(""), text(""), &scan, &err), &err);
	for (lsm_scan_first(scan); scan->valid; lsm_scan_next(scan))
		;
	CHECK(scan->status == LSM_CORRUPT && strstr(scan->err.file, ".ldb") != NULL);
	for (lsm_scan_last(scan); scan->valid; lsm_scan_prev(scan))
		;
	CHECK(scan->status == LSM_CORRUPT);
	/* the rest stays readable */
	lsm_scan_first(scan);
	CHECK(scan->valid || scan->status == LSM_CORRUPT);
	lsm_scan_close(scan);
	CHECK(atomic_load(db->pin) == 0);
	lsm_close(db);
}

static void
clean(void)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s/*", dir);
	if (system(command) != 0)
		exit(1);
}

int
main(void)
{
	uint64_t seed = (uint64_t) time(NULL) * 2654435761u + (uint64_t) getpid();
	char command[100];
	LsmError err;

	printf("seed %llu\n", (unsigned long long) seed);
	snprintf(dir, sizeof(dir), "/tmp/lsm_test_scan.%d", (int) getpid());
	lsm_options_init(&options);
	options.memtable_size = 64 << 10;
	options.block_cache_size = 256 << 10;
	options.file_size = 32 << 10;
	options.level1_size = 128 << 10;
	options.level_factor = 3;
	options.table.block_size = 1 << 10;
	options.table.compression = LSM_COMPRESS_NONE; /* sizes as the test expects them */
	options.inline_work = true;
	MUST(lsm_env_posix_open(dir, &env, &err), &err);
	test_empty();
	clean();
	test_random_moves(seed);
	clean();
	test_opens_little();
	clean();
	test_small_table_cache(seed);
	clean();
	test_small_block_cache(seed);
	clean();
	test_damage(seed);
	lsm_env_posix_close(env);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	if (system(command) != 0)
		return 1;
	return test_done();
}
