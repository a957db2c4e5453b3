/*
 * test_split.c - ranges cut into parts.
 *
 * What must hold:
 *   - cuts lie within the range, ascend, and are fewer than the parts asked for
 *   - the parts together hold every key of the range once
 *   - parts are about equally large, in whichever level the data lies
 *   - where there are no files there are no cuts
 */
#include "engine/test/test.h"

#include <unistd.h>

#include "engine/handle.h"

#define KEYS 20000
#define MAX_PARTS 64

static char dir[64];
static LsmEnv *env;
static const LsmRead newest = {LSM_MAX_SEQUENCE, NULL, NULL};

static LsmSlice
key_name(char *buf, int key)
{
	return lsm_slice(buf, (size_t) snprintf(buf, 16, "key%06d", key));
}

static void
fill(LsmDb *db, int from, int to, int step)
{
	LsmBatch batch = {.count = 0};
	char value[100];
	char name[16];
	LsmError err;

	for (int i = from; i < to; i += step)
	{
		for (size_t j = 0; j < sizeof(value); j++)
			value[j] = (char) ('a' + (i * 31 + (int) j * j) % 26);
		lsm_batch_put(&batch, key_name(name, i), lsm_slice(value, sizeof(value)));
		if (batch.count == 100 || i + step >= to)
		{
			MUST(lsm_write(db, &batch, false, NULL, &err), &err);
			lsm_batch_clear(&batch);
		}
	}
	lsm_batch_free(&batch);
}

static int
count(LsmDb *db, LsmSlice lower, LsmSlice upper)
{
	LsmScan *scan;
	LsmError err;
	int n = 0;

	MUST(lsm_scan_open(db, &newest, lower, upper, &scan, &err), &err);
	for (lsm_scan_first(scan); scan->valid; lsm_scan_next(scan))
		n++;
	CHECK(scan->status == LSM_OK);
	lsm_scan_close(scan);
	return n;
}

/* Returns the number of cuts; checks all there is to check. */
static int
check_split(LsmDb *db, int from, int to, int parts, double slack)
{
	char lower_name[16];
	char upper_name[16];
	LsmSlice lower = key_name(lower_name, from);
	LsmSlice upper = to < 0 ? lsm_slice(NULL, 0) : key_name(upper_name, to);
	int all = count(db, lower, upper);
	LsmSlice at = lower;
	LsmBuf keys = {0};
	LsmSlice rest;
	LsmError err;
	int sum = 0;
	int cuts;

	MUST(lsm_range_split(db, lower, upper, parts, &keys, &cuts, &err), &err);
	CHECK(cuts < parts);
	rest = lsm_buf_slice(&keys);
	for (int i = 0; i <= cuts; i++)
	{
		LsmSlice end = i < cuts ? lsm_split_next(&rest) : upper;
		int n = count(db, at, end);

		CHECK(end.len == 0 || lsm_slice_compare(at, end) < 0);
		CHECK(i == cuts || upper.len == 0 || lsm_slice_compare(end, upper) < 0);
		if (slack > 0)
			CHECK(n <= (double) all / parts * (1 + slack) + 40 && n >= (double) all / parts * (1 - slack) - 40);
		sum += n;
		at = end;
	}
	CHECK(rest.len == 0);
	CHECK(sum == all);
	lsm_buf_free(&keys);
	return cuts;
}

int
main(void)
{
	LsmOptions options;
	LsmError err;
	LsmDb *db;

	snprintf(dir, sizeof(dir), "/tmp/lsm_split_%d", (int) getpid());
	MUST(lsm_env_posix_open(dir, &env, &err), &err);
	lsm_options_init(&options);
	options.memtable_size = 4 << 20;
	options.file_size = 64 << 10;
	options.table.block_size = 2 << 10;
	options.inline_work = true;
	MUST(lsm_open(env, &options, &db, &err), &err);

	/* nothing, then only in memory */
	CHECK(check_split(db, 0, -1, 8, 0) == 0);
	fill(db, 0, KEYS, 1);
	CHECK(check_split(db, 0, -1, 8, 0) == 0);

	/* one file of level 0 */
	MUST(lsm_flush(db, &err), &err);
	CHECK(check_split(db, 0, -1, 8, 0.2) == 7);

	/* many files below */
	MUST(lsm_compact_range(db, lsm_slice(NULL, 0), lsm_slice("\xff", 1), &err), &err);
	for (int parts = 1; parts <= MAX_PARTS; parts *= 2)
		CHECK(check_split(db, 0, -1, parts, 0.2) == parts - 1);
	CHECK(check_split(db, 3000, 9000, 6, 0.2) == 5);
	CHECK(check_split(db, KEYS, -1, 6, 0) == 0);
	CHECK(check_split(db, 500, 501, 6, 0) <= 1);
	/* there are not as many blocks as that */
	CHECK(check_split(db, 100, 200, 50, 0) < 12);

	/* a part of it again, in other places */
	fill(db, 0, KEYS, 7);
	MUST(lsm_flush(db, &err), &err);
	fill(db, 3, KEYS / 2, 9);
	CHECK(check_split(db, 0, -1, 10, 0.2) == 9);

	lsm_close(db);
	lsm_env_posix_close(env);
	{
		char command[100];

		snprintf(command, sizeof(command), "rm -r %s", dir);
		if (system(command) != 0)
			return 1;
	}
	return test_done();
}
