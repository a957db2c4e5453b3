/*
 * scan.c - reads a view's rows: ranges of keys, one after the other, in either direction.
 *
 * The engine lends key and value until they are released.  They are copied at
 * once and released in the same call, before anything runs that might throw,
 * wait or read the store itself.
 */
#include "postgres.h"

#include "view/plan.h"

#include "commands/explain.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"

#include "fdw/parallel.h"
#include "fdw/scan.h"
#include "store/compat.h"
#include "store/txn.h"
#include "view/entry.h"
#include "view/progress.h"
#include "view/seek.h"

typedef struct ViewScan
{
	ViewTable *table;
	ViewLayout *layout;
	DocCursor *cursor;
	bool backward;
	/* what is needed of a row */
	int nneeded;
	AttrNumber *needed;
	bool *wanted; /* of the view's columns */
	bool want_values;
	bool want_id;
	/* seeks */
	int nseeks;
	int *columns;
	ViewSeekOp *ops;
	Oid *types;
	List *operands; /* ExprStates */
	bool started;
	MemoryContext range_context;
	ViewRange *ranges;
	int nranges;
	int next_range;
	DocParts *parts; /* of a scan by several processes, or NULL */
	/* the row at hand: copies, kept until the next one */
	StringInfoData key;
	StringInfoData value;
	LsmBuf found;
	Datum *values; /* of the view's columns */
	bool *nulls;
} ViewScan;

static void
check_readable(View *view, Snapshot snapshot)
{
	ViewProgress progress;
	ViewProgress now;
	bool seen;

	/* What an older snapshot saw a newer one sees, too. */
	if (view->readable_from != 0 && docstore_widen_xid(snapshot->xmin) >= view->readable_from)
		return;
	seen = view_progress_read(view->storage, snapshot, &progress);
	seen = seen && progress.results == view->results;
	if (seen && progress.built)
	{
		view->readable_from = docstore_widen_xid(snapshot->xmax);
		return;
	}
	/* What the snapshot saw had another storage, or none. */
	if (!seen || (view_progress_read(view->storage, NULL, &now) && now.built))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("docstore view \"%s\" was made or replaced after this transaction's snapshot was taken", view->name)));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("docstore view \"%s\" is not built yet", view->name),
			 progress.paused ? errdetail("It is paused: %s", progress.reason)
							 : errdetail("%lld documents are done.", (long long) progress.documents),
			 progress.paused ? 0 : errhint("docstore.wait_for_view('%s') waits for it.", view->name)));
}

static void
free_found(void *arg)
{
	lsm_buf_free(&((ViewScan *) arg)->found);
}

void
view_begin_scan(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	List *needed = list_nth(plan->fdw_private, VIEW_PLAN_NEEDED);
	List *columns = list_nth(plan->fdw_private, VIEW_PLAN_COLUMNS);
	Snapshot snapshot = node->ss.ps.state->es_snapshot;
	MemoryContextCallback *callback;
	ViewScan *scan;
	int n;

	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	scan = palloc0(sizeof(ViewScan));
	scan->table = view_table_get(node->ss.ss_currentRelation, AccessShareLock);
	check_readable(scan->table->view, snapshot);
	scan->layout = view_layout(scan->table->view->shape);
	scan->cursor = doc_cursor_new(snapshot);
	scan->backward = linitial_int(list_nth(plan->fdw_private, VIEW_PLAN_BACKWARD)) != 0;

	n = scan->layout->ncolumns;
	scan->nneeded = list_length(needed);
	scan->needed = palloc((scan->nneeded + 1) * sizeof(AttrNumber));
	scan->wanted = palloc0(n * sizeof(bool));
	for (int i = 0; i < scan->nneeded; i++)
	{
		int column = scan->table->column[list_nth_int(needed, i) - 1];

		scan->needed[i] = (AttrNumber) list_nth_int(needed, i);
		if (column == n)
			scan->want_id = true;
		else
			scan->want_values = scan->wanted[column] = true;
	}
	/* A result may be an error, which nobody shall overlook. */
	scan->want_values |= scan->table->view->reduce != NULL;
	scan->values = palloc(n * sizeof(Datum));
	scan->nulls = palloc(n * sizeof(bool));
	initStringInfo(&scan->key);
	initStringInfo(&scan->value);
	callback = palloc(sizeof(MemoryContextCallback));
	callback->func = free_found;
	callback->arg = scan;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);

	scan->nseeks = list_length(columns);
	scan->columns = palloc((scan->nseeks + 1) * sizeof(int));
	scan->ops = palloc((scan->nseeks + 1) * sizeof(ViewSeekOp));
	scan->types = palloc((scan->nseeks + 1) * sizeof(Oid));
	for (int i = 0; i < scan->nseeks; i++)
	{
		scan->columns[i] = list_nth_int(columns, i);
		scan->ops[i] = (ViewSeekOp) list_nth_int(list_nth(plan->fdw_private, VIEW_PLAN_OPS), i);
		scan->types[i] = list_nth_oid(list_nth(plan->fdw_private, VIEW_PLAN_TYPES), i);
	}
	scan->operands = ExecInitExprList(plan->fdw_exprs, (PlanState *) node);
	scan->range_context = AllocSetContextCreate(CurrentMemoryContext, "docstore view ranges", ALLOCSET_SMALL_SIZES);
	node->fdw_state = scan;
}

