/*
 * handler.c - the foreign data wrapper's entry: a foreign table shows a collection or a view.
 *
 * PostgreSQL asks for the functions before it says for which table.  So the first
 * one that learns the table, in planning and in execution, puts that table's
 * functions in the place of these.
 */
#include "postgres.h"

#include "fmgr.h"
#include "foreign/fdwapi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "fdw/handler.h"
#include "view/entry.h"
#include "view/plan.h"
#include "view/table.h"

PG_FUNCTION_INFO_V1(docstore_fdw_handler);

static FdwRoutine collections;
static FdwRoutine views;

static void
get_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	rel->fdwroutine = view_of_relation(relid) != NULL ? &views : &collections;
	rel->fdwroutine->GetForeignRelSize(root, rel, relid);
}

static void
begin_scan(ForeignScanState *node, int eflags)
{
	node->fdwroutine = view_of_relation(RelationGetRelid(node->ss.ss_currentRelation)) != NULL ? &views : &collections;
	node->fdwroutine->BeginForeignScan(node, eflags);
}

static void
refuse_change(Relation relation)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("cannot change foreign table \"%s\"", RelationGetRelationName(relation)),
			 errdetail("It shows the results of a docstore view."),
			 errhint("Change the documents that they come from.")));
}

static void
add_update_targets(PlannerInfo *root, Index rtindex, RangeTblEntry *rte, Relation relation)
{
	if (view_of_relation(RelationGetRelid(relation)) != NULL)
		refuse_change(relation);
	collections.AddForeignUpdateTargets(root, rtindex, rte, relation);
}

static int
is_updatable(Relation relation)
{
	return view_of_relation(RelationGetRelid(relation)) != NULL ? 0 : collections.IsForeignRelUpdatable(relation);
}

static RowMarkType
row_mark_type(RangeTblEntry *rte, LockClauseStrength strength)
{
	if (view_of_relation(rte->relid) == NULL)
		return collections.GetForeignRowMarkType(rte, strength);
	if (strength != LCS_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot lock rows in foreign table \"%s\"", get_rel_name(rte->relid)),
				 errdetail("It shows the results of a docstore view."),
				 errhint("Lock the documents: ... FOR UPDATE OF the collection's table.")));
	return ROW_MARK_COPY;
}

static void
exec_truncate(List *relations, DropBehavior behavior, bool restart_seqs)
{
	ListCell *lc;

	foreach (lc, relations)
		if (view_of_relation(RelationGetRelid((Relation) lfirst(lc))) != NULL)
			refuse_change(lfirst(lc));
	collections.ExecForeignTruncate(relations, behavior, restart_seqs);
}

static bool
analyze(Relation relation, AcquireSampleRowsFunc *func, BlockNumber *pages)
{
	if (view_of_relation(RelationGetRelid(relation)) != NULL)
		return view_analyze(relation, func, pages);
	return collections.AnalyzeForeignTable(relation, func, pages);
}

/* PostgreSQL leaves out what LIMIT TO and EXCEPT do. What has lost a column's type or collation cannot be declared. */
static List *
import_schema(ImportForeignSchemaStmt *stmt, Oid server)
{
	List *statements = collections.ImportForeignSchema(stmt, server);
	char *server_name = GetForeignServer(server)->servername;
	ListCell *lc;

	/* pg_dump takes the documents by their server: results of views have another. */
	if (strcmp(server_name, VIEW_SERVER) != 0)
		return statements;
	statements = NIL;
	foreach (lc, view_list())
	{
		View *view = lfirst(lc);

		if (!view->replacing && has_privs_of_role(GetUserId(), view->owner) && view_lost(view->shape, true) == NULL)
			statements = lappend(statements, view_table_statement(view, server_name));
	}
	return statements;
}

static bool
is_parallel_safe(PlannerInfo *root, RelOptInfo *rel, RangeTblEntry *rte)
{
	return view_of_relation(rte->relid) != NULL || collections.IsForeignScanParallelSafe(root, rel, rte);
}

Datum
docstore_fdw_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	docstore_collection_routine(routine);
	collections = *routine;

	views.type = T_FdwRoutine;
	views.GetForeignRelSize = view_get_rel_size;
	views.GetForeignPaths = view_get_paths;
	views.GetForeignPlan = view_get_plan;
	views.BeginForeignScan = view_begin_scan;
	views.IterateForeignScan = view_iterate_scan;
	views.ReScanForeignScan = view_rescan;
	views.EndForeignScan = view_end_scan;
	views.EstimateDSMForeignScan = view_estimate_dsm;
	views.InitializeDSMForeignScan = view_initialize_dsm;
	views.ReInitializeDSMForeignScan = view_initialize_dsm;
	views.InitializeWorkerForeignScan = view_initialize_worker;
	views.ShutdownForeignScan = view_shutdown_scan;
	views.ExplainForeignScan = view_explain_scan;

	routine->GetForeignRelSize = get_rel_size;
	routine->BeginForeignScan = begin_scan;
	routine->GetForeignRowMarkType = row_mark_type;
	routine->AddForeignUpdateTargets = add_update_targets;
	routine->IsForeignRelUpdatable = is_updatable;
	routine->ExecForeignTruncate = exec_truncate;
	routine->AnalyzeForeignTable = analyze;
	routine->ImportForeignSchema = import_schema;
	routine->IsForeignScanParallelSafe = is_parallel_safe;
	PG_RETURN_POINTER(routine);
}
