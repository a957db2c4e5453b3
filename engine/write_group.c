/*
 * write_group.c - group commit: several threads' batches as one record of the log with one sync.
 *
 * As in LevelDB, writers stand in a queue.  Who comes to its head leads: it takes
 * everything behind it (bounded), writes it as one record, puts it into the
 * memtable, tells the others and wakes the next head.  So while one sync runs,
 * the next group gathers.  Those it held are back only after the next leader could
 * begin; so before a sync a leader lets the others run until as many stand in the queue as
 * there were last time, for half of what a sync takes at most.  Who is alone waits for nobody.
 *
 * For threads of one process: the queue lies in private memory, a request on
 * its writer's stack.  Left out of the library that PostgreSQL loads.
 */
#include "engine/standalone.h"

#include <sched.h>

#include "engine/write.h"

#define MAX_GROUP (1 << 20) /* bytes; a longer one makes the first in it wait for nothing */

struct LsmWriteRequest
{
	LsmWriteRequest *next;
	pthread_cond_t wake; /* done, or at the head */
	LsmBatch *batch;
	bool sync;
	bool done;  /* queue_mutex */
	bool taken; /* has room and a sequence in this group */
	LsmMemRoom room;
	uint64_t seq;
	LsmStatus status;
	LsmError err;
};

/* The caller is at the head, and the group is to be synced. */
static void
gather(LsmDb *db)
{
	LsmStandalone *s = db->standalone;
	uint64_t since_us;

	if (s->company <= 1)
		return;
	since_us = db->env->ops->now_us(db->env);
	while (atomic_load(&s->queued) < s->company && (db->env->ops->now_us(db->env) - since_us) * 2 < s->sync_us)
		sched_yield();
}

static void
answer(LsmWriteRequest *request, LsmStatus status, const LsmError *err)
{
	request->status = status;
	if (status != LSM_OK)
		request->err = *err;
}

/*
 * The group: from the head to the request returned.  Those that find no room in
 * the memtable are answered LSM_BUSY, the others get room and sequence.
 */
static LsmWriteRequest *
take_group(LsmDb *db, LsmMemtable *memtable, uint64_t seq, uint32_t *count, int *taken, bool *sync)
{
	LsmStandalone *s = db->standalone;
	bool blocked = atomic_load(&db->shared->bad_generation) != 0;
	LsmWriteRequest *last = NULL;
	size_t bytes = 0;

	*count = 0;
	*taken = 0;
	*sync = false;
	pthread_mutex_lock(&s->queue_mutex);
	for (LsmWriteRequest *r = s->head; r != NULL; r = r->next)
	{
		if (last != NULL && bytes + r->batch->rep.len > MAX_GROUP)
			break;
		last = r;
		bytes += r->batch->rep.len;
		r->taken = !blocked && lsm_memtable_reserve(memtable, r->batch->memtable_cost, r->batch->count, &r->room);
		if (!r->taken)
		{
			LsmError err;

			answer(r, lsm_fail(&err, LSM_BUSY, 0, NULL, 0, "the memtable is full"), &err);
			continue;
		}
		r->seq = seq + *count;
		*count += r->batch->count;
		*sync |= r->sync;
		(*taken)++;
	}
	pthread_mutex_unlock(&s->queue_mutex);
	return last;
}

/*
 * The group's batches, with their sequences, as one; a single one is used as it
 * is.  The links up to `last` do not change meanwhile.
 */
static LsmStatus
join_group(LsmStandalone *s, LsmWriteRequest *last, int taken, LsmBatch **batch, LsmError *err)
{
	lsm_batch_clear(&s->joined);
	for (LsmWriteRequest *r = s->head;; r = r->next)
	{
		if (r->taken && taken == 1)
		{
			*batch = r->batch;
			return LSM_OK;
		}
		if (r->taken)
		{
			lsm_batch_set_sequence(r->batch, r->seq);
			if (!lsm_batch_join(&s->joined, r->batch))
				return lsm_no_memory(err);
		}
		if (r == last)
			break;
	}
	*batch = &s->joined;
	return LSM_OK;
}

/* Writes the group that begins with the queue's head, which is the caller's own request.  Returns its last one. */
static LsmWriteRequest *
write_group(LsmDb *db)
{
	LsmStandalone *s = db->standalone;
	LsmShared *shared = db->shared;
	LsmStatus status = LSM_OK;
	LsmError err = {0};
	LsmMemtable *memtable;
	LsmWriteRequest *last;
	LsmBatch *batch = NULL;
	uint32_t count;
	uint64_t seq;
	int taken;
	int slot;
	bool sync;

	lsm_lock(db->env, LSM_LOCK_WRITE, LSM_EXCLUSIVE);
	slot = atomic_load(&shared->active);
	memtable = lsm_shared_arena(shared, slot);
	seq = atomic_load(&shared->last_seq) + 1;
	last = take_group(db, memtable, seq, &count, &taken, &sync);
	if (taken > 0)
	{
		status = join_group(s, last, taken, &batch, &err);
		if (status == LSM_OK)
		{
			uint64_t since_us = sync ? db->env->ops->now_us(db->env) : 0;

			status = lsm_log_batch(db, batch, seq, sync, &err);
			if (sync)
			{
				s->sync_us = db->env->ops->now_us(db->env) - since_us;
				s->company = atomic_load(&s->queued);
			}
		}
		for (LsmWriteRequest *r = s->head;; r = r->next)
		{
			if (r->taken && status == LSM_OK)
				lsm_insert_batch(db, memtable, &shared->slots[slot], &r->room, r->seq, r->batch);
			if (r->taken)
				answer(r, status, &err);
			if (r == last)
				break;
		}
		if (status == LSM_OK)
			atomic_store_explicit(&shared->last_seq, seq + count - 1, memory_order_release);
	}
	lsm_unlock(db->env, LSM_LOCK_WRITE);
	return last;
}

/* Takes the group off the queue, tells its writers, wakes the next leader. */
static void
leave_queue(LsmStandalone *s, const LsmWriteRequest *own, const LsmWriteRequest *last)
{
	bool more = true;

	pthread_mutex_lock(&s->queue_mutex);
	while (more)
	{
		LsmWriteRequest *r = s->head;

		s->head = r->next;
		more = r != last;
		atomic_fetch_sub(&s->queued, 1);
		if (r == own)
			continue;
		/* the request is gone as soon as its writer sees this and we let go of the mutex */
		r->done = true;
		pthread_cond_signal(&r->wake);
	}
	if (s->head == NULL)
		s->tail = NULL;
	else
		pthread_cond_signal(&s->head->wake);
	pthread_mutex_unlock(&s->queue_mutex);
}

LsmStatus
lsm_write_grouped(LsmDb *db, LsmBatch *batch, bool sync, uint64_t *first_seq, LsmError *err)
{
	LsmStandalone *s = db->standalone;
	LsmWriteRequest request;

	request.next = NULL;
	request.batch = batch;
	request.sync = sync;
	request.done = false;
	pthread_cond_init(&request.wake, NULL);
	pthread_mutex_lock(&s->queue_mutex);
	if (s->tail != NULL)
		s->tail->next = &request;
	else
		s->head = &request;
	s->tail = &request;
	atomic_fetch_add(&s->queued, 1);
	while (!request.done && s->head != &request)
		pthread_cond_wait(&request.wake, &s->queue_mutex);
	pthread_mutex_unlock(&s->queue_mutex);
	if (!request.done && sync)
		gather(db);
	if (!request.done)
		leave_queue(s, &request, write_group(db));
	pthread_cond_destroy(&request.wake);
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
