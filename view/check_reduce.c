/*
 * check_reduce.c - a reduce must give the same result over parts as over all, and is refused when it is stored if it cannot.
 *
 * Rows are reduced in blocks, and the results of blocks are reduced again.  So what
 * a reduce returns has the columns of what it reads, its groups are columns
 * that stay what they are, and every other column is one aggregate over that very
 * column.  Of PostgreSQL's own aggregates those that may be used are listed;
 * of users' aggregates anything is believed here, and tried on documents later (trial.c).
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_clause.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "view/check_casts.h"
#include "view/reduce_query.h"
#include "view/source.h"

static const char *const good_aggregates[] = {
	"sum",
	"min",
	"max",
	"bool_and",
	"bool_or",
	"every",
	"bit_and",
	"bit_or",
	"bit_xor",
	"range_agg",
	"range_intersect_agg",
};

TupleDesc
view_results_desc(const ViewShape *shape, bool with_job)
{
	TupleDesc desc = CreateTemplateTupleDesc(shape->ncolumns + (with_job ? 1 : 0));

	for (int i = 0; i < shape->ncolumns; i++)
	{
		const ViewColumn *column = &shape->columns[i];

		TupleDescInitEntry(desc, (AttrNumber) (i + 1), column->name, column->type, column->typmod, 0);
		TupleDescInitEntryCollation(desc, (AttrNumber) (i + 1), column->collation);
	}
	if (with_job)
		TupleDescInitEntry(desc, (AttrNumber) desc->natts, VIEW_JOB_COLUMN, INT4OID, -1, 0);
	return desc;
}

/* ---- what it may consist of ---- */

static const char *
what_is_too_much(const Query *query, bool grouping)
{
	if (query->jointree->quals != NULL)
		return "WHERE";
	if (query->cteList != NIL)
		return "WITH";
	if (query->setOperations != NULL)
		return "UNION";
	if (query->groupingSets != NIL)
		return "GROUPING SETS";
	if (query->havingQual != NULL)
		return "HAVING";
	if (query->distinctClause != NIL || query->hasDistinctOn)
		return "DISTINCT";
	if (query->hasWindowFuncs)
		return "window functions";
	if (query->hasSubLinks)
		return "subqueries";
	if (query->hasTargetSRFs)
		return "functions that return sets";
	if (query->limitCount != NULL || query->limitOffset != NULL)
		return "LIMIT";
	if (query->sortClause != NIL)
		return "ORDER BY";
	if (!grouping && query->hasAggs)
		return "aggregates";
	if (!grouping && query->groupClause != NIL)
		return "GROUP BY";
	if (list_length(query->rtable) != 1 || list_length(query->jointree->fromlist) != 1 ||
		linitial_node(RangeTblEntry, query->rtable)->rtekind != RTE_NAMEDTUPLESTORE)
		return "anything but results in FROM";
	return NULL;
}

static Query *
analyze(ViewSource *source, const ViewShape *shape, bool grouping)
{
	RawStmt *raw = view_source_parse(source);
	Query *query = view_source_analyze(source, raw, "results", view_results_desc(shape, false));
	const char *fault;

	view_source_check(source, query);
	fault = what_is_too_much(query, grouping);
	if (fault != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("a view's %s cannot use %s", source->what, fault),
				 grouping ? errdetail("It is SELECT ... FROM results, with GROUP BY or without.")
						  : errdetail("It is SELECT ... FROM results, for each row by itself."),
				 errhint("What chooses or makes rows belongs into the map, what orders them into the key.")));
	return query;
}

static bool
is_group(const Query *query, const TargetEntry *entry)
{
	return entry->ressortgroupref != 0 && get_sortgroupref_clause_noerr(entry->ressortgroupref, query->groupClause) != NULL;
}

/* Through casts, and coalesce(x, a constant). */
static Node *
strip(Node *node)
{
	Node *argument;

	while ((argument = view_cast_argument(node)) != NULL)
		node = argument;
	return node;
}

static const char *
hint_for(const char *aggregate)
{
	if (strcmp(aggregate, "count") == 0)
		return "Let the map return 1::bigint AS n, and write sum(n)::bigint AS n.";
	if (strcmp(aggregate, "avg") == 0)
		return "Keep the sum and the number (a sum of ones) in two columns, and divide them in \"finalize\".";
	return "Use sum, min, max, bool_and, bool_or, bit_and, bit_or, bit_xor, range_agg, or an aggregate of your own that can.";
}

