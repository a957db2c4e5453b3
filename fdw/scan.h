/*
 * scan.h - reading a collection as a foreign table.
 */
#ifndef DOCSTORE_SCAN_H
#define DOCSTORE_SCAN_H

#include "postgres.h"

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

#endif
