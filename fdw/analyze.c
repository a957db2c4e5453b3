/*
 * analyze.c - a random sample of a collection's documents.
 *
 * The collection's keys are cut into parts of a block or a few
 * (engine/split.c), some of which are read whole, in random order, until there are
 * enough documents to choose from and parts enough to speak for the rest.  Each
 * part is as likely as any other, so what they hold on average times their number
 * is an estimate of all, whatever lies in which level or memtable.  A small
 * collection is one part.  Of what is read Vitter's reservoir keeps as many as are
 * wanted; documents that it does not take are not even copied.
 */
#include "postgres.h"

#include "fdw/analyze.h"

#include <math.h>

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

/* What one part holds on disk: a block, or a few. */
#define PART_BYTES (4 * 1024)
#define MAX_PARTS 20000
/* So many parts speak for all. */
#define ENOUGH_PARTS 100

typedef struct Sample
{
	Relation relation;
	DocRow row;
	TupleTableSlot *slot;
	MemoryContext temp;
	ReservoirStateData reservoir;
	HeapTuple *rows;
	int target;
	int n;
	double seen; /* documents read */
	double skip;
} Sample;

static void
keep(Sample *sample, LsmScan *at, int place)
{
	MemoryContext old;

	doc_row_set(&sample->row, document_key_id(at->key), at->version.seq, at->value);
	lsm_scan_release(at);
	old = MemoryContextSwitchTo(sample->temp);
	doc_row_store(&sample->row, sample->slot);
	MemoryContextSwitchTo(old);
	if (place < sample->n)
		heap_freetuple(sample->rows[place]);
	else
		sample->n++;
	sample->rows[place] = ExecCopySlotHeapTuple(sample->slot);
	ExecClearTuple(sample->slot);
	MemoryContextReset(sample->temp);
}

static void
read_part(Sample *sample, DocCursor *cursor, LsmSlice lower, LsmSlice upper)
{
	LsmScan *at;

	doc_cursor_open(cursor, lower, upper);
	at = cursor->scan;
	for (lsm_scan_first(at); at->valid; lsm_scan_next(at))
	{
		int place = -1;

		if (sample->n < sample->target)
			place = sample->n;
		else
		{
			if (sample->skip < 0)
				sample->skip = reservoir_get_next_S(&sample->reservoir, sample->seen, sample->target);
			if (sample->skip <= 0)
				place = (int) (sample->target * sampler_random_fract(&sample->reservoir.randstate));
			sample->skip -= 1;
		}
		sample->seen += 1;
		if (place >= 0)
			keep(sample, at, place);
		else
			lsm_scan_release(at);
		docstore_delay_point();
	}
	lsm_scan_release(at);
	docstore_check(at->status, &at->err);
	doc_cursor_close(cursor);
}

/* The bounds of the parts, nparts + 1 of them. */
static LsmSlice *
cut(const DocCollection *collection, int *nparts)
{
	LsmBuf keys = {0};
	LsmSlice *bounds;
	LsmSlice rest;
	LsmStatus status;
	SeekRange range;
	uint64 bytes;
	uint64 entries;
	LsmError err;
	int cuts;

	doc_seek_range(collection->storage, NULL, 0, NULL, NULL, &range);
	docstore_storage_stats(collection->storage, &bytes, &entries);
	status = lsm_range_split(docstore_db(), range.lower, range.upper, (int) Min(bytes / PART_BYTES + 1, MAX_PARTS), &keys,
							 &cuts, &err);
	if (status == LSM_OK)
	{
		/* One piece of memory that belongs to the context, before anything else can throw. */
		char *copy = MemoryContextAllocExtended(CurrentMemoryContext, Max(keys.len, 1), MCXT_ALLOC_NO_OOM);

		if (copy != NULL)
			memcpy(copy, keys.data, keys.len);
		rest = lsm_slice(copy, keys.len);
	}
	lsm_buf_free(&keys);
	docstore_check(status, &err);
	if (rest.data == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));

	bounds = palloc((cuts + 2) * sizeof(LsmSlice));
	bounds[0] = range.lower;
	for (int i = 1; i <= cuts; i++)
		bounds[i] = lsm_split_next(&rest);
	bounds[cuts + 1] = range.upper;
	*nparts = cuts + 1;
	return bounds;
}

static int
acquire_sample(Relation relation, int elevel, HeapTuple *rows, int target, double *total, double *dead)
{
	DocTable *table = doc_table_get(relation);
	Sample *sample = palloc0(sizeof(Sample));
	DocCollection collection;
	Snapshot snapshot;
	DocCursor *cursor;
	LsmSlice *bounds;
	int nparts;
	int *order;
	int done = 0;

	docstore_collection_of(table, AccessShareLock, &collection);
	snapshot = RegisterSnapshot(GetTransactionSnapshot());
	sample->rows = rows;
	sample->target = target;
	sample->skip = -1;
	sample->slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsVirtual);
	sample->temp = AllocSetContextCreate(CurrentMemoryContext, "docstore analyze", ALLOCSET_DEFAULT_SIZES);
	doc_row_init(&sample->row, table, NIL, true);
	/* One document that does not fit must not leave the table without statistics. */
	sample->row.lenient = true;
	reservoir_init_selection_state(&sample->reservoir, target);
	cursor = doc_cursor_new(snapshot);
	bounds = cut(&collection, &nparts);
	order = palloc(nparts * sizeof(int));
	for (int i = 0; i < nparts; i++)
		order[i] = i;

	/* Half as many again as are wanted: neighbours are alike. */
	while (done < nparts && (done < ENOUGH_PARTS || sample->seen < 1.5 * target))
	{
		int pick = done + (int) ((nparts - done) * sampler_random_fract(&sample->reservoir.randstate));
		int part = order[pick];

		order[pick] = order[done];
		order[done++] = part;
		read_part(sample, cursor, bounds[part], bounds[part + 1]);
	}

	ExecDropSingleTupleTableSlot(sample->slot);
	MemoryContextDelete(sample->temp);
	UnregisterSnapshot(snapshot);
	*total = rint(sample->seen * nparts / done);
	*dead = 0;
	ereport(elevel,
			(errmsg("\"%s\": %d of %d parts of collection \"%s\" read, with %.0f documents; %d in sample, %.0f estimated in all",
					table->name, done, nparts, collection.name, sample->seen, sample->n, *total)));
	return sample->n;
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
