/*
 * work.c - who does the background work, and its entry points in db.h.
 */
#include "engine/work.h"

#include <stdlib.h>

#include "engine/compact.h"
#include "engine/dead.h"
#include "engine/install.h"
#include "engine/job.h"
#include "engine/room.h"
#include "engine/seek.h"

#define STEP_MS 100

bool
lsm_role_try(LsmDb *db)
{
	int nobody = 0;

	return atomic_compare_exchange_strong(&db->shared->worker, &nobody, db->handle + 1);
}

void
lsm_role_give(LsmDb *db)
{
	int me = db->handle + 1;

	if (!lsm_role_mine(db))
		return;
	lsm_job_unreserve(db);
	if (atomic_compare_exchange_strong(&db->shared->worker, &me, 0))
		db->env->ops->wake(db->env, LSM_WAIT_ROOM);
}

LsmStatus
lsm_role_wait(LsmDb *db, LsmPatience patience, LsmError *err)
{
	LsmEnv *env = db->env;

	for (;;)
	{
		LsmStatus status = LSM_OK;
		bool mine;

		if (patience == LSM_JOB_TRY && lsm_job_reserved(db))
			return lsm_fail(err, LSM_BUSY, 0, NULL, 0, "another compaction is in the way");
		env->ops->wait_prepare(env, LSM_WAIT_ROOM);
		mine = lsm_role_try(db);
		if (!mine)
			status = lsm_stopping(db) ? LSM_INTERRUPTED : env->ops->wait(env, LSM_WAIT_ROOM, STEP_MS);
		env->ops->wait_end(env, LSM_WAIT_ROOM);
		if (mine)
			return LSM_OK;
		if (status != LSM_OK)
			return lsm_fail(err, status, 0, NULL, 0, "waiting for a flush or compaction was interrupted");
	}
}

LsmStatus
lsm_flush_all(LsmDb *db, LsmError *err)
{
	bool flushed = true;
	LsmStatus status = LSM_OK;

	while (status == LSM_OK && flushed)
		status = lsm_flush_oldest(db, &flushed, err);
	return status;
}

LsmStatus
lsm_advance_position(LsmDb *db, bool *did, LsmError *err)
{
	LsmShared *shared = db->shared;
	bool mine = lsm_role_mine(db);
	LsmEdit edit = {0};
	LsmStatus status;
	bool due;

	*did = false;
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
	due = shared->nmems == 1 && shared->slots[shared->mems[0]].position > shared->manifest_position;
	lsm_unlock(db->env, LSM_LOCK_STATE);
	if (!due || (!mine && !lsm_role_try(db)))
		return LSM_OK;
	status = lsm_install(db, &edit, -1, 0, err);
	if (status == LSM_OK)
		db->journal->ops->release(db->journal, edit.log_number);
	if (!mine)
		lsm_role_give(db);
	lsm_edit_free(&edit);
	*did = status == LSM_OK;
	return status;
}

static LsmStatus
compact_once(LsmDb *db, bool *did, LsmError *err)
{
	LsmCompaction *compaction = NULL;
	LsmStatus status = lsm_refresh(db, err);
	LsmBusy busy;
	bool ran;

	*did = false;
	if (status != LSM_OK)
		return status;
	lsm_job_busy(db, &busy);
	if (!busy.full || lsm_role_mine(db))
		status = lsm_pick(&db->shared->options, db->follow.files, &busy, &compaction, err);
	if (status != LSM_OK || compaction == NULL)
		return status;
	status = lsm_compaction_do(db, compaction, LSM_JOB_TRY, &ran, err);
	/* if somebody was quicker, there is something else to do now, or soon nothing */
	*did = status == LSM_OK;
	return status;
}

/* What readers asked for, when nothing else is due. */
static LsmStatus
asked_once(LsmDb *db, bool *did, LsmError *err)
{
	LsmStatus status = lsm_dead_work(db, did, err);

	return status == LSM_OK && !*did ? lsm_seek_work(db, did, err) : status;
}

static LsmStatus
work_with_role(LsmDb *db, bool *did, LsmError *err)
{
	LsmStatus status = lsm_flush_oldest(db, did, err);

	if (status != LSM_OK || *did)
		return status;
	lsm_sweep(db);
	lsm_reclaim(db);
	return lsm_advance_position(db, did, err);
}

