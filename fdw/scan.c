/*
 * scan.c - reads documents: by their ids, by a range of ids, or all.
 *
 * The engine lends key and value until they are released.  They are released in the same call,
 * before any function runs that might wait or read the store itself.  A value that is in a memtable is copied before; others stay
 * where they are until the next document is fetched.
 *
 * The conditions are tested here, with the columns that they are about; the
 * others are made for documents that pass.
 *
 * A scan of a table with row triggers that is to be changed locks what it
 * returns: after the test the document is locked, and if it turns out that
 * somebody has committed a newer version, in READ COMMITTED that version takes
 * the place of the old one and is tested again.  A scan whose rows are looked for
 * again (mark.h) remembers only those that pass.
 */
#include "postgres.h"

#include "fdw/scan.h"

#include "executor/executor.h"
#include "executor/instrument.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "fdw/collection.h"
#include "fdw/mark.h"
#include "fdw/parallel.h"
#include "fdw/plan.h"
#include "fdw/row.h"
#include "fdw/seek.h"
#include "fdw/write.h"
#include "store/predicate.h"

struct DocScan
{
	DocRow row;
	DocCollection collection;
	DocCursor *cursor;
	bool backward;
	bool show_version; /* in ctid */
	int nops;
	SeekOp *ops;
	List *operands;  /* ExprStates */
	bool started;    /* range is computed; since the last rescan */
	bool again;      /* range was computed before */
	bool opened;     /* a cursor over it was opened; since the last rescan */
	DocParts *parts; /* of a parallel scan, or NULL */
	bool worker;     /* ... and this is not its leader */
	SeekRange range;
	MemoryContext range_context; /* the range's, from the second start on */
	int next_point;
	LsmBuf value;           /* a point's; malloc'ed */
	LsmVersion version;     /* of a point's document */
	const LsmVersion *seen; /* of the document that was read last */
	bool tests;             /* there are conditions to test */
	/* When nothing but rows is wanted: a run (run.h), of which the first documents' typed columns were made at once */
	bool by_runs;
	const LsmRunEntry *entries;
	int nentries;
	int nmade;
	int nready; /* the same, if they go to the executor as they are */
	int next_entry;
	bool lock;
	LockTupleMode mode;
	DocWriter writer;        /* to lock with */
	DocMark *mark;           /* where rows are remembered, or NULL */
	DocPredicate *predicate; /* SERIALIZABLE, or NULL */
	bool counting;           /* EXPLAIN (ANALYZE, BUFFERS) */
	LsmReadCounts counts;    /* what was read */
};

/* ---- cursors ---- */

static void
close_callback(void *arg)
{
	doc_cursor_close(arg);
}

DocCursor *
doc_cursor_new(Snapshot snapshot)
{
	DocCursor *cursor = palloc0(sizeof(DocCursor));
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));

	cursor->db = docstore_db();
	docstore_read_init(&cursor->read, snapshot);
	callback->func = close_callback;
	callback->arg = cursor;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return cursor;
}

void
doc_cursor_open(DocCursor *cursor, LsmSlice lower, LsmSlice upper)
{
	LsmError err;

	doc_cursor_close(cursor);
	docstore_check(lsm_scan_open(cursor->db, &cursor->read, lower, upper, &cursor->scan, &err), &err);
}

void
doc_cursor_close(DocCursor *cursor)
{
	if (cursor->scan != NULL)
		lsm_scan_close(cursor->scan);
	cursor->scan = NULL;
}

/* ---- the foreign scan ---- */

static TupleTableSlot *exec_plain(PlanState *state);

static void
free_buffers(void *arg)
{
	DocScan *scan = arg;

	lsm_buf_free(&scan->value);
	if (scan->predicate != NULL)
		docstore_predicate_free(scan->predicate);
}

