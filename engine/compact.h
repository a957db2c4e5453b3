/*
 * compact.h - flushing memtables and merging tables.
 */
#ifndef LSM_COMPACT_H
#define LSM_COMPACT_H

#include "engine/job.h"
#include "engine/output.h"
#include "engine/pick.h"

/* With the work role (work.h): writes the oldest immutable memtable as a table of level 0; *flushed false if there is none. */
extern LsmStatus lsm_flush_oldest(LsmDb *db, bool *flushed, LsmError *err);

/* Writes what survives of a memtable, and finishes the output.  files: what may hold older versions. */
extern LsmStatus lsm_write_memtable(LsmDb *db, LsmMemtable *memtable, LsmFiles *files, LsmOutput *output,
									LsmError *err);

/*
 * Takes a job for a picked compaction, does and frees it; *did false if it could not be taken (job.h).  Flushes
 * memtables that fill up meanwhile.  LSM_INTERRUPTED if it was asked to stop.
 */
extern LsmStatus lsm_compaction_do(LsmDb *db, LsmCompaction *compaction, LsmPatience patience, bool *did, LsmError *err);

/* Remembers (or, with LSM_OK, forgets) the error of the last flush or compaction, for writers and lsm_stats. */
extern void lsm_note_flush(LsmDb *db, LsmStatus status, const LsmError *err);
extern void lsm_note_compaction(LsmDb *db, LsmStatus status, const LsmError *err);

#endif
