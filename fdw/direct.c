/*
 * direct.c - changes documents where the scan finds them (direct.h).
 *
 * Otherwise each document to be changed is made into a row with all columns, and
 * one more composite of them, goes through the executor, and is looked up again.
 * Here only those columns are made that conditions and new values are about, and
 * the stored document is at hand.  It is for statements about one foreign table
 * without subqueries in new values or conditions; PostgreSQL itself keeps those
 * away that have row triggers, generated columns or a view's check option.
 *
 * Changes are kept until there are enough to write together, unless somebody wants to see the row
 * or a volatile function might look for it.  If one of them turns out to have been
 * changed by others, all of them are made one by one.
 *
 * READ COMMITTED: a document of which somebody has committed a newer version
 * meanwhile is locked, put in the place of the old one, tested and changed.
 */
#include "postgres.h"

#include "fdw/direct.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/instrument.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/appendinfo.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/rel.h"

#include "fdw/modify.h"
#include "fdw/option.h"
#include "fdw/plan.h"
#include "fdw/row.h"
#include "fdw/scan.h"

/* Beside the scan's state, which is node->fdw_state: in the result relation's. */
typedef struct DocDirect
{
	DocModify *modify;
	bool counts;          /* for the command tag */
	bool body;            /* the stored document is needed */
	List *columns;        /* attribute numbers that are set */
	List *values;         /* ExprStates, likewise */
	AttrNumber id;        /* the id's column */
	TupleTableSlot *slot; /* the new row */
	/* what is kept; size 0: nothing ever is, which is known when the first document is found */
	bool asked;
	int size;
	int n;
	Size bytes;
	DocumentKey *keys;
	LsmVersion *seen;
	Jsonb **docs; /* of an UPDATE */
	MemoryContext kept;
} DocDirect;

/* ---- planning ---- */

/* The column that the store sets itself: its error comes the usual way. */
static bool
sets_fixed_column(const DocTable *table, List *columns)
{
	return list_member_int(columns, table->etag) || list_member_int(columns, table->modified);
}

/* Is it, or part of it, a column of "(a, b) = (SELECT ...)"?  The subquery is not in it, but runs with the plan's own rows. */
static bool
is_from_row(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_MULTIEXPR)
		return true;
	return expression_tree_walker(node, is_from_row, context);
}

/* The columns that are needed to test conditions and to make new values. */
static List *
direct_columns(const DocTable *table, Index relid, List *quals, List *values)
{
	Bitmapset *attrs = NULL;
	List *columns = NIL;
	bool whole;

	pull_varattnos((Node *) quals, relid, &attrs);
	pull_varattnos((Node *) values, relid, &attrs);
	whole = bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, attrs);
	for (int i = 1; i <= table->natts; i++)
		if (table->columns[i - 1].role != DOC_ROLE_NONE &&
			(whole || bms_is_member(i - FirstLowInvalidHeapAttributeNumber, attrs)))
			columns = lappend_int(columns, i);
	return columns;
}

/*
 * What the seeks answer about the id alone stays true of a newer version of the document: it need not be tested again.  Returns the
 * number of such conditions, which are gone then.
 */
static int
forget_ids(ForeignScan *scan, const DocTable *table, int answered)
{
	List *quals = NIL;
	int n;
	ListCell *lc;

	foreach (lc, scan->fdw_recheck_quals)
	{
		Bitmapset *attrs = NULL;

		pull_varattnos(lfirst(lc), scan->scan.scanrelid, &attrs);
		if (foreach_current_index(lc) >= answered ||
			!bms_equal(attrs, bms_make_singleton(table->id - FirstLowInvalidHeapAttributeNumber)))
			quals = lappend(quals, lfirst(lc));
	}
	n = list_length(scan->fdw_recheck_quals) - list_length(quals);
	scan->fdw_recheck_quals = quals;
	return n;
}

