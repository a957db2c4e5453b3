/*
 * shape.h - how much each level should hold, and which level is most above that.
 */
#ifndef LSM_SHAPE_H
#define LSM_SHAPE_H

#include "engine/db.h"
#include "engine/version.h"

typedef struct LsmShape
{
	int base;                        /* level 0 is merged into this one; what lies between is empty */
	int bottom;                      /* deepest level with files; base if there is none */
	uint64_t target[LSM_NUM_LEVELS]; /* bytes; of levels above base 0 */
} LsmShape;

extern void lsm_shape_of(const LsmOptions *options, const LsmFiles *files, LsmShape *shape);

/* How far a level with so many files or bytes is above its target; 1 and more: a compaction is due. */
extern double lsm_shape_score(const LsmOptions *options, const LsmShape *shape, int level, int files, uint64_t bytes);

/* Bytes above the targets. */
extern uint64_t lsm_compaction_debt(const LsmOptions *options, const LsmFiles *files);

#endif
