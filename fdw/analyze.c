/*
 * analyze.c - a random sample of a collection's documents.
 *
 * One pass over everything, Vitter's reservoir: ids are not evenly spread, so
 * there is no cheaper way to a fair sample.  Documents that are not taken are
 * not even copied.
 */
#include "postgres.h"

#include "fdw/analyze.h"

#include "access/htup_details.h"
#include "commands/vacuum.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/sampling.h"
#include "utils/snapmgr.h"

#include "fdw/collection.h"
#include "fdw/row.h"
#include "fdw/scan.h"
#include "fdw/seek.h"
#include "store/compat.h"

static int
acquire_sample(Relation relation, int elevel, HeapTuple *rows, int target, double *total, double *dead)
{
	DocTable *table = doc_table_get(relation);
	Snapshot snapshot;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsVirtual);
	MemoryContext temp = AllocSetContextCreate(CurrentMemoryContext, "docstore analyze", ALLOCSET_DEFAULT_SIZES);
	DocCollection collection;
	ReservoirStateData reservoir;
	SeekRange range;
	DocCursor *cursor;
	DocRow row;
	double seen = 0;
	double skip = -1;
	int n = 0;

	docstore_collection_of(table, AccessShareLock, &collection);
	snapshot = RegisterSnapshot(GetTransactionSnapshot());
	doc_row_init(&row, table, NIL, true);
	reservoir_init_selection_state(&reservoir, target);
	doc_seek_range(collection.storage, NULL, 0, NULL, NULL, &range);
	cursor = doc_cursor_new(snapshot);
	doc_cursor_open(cursor, range.lower, range.upper);

	for (lsm_scan_first(cursor->scan); cursor->scan->valid; lsm_scan_next(cursor->scan))
	{
		LsmScan *at = cursor->scan;
		int place = -1;
		bool replace = false;

		if (n < target)
			place = n++;
		else
		{
			if (skip < 0)
				skip = reservoir_get_next_S(&reservoir, seen, target);
			if (skip <= 0)
			{
				place = (int) (target * sampler_random_fract(&reservoir.randstate));
				replace = true;
			}
			skip -= 1;
		}
		seen += 1;
		if (place >= 0)
		{
			MemoryContext old;

			doc_row_set(&row, document_key_id(at->key), at->version.seq, at->value);
			lsm_scan_release(at);
			old = MemoryContextSwitchTo(temp);
			doc_row_store(&row, slot);
			MemoryContextSwitchTo(old);
			if (replace)
				heap_freetuple(rows[place]);
			rows[place] = ExecCopySlotHeapTuple(slot);
			ExecClearTuple(slot);
			MemoryContextReset(temp);
		}
		else
			lsm_scan_release(at);
		docstore_delay_point();
	}
	lsm_scan_release(cursor->scan);
	docstore_check(cursor->scan->status, &cursor->scan->err);
	doc_cursor_close(cursor);

	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(temp);
	UnregisterSnapshot(snapshot);
	*total = seen;
	*dead = 0;
	ereport(elevel,
			(errmsg("\"%s\": %.0f documents in collection \"%s\", %d in sample", table->name, seen, collection.name, n)));
	return n;
}

bool
docstore_analyze(Relation relation, AcquireSampleRowsFunc *func, BlockNumber *pages)
{
	DocTable *table = doc_table_get(relation);
	DocCollection collection;
	uint64 bytes;
	uint64 entries;

	/* ANALYZE of the whole database must not fail for one table that is of no use. */
	if (!docstore_collection_usable(table))
		return false;
	docstore_collection_of(table, AccessShareLock, &collection);
	docstore_storage_stats(collection.storage, &bytes, &entries);
	*func = acquire_sample;
	*pages = (BlockNumber) Min(bytes / BLCKSZ + 1, (uint64) MaxBlockNumber);
	return true;
}