bool
docstore_plan_direct(PlannerInfo *root, ModifyTable *plan, Index result_relation, int subplan_index)
{
	ForeignScan *scan = (ForeignScan *) outerPlan(plan);
	RangeTblEntry *rte = planner_rt_fetch(result_relation, root);
	List *columns = NIL;
	List *values = NIL;
	List *tlist = NIL;
	List *flags;
	Relation relation;
	DocTable *table;
	ListCell *lc1;
	ListCell *lc2;
	bool fixed;

	if ((plan->operation != CMD_UPDATE && plan->operation != CMD_DELETE) || list_length(plan->resultRelations) != 1 ||
		!IsA(scan, ForeignScan) || scan->scan.scanrelid != result_relation || plan->rowMarks != NIL ||
		contain_subplans((Node *) scan->fdw_recheck_quals))
		return false;
	if (plan->operation == CMD_UPDATE)
	{
		List *entries;
		List *attnos;

		get_translated_update_targetlist(root, result_relation, &entries, &attnos);
		forboth (lc1, entries, lc2, attnos)
		{
			TargetEntry *entry = lfirst_node(TargetEntry, lc1);

			if (contain_subplans((Node *) entry->expr) || is_from_row((Node *) entry->expr, NULL))
				return false;
			columns = lappend_int(columns, lfirst_int(lc2));
			values = lappend(values, entry->expr);
		}
	}
	relation = table_open(rte->relid, NoLock);
	table = doc_table_get(relation);
	fixed = sets_fixed_column(table, columns);
	table_close(relation, NoLock);
	if (fixed)
		return false;

	/* Nobody reads what the scan returns, and RETURNING has its own list; but an UPDATE insists on a column "wholerow". */
	foreach (lc1, scan->scan.plan.targetlist)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc1);

		if (plan->operation != CMD_UPDATE || entry->resname == NULL || strcmp(entry->resname, "wholerow") != 0)
			continue;
		entry = flatCopyTargetEntry(entry);
		entry->resno = 1;
		entry->expr = (Expr *) makeNullConst(exprType((Node *) entry->expr), -1, InvalidOid);
		tlist = lappend(tlist, entry);
	}
	scan->scan.plan.targetlist = tlist;
	flags = copyObject(list_nth(scan->fdw_private, PLAN_FLAGS));
	linitial_int(flags) |= plan->canSetTag ? PLAN_COUNTS : 0;
	lsecond_int(flags) -= forget_ids(scan, table, lsecond_int(flags));
	scan->fdw_private =
		list_make5(list_nth(scan->fdw_private, PLAN_SEEKS), direct_columns(table, result_relation, scan->fdw_recheck_quals, values),
				   list_nth(scan->fdw_private, PLAN_TESTED), flags, columns);
	scan->fdw_exprs = list_concat(scan->fdw_exprs, values);
	scan->operation = plan->operation;
	scan->resultRelation = result_relation;
	return true;
}

/* ---- execution ---- */

static bool
may_keep(ForeignScanState *node, DocDirect *direct)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;

	return docstore_modify_batch_size(direct->modify) > 1 && node->resultRelInfo->ri_projectReturning == NULL &&
		   !list_member_int(direct->columns, direct->id) &&
		   !contain_volatile_functions_not_nextval((Node *) plan->fdw_recheck_quals) &&
		   !contain_volatile_functions_not_nextval((Node *) plan->fdw_exprs);
}

