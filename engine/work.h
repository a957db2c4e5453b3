/*
 * work.h - the work role: one process at a time flushes and compacts.
 *
 * Not a lock of env's, because it is held for as long as a compaction lasts and
 * whoever wants it must be able to stop waiting.  Ends with the handle.
 */
#ifndef LSM_WORK_H
#define LSM_WORK_H

#include "engine/handle.h"

extern bool lsm_role_try(LsmDb *db);
/* Waits in steps; LSM_INTERRUPTED when asked to stop. */
extern LsmStatus lsm_role_wait(LsmDb *db, LsmError *err);
/* Gives the role back if this handle has it. */
extern void lsm_role_give(LsmDb *db);

/* With the role: flushes all immutable memtables. */
extern LsmStatus lsm_flush_all(LsmDb *db, LsmError *err);
/* Waits until the memtable of this generation, and all older ones, are in tables; helps if nobody does. */
extern LsmStatus lsm_wait_flushed(LsmDb *db, uint64_t generation, LsmError *err);
/* If the only memtable is empty and its position went ahead (lsm_rotate_if_older): the manifest follows, and the
 * journal may let go. */
extern LsmStatus lsm_advance_position(LsmDb *db, bool *did, LsmError *err);
/* With the role: as lsm_compact_range, of what is in tables. */
extern LsmStatus lsm_compact_range_with_role(LsmDb *db, LsmSlice lower, LsmSlice upper, LsmError *err);
/* inline_work: flushes, then compacts until nothing is due.  Only the flush's failure is returned; does nothing
 * if another thread has the role. */
extern LsmStatus lsm_work_inline(LsmDb *db, LsmError *err);

#endif
