/*
 * dead.c - see dead.h.
 *
 * Compaction takes files that are mostly deletions (pick.c), but what slows a scan
 * down may be a small part of its file, lie in a memtable that nobody fills, or in
 * the deepest level, where deletions that some snapshot still needed when they came there meet nothing
 * any more.  The scan is who notices.  So it notes the stretch, and background work
 * merges that, memtables included, when nothing else is due.
 *
 * Perhaps in vain, if an old snapshot needs it all: so it takes a tenth of the time at most.
 */
#include "engine/dead.h"

#include <string.h>

#include "engine/install.h"
#include "engine/job.h"
#include "engine/room.h"
#include "engine/work.h"

#define FILES_AT_ONCE 8          /* of the deepest level, then other work has its turn */
#define LEAST_PAUSE_US 1000000   /* between two stretches */
#define PAUSE 10                 /* times what the last one took */
#define FAILED_PAUSE_US 60000000 /* after an error */

void
lsm_dead_note(LsmDb *db, LsmSlice first, LsmSlice last)
{
	LsmShared *shared = db->shared;

	if (atomic_load(&shared->dead_noted) || db->env->ops->now_us(db->env) < atomic_load(&shared->dead_pause_us))
		return;
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
	if (!atomic_load(&shared->dead_noted))
	{
		/* a key that is too long is cut: the stretch begins a little earlier, ends a little earlier */
		lsm_key_head(&shared->dead_first, first);
		lsm_key_head(&shared->dead_last, last);
		shared->dead_flushed = false;
		shared->dead_took_us = 0;
		atomic_store(&shared->dead_noted, true);
	}
	lsm_unlock(db->env, LSM_LOCK_STATE);
	db->env->ops->wake(db->env, LSM_WAIT_WORK);
}

/* Where the first files of the deepest level end, if the stretch goes on behind them; else its end. */
static LsmSlice
end_of_part(const LsmFiles *files, LsmSlice lower, LsmSlice upper)
{
	for (int level = LSM_NUM_LEVELS - 1; level > 0; level--)
	{
		const LsmLevel *l = &files->levels[level];
		int from = lsm_level_find_user(l, lower);

		if (from == l->n || !lsm_file_overlaps(l->files[from], lower, upper))
			continue;
		if (from + FILES_AT_ONCE < l->n)
		{
			LsmSlice next = lsm_ikey_user(l->files[from + FILES_AT_ONCE]->smallest);

			if (lsm_slice_compare(next, upper) < 0 && lsm_slice_compare(next, lower) > 0)
				return next;
		}
		break;
	}
	return upper;
}

/* What is in memtables has to be in tables first. */
static LsmStatus
flush(LsmDb *db, LsmError *err)
{
	LsmStatus status = lsm_rotate(db, LSM_ROTATE_NONEMPTY, err);

	/* no arena is free: then flushes are due, but writers are many and it will not lie there for long */
	if (status == LSM_OK || status == LSM_BUSY)
		status = lsm_flush_all(db, err);
	db->shared->dead_flushed = status == LSM_OK;
	return status;
}

static void
finish(LsmDb *db, uint64_t pause_us)
{
	LsmShared *shared = db->shared;

	atomic_store(&shared->dead_pause_us, db->env->ops->now_us(db->env) + (pause_us > LEAST_PAUSE_US ? pause_us : LEAST_PAUSE_US));
	atomic_store(&shared->dead_noted, false);
}

LsmStatus
lsm_dead_work(LsmDb *db, bool *did, LsmError *err)
{
	LsmShared *shared = db->shared;
	uint64_t since_us = db->env->ops->now_us(db->env);
	char cut[sizeof(shared->dead_last.bytes)];
	bool all = true;
	LsmKeyHead first;
	LsmKeyHead last;
	LsmSlice lower;
	LsmSlice upper;
	LsmSlice end;
	LsmStatus status;
	bool reserved;

	*did = false;
	if (!lsm_dead_noted(db))
		return LSM_OK;
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
	first = shared->dead_first;
	last = shared->dead_last;
	lsm_unlock(db->env, LSM_LOCK_STATE);
	lower = lsm_slice(first.bytes, first.len);
	upper = lsm_slice(last.bytes, last.len);
	/* who waited would keep level 0 from being merged meanwhile */
	status = lsm_job_reserve(db, lower, upper, LSM_JOB_TRY, &reserved, err);
	if (status != LSM_OK || !reserved)
		return status; /* another time */
	if (!shared->dead_flushed)
		status = flush(db, err);
	if (status == LSM_OK)
		status = lsm_refresh(db, err);
	if (status == LSM_OK)
	{
		end = end_of_part(db->follow.files, lower, upper);
		all = lsm_slice_compare(end, upper) == 0 || end.len > sizeof(cut);
		if (!all)
		{
			/* it is borrowed from the set of files, which changes now */
			memcpy(cut, end.data, end.len);
			end = lsm_slice(cut, end.len);
		}
		else
			end = upper;
		if (lsm_slice_compare(lower, end) < 0)
			status = lsm_compact_range_with_role(db, lower, end, LSM_JOB_TRY, err);
	}
	shared->dead_took_us += db->env->ops->now_us(db->env) - since_us;
	/* goes on another time */
	if (status == LSM_INTERRUPTED)
		return status;
	if (status == LSM_BUSY)
		return LSM_OK;
	if (status != LSM_OK)
	{
		finish(db, FAILED_PAUSE_US);
		return status;
	}
	*did = true;
	if (all)
	{
		finish(db, PAUSE * shared->dead_took_us);
		return LSM_OK;
	}
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
	lsm_key_head(&shared->dead_first, end);
	lsm_unlock(db->env, LSM_LOCK_STATE);
	return LSM_OK;
}
