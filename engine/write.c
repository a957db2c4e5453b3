/*
 * write.c - lsm_write, and what every way of writing shares.
 *
 * With a concurrent journal (PostgreSQL's WAL) many writers hold LSM_LOCK_WRITE
 * shared.  Sequence numbers are handed out by an atomic addition, so batches lie
 * in the journal in another order than their numbers; visibility does not
 * depend on either.  Nothing between the reservation and the last insertion can
 * fail, so a batch that is in the journal is in the memtable, too.
 *
 * Else one writer at a time holds it, and last_seq, which readers take for their
 * horizon, moves when the whole batch is in the memtable: nobody sees half of
 * it.  After a failed append the journal's tail is unknown: the batch may or may
 * not be found after a crash.  Its sequence numbers are skipped, and nothing is
 * written before the memtable is flushed and that log forgotten
 * (shared->bad_generation, room.c).
 */
#include "engine/write.h"

#include <assert.h>
#include <string.h>

#include "engine/coding.h"
#include "engine/spill.h"

static void
lower_min_xid(LsmSlot *slot, uint64_t xid)
{
	uint64_t now = atomic_load_explicit(&slot->min_xid, memory_order_relaxed);

	while (xid < now && !atomic_compare_exchange_weak(&slot->min_xid, &now, xid))
		;
}

void
lsm_insert_batch(LsmDb *db, LsmMemtable *memtable, LsmSlot *slot, LsmMemRoom *room, uint64_t seq, const LsmBatch *batch)
{
	uint64_t min_xid = UINT64_MAX;
	LsmBatchReader reader;
	uint32_t spills = 0;
	LsmError ignored;
	LsmMemFinger *finger = slot != NULL ? lsm_finger(db, slot->generation) : NULL;
	bool ok;

	/* who has just looked whether the key is there knows its place */
	if (finger != NULL)
		memcpy(room->finger.at, finger->at, sizeof(finger->at));
	ok = lsm_batch_reader_init(&reader, lsm_buf_slice(&batch->rep));
	assert(ok);
	(void) ok;
	while (lsm_batch_next(&reader, &ignored) == LSM_OK)
	{
		if (lsm_stamped(db) && reader.type == LSM_TYPE_VALUE)
		{
			LsmSlice payload;
			LsmStamp stamp;

			if (lsm_stamp_decode(reader.value, &stamp, &payload))
			{
				if ((stamp.flags & LSM_STAMP_XACT) && stamp.xid < min_xid)
					min_xid = stamp.xid;
				spills += (stamp.flags & LSM_STAMP_SPILLED) != 0;
			}
		}
		lsm_memtable_add(memtable, room, seq++, reader.type, reader.key, reader.value);
	}
	if (finger != NULL)
		memcpy(finger->at, room->finger.at, sizeof(finger->at));
	if (slot == NULL)
		return;
	if (min_xid != UINT64_MAX)
		lower_min_xid(slot, min_xid);
	if (spills > 0)
		atomic_fetch_add(&slot->spills, spills);
}

/*
 * Recovery goes on LSM_SEQUENCE_GAP behind the highest number that it finds in the
 * journal or the manifest.  So that it never hands one out again, the numbers of
 * what is not in the journal must not run further ahead: now and then an empty
 * batch says how far they are.
 */
static LsmStatus
log_number(LsmDb *db, uint64_t seq, uint32_t count, LsmError *err)
{
	const uint64_t every = LSM_SEQUENCE_GAP / 4;
	char rep[LSM_BATCH_HEADER] = {0};

	if (seq / every == (seq + count) / every)
		return LSM_OK;
	lsm_put_fixed64(rep, seq + count);
	return db->journal->ops->append(db->journal, lsm_slice(rep, sizeof(rep)), false, err);
}

/*
 * Puts a batch into the active memtable, and into the journal if asked.
 * mem_batch is what the memtable gets (references instead of large values).
 */
