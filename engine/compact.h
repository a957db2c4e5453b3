/*
 * compact.h - flushing memtables and merging tables.
 *
 * Everything here is done by the process that has the work role (work.h).
 */
#ifndef LSM_COMPACT_H
#define LSM_COMPACT_H

#include "engine/output.h"
#include "engine/pick.h"

/* Writes the oldest immutable memtable as a table of level 0; *flushed false if there is none. */
extern LsmStatus lsm_flush_oldest(LsmDb *db, bool *flushed, LsmError *err);

/* Writes what survives of a memtable, and finishes the output.  files: what may hold older versions. */
extern LsmStatus lsm_write_memtable(LsmDb *db, LsmMemtable *memtable, LsmFiles *files, LsmOutput *output,
									LsmError *err);

/* Does a picked compaction.  Flushes memtables that fill up meanwhile.  LSM_INTERRUPTED if it was asked to stop. */
extern LsmStatus lsm_compaction_run(LsmDb *db, LsmCompaction *compaction, LsmError *err);

/* Remembers (or, with LSM_OK, forgets) the error of the last flush or compaction, for writers and lsm_stats. */
extern void lsm_note_flush(LsmDb *db, LsmStatus status, const LsmError *err);
extern void lsm_note_compaction(LsmDb *db, LsmStatus status, const LsmError *err);

#endif
