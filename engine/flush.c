/*
 * flush.c - from memtable to level 0.
 */
#include "engine/compact.h"

#include <assert.h>

#include "engine/drop.h"
#include "engine/install.h"
#include "engine/output.h"
#include "engine/throttle.h"

static void
note(LsmDb *db, LsmError *kept, LsmStatus status, const LsmError *err)
{
	if (status == LSM_INTERRUPTED)
		return; /* nobody's fault */
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
	if (status == LSM_OK)
		*kept = (LsmError){0};
	else
		*kept = *err;
	lsm_unlock(db->env, LSM_LOCK_STATE);
	if (status != LSM_OK)
		db->env->ops->wake(db->env, LSM_WAIT_ROOM);
}

void
lsm_note_flush(LsmDb *db, LsmStatus status, const LsmError *err)
{
	note(db, &db->shared->flush_error, status, err);
}

void
lsm_note_compaction(LsmDb *db, LsmStatus status, const LsmError *err)
{
	note(db, &db->shared->compact_error, status, err);
}

LsmStatus
lsm_write_memtable(LsmDb *db, LsmMemtable *memtable, LsmFiles *files, LsmOutput *output, LsmError *err)
{
	LsmIter *it = lsm_memtable_iter(memtable);
	bool keep_all = db->shared->options.flush_all_versions && !lsm_stamped(db);
	LsmStatus status = LSM_OK;
	uint32_t n = 0;
	LsmDrop drop;

	if (it == NULL)
		return lsm_no_memory(err);
	lsm_drop_init(&drop, db, files, 0);
	for (lsm_iter_seek_first(it); it->valid && status == LSM_OK; lsm_iter_next(it))
	{
		LsmVerdict verdict = LSM_KEEP;

		if ((++n & 255) == 0 && lsm_stopping(db))
		{
			status = lsm_fail(err, LSM_INTERRUPTED, 0, NULL, 0, "flush was interrupted");
			break;
		}
		if (!keep_all)
			status = lsm_drop_ask(&drop, it->key, it->value, &verdict, err);
		if (status == LSM_OK && verdict == LSM_KEEP)
			status = lsm_output_add(output, it->key, it->value, err);
		else if (status == LSM_OK && verdict == LSM_REPLACE)
			status = lsm_output_add(output, drop.ikey, drop.value, err);
	}
	lsm_drop_free(&drop);
	lsm_iter_close(it);
	if (status == LSM_OK)
		status = lsm_output_finish(output, err);
	return status;
}

static LsmStatus
flush_slot(LsmDb *db, int slot, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmEdit edit = {0};
	LsmOutput output;
	uint64_t position;
	LsmStatus status;

	lsm_output_init(&output, db, 0, 0, NULL);
	status = lsm_write_memtable(db, lsm_shared_arena(shared, slot), db->follow.files, &output, err);
	for (int i = 0; status == LSM_OK && i < output.nfiles; i++)
	{
		if (!lsm_edit_add(&edit, 0, output.files[i]))
			status = lsm_no_memory(err);
	}
	if (status != LSM_OK)
		lsm_output_discard(&output);
	else
	{
		atomic_fetch_add(&shared->bytes_flushed, output.bytes);
		status = lsm_install(db, &edit, slot, 0, err);
	}
	position = edit.log_number;
	lsm_output_free(&output);
	lsm_edit_free(&edit);
	if (status != LSM_OK)
		return status;
	atomic_fetch_add(&shared->flushes, 1);
	db->journal->ops->release(db->journal, position);
	lsm_collect(db);
	lsm_reclaim(db);
	return LSM_OK;
}

LsmStatus
lsm_flush_oldest(LsmDb *db, bool *flushed, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmError local;
	LsmStatus status;
	int slot = -1;

	*flushed = false;
	if (err == NULL)
		err = &local;
	status = lsm_refresh(db, err);
	if (status != LSM_OK)
		return status;
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
	if (shared->nmems > 1)
		slot = shared->mems[shared->nmems - 1];
	lsm_unlock(db->env, LSM_LOCK_STATE);
	if (slot < 0)
		return LSM_OK;
	lsm_throttle_flush_begins(db);
	status = flush_slot(db, slot, err);
	lsm_throttle_flush_ends(db, status == LSM_OK);
	lsm_note_flush(db, status, err);
	*flushed = status == LSM_OK;
	return status;
}