static void
check_aggregate(const ViewSource *source, const Query *query, const TargetEntry *entry, const Aggref *aggref)
{
	char *name = get_func_name(aggref->aggfnoid);
	bool builtin = aggref->aggfnoid < FirstNormalObjectId;
	bool good = !builtin;
	Node *fault;
	ListCell *lc;

	for (int i = 0; i < lengthof(good_aggregates); i++)
		good |= strcmp(name, good_aggregates[i]) == 0;
	if (!good || aggref->aggdistinct != NIL || aggref->aggorder != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 good ? errmsg("a view's reduce cannot use DISTINCT or ORDER BY in an aggregate")
					  : errmsg("a view's reduce cannot use aggregate %s", name),
				 errdetail("The reduce runs over parts of the rows, and then over the results of the parts."),
				 errhint("%s", hint_for(name)),
				 view_source_at(source, exprLocation((Node *) aggref))));
	if (!builtin)
		return;
	if (list_length(aggref->args) != 1 ||
		!IsA(strip((Node *) linitial_node(TargetEntry, aggref->args)->expr), Var) ||
		((Var *) strip((Node *) linitial_node(TargetEntry, aggref->args)->expr))->varattno != entry->resno)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("column \"%s\" of a view's reduce is not an aggregate of column \"%s\"", entry->resname, entry->resname),
				 errdetail("The reduce also runs over its own results, so each column must be reduced from itself."),
				 errhint("Let the map return what is aggregated, and write %s(%s).", name, quote_identifier(entry->resname)),
				 view_source_at(source, exprLocation((Node *) aggref))));
	fault = view_cast_fault((Node *) entry->expr, name);
	if (fault != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 IsA(fault, CoalesceExpr) ? errmsg("column \"%s\" of a view's reduce replaces null by a value that counts", entry->resname)
										  : errmsg("column \"%s\" of a view's reduce is cast to another value", entry->resname),
				 errdetail("The reduce also runs over its own results, so a cast or coalesce must leave those as they are."),
				 errhint("Do it in the map or in \"finalize\"."),
				 view_source_at(source, exprLocation(fault))));
	foreach (lc, pull_var_clause((Node *) aggref->aggfilter, 0))
	{
		Var *var = lfirst_node(Var, lc);
		bool ok = false;
		ListCell *target;

		foreach (target, query->targetList)
		{
			TargetEntry *other = lfirst_node(TargetEntry, target);

			ok |= is_group(query, other) && other->resno == var->varattno;
		}
		if (!ok)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("a view's reduce can use FILTER with columns that it groups by only"),
					 errhint("Use CASE in the map."),
					 view_source_at(source, var->location)));
	}
}

static void
check_target(const ViewSource *source, const Query *query, const TargetEntry *entry)
{
	Node *node = (Node *) entry->expr;

	if (is_group(query, entry))
	{
		if (view_key_kind(exprType(node)) == VIEW_KEY_NONE)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("a view's reduce cannot group by column \"%s\" of type %s", entry->resname, format_type_be(exprType(node))),
					 errhint("Types that can be grouped by: %s.", view_key_types()),
					 view_source_at(source, exprLocation(node))));
		if (OidIsValid(exprCollation(node)) && !get_collation_isdeterministic(exprCollation(node)))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a view's reduce cannot group by column \"%s\" with a nondeterministic collation", entry->resname),
					 view_source_at(source, exprLocation(node))));
		return;
	}
	if (!contain_aggs_of_level(node, 0))
		return;
	node = strip(node);
	if (!IsA(node, Aggref))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("column \"%s\" of a view's reduce computes with an aggregate", entry->resname),
				 errdetail("The reduce also runs over its own results, so each column must be one aggregate."),
				 errhint("Keep the parts in columns of their own, and compute with them in \"finalize\"."),
				 view_source_at(source, exprLocation((Node *) entry->expr))));
	check_aggregate(source, query, entry, (Aggref *) node);
}

/* What a reduce returns it must be able to read. */
static void
check_same_columns(const ViewSource *source, const ViewShape *map, const ViewShape *reduce)
{
	for (int i = 0; i < Max(map->ncolumns, reduce->ncolumns); i++)
	{
		const ViewColumn *m = i < map->ncolumns ? &map->columns[i] : NULL;
		const ViewColumn *r = i < reduce->ncolumns ? &reduce->columns[i] : NULL;

		if (m != NULL && r != NULL && strcmp(m->name, r->name) == 0 && m->type == r->type)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 m == NULL   ? errmsg("column \"%s\" of a view's reduce is not in its map", r->name)
				 : r == NULL ? errmsg("column \"%s\" of a view's map is not in its reduce", m->name)
							 : errmsg("column %d of a view's reduce is \"%s\" of type %s, of its map \"%s\" of type %s", i + 1, r->name,
									  format_type_be(r->type), m->name, format_type_be(m->type)),
				 errdetail("The reduce also runs over its own results, so both return the same columns."),
				 m != NULL && r != NULL && strcmp(m->name, r->name) == 0
					 ? errhint("Cast it: ...::%s AS %s.", format_type_be(m->type), quote_identifier(m->name))
					 : 0));
	}
}

