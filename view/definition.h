/*
 * definition.h - a view's definition, as its JSON document says it.
 *
 *     {"collections": ["orders", ...],     whose documents the map sees
 *      "map": "SELECT ... FROM docs ...",
 *      "key": "customer, placed DESC",     optional: the order of the results
 *      "reduce": "SELECT ... FROM results GROUP BY ...",   optional
 *      "finalize": "SELECT ... FROM results"}              optional, with reduce
 */
#ifndef DOCSTORE_DEFINITION_H
#define DOCSTORE_DEFINITION_H

#include "postgres.h"

#include "nodes/pg_list.h"

typedef struct ViewDefinition
{
	List *collections; /* of char *, without doubles */
	char *map;
	char *key;      /* NULL: none */
	char *reduce;   /* NULL: none */
	char *finalize; /* NULL: none */
} ViewDefinition;

/* Everything lies in the current context.  Throws with line and column, or the member, that is wrong. */
extern ViewDefinition *view_definition_parse(const char *json);

#endif