/* Computes the operands of the seeks, and from them the ranges. */
static void
start(ForeignScanState *node, ViewScan *scan)
{
	ExprContext *econtext = node->ss.ps.ps_ExprContext;
	MemoryContext old;
	Datum *values;
	bool *nulls;
	ListCell *lc;

	MemoryContextReset(scan->range_context);
	old = MemoryContextSwitchTo(scan->range_context);
	values = palloc((scan->nseeks + 1) * sizeof(Datum));
	nulls = palloc((scan->nseeks + 1) * sizeof(bool));
	foreach (lc, scan->operands)
	{
		int i = foreach_current_index(lc);

		values[i] = ExecEvalExpr((ExprState *) lfirst(lc), econtext, &nulls[i]);
	}
	scan->ranges = view_seek_ranges(scan->table->view, scan->nseeks, scan->columns, scan->ops, scan->types, values, nulls,
									&scan->nranges);
	MemoryContextSwitchTo(old);
	scan->next_range = 0;
	scan->started = true;
}

/* The only row that a range may have; false if there is none. */
static bool
fetch_point(ViewScan *scan, const ViewRange *range)
{
	DocCursor *cursor = scan->cursor;
	LsmVersion version;
	LsmStatus status;
	LsmError err;

	status = lsm_get(cursor->db, &cursor->read, range->lower, &scan->found, &version, &err);
	if (status == LSM_NOT_FOUND)
		return false;
	docstore_check(status, &err);
	resetStringInfo(&scan->value);
	appendBinaryStringInfo(&scan->value, scan->found.data, (int) scan->found.len);
	return true;
}

/* What is cut into parts for several processes. */
static SeekRange
only_range(const ViewScan *scan)
{
	SeekRange range = {0};

	Assert(scan->nranges <= 1);
	range.nothing = scan->nranges == 0;
	if (scan->nranges > 0)
	{
		range.lower = scan->ranges[0].lower;
		range.upper = scan->ranges[0].upper;
	}
	return range;
}

/* Opens the next part; false if there is none left. */
static bool
open_part(ViewScan *scan)
{
	SeekRange whole = only_range(scan);
	LsmSlice lower;
	LsmSlice upper;

	if (!doc_parts_next(scan->parts, &whole, scan->backward, &lower, &upper))
		return false;
	doc_cursor_open(scan->cursor, lower, upper);
	return true;
}

/* The next row into scan->key and scan->value; false at the end. */
static bool
fetch(ViewScan *scan)
{
	for (;;)
	{
		LsmScan *at = scan->cursor->scan;

		if (at == NULL)
		{
			if (scan->parts != NULL)
			{
				if (!open_part(scan))
					return false;
			}
			else
			{
				int i = scan->next_range++;
				ViewRange *range;

				if (i >= scan->nranges)
					return false;
				range = &scan->ranges[scan->backward ? scan->nranges - 1 - i : i];
				if (range->point)
				{
					if (fetch_point(scan, range))
						return true;
					continue;
				}
				doc_cursor_open(scan->cursor, range->lower, range->upper);
			}
			at = scan->cursor->scan;
			if (scan->backward)
				lsm_scan_last(at);
			else
				lsm_scan_first(at);
		}
		else if (scan->backward)
			lsm_scan_prev(at);
		else
			lsm_scan_next(at);

		if (at->valid)
		{
			resetStringInfo(&scan->key);
			resetStringInfo(&scan->value);
			if (scan->want_id)
				appendBinaryStringInfo(&scan->key, at->key.data, (int) at->key.len);
			if (scan->want_id || scan->want_values)
				appendBinaryStringInfo(&scan->value, at->value.data, (int) at->value.len);
			lsm_scan_release(at);
			return true;
		}
		lsm_scan_release(at);
		docstore_check(at->status, &at->err);
		doc_cursor_close(scan->cursor);
	}
}

