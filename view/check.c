/*
 * check.c - a map is refused when it is stored, not when it is run (check.h).
 *
 * PostgreSQL's own parser and analyzer read the map, with `docs` as an ephemeral
 * named relation, so every fault that they know comes with its position.  What
 * they find good is searched for what would make a view wrong later: other
 * relations, and functions whose result depends on more than the document.
 *
 * Of the STABLE functions those are allowed that depend on settings only, which
 * are pinned when a map runs.  There is no mark for that in the catalog, so
 * they are listed by name, and all others are refused.
 */
#include "postgres.h"

#include "view/check.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/heap.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_namespace_d.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/queryenvironment.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "store/compat.h"
#include "view/moment.h"
#include "view/source.h"

#define KEY_PREFIX "SELECT 1 ORDER BY "

/* STABLE functions of pg_catalog that depend on pinned settings only, or on definitions of types.  Sorted. */
static const char *const stable_names[] = {
	"anytextcat",
	"array_in",
	"array_out",
	"array_to_json",
	"array_to_string",
	"cash_in",
	"cash_out",
	"concat",
	"concat_ws",
	"convert",
	"convert_from",
	"convert_to",
	"date",
	"date_cmp_timestamptz",
	"date_eq_timestamptz",
	"date_ge_timestamptz",
	"date_gt_timestamptz",
	"date_in",
	"date_le_timestamptz",
	"date_lt_timestamptz",
	"date_ne_timestamptz",
	"date_out",
	"date_part",
	"date_trunc",
	"domain_in",
	"enum_in",
	"enum_out",
	"extract",
	"format",
	"generate_series",
	"interval_in",
	"interval_out",
	"interval_pl_timestamptz",
	"json_agg",
	"json_agg_transfn",
	"json_build_array",
	"json_build_object",
	"json_object_agg",
	"json_object_agg_transfn",
	"json_populate_record",
	"json_populate_recordset",
	"json_to_record",
	"json_to_recordset",
	"json_to_tsvector",
	"jsonb_agg",
	"jsonb_agg_finalfn",
	"jsonb_agg_transfn",
	"jsonb_build_array",
	"jsonb_build_object",
	"jsonb_object_agg",
	"jsonb_object_agg_finalfn",
	"jsonb_object_agg_transfn",
	"jsonb_path_exists_tz",
	"jsonb_path_match_tz",
	"jsonb_path_query_array_tz",
	"jsonb_path_query_first_tz",
	"jsonb_path_query_tz",
	"jsonb_populate_record",
	"jsonb_populate_recordset",
	"jsonb_to_record",
	"jsonb_to_recordset",
	"jsonb_to_tsvector",
	"length",
	"make_timestamptz",
	"money",
	"multirange_in",
	"multirange_out",
	"numeric",
	"overlaps",
	"phraseto_tsquery",
	"plainto_tsquery",
	"quote_literal",
	"quote_nullable",
	"range_in",
	"range_out",
	"record_in",
	"record_out",
	"row_to_json",
	"textanycat",
	"time",
	"time_in",
	"timestamp",
	"timestamp_cmp_timestamptz",
	"timestamp_eq_timestamptz",
	"timestamp_ge_timestamptz",
	"timestamp_gt_timestamptz",
	"timestamp_in",
	"timestamp_le_timestamptz",
	"timestamp_lt_timestamptz",
	"timestamp_ne_timestamptz",
	"timestamp_out",
	"timestamptz",
	"timestamptz_cmp_date",
	"timestamptz_cmp_timestamp",
	"timestamptz_eq_date",
	"timestamptz_eq_timestamp",
	"timestamptz_ge_date",
	"timestamptz_ge_timestamp",
	"timestamptz_gt_date",
	"timestamptz_gt_timestamp",
	"timestamptz_in",
	"timestamptz_le_date",
	"timestamptz_le_timestamp",
	"timestamptz_lt_date",
	"timestamptz_lt_timestamp",
	"timestamptz_mi_interval",
	"timestamptz_ne_date",
	"timestamptz_ne_timestamp",
	"timestamptz_out",
	"timestamptz_pl_interval",
	"timetz",
	"timetz_in",
	"timezone",
	"to_char",
	"to_date",
	"to_json",
	"to_jsonb",
	"to_number",
	"to_timestamp",
	"to_tsquery",
	"to_tsvector",
	"websearch_to_tsquery",
	"xml",
	"xml_in",
};

