/*
 * write_group.c - one writer at a time: the standalone way, with group commit.
 *
 * Writers put their batch on a list without a lock, then take LSM_LOCK_WRITE.
 * Whoever gets it first leads: it writes everything that has arrived (bounded)
 * as one record with one sync, and puts it into the memtable.  The others find
 * their batch done when they get the lock.  So while one sync runs, the next
 * group gathers.
 *
 * Readers take last_seq for their horizon; it moves when the whole group is in
 * the memtable, so nobody sees half a batch.
 *
 * After a failed append the journal's tail is unknown: the batch may or may
 * not be found after a crash.  Its sequence numbers are skipped, and nothing is
 * written before the memtable is flushed and that log forgotten
 * (shared->bad_generation, room.c).
 */
#include "engine/write.h"

#include "engine/standalone.h"

#define MAX_GROUP (1 << 20) /* bytes; a longer one makes the first in it wait for nothing */

/* Appends to the journal under sequence `seq`.  WRITE is held exclusively. */
static LsmStatus
log_batch(LsmDb *db, LsmBatch *batch, uint64_t seq, bool sync, LsmError *err)
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

static LsmStatus
no_room(LsmError *err)
{
	return lsm_fail(err, LSM_BUSY, 0, NULL, 0, "the memtable is full");
}

LsmStatus
lsm_write_exclusive(LsmDb *db, LsmBatch *batch, const LsmBatch *mem_batch, bool sync, uint64_t *first_seq, LsmError *err)
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
		!lsm_memtable_reserve(lsm_shared_arena(shared, slot), mem_batch->memtable_cost, &room))
		status = no_room(err);
	else
		status = log_batch(db, batch, seq, sync, err);
	if (status == LSM_OK)
	{
		lsm_insert_batch(db, lsm_shared_arena(shared, slot), &shared->slots[slot], &room, seq, mem_batch);
		atomic_store_explicit(&shared->last_seq, seq + batch->count - 1, memory_order_release);
	}
	lsm_unlock(db->env, LSM_LOCK_WRITE);
	if (status == LSM_OK && first_seq != NULL)
		*first_seq = seq;
	return status;
}

/* Moves what has arrived to the end of the queue, oldest first. */
static void
gather(LsmStandalone *s)
{
	LsmWriteRequest *arrived = atomic_exchange(&s->arrivals, NULL);
	LsmWriteRequest *oldest = NULL;
	LsmWriteRequest *newest = arrived;

	while (arrived != NULL)
	{
		LsmWriteRequest *next = arrived->next;

		arrived->next = oldest;
		oldest = arrived;
		arrived = next;
	}
	if (oldest == NULL)
		return;
	if (s->head == NULL)
		s->head = oldest;
	else
		s->tail->next = oldest;
	s->tail = newest;
}

static LsmWriteRequest *
pop(LsmStandalone *s)
{
	LsmWriteRequest *request = s->head;

	s->head = request->next;
	if (s->head == NULL)
		s->tail = NULL;
	request->next = NULL;
	return request;
}

static void
finish(LsmWriteRequest *request, LsmStatus status, const LsmError *err)
{
	request->status = status;
	if (status != LSM_OK)
		request->err = *err;
	request->done = true;
}

/* Takes requests off the queue that fit into the memtable and the bound; the others are answered LSM_BUSY. */
static LsmWriteRequest *
take_group(LsmDb *db, LsmMemtable *memtable, uint64_t seq, uint32_t *count, bool *sync)
{
	LsmStandalone *s = db->standalone;
	bool blocked = atomic_load(&db->shared->bad_generation) != 0;
	LsmWriteRequest *group = NULL;
	LsmWriteRequest **end = &group;
	size_t bytes = 0;

	*count = 0;
	*sync = false;
	while (s->head != NULL && (bytes == 0 || bytes + s->head->batch->rep.len <= MAX_GROUP))
	{
		LsmWriteRequest *request = pop(s);

		if (blocked || !lsm_memtable_reserve(memtable, request->batch->memtable_cost, &request->room))
		{
			LsmError err;

			finish(request, no_room(&err), &err);
			continue;
		}
		request->seq = seq + *count;
		*count += request->batch->count;
		*sync |= request->sync;
		bytes += request->batch->rep.len;
		*end = request;
		end = &request->next;
	}
	return group;
}

/* Writes one group.  WRITE is held exclusively. */
static void
lead(LsmDb *db)
{
	LsmStandalone *s = db->standalone;
	LsmShared *shared = db->shared;
	int slot = atomic_load(&shared->active);
	LsmMemtable *memtable = lsm_shared_arena(shared, slot);
	uint64_t seq = atomic_load(&shared->last_seq) + 1;
	LsmWriteRequest *group;
	LsmBatch *batch;
	uint32_t count;
	LsmStatus status = LSM_OK;
	LsmError err = {0};
	bool sync;

	gather(s);
	group = take_group(db, memtable, seq, &count, &sync);
	if (group == NULL)
		return;
	batch = group->batch;
	if (group->next != NULL)
	{
		lsm_batch_clear(&s->joined);
		batch = &s->joined;
		for (LsmWriteRequest *r = group; r != NULL && status == LSM_OK; r = r->next)
		{
			if (!lsm_batch_join(&s->joined, r->batch))
				status = lsm_no_memory(&err);
		}
	}
	if (status == LSM_OK)
		status = log_batch(db, batch, seq, sync, &err);
	for (LsmWriteRequest *r = group; r != NULL; r = group)
	{
		group = r->next;
		if (status == LSM_OK)
			lsm_insert_batch(db, memtable, &shared->slots[slot], &r->room, r->seq, r->batch);
		finish(r, status, &err);
	}
	if (status == LSM_OK)
		atomic_store_explicit(&shared->last_seq, seq + count - 1, memory_order_release);
}

LsmStatus
lsm_write_grouped(LsmDb *db, LsmBatch *batch, bool sync, uint64_t *first_seq, LsmError *err)
{
	LsmStandalone *s = db->standalone;
	LsmWriteRequest request;

	if (s == NULL)
		return lsm_write_exclusive(db, batch, batch, sync, first_seq, err);
	request.batch = batch;
	request.sync = sync;
	request.done = false;
	request.next = atomic_load(&s->arrivals);
	while (!atomic_compare_exchange_weak(&s->arrivals, &request.next, &request))
		;
	lsm_lock(db->env, LSM_LOCK_WRITE, LSM_EXCLUSIVE);
	while (!request.done)
		lead(db);
	lsm_unlock(db->env, LSM_LOCK_WRITE);
	if (request.status != LSM_OK)
	{
		if (err != NULL)
			*err = request.err;
		return request.status;
	}
	if (first_seq != NULL)
		*first_seq = request.seq;
	return LSM_OK;
}
