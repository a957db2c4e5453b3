/*
 * plan.c - sizes, paths and plans of a view's results.
 *
 * The order of a view's rows is described to the planner as that of an index
 * that nobody can scan (foreign tables have none): it knows how to make pathkeys
 * of one, in both directions.  Paths: the restrictions' seeks, forwards, and backwards if somebody wants that
 * order, both by several processes, too; and lookups parameterised by other relations' columns.
 */
#include "postgres.h"

#include "view/plan.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_am_d.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"

#include "fdw/collection.h"
#include "fdw/parallel.h"
#include "store/compat.h"
#include "store/store.h"
#include "view/progress.h"
#include "view/seek.h"

/* One lookup, beside the block that it may read: in units of cpu_operator_cost.  Most blocks are cached. */
#define LOOKUP_OPERATORS 50
#define LOOKUP_PAGES 0.25
#define DEFAULT_ROW_BYTES 50

/* RelOptInfo.fdw_private */
typedef struct ViewRel
{
	ViewTable *table;
	double bytes; /* on disk */
	IndexOptInfo *order;
	List *seeks; /* of the restrictions */
} ViewRel;

/* The order of the rows as far as the foreign table's columns show it. */
static IndexOptInfo *
describe_order(RelOptInfo *rel, const ViewTable *table, Relation relation)
{
	const ViewShape *shape = table->view->shape;
	IndexOptInfo *index = makeNode(IndexOptInfo);
	int n = shape->nkeys + 1;

	index->rel = rel;
	index->indexkeys = palloc(n * sizeof(int));
	index->indexcollations = palloc(n * sizeof(Oid));
	index->opfamily = palloc(n * sizeof(Oid));
	index->opcintype = palloc(n * sizeof(Oid));
	index->sortopfamily = index->opfamily;
	index->reverse_sort = palloc(n * sizeof(bool));
	index->nulls_first = palloc(n * sizeof(bool));
	for (int i = 0; i < n; i++)
	{
		Var *var = view_key_var(rel, table, relation, i);
		Oid opclass;

		if (var == NULL || (OidIsValid(var->varcollid) && !docstore_collation_is_c(var->varcollid)))
			break;
		opclass = GetDefaultOpClass(shape->key[i].type, BTREE_AM_OID);
		index->indexkeys[i] = var->varattno;
		index->indexcollations[i] = var->varcollid;
		index->opfamily[i] = get_opclass_family(opclass);
		index->opcintype[i] = get_opclass_input_type(opclass);
		index->reverse_sort[i] = shape->key[i].descending;
		index->nulls_first[i] = shape->key[i].nulls_first;
		index->indextlist = lappend(index->indextlist, makeTargetEntry((Expr *) var, (AttrNumber) (i + 1), NULL, false));
		index->ncolumns = index->nkeycolumns = i + 1;
	}
	return index;
}

void
view_get_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	ViewRel *private = palloc0(sizeof(ViewRel));
	Relation relation = table_open(relid, NoLock);
	ViewProgress progress;
	uint64 bytes;
	uint64 entries;

	private->table = view_table_get(relation, NoLock);
	private->order = describe_order(rel, private->table, relation);
	table_close(relation, NoLock);
	rel->fdw_private = private;

	/* The indexer counts. */
	(void) view_progress_read(private->table->view->storage, NULL, &progress);
	rel->tuples = clamp_row_est((double) (private->table->view->reduce != NULL ? progress.groups : progress.rows));
	docstore_kind_stats(DOCSTORE_KEY_VIEW, private->table->view->results, &bytes, &entries);
	private->bytes = bytes > 0 ? (double) bytes : rel->tuples * DEFAULT_ROW_BYTES;
	private->seeks = view_seek_choose(root, rel, private->table, rel->baserestrictinfo);
	set_baserel_size_estimates(root, rel);
}

static void
cost_scan(PlannerInfo *root, RelOptInfo *rel, List *seeks, ParamPathInfo *param, DocScanCost *cost)
{
	ViewRel *private = rel->fdw_private;
	QualCost qual = rel->baserestrictcost;
	double lookups = 1;

	cost->rows = param != NULL ? param->ppi_rows : rel->rows;
	cost->fetched = rel->tuples;
	if (seeks != NIL)
	{
		List *clauses = NIL;
		ListCell *lc;

		foreach (lc, seeks)
		{
			ViewSeek *seek = lfirst(lc);

			clauses = lappend(clauses, seek->rinfo);
			if (seek->op == VIEW_SEEK_ANY)
				lookups = Max(1, docstore_array_length(root, (Node *) seek->operand));
		}
		cost->fetched = clamp_row_est(rel->tuples * clauselist_selectivity(root, clauses, rel->relid, JOIN_INNER, NULL));
	}
	if (param != NULL)
	{
		QualCost more;

		cost_qual_eval(&more, param->ppi_clauses, root);
		qual.startup += more.startup;
		qual.per_tuple += more.per_tuple;
	}
	cost->startup = qual.startup + rel->reltarget->cost.startup;
	cost->disk = lookups * (LOOKUP_PAGES * random_page_cost + LOOKUP_OPERATORS * cpu_operator_cost) +
				 seq_page_cost * private->bytes / BLCKSZ * cost->fetched / rel->tuples;
	cost->cpu = cost->fetched * (cpu_tuple_cost + qual.per_tuple) + cost->rows * rel->reltarget->cost.per_tuple;
}

static void
add_path_for(PlannerInfo *root, RelOptInfo *rel, List *seeks, ParamPathInfo *param, List *pathkeys, bool backward)
{
	DocScanCost cost;

	cost_scan(root, rel, seeks, param, &cost);
	add_path(rel, (Path *) docstore_foreignscan_path(root, rel, cost.rows, cost.startup, cost.startup + cost.disk + cost.cpu, pathkeys,
													 param != NULL ? param->ppi_req_outer : rel->lateral_relids,
													 list_make1_int(backward)));
}

