/*
 * check.h - what a view's map may be, and what it returns.
 */
#ifndef DOCSTORE_CHECK_H
#define DOCSTORE_CHECK_H

#include "postgres.h"

#include "access/attnum.h"
#include "access/tupdesc.h"

#include "view/definition.h"
#include "view/key.h"

/* Columns and order of a view's results. */
typedef struct ViewColumn
{
	char *name;
	Oid type;
	int32 typmod;
	Oid collation; /* "C" for text in the key */
} ViewColumn;

typedef struct ViewShape
{
	int ncolumns; /* the map's; the document's id comes behind them */
	ViewColumn *columns;
	/* The order: nkeys columns as declared, then the id (key[nkeys], attribute ncolumns + 1). */
	int nkeys;
	ViewKeyColumn *key;
	AttrNumber *key_attribute; /* from 1 */
} ViewShape;

/* What `docs` looks like: id, doc, etag, collection, modified. */
#define VIEW_DOCS_COLUMNS 5
extern TupleDesc view_docs_desc(void);

/*
 * Checks the map and the key; throws with the position of the fault.  The pin
 * (pin.h) must be set.  definition->map is cut to its one statement.
 */
extern ViewShape *view_check(ViewDefinition *definition);

/*
 * The same for reduce and finalize, if there is a reduce.  Gives *rows, the map's shape, the key that its rows are kept by (the
 * groups'), and returns the shape of the results.  definition->reduce and finalize are cut to their one statement.
 */
extern ViewShape *view_check_reduce(ViewDefinition *definition, ViewShape *rows);

/* The same as view_check for a SELECT over docs that is part of something else; no column may be called `reserved`. */
extern ViewShape *view_check_select(const char *of, const char *reserved, char **select);

#endif