static void
begin_keeping(ForeignScanState *node, DocDirect *direct)
{
	MemoryContext old = MemoryContextSwitchTo(node->ss.ps.state->es_query_cxt);

	direct->size = Min(docstore_modify_batch_size(direct->modify), docstore_scan_at_most(node->fdw_state, DOCSTORE_MAX_BATCH));
	direct->keys = palloc(direct->size * sizeof(DocumentKey));
	direct->seen = palloc(direct->size * sizeof(LsmVersion));
	if (((ForeignScan *) node->ss.ps.plan)->operation == CMD_UPDATE)
		direct->docs = palloc(direct->size * sizeof(Jsonb *));
	direct->kept = AllocSetContextCreate(CurrentMemoryContext, "docstore changes", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(old);
}

void
docstore_begin_direct(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	EState *estate = node->ss.ps.state;
	ResultRelInfo *rri = node->resultRelInfo;
	int seeks = list_length(list_nth(plan->fdw_private, PLAN_SEEKS));
	DocDirect *direct;

	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	docstore_begin_scan(node, eflags);
	direct = palloc0(sizeof(DocDirect));
	direct->modify = docstore_modify_begin(estate, rri, estate->es_output_cid, docstore_scan_collection(node->fdw_state));
	direct->counts = (linitial_int(list_nth(plan->fdw_private, PLAN_FLAGS)) & PLAN_COUNTS) != 0;
	direct->columns = list_nth(plan->fdw_private, PLAN_SETS);
	direct->values = ExecInitExprList(list_copy_tail(plan->fdw_exprs, seeks), (PlanState *) node);
	direct->id = docstore_scan_row(node->fdw_state)->table->id;
	direct->slot = ExecInitExtraTupleSlot(estate, RelationGetDescr(rri->ri_RelationDesc), &TTSOpsVirtual);
	if (plan->operation == CMD_UPDATE)
	{
		docstore_modify_sets(direct->modify, estate, rri);
		direct->body = !docstore_modify_replaces(direct->modify);
		if (direct->body)
			docstore_scan_need_body(node->fdw_state);
	}
	rri->ri_FdwState = direct;
}

/* Of the new row only what is set, and the id. */
static void
make_row(ForeignScanState *node, DocDirect *direct, DocRow *row, TupleTableSlot *found)
{
	ExprContext *econtext = node->ss.ps.ps_ExprContext;
	TupleTableSlot *slot = direct->slot;
	ListCell *lc1;
	ListCell *lc2;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	slot->tts_values[direct->id - 1] = PointerGetDatum(doc_row_id(row));
	slot->tts_isnull[direct->id - 1] = false;
	econtext->ecxt_scantuple = found;
	forboth (lc1, direct->columns, lc2, direct->values)
	{
		int at = lfirst_int(lc1) - 1;

		slot->tts_values[at] = ExecEvalExprSwitchContext(lfirst(lc2), econtext, &slot->tts_isnull[at]);
	}
	ExecStoreVirtualTuple(slot);
}

/* One attempt at the document that lies in the scan's row. */
static DocResult
attempt(ForeignScanState *node, DocDirect *direct, const DocumentKey *key, TupleTableSlot *found, LsmVersion *newest)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	DocScan *scan = node->fdw_state;
	DocRow *row = docstore_scan_row(scan);
	MemoryContext old = MemoryContextSwitchTo(docstore_modify_temp(direct->modify));
	DocResult result;

	if (plan->operation == CMD_UPDATE)
	{
		make_row(node, direct, row, found);
		result = docstore_modify_update(direct->modify, node->ss.ps.state, node->resultRelInfo, direct->slot, key,
										docstore_scan_version(scan), direct->body ? doc_row_doc(row) : NULL, newest);
	}
	else
	{
		ExecClearTuple(direct->slot);
		result = docstore_modify_delete(direct->modify, node->resultRelInfo, direct->slot, key, docstore_scan_version(scan),
										newest);
	}
	MemoryContextSwitchTo(old);
	return result;
}

/* Goes on as long as there is a newer version, which takes the place of what the scan has found; false if nothing was changed. */
static bool
settle(ForeignScanState *node, DocDirect *direct, const DocumentKey *key, DocResult result, LsmVersion *newest)
{
	while (result == DOC_NEWER)
	{
		if (!docstore_scan_replace(node, node->fdw_state, key, newest, docstore_modify_found(direct->modify)))
			return false;
		result = attempt(node, direct, key, node->ss.ss_ScanTupleSlot, newest);
	}
	return result == DOC_DONE;
}

/* Changes the document that the scan has found; false if there is nothing to change any more. */
static bool
change(ForeignScanState *node, DocDirect *direct, TupleTableSlot *found)
{
	DocRow *row = docstore_scan_row(node->fdw_state);
	DocumentKey key;
	DocResult result;
	LsmVersion newest;

	document_key_init(&key, docstore_modify_storage(direct->modify), row->id.data, row->id.len);
	result = attempt(node, direct, &key, found, &newest);
	return settle(node, direct, &key, result, &newest);
}