void
docstore_begin_scan(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	EState *estate = node->ss.ps.state;
	List *ops = list_nth(plan->fdw_private, PLAN_SEEKS);
	List *columns = list_nth(plan->fdw_private, PLAN_COLUMNS);
	int flags = linitial_int(list_nth(plan->fdw_private, PLAN_FLAGS));
	MemoryContextCallback *callback;
	ExecRowMark *erm = NULL;
	LOCKMODE lock = AccessShareLock;
	DocScan *scan;
	DocTable *table;
	ListCell *lc;

	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;

	scan = palloc0(sizeof(DocScan));
	table = doc_table_get(node->ss.ss_currentRelation);
	if (flags & PLAN_MARK)
		erm = ExecFindRowMark(estate, plan->scan.scanrelid, false);
	if (plan->operation != CMD_SELECT || (flags & PLAN_VERSION) || (erm != NULL && erm->markType != ROW_MARK_REFERENCE))
		lock = RowExclusiveLock;
	docstore_collection_at(table, lock, estate->es_snapshot, &scan->collection);
	scan->tests = list_length(plan->fdw_recheck_quals) > lsecond_int(list_nth(plan->fdw_private, PLAN_FLAGS));
	doc_row_init_parts(&scan->row, table, columns, scan->tests ? list_nth(plan->fdw_private, PLAN_TESTED) : NIL);
	scan->cursor = doc_cursor_new(estate->es_snapshot);
	scan->predicate = docstore_predicate_new(scan->collection.storage, estate->es_snapshot, &scan->cursor->read);
	scan->backward = (flags & PLAN_BACKWARD) != 0;
	scan->counting = (estate->es_instrument & INSTRUMENT_BUFFERS) != 0;
	scan->show_version = (flags & PLAN_VERSION) != 0;
	scan->nops = list_length(ops);
	scan->ops = palloc(Max(scan->nops, 1) * sizeof(SeekOp));
	foreach (lc, ops)
		scan->ops[foreach_current_index(lc)] = (SeekOp) lfirst_int(lc);
	scan->operands = ExecInitExprList(list_truncate(list_copy(plan->fdw_exprs), scan->nops), (PlanState *) node);
	callback = palloc(sizeof(MemoryContextCallback));
	callback->func = free_buffers;
	callback->arg = scan;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);

	/* EvalPlanQual looks at given rows: there is nothing to lock then. */
	if ((flags & PLAN_LOCK) && estate->es_epq_active == NULL)
	{
		scan->lock = true;
		scan->mode = (flags & PLAN_KEY) ? LockTupleExclusive : LockTupleNoKeyExclusive;
		docstore_writer_init(&scan->writer, &scan->collection, estate->es_output_cid, estate->es_snapshot);
	}
	/* It finds rows again by the numbers that the query itself gave out. */
	if (erm != NULL && estate->es_epq_active == NULL)
		scan->mark = doc_mark_new(estate, erm, table, &scan->collection, columns);
	scan->by_runs = plan->operation == CMD_SELECT && !scan->backward && !scan->lock && scan->mark == NULL &&
					!scan->show_version && scan->predicate == NULL;
	if (plan->operation == CMD_SELECT && node->ss.ps.qual == NULL && node->ss.ps.ps_ProjInfo == NULL && estate->es_epq_active == NULL)
		node->ss.ps.ExecProcNode = exec_plain;
	node->fdw_state = scan;
}

/* Computes the operands of the seeks, and what they mean. */
static void
compute_range(ForeignScanState *node, DocScan *scan)
{
	ExprContext *econtext = node->ss.ps.ps_ExprContext;
	MemoryContext query = node->ss.ps.state->es_query_cxt;
	MemoryContext old;
	Datum *values;
	bool *nulls;
	ListCell *lc;

	/* Most scans start once, and making a context is a good part of a lookup. */
	if (!scan->again)
		old = MemoryContextSwitchTo(query);
	else
	{
		if (scan->range_context == NULL)
			scan->range_context = AllocSetContextCreate(query, "docstore range", ALLOCSET_SMALL_SIZES);
		MemoryContextReset(scan->range_context);
		old = MemoryContextSwitchTo(scan->range_context);
	}
	values = palloc(Max(scan->nops, 1) * sizeof(Datum));
	nulls = palloc(Max(scan->nops, 1) * sizeof(bool));
	foreach (lc, scan->operands)
	{
		int i = foreach_current_index(lc);

		values[i] = ExecEvalExpr((ExprState *) lfirst(lc), econtext, &nulls[i]);
	}
	doc_seek_range(scan->collection.storage, scan->ops, scan->nops, values, nulls, &scan->range);
	scan->again = true;
	MemoryContextSwitchTo(old);
}

static pg_noinline void
start(ForeignScanState *node, DocScan *scan)
{
	compute_range(node, scan);
	scan->next_point = 0;
	scan->opened = false;
	if (scan->predicate != NULL && !scan->range.points && !scan->range.nothing)
		docstore_predicate_range(scan->predicate);
}

