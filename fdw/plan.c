/*
 * plan.c - how to read a collection: sizes, paths and plans.
 *
 * Paths: one that the restrictions give (points, a range, or everything), in
 * ascending order of ids at no cost; the same one backwards if somebody wants
 * that; and for each set of other relations whose columns are compared with
 * the id, one that is parameterised by them (nested loop lookups).
 *
 * The planner is told that the id and the etag are unique by way of an IndexOptInfo that
 * stands for no index: from it come right estimates for "id = ..." and for
 * joins on the id, and proofs of uniqueness.  No index paths are made for
 * foreign tables, so nobody will try to scan it.
 */
#include "postgres.h"

#include "fdw/plan.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_opfamily_d.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/prep.h"
#include "optimizer/restrictinfo.h"
#include "utils/lsyscache.h"
#include "utils/reltrigger.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"

#include "fdw/collection.h"
#include "fdw/parallel.h"
#include "fdw/seek.h"
#include "store/compat.h"

/* What is assumed of a collection of which neither files nor ANALYZE say anything. */
#define DEFAULT_DOCUMENTS 1000
#define DEFAULT_DOCUMENT_BYTES 200
/* One lookup, beside the block that it may read: in units of cpu_operator_cost. */
#define LOOKUP_OPERATORS 50
/* Most lookups find their block cached. */
#define LOOKUP_PAGES 0.25
#define TEXT_GREATER_OPERATOR 666
/* Of so few entries in a range the files know no more than that they are few. */
#define FEW_ENTRIES 1000
#define ETAG_PROBES 5

/* RelOptInfo.fdw_private */
typedef struct DocRel
{
	DocTable *table;
	uint64 storage;
	double bytes; /* on disk */
	List *seeks;  /* of the restrictions */
} DocRel;

static void estimate_rows(PlannerInfo *root, RelOptInfo *rel);

static void
add_unique(RelOptInfo *rel, Var *column, Oid opfamily, Oid opcintype)
{
	IndexOptInfo *index = makeNode(IndexOptInfo);

	index->rel = rel;
	index->ncolumns = index->nkeycolumns = 1;
	index->indexkeys = palloc(sizeof(int));
	index->indexkeys[0] = column->varattno;
	index->indexcollations = palloc(sizeof(Oid));
	index->indexcollations[0] = column->varcollid;
	index->opfamily = palloc(sizeof(Oid));
	index->opfamily[0] = opfamily;
	index->opcintype = palloc(sizeof(Oid));
	index->opcintype[0] = opcintype;
	index->canreturn = palloc0(sizeof(bool));
	index->indextlist = list_make1(makeTargetEntry((Expr *) column, 1, NULL, false));
	index->tuples = rel->tuples;
	index->tree_height = -1;
	index->unique = true;
	index->immediate = true;
	index->hypothetical = true;
	rel->indexlist = lappend(rel->indexlist, index);
}

void
docstore_get_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	DocRel *private = palloc0(sizeof(DocRel));
	Relation relation = table_open(relid, NoLock);
	DocTable *table;
	DocCollection collection;
	uint64 bytes;
	uint64 entries;

	private->table = table = doc_table_get(relation);
	table_close(relation, NoLock);
	docstore_collection_of(table, NoLock, &collection);
	private->storage = collection.storage;
	docstore_storage_stats(collection.storage, &bytes, &entries);
	rel->fdw_private = private;

	/*
	 * Files count every version, and not what is in memory only; ANALYZE counted
	 * documents, but long ago: its figure is scaled by how much the files grew.
	 * Where they shrank that may be compaction's work, so the figure stands as
	 * long as there are that many entries.
	 */
	if (rel->tuples > 0 && rel->pages > 1 && bytes > 0)
	{
		double scaled = rel->tuples * (double) bytes / ((double) rel->pages * BLCKSZ);
		double most = Max(rel->tuples, (double) entries);
		double least = Min(rel->tuples, (double) entries);

		rel->tuples = Max(least, Min(scaled, most));
	}
	else if (rel->tuples > 0 || entries > 0)
		rel->tuples = Max(rel->tuples, (double) entries);
	else
		rel->tuples = DEFAULT_DOCUMENTS;
	rel->tuples = clamp_row_est(rel->tuples);
	private->bytes = bytes > 0 ? (double) bytes : rel->tuples * DEFAULT_DOCUMENT_BYTES;

	/* Under a collation that takes different bytes for equal, the id is not unique. */
	if (table->id != 0 && get_collation_isdeterministic(table->id_collation))
		add_unique(rel, makeVar(rel->relid, table->id, table->id_type, table->id_typmod, table->id_collation, 0),
				   TEXT_BTREE_FAM_OID, TEXTOID);
	if (table->etag != 0)
		add_unique(rel, makeVar(rel->relid, table->etag, INT8OID, -1, InvalidOid, 0), INTEGER_BTREE_FAM_OID, INT8OID);
	private->seeks = doc_seek_choose(root, rel, private->table, rel->baserestrictinfo);
	estimate_rows(root, rel);
}