/* ---- many at once ---- */

static void
count(ForeignScanState *node, DocDirect *direct, int n)
{
	if (direct->counts)
		node->ss.ps.state->es_processed += n;
	if (node->ss.ps.instrument != NULL)
		node->ss.ps.instrument->tuplecount += n;
}

/* Writes what is kept.  What the scan stands on is lost. */
static void
flush(ForeignScanState *node, DocDirect *direct)
{
	DocWriter *writer = docstore_modify_writer(direct->modify);
	TimestampTz now = GetCurrentTimestamp();
	MemoryContext old;
	bool done;

	if (direct->n == 0)
		return;
	old = MemoryContextSwitchTo(direct->kept);
	done = docstore_change_many(writer, direct->n, direct->keys, direct->seen, direct->docs, now);
	MemoryContextSwitchTo(old);
	if (done)
		count(node, direct, direct->n);
	for (int i = 0; !done && i < direct->n; i++)
	{
		LsmVersion newest;
		DocResult result;
		uint64 etag;

		if (direct->docs != NULL)
			result = docstore_update(writer, &direct->keys[i], &direct->seen[i], NULL, direct->docs[i], now, &etag, &newest);
		else
			result = docstore_delete(writer, &direct->keys[i], &direct->seen[i], false, &newest);
		if (settle(node, direct, &direct->keys[i], result, &newest))
			count(node, direct, 1);
		ResetExprContext(node->ss.ps.ps_ExprContext);
	}
	MemoryContextReset(direct->kept);
	direct->n = 0;
	direct->bytes = 0;
}

static void
keep(ForeignScanState *node, DocDirect *direct, TupleTableSlot *found)
{
	DocScan *scan = node->fdw_state;
	DocRow *row = docstore_scan_row(scan);
	int i = direct->n;

	document_key_init(&direct->keys[i], docstore_modify_storage(direct->modify), row->id.data, row->id.len);
	direct->seen[i] = *docstore_scan_version(scan);
	if (direct->docs != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(docstore_modify_temp(direct->modify));
		Jsonb *doc;

		make_row(node, direct, row, found);
		doc = docstore_modify_build(direct->modify, node->ss.ps.state, node->resultRelInfo, direct->slot, &direct->keys[i],
									&direct->seen[i], direct->body ? doc_row_doc(row) : NULL);
		direct->docs[i] = memcpy(MemoryContextAlloc(direct->kept, VARSIZE_ANY(doc)), doc, VARSIZE_ANY(doc));
		direct->bytes += VARSIZE_ANY(doc);
		MemoryContextSwitchTo(old);
	}
	direct->n++;
	if (direct->n == direct->size || direct->bytes > docstore_batch_bytes())
		flush(node, direct);
}

/* With RETURNING one document at a time, which is shown; else all of them, and no row. */
TupleTableSlot *
docstore_iterate_direct(ForeignScanState *node)
{
	DocDirect *direct = node->resultRelInfo->ri_FdwState;
	ProjectionInfo *returning = node->resultRelInfo->ri_projectReturning;
	TupleTableSlot *found;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		found = docstore_scan_next(node, node->fdw_state);
		if (TupIsNull(found))
		{
			flush(node, direct);
			return ExecClearTuple(node->ss.ss_ScanTupleSlot);
		}
		if (!direct->asked && may_keep(node, direct))
			begin_keeping(node, direct);
		direct->asked = true;
		if (direct->size > 0)
			keep(node, direct, found);
		else if (change(node, direct, found))
		{
			if (returning != NULL)
			{
				if (direct->counts)
					node->ss.ps.state->es_processed++;
				returning->pi_exprContext->ecxt_scantuple = direct->slot;
				return direct->slot;
			}
			count(node, direct, 1);
		}
		/* What the slot shows lies partly in memory that goes now. */
		ExecClearTuple(found);
		ResetExprContext(node->ss.ps.ps_ExprContext);
	}
}
