/*
 * work.h - the work role: one process at a time flushes, or works on a range that it was asked for.
 *
 * Not a lock of env's, because it is held for as long as such work lasts and
 * whoever wants it must be able to stop waiting.  Ends with the handle.  Merges that
 * background work chooses do without (job.h).
 */
#ifndef LSM_WORK_H
#define LSM_WORK_H

#include "engine/job.h"

extern bool lsm_role_try(LsmDb *db);
/* Waits in steps; LSM_INTERRUPTED when asked to stop, with LSM_JOB_TRY LSM_BUSY if somebody works on a range. */
extern LsmStatus lsm_role_wait(LsmDb *db, LsmPatience patience, LsmError *err);
/* Gives the role back if this handle has it, and what it reserved with it. */
extern void lsm_role_give(LsmDb *db);

static inline bool
lsm_role_mine(const LsmDb *db)
{
	return atomic_load(&db->shared->worker) == db->handle + 1;
}

static inline bool
lsm_role_free(const LsmDb *db)
{
	return atomic_load_explicit(&db->shared->worker, memory_order_relaxed) == 0;
}

/* With the role: flushes all immutable memtables. */
extern LsmStatus lsm_flush_all(LsmDb *db, LsmError *err);
/* Waits until the memtable of this generation, and all older ones, are in tables; helps if nobody does. */
extern LsmStatus lsm_wait_flushed(LsmDb *db, uint64_t generation, LsmError *err);
/* If the only memtable is empty and its position went ahead (lsm_rotate_if_older), and nobody else has the role: the
 * manifest follows, and the journal may let go. */
extern LsmStatus lsm_advance_position(LsmDb *db, bool *did, LsmError *err);
/* With the role: as lsm_compact_range, of what is in tables.  With LSM_JOB_TRY LSM_BUSY when others merge there. */
extern LsmStatus lsm_compact_range_with_role(LsmDb *db, LsmSlice lower, LsmSlice upper, LsmPatience patience,
											 LsmError *err);
/* inline_work: flushes, then compacts until nothing is due.  Only the flush's failure is returned; does nothing
 * if another thread has the role. */
extern LsmStatus lsm_work_inline(LsmDb *db, LsmError *err);

#endif