/* The range that seeks give, if their operands are known. */
static bool
constant_range(PlannerInfo *root, RelOptInfo *rel, List *seeks, SeekRange *range)
{
	DocRel *private = rel->fdw_private;
	int n = list_length(seeks);
	SeekOp *ops = palloc(n * sizeof(SeekOp));
	Datum *values = palloc(n * sizeof(Datum));
	bool *nulls = palloc(n * sizeof(bool));
	ListCell *lc;

	foreach (lc, seeks)
	{
		Seek *seek = lfirst(lc);
		int i = foreach_current_index(lc);
		Node *operand = estimate_expression_value(root, (Node *) seek->operand);

		if (!IsA(operand, Const))
			return false;
		ops[i] = seek->op;
		values[i] = ((Const *) operand)->constvalue;
		nulls[i] = ((Const *) operand)->constisnull;
	}
	doc_seek_range(private->storage, ops, n, values, nulls, range);
	return true;
}

static List *
clauses_of(List *seeks, bool etag)
{
	List *clauses = NIL;
	ListCell *lc;

	foreach (lc, seeks)
	{
		Seek *seek = lfirst(lc);

		if (doc_seek_is_etag(seek->op) == etag)
			clauses = lappend(clauses, seek->rinfo);
	}
	return clauses;
}

/*
 * The part of the collection that is found within bounds: from the files if they are constants, else as the planner
 * guesses.  Bounds of the etag only leave files out: what is returned may be much less.
 */
static double
bounds_fraction(PlannerInfo *root, RelOptInfo *rel, List *seeks)
{
	List *clauses = clauses_of(seeks, false);
	SeekRange range;

	if (constant_range(root, rel, seeks, &range))
	{
		uint64 bytes;
		uint64 entries;
		LsmError err;

		if (range.nothing)
			return 0;
		docstore_check(lsm_range_stats(docstore_db(), range.lower, range.upper, range.etags, &bytes, &entries, &err), &err);
		/* Small numbers say little, since files are counted by blocks; but they are small. */
		if (entries > FEW_ENTRIES || clauses == NIL)
			return Min((double) entries / rel->tuples, 1.0);
		return Min(clauselist_selectivity(root, clauses, rel->relid, JOIN_INNER, NULL), FEW_ENTRIES / rel->tuples);
	}
	return clauselist_selectivity(root, clauses, rel->relid, JOIN_INNER, NULL);
}

/* The part of the collection that a scan for certain etags, not known yet, looks at: the most for a few from the past. */
static double
etags_fraction(RelOptInfo *rel)
{
	DocRel *private = rel->fdw_private;
	uint64 last = lsm_last_sequence(docstore_db());
	uint64 most = 0;
	SeekRange range;

	doc_seek_range(private->storage, NULL, 0, NULL, NULL, &range);
	for (int i = 1; i < ETAG_PROBES; i++)
	{
		uint64 etag = last / ETAG_PROBES * i;
		uint64 entries;
		LsmError err;

		docstore_check(lsm_range_reads(docstore_db(), range.lower, range.upper, (LsmSeqs){etag, etag}, &entries, &err), &err);
		most = Max(most, entries);
	}
	return Min((double) most / rel->tuples, 1.0);
}

