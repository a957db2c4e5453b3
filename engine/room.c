/*
 * room.c - rotating memtables, and letting writers wait for one.
 *
 * Writers feel compaction falling behind long before they are stopped here
 * (throttle.c).  Waiting ends when there is room, when it is
 * interrupted, or when background work has kept failing for GIVE_UP_US: then with
 * the reason, for nothing may hang for ever.
 */
#include "engine/room.h"

#include <stdlib.h>

#include "engine/install.h"
#include "engine/work.h"

#define STEP_MS 100
#define GIVE_UP_US 30000000

/* Bytes left in the active memtable, near enough. */
static size_t
room_left(LsmShared *shared)
{
	LsmMemtable *active = lsm_shared_arena(shared, atomic_load(&shared->active));
	size_t used = lsm_memtable_used(active);
	size_t size = shared->options.memtable_size;

	return used < size ? size - used : 0;
}

bool
lsm_journal_blocked(LsmDb *db)
{
	return atomic_load(&db->shared->bad_generation) != 0;
}

/* Is a rotation due, now that nobody writes?  WRITE is held exclusively. */
static bool
rotation_due(LsmDb *db, LsmRotate how, size_t cost)
{
	LsmShared *shared = db->shared;
	LsmMemtable *active = lsm_shared_arena(shared, atomic_load(&shared->active));

	/* a poisoned journal must be left behind, whatever fits */
	if (atomic_load(&shared->bad_generation) == atomic_load(&shared->active_generation))
		return true;
	if (how == LSM_ROTATE_FOR_COST)
		return room_left(shared) < cost && lsm_memtable_entries(active) > 0;
	return lsm_memtable_entries(active) > 0;
}

/* The active memtable is empty: it may as well begin where the journal ends.  WRITE is held exclusively. */
static LsmStatus
advance(LsmDb *db, LsmError *err)
{
	LsmShared *shared = db->shared;
	uint64_t position;
	LsmStatus status =
		db->journal->ops->rotate(db->journal, lsm_new_file_number(db), &position, err);

	if (status != LSM_OK)
		return status;
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
	shared->slots[atomic_load(&shared->active)].position = position;
	lsm_unlock(db->env, LSM_LOCK_STATE);
	return LSM_OK;
}

static LsmStatus
rotate(LsmDb *db, LsmRotate how, size_t cost, LsmError *err)
{
	LsmShared *shared = db->shared;
	uint64_t position;
	LsmStatus status = LSM_OK;
	int slot;

	lsm_lock(db->env, LSM_LOCK_WRITE, LSM_EXCLUSIVE);
	if (!rotation_due(db, how, cost))
	{
		if (how == LSM_ROTATE_OR_ADVANCE)
			status = advance(db, err);
		lsm_unlock(db->env, LSM_LOCK_WRITE);
		return status;
	}
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
	slot = lsm_shared_take_slot(shared);
	lsm_unlock(db->env, LSM_LOCK_STATE);
	if (slot < 0)
	{
		lsm_unlock(db->env, LSM_LOCK_WRITE);
		return lsm_fail(err, LSM_BUSY, 0, NULL, 0, "all memtables are full");
	}
	/* may create a file: not under STATE */
	status = db->journal->ops->rotate(db->journal, lsm_new_file_number(db), &position, err);
	if (status == LSM_OK)
		(void) lsm_memtable_init(lsm_shared_arena(shared, slot), shared->options.memtable_size);
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
	if (status == LSM_OK)
	{
		lsm_shared_push(shared, slot, position);
		atomic_fetch_add(&shared->epoch, 1);
	}
	else
		shared->slots[slot].state = LSM_SLOT_FREE;
	lsm_unlock(db->env, LSM_LOCK_STATE);
	lsm_unlock(db->env, LSM_LOCK_WRITE);
	if (status == LSM_OK)
		db->env->ops->wake(db->env, LSM_WAIT_WORK);
	return status;
}

LsmStatus
lsm_rotate(LsmDb *db, LsmRotate how, LsmError *err)
{
	LsmStatus status = rotate(db, how, 0, err);

	if (status != LSM_BUSY)
		return status;
	lsm_reclaim(db);
	return rotate(db, how, 0, err);
}

/* The error that keeps writers from ever getting room, if there is one. */
static LsmStatus
hopeless(LsmDb *db, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmError kept;

	lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
	kept = shared->flush_error;
	if (kept.status == LSM_OK && atomic_load(&shared->level0_files) >= shared->options.level0_stop)
		kept = shared->compact_error;
	lsm_unlock(db->env, LSM_LOCK_STATE);
	if (kept.status != LSM_OK && err != NULL)
		*err = kept;
	return kept.status;
}