/* "view" or "replication" */
static const char *
whole(const ViewSource *source)
{
	return source->of != NULL ? source->of : "view";
}

/* ---- positions ---- */

/* An error's position is one in the view's SQL, not in the statement that stores it. */
void
view_source_point(void *arg)
{
	const ViewSource *source = arg;
	int position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(Max(position - source->skip, 1));
		internalerrquery(source->text + source->skip);
	}
	errcontext("%s of the %s", source->what, whole(source));
}

int
view_source_at(const ViewSource *source, int location)
{
	if (source->location >= 0)
		location = source->location;
	if (location < 0)
		return 0;
	return errposition(pg_mbstrlen_with_len(source->text, location) + 1);
}

/* ---- functions ---- */

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* What of a function makes its result depend on more than its arguments; NULL if nothing. */
static const char *
fault_of_function(Oid function)
{
	HeapTuple tuple;
	Form_pg_proc form;
	const char *fault = NULL;

	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->provolatile == PROVOLATILE_VOLATILE)
		fault = "volatile";
	else if (form->provolatile == PROVOLATILE_STABLE)
	{
		const char *name = NameStr(form->proname);

		/* age(x) counts from today; age(x, y) does not. */
		if (function >= FirstNormalObjectId || form->pronamespace != PG_CATALOG_NAMESPACE ||
			bsearch(&name, stable_names, lengthof(stable_names), sizeof(stable_names[0]), compare_names) == NULL)
			fault = "stable";
		if (function < FirstNormalObjectId && strcmp(name, "age") == 0 && form->pronargs == 2)
			fault = NULL;
		/* 'overlaps' adds an interval in the pinned time zone, and so on; nothing in the list asks for the time. */
	}
	ReleaseSysCache(tuple);
	return fault;
}

typedef struct Culprit
{
	Oid function;
	const char *fault;
} Culprit;

static bool
check_function(Oid function, void *arg)
{
	Culprit *culprit = arg;

	culprit->function = function;
	culprit->fault = fault_of_function(function);
	return culprit->fault != NULL;
}

/* An aggregate is called immutable whatever its parts are. */
static bool
check_aggregate(Oid aggregate, Culprit *culprit)
{
	HeapTuple tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
	Oid parts[5];
	bool bad = false;

	if (!HeapTupleIsValid(tuple))
		return false;
	{
		Form_pg_aggregate form = (Form_pg_aggregate) GETSTRUCT(tuple);

		parts[0] = form->aggtransfn;
		parts[1] = form->aggfinalfn;
		parts[2] = form->aggmtransfn;
		parts[3] = form->aggminvtransfn;
		parts[4] = form->aggmfinalfn;
	}
	ReleaseSysCache(tuple);
	for (int i = 0; i < lengthof(parts) && !bad; i++)
		bad = OidIsValid(parts[i]) && check_function(parts[i], culprit);
	return bad;
}

static void
refuse_function(const ViewSource *source, const Culprit *culprit, Node *node)
{
	bool stable = strcmp(culprit->fault, "stable") == 0;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("a %s's %s cannot use %s function %s", whole(source), source->what, culprit->fault, format_procedure(culprit->function)),
			 errdetail("A row must depend on its document alone, so that it is the same whenever it is computed."),
			 stable && culprit->function >= FirstNormalObjectId
				 ? errhint("If its result depends on its arguments alone, declare the function IMMUTABLE.")
				 : errhint("Store the value in the document, or compute it in the query that reads the rows."),
			 view_source_at(source, exprLocation(node))));
}

/* ---- walking through the analyzed query ---- */

