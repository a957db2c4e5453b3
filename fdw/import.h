/*
 * import.h - IMPORT FOREIGN SCHEMA docstore: a foreign table for each collection.
 */
#ifndef DOCSTORE_IMPORT_H
#define DOCSTORE_IMPORT_H

#include "postgres.h"

#include "foreign/fdwapi.h"

extern List *docstore_import_schema(ImportForeignSchemaStmt *stmt, Oid server);
/* The statement that makes a foreign table of the standard columns over a collection of its name. */
extern char *docstore_table_statement(const char *collection, const char *server);

#endif
