/*
 * target.c - checks a replication's table and writes its SQL (target.h).
 *
 * merge compares rows as they are stored (*<>), so that a value which is equal but
 * not the same, 1.0 and 1.00 say, is written.  What is compared is cast to the
 * column's type; not to its length, for such a cast would cut silently what the
 * UPDATE must refuse.
 */
#include "postgres.h"

#include "repl/target.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_coerce.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "fdw/consumer.h"
#include "store/compat.h"
#include "view/batch.h"
#include "view/check.h"

/* ---- the table ---- */

static Relation
open_target(const ReplTable *table)
{
	List *names = docstore_qualified_name(table->table);
	Relation rel;

	if (list_length(names) < 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("table \"%s\" of a replication must be named with its schema", table->table)));
	rel = table_openrv(makeRangeVarFromNameList(names), AccessShareLock);
	if (rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE &&
		rel->rd_rel->relkind != RELKIND_FOREIGN_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", table->table)));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("a replication cannot write temporary table \"%s\"", table->table)));
	if (rel->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
	{
		ForeignServer *server = GetForeignServer(GetForeignTable(RelationGetRelid(rel))->serverid);

		if (strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, "docstore") == 0)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("a replication cannot write collection or view \"%s\"", table->table)));
		/* Its server commits apart from ours, so after a crash rows may come a second time. */
		if (table->mode == REPL_INSERT_ONLY)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("mode \"insert_only\" is not supported for foreign table \"%s\"", table->table),
					 errdetail("After a crash its rows could be there twice."),
					 errhint("Use mode \"replace\" or \"merge\".")));
	}
	return rel;
}

static Form_pg_attribute
find_column(Relation rel, const char *name)
{
	TupleDesc desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || strcmp(NameStr(att->attname), name) != 0)
			continue;
		if (att->attgenerated != '\0')
			ereport(ERROR,
					(errcode(ERRCODE_GENERATED_ALWAYS),
					 errmsg("column \"%s\" of table \"%s\" is generated", name, RelationGetRelationName(rel)),
					 errhint("Leave it out: the table computes it.")));
		return att;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of table \"%s\" does not exist", name, RelationGetRelationName(rel))));
}

/* The columns that say whose a row is. */
static Form_pg_attribute
check_name_column(Relation rel, const char *name)
{
	Form_pg_attribute att = find_column(rel, name);
	Oid type = getBaseType(att->atttypid);

	if (type != TEXTOID && type != VARCHAROID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table \"%s\" must be of type text or varchar", name, RelationGetRelationName(rel)),
				 errdetail("It holds ids of documents or names of collections.")));
	if (OidIsValid(att->attcollation) && !get_collation_isdeterministic(att->attcollation))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("column \"%s\" of table \"%s\" has a collation in which different ids may be equal", name,
						RelationGetRelationName(rel))));
	return att;
}

static void
check_columns(Relation rel, const ReplTable *table, const ViewShape *shape)
{
	for (int i = 0; i < shape->ncolumns; i++)
	{
		const ViewColumn *column = &shape->columns[i];
		Form_pg_attribute att = find_column(rel, column->name);
		Oid from = column->type;

		if (table->collection != NULL && strcmp(column->name, table->collection) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" of a replication's select is the one that holds the collection's name", column->name)));
		if (!can_coerce_type(1, &from, &att->atttypid, COERCION_ASSIGNMENT))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of table \"%s\" is of type %s but the select returns type %s", column->name,
							RelationGetRelationName(rel), format_type_be(att->atttypid), format_type_be(column->type)),
					 errhint("You will need to cast the expression.")));
	}
}

static void
check_rights(Relation rel, const ReplTable *table, Oid owner)
{
	AclMode needed = ACL_INSERT;
	AclResult result;

	if (table->mode != REPL_INSERT_ONLY)
		needed |= ACL_SELECT | ACL_DELETE;
	if (table->mode == REPL_MERGE)
		needed |= ACL_UPDATE;
	result = pg_class_aclmask(RelationGetRelid(rel), owner, needed, ACLMASK_ALL) == needed ? ACLCHECK_OK : ACLCHECK_NO_PRIV;
	if (result != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s", RelationGetRelationName(rel)),
				 errdetail("Role \"%s\", which owns the replication, needs the privileges INSERT%s%s.", GetUserNameFromId(owner, false),
						   needed & ACL_DELETE ? ", DELETE and SELECT" : "", needed & ACL_UPDATE ? ", and UPDATE" : "")));
}

/* ---- what tells a document's rows apart ---- */

static bool
is_column(const ViewShape *shape, const char *name)
{
	for (int i = 0; i < shape->ncolumns; i++)
		if (strcmp(shape->columns[i].name, name) == 0)
			return true;
	return false;
}