static bool
find_range_var(Node *node, void *arg)
{
	RangeVar *wanted = arg;

	if (node == NULL)
		return false;
	if (IsA(node, RangeVar) && strcmp(((RangeVar *) node)->relname, wanted->relname) == 0)
	{
		wanted->location = ((RangeVar *) node)->location;
		return true;
	}
	return raw_expression_tree_walker(node, find_range_var, arg);
}

static void
refuse_relation(const ViewSource *source, Oid relid)
{
	RangeVar wanted = {.type = T_RangeVar, .relname = get_rel_name(relid), .location = -1};

	(void) find_range_var(source->raw->stmt, &wanted);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("a %s's %s cannot read relation \"%s\"", whole(source), source->what, wanted.relname),
			 errdetail("%s", source->reads),
			 errhint("Join with other tables in the query that reads the rows."),
			 view_source_at(source, wanted.location)));
}

static bool
check_node(Node *node, void *arg)
{
	ViewSource *source = arg;
	Culprit culprit;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query *query = (Query *) node;

		if (query->commandType != CMD_SELECT)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("a %s's %s must not change anything", whole(source), source->what)));
		return query_tree_walker(query, check_node, arg, QTW_EXAMINE_RTES_BEFORE);
	}
	if (IsA(node, RangeTblEntry))
	{
		if (((RangeTblEntry *) node)->rtekind == RTE_RELATION)
			refuse_relation(source, ((RangeTblEntry *) node)->relid);
		return false;
	}
	if (IsA(node, SQLValueFunction))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("a %s's %s cannot ask for the time or the user", whole(source), source->what),
				 errdetail("A row must depend on its document alone, so that it is the same whenever it is computed."),
				 errhint("Store the value in the document, or compute it in the query that reads the rows."),
				 view_source_at(source, exprLocation(node))));
	if (IsA(node, Const) && view_names_a_moment(source->raw, (Const *) node))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("a %s's %s cannot ask for the time or the user", whole(source), source->what),
				 errdetail("A row must depend on its document alone, so that it is the same whenever it is computed."),
				 view_source_at(source, exprLocation(node))));
	if (check_functions_in_node(node, check_function, &culprit))
		refuse_function(source, &culprit, node);
	if (IsA(node, Aggref) && check_aggregate(((Aggref *) node)->aggfnoid, &culprit))
		refuse_function(source, &culprit, node);
	if (IsA(node, WindowFunc) && check_aggregate(((WindowFunc *) node)->winfnoid, &culprit))
		refuse_function(source, &culprit, node);
	if (IsA(node, CoerceToDomain))
	{
		/* The context refers to it until it is reset. */
		DomainConstraintRef *ref = palloc(sizeof(*ref));
		ListCell *lc;

		source->location = exprLocation(node);
		InitDomainConstraintRef(((CoerceToDomain *) node)->resulttype, ref, CurrentMemoryContext, false);
		foreach (lc, ref->constraints)
			(void) check_node((Node *) lfirst_node(DomainConstraintState, lc)->check_expr, arg);
		source->location = -1;
	}
	return expression_tree_walker(node, check_node, arg);
}

/* ---- the map ---- */

TupleDesc
view_docs_desc(void)
{
	TupleDesc desc = CreateTemplateTupleDesc(VIEW_DOCS_COLUMNS);

	TupleDescInitEntry(desc, 1, "id", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 2, "doc", JSONBOID, -1, 0);
	TupleDescInitEntry(desc, 3, "etag", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 4, "collection", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 5, "modified", TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntryCollation(desc, 1, C_COLLATION_OID);
	TupleDescInitEntryCollation(desc, 4, C_COLLATION_OID);
	return desc;
}

/* FOR UPDATE and its like leave no trace in an analyzed query that reads no table. */
static bool
find_locking(Node *node, void *arg)
{
	if (node == NULL)
		return false;
	return IsA(node, LockingClause) || raw_expression_tree_walker(node, find_locking, arg);
}

/* The one SELECT in the text. */
RawStmt *
view_source_parse(ViewSource *source)
{
	List *statements = raw_parser(source->text, RAW_PARSE_DEFAULT);
	RawStmt *raw;

	if (list_length(statements) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("a %s's %s must be one %s", whole(source), source->what, source->skip > 0 ? "list of columns" : "SELECT"),
				 list_length(statements) > 1 ? view_source_at(source, lsecond_node(RawStmt, statements)->stmt_location) : 0));
	raw = linitial_node(RawStmt, statements);
	if (!IsA(raw->stmt, SelectStmt))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("a %s's %s must be a SELECT", whole(source), source->what),
				 view_source_at(source, raw->stmt_location)));
	if (find_locking(raw->stmt, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("a %s's %s cannot lock rows", whole(source), source->what)));
	/* Analysis changes the tree in places. */
	source->raw = copyObject(raw);
	return raw;
}