/* The key is the groups: those that are named, in that order, then the others. */
static void
make_key(ViewDefinition *definition, const Query *query, ViewShape *rows)
{
	StringInfoData key;
	ViewShape named = *rows;
	ListCell *lc;

	named.nkeys = 0;
	view_source_key(definition->key, "map", &named);
	for (int i = 0; i < named.nkeys; i++)
		if (!is_group(query, list_nth_node(TargetEntry, query->targetList, named.key_attribute[i] - 1)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("the key of a view with a reduce can name columns of its GROUP BY only"),
					 errdetail("Column \"%s\" is not one of them.", rows->columns[named.key_attribute[i] - 1].name)));
	initStringInfo(&key);
	if (named.nkeys > 0)
		appendStringInfoString(&key, definition->key);
	foreach (lc, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);
		bool is_named = false;

		for (int i = 0; i < named.nkeys; i++)
			is_named |= named.key_attribute[i] == entry->resno;
		if (!entry->resjunk && !is_named && is_group(query, entry))
			appendStringInfo(&key, "%s%s", key.len > 0 ? ", " : "", quote_identifier(entry->resname));
	}
	rows->nkeys = 0;
	view_source_key(key.len > 0 ? key.data : NULL, "map", rows);
}

static ViewShape *
check_finalize(ViewDefinition *definition, const ViewShape *rows)
{
	ViewShape *shape = palloc0(sizeof(ViewShape));
	ViewSource source = {definition->finalize, "finalize", "It sees the reduced rows, in the relation results.", 0, NULL, -1};
	ErrorContextCallback callback = {.previous = error_context_stack, .callback = view_source_point, .arg = &source};
	Query *query;

	error_context_stack = &callback;
	query = analyze(&source, rows, false);
	view_source_columns(&source, query, shape);
	shape->nkeys = rows->nkeys;
	shape->key = rows->key;
	shape->key_attribute = palloc((rows->nkeys + 1) * sizeof(AttrNumber));
	for (int i = 0; i < rows->nkeys; i++)
	{
		const ViewColumn *group = &rows->columns[rows->key_attribute[i] - 1];
		int found = -1;

		for (int j = 0; j < shape->ncolumns; j++)
		{
			TargetEntry *entry = list_nth_node(TargetEntry, query->targetList, j);

			if (IsA(entry->expr, Var) && ((Var *) entry->expr)->varattno == rows->key_attribute[i] &&
				strcmp(entry->resname, group->name) == 0)
				found = j;
		}
		if (found < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("a view's finalize must return column \"%s\" as it is", group->name),
					 errdetail("The reduce groups by it.")));
		shape->columns[found].collation = group->collation;
		shape->key_attribute[i] = (AttrNumber) (found + 1);
	}
	shape->key_attribute[shape->nkeys] = (AttrNumber) (shape->ncolumns + 1);
	error_context_stack = callback.previous;
	if (source.raw->stmt_len > 0)
		definition->finalize = pnstrdup(definition->finalize + source.raw->stmt_location, source.raw->stmt_len);
	return shape;
}

ViewShape *
view_check_reduce(ViewDefinition *definition, ViewShape *rows)
{
	ViewSource source = {definition->reduce, "reduce", "It sees the rows of the map, in the relation results.", 0, NULL, -1};
	ErrorContextCallback callback = {.previous = error_context_stack, .callback = view_source_point, .arg = &source};
	ViewShape returned = {0};
	Query *query;
	ListCell *lc;

	if (definition->reduce == NULL)
		return rows;
	error_context_stack = &callback;
	query = analyze(&source, rows, true);
	if (!query->hasAggs && query->groupClause == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("a view's reduce must use aggregates or GROUP BY")));
	view_source_columns(&source, query, &returned);
	foreach (lc, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);

		if (entry->resjunk)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("a view's reduce must return everything that it groups by"),
					 view_source_at(&source, exprLocation((Node *) entry->expr))));
	}
	foreach (lc, query->targetList)
		check_target(&source, query, lfirst_node(TargetEntry, lc));
	check_same_columns(&source, rows, &returned);
	error_context_stack = callback.previous;
	if (source.raw->stmt_len > 0)
		definition->reduce = pnstrdup(definition->reduce + source.raw->stmt_location, source.raw->stmt_len);
	make_key(definition, query, rows);
	return definition->finalize != NULL ? check_finalize(definition, rows) : rows;
}