/* The next document into scan->row; false at the end. */
static pg_noinline bool
next_point(DocScan *scan)
{
	while (scan->next_point < scan->range.nkeys)
	{
		int i = scan->next_point++;
		DocumentKey *key = scan->range.keys[scan->backward ? scan->range.nkeys - 1 - i : i];
		LsmSlice slice = document_key_slice(key);
		LsmStatus status;
		LsmError err;

		if (scan->predicate != NULL)
			docstore_predicate_point(scan->predicate, slice);
		status = lsm_get(scan->cursor->db, &scan->cursor->read, slice, &scan->value, &scan->version, &err);
		if (status == LSM_NOT_FOUND)
		{
			CHECK_FOR_INTERRUPTS();
			continue;
		}
		docstore_check(status, &err);
		doc_row_lend(&scan->row, document_key_id(slice), scan->version.seq, lsm_buf_slice(&scan->value));
		scan->seen = &scan->version;
		return true;
	}
	return false;
}

/* The cursor before the range's, or its next part's, first document; false if there is none left. */
static pg_noinline bool
open_next(DocScan *scan)
{
	LsmSlice lower = scan->range.lower;
	LsmSlice upper = scan->range.upper;

	if (scan->range.nothing)
		return false;
	if (scan->parts != NULL ? !doc_parts_next(scan->parts, &scan->range, scan->backward, &lower, &upper) : scan->opened)
		return false;
	scan->opened = true;
	doc_cursor_open(scan->cursor, lower, upper);
	lsm_scan_want(scan->cursor->scan, scan->range.etags);
	return true;
}

/* The document that the cursor has moved to, into scan->row; false if it is not wanted. */
static inline bool
take(DocScan *scan, LsmScan *at)
{
	if (at->version.seq < scan->range.etags.min || at->version.seq > scan->range.etags.max)
	{
		lsm_scan_release(at);
		CHECK_FOR_INTERRUPTS();
		return false;
	}
	if (at->steady)
		doc_row_lend(&scan->row, document_key_id(at->key), at->version.seq, at->value);
	else
		doc_row_set(&scan->row, document_key_id(at->key), at->version.seq, at->value);
	scan->seen = &at->version;
	lsm_scan_release(at);
	return true;
}

static inline void
move(DocScan *scan, LsmScan *at)
{
	if (scan->backward)
		lsm_scan_prev(at);
	else
		lsm_scan_next(at);
}

/* At the end of a part, or before the first. */
static pg_noinline bool
next_part(DocScan *scan)
{
	LsmScan *at = scan->cursor->scan;

	for (;;)
	{
		if (at != NULL)
		{
			lsm_scan_release(at);
			docstore_check(at->status, &at->err);
			doc_cursor_close(scan->cursor);
		}
		if (!open_next(scan))
			return false;
		at = scan->cursor->scan;
		if (scan->backward)
			lsm_scan_last(at);
		else
			lsm_scan_first(at);
		for (; at->valid; move(scan, at))
			if (take(scan, at))
				return true;
	}
}

static inline bool
next_in_range(DocScan *scan)
{
	LsmScan *at = scan->cursor->scan;

	if (at != NULL)
		for (move(scan, at); at->valid; move(scan, at))
			if (take(scan, at))
				return true;
	return next_part(scan);
}

static bool
fetch_next(ForeignScanState *node, DocScan *scan)
{
	bool found;

	if (!scan->started)
		start(node, scan);
	found = scan->range.points ? next_point(scan) : next_in_range(scan);
	scan->started = true;
	if (scan->predicate != NULL)
		docstore_predicate_check(scan->predicate);
	return found;
}

static pg_noinline bool
fetch_counting(ForeignScanState *node, DocScan *scan)
{
	LsmReadCounts before = lsm_read_counts;
	bool found = fetch_next(node, scan);

	scan->counts.blocks_read += lsm_read_counts.blocks_read - before.blocks_read;
	scan->counts.blocks_cached += lsm_read_counts.blocks_cached - before.blocks_cached;
	scan->counts.filtered += lsm_read_counts.filtered - before.filtered;
	return found;
}

static inline bool
fetch(ForeignScanState *node, DocScan *scan)
{
	return scan->counting ? fetch_counting(node, scan) : fetch_next(node, scan);
}

static inline void
set_version(DocScan *scan, TupleTableSlot *slot)
{
	if (scan->show_version)
		document_tid_set(&slot->tts_tid, scan->row.etag);
}

static bool
passes(ForeignScanState *node, TupleTableSlot *slot)
{
	ExprContext *econtext = node->ss.ps.ps_ExprContext;

	econtext->ecxt_scantuple = slot;
	if (ExecQual(node->fdw_recheck_quals, econtext))
		return true;
	InstrCountFiltered1(node, 1);
	return false;
}

