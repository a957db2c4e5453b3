/*
 * log_tail.h - is the damage in a log what a crash leaves behind, or rot?
 */
#ifndef LSM_LOG_TAIL_H
#define LSM_LOG_TAIL_H

#include "engine/log.h"

/*
 * Reads a whole log in LevelDB's format record by record and notices every gap,
 * reported or not.
 */
typedef struct LsmLogWalk
{
	LsmFile *file;
	LsmLogReader *reader;
	uint64_t good_end; /* just behind the last good record before any damage */
	bool damaged;      /* something behind good_end cannot be read */
	uint64_t damage_at;
	char why[96];
} LsmLogWalk;

extern LsmStatus lsm_log_walk_open(LsmLogWalk *walk, LsmEnv *env, const char *name, LsmError *err);
/*
 * LSM_OK and the next record; LSM_NOT_FOUND where the log ends, be it that a
 * crash tore the tail off (then walk->damaged); LSM_CORRUPT if synced data
 * must have been hit.
 */
extern LsmStatus lsm_log_walk_next(LsmLogWalk *walk, LsmSlice *record, LsmError *err);
extern void lsm_log_walk_close(LsmLogWalk *walk);

/* Where the zeros begin that a file ends with, at `from` at the earliest: what lies behind was never written. */
extern LsmStatus lsm_log_written_end(LsmFile *file, uint64_t from, uint64_t *end, LsmError *err);

#endif
