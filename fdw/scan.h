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
#include "fdw/collection.h"
#include "fdw/row.h"

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
/* For whoever works on the scan's documents itself (direct.c): node->fdw_state. */
typedef struct DocScan DocScan;
/* The next one that passes the conditions, or an empty slot. */
extern TupleTableSlot *docstore_scan_next(ForeignScanState *node, DocScan *scan);
/* The one that it returned; with its body, if docstore_scan_need_body was called. */
extern DocRow *docstore_scan_row(DocScan *scan);
extern const LsmVersion *docstore_scan_version(DocScan *scan);
extern void docstore_scan_need_body(DocScan *scan);
/* What it reads; locked as the plan asks. */
extern const DocCollection *docstore_scan_collection(const DocScan *scan);
/* How many documents it may find in all, once it has found one; at most so many. */
extern int docstore_scan_at_most(const DocScan *scan, int most);
/* Puts a newer version of that document in its place, also in the slot; false if that does not pass. */
extern bool docstore_scan_replace(ForeignScanState *node, DocScan *scan, const DocumentKey *key, const LsmVersion *newer,
								  LsmSlice value);
/* What the scan has read, by all its processes; false if nobody wanted to know (EXPLAIN's option BUFFERS). */
extern bool docstore_scan_counts(ForeignScanState *node, LsmReadCounts *counts);

#endif