/* The part of the collection that a scan within bounds looks at. */
static double
read_fraction(PlannerInfo *root, RelOptInfo *rel, List *seeks)
{
	double fraction;
	bool certain = false;
	SeekRange range;
	ListCell *lc;

	if (clauses_of(seeks, true) == NIL)
		return bounds_fraction(root, rel, seeks);
	if (constant_range(root, rel, seeks, &range))
	{
		uint64 entries;
		LsmError err;

		if (range.nothing)
			return 0;
		docstore_check(lsm_range_reads(docstore_db(), range.lower, range.upper, range.etags, &entries, &err), &err);
		return Min((double) entries / rel->tuples, 1.0);
	}
	fraction = bounds_fraction(root, rel, seeks);
	foreach (lc, seeks)
		certain |= ((Seek *) lfirst(lc))->op == SEEK_ETAG_EQ || ((Seek *) lfirst(lc))->op == SEEK_ETAG_ANY;
	return certain ? Min(fraction, etags_fraction(rel)) : fraction;
}

/* What bounds leave is known from the files, also before ANALYZE; the planner guesses the rest. */
static void
estimate_rows(PlannerInfo *root, RelOptInfo *rel)
{
	DocRel *private = rel->fdw_private;
	List *bounds = clauses_of(private->seeks, false);
	List *etags = clauses_of(private->seeks, true);
	List *others;

	set_baserel_size_estimates(root, rel);
	if (private->seeks == NIL || ((Seek *) linitial(private->seeks))->op == SEEK_EQ ||
		((Seek *) linitial(private->seeks))->op == SEEK_ANY)
		return;
	others = list_difference_ptr(list_difference_ptr(rel->baserestrictinfo, bounds), etags);
	rel->rows = rel->tuples * bounds_fraction(root, rel, private->seeks) * clauselist_selectivity(root, others, 0, JOIN_INNER, NULL);
	if (etags != NIL)
		rel->rows = Min(rel->rows, rel->tuples * clauselist_selectivity(root, rel->baserestrictinfo, 0, JOIN_INNER, NULL));
	rel->rows = clamp_row_est(rel->rows);
}

static void
cost_scan(PlannerInfo *root, RelOptInfo *rel, List *seeks, ParamPathInfo *param, DocScanCost *cost)
{
	DocRel *private = rel->fdw_private;
	QualCost qual = rel->baserestrictcost;
	double lookups = 0;
	double fetched;

	if (seeks == NIL)
		fetched = rel->tuples;
	else
	{
		Seek *seek = linitial(seeks);

		if (seek->op == SEEK_EQ)
			lookups = fetched = 1;
		else if (seek->op == SEEK_ANY)
			lookups = fetched = docstore_array_length(root, (Node *) seek->operand);
		else
		{
			fetched = clamp_row_est(rel->tuples * read_fraction(root, rel, seeks));
			lookups = 1;
		}
	}
	fetched = Min(fetched, rel->tuples);

	if (param != NULL)
	{
		QualCost more;

		cost_qual_eval(&more, param->ppi_clauses, root);
		qual.startup += more.startup;
		qual.per_tuple += more.per_tuple;
	}
	cost->fetched = fetched;
	cost->rows = param != NULL ? param->ppi_rows : rel->rows;
	cost->startup = qual.startup + rel->reltarget->cost.startup;
	cost->disk = lookups * LOOKUP_PAGES * random_page_cost;
	if (lookups == 0 || lookups < fetched)
		cost->disk += seq_page_cost * private->bytes / BLCKSZ * fetched / rel->tuples;
	cost->cpu = lookups * LOOKUP_OPERATORS * cpu_operator_cost + fetched * (cpu_tuple_cost + qual.per_tuple) +
				cost->rows * rel->reltarget->cost.per_tuple;
}

static void
add_path_for(PlannerInfo *root, RelOptInfo *rel, List *seeks, ParamPathInfo *param, List *pathkeys, bool backward)
{
	DocScanCost cost;

	cost_scan(root, rel, seeks, param, &cost);
	add_path(rel, (Path *) docstore_foreignscan_path(root, rel, cost.rows, cost.startup, cost.startup + cost.disk + cost.cpu,
													 pathkeys, param != NULL ? param->ppi_req_outer : rel->lateral_relids,
													 list_make1_int(backward)));
}