TupleTableSlot *
view_iterate_scan(ForeignScanState *node)
{
	ViewScan *scan = node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	LsmSlice value;

	ExecClearTuple(slot);
	if (!scan->started)
		start(node, scan);
	if (!fetch(scan))
		return slot;
	value = lsm_slice(scan->value.data, scan->value.len);
	if (scan->want_values)
		view_entry_read(scan->layout, value, scan->wanted, scan->values, scan->nulls);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	for (int i = 0; i < scan->nneeded; i++)
	{
		int attribute = scan->needed[i] - 1;
		int column = scan->table->column[attribute];

		if (column == scan->layout->ncolumns)
		{
			slot->tts_values[attribute] = PointerGetDatum(view_entry_id(lsm_slice(scan->key.data, scan->key.len), value));
			slot->tts_isnull[attribute] = false;
		}
		else
		{
			slot->tts_values[attribute] = scan->values[column];
			slot->tts_isnull[attribute] = scan->nulls[column];
		}
	}
	return ExecStoreVirtualTuple(slot);
}

void
view_rescan(ForeignScanState *node)
{
	ViewScan *scan = node->fdw_state;

	doc_cursor_close(scan->cursor);
	scan->started = false;
}

void
view_end_scan(ForeignScanState *node)
{
	ViewScan *scan = node->fdw_state;

	if (scan != NULL)
		doc_cursor_close(scan->cursor);
}

/* ---- by several processes ---- */

Size
view_estimate_dsm(ForeignScanState *node, ParallelContext *context)
{
	return doc_parts_size(context->nworkers);
}

void
view_initialize_dsm(ForeignScanState *node, ParallelContext *context, void *memory)
{
	ViewScan *scan = node->fdw_state;
	SeekRange whole;

	start(node, scan);
	whole = only_range(scan);
	scan->parts = memory;
	doc_parts_init(scan->parts, context->nworkers, &whole);
}

void
view_initialize_worker(ForeignScanState *node, shm_toc *toc, void *memory)
{
	((ViewScan *) node->fdw_state)->parts = memory;
}

/* The shared memory is about to go. */
void
view_shutdown_scan(ForeignScanState *node)
{
	ViewScan *scan = node->fdw_state;

	if (scan != NULL)
		scan->parts = NULL;
}

/* ---- EXPLAIN ---- */

static const char *
seek_text(ViewSeekOp op)
{
	switch (op)
	{
		case VIEW_SEEK_EQ:
			return " = ";
		case VIEW_SEEK_ANY:
			return " = ANY ";
		case VIEW_SEEK_LT:
			return " < ";
		case VIEW_SEEK_LE:
			return " <= ";
		case VIEW_SEEK_GT:
			return " > ";
		case VIEW_SEEK_GE:
			return " >= ";
		case VIEW_SEEK_NULL:
			return " IS NULL";
		case VIEW_SEEK_NOT_NULL:
			return " IS NOT NULL";
		case VIEW_SEEK_PREFIX:
			return " ^@ ";
		case VIEW_SEEK_LIKE:
			return " ~~ ";
	}
	return "";
}

/*
 *     View: orders_by_customer
 *     Position: 4711           only with ANALYZE: every change up to this etag was in the rows
 *     Seek: customer = 'c/9', placed > ...     or Full Scan: true
 *     Order: backward
 */
void
view_explain_scan(ForeignScanState *node, ExplainState *es)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	List *columns = list_nth(plan->fdw_private, VIEW_PLAN_COLUMNS);
	List *context = set_deparse_context_plan(es->deparse_cxt, node->ss.ps.plan, NIL);
	bool prefix = list_length(es->rtable) > 1 || es->verbose;
	ViewTable *table = view_table_get(node->ss.ss_currentRelation, NoLock);
	const ViewShape *shape = table->view->shape;
	StringInfoData text;

	ExplainPropertyText("View", table->view->name, es);
	if (es->analyze && es->costs)
	{
		ViewProgress progress;

		if (view_progress_read(table->view->storage, node->ss.ps.state->es_snapshot, &progress))
			ExplainPropertyInteger("Position", NULL, (int64) progress.position, es);
	}
	initStringInfo(&text);
	for (int i = 0; i < list_length(columns); i++)
	{
		int column = list_nth_int(columns, i);
		ViewSeekOp op = (ViewSeekOp) list_nth_int(list_nth(plan->fdw_private, VIEW_PLAN_OPS), i);
		bool any = op == VIEW_SEEK_ANY;

		appendStringInfo(&text, "%s%s%s", i > 0 ? ", " : "",
						 quote_identifier(column < shape->nkeys ? shape->columns[shape->key_attribute[column] - 1].name : "id"),
						 seek_text(op));
		if (op != VIEW_SEEK_NULL && op != VIEW_SEEK_NOT_NULL)
			appendStringInfo(&text, "%s%s%s", any ? "(" : "",
							 deparse_expression(list_nth(plan->fdw_exprs, i), context, prefix, false), any ? ")" : "");
	}
	if (columns == NIL)
		ExplainPropertyBool("Full Scan", true, es);
	else
		ExplainPropertyText("Seek", text.data, es);
	if (linitial_int(list_nth(plan->fdw_private, VIEW_PLAN_BACKWARD)) != 0)
		ExplainPropertyText("Order", "backward", es);
}
