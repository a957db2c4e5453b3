/*
 * option.c - checks the options of foreign tables and columns, and describes the tables.
 *
 * Descriptions are kept per backend.  A relcache invalidation marks one stale;
 * it is freed when nobody uses it any more, since an invalidation may arrive in
 * the middle of a scan (a reset of the whole cache, say).
 */
#include "postgres.h"

#include "fdw/option.h"

#include "access/reloptions.h"
#include "access/table.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "fdw/write.h"

typedef struct TableEntry
{
	Oid relid;
	DocTable *table;
} TableEntry;

static HTAB *tables;

PG_FUNCTION_INFO_V1(docstore_fdw_validator);

/* Which option is whose. */
static const struct
{
	Oid catalog;
	const char *name;
} valid_options[] = {
	{ForeignTableRelationId, "collection"},
	{ForeignTableRelationId, "view"},
	{ForeignTableRelationId, "batch_size"},
	{ForeignTableRelationId, "on_mismatch"},
	{ForeignServerRelationId, "batch_size"},
	{AttributeRelationId, "path"},
};

static void
check_option(Oid catalog, const char *name)
{
	StringInfoData valid;

	initStringInfo(&valid);
	for (int i = 0; i < lengthof(valid_options); i++)
	{
		if (valid_options[i].catalog != catalog)
			continue;
		if (strcmp(valid_options[i].name, name) == 0)
			return;
		appendStringInfo(&valid, "%s%s", valid.len > 0 ? ", " : "", valid_options[i].name);
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", name),
			 valid.len > 0 ? errhint("Valid options in this context are: %s.", valid.data)
						   : errhint("There are no valid options in this context.")));
}

/* what: collection or view. */
static void
check_name(const char *what, const char *name)
{
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_STRING_FORMAT),
				 errmsg("invalid %s name \"%s\"", what, name),
				 errhint("A %s's name has 1 to %d bytes.", what, NAMEDATALEN - 1)));
}

static int
parse_batch_size(const char *text)
{
	int size;

	if (!parse_int(text, &size, 0, NULL) || size < 1 || size > DOCSTORE_MAX_BATCH)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_STRING_FORMAT),
				 errmsg("invalid value \"%s\" for option \"batch_size\"", text),
				 errhint("It is a number from 1 to %d.", DOCSTORE_MAX_BATCH)));
	return size;
}

/* on_mismatch: is it 'null'? */
static bool
parse_lenient(const char *text)
{
	if (strcmp(text, "null") == 0)
		return true;
	if (strcmp(text, "error") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_STRING_FORMAT),
				 errmsg("invalid value \"%s\" for option \"on_mismatch\"", text),
				 errhint("It is error or null.")));
	return false;
}

Datum
docstore_fdw_validator(PG_FUNCTION_ARGS)
{
	List *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid catalog = PG_GETARG_OID(1);
	int shown = 0;
	ListCell *lc;

	foreach (lc, options)
	{
		DefElem *def = lfirst(lc);

		check_option(catalog, def->defname);
		if (strcmp(def->defname, "path") == 0)
			(void) doc_path_parse(defGetString(def));
		else if (strcmp(def->defname, "batch_size") == 0)
			(void) parse_batch_size(defGetString(def));
		else if (strcmp(def->defname, "on_mismatch") == 0)
			(void) parse_lenient(defGetString(def));
		else
		{
			check_name(def->defname, defGetString(def));
			shown++;
		}
	}
	if (catalog == ForeignTableRelationId && shown != 1)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("one of the options \"collection\" and \"view\" is required for foreign tables of docstore"),
				 errhint("Add OPTIONS (collection '...') or OPTIONS (view '...') with its name.")));
	PG_RETURN_VOID();
}

static void
table_free(DocTable *table)
{
	MemoryContextDelete(table->context);
}

static void
invalidate(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	TableEntry *entry;

	if (tables == NULL)
		return;
	hash_seq_init(&status, tables);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		DocTable *table = entry->table;

		if (table == NULL || (OidIsValid(relid) && relid != entry->relid))
			continue;
		entry->table = NULL;
		table->stale = true;
		if (table->users == 0)
			table_free(table);
	}
}

/* A server's options count for all its tables. */
static void
invalidate_all(Datum arg, int cache, uint32 hash)
{
	invalidate(arg, InvalidOid);
}

static void
release(void *arg)
{
	DocTable *table = arg;

	if (--table->users == 0 && table->stale)
		table_free(table);
}

static char *
find_option(List *options, const char *name)
{
	ListCell *lc;

	foreach (lc, options)
	{
		DefElem *def = lfirst(lc);

		if (strcmp(def->defname, name) == 0)
			return defGetString(def);
	}
	return NULL;
}

static void
bad_type(DocTable *table, DocColumn *column, Form_pg_attribute att, const char *types)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
			 errmsg("column \"%s\" of foreign table \"%s\" has type %s, but must have type %s",
					column->name, table->name, format_type_be(att->atttypid), types),
			 errhint("The columns id, doc, etag and modified are those of every document. To pick a field of that name, give the column the option path.")));
}