/* The same by several processes, which share the range. */
static void
add_partial_path_for(PlannerInfo *root, RelOptInfo *rel, List *pathkeys, bool backward)
{
	DocRel *private = rel->fdw_private;
	Seek *first = private->seeks != NIL ? linitial(private->seeks) : NULL;
	DocScanCost cost;

	if (!rel->consider_parallel || !bms_is_empty(rel->lateral_relids) ||
		(first != NULL && (first->op == SEEK_EQ || first->op == SEEK_ANY)))
		return;
	cost_scan(root, rel, private->seeks, NULL, &cost);
	doc_parts_add_path(root, rel, &cost, private->bytes, pathkeys, backward);
}

/* Is it the column of that number? */
static bool
is_member(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *ec, EquivalenceMember *em, void *arg)
{
	Node *node = (Node *) em->em_expr;

	while (node != NULL && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node != NULL && IsA(node, Var) && ((Var *) node)->varno == rel->relid &&
		   ((Var *) node)->varattno == *(AttrNumber *) arg;
}

/* Lookups by columns of other relations, and scans for the etags that lie there. */
static void
add_parameterised_paths(PlannerInfo *root, RelOptInfo *rel)
{
	DocRel *private = rel->fdw_private;
	AttrNumber columns[] = {private->table->id, private->table->etag};
	List *clauses = NIL;
	List *params = NIL;
	ListCell *lc;

	foreach (lc, rel->joininfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);

		if (join_clause_is_movable_to(rinfo, rel) && doc_seek_match(root, rel, private->table, rinfo) != NULL)
			clauses = lappend(clauses, rinfo);
	}
	for (int i = 0; rel->has_eclass_joins && i < lengthof(columns); i++)
		if (columns[i] != 0)
			clauses = list_concat(clauses, generate_implied_equalities_for_column(root, rel, is_member, &columns[i],
																				  rel->lateral_referencers));
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
		List *seeks = doc_seek_choose(root, rel, private->table,
									  list_concat_copy(rel->baserestrictinfo, param->ppi_clauses));

		if (seeks != NIL)
			add_path_for(root, rel, seeks, param, NIL, false);
	}
}

static bool
has_member_of(EquivalenceClass *ec, RelOptInfo *rel)
{
	ListCell *lc;

	foreach (lc, ec->ec_members)
	{
		EquivalenceMember *em = lfirst_node(EquivalenceMember, lc);

		if (bms_equal(em->em_relids, rel->relids))
			return true;
	}
	return false;
}

/*
 * The pathkeys of ids in ascending or descending order, NIL if nobody wants them.
 * A query's further sort columns sort nothing once the id is equal, so if they
 * are this relation's, the whole order is kept.
 */
static List *
id_pathkeys(PlannerInfo *root, RelOptInfo *rel, const DocTable *table, bool backward)
{
	Expr *id;
	List *pathkeys;
	ListCell *lc;

	if (table->id == 0 || !has_useful_pathkeys(root, rel) || !OidIsValid(table->id_collation) ||
		!docstore_collation_is_c(table->id_collation))
		return NIL;
	id = (Expr *) makeVar(rel->relid, table->id, table->id_type, table->id_typmod, table->id_collation, 0);
	if (table->id_type != TEXTOID)
		id = (Expr *) makeRelabelType(id, TEXTOID, -1, table->id_collation, COERCE_IMPLICIT_CAST);
	/* An order that nobody wants (of one id, say) must not be named: an Append would look for the id in rows without it. */
	pathkeys = truncate_useless_pathkeys(
		root, rel, docstore_expression_pathkey(root, id, backward ? TEXT_GREATER_OPERATOR : TextLessOperator, rel));
	if (pathkeys == NIL || list_length(root->query_pathkeys) < 2 ||
		linitial(root->query_pathkeys) != linitial(pathkeys))
		return pathkeys;
	foreach (lc, root->query_pathkeys)
	{
		PathKey *key = lfirst_node(PathKey, lc);

		if (!has_member_of(key->pk_eclass, rel))
			return pathkeys;
	}
	return root->query_pathkeys;
}

