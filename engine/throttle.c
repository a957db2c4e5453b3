/*
 * throttle.c - see throttle.h; lsm_throttle is in db.h.
 *
 * Writers fill two things that background work empties all at once: level 0, by a
 * merge that takes every file of it, and the last free arena, by a flush.  How long
 * those take is known from the last ones, and of each merge that runs from how far it is; so it is known when there will be
 * room again, and how much is left until then.  All writers together get just that
 * much a second.  The estimate is renewed at every write: what comes too late slows
 * them down further, but nobody runs into the stop at full speed and waits there
 * for a whole merge.
 *
 * One time in shared memory says when the next write is due; each writer moves it on
 * by the cost of what it wrote, and sleeps if it lies ahead.  So the sleeps are as long
 * as the writes are large, and many writers share what one would get.
 */
#include "engine/throttle.h"

#include "engine/shape.h"

#define FIRST_RATE (64 << 20)  /* bytes a second that merges read, before anything was measured */
#define LOWEST_RATE (1 << 20)  /* writers are never slower than that but stopped */
#define LONGEST_SLEEP_US 50000 /* only large batches, or many writers, come near it */
#define SHORTEST_SLEEP_US 1000 /* what env's waits can do */
#define LATE 4                 /* work that is late may take that part of its time more */

void
lsm_throttle_level0(LsmDb *db, const LsmFiles *files)
{
	LsmShared *shared = db->shared;
	LsmShape shape;

	lsm_shape_of(&shared->options, files, &shape);
	atomic_store(&shared->level0_work, files->levels[0].bytes + files->levels[shape.base].bytes);
	atomic_store(&shared->level0_files, files->levels[0].n);
}

static uint64_t
merge_rate(LsmShared *shared)
{
	uint64_t rate = atomic_load(&shared->merge_rate);

	return rate != 0 ? rate : FIRST_RATE;
}

static uint64_t
merge_takes_us(LsmShared *shared, uint64_t bytes)
{
	return (uint64_t) ((double) bytes * 1e6 / (double) merge_rate(shared));
}

void
lsm_throttle_merge_begins(LsmDb *db, bool level0, uint64_t bytes)
{
	LsmJob *job = &db->shared->jobs[db->job];

	atomic_store(&job->of_level0, level0);
	atomic_store(&job->takes_us, merge_takes_us(db->shared, bytes));
	atomic_store(&job->since_us, db->env->ops->now_us(db->env));
}

void
lsm_throttle_merge_is_at(LsmDb *db, double share)
{
	LsmJob *job = &db->shared->jobs[db->job];
	uint64_t passed_us = db->env->ops->now_us(db->env) - atomic_load(&job->since_us);

	/* of so little one cannot tell */
	if (share > 0.05)
		atomic_store(&job->takes_us, (uint64_t) ((double) passed_us / share));
}

void
lsm_throttle_merge_ends(LsmDb *db, uint64_t bytes)
{
	LsmShared *shared = db->shared;
	uint64_t took_us = db->env->ops->now_us(db->env) - atomic_exchange(&shared->jobs[db->job].since_us, 0);
	uint64_t old = atomic_load(&shared->merge_rate);
	double rate = (double) bytes * 1e6 / (double) (took_us + 1);

	/* small ones tell more of syncs than of bytes */
	if (bytes < shared->options.memtable_size)
		return;
	if (old != 0)
		rate = (rate + (double) old) / 2;
	atomic_store(&shared->merge_rate, rate < LOWEST_RATE ? LOWEST_RATE : (uint64_t) rate);
}

void
lsm_throttle_flush_begins(LsmDb *db)
{
	atomic_store(&db->shared->flush_since_us, db->env->ops->now_us(db->env));
}

void
lsm_throttle_flush_ends(LsmDb *db, bool flushed)
{
	LsmShared *shared = db->shared;
	uint64_t took_us = db->env->ops->now_us(db->env) - atomic_exchange(&shared->flush_since_us, 0);
	uint64_t old = atomic_load(&shared->flush_us);

	if (flushed)
		atomic_store(&shared->flush_us, old != 0 ? (took_us + old + 1) / 2 : took_us + 1);
}

/* What is left of work that began at since_us (0: not yet) and takes about takes_us. */
static uint64_t
left_us(uint64_t now_us, uint64_t since_us, uint64_t takes_us)
{
	uint64_t passed_us = since_us != 0 && now_us > since_us ? now_us - since_us : 0;
	uint64_t least_us = takes_us / LATE + 1;

	return passed_us + least_us < takes_us ? takes_us - passed_us : least_us;
}

/*
 * When level 0 will be empty: what is left of its merge, if one runs.  If none does, though there is something to
 * merge, another is in its way or takes all the time: the longest comes first.
 */
static uint64_t
level0_left_us(LsmShared *shared, uint64_t now_us)
{
	uint64_t of_level0_us = 0;
	uint64_t others_us = 0;

	for (int i = 0; i <= LSM_MAX_JOBS; i++)
	{
		LsmJob *job = &shared->jobs[i];
		uint64_t since_us = atomic_load(&job->since_us);
		uint64_t *longest_us = atomic_load(&job->of_level0) ? &of_level0_us : &others_us;
		uint64_t us;

		if (since_us == 0)
			continue;
		us = left_us(now_us, since_us, atomic_load(&job->takes_us));
		if (us > *longest_us)
			*longest_us = us;
	}
	return of_level0_us != 0 ? of_level0_us : others_us + merge_takes_us(shared, atomic_load(&shared->level0_work));
}

/* What all writers together may write at the moment, bytes a second; 0: as they like. */
static double
allowed_rate(LsmShared *shared, uint64_t now_us)
{
	const LsmOptions *o = &shared->options;
	size_t used = lsm_memtable_used(lsm_shared_arena(shared, atomic_load(&shared->active)));
	double active = used < o->memtable_size ? (double) (o->memtable_size - used) : 0;
	int waiting = atomic_load(&shared->waiting);
	int files = atomic_load(&shared->level0_files) + waiting;
	uint64_t flush_us = atomic_load(&shared->flush_us);
	double rate = 0;

	if (files >= o->level0_slow)
	{
		int more = files < o->level0_stop ? o->level0_stop - files : 0;
		rate = (active + (double) more * (double) o->memtable_size) * 1e6 / (double) (level0_left_us(shared, now_us) + 1);
		if (rate < LOWEST_RATE)
			rate = LOWEST_RATE;
	}
	if (waiting >= o->memtable_slots - 1 && flush_us != 0)
	{
		double flush_rate = active * 1e6 / (double) left_us(now_us, atomic_load(&shared->flush_since_us), flush_us);

		if (flush_rate < LOWEST_RATE)
			flush_rate = LOWEST_RATE;
		if (rate == 0 || flush_rate < rate)
			rate = flush_rate;
	}
	return rate;
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
	int waiting = atomic_load_explicit(&shared->waiting, memory_order_relaxed);
	int files = atomic_load_explicit(&shared->level0_files, memory_order_relaxed);
	uint64_t now_us;
	uint64_t due_us;
	double rate;

	if (__builtin_expect(files + waiting < shared->options.level0_slow && waiting < shared->options.memtable_slots - 1, 1) ||
		shared->options.inline_work)
		return;
	now_us = env->ops->now_us(env);
	rate = allowed_rate(shared, now_us);
	if (rate == 0)
		return;
	due_us = take_turn(shared, now_us, (uint64_t) ((double) cost * 1e6 / rate));
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