static void
describe_column(DocTable *table, DocColumn *column, Form_pg_attribute att)
{
	Oid type = att->atttypid;
	char *path;

	column->name = pstrdup(NameStr(att->attname));
	column->notnull = att->attnotnull;
	path = find_option(GetForeignColumnOptions(table->relid, att->attnum), "path");

	if (path == NULL && strcmp(column->name, "id") == 0)
	{
		if (type != TEXTOID && type != VARCHAROID)
			bad_type(table, column, att, "text or character varying");
		column->role = DOC_ROLE_ID;
		table->id = att->attnum;
		table->id_type = type;
		table->id_typmod = att->atttypmod;
		table->id_collation = att->attcollation;
	}
	else if (path == NULL && strcmp(column->name, "doc") == 0)
	{
		if (type != JSONBOID && type != JSONOID)
			bad_type(table, column, att, "jsonb or json");
		column->role = DOC_ROLE_DOC;
		table->doc = att->attnum;
		table->doc_is_json = type == JSONOID;
	}
	else if (path == NULL && strcmp(column->name, "etag") == 0)
	{
		if (type != INT8OID)
			bad_type(table, column, att, "bigint");
		column->role = DOC_ROLE_ETAG;
		table->etag = att->attnum;
	}
	else if (path == NULL && strcmp(column->name, "modified") == 0)
	{
		if (type != TIMESTAMPTZOID)
			bad_type(table, column, att, "timestamp with time zone");
		column->role = DOC_ROLE_MODIFIED;
		table->modified = att->attnum;
	}
	else
	{
		column->role = DOC_ROLE_FIELD;
		column->path = path != NULL ? doc_path_parse(path) : doc_path_of_name(column->name);
		table->nfields++;
	}
	if (column->role == DOC_ROLE_FIELD || (column->role == DOC_ROLE_DOC && table->doc_is_json))
		doc_convert_init(&column->convert, type, att->atttypmod, table->context);
	if (column->role == DOC_ROLE_FIELD && table->lenient && !doc_convert_can_try(&column->convert))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
				 errmsg("column \"%s\" of foreign table \"%s\" has type %s, which on_mismatch 'null' cannot be used with",
						column->name, table->name, format_type_be(type)),
				 errhint("It works with PostgreSQL's own plain types, enums and arrays of them. Use such a one, and cast it.")));
	if (column->notnull && column->role != DOC_ROLE_ID)
		table->constrained = true;
}

static DocTable *
describe(Relation relation)
{
	TupleDesc desc = RelationGetDescr(relation);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "docstore foreign table", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DocTable *table = palloc0(sizeof(DocTable));
	ForeignTable *foreign;
	char *collection;
	char *batch_size;
	char *on_mismatch;

	table->context = context;
	table->relid = RelationGetRelid(relation);
	table->owner = relation->rd_rel->relowner;
	table->name = pstrdup(RelationGetRelationName(relation));
	foreign = GetForeignTable(table->relid);
	collection = find_option(foreign->options, "collection");
	if (collection == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("foreign table \"%s\" has no option \"collection\"", table->name)));
	table->collection = pstrdup(collection);
	batch_size = find_option(foreign->options, "batch_size");
	if (batch_size == NULL)
		batch_size = find_option(GetForeignServer(foreign->serverid)->options, "batch_size");
	table->batch_size = batch_size != NULL ? parse_batch_size(batch_size) : DOCSTORE_MAX_BATCH;
	on_mismatch = find_option(foreign->options, "on_mismatch");
	table->lenient = on_mismatch != NULL && parse_lenient(on_mismatch);
	table->natts = desc->natts;
	table->columns = palloc0(desc->natts * sizeof(DocColumn));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped)
			describe_column(table, &table->columns[i], att);
	}
	if (desc->constr != NULL && desc->constr->num_check > 0)
		table->constrained = true;
	MemoryContextSwitchTo(old);
	return table;
}

bool
doc_table_known(Oid relid)
{
	TableEntry *entry = tables != NULL ? hash_search(tables, &relid, HASH_FIND, NULL) : NULL;

	return entry != NULL && entry->table != NULL;
}

DocTable *
doc_table_get(Relation relation)
{
	TableEntry *entry = NULL;
	DocTable *table;
	MemoryContextCallback *callback;
	Oid relid = RelationGetRelid(relation);
	bool found;

	if (tables == NULL)
	{
		HASHCTL ctl = {0};

		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(TableEntry);
		tables = hash_create("docstore foreign tables", 64, &ctl, HASH_ELEM | HASH_BLOBS);
		CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
		CacheRegisterSyscacheCallback(FOREIGNSERVEROID, invalidate_all, (Datum) 0);
	}
	callback = palloc(sizeof(MemoryContextCallback));
	entry = hash_search(tables, &relid, HASH_FIND, NULL);
	if (entry != NULL && entry->table != NULL)
		table = entry->table;
	else
	{
		/* An error leaves no trace: the context hangs below the current one until it is complete. */
		table = describe(relation);
		entry = hash_search(tables, &relid, HASH_ENTER, &found);
		if (found && entry->table != NULL)
		{
			/* Cannot be (describing a table does not describe another), but must not leak if it is. */
			entry->table->stale = true;
			if (entry->table->users == 0)
				table_free(entry->table);
		}
		MemoryContextSetParent(table->context, CacheMemoryContext);
		entry->table = table;
	}

	table->users++;
	callback->func = release;
	callback->arg = table;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return table;
}