Query *
view_source_analyze(const ViewSource *source, RawStmt *raw, const char *relation, TupleDesc desc)
{
	QueryEnvironment *env = create_queryEnv();
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));

	enr->md.name = pstrdup(relation);
	enr->md.tupdesc = desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	register_ENR(env, enr);
	return parse_analyze_fixedparams(raw, source->text, NULL, 0, env);
}

void
view_source_check(ViewSource *source, Query *query)
{
	/* SELECT INTO becomes a utility statement. */
	if (query->commandType != CMD_SELECT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("a %s's %s must not change anything", whole(source), source->what)));
	(void) check_node((Node *) query, source);
}

void
view_source_columns(const ViewSource *source, Query *query, ViewShape *shape)
{
	const char *reserved = source->reserved != NULL ? source->reserved : strcmp(source->what, "map") == 0 ? "id"
																										  : NULL;
	ListCell *lc;

	shape->columns = palloc0((list_length(query->targetList) + 1) * sizeof(ViewColumn));
	foreach (lc, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);
		ViewColumn *column = &shape->columns[shape->ncolumns];
		Node *expr = (Node *) entry->expr;

		if (entry->resjunk)
			continue;
		if (strcmp(entry->resname, "?column?") == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
					 errmsg("column %d of a %s's %s has no name", shape->ncolumns + 1, whole(source), source->what),
					 errhint("Name it: ... AS name."),
					 view_source_at(source, exprLocation(expr))));
		if (reserved != NULL && strcmp(entry->resname, reserved) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_RESERVED_NAME),
					 errmsg("a column of a %s's %s cannot be called \"%s\"", whole(source), source->what, reserved),
					 errdetail("The results have such a column already: the id of the document that a row comes from."),
					 errhint("Leave it out, or name it otherwise: ... AS name."),
					 view_source_at(source, exprLocation(expr))));
		for (int i = 0; i < shape->ncolumns; i++)
			if (strcmp(shape->columns[i].name, entry->resname) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("a %s's %s has two columns called \"%s\"", whole(source), source->what, entry->resname),
						 view_source_at(source, exprLocation(expr))));
		column->name = pstrdup(entry->resname);
		column->type = exprType(expr);
		column->typmod = exprTypmod(expr);
		column->collation = exprCollation(expr);
		CheckAttributeType(column->name, column->type, column->collation, NIL, 0);
		shape->ncolumns++;
	}
	if (shape->ncolumns == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
				 errmsg("a %s's %s must return columns", whole(source), source->what)));
}

/* ---- the key ---- */

