/*
 * test_throttle.c - writers while level 0 is too full, on a simulated clock.
 *
 * Invariants: below level0_slow nobody sleeps; above it the time that writes take
 * is their bytes over the rate that throttle.c allows, more the fuller level 0 is;
 * no sleep is longer than a tenth of a second; the rate follows what compaction has taken from
 * level 0; two handles share what one would get.
 */
#include "engine/env_sim.h"
#include "engine/handle.h"
#include "engine/test/test.h"

#include <stdlib.h>
#include <string.h>

#define VALUE 1000

static LsmEnv *env;
static LsmDb *db;
static LsmOptions options;
static int keys;

static void
write_some(LsmDb *handle, int n)
{
	LsmBatch batch = {0};
	char value[VALUE];
	LsmError err;

	memset(value, 'v', sizeof(value));
	for (int i = 0; i < n; i++)
	{
		char key[16];

		snprintf(key, sizeof(key), "%08d", (keys++ * 7919) % 100000);
		CHECK(lsm_batch_put(&batch, lsm_slice(key, 8), lsm_slice(value, sizeof(value))));
	}
	MUST(lsm_write(handle, &batch, false, NULL, &err), &err);
	lsm_batch_free(&batch);
}

/* Adds files to level 0 until it has n. */
static void
fill_level0(int n)
{
	LsmError err;

	while (atomic_load(&db->shared->level0_files) < n)
	{
		write_some(db, 4);
		MUST(lsm_flush(db, &err), &err);
	}
}

/* Microseconds that n writes of one pair each take, a write by every handle in turn. */
static uint64_t
time_of(LsmDb *other, int n)
{
	uint64_t since = env->ops->now_us(env);

	for (int i = 0; i < n; i++)
		write_some(other != NULL && i % 2 ? other : db, 1);
	return env->ops->now_us(env) - since;
}

/* About what n writes should take at that rate, given that the clock moves a little at every operation. */
static bool
near(uint64_t us, int n, double rate)
{
	double due = (double) n * (double) lsm_memtable_cost(8, VALUE) * 1e6 / rate;

	if ((double) us < due * 0.8 || (double) us > due * 1.2 + 2000)
		fprintf(stderr, "%llu us where %.0f are due\n", (unsigned long long) us, due);
	return (double) us >= due * 0.8 && (double) us <= due * 1.2 + 2000;
}

static uint64_t
stalls(void)
{
	LsmStats stats;
	LsmError err;

	MUST(lsm_stats(db, &stats, &err), &err);
	return stats.stalls;
}

/* Bytes a second with 5 and with 7 files: shares of 2 and of 4 quarters. */
static double
rate_at(int files)
{
	uint64_t drained = atomic_load(&db->shared->drain_rate);

	return (double) (drained != 0 ? drained : 16 << 20) * (files == 5 ? 2 - 1.25 * 0.5 : 0.75);
}

int
main(void)
{
	LsmDb *other;
	uint64_t since;
	bool did = true;
	LsmError err;

	lsm_options_init(&options);
	options.memtable_size = 4 << 20;
	options.block_cache_size = 0;
	options.level0_compact = 2;
	options.level0_slow = 4;
	options.level0_stop = 8;
	MUST(lsm_env_sim_new(1, &env), &err);
	MUST(lsm_open(env, &options, &db, &err), &err);

	/* not full */
	fill_level0(3);
	(void) time_of(NULL, 500);
	CHECK(stalls() == 0);

	/* full, and nothing was measured */
	fill_level0(5);
	CHECK(atomic_load(&db->shared->drain_rate) == 0);
	CHECK(near(time_of(NULL, 500), 500, rate_at(5)));
	CHECK(stalls() > 0);
	/* two handles in turn take as long */
	MUST(lsm_open_handle(db, &other, &err), &err);
	CHECK(near(time_of(other, 500), 500, rate_at(5)));
	lsm_detach(other);
	fill_level0(7);
	CHECK(near(time_of(NULL, 500), 500, rate_at(7)));

	/* the first large write pays nothing, the second a tenth of a second, whatever they cost */
	atomic_store(&db->shared->drain_rate, 1 << 20);
	atomic_store(&db->shared->next_write_us, 0);
	since = env->ops->now_us(env);
	write_some(db, 1000);
	CHECK(env->ops->now_us(env) - since < 2000);
	write_some(db, 1000);
	CHECK(env->ops->now_us(env) - since >= 100000 && env->ops->now_us(env) - since < 110000);

	/* compacted: nobody sleeps, and the rate is known */
	atomic_store(&db->shared->drain_rate, 0);
	while (did)
		MUST(lsm_work(db, &did, &err), &err);
	CHECK(atomic_load(&db->shared->level0_files) < options.level0_compact);
	CHECK(atomic_load(&db->shared->drain_rate) > 0);
	since = stalls();
	(void) time_of(NULL, 500);
	CHECK(stalls() == since);

	/* full again: as that rate says */
	atomic_store(&db->shared->drain_rate, 5 << 20);
	fill_level0(5);
	CHECK(near(time_of(NULL, 500), 500, 5 * 1024 * 1024 * 1.375));

	lsm_close(db);
	lsm_env_sim_free(env);
	return test_done();
}
