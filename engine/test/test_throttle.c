/*
 * test_throttle.c - writers while background work is behind, on a simulated clock.
 *
 * Invariants: below level0_slow, with arenas free, nobody sleeps; above it writes take their bytes'
 * part of the time until level 0 is merged, of the room that is left until then; with the last arena in use likewise
 * until a flush is over; no sleep is longer than a twentieth of a second; how quick merges are, and how far one
 * is, counts; two handles share what one would get.
 */
#include "engine/test/sim_store.h"
#include "engine/throttle.h"

#include <stdlib.h>
#include <string.h>

#define VALUE 1000

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

/* Bytes a second when level 0 will be empty in so many seconds. */
static double
rate_for(int files, double seconds)
{
	size_t used = lsm_memtable_used(lsm_shared_arena(db->shared, atomic_load(&db->shared->active)));

	return ((double) (options.memtable_size - used) + (double) (options.level0_stop - files) * (double) options.memtable_size) /
		   seconds;
}

/* What a merge of level 0 takes, as far as others tell. */
static void
merge_takes(double seconds)
{
	atomic_store(&db->shared->merge_rate, (uint64_t) ((double) atomic_load(&db->shared->level0_work) / seconds));
}

/* A merge runs since so long and takes so long. */
static void
runs(int job, bool of_level0, uint64_t since_us, uint64_t takes_us)
{
	atomic_store(&db->shared->jobs[job].of_level0, of_level0);
	atomic_store(&db->shared->jobs[job].takes_us, takes_us);
	atomic_store(&db->shared->jobs[job].since_us, env->ops->now_us(env) - since_us);
}

int
main(void)
{
	LsmDb *other;
	uint64_t since;
	LsmError err;

	lsm_options_init(&options);
	options.memtable_size = 4 << 20;
	options.table.compression = options.level0_compression = LSM_COMPRESS_NONE;
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

	/* full: as long as a merge takes that has yet to begin */
	fill_level0(5);
	CHECK(atomic_load(&db->shared->merge_rate) == 0);
	merge_takes(4);
	CHECK(near(time_of(NULL, 500), 500, rate_for(5, 4)));
	CHECK(stalls() > 0);
	/* two handles in turn take as long */
	MUST(lsm_open_handle(db, &other, &err), &err);
	CHECK(near(time_of(other, 500), 500, rate_for(5, 4)));
	lsm_detach(other);
	fill_level0(7);
	merge_takes(6);
	CHECK(near(time_of(NULL, 300), 300, rate_for(7, 6)));

	/* a merge of level 0 runs: what is left of it; one that should be over takes a quarter of its time more */
	pass_ms(10000);
	runs(0, true, 1000000, 6000000);
	CHECK(near(time_of(NULL, 300), 300, rate_for(7, 5)));
	runs(0, true, 9000000, 6000000);
	CHECK(near(time_of(NULL, 300), 300, rate_for(7, 1.5)));
	/* half of it took six seconds, says the merge */
	runs(0, true, 6000000, 6000000);
	db->job = 0;
	lsm_throttle_merge_is_at(db, 0.5);
	db->job = -1;
	CHECK(near(time_of(NULL, 300), 300, rate_for(7, 6)));
	/* others that run beside it do not count */
	runs(1, false, 0, 60000000);
	CHECK(near(time_of(NULL, 100), 100, rate_for(7, 6)));
	/* those of other levels come before that of level 0 */
	runs(0, false, 0, 2000000);
	runs(1, false, 0, 1000000);
	merge_takes(3);
	CHECK(near(time_of(NULL, 300), 300, rate_for(7, 5)));
	atomic_store(&db->shared->jobs[0].since_us, 0);
	atomic_store(&db->shared->jobs[1].since_us, 0);

	/* the first large write pays nothing, the second a twentieth of a second, whatever they cost */
	merge_takes(20);
	atomic_store(&db->shared->next_write_us, 0);
	since = env->ops->now_us(env);
	write_some(db, 500);
	CHECK(env->ops->now_us(env) - since < 2000);
	write_some(db, 500);
	CHECK(env->ops->now_us(env) - since >= 50000 && env->ops->now_us(env) - since < 55000);

	/* compacted: nobody sleeps */
	work();
	CHECK(atomic_load(&db->shared->level0_files) < options.level0_compact);
	since = stalls();
	(void) time_of(NULL, 500);
	CHECK(stalls() == since);

	/* the last arena, and a flush that has just begun */
	atomic_fetch_add(&db->shared->waiting, options.memtable_slots - 1);
	atomic_store(&db->shared->flush_us, 1000000);
	atomic_store(&db->shared->flush_since_us, env->ops->now_us(env));
	CHECK(near(time_of(NULL, 500), 500, rate_for(options.level0_stop, 1)));
	atomic_fetch_sub(&db->shared->waiting, options.memtable_slots - 1);
	since = stalls();
	(void) time_of(NULL, 300);
	CHECK(stalls() == since);

	/* merges of some size, and flushes, say how quick they are */
	atomic_store(&db->shared->merge_rate, 0);
	atomic_store(&db->shared->flush_us, 0);
	MUST(lsm_flush(db, &err), &err);
	for (int i = 0; i < 3; i++)
	{
		write_some(db, 2000);
		MUST(lsm_flush(db, &err), &err);
	}
	CHECK(atomic_load(&db->shared->flush_us) > 0 && atomic_load(&db->shared->flush_since_us) == 0);
	work();
	CHECK(atomic_load(&db->shared->merge_rate) > 0 && atomic_load(&db->shared->jobs[0].since_us) == 0);

	close_sim();
	return test_done();
}
