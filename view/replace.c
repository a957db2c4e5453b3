/*
 * replace.c - another definition for a view (replace.h).
 *
 * The replacement has storage, consumer and progress of its own and is indexed like any
 * other view.  When it has nothing left to do, one transaction of the indexer takes the old
 * index away and gives the row of the new one the view's name.  The foreign
 * tables are locked meanwhile: a plan is made and run under the table's lock,
 * so none outlives the view that it was made for.
 *
 * Where only the finalize is another one there is no replacement: the statement that
 * stores it makes the results again, and the tables change with it.
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
#include "utils/snapmgr.h"

#include "fdw/collection.h"
#include "fdw/consumer.h"
#include "fdw/owner.h"
#include "fdw/write.h"
#include "store/feed.h"
#include "store/store.h"
#include "view/pin.h"
#include "view/progress.h"
#include "view/tree.h"

void
view_new_storage(View *view)
{
	view->storage = docstore_new_storage();
	view->results = view->reduce != NULL ? docstore_new_storage() : view->storage;
}

void
view_drop_storage(const View *view)
{
	docstore_write_dropped(view->storage, GetCurrentCommandId(true));
	if (view->results != view->storage)
		docstore_write_dropped(view->results, GetCurrentCommandId(true));
}

void
view_drop_index(const View *view)
{
	view_catalog_delete(view);
	(void) docstore_consumer_drop(view->replacing ? DOC_CONSUMER_NEXT_VIEW : DOC_CONSUMER_VIEW, view->name);
	view_progress_drop(view);
	view_drop_storage(view);
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

/* ---- taking the place ---- */

static void
lock_tables(const char *name)
{
	ListCell *lc;

	foreach (lc, docstore_foreign_tables_of("view", name))
		LockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
}

void
view_take_place_lock(const char *name)
{
	(void) set_config_option("lock_timeout", CppAsString2(VIEW_TAKE_PLACE_MS), PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	lock_tables(name);
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

static void
fit_tables(const View *before, const View *after)
{
	ListCell *lc;
	ViewPin pin;

	view_pin(&pin, BOOTSTRAP_SUPERUSERID);
	foreach (lc, docstore_foreign_tables_of("view", after->name))
	{
		fit_table(lfirst_oid(lc), before, after);
		/* Plans rest on the view's key. */
		CacheInvalidateRelcacheByRelid(lfirst_oid(lc));
	}
	view_unpin(&pin);
}

/* Who reads the view must begin anew. */
static void
wake_replications(const char *name)
{
	if (docstore_consumers_of_view(name) != NIL)
		docstore_feed_wake();
}

void
view_take_place(const View *next)
{
	View *old = view_get(next->name, NoLock);

	fit_tables(old, next);
	wake_replications(next->name);
	view_catalog_delete(old);
	docstore_consumer_take_place(next->name);
	view_progress_drop(old);
	view_drop_storage(old);
	view_catalog_take_place(next);
}

/* ---- another finalize ---- */

/*
 * The results are made again, one reduction for each group, from the rows and partial results that
 * are there; in new storage, so that snapshots taken before see that what they plan to read is not what they see.
 */
static void
replace_finalize(View *view, View *next)
{
	ViewProgress progress;
	ViewReduce *reduce;
	ErrorData *fault;

	lock_tables(view->name);
	wake_replications(view->name);
	next->storage = view->storage;
	next->results = docstore_new_storage();
	next->block_rows = view->block_rows;
	fit_tables(view, next);
	reduce = view_reduce_new(next);
	PushActiveSnapshot(GetLatestSnapshot());
	if (!view_progress_read(view->storage, NULL, &progress))
		elog(ERROR, "docstore view \"%s\" has no progress", view->name);
	fault = view_tree_finalize(next, view->results, reduce, GetActiveSnapshot(), &progress);
	if (fault != NULL)
		ReThrowError(fault);
	PopActiveSnapshot();
	view_reduce_free(reduce);
	docstore_write_dropped(view->results, GetCurrentCommandId(true));
	view_progress_write(view->storage, &progress);
	CommandCounterIncrement();
	view_progress_set_results(view->storage, next->results);
	view_catalog_update(view, next);
}

/* Do both have the same rows, and partial results? */
static bool
same_base(const View *a, const View *b)
{
	return same_text(a->map, b->map) && same_text(a->reduce, b->reduce) && same_names(a->collections, b->collections) &&
		   view_same_shape(a->rows, b->rows);
}

static bool
same(const View *a, const View *b)
{
	return same_base(a, b) && same_text(a->finalize, b->finalize) && view_same_shape(a->shape, b->shape);
}

/* Is only the last step another one?  The key is that of the groups, before and after it. */
static bool
only_finalize(const View *a, const View *b)
{
	return a->reduce != NULL && same_base(a, b) && !same(a, b);
}

void
view_replace(View *next)
{
	View *view;
	View *before;

	/* Tables before the view, as everybody locks them. */
	if (only_finalize(view_get(next->name, NoLock), next))
		lock_tables(next->name);
	/* Readers go on; the indexer must not be writing to what goes. */
	view_lock(next->name, ExclusiveLock);
	view = view_get(next->name, NoLock);
	before = view_find_replacement(next->name, NoLock);
	if (before != NULL)
		view_drop_index(before);
	if (same(view, next))
	{
		/* Their comments may differ. */
		next->results = view->results;
		next->block_rows = view->block_rows;
		view_catalog_update(view, next);
		docstore_owners_changed();
		return;
	}
	if (only_finalize(view, next))
	{
		replace_finalize(view, next);
		docstore_owners_changed();
		return;
	}
	next->replacing = true;
	next->paused = view->paused;
	view_new_storage(next);
	view_catalog_insert(next);
	docstore_consumer_create(DOC_CONSUMER_NEXT_VIEW, next->name, next->owner, next->collections);
	view_progress_create(next);
}
