/*
 * test_rate.c - how quickly merges write under a limit, on a simulated clock.
 *
 * Invariants: what is written in all keeps the rate; merges that run at the same time have equal parts of it; when
 * another begins or ends, or the rate is set anew, that counts from then on, and not for what was written before.
 * However large the values, a merge asks after every megabyte whether it is to stop.
 */
#include "engine/test/sim_store.h"

#define RATE 100000
#define KEYS 10000
#define VALUE 100

/* Halfway through the merge something changes. */
static uint64_t change_at_us;
static void (*change)(void);

static void
another_begins(void)
{
	atomic_store(&db->shared->jobs[1].since_us, 1);
}

static void
another_ends(void)
{
	atomic_store(&db->shared->jobs[1].since_us, 0);
}

static void
twice_the_rate(void)
{
	lsm_set_rate(db, 2 * RATE);
}

/* should_stop, which a merge asks now and then */
static bool
look(void *arg)
{
	(void) arg;
	if (change != NULL && env->ops->now_us(env) >= change_at_us)
	{
		change();
		change = NULL;
	}
	return false;
}

/* Seconds that one merge takes; `what` comes to pass that many seconds after it began. */
static double
merge_takes(LsmCompression compression, void (*what)(void), double after, uint64_t *bytes)
{
	LsmOptions options;
	LsmStats stats;
	uint64_t since_us;
	LsmError err;
	bool did;

	lsm_options_init(&options);
	options.memtable_size = 4 << 20;
	options.table.compression = options.level0_compression = compression;
	options.block_cache_size = 0;
	options.level0_compact = 2;
	open_sim(&options);
	for (int round = 0; round < 2; round++)
	{
		for (int i = 0; i < KEYS; i++)
			write_key(i, VALUE, false);
		MUST(lsm_flush(db, &err), &err);
	}
	lsm_set_rate(db, RATE);
	if (what == another_ends)
		another_begins();
	since_us = env->ops->now_us(env);
	change = what;
	change_at_us = since_us + (uint64_t) (after * 1e6);
	db->should_stop = look;
	MUST(lsm_work(db, &did, &err), &err);
	CHECK(did && change == NULL);
	since_us = env->ops->now_us(env) - since_us;
	another_ends();
	MUST(lsm_stats(db, &stats, &err), &err);
	CHECK(stats.compactions == 1);
	*bytes = stats.bytes_compacted;
	close_sim();
	return (double) since_us / 1e6;
}

/* should_stop */
static bool
count_looks(void *arg)
{
	++*(int *) arg;
	return false;
}

/* So few values that a merge of small ones would not look around once. */
static void
test_large_values(void)
{
	static char value[700000];
	LsmOptions options;
	char key[16];
	int looks = 0;
	LsmError err;
	bool did;

	lsm_options_init(&options);
	options.table.compression = options.level0_compression = LSM_COMPRESS_NONE;
	options.level0_compact = 2;
	open_sim(&options);
	for (int round = 0; round < 2; round++)
	{
		for (int i = 0; i < 10; i++)
		{
			LsmBatch batch = {0};

			CHECK(lsm_batch_put(&batch, key_of(key, i), lsm_slice(value, sizeof(value))));
			MUST(lsm_write(db, &batch, false, NULL, &err), &err);
			lsm_batch_free(&batch);
		}
		MUST(lsm_flush(db, &err), &err);
	}
	db->should_stop = count_looks;
	db->stop_arg = &looks;
	MUST(lsm_work(db, &did, &err), &err);
	CHECK(did && looks >= 7);
	close_sim();
}

static bool
near(double took, double due)
{
	if (took < due * 0.9 || took > due * 1.1)
		fprintf(stderr, "%f s where %f are due\n", took, due);
	return took >= due * 0.9 && took <= due * 1.1;
}

int
main(void)
{
	uint64_t bytes;
	double alone = merge_takes(LSM_COMPRESS_NONE, NULL, 0, &bytes);

	CHECK(bytes > KEYS * VALUE);
	CHECK(near(alone, (double) bytes / RATE));

	/* half at the rate, half at half of it; and the other way round */
	CHECK(near(merge_takes(LSM_COMPRESS_NONE, another_begins, alone / 2, &bytes), alone * 1.5));
	CHECK(near(merge_takes(LSM_COMPRESS_NONE, another_ends, alone, &bytes), alone * 1.5));
	CHECK(near(merge_takes(LSM_COMPRESS_NONE, twice_the_rate, alone / 2, &bytes), alone * 0.75));
	/* blocks get smaller when they are full */
	alone = merge_takes(LSM_COMPRESS_ZSTD, NULL, 0, &bytes);
	CHECK(bytes < KEYS * VALUE);
	CHECK(near(alone, (double) bytes / RATE));
	test_large_values();
	return test_done();
}