/* The columns of a unique index but those that say whose a row is; false if it does not serve. */
static bool
match_of_index(Relation rel, Oid index_oid, const ReplTable *table, const ViewShape *shape, List **match)
{
	HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index_oid));
	Form_pg_index index;
	bool has_key = false;
	bool serves;

	*match = NIL;
	if (!HeapTupleIsValid(tuple))
		return false;
	index = (Form_pg_index) GETSTRUCT(tuple);
	serves = index->indisunique && index->indisvalid && heap_attisnull(tuple, Anum_pg_index_indpred, NULL);
	for (int i = 0; serves && i < index->indnkeyatts; i++)
	{
		AttrNumber number = index->indkey.values[i];
		Form_pg_attribute att = number > 0 ? TupleDescAttr(RelationGetDescr(rel), number - 1) : NULL;
		char *name = att != NULL ? NameStr(att->attname) : NULL;

		if (name != NULL && strcmp(name, table->key) == 0)
			has_key = true;
		else if (name != NULL && table->collection != NULL && strcmp(name, table->collection) == 0)
			;
		else if (name != NULL && att->attnotnull && is_column(shape, name))
			*match = lappend(*match, pstrdup(name));
		else
			serves = false;
	}
	ReleaseSysCache(tuple);
	return serves && has_key;
}

static List *
find_match(Relation rel, const ReplTable *table, const ViewShape *shape)
{
	List *match;
	ListCell *lc;

	foreach (lc, table->match)
		if (!is_column(shape, lfirst(lc)))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("the replication's select has no column \"%s\" to match rows by", (char *) lfirst(lc))));
	if (table->match != NIL)
		return table->match;
	if (rel->rd_rel->relkind != RELKIND_FOREIGN_TABLE)
		foreach (lc, RelationGetIndexList(rel))
			if (match_of_index(rel, lfirst_oid(lc), table, shape, &match))
				return match;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("mode \"merge\" needs a unique key on table \"%s\"", RelationGetRelationName(rel)),
			 errdetail("It must contain \"%s\", and besides columns of the select that are NOT NULL.", table->key),
			 errhint("Make one, or name the columns that tell a document's rows apart: \"match\": [...].")));
}

/* ---- statements ---- */

static void
append_whose(StringInfo text, const ReplTable *table)
{
	appendStringInfo(text, "t.%s = ANY ($1)", quote_identifier(table->key));
	if (table->collection != NULL)
		appendStringInfo(text, " AND t.%s = $2", quote_identifier(table->collection));
}

static void
append_columns(StringInfo text, const ReplTable *table, const ViewShape *shape, const char *from)
{
	for (int i = 0; i < shape->ncolumns; i++)
		appendStringInfo(text, ", %s%s", from, quote_identifier(shape->columns[i].name));
}

static void
append_insert(StringInfo text, const char *name, const ReplTable *table, const ViewShape *shape)
{
	appendStringInfo(text, "INSERT INTO %s (%s", name, quote_identifier(table->key));
	if (table->collection != NULL)
		appendStringInfo(text, ", %s", quote_identifier(table->collection));
	append_columns(text, table, shape, "");
	appendStringInfoString(text, ")");
}

/*
 * One descent of the index where a search for each id would find nothing: documents that are replicated for the first
 * time, or come in the order of their ids.
 */
static void
write_any(ReplTarget *target, Relation rel)
{
	const ReplTable *table = target->table;
	Oid collation = find_column(rel, table->key)->attcollation;
	StringInfoData text;

	if (rel->rd_rel->relkind == RELKIND_FOREIGN_TABLE || (collation != C_COLLATION_OID && collation != POSIX_COLLATION_OID))
		return;
	initStringInfo(&text);
	appendStringInfo(&text, "SELECT FROM %s AS t WHERE t.%s >= $1[1] AND t.%s <= $1[pg_catalog.array_upper($1, 1)]", target->name,
					 quote_identifier(table->key), quote_identifier(table->key));
	if (table->collection != NULL)
		appendStringInfo(&text, " AND t.%s = $2", quote_identifier(table->collection));
	appendStringInfoString(&text, " LIMIT 1");
	target->sql[REPL_ANY] = text.data;
}