bool
docstore_scan_replace(ForeignScanState *node, DocScan *scan, const DocumentKey *key, const LsmVersion *newer, LsmSlice value)
{
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;

	doc_row_set(&scan->row, document_key_id(document_key_slice(key)), newer->seq, value);
	scan->version = *newer;
	scan->seen = &scan->version;
	doc_row_store(&scan->row, slot);
	set_version(scan, slot);
	return passes(node, slot);
}

/* Locks the row in the slot, or what has become of it; false if that is not to be returned. */
static bool
lock_row(ForeignScanState *node, DocScan *scan)
{
	DocumentKey key;
	LsmVersion newer;

	document_key_init(&key, scan->collection.storage, scan->row.id.data, scan->row.id.len);
	switch (docstore_lock(&scan->writer, &key, scan->row.etag, scan->mode, LockWaitBlock, &newer))
	{
		case DOC_DONE:
		/* What own changes mean is for the write to decide. */
		case DOC_SELF:
			return true;
		case DOC_NEWER:
			return docstore_scan_replace(node, scan, &key, &newer, lsm_buf_slice(&scan->writer.found));
		default:
			return false;
	}
}

/* ---- rows ---- */

/* Columns that conditions are about come first; without conditions there is one part. */
static inline DocRowPart *
first_part(DocScan *scan)
{
	return scan->tests ? &scan->row.first : &scan->row.rest;
}

static inline void
forget_run(DocScan *scan)
{
	scan->nentries = scan->nready = scan->next_entry = 0;
}

/* After a document was fetched: the run that begins with it, if there is one. */
static void
find_run(DocScan *scan)
{
	forget_run(scan);
	if (!scan->by_runs || scan->range.points || scan->range.etags.min > 0 || scan->range.etags.max < LSM_MAX_SEQUENCE)
		return;
	scan->nentries = lsm_scan_take_run(scan->cursor->scan, &scan->entries);
	if (scan->nentries == 0)
		return;
	scan->nmade = doc_row_make(&scan->row, first_part(scan), scan->entries, scan->nentries);
	if (!scan->tests)
		scan->nready = scan->nmade;
}

/* The document that lies in scan->row, as far as conditions want it. */
static void
store_first(DocScan *scan, TupleTableSlot *slot)
{
	if (scan->tests)
		doc_row_store_first(&scan->row, slot);
	else
		doc_row_store(&scan->row, slot);
}

/* The next document, with the columns of its first part; false at the end. */
static inline bool
next_row(ForeignScanState *node, DocScan *scan, TupleTableSlot *slot)
{
	const LsmRunEntry *entry;
	int i;

	if (scan->next_entry == scan->nentries)
	{
		if (!fetch(node, scan))
			return false;
		find_run(scan);
		if (scan->nentries == 0)
		{
			store_first(scan, slot);
			return true;
		}
	}
	i = scan->next_entry++;
	entry = &scan->entries[i];
	if (i < scan->nmade)
		doc_row_store_made(&scan->row, first_part(scan), i, entry, slot);
	else
	{
		doc_row_lend_entry(&scan->row, entry);
		store_first(scan, slot);
	}
	return true;
}

/* The other columns, of a document that has passed. */
static inline void
finish_row(DocScan *scan, TupleTableSlot *slot)
{
	if (scan->tests)
	{
		/* Only what was made lies elsewhere than in the row; to lend again would let the others' values be overwritten. */
		if (scan->nentries > 0 && scan->next_entry <= scan->nmade)
			doc_row_lend_entry(&scan->row, &scan->entries[scan->next_entry - 1]);
		doc_row_store_rest(&scan->row, slot);
	}
	set_version(scan, slot);
}