static LsmStatus
write_concurrent(LsmDb *db, LsmBatch *batch, LsmBatch *mem_batch, bool logged, bool sync, uint64_t *first_seq,
				 LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmStatus status = LSM_OK;
	LsmMemtable *memtable;
	LsmMemRoom room;
	uint64_t seq;
	int slot;

	lsm_lock(db->env, LSM_LOCK_WRITE, LSM_SHARED);
	slot = atomic_load(&shared->active);
	memtable = lsm_shared_arena(shared, slot);
	if (!lsm_memtable_reserve(memtable, mem_batch->memtable_cost, mem_batch->count, &room))
	{
		lsm_unlock(db->env, LSM_LOCK_WRITE);
		return lsm_fail(err, LSM_BUSY, 0, NULL, 0, "the memtable is full");
	}
	seq = atomic_fetch_add(&shared->last_seq, batch->count) + 1;
	lsm_batch_set_sequence(batch, seq);
	if (mem_batch != batch)
		lsm_batch_set_sequence(mem_batch, seq);
	if (logged)
		status = db->journal->ops->append(db->journal, lsm_buf_slice(&batch->rep), sync, err);
	else
		status = log_number(db, seq, batch->count, err);
	if (status == LSM_OK)
		lsm_insert_batch(db, memtable, &shared->slots[slot], &room, seq, mem_batch);
	lsm_unlock(db->env, LSM_LOCK_WRITE);
	if (status == LSM_OK && first_seq != NULL)
		*first_seq = seq;
	return status;
}

/* ---- one writer at a time ---- */

LsmStatus
lsm_log_batch(LsmDb *db, LsmBatch *batch, uint64_t seq, bool sync, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmStatus status;

	lsm_batch_set_sequence(batch, seq);
	status = db->journal->ops->append(db->journal, lsm_buf_slice(&batch->rep), sync, err);
	if (status != LSM_OK)
	{
		atomic_store(&shared->last_seq, seq + batch->count - 1);
		atomic_store(&shared->bad_generation, atomic_load(&shared->active_generation));
	}
	return status;
}

LsmStatus
lsm_write_exclusive(LsmDb *db, LsmBatch *batch, LsmBatch *mem_batch, bool sync, uint64_t *first_seq, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmStatus status;
	LsmMemRoom room;
	uint64_t seq;
	int slot;

	lsm_lock(db->env, LSM_LOCK_WRITE, LSM_EXCLUSIVE);
	slot = atomic_load(&shared->active);
	seq = atomic_load(&shared->last_seq) + 1;
	if (atomic_load(&shared->bad_generation) != 0 ||
		!lsm_memtable_reserve(lsm_shared_arena(shared, slot), mem_batch->memtable_cost, mem_batch->count, &room))
		status = lsm_fail(err, LSM_BUSY, 0, NULL, 0, "the memtable is full");
	else
		status = lsm_log_batch(db, batch, seq, sync, err);
	if (status == LSM_OK)
	{
		if (mem_batch != batch)
			lsm_batch_set_sequence(mem_batch, seq);
		lsm_insert_batch(db, lsm_shared_arena(shared, slot), &shared->slots[slot], &room, seq, mem_batch);
		atomic_store_explicit(&shared->last_seq, seq + batch->count - 1, memory_order_release);
	}
	lsm_unlock(db->env, LSM_LOCK_WRITE);
	if (status == LSM_OK && first_seq != NULL)
		*first_seq = seq;
	return status;
}

/* As write_concurrent where one writer at a time holds the write pin: row locks of a stamped store without WAL. */
static LsmStatus
write_exclusive_unlogged(LsmDb *db, LsmBatch *batch, uint64_t *first_seq, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmMemtable *memtable;
	LsmMemRoom room;
	uint64_t seq;
	int slot;

	lsm_lock(db->env, LSM_LOCK_WRITE, LSM_EXCLUSIVE);
	slot = atomic_load(&shared->active);
	memtable = lsm_shared_arena(shared, slot);
	if (!lsm_memtable_reserve(memtable, batch->memtable_cost, batch->count, &room))
	{
		lsm_unlock(db->env, LSM_LOCK_WRITE);
		return lsm_fail(err, LSM_BUSY, 0, NULL, 0, "the memtable is full");
	}
	seq = atomic_load(&shared->last_seq) + 1;
	lsm_batch_set_sequence(batch, seq);
	lsm_insert_batch(db, memtable, &shared->slots[slot], &room, seq, batch);
	atomic_store(&shared->last_seq, seq + batch->count - 1);
	lsm_unlock(db->env, LSM_LOCK_WRITE);
	if (first_seq != NULL)
		*first_seq = seq;
	return LSM_OK;
}

