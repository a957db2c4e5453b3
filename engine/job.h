/*
 * job.h - merges that run at the same time: what each claims, in shared memory.
 *
 * A merge claims a range of user keys in the levels from its inputs' to its outputs': all that
 * it reads and writes.  No two claims meet, so no file is an input twice, nobody writes between
 * another's inputs or outputs, and of one key no version overtakes another.  Files need not be
 * named for that: whoever would take one claims its keys in its level.
 *
 * Background work takes one of options.max_compactions jobs and never waits for another.  Who has
 * the work role (work.h) has a job of its own, the last one, and may wait with it: a claim that is
 * entered keeps new ones away while those that it meets come to their end.
 */
#ifndef LSM_JOB_H
#define LSM_JOB_H

#include "engine/handle.h"
#include "engine/pick.h"

extern void lsm_key_head(LsmKeyHead *head, LsmSlice key);
extern void lsm_claim_of(const LsmCompaction *compaction, LsmClaim *claim);

/* What others have claimed, for the picker. */
typedef struct LsmBusy /* pick.h */
{
	int n;
	LsmClaim claims[LSM_MAX_JOBS + 2]; /* one more than there are jobs: pick.c */
	int leaving[LSM_NUM_LEVELS];       /* files of each level that are being merged into the next */
	uint64_t leaving_bytes[LSM_NUM_LEVELS];
	bool full; /* no job of background work is free */
} LsmBusy;
extern void lsm_job_busy(LsmDb *db, LsmBusy *busy);
/* Would a merge of these keys from one level into another meet any of them? */
extern bool lsm_busy_meets(const LsmBusy *busy, int level, int output_level, LsmSlice first, LsmSlice last);

typedef enum LsmPatience
{
	LSM_JOB_TRY,
	LSM_JOB_WAIT /* with the role only; flushes meanwhile */
} LsmPatience;

/*
 * Takes a job for a compaction that was just picked; *taken false if it cannot be done, for it meets another or is
 * out of date: then it is to be picked anew.  Ends with lsm_job_end.
 */
extern LsmStatus lsm_job_take(LsmDb *db, const LsmCompaction *compaction, LsmPatience patience, bool *taken, LsmError *err);
extern void lsm_job_end(LsmDb *db);

/* With the role, until it is given back: nobody else merges anything of [lower, upper), upper.len = 0: no end. */
extern LsmStatus lsm_job_reserve(LsmDb *db, LsmSlice lower, LsmSlice upper, LsmPatience patience, bool *reserved, LsmError *err);
/* Does somebody else keep a range to itself? */
extern bool lsm_job_reserved(LsmDb *db);
/* For work.c: the role is given back. */
extern void lsm_job_unreserve(LsmDb *db);

/* What this handle's number has in shared memory, left there by whoever had it and died: job, claim and role. */
extern void lsm_job_abandon(LsmDb *db);

/* Files with lower numbers are not being written by any job; the next one if none runs. */
extern uint64_t lsm_job_lowest_number(LsmDb *db);
/* Merges that run now, at least 1. */
extern int lsm_job_count(LsmDb *db);

#endif
