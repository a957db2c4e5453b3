/*
 * table.h - a foreign table over a view: which of its columns shows what.
 */
#ifndef DOCSTORE_TABLE_H
#define DOCSTORE_TABLE_H

#include "postgres.h"

#include "utils/relcache.h"

#include "view/catalog.h"

#define VIEW_COLUMN_NONE (-1) /* a dropped column */

typedef struct ViewTable
{
	View *view;
	int natts;
	int *column; /* of attribute i + 1: number of the view's column from 0, ncolumns: the id */
} ViewTable;

/* The view that a foreign table shows, palloc'ed; NULL if it is none of a view's. */
extern char *view_of_relation(Oid relid);
/* Locks the view unless NoLock; throws if the table's owner has no right to it or a column does not fit. */
extern ViewTable *view_table_get(Relation relation, LOCKMODE mode);
/* The attribute that shows a column; 0 if none does. */
extern AttrNumber view_table_attribute(const ViewTable *table, int column);

#endif
