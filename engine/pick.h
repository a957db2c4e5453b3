/*
 * pick.h - choosing what to compact.
 */
#ifndef LSM_PICK_H
#define LSM_PICK_H

#include "engine/handle.h"

struct LsmBusy;

typedef struct LsmCompaction
{
	LsmFiles *files; /* the set it was picked from, referenced */
	int level;
	int output_level;        /* the next one; of level 0 the base (shape.h); level for a rewrite */
	LsmFileMeta **inputs[2]; /* of level; of output_level (none for a rewrite); borrowed from files */
	int ninputs[2];
	LsmSlice first; /* user keys of all inputs, borrowed from them */
	LsmSlice last;
	uint64_t bytes; /* of all inputs */
	bool move;      /* one file, nothing to merge it with: only the manifest changes */
} LsmCompaction;

/* The compaction that is most due and meets nothing that is busy (job.h; NULL: nothing is); *compaction NULL if there is none. */
extern LsmStatus lsm_pick(const LsmOptions *options, LsmFiles *files, const struct LsmBusy *busy, LsmCompaction **compaction,
						  LsmError *err);

/*
 * For lsm_compact_range: the next stretch of `level` from `lower` on, of about
 * `bytes`, to be merged into the level below, and with it all that has to come
 * along.  upper.len = 0: no end.  NULL if nothing overlaps.
 */
extern LsmStatus lsm_pick_range(const LsmOptions *options, LsmFiles *files, int level, LsmSlice lower, LsmSlice upper,
								uint64_t bytes, LsmCompaction **compaction, LsmError *err);

/* Of the file with this number, into the level below; NULL if it is gone or, in levels >= 1, lies over nothing. */
extern LsmStatus lsm_pick_file(const LsmOptions *options, LsmFiles *files, uint64_t number, LsmCompaction **compaction,
							   LsmError *err);

/* Writes a file afresh within its level (>= 1), for what outcomes settle meanwhile; level 0 goes down. */
extern LsmStatus lsm_pick_rewrite(const LsmOptions *options, LsmFiles *files, int level, uint64_t number,
								  LsmCompaction **compaction, LsmError *err);

extern void lsm_compaction_free(LsmCompaction *compaction);

#endif
