/*
 * throttle.h - writers pay for what they write while background work is behind.
 */
#ifndef LSM_THROTTLE_H
#define LSM_THROTTLE_H

#include "engine/handle.h"

/* The set of files has changed: how full level 0 is, and what a merge of it would read.  STATE is held exclusively. */
extern void lsm_throttle_level0(LsmDb *db, const LsmFiles *files);

/* Before and after: a merge that reads so many bytes, for which this handle has a job (job.h); a flush. */
extern void lsm_throttle_merge_begins(LsmDb *db, bool level0, uint64_t bytes);
/* Which part of it is done. */
extern void lsm_throttle_merge_is_at(LsmDb *db, double share);
extern void lsm_throttle_merge_ends(LsmDb *db, uint64_t bytes);
extern void lsm_throttle_flush_begins(LsmDb *db);
extern void lsm_throttle_flush_ends(LsmDb *db, bool flushed);

#endif
