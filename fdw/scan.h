/*
 * scan.h - reading a collection as a foreign table.
 */
#ifndef DOCSTORE_SCAN_H
#define DOCSTORE_SCAN_H

#include "postgres.h"

#include "access/parallel.h"
#include "foreign/fdwapi.h"
#include "utils/snapshot.h"

#include "store/store.h"
#include "store/txn.h"

/*
 * The engine's scan of a range, closed when the memory context that was current
 * at its making goes, also after an error.
 */
typedef struct DocCursor
{
	LsmDb *db;
	LsmRead read;
	LsmScan *scan;
} DocCursor;
extern DocCursor *doc_cursor_new(Snapshot snapshot);
/* Starts over with [lower, upper). */
extern void doc_cursor_open(DocCursor *cursor, LsmSlice lower, LsmSlice upper);
extern void doc_cursor_close(DocCursor *cursor);

extern void docstore_begin_scan(ForeignScanState *node, int eflags);
extern TupleTableSlot *docstore_iterate_scan(ForeignScanState *node);
extern void docstore_rescan(ForeignScanState *node);
extern void docstore_end_scan(ForeignScanState *node);
extern Size docstore_estimate_dsm(ForeignScanState *node, ParallelContext *context);
extern void docstore_initialize_dsm(ForeignScanState *node, ParallelContext *context, void *memory);
extern void docstore_reinitialize_dsm(ForeignScanState *node, ParallelContext *context, void *memory);
extern void docstore_initialize_worker(ForeignScanState *node, shm_toc *toc, void *memory);
extern void docstore_shutdown_scan(ForeignScanState *node);
/* What the scan has read, by all its processes; false if nobody wanted to know (EXPLAIN's option BUFFERS). */
extern bool docstore_scan_counts(ForeignScanState *node, LsmReadCounts *counts);

#endif
