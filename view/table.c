/*
 * table.c - foreign tables over views (table.h).
 *
 * Columns are found by their names, so a table may show some of them in any
 * order.  Their types must be the view's: values are handed over as they are stored.
 */
#include "postgres.h"

#include "view/table.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "fdw/option.h"

char *
view_of_relation(Oid relid)
{
	ListCell *lc;

	/* This is asked several times for each statement; the options come from the catalogs each time. */
	if (doc_table_known(relid))
		return NULL;
	foreach (lc, GetForeignTable(relid)->options)
	{
		DefElem *def = lfirst(lc);

		if (strcmp(def->defname, "view") == 0)
			return defGetString(def);
	}
	return NULL;
}

static int
find_column(Relation relation, const View *view, Form_pg_attribute att)
{
	const char *name = NameStr(att->attname);
	int found = VIEW_COLUMN_NONE;
	Oid type;

	for (int i = 0; i < view->shape->ncolumns; i++)
		if (strcmp(view->shape->columns[i].name, name) == 0)
			found = i;
	if (found == VIEW_COLUMN_NONE && view->reduce == NULL && strcmp(name, "id") == 0)
		found = view->shape->ncolumns;
	if (found == VIEW_COLUMN_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_COLUMN_NAME_NOT_FOUND),
				 errmsg("column \"%s\" of foreign table \"%s\" is not in docstore view \"%s\"", name,
						RelationGetRelationName(relation), view->name)));
	type = found < view->shape->ncolumns ? view->shape->columns[found].type : TEXTOID;
	if (att->atttypid != type)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
				 errmsg("column \"%s\" of foreign table \"%s\" has type %s, but in docstore view \"%s\" it has type %s",
						name, RelationGetRelationName(relation), format_type_be(att->atttypid), view->name,
						format_type_be(type))));
	return found;
}

ViewTable *
view_table_get(Relation relation, LOCKMODE mode)
{
	TupleDesc desc = RelationGetDescr(relation);
	ViewTable *table = palloc(sizeof(ViewTable));

	table->view = view_get_for(view_of_relation(RelationGetRelid(relation)), mode, RelationGetRelationName(relation),
							   relation->rd_rel->relowner);
	table->natts = desc->natts;
	table->column = palloc(desc->natts * sizeof(int));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		table->column[i] = att->attisdropped ? VIEW_COLUMN_NONE : find_column(relation, table->view, att);
	}
	return table;
}

AttrNumber
view_table_attribute(const ViewTable *table, int column)
{
	for (int i = 0; i < table->natts; i++)
		if (table->column[i] == column)
			return (AttrNumber) (i + 1);
	return 0;
}
