/*
 * definition.h - a replication's definition, as its JSON document says it.
 *
 *     {"collections": ["orders", ...],          whose documents are replicated; or
 *      "view": "sales_by_sku",                  whose rows are, each as a document (view_row.h)
 *      "tables": [                              in the order they are written
 *          {"table": "sales.orders",
 *           "key": "order_id",                  the column that holds the document's id
 *           "collection": "source",             the column that holds its collection's name; needed if there are several
 *           "select": "SELECT ... FROM docs",   the other columns
 *           "mode": "replace",                  or "merge", "insert_only"
 *           "match": ["line"]},                 merge: the columns that with the key tell a document's rows apart
 *          ...],
 *      "on_error": "skip"}                      or "stop"
 */
#ifndef DOCSTORE_REPL_DEFINITION_H
#define DOCSTORE_REPL_DEFINITION_H

#include "postgres.h"

#include "nodes/pg_list.h"

typedef enum ReplMode
{
	REPL_REPLACE,
	REPL_MERGE,
	REPL_INSERT_ONLY
} ReplMode;

typedef struct ReplTable
{
	char *table; /* as written: a name that may be qualified and quoted */
	char *key;
	char *collection; /* NULL: none */
	char *select;
	ReplMode mode;
	List *match; /* of char *; NIL: from the table's unique key */
} ReplTable;

typedef struct ReplDefinition
{
	char *view;        /* NULL: documents of collections are replicated */
	List *collections; /* of char *, without doubles, sorted; of a view, its name */
	List *tables;      /* of ReplTable * */
	bool stop;         /* at a document that fails */
} ReplDefinition;

/* Everything lies in the current context.  Throws with line and column, or the member, that is wrong. */
extern ReplDefinition *repl_definition_parse(const char *json);

#endif