bool
docstore_is_parallel_safe(PlannerInfo *root, RelOptInfo *rel, RangeTblEntry *rte)
{
	Relation relation = table_open(rte->relid, NoLock);
	bool safe = doc_parts_allowed(doc_table_get(relation));

	table_close(relation, NoLock);
	return safe;
}

void
docstore_get_paths(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	DocRel *private = rel->fdw_private;
	List *forward = id_pathkeys(root, rel, private->table, false);
	List *backward = id_pathkeys(root, rel, private->table, true);
	ParamPathInfo *lateral = NULL;

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

/* Row triggers see the old row before the write finds out that there is a newer one. */
static bool
needs_early_lock(PlannerInfo *root, Oid relid)
{
	Relation relation = table_open(relid, NoLock);
	TriggerDesc *triggers = relation->trigdesc;
	bool needed = false;

	if (triggers != NULL)
		needed = root->parse->commandType == CMD_DELETE
					 ? triggers->trig_delete_before_row || triggers->trig_delete_after_row
					 : triggers->trig_update_before_row || triggers->trig_update_after_row;
	table_close(relation, NoLock);
	return needed;
}

/* What is going to happen to the rows of this scan. */
static int
row_flags(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	int flags = 0;

	if (bms_is_member(rel->relid, root->all_result_relids))
	{
		flags |= PLAN_VERSION;
		if (needs_early_lock(root, relid))
			flags |= PLAN_LOCK | (root->parse->commandType == CMD_DELETE ? PLAN_KEY : 0);
	}
	else if (get_plan_rowmark(root->rowMarks, rel->relid) != NULL)
		flags |= PLAN_MARK;
	return flags;
}

/* The attribute numbers among attrs, as pull_varattnos gives them, that lie in a document. */
static List *
column_list(const DocTable *table, Bitmapset *attrs)
{
	bool whole = bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, attrs);
	List *columns = NIL;

	for (int i = 1; i <= table->natts; i++)
		if (table->columns[i - 1].role != DOC_ROLE_NONE &&
			(whole || bms_is_member(i - FirstLowInvalidHeapAttributeNumber, attrs)))
			columns = lappend_int(columns, i);
	return columns;
}

ForeignScan *
docstore_get_plan(PlannerInfo *root, RelOptInfo *rel, Oid relid, ForeignPath *path, List *tlist, List *clauses, Plan *outer)
{
	DocRel *private = rel->fdw_private;
	List *seeks = doc_seek_choose(root, rel, private->table, clauses);
	List *actual = extract_actual_clauses(clauses, false);
	List *answered = NIL;
	List *others;
	List *operands = NIL;
	List *ops = NIL;
	Bitmapset *tested = NULL;
	Bitmapset *needed = NULL;
	int flags = (linitial_int(path->fdw_private) ? PLAN_BACKWARD : 0) | row_flags(root, rel, relid);
	List *private_lists;
	ListCell *lc;

	foreach (lc, seeks)
	{
		Seek *seek = lfirst(lc);

		operands = lappend(operands, seek->operand);
		ops = lappend_int(ops, seek->op);
		if (doc_seek_exact(seek->op))
			answered = lappend(answered, seek->rinfo->clause);
	}
	others = list_difference(actual, answered);
	/* Only a query that locks or changes something looks at rows again. */
	if (root->rowMarks == NIL && (flags & PLAN_VERSION) == 0)
		answered = NIL;
	pull_varattnos((Node *) answered, rel->relid, &tested);
	pull_varattnos((Node *) others, rel->relid, &tested);
	pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &needed);
	pull_varattnos((Node *) actual, rel->relid, &needed);
	private_lists = list_make4(ops, column_list(private->table, needed), column_list(private->table, tested),
							   list_make2_int(flags, list_length(answered)));
	return make_foreignscan(tlist, NIL, rel->relid, operands, private_lists, NIL, list_concat(answered, others), outer);
}