/* One attempt.  LSM_BUSY: there is no room yet. */
static LsmStatus
attempt(LsmDb *db, LsmRotate how, size_t cost, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmStatus status;

	/* A flush adds to level 0, so a full memtable waits for compaction; a rotation that was asked for does not. */
	if (how == LSM_ROTATE_FOR_COST && !lsm_journal_blocked(db) && room_left(shared) < cost &&
		atomic_load(&shared->level0_files) >= shared->options.level0_stop)
		return lsm_fail(err, LSM_BUSY, 0, NULL, 0, "too many tables wait for compaction");
	status = rotate(db, how, cost, err);
	if (status == LSM_OK && lsm_journal_blocked(db))
		status = lsm_fail(err, LSM_BUSY, 0, NULL, 0, "what a failed journal left has to be flushed first");
	return status;
}

/*
 * Does the work that there is to wait for, if nobody else can be expected to:
 * standalone there may be no background process, and who asks for a flush
 * does it.  *helped tells if there was anything to do.
 */
static LsmStatus
help(LsmDb *db, LsmRotate how, bool *helped, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmStatus status = LSM_OK;

	*helped = false;
	if (shared->options.inline_work)
	{
		*helped = true;
		return lsm_work_inline(db, err);
	}
	if (how == LSM_ROTATE_FOR_COST && db->standalone == NULL)
		return LSM_OK;
	if (atomic_load(&shared->waiting) > 0 && lsm_role_try(db))
	{
		*helped = true;
		status = lsm_flush_all(db, err);
		lsm_role_give(db);
	}
	return status;
}

/* Gets a memtable with `cost` bytes to spare; called when there is none, or may be none. */
static LsmStatus
wait_until(LsmDb *db, LsmRotate how, size_t cost, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmEnv *env = db->env;
	uint64_t since_us = env->ops->now_us(env);
	bool helped;
	bool waited;
	LsmError kept;
	LsmStatus status;

	/* This handle's own pin could be the one that keeps an arena; its scans reposition. */
	lsm_unpin_all(db);
	lsm_reclaim(db);
	status = attempt(db, how, cost, err);
	waited = status == LSM_BUSY;
	while (status == LSM_BUSY)
	{
		status = help(db, how, &helped, err);
		if (status != LSM_OK)
			break;
		lsm_reclaim(db);
		env->ops->wake(env, LSM_WAIT_WORK);
		env->ops->wait_prepare(env, LSM_WAIT_ROOM);
		status = attempt(db, how, cost, err);
		if (status == LSM_BUSY)
		{
			/* Whoever works for itself need not hope that the next attempt goes better. */
			if ((helped || env->ops->now_us(env) - since_us > GIVE_UP_US) && hopeless(db, &kept) != LSM_OK)
			{
				status = kept.status;
				if (err != NULL)
					*err = kept;
			}
			else if (lsm_stopping(db) || env->ops->wait(env, LSM_WAIT_ROOM, STEP_MS) != LSM_OK)
				status = lsm_fail(err, LSM_INTERRUPTED, 0, NULL, 0, "waiting for room in the memtable was interrupted");
		}
		env->ops->wait_end(env, LSM_WAIT_ROOM);
	}
	if (waited)
	{
		atomic_fetch_add(&shared->stalls, 1);
		atomic_fetch_add(&shared->stall_us, env->ops->now_us(env) - since_us);
	}
	return status;
}

LsmStatus
lsm_rotate_wait(LsmDb *db, uint64_t *generation, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmStatus status = wait_until(db, LSM_ROTATE_NONEMPTY, 0, err);

	if (status != LSM_OK)
		return status;
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
	*generation = shared->nmems > 1 ? shared->slots[shared->mems[1]].generation : 0;
	lsm_unlock(db->env, LSM_LOCK_STATE);
	return LSM_OK;
}

LsmStatus
lsm_make_room(LsmDb *db, size_t cost, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmStatus status = lsm_ready(db, err);

	if (status != LSM_OK)
		return status;
	if (cost > shared->capacity)
		return lsm_fail(err, LSM_INVALID, 0, NULL, 0, "a batch of %zu bytes does not fit into a memtable of %zu", cost,
						shared->options.memtable_size);
	if (room_left(shared) >= cost && !lsm_journal_blocked(db))
		return LSM_OK;
	status = wait_until(db, LSM_ROTATE_FOR_COST, cost, err);
	if (status == LSM_OK && shared->options.inline_work)
		status = lsm_work_inline(db, err);
	return status;
}