/* Fetches and tests, locks or remembers. */
static TupleTableSlot *
iterate_testing(ForeignScanState *node, DocScan *scan)
{
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;

	while (next_row(node, scan, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (!scan->tests || passes(node, slot))
		{
			finish_row(scan, slot);
			if (scan->lock && !lock_row(node, scan))
				goto next;
			if (scan->mark != NULL)
				doc_mark_row(scan->mark, scan->row.id, scan->row.etag, slot);
			return slot;
		}
	next:
		/* Not this one: let go of what it took. */
		ExecClearTuple(slot);
		ResetExprContext(node->ss.ps.ps_ExprContext);
	}
	return ExecClearTuple(slot);
}

TupleTableSlot *
docstore_scan_next(ForeignScanState *node, DocScan *scan)
{
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;

	if (scan->tests || scan->lock || scan->mark != NULL)
		return iterate_testing(node, scan);
	if (!next_row(node, scan, slot))
		return ExecClearTuple(slot);
	finish_row(scan, slot);
	return slot;
}

static inline TupleTableSlot *
iterate(ForeignScanState *node, DocScan *scan)
{
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	int i = scan->next_entry;

	if (i >= scan->nready)
		return docstore_scan_next(node, scan);
	doc_row_store_made(&scan->row, &scan->row.rest, i, &scan->entries[i], slot);
	scan->next_entry++;
	return slot;
}

TupleTableSlot *
docstore_iterate_scan(ForeignScanState *node)
{
	return iterate(node, node->fdw_state);
}

/*
 * In the place of ExecForeignScan and ExecScan, which do no more than this for a scan that has no conditions, no projection and
 * nothing to look at again, and take one in thirteen of a hash join's instructions for that.
 */
static TupleTableSlot *
exec_plain(PlanState *state)
{
	ForeignScanState *node = (ForeignScanState *) state;
	MemoryContext context = state->ps_ExprContext->ecxt_per_tuple_memory;
	MemoryContext old;
	TupleTableSlot *slot;

	CHECK_FOR_INTERRUPTS();
	/* Most rows take nothing from it. */
	if (!context->isReset || context->firstchild != NULL)
		MemoryContextReset(context);
	old = MemoryContextSwitchTo(context);
	slot = iterate(node, node->fdw_state);
	MemoryContextSwitchTo(old);
	return slot;
}

DocRow *
docstore_scan_row(DocScan *scan)
{
	return &scan->row;
}

const LsmVersion *
docstore_scan_version(DocScan *scan)
{
	return scan->seen;
}

void
docstore_scan_need_body(DocScan *scan)
{
	scan->row.need_value = scan->row.need_body = true;
}

int
docstore_scan_at_most(const DocScan *scan, int most)
{
	Assert(scan->started);
	return scan->range.points ? Min(scan->range.nkeys, most) : most;
}

const DocCollection *
docstore_scan_collection(const DocScan *scan)
{
	return &scan->collection;
}

void
docstore_rescan(ForeignScanState *node)
{
	DocScan *scan = node->fdw_state;

	doc_cursor_close(scan->cursor);
	forget_run(scan);
	scan->started = false;
}

void
docstore_end_scan(ForeignScanState *node)
{
	DocScan *scan = node->fdw_state;

	if (scan == NULL)
		return;
	doc_cursor_close(scan->cursor);
	free_buffers(scan);
	if (scan->mark != NULL)
		doc_mark_close(scan->mark);
}

/* ---- by several processes ---- */

Size
docstore_estimate_dsm(ForeignScanState *node, ParallelContext *context)
{
	return doc_parts_size(context->nworkers);
}

void
docstore_initialize_dsm(ForeignScanState *node, ParallelContext *context, void *memory)
{
	DocScan *scan = node->fdw_state;

	compute_range(node, scan);
	scan->parts = memory;
	doc_parts_init(scan->parts, context->nworkers, &scan->range);
}

/* What the workers of this round have read, to the leader's own. */
static void
collect_counts(DocScan *scan)
{
	LsmReadCounts others = doc_parts_counts(scan->parts);

	scan->counts.blocks_read += others.blocks_read;
	scan->counts.blocks_cached += others.blocks_cached;
}

void
docstore_reinitialize_dsm(ForeignScanState *node, ParallelContext *context, void *memory)
{
	collect_counts(node->fdw_state);
	docstore_initialize_dsm(node, context, memory);
}

void
docstore_initialize_worker(ForeignScanState *node, shm_toc *toc, void *memory)
{
	DocScan *scan = node->fdw_state;

	scan->parts = memory;
	scan->worker = true;
}

/*
 * The shared memory is about to go.  Workers come here before the leader sees the end of their rows, so a leader that
 * has read everything finds all figures; one that stops early misses some.
 */
void
docstore_shutdown_scan(ForeignScanState *node)
{
	DocScan *scan = node->fdw_state;

	if (scan == NULL || scan->parts == NULL)
		return;
	if (scan->worker)
		doc_parts_add(scan->parts, &scan->counts);
	else
		collect_counts(scan);
	scan->parts = NULL;
}

bool
docstore_scan_counts(ForeignScanState *node, LsmReadCounts *counts)
{
	DocScan *scan = node->fdw_state;

	if (scan == NULL || !scan->counting)
		return false;
	*counts = scan->counts;
	return true;
}