/* The same by several processes, which share the range; there must be one. */
static void
add_partial_path_for(PlannerInfo *root, RelOptInfo *rel, List *pathkeys, bool backward)
{
	ViewRel *private = rel->fdw_private;
	DocScanCost cost;
	ListCell *lc;

	if (!rel->consider_parallel || !bms_is_empty(rel->lateral_relids))
		return;
	foreach (lc, private->seeks)
		if (((ViewSeek *) lfirst(lc))->op == VIEW_SEEK_ANY)
			return;
	cost_scan(root, rel, private->seeks, NULL, &cost);
	doc_parts_add_path(root, rel, &cost, private->bytes, pathkeys, backward);
}

typedef struct KeyMember
{
	const ViewTable *table;
	int column;
} KeyMember;

static bool
is_key_member(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *ec, EquivalenceMember *em, void *arg)
{
	KeyMember *member = arg;

	return view_is_key((Node *) em->em_expr, rel, member->table, member->column);
}

/* Lookups by columns of other relations. */
static void
add_parameterised_paths(PlannerInfo *root, RelOptInfo *rel)
{
	ViewRel *private = rel->fdw_private;
	int ncolumns = private->table->view->shape->nkeys + 1;
	List *clauses = NIL;
	List *params = NIL;
	ListCell *lc;

	foreach (lc, rel->joininfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);

		for (int i = 0; i < ncolumns; i++)
			if (view_seek_match(root, rel, private->table, i, rinfo) != NULL)
			{
				clauses = lappend(clauses, rinfo);
				break;
			}
	}
	for (int i = 0; i < ncolumns && rel->has_eclass_joins; i++)
	{
		KeyMember member = {private->table, i};

		clauses = list_concat(clauses, generate_implied_equalities_for_column(root, rel, is_key_member, &member,
																			  rel->lateral_referencers));
	}
	foreach (lc, clauses)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		Relids outer;

		if (!join_clause_is_movable_to(rinfo, rel))
			continue;
		outer = bms_union(rinfo->clause_relids, rel->lateral_relids);
		outer = bms_del_member(outer, rel->relid);
		if (!bms_is_empty(outer))
			params = list_append_unique_ptr(params, get_baserel_parampathinfo(root, rel, outer));
	}
	foreach (lc, params)
	{
		ParamPathInfo *param = lfirst(lc);
		List *seeks = view_seek_choose(root, rel, private->table, list_concat_copy(rel->baserestrictinfo, param->ppi_clauses));

		if (list_length(seeks) > list_length(private->seeks))
			add_path_for(root, rel, seeks, param, NIL, false);
	}
}

void
view_get_paths(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	ViewRel *private = rel->fdw_private;
	ParamPathInfo *lateral = NULL;
	List *forward = NIL;
	List *backward = NIL;

	if (has_useful_pathkeys(root, rel))
	{
		forward = truncate_useless_pathkeys(root, rel, build_index_pathkeys(root, private->order, ForwardScanDirection));
		backward = truncate_useless_pathkeys(root, rel, build_index_pathkeys(root, private->order, BackwardScanDirection));
	}
	if (!bms_is_empty(rel->lateral_relids))
		lateral = get_baserel_parampathinfo(root, rel, rel->lateral_relids);
	add_path_for(root, rel, private->seeks, lateral, forward, false);
	add_partial_path_for(root, rel, forward, false);
	if (backward != NIL)
	{
		add_path_for(root, rel, private->seeks, lateral, backward, true);
		add_partial_path_for(root, rel, backward, true);
	}
	add_parameterised_paths(root, rel);
}

static List *
needed_columns(RelOptInfo *rel, const ViewTable *table, List *quals)
{
	Bitmapset *attrs = NULL;
	List *needed = NIL;
	bool whole;

	pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &attrs);
	pull_varattnos((Node *) quals, rel->relid, &attrs);
	whole = bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, attrs);
	for (int i = 1; i <= table->natts; i++)
		if (table->column[i - 1] != VIEW_COLUMN_NONE && (whole || bms_is_member(i - FirstLowInvalidHeapAttributeNumber, attrs)))
			needed = lappend_int(needed, i);
	return needed;
}

ForeignScan *
view_get_plan(PlannerInfo *root, RelOptInfo *rel, Oid relid, ForeignPath *path, List *tlist, List *clauses, Plan *outer)
{
	ViewRel *private = rel->fdw_private;
	List *seeks = view_seek_choose(root, rel, private->table, clauses);
	List *quals = extract_actual_clauses(clauses, false);
	List *exact = NIL;
	List *operands = NIL;
	List *columns = NIL;
	List *ops = NIL;
	List *types = NIL;
	ListCell *lc;

	foreach (lc, seeks)
	{
		ViewSeek *seek = lfirst(lc);

		operands = lappend(operands, seek->operand);
		columns = lappend_int(columns, seek->column);
		ops = lappend_int(ops, seek->op);
		types = lappend_oid(types, seek->type);
		if (seek->exact)
			exact = lappend(exact, seek->rinfo->clause);
	}
	quals = list_difference(quals, exact);
	/* For EvalPlanQual, which looks at rows of a query that also locks or changes others. */
	return make_foreignscan(tlist, quals, rel->relid, operands,
							list_make5(columns, ops, types,
									   needed_columns(rel, private->table, root->rowMarks != NIL ? list_concat_copy(quals, exact) : quals),
									   list_make1_int(linitial_int(path->fdw_private))),
							NIL, root->rowMarks != NIL ? exact : NIL, outer);
}
