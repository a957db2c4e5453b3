/*
 * write_large.c - a standalone batch that no memtable can hold.
 *
 * It is sorted in a memtable of its own in private memory, written as a table
 * of level 0 and made durable by the manifest instead of the log, so it
 * appears whole or not at all.  Everything older must be in tables before, for
 * level 0 is searched after the memtables: so they are flushed, and the write
 * pin keeps others out until the table is in place.
 */
#include "engine/write.h"

#include <stdlib.h>

#include "engine/compact.h"
#include "engine/install.h"
#include "engine/output.h"
#include "engine/room.h"
#include "engine/work.h"

/* Writes a private memtable's entries; nothing can be dropped. */
static LsmStatus
write_entries(LsmMemtable *memtable, LsmOutput *output, LsmError *err)
{
	LsmIter *it = lsm_memtable_iter(memtable);
	LsmStatus status = LSM_OK;

	if (it == NULL)
		return lsm_no_memory(err);
	for (lsm_iter_seek_first(it); it->valid && status == LSM_OK; lsm_iter_next(it))
		status = lsm_output_add(output, it->key, it->value, err);
	lsm_iter_close(it);
	return status;
}

LsmStatus
lsm_sort_large(LsmDb *db, const LsmBatch *batch, uint64_t seq, LsmOutput *output, LsmError *err)
{
	/* the head, the filter, and slack for alignment */
	size_t size = (batch->memtable_cost + batch->memtable_cost / 32 + (64 << 10) + 63) & ~(size_t) 63;
	LsmMemtable *memtable;
	LsmMemRoom room;
	LsmStatus status;
	void *memory;

	if (size > UINT32_MAX)
		return lsm_fail(err, LSM_INVALID, 0, NULL, 0, "a batch of %zu bytes is too large", batch->rep.len);
	memory = aligned_alloc(64, size);
	if (memory == NULL)
		return lsm_no_memory(err);
	memtable = lsm_memtable_init(memory, size);
	if (!lsm_memtable_reserve(memtable, batch->memtable_cost, batch->count, &room))
		status = lsm_no_memory(err);
	else
	{
		lsm_insert_batch(db, memtable, NULL, &room, seq, batch);
		status = write_entries(memtable, output, err);
	}
	free(memory);
	return status;
}

/* With the role, MANIFEST and WRITE held; the active memtable is empty and no other one is left. */
static LsmStatus
install_large(LsmDb *db, LsmBatch *batch, uint64_t *first_seq, LsmError *err)
{
	LsmShared *shared = db->shared;
	uint64_t seq = atomic_load(&shared->last_seq) + 1;
	LsmEdit edit = {0};
	LsmOutput output;
	LsmStatus status;

	lsm_batch_set_sequence(batch, seq);
	lsm_output_init(&output, db, 0, 0, NULL);
	status = lsm_sort_large(db, batch, seq, &output, err);
	if (status == LSM_OK)
		status = lsm_output_finish(&output, err);
	for (int i = 0; status == LSM_OK && i < output.nfiles; i++)
	{
		if (!lsm_edit_add(&edit, 0, output.files[i]))
			status = lsm_no_memory(err);
	}
	if (status != LSM_OK)
		lsm_output_discard(&output);
	else
	{
		status = lsm_install_locked(db, &edit, -1, seq + batch->count - 1, err);
		/* Also after an error: the manifest may have it, and the numbers must not come again. */
		atomic_store_explicit(&shared->last_seq, seq + batch->count - 1, memory_order_release);
	}
	if (status == LSM_OK)
	{
		atomic_fetch_add(&shared->bytes_flushed, output.bytes);
		*first_seq = seq;
	}
	lsm_output_free(&output);
	lsm_edit_free(&edit);
	return status;
}

LsmStatus
lsm_write_large(LsmDb *db, LsmBatch *batch, uint64_t *first_seq, LsmError *err)
{
	LsmShared *shared = db->shared;
	uint64_t seq = 0;
	LsmStatus status;

	lsm_unpin_all(db); /* our own scans reposition */
	status = lsm_role_wait(db, LSM_JOB_WAIT, err);
	if (status != LSM_OK)
		return status;
	for (;;)
	{
		bool empty;

		status = lsm_rotate(db, LSM_ROTATE_NONEMPTY, err);
		if (status == LSM_OK || status == LSM_BUSY)
			status = lsm_flush_all(db, err);
		if (status != LSM_OK)
			break;
		lsm_lock(db->env, LSM_LOCK_MANIFEST, LSM_EXCLUSIVE);
		lsm_lock(db->env, LSM_LOCK_WRITE, LSM_EXCLUSIVE);
		empty = atomic_load(&shared->waiting) == 0 &&
				lsm_memtable_entries(lsm_shared_arena(shared, atomic_load(&shared->active))) == 0;
		if (empty)
			status = install_large(db, batch, &seq, err);
		lsm_unlock(db->env, LSM_LOCK_WRITE);
		lsm_unlock(db->env, LSM_LOCK_MANIFEST);
		if (empty || status != LSM_OK)
			break;
		/* somebody wrote in between, or some reader still looks at the arenas */
		lsm_reclaim(db);
		db->env->ops->wait_prepare(db->env, LSM_WAIT_ROOM);
		status = lsm_stopping(db) ? LSM_INTERRUPTED : db->env->ops->wait(db->env, LSM_WAIT_ROOM, 10);
		db->env->ops->wait_end(db->env, LSM_WAIT_ROOM);
		if (status != LSM_OK)
		{
			status = lsm_fail(err, status, 0, NULL, 0, "waiting for a flush was interrupted");
			break;
		}
	}
	lsm_role_give(db);
	if (status == LSM_OK && first_seq != NULL)
		*first_seq = seq;
	if (status == LSM_OK && shared->options.inline_work)
		return lsm_work_inline(db, err);
	return status;
}
