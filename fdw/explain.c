/*
 * explain.c - says how a scan finds its documents.
 *
 *     Seek: id = 'a'            lookups of single documents
 *     Range: id >= 'a', id < 'b'
 *     Range: etag > 5           files without such are left out
 *     Full Scan: true
 *     Order: id DESC            only when backwards
 *     Locks Documents: true     of an UPDATE's or DELETE's target with row triggers
 *     Filter: ...               what it tests of each document
 *     Extracted: n, totals.grand  VERBOSE: the fields that are made into columns
 *     Blocks: hit=3 read=1, filters ruled out 2   ANALYZE, BUFFERS: of table files
 *     Batch Size: 64            VERBOSE, of an INSERT: rows that are written together
 */
#include "postgres.h"

#include "fdw/explain.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/ruleutils.h"

#include "fdw/looks.h"
#include "fdw/modify.h"
#include "fdw/option.h"
#include "fdw/plan.h"
#include "fdw/scan.h"
#include "fdw/seek.h"
#include "store/compat.h"

static void
explain_reads(ForeignScanState *node, ExplainState *es)
{
	LsmReadCounts counts;

	if (!es->buffers || !docstore_scan_counts(node, &counts))
		return;
	if (es->format == EXPLAIN_FORMAT_TEXT)
		ExplainPropertyText("Blocks",
							psprintf("hit=%llu read=%llu, filters ruled out %llu", (unsigned long long) counts.blocks_cached,
									 (unsigned long long) counts.blocks_read, (unsigned long long) counts.filtered),
							es);
	else
	{
		ExplainPropertyInteger("Block Hits", NULL, (int64) counts.blocks_cached, es);
		ExplainPropertyInteger("Block Reads", NULL, (int64) counts.blocks_read, es);
		ExplainPropertyInteger("Ruled Out by Filters", NULL, (int64) counts.filtered, es);
	}
}

/* The fields that a scan takes out of documents, as paths. */
static void
explain_fields(ForeignScanState *node, ExplainState *es)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	DocTable *table = doc_table_get(node->ss.ss_currentRelation);
	List *paths = NIL;
	ListCell *lc;

	foreach (lc, (List *) list_nth(plan->fdw_private, PLAN_COLUMNS))
	{
		DocColumn *column = &table->columns[lfirst_int(lc) - 1];

		if (column->role == DOC_ROLE_FIELD)
			paths = lappend(paths, doc_path_text(column->path));
	}
	if (paths != NIL)
		ExplainPropertyList("Extracted", paths, es);
}

void
docstore_explain_modify(ModifyTableState *mtstate, ResultRelInfo *rri, List *private, int subplan_index, ExplainState *es)
{
	if (es->verbose && mtstate->operation == CMD_INSERT &&
		((ModifyTable *) mtstate->ps.plan)->onConflictAction == ONCONFLICT_NONE)
		ExplainPropertyInteger("Batch Size", NULL, docstore_insert_looks(mtstate) ? 1 : docstore_batch_size(rri), es);
}

void
docstore_explain_scan(ForeignScanState *node, ExplainState *es)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	List *ops = list_nth(plan->fdw_private, PLAN_SEEKS);
	int flags = linitial_int(list_nth(plan->fdw_private, PLAN_FLAGS));
	int answered = lsecond_int(list_nth(plan->fdw_private, PLAN_FLAGS));
	List *context = set_deparse_context_plan(es->deparse_cxt, node->ss.ps.plan, NIL);
	bool prefix = list_length(es->rtable) > 1 || es->verbose;
	bool points = false;
	StringInfoData text;
	ListCell *lc1;
	ListCell *lc2;

	initStringInfo(&text);
	forboth (lc1, ops, lc2, plan->fdw_exprs)
	{
		SeekOp op = (SeekOp) lfirst_int(lc1);
		bool any = op == SEEK_ANY || op == SEEK_ETAG_ANY;

		points |= op == SEEK_EQ || op == SEEK_ANY;
		appendStringInfo(&text, "%s%s%s%s%s", text.len > 0 ? ", " : "", doc_seek_text(op), any ? "(" : "",
						 deparse_expression((Node *) lfirst(lc2), context, prefix, false), any ? ")" : "");
	}
	if (ops == NIL)
		ExplainPropertyBool("Full Scan", true, es);
	else
		ExplainPropertyText(points ? "Seek" : "Range", text.data, es);
	if (flags & PLAN_BACKWARD)
		ExplainPropertyText("Order", "id DESC", es);
	if (es->verbose)
		explain_fields(node, es);
	if (flags & PLAN_LOCK)
		ExplainPropertyBool("Locks Documents", true, es);
	if (list_length(plan->fdw_recheck_quals) > answered)
	{
		Node *quals = (Node *) make_ands_explicit(list_copy_tail(plan->fdw_recheck_quals, answered));

		ExplainPropertyText("Filter", deparse_expression(quals, context, es->verbose, false), es);
		if (es->analyze && node->ss.ps.instrument && node->ss.ps.instrument->nfiltered1 > 0)
			ExplainPropertyFloat("Rows Removed by Filter", NULL,
								 node->ss.ps.instrument->nfiltered1 / Max(node->ss.ps.instrument->nloops, 1), 0, es);
	}
	explain_reads(node, es);
}
