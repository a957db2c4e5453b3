/*
 * replace.c - another definition for a view (replace.h).
 *
 * The replacement has storage, consumer and progress of its own and is indexed like any
 * other view.  When it has nothing left to do, one transaction of the indexer takes the old
 * index away and gives the row of the new one the view's name.  The foreign
 * tables are locked meanwhile: a plan is made and run under the table's lock,
 * so none outlives the view that it was made for.
 */
#include "postgres.h"

#include "view/replace.h"

#include "access/relation.h"
#include "catalog/pg_authid_d.h"
#include "executor/spi.h"
#include "nodes/value.h"
#include "parser/parser.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "fdw/collection.h"
#include "fdw/consumer.h"
#include "fdw/owner.h"
#include "fdw/write.h"
#include "store/store.h"
#include "view/pin.h"
#include "view/progress.h"

#define LOCK_TIMEOUT "200ms"

void
view_drop_index(const View *view)
{
	view_catalog_delete(view);
	(void) docstore_consumer_drop(view->replacing ? DOC_CONSUMER_NEXT_VIEW : DOC_CONSUMER_VIEW, view->name);
	view_progress_drop(view);
	docstore_write_dropped(view->storage, GetCurrentCommandId(true));
}

/* Do both mean the same, but for comments and blanks? */
static bool
same_text(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return equal(raw_parser(a, RAW_PARSE_DEFAULT), raw_parser(b, RAW_PARSE_DEFAULT));
}

static bool
same_names(const List *a, const List *b)
{
	if (list_length(a) != list_length(b))
		return false;
	for (int i = 0; i < list_length(a); i++)
		if (strcmp(list_nth(a, i), list_nth(b, i)) != 0)
			return false;
	return true;
}

void
view_replace(View *next)
{
	View *view;
	View *before;

	/* Readers go on; the indexer must not be writing to what goes. */
	view_lock(next->name, ExclusiveLock);
	view = view_get(next->name, NoLock);
	before = view_find_replacement(next->name, NoLock);
	if (before != NULL)
		view_drop_index(before);
	if (same_text(view->map, next->map) && same_text(view->reduce, next->reduce) &&
		same_text(view->finalize, next->finalize) && same_names(view->collections, next->collections) &&
		view_same_shape(view->shape, next->shape))
	{
		view_catalog_set_map(view, next->map);
		docstore_owners_changed();
		return;
	}
	next->replacing = true;
	next->paused = view->paused;
	next->storage = docstore_new_storage();
	view_catalog_insert(next);
	docstore_consumer_create(DOC_CONSUMER_NEXT_VIEW, next->name, next->owner, next->collections);
	view_progress_create(next);
}

/* ---- taking the place ---- */

void
view_take_place_lock(const char *name)
{
	ListCell *lc;

	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	foreach (lc, docstore_foreign_tables_of("view", name))
		LockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
	view_lock(name, AccessExclusiveLock);
}

static const ViewColumn *
find_column(const ViewShape *shape, const char *name)
{
	for (int i = 0; i < shape->ncolumns; i++)
		if (strcmp(shape->columns[i].name, name) == 0)
			return &shape->columns[i];
	return NULL;
}

static bool
same_column(const ViewColumn *a, const ViewColumn *b)
{
	return b != NULL && a->type == b->type && a->typmod == b->typmod && a->collation == b->collation;
}

/* Does the table show every column of the view, and nothing else? */
static bool
shows_all(Relation table, const View *view)
{
	const ViewShape *shape = view->shape;
	TupleDesc desc = RelationGetDescr(table);
	int n = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const ViewColumn *column;

		if (att->attisdropped)
			continue;
		n++;
		if (view->reduce == NULL && strcmp(NameStr(att->attname), "id") == 0)
			continue;
		column = find_column(shape, NameStr(att->attname));
		if (column == NULL || column->type != att->atttypid)
			return false;
	}
	return n == shape->ncolumns + (view->reduce == NULL ? 1 : 0);
}

/* Columns that stay keep their place; new ones come behind. */
static void
fit_table(Oid relid, const View *before, const View *after)
{
	const ViewShape *old = before->shape;
	const ViewShape *new = after->shape;
	Relation table = relation_open(relid, NoLock);
	bool all = shows_all(table, before);
	const char *separator = " ";
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "ALTER FOREIGN TABLE %s",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(table)), RelationGetRelationName(table)));
	relation_close(table, NoLock);
	if (!all)
		return;
	for (int i = 0; i < old->ncolumns; i++)
		if (!same_column(&old->columns[i], find_column(new, old->columns[i].name)))
		{
			appendStringInfo(&text, "%sDROP COLUMN %s", separator, quote_identifier(old->columns[i].name));
			separator = ", ";
		}
	for (int i = 0; i < new->ncolumns; i++)
		if (!same_column(&new->columns[i], find_column(old, new->columns[i].name)))
		{
			appendStringInfo(&text, "%sADD COLUMN ", separator);
			view_column_text(&text, &new->columns[i]);
			separator = ", ";
		}
	if (before->reduce == NULL && after->reduce != NULL)
	{
		appendStringInfo(&text, "%sDROP COLUMN id", separator);
		separator = ", ";
	}
	else if (before->reduce != NULL && after->reduce == NULL)
	{
		appendStringInfo(&text, "%sADD COLUMN " VIEW_ID_COLUMN, separator);
		separator = ", ";
	}
	if (strcmp(separator, " ") == 0)
		return;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(text.data, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not change the foreign table");
	SPI_finish();
}

void
view_take_place(const View *next)
{
	View *old = view_get(next->name, NoLock);
	ListCell *lc;
	ViewPin pin;

	view_pin(&pin, BOOTSTRAP_SUPERUSERID);
	foreach (lc, docstore_foreign_tables_of("view", next->name))
	{
		fit_table(lfirst_oid(lc), old, next);
		/* Plans rest on the view's key. */
		CacheInvalidateRelcacheByRelid(lfirst_oid(lc));
	}
	view_unpin(&pin);
	view_catalog_delete(old);
	docstore_consumer_take_place(next->name);
	view_progress_drop(old);
	docstore_write_dropped(old->storage, GetCurrentCommandId(true));
	view_catalog_take_place(next);
}
