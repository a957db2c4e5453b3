/*
 * import.c - foreign tables for collections that are there already.
 *
 * The remote schema is called docstore: there is only one.  Collections that
 * the importing role has no right to are left out, as their tables could not be used.
 */
#include "postgres.h"

#include "fdw/import.h"

#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "fdw/collection.h"

char *
docstore_table_statement(const char *collection, const char *server)
{
	return psprintf("CREATE FOREIGN TABLE %s ("
					"id pg_catalog.text COLLATE pg_catalog.\"C\" NOT NULL, doc pg_catalog.jsonb, "
					"etag pg_catalog.int8, modified pg_catalog.timestamptz) "
					"SERVER %s OPTIONS (collection %s)",
					quote_identifier(collection), quote_identifier(server), quote_literal_cstr(collection));
}

static bool
listed(List *tables, const char *name)
{
	ListCell *lc;

	foreach (lc, tables)
		if (strcmp(((RangeVar *) lfirst(lc))->relname, name) == 0)
			return true;
	return false;
}

List *
docstore_import_schema(ImportForeignSchemaStmt *stmt, Oid server)
{
	char *server_name = GetForeignServer(server)->servername;
	List *statements = NIL;
	ListCell *lc;

	if (strcmp(stmt->remote_schema, "docstore") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_SCHEMA_NOT_FOUND),
				 errmsg("schema \"%s\" is not known to docstore", stmt->remote_schema),
				 errhint("All collections are in one schema: IMPORT FOREIGN SCHEMA docstore FROM SERVER ...")));
	foreach (lc, stmt->options)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("invalid option \"%s\"", ((DefElem *) lfirst(lc))->defname),
				 errhint("There are no valid options in this context.")));

	foreach (lc, docstore_collection_list())
	{
		DocCollection *collection = lfirst(lc);

		if (!has_privs_of_role(GetUserId(), collection->owner))
			continue;
		if ((stmt->list_type == FDW_IMPORT_SCHEMA_LIMIT_TO && !listed(stmt->table_list, collection->name)) ||
			(stmt->list_type == FDW_IMPORT_SCHEMA_EXCEPT && listed(stmt->table_list, collection->name)))
			continue;
		statements = lappend(statements, docstore_table_statement(collection->name, server_name));
	}
	return statements;
}