LsmStatus
lsm_work(LsmDb *db, bool *did_work, LsmError *err)
{
	LsmStatus status = lsm_ready(db, err);

	*did_work = false;
	if (status != LSM_OK)
		return status;
	lsm_collect(db);
	if (lsm_role_try(db))
	{
		status = work_with_role(db, did_work, err);
		lsm_role_give(db);
	}
	if (status == LSM_OK && !*did_work)
		status = compact_once(db, did_work, err);
	if (status == LSM_OK && !*did_work && (lsm_dead_noted(db) || lsm_seek_noted(db)) && lsm_role_try(db))
	{
		status = asked_once(db, did_work, err);
		lsm_role_give(db);
	}
	return status;
}

LsmStatus
lsm_work_inline(LsmDb *db, LsmError *err)
{
	LsmStatus status;
	LsmError ignored; /* kept in shared memory for lsm_stats; level0_stop makes it felt */
	bool did = true;

	if (!lsm_role_try(db))
		return LSM_OK;
	status = lsm_flush_all(db, err);
	while (status == LSM_OK && did)
	{
		if (compact_once(db, &did, &ignored) != LSM_OK || (!did && asked_once(db, &did, &ignored) != LSM_OK))
			break;
	}
	lsm_collect(db);
	lsm_sweep(db);
	lsm_reclaim(db);
	lsm_role_give(db);
	return status;
}

LsmStatus
lsm_wait_flushed(LsmDb *db, uint64_t generation, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmEnv *env = db->env;

	for (;;)
	{
		LsmStatus status = LSM_OK;
		LsmError failed;
		uint64_t oldest;

		env->ops->wake(env, LSM_WAIT_WORK);
		env->ops->wait_prepare(env, LSM_WAIT_ROOM);
		lsm_lock(env, LSM_LOCK_STATE, LSM_SHARED);
		oldest = shared->slots[shared->mems[shared->nmems - 1]].generation;
		failed = shared->flush_error;
		lsm_unlock(env, LSM_LOCK_STATE);
		if (oldest > generation)
		{
			env->ops->wait_end(env, LSM_WAIT_ROOM);
			return LSM_OK;
		}
		if (lsm_role_try(db))
		{
			env->ops->wait_end(env, LSM_WAIT_ROOM);
			status = lsm_flush_all(db, err);
			lsm_role_give(db);
			if (status != LSM_OK)
				return status;
			continue;
		}
		/* somebody else is at it, and has failed */
		if (failed.status != LSM_OK)
		{
			env->ops->wait_end(env, LSM_WAIT_ROOM);
			if (err != NULL)
				*err = failed;
			return failed.status;
		}
		status = lsm_stopping(db) ? LSM_INTERRUPTED : env->ops->wait(env, LSM_WAIT_ROOM, STEP_MS);
		env->ops->wait_end(env, LSM_WAIT_ROOM);
		if (status != LSM_OK)
			return lsm_fail(err, status, 0, NULL, 0, "waiting for a flush was interrupted");
	}
}

LsmStatus
lsm_flush(LsmDb *db, LsmError *err)
{
	uint64_t generation;
	LsmStatus status = lsm_ready(db, err);

	if (status == LSM_OK)
		status = lsm_rotate_wait(db, &generation, err);
	if (status == LSM_OK)
		status = lsm_wait_flushed(db, generation, err);
	lsm_garbage_leave(db);
	return status;
}

LsmStatus
lsm_rotate_if_older(LsmDb *db, uint64_t position, LsmError *err)
{
	LsmShared *shared = db->shared;
	bool older;
	LsmStatus status = lsm_ready(db, err);

	if (status != LSM_OK)
		return status;
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
	older = shared->slots[shared->mems[0]].position < position;
	lsm_unlock(db->env, LSM_LOCK_STATE);
	if (!older)
		return LSM_OK;
	status = lsm_rotate(db, LSM_ROTATE_OR_ADVANCE, err);
	return status == LSM_BUSY ? LSM_OK : status; /* no arena is free: then a flush is due anyway */
}

void
lsm_set_rate(LsmDb *db, uint64_t bytes_per_second)
{
	atomic_store(&db->shared->rate, bytes_per_second);
}
