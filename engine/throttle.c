/*
 * throttle.c - see throttle.h; lsm_throttle is in db.h.
 *
 * What is written goes through level 0, so writers can be only as quick as
 * compaction takes files out of it.  That rate is measured while level 0 has enough
 * files to be compacted, merges of deeper levels in between included, in memtables'
 * worth of bytes: it is the number of files that has a limit.
 *
 * From level0_slow files on all writers together get a multiple of the measured
 * rate: twice as much at first, three quarters of it just below level0_stop, so that level
 * 0 settles somewhere in between and the stop is seldom met.  One time in shared
 * memory says when the next write is due; each writer moves it on by the cost of what it
 * wrote, and sleeps if it lies ahead.  So the sleeps are as long as the writes are
 * large, and many writers share what one would get.
 */
#include "engine/throttle.h"

#define FIRST_RATE (16 << 20) /* bytes a second, before anything was measured */
#define LOWEST_RATE (1 << 20) /* writers are never slower than that but stopped */
#define LONGEST_SLEEP_US 100000
#define SHORTEST_SLEEP_US 1000 /* what env's waits can do */

void
lsm_throttle_level0(LsmDb *db, int before, int now)
{
	LsmShared *shared = db->shared;

	if (before < shared->options.level0_compact && now >= shared->options.level0_compact)
		atomic_store(&shared->drain_since_us, db->env->ops->now_us(db->env));
}

void
lsm_throttle_drained(LsmDb *db, int files)
{
	LsmShared *shared = db->shared;
	uint64_t now_us = db->env->ops->now_us(db->env);
	uint64_t since_us = atomic_exchange(&shared->drain_since_us, now_us);
	uint64_t old = atomic_load(&shared->drain_rate);
	double rate;

	/* a compaction that nobody had to wait for says nothing */
	if (since_us == 0 || now_us <= since_us || files < shared->options.level0_compact)
		return;
	rate = (double) files * (double) shared->options.memtable_size * 1e6 / (double) (now_us - since_us);
	if (old != 0)
		rate = (rate + (double) old) / 2;
	atomic_store(&shared->drain_rate, rate < LOWEST_RATE ? LOWEST_RATE : (uint64_t) rate);
}

/* What all writers together may write at the moment, bytes a second. */
static double
allowed_rate(LsmShared *shared, int files)
{
	const LsmOptions *o = &shared->options;
	uint64_t drained = atomic_load(&shared->drain_rate);
	double share = (double) (files - o->level0_slow + 1) / (double) (o->level0_stop - o->level0_slow);

	if (share > 1)
		share = 1;
	return (double) (drained != 0 ? drained : FIRST_RATE) * (2 - 1.25 * share);
}

/* Sets aside the time that a write takes; returns when it was due. */
static uint64_t
take_turn(LsmShared *shared, uint64_t now_us, uint64_t takes_us)
{
	uint64_t due_us = atomic_load(&shared->next_write_us);
	uint64_t from_us;

	do
		from_us = due_us < now_us ? now_us : due_us < now_us + LONGEST_SLEEP_US ? due_us
																				: now_us + LONGEST_SLEEP_US;
	while (!atomic_compare_exchange_weak(&shared->next_write_us, &due_us, from_us + takes_us));
	return from_us;
}

void
lsm_throttle(LsmDb *db, size_t cost)
{
	LsmShared *shared = db->shared;
	LsmEnv *env = db->env;
	int files = atomic_load_explicit(&shared->level0_files, memory_order_relaxed);
	uint64_t now_us;
	uint64_t due_us;

	if (__builtin_expect(files < shared->options.level0_slow, 1) || shared->options.inline_work)
		return;
	now_us = env->ops->now_us(env);
	due_us = take_turn(shared, now_us, (uint64_t) ((double) cost * 1e6 / allowed_rate(shared, files)));
	if (due_us < now_us + SHORTEST_SLEEP_US)
		return;
	env->ops->wake(env, LSM_WAIT_WORK);
	env->ops->wait_prepare(env, LSM_WAIT_ROOM);
	/* the write is done: if the sleep is interrupted, that is all */
	if (!lsm_stopping(db))
		(void) env->ops->wait(env, LSM_WAIT_ROOM, (int) ((due_us - now_us) / 1000));
	env->ops->wait_end(env, LSM_WAIT_ROOM);
	atomic_fetch_add(&shared->stalls, 1);
	atomic_fetch_add(&shared->stall_us, env->ops->now_us(env) - now_us);
}
