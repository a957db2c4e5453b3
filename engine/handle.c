/*
 * handle.c - attaching to a store, and keeping the view current.  See handle.h.
 */
#include "engine/handle.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/install.h"
#include "engine/job.h"
#include "engine/standalone.h"

LsmStatus
lsm_no_memory(LsmError *err)
{
	return lsm_fail(err, LSM_NO_MEMORY, 0, NULL, 0, "out of memory");
}

LsmStatus
lsm_attach(const LsmAttach *attach, LsmDb **result, LsmError *err)
{
	LsmShared *shared = attach->shared;
	LsmDb *db;

	if (attach->handle < 0 || attach->handle >= shared->options.max_handles)
		return lsm_fail(err, LSM_INVALID, 0, NULL, 0, "handle %d is not between 0 and %d", attach->handle,
						shared->options.max_handles - 1);
	db = calloc(1, sizeof(LsmDb));
	if (db == NULL)
		return lsm_no_memory(err);
	db->env = attach->env;
	db->shared = shared;
	db->journal = attach->journal;
	db->txn = attach->txn;
	db->txn_ctx = attach->txn_ctx;
	db->handle = attach->handle;
	db->should_stop = attach->should_stop;
	db->stop_arg = attach->stop_arg;
	db->pin = &lsm_shared_pins(shared)[attach->handle].epoch;
	atomic_store(db->pin, 0);
	db->view_epoch = UINT64_MAX;
	db->job = -1;
	lsm_job_abandon(db);
	lsm_follow_init(&db->follow, db->env);
	lsm_table_cache_init(&db->tables, db->env, lsm_shared_cache(shared), shared->options.table_cache_size);
	*result = db;
	return LSM_OK;
}

void
lsm_detach(LsmDb *db)
{
	if (db == NULL)
		return;
	lsm_unpin_all(db);
	lsm_garbage_leave(db);
	lsm_job_abandon(db);
	lsm_manifest_close(&db->manifest);
	lsm_follow_free(&db->follow);
	lsm_table_cache_free(&db->tables);
	free(db->garbage);
	lsm_buf_free(&db->spill);
	if (db->standalone != NULL)
	{
		lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
		db->standalone->used[db->handle] = false;
		lsm_unlock(db->env, LSM_LOCK_STATE);
	}
	free(db);
}

void
lsm_unpin_all(LsmDb *db)
{
	db->pin_depth = 0;
	db->pin_era++;
	atomic_store(db->pin, 0);
}

LsmStatus
lsm_ready(LsmDb *db, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmStatus status = LSM_OK;

	switch ((LsmPhase) atomic_load(&shared->phase))
	{
		case LSM_PHASE_READY:
			break;
		case LSM_PHASE_NEW:
			status = lsm_fail(err, LSM_BUSY, 0, NULL, 0, "the store is not recovered yet");
			break;
		case LSM_PHASE_FAILED:
			lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
			status = shared->kept_error.status;
			if (err != NULL)
				*err = shared->kept_error;
			lsm_unlock(db->env, LSM_LOCK_STATE);
			break;
	}
	return status;
}

LsmStatus
lsm_enter_slow(LsmDb *db, LsmError *err)
{
	LsmShared *shared = db->shared;
	uint64_t manifest_number;
	uint64_t manifest_length;
	uint64_t epoch;
	LsmStatus status;

	status = lsm_ready(db, err);
	if (status != LSM_OK)
	{
		if (db->pin_depth == 0)
			atomic_store(db->pin, 0);
		return status;
	}

	lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
	epoch = atomic_load(&shared->epoch);
	/* An outer call's pin is older, so it protects more: it stays. */
	if (db->pin_depth == 0)
		atomic_store(db->pin, epoch);
	db->nmems = shared->nmems;
	for (int i = 0; i < shared->nmems; i++)
	{
		int slot = shared->mems[i];

		db->mems[i] = (LsmMemView){lsm_shared_arena(shared, slot), shared->slots[slot].generation, slot, {{0}, 0}};
	}
	manifest_number = shared->manifest_number;
	manifest_length = shared->manifest_length;
	lsm_unlock(db->env, LSM_LOCK_STATE);

	/* The pin keeps this manifest from being removed while we read it. */
	db->pin_depth++;
	db->view_epoch = UINT64_MAX;
	status = lsm_follow_to(&db->follow, manifest_number, manifest_length, err);
	if (status != LSM_OK)
	{
		lsm_leave(db);
		return status;
	}
	db->view_epoch = epoch;
	return LSM_OK;
}

uint64_t
lsm_snapshot_take(LsmDb *db)
{
	LsmShared *shared = db->shared;
	uint64_t seq;
	int n;

	lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
	seq = atomic_load(&shared->last_seq);
	n = shared->nsnapshots;
	/*
	 * Only the oldest one matters to compaction.  So when the array is full, a
	 * snapshot counts for its next older neighbour, which keeps more than needed.
	 */
	if (n > 0 && (shared->snapshots[n - 1].seq == seq || n == LSM_MAX_SNAPSHOTS))
		shared->snapshots[n - 1].count++;
	else
	{
		shared->snapshots[n] = (LsmSnapshot){seq, 1};
		shared->nsnapshots++;
	}
	lsm_unlock(db->env, LSM_LOCK_STATE);
	return seq;
}

void
lsm_snapshot_release(LsmDb *db, uint64_t seq)
{
	LsmShared *shared = db->shared;
	int i;

	lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
	/* the newest that is not newer: itself, or the neighbour it counted for */
	for (i = shared->nsnapshots - 1; i >= 0 && shared->snapshots[i].seq > seq; i--)
		;
	assert(i >= 0);
	if (i >= 0 && --shared->snapshots[i].count == 0)
	{
		memmove(&shared->snapshots[i], &shared->snapshots[i + 1],
				(size_t) (shared->nsnapshots - i - 1) * sizeof(LsmSnapshot));
		shared->nsnapshots--;
	}
	lsm_unlock(db->env, LSM_LOCK_STATE);
}
