/*
 * throttle.h - writers pay for what they write while level 0 is too full.
 */
#ifndef LSM_THROTTLE_H
#define LSM_THROTTLE_H

#include "engine/handle.h"

/* The number of files in level 0 changes from `before` to `now`.  STATE is held exclusively. */
extern void lsm_throttle_level0(LsmDb *db, int before, int now);

/* A compaction took that many files out of level 0.  By the process that has the work role. */
extern void lsm_throttle_drained(LsmDb *db, int files);

#endif