/* ---- as it is run ---- */

static Query *
analyze_again(const char *text, const char *what, const ViewShape *shape, bool with_job)
{
	ViewSource source = {text, what, "", 0, NULL, -1};

	return view_source_analyze(&source, view_source_parse(&source), "results", view_results_desc(shape, with_job));
}

char *
view_query_with_job(const char *text, const char *what, const ViewShape *shape, bool group)
{
	Query *query = analyze_again(text, what, shape, true);
	RangeTblEntry *results;
	Var *job = makeVar(1, (AttrNumber) (shape->ncolumns + 1), INT4OID, -1, InvalidOid, 0);
	TargetEntry *entry = makeTargetEntry((Expr *) job, (AttrNumber) (list_length(query->targetList) + 1), pstrdup(VIEW_JOB_COLUMN), false);

	if (group)
	{
		SortGroupClause *clause = makeNode(SortGroupClause);

		entry->ressortgroupref = clause->tleSortGroupRef = assignSortGroupRef(entry, query->targetList);
		get_sort_group_operators(INT4OID, false, true, false, &clause->sortop, &clause->eqop, NULL, &clause->hashable);
		query->groupClause = lcons(clause, query->groupClause);
	}
	query->targetList = lappend(query->targetList, entry);
	/* The printer knows no tuplestores, but prints a WITH query's name all the same. */
	results = linitial_node(RangeTblEntry, query->rtable);
	results->rtekind = RTE_CTE;
	results->ctename = pstrdup("results");
	return pg_get_querydef(query, false);
}

static bool
is_own_column(const Node *node, const TargetEntry *entry)
{
	return IsA(node, Var) && ((const Var *) node)->varattno == entry->resno;
}

bool
view_groups_are_columns(const char *reduce, const ViewShape *shape)
{
	Query *query = analyze_again(reduce, "reduce", shape, false);
	ListCell *lc;

	foreach (lc, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);

		if (is_group(query, entry) && !is_own_column((Node *) entry->expr, entry))
			return false;
	}
	return true;
}

/* sum(x) of a column of that type, cast back to it as the sum of integers needs it. */
static bool
is_plain_sum(const TargetEntry *entry)
{
	static const struct
	{
		Oid type;
		Oid sum;
		Oid cast; /* the function; InvalidOid: none */
	} plain[] = {
		{INT2OID, F_SUM_INT2, F_INT2_INT8},
		{INT4OID, F_SUM_INT4, F_INT4_INT8},
		{INT8OID, F_SUM_INT8, F_INT8_NUMERIC},
		{NUMERICOID, F_SUM_NUMERIC, InvalidOid},
	};
	Node *node = (Node *) entry->expr;
	Oid cast = InvalidOid;
	const Aggref *sum;

	if (IsA(node, FuncExpr) && list_length(((FuncExpr *) node)->args) == 1)
	{
		cast = ((FuncExpr *) node)->funcid;
		node = linitial(((FuncExpr *) node)->args);
	}
	if (!IsA(node, Aggref))
		return false;
	sum = (Aggref *) node;
	if (sum->aggfilter != NULL || list_length(sum->args) != 1)
		return false;
	if (!is_own_column((Node *) linitial_node(TargetEntry, sum->args)->expr, entry))
		return false;
	for (int i = 0; i < lengthof(plain); i++)
		if (exprType((Node *) entry->expr) == plain[i].type && sum->aggfnoid == plain[i].sum && cast == plain[i].cast)
			return true;
	return false;
}

/* Values that are equal are the same bytes. */
static bool
is_exact(Oid type)
{
	switch (view_key_kind(type))
	{
		case VIEW_KEY_BOOL:
		case VIEW_KEY_INT:
		case VIEW_KEY_TEXT:
		case VIEW_KEY_BYTEA:
		case VIEW_KEY_DATE:
		case VIEW_KEY_TIME:
		case VIEW_KEY_TIMESTAMP:
		case VIEW_KEY_UUID:
			return true;
		default:
			return false;
	}
}

bool
view_reduce_only_sums(const char *reduce, const ViewShape *shape)
{
	Query *query = analyze_again(reduce, "reduce", shape, false);
	ListCell *lc;

	foreach (lc, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);

		if (is_group(query, entry) ? !is_own_column((Node *) entry->expr, entry) || !is_exact(exprType((Node *) entry->expr)) : !is_plain_sum(entry))
			return false;
	}
	return true;
}
