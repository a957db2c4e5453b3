/*
 * repair.h - a manifest from the files that are there, when the store does not come up any more.
 */
#ifndef LSM_REPAIR_H
#define LSM_REPAIR_H

#include "engine/db.h"

typedef struct LsmRepairResult
{
	uint64_t tables;         /* sound ones */
	uint64_t damaged_tables; /* of which what could be read was written to new ones */
	uint64_t lost_tables;    /* of which nothing could be read, or missing */
	uint64_t logs, damaged_logs;
	uint64_t entries;  /* in tables */
	bool rewritten;    /* the order of the tables was lost with the manifest: all were merged */
	uint64_t position; /* of the journal */
} LsmRepairResult;

/*
 * Of a store that nobody has open; env keeps others out.  options: how new tables are written.  A stamped store's
 * journal position is taken from what can be read of the manifests, unless `position` is given (0: not); if there
 * is none LSM_NOT_FOUND, and nothing was done.
 *
 * Damage is reported as it is found.  Damaged files stay, with ".bad" added to their names.  What was deleted
 * or replaced may be back where the table that says so was lost, or where a manifest was lost and a table
 * that was done with had not been removed yet.
 *
 * should_stop (may be NULL) is asked now and then: LSM_INTERRUPTED if it says so.  Then, and after a crash, the files are as
 * they were, with some new ones that nobody knows; to be repaired again.
 */
extern LsmStatus lsm_repair(LsmEnv *env, const LsmOptions *options, bool stamped, uint64_t position, LsmDamage damage,
							void *arg, bool (*should_stop)(void *arg), LsmRepairResult *result, LsmError *err);

#endif