static void
check_key_column(const ViewSource *source, SortBy *by, ViewShape *shape)
{
	ColumnRef *ref = (ColumnRef *) by->node;
	ViewKeyColumn *key = &shape->key[shape->nkeys];
	const char *name;
	int found = -1;
	int location = source->skip;

	if (!IsA(ref, ColumnRef) || list_length(ref->fields) != 1 || !IsA(linitial(ref->fields), String) ||
		by->sortby_dir == SORTBY_USING)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("a view's key must be names of columns"),
				 errhint("Each name may be followed by ASC or DESC, and by NULLS FIRST or NULLS LAST."),
				 view_source_at(source, exprLocation(by->node))));
	name = strVal(linitial(ref->fields));
	location = ref->location;
	for (int i = 0; i < shape->ncolumns; i++)
		if (strcmp(shape->columns[i].name, name) == 0)
			found = i;
	if (found < 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the view's %s has no column \"%s\" for the key", source->reads, name),
				 strcmp(name, "id") == 0 ? errhint("The document's id is the end of every key without being named.") : 0,
				 view_source_at(source, location)));
	for (int i = 0; i < shape->nkeys; i++)
		if (shape->key_attribute[i] == found + 1)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" is twice in the view's key", name),
					 view_source_at(source, location)));
	if (view_key_kind(shape->columns[found].type) == VIEW_KEY_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of type %s cannot be part of a view's key", name,
						format_type_be(shape->columns[found].type)),
				 errhint("Types that can: %s.", view_key_types()),
				 view_source_at(source, location)));
	shape->key_attribute[shape->nkeys] = (AttrNumber) (found + 1);
	key->type = getBaseType(shape->columns[found].type);
	key->descending = by->sortby_dir == SORTBY_DESC;
	key->nulls_first = by->sortby_nulls == SORTBY_NULLS_DEFAULT ? key->descending : by->sortby_nulls == SORTBY_NULLS_FIRST;
	/* Text is ordered bytewise. */
	if (OidIsValid(shape->columns[found].collation))
		shape->columns[found].collation = C_COLLATION_OID;
	shape->nkeys++;
}

void
view_source_key(const char *key, const char *of, ViewShape *shape)
{
	char *text = key != NULL ? psprintf(KEY_PREFIX "%s", key) : NULL;
	ViewSource source = {text, "key", of, sizeof(KEY_PREFIX) - 1, NULL, -1};
	int n = 0;

	if (key != NULL)
	{
		ErrorContextCallback callback = {.previous = error_context_stack, .callback = view_source_point, .arg = &source};
		SelectStmt *select;
		ListCell *lc;

		error_context_stack = &callback;
		select = (SelectStmt *) view_source_parse(&source)->stmt;
		if (select->limitCount != NULL || select->limitOffset != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_SYNTAX_ERROR),
					 errmsg("a view's key must be names of columns")));
		n = list_length(select->sortClause);
		shape->key = palloc0((n + 1) * sizeof(ViewKeyColumn));
		shape->key_attribute = palloc0((n + 1) * sizeof(AttrNumber));
		foreach (lc, select->sortClause)
			check_key_column(&source, lfirst_node(SortBy, lc), shape);
		error_context_stack = callback.previous;
	}
	else
	{
		shape->key = palloc0(sizeof(ViewKeyColumn));
		shape->key_attribute = palloc0(sizeof(AttrNumber));
	}
	shape->key[n].type = TEXTOID;
	shape->key_attribute[n] = (AttrNumber) (shape->ncolumns + 1);
}

static const char *const reads = "It sees one document at a time, in the relation docs (id, doc, etag, collection, modified).";

static ViewShape *
check_source(ViewSource *source, char **select)
{
	ViewShape *shape = palloc0(sizeof(ViewShape));
	ErrorContextCallback callback = {.previous = error_context_stack, .callback = view_source_point, .arg = source};
	RawStmt *raw;
	Query *query;

	error_context_stack = &callback;
	raw = view_source_parse(source);
	query = view_source_analyze(source, raw, "docs", view_docs_desc());
	view_source_check(source, query);
	view_source_columns(source, query, shape);
	error_context_stack = callback.previous;
	if (raw->stmt_len > 0)
		*select = pnstrdup(*select + raw->stmt_location, raw->stmt_len);
	return shape;
}

ViewShape *
view_check_select(const char *of, const char *reserved, char **select)
{
	ViewSource source = {*select, "select", reads, 0, NULL, -1, of, reserved};

	return check_source(&source, select);
}

ViewShape *
view_check(ViewDefinition *definition)
{
	ViewSource source = {definition->map, "map", reads, 0, NULL, -1};
	ViewShape *shape = check_source(&source, &definition->map);

	/* A reduce's key is over what it groups by (check_reduce.c). */
	view_source_key(definition->reduce == NULL ? definition->key : NULL, "map", shape);
	return shape;
}