/* A new row's value as the column would hold it, whatever its length may be. */
static char *
stored(Relation rel, const char *column)
{
	Form_pg_attribute att = find_column(rel, column);
	char category;
	bool preferred;
	int32 typmod;

	get_type_category_preferred(att->atttypid, &category, &preferred);
	typmod = category == TYPCATEGORY_STRING || category == TYPCATEGORY_BITSTRING ? -1 : att->atttypmod;
	return psprintf("n.%s::%s", quote_identifier(column),
					format_type_extended(att->atttypid, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
}

/* Is new row n the document's row t? */
static void
append_same(StringInfo text, Relation rel, const ReplTable *table, List *match)
{
	ListCell *lc;

	appendStringInfo(text, "t.%s = n.\"" REPL_ROWS_ID "\"", quote_identifier(table->key));
	if (table->collection != NULL)
		appendStringInfo(text, " AND t.%s = n.\"" REPL_ROWS_COLLECTION "\"", quote_identifier(table->collection));
	foreach (lc, match)
		appendStringInfo(text, " AND t.%s = %s", quote_identifier(lfirst(lc)), stored(rel, lfirst(lc)));
}

/* UPDATE of the columns that are not matched by; NULL if there are none. */
static char *
update_statement(Relation rel, const ReplTarget *target, const ViewShape *shape, List *match)
{
	StringInfoData text;
	StringInfoData old;
	StringInfoData new;
	int n = 0;

	initStringInfo(&text);
	initStringInfo(&old);
	initStringInfo(&new);
	appendStringInfo(&text, "UPDATE %s AS t SET", target->name);
	for (int i = 0; i < shape->ncolumns; i++)
	{
		const char *name = shape->columns[i].name;
		const char *bpchar = getBaseType(find_column(rel, name)->atttypid) == BPCHAROID ? "::pg_catalog.text" : "";

		if (docstore_name_in(match, name))
			continue;
		appendStringInfo(&text, "%s %s = n.%s", n > 0 ? "," : "", quote_identifier(name), quote_identifier(name));
		appendStringInfo(&old, "%st.%s%s", n > 0 ? ", " : "", quote_identifier(name), bpchar);
		appendStringInfo(&new, "%s%s%s", n > 0 ? ", " : "", stored(rel, name), bpchar);
		n++;
	}
	if (n == 0)
		return NULL;
	appendStringInfo(&text, " FROM \"%s\" AS n WHERE ", target->rows);
	append_whose(&text, target->table);
	appendStringInfoString(&text, " AND ");
	append_same(&text, rel, target->table, match);
	appendStringInfo(&text, " AND ROW(%s)::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(%s)::pg_catalog.record", old.data, new.data);
	return text.data;
}

static void
write_merge(ReplTarget *target, Relation rel, const ViewShape *shape, const char *select)
{
	const ReplTable *table = target->table;
	List *match = find_match(rel, table, shape);
	StringInfoData text;
	ListCell *lc;

	target->sql[REPL_COMPUTE] =
		psprintf("SELECT b.id AS \"" REPL_ROWS_ID "\", b.collection AS \"" REPL_ROWS_COLLECTION "\", m.* %s", view_batch_from(select));

	initStringInfo(&text);
	appendStringInfo(&text, "SELECT n.\"" REPL_ROWS_ID "\" FROM \"%s\" AS n WHERE true", target->rows);
	foreach (lc, match)
		appendStringInfo(&text, " AND n.%s IS NOT NULL", quote_identifier(lfirst(lc)));
	appendStringInfoString(&text, " GROUP BY n.\"" REPL_ROWS_ID "\", n.\"" REPL_ROWS_COLLECTION "\"");
	foreach (lc, match)
		appendStringInfo(&text, ", %s", stored(rel, lfirst(lc)));
	appendStringInfoString(&text, " HAVING count(*) > 1 LIMIT 1");
	target->sql[REPL_TWICE] = text.data;

	initStringInfo(&text);
	appendStringInfo(&text, "DELETE FROM %s AS t WHERE ", target->name);
	append_whose(&text, table);
	appendStringInfo(&text, " AND NOT EXISTS (SELECT FROM \"%s\" AS n WHERE ", target->rows);
	append_same(&text, rel, table, match);
	appendStringInfoString(&text, ")");
	target->sql[REPL_REMOVE] = text.data;

	target->sql[REPL_UPDATE] = update_statement(rel, target, shape, match);

	initStringInfo(&text);
	append_insert(&text, target->name, table, shape);
	appendStringInfo(&text, " SELECT n.\"" REPL_ROWS_ID "\"%s", table->collection != NULL ? ", n.\"" REPL_ROWS_COLLECTION "\"" : "");
	append_columns(&text, table, shape, "n.");
	appendStringInfo(&text, " FROM \"%s\" AS n WHERE%s NOT EXISTS (SELECT FROM %s AS t WHERE ", target->rows,
					 table->collection != NULL ? " n.\"" REPL_ROWS_COLLECTION "\" = $2 AND" : "", target->name);
	append_whose(&text, table);
	appendStringInfoString(&text, " AND ");
	append_same(&text, rel, table, match);
	appendStringInfoString(&text, ")");
	target->sql[REPL_INSERT] = text.data;
}

static void
write_replace(ReplTarget *target, const ViewShape *shape, const char *select)
{
	const ReplTable *table = target->table;
	StringInfoData text;

	if (table->mode == REPL_REPLACE)
	{
		initStringInfo(&text);
		appendStringInfo(&text, "DELETE FROM %s AS t WHERE ", target->name);
		append_whose(&text, table);
		target->sql[REPL_REMOVE] = text.data;
	}
	initStringInfo(&text);
	append_insert(&text, target->name, table, shape);
	appendStringInfo(&text, " SELECT b.id%s, m.* %s%s", table->collection != NULL ? ", b.collection" : "", view_batch_from(select),
					 table->collection != NULL ? " WHERE b.collection = $2" : "");
	target->sql[REPL_INSERT] = text.data;
}

static void
name_table(void *arg)
{
	errcontext("table %s of the replication", ((const ReplTable *) arg)->table);
}

ReplTarget *
repl_target(ReplTable *table, int number, Oid owner)
{
	ReplTarget *target = palloc0(sizeof(ReplTarget));
	ErrorContextCallback callback = {.previous = error_context_stack, .callback = name_table, .arg = table};
	ViewShape *shape;
	Relation rel;

	error_context_stack = &callback;
	shape = view_check_select("replication", table->key, &table->select);
	rel = open_target(table);
	target->table = table;
	target->relid = RelationGetRelid(rel);
	target->name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel));
	target->rows = psprintf("docstore rows %d", number);
	(void) check_name_column(rel, table->key);
	if (table->collection != NULL)
		(void) check_name_column(rel, table->collection);
	check_columns(rel, table, shape);
	check_rights(rel, table, owner);
	if (table->mode == REPL_MERGE)
		write_merge(target, rel, shape, table->select);
	else
		write_replace(target, shape, table->select);
	target->sql[REPL_EMPTY] = table->collection == NULL
								  ? psprintf("DELETE FROM %s", target->name)
								  : psprintf("DELETE FROM %s AS t WHERE t.%s = $2", target->name, quote_identifier(table->collection));
	if (target->sql[REPL_REMOVE] != NULL)
		write_any(target, rel);
	table_close(rel, NoLock);
	error_context_stack = callback.previous;
	return target;
}