/* Calls one of the ways to write until it is not for want of room that it failed. */
static LsmStatus
write_once(LsmDb *db, LsmBatch *batch, bool logged, bool sync, uint64_t *first_seq, LsmError *err)
{
	LsmBatch mem_batch = {0};
	LsmStatus status;
	int spills;

	if (logged && db->write_grouped != NULL)
		return db->write_grouped(db, batch, sync, first_seq, err);
	if (!db->journal->concurrent && !logged)
		return write_exclusive_unlogged(db, batch, first_seq, err);

	status = lsm_spill_batch(db, batch, &mem_batch, &spills, err);
	if (status != LSM_OK)
		goto done;
	if (db->journal->concurrent)
		status = write_concurrent(db, batch, spills > 0 ? &mem_batch : batch, logged, sync, first_seq, err);
	else
		status = lsm_write_exclusive(db, batch, spills > 0 ? &mem_batch : batch, sync, first_seq, err);
	if (status != LSM_OK && spills > 0)
		lsm_spill_forget_batch(db, &mem_batch);

done:
	lsm_batch_free(&mem_batch);
	return status;
}

/* What a batch takes in the memtable: values that will be spilled count as their references. */
static size_t
room_needed(LsmDb *db, const LsmBatch *batch)
{
	LsmBatchReader reader;
	LsmError ignored;
	size_t cost = 0;

	if (!lsm_spill_wanted(db, batch->rep.len) || !lsm_batch_reader_init(&reader, lsm_buf_slice(&batch->rep)))
		return batch->memtable_cost;
	while (lsm_batch_next(&reader, &ignored) == LSM_OK)
		cost += lsm_memtable_cost(reader.key.len, lsm_spill_wanted(db, reader.value.len)
													  ? LSM_STAMP_MAX_SIZE + LSM_SPILL_REF_SIZE
													  : reader.value.len);
	return cost;
}

static LsmStatus
write_batch(LsmDb *db, LsmBatch *batch, bool logged, bool sync, uint64_t *first_seq, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmStatus status = lsm_ready(db, err);
	size_t cost = batch->memtable_cost;

	if (status != LSM_OK)
		return status;
	if (batch->count == 0)
		return LSM_OK;
	if (__builtin_expect(cost > shared->capacity, 0))
	{
		if (logged && !lsm_stamped(db) && !db->journal->concurrent)
			return lsm_write_large(db, batch, first_seq, err);
		cost = room_needed(db, batch);
		if (cost > shared->capacity)
			return lsm_fail(err, LSM_INVALID, 0, NULL, 0, "a batch of %zu bytes does not fit into a memtable of %zu",
							cost, shared->options.memtable_size);
	}
	for (;;)
	{
		status = write_once(db, batch, logged, sync, first_seq, err);
		if (status != LSM_BUSY || !shared->options.inline_work)
			break;
		status = lsm_make_room(db, cost, err);
		if (status != LSM_OK)
			return status;
	}
	if (status == LSM_OK)
	{
		atomic_fetch_add_explicit(&shared->bytes_written, batch->rep.len, memory_order_relaxed);
		if (db->write_grouped != NULL)
			lsm_throttle(db, cost);
	}
	return status;
}

LsmStatus
lsm_write(LsmDb *db, LsmBatch *batch, bool sync, uint64_t *first_seq, LsmError *err)
{
	return write_batch(db, batch, true, sync, first_seq, err);
}

LsmStatus
lsm_write_unlogged(LsmDb *db, LsmBatch *batch, uint64_t *first_seq, LsmError *err)
{
	return write_batch(db, batch, false, false, first_seq, err);
}

uint64_t
lsm_last_sequence(LsmDb *db)
{
	return atomic_load(&db->shared->last_seq);
}