/* ---- all of them ---- */

static bool
refers_to(Oid child, Oid parent)
{
	Relation constraints = table_open(ConstraintRelationId, AccessShareLock);
	bool found = false;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(child));
	scan = systable_beginscan(constraints, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);

		/* A deferrable one is checked when all is written. */
		found |= form->contype == CONSTRAINT_FOREIGN && form->confrelid == parent && !form->condeferrable;
	}
	systable_endscan(scan);
	table_close(constraints, AccessShareLock);
	return found;
}

static void
warn_of_index(const ReplTarget *target)
{
	AttrNumber key = get_attnum(target->relid, target->table->key);
	Relation rel;
	ListCell *lc;

	if (target->sql[REPL_REMOVE] == NULL || get_rel_relkind(target->relid) == RELKIND_FOREIGN_TABLE)
		return;
	rel = table_open(target->relid, AccessShareLock);
	foreach (lc, RelationGetIndexList(rel))
	{
		HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(lc)));
		bool serves = HeapTupleIsValid(tuple) && ((Form_pg_index) GETSTRUCT(tuple))->indkey.values[0] == key &&
					  heap_attisnull(tuple, Anum_pg_index_indpred, NULL);

		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
		if (serves)
		{
			table_close(rel, NoLock);
			return;
		}
	}
	table_close(rel, NoLock);
	ereport(WARNING,
			(errmsg("table %s has no index on column \"%s\"", target->name, target->table->key),
			 errdetail("Each changed document will search the whole table."),
			 errhint("CREATE INDEX ON %s (%s);", target->name, quote_identifier(target->table->key))));
}

void
repl_targets_check(List *targets)
{
	ListCell *lc;

	foreach (lc, targets)
	{
		const ReplTarget *target = lfirst(lc);

		for (int i = foreach_current_index(lc) + 1; i < list_length(targets); i++)
		{
			const ReplTarget *later = list_nth(targets, i);

			if (later->relid == target->relid)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_OBJECT),
						 errmsg("table %s is twice in the replication", target->name),
						 errhint("Use UNION ALL in one select.")));
			if (refers_to(target->relid, later->relid))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
						 errmsg("table %s refers to table %s, which is written later", target->name, later->name),
						 errhint("Put %s first, or make the foreign key DEFERRABLE.", later->name)));
			/* The rows that stay would still refer to those that are replaced. */
			if (target->table->mode == REPL_REPLACE && later->table->mode != REPL_REPLACE && refers_to(later->relid, target->relid))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
						 errmsg("table %s keeps rows that refer to rows of table %s, which are replaced", later->name, target->name),
						 errhint("Use mode \"merge\" for %s, too, or make the foreign key DEFERRABLE.", target->name)));
		}
		warn_of_index(target);
	}
}
