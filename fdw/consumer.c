/*
 * consumer.c - the catalog of consumers.  See consumer.h.
 *
 * Rows are found by index with a fresh snapshot, and written as PostgreSQL writes
 * its catalogs.  Who changes a consumer's row holds its lock to the end of the
 * transaction, so nobody meets a row that another one is changing.  Locks: the
 * consumer's before its collections'.
 *
 * Why a position may be purged up to: see store/purge.c.  The lowest position of a
 * collection is computed from committed rows and our own; another's that is just
 * moving on is lower than it will be, which purges less, and later.
 */
#include "postgres.h"

#include "fdw/consumer.h"

#include <math.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "fdw/collection.h"
#include "fdw/owner.h"
#include "store/feed.h"

/* docstore.consumer */
#define ATT_KIND 1
#define ATT_NAME 2
#define ATT_OWNER 3
#define ATT_POSITION 4
#define ATT_CREATED 5
#define ATT_ADVANCED 6
#define ATT_RATE 7
#define ATT_VIEW 8
#define NATTS 8

/* A rate is a mean in which what was so many seconds ago counts 1/e. */
#define RATE_SECONDS 60

/* docstore.consumer_collection */
#define ATT_LINK_COLLECTION 1
#define ATT_LINK_KIND 2
#define ATT_LINK_CONSUMER 3
#define NATTS_LINK 3

bool
docstore_name_in(const List *names, const char *name)
{
	ListCell *lc;

	foreach (lc, names)
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	return false;
}

static uint64 (*view_storage)(const char *view, LOCKMODE mode);

void
docstore_consumer_set_view_storage(uint64 (*storage)(const char *view, LOCKMODE mode))
{
	view_storage = storage;
}

static Relation
open_consumers(LOCKMODE mode)
{
	return docstore_catalog_open(docstore_extension_relation("consumer"), NATTS, mode);
}

static Relation
open_links(LOCKMODE mode)
{
	return docstore_catalog_open(docstore_extension_relation("consumer_collection"), NATTS_LINK, mode);
}

static void
lock_consumer(DocConsumerKind kind, const char *name)
{
	uint32 hash = hash_combine(hash_bytes((const unsigned char *) name, (int) strlen(name)), (uint32) kind);
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, docstore_extension_relation("consumer"), hash, 0);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* ---- reading ---- */

static SysScanDesc
scan_consumers(Relation consumers, DocConsumerKind kind, const char *name)
{
	ScanKeyData key[2];

	ScanKeyInit(&key[0], ATT_KIND, BTEqualStrategyNumber, F_CHAREQ, CharGetDatum((char) kind));
	ScanKeyInit(&key[1], ATT_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	return systable_beginscan(consumers, docstore_extension_relation("consumer_pkey"), true, NULL, 2, key);
}

static DocConsumer *
read_consumer(Relation consumers, HeapTuple tuple)
{
	DocConsumer *consumer = palloc0(sizeof(DocConsumer));
	TupleDesc desc = RelationGetDescr(consumers);
	Datum view;
	bool isnull;

	consumer->kind = (DocConsumerKind) DatumGetChar(heap_getattr(tuple, ATT_KIND, desc, &isnull));
	consumer->name = TextDatumGetCString(heap_getattr(tuple, ATT_NAME, desc, &isnull));
	consumer->owner = DatumGetObjectId(heap_getattr(tuple, ATT_OWNER, desc, &isnull));
	consumer->position = (uint64) DatumGetInt64(heap_getattr(tuple, ATT_POSITION, desc, &isnull));
	view = heap_getattr(tuple, ATT_VIEW, desc, &isnull);
	consumer->of_view = !isnull;
	if (consumer->of_view)
		consumer->collections = list_make1(TextDatumGetCString(view));
	return consumer;
}

static int
by_text(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

static SysScanDesc
scan_links(Relation links, DocConsumerKind kind, const char *name)
{
	ScanKeyData key[2];

	ScanKeyInit(&key[0], ATT_LINK_KIND, BTEqualStrategyNumber, F_CHAREQ, CharGetDatum((char) kind));
	ScanKeyInit(&key[1], ATT_LINK_CONSUMER, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	return systable_beginscan(links, docstore_extension_relation("consumer_collection_consumer_idx"), true, NULL, 2, key);
}

static void
read_collections(DocConsumer *consumer)
{
	Relation links;
	SysScanDesc scan;
	HeapTuple tuple;

	if (consumer->of_view)
		return;
	links = open_links(AccessShareLock);
	scan = scan_links(links, consumer->kind, consumer->name);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;
		Datum name = heap_getattr(tuple, ATT_LINK_COLLECTION, RelationGetDescr(links), &isnull);

		consumer->collections = lappend(consumer->collections, TextDatumGetCString(name));
	}
	systable_endscan(scan);
	table_close(links, AccessShareLock);
	list_sort(consumer->collections, by_text);
}

static DocConsumer *
find_consumer(DocConsumerKind kind, const char *name)
{
	Relation consumers = open_consumers(AccessShareLock);
	SysScanDesc scan = scan_consumers(consumers, kind, name);
	HeapTuple tuple = systable_getnext(scan);
	DocConsumer *consumer = HeapTupleIsValid(tuple) ? read_consumer(consumers, tuple) : NULL;

	systable_endscan(scan);
	table_close(consumers, AccessShareLock);
	return consumer;
}

DocConsumer *
docstore_consumer_get(DocConsumerKind kind, const char *name, bool lock)
{
	DocConsumer *consumer;

	if (lock)
		lock_consumer(kind, name);
	consumer = find_consumer(kind, name);
	if (consumer != NULL)
		read_collections(consumer);
	return consumer;
}

List *
docstore_consumer_list(void)
{
	Relation consumers = open_consumers(AccessShareLock);
	SysScanDesc scan = systable_beginscan(consumers, docstore_extension_relation("consumer_pkey"), true, NULL, 0, NULL);
	List *list = NIL;
	HeapTuple tuple;
	ListCell *lc;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		list = lappend(list, read_consumer(consumers, tuple));
	systable_endscan(scan);
	table_close(consumers, AccessShareLock);
	foreach (lc, list)
		read_collections(lfirst(lc));
	return list;
}

List *
docstore_consumers_of(const char *collection)
{
	Relation links = open_links(AccessShareLock);
	List *list = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, ATT_LINK_COLLECTION, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(collection));
	scan = systable_beginscan(links, docstore_extension_relation("consumer_collection_pkey"), true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TupleDesc desc = RelationGetDescr(links);
		DocConsumer *consumer;
		bool isnull;

		consumer = find_consumer((DocConsumerKind) DatumGetChar(heap_getattr(tuple, ATT_LINK_KIND, desc, &isnull)),
								 TextDatumGetCString(heap_getattr(tuple, ATT_LINK_CONSUMER, desc, &isnull)));
		if (consumer != NULL)
			list = lappend(list, consumer);
	}
	systable_endscan(scan);
	table_close(links, AccessShareLock);
	return list;
}

List *
docstore_consumers_of_view(const char *view)
{
	Relation consumers = open_consumers(AccessShareLock);
	List *list = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, ATT_KIND, BTEqualStrategyNumber, F_CHAREQ, CharGetDatum((char) DOC_CONSUMER_REPLICATION));
	scan = systable_beginscan(consumers, docstore_extension_relation("consumer_pkey"), true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		DocConsumer *consumer = read_consumer(consumers, tuple);

		if (consumer->of_view && strcmp(linitial(consumer->collections), view) == 0)
			list = lappend(list, consumer);
	}
	systable_endscan(scan);
	table_close(consumers, AccessShareLock);
	return list;
}

uint64 *
docstore_consumer_storages(const DocConsumer *consumer, Snapshot snapshot)
{
	uint64 *storages = palloc(Max(list_length(consumer->collections), 1) * sizeof(uint64));
	ListCell *lc;

	foreach (lc, consumer->collections)
		storages[foreach_current_index(lc)] =
			consumer->of_view ? view_storage(lfirst(lc), NoLock) : docstore_collection_storage_at(lfirst(lc), snapshot);
	return storages;
}

/* ---- changing ---- */

/* All its writers are over, and no other begins before we are. */
static uint64
lock_collections(List *names)
{
	DocCollection collection;
	ListCell *lc;

	foreach (lc, names)
		docstore_collection_get(lfirst(lc), ShareLock, &collection);
	return docstore_feed_last_etag();
}

/* What the consumers of a collection have all passed may go; `most` if it has none. */
static void
purge(const char *name, uint64 most, bool always)
{
	DocCollection collection;
	ListCell *lc;

	foreach (lc, docstore_consumers_of(name))
		most = Min(most, ((DocConsumer *) lfirst(lc))->position);
	docstore_collection_get(name, NoLock, &collection);
	docstore_feed_purge(collection.storage, most, always);
}

static void
purge_view(const char *name, uint64 most, bool always)
{
	uint64 storage = view_storage(name, NoLock);
	ListCell *lc;

	foreach (lc, docstore_consumers_of_view(name))
		most = Min(most, ((DocConsumer *) lfirst(lc))->position);
	if (storage != 0)
		docstore_feed_purge(storage, most, always);
}

static void
add_links(DocConsumerKind kind, const char *name, List *collections)
{
	Relation rel = open_links(RowExclusiveLock);
	bool nulls[NATTS_LINK] = {false};
	Datum values[NATTS_LINK];
	ListCell *lc;

	foreach (lc, collections)
	{
		values[ATT_LINK_COLLECTION - 1] = CStringGetTextDatum(lfirst(lc));
		values[ATT_LINK_KIND - 1] = CharGetDatum((char) kind);
		values[ATT_LINK_CONSUMER - 1] = CStringGetTextDatum(name);
		CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	}
	table_close(rel, NoLock);
}

static void
delete_links(DocConsumerKind kind, const char *name)
{
	Relation rel = open_links(RowExclusiveLock);
	SysScanDesc scan = scan_links(rel, kind, name);
	HeapTuple tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
}

/* The name is nobody else's, and locked. */
static void
claim(DocConsumerKind kind, const char *name)
{
	lock_consumer(kind, name);
	if (find_consumer(kind, name) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("%s \"%s\" already exists", docstore_consumer_kind_name(kind), name)));
}

static void
add_consumer(DocConsumerKind kind, const char *name, Oid owner, uint64 position, const char *view)
{
	Datum values[NATTS] = {0};
	bool nulls[NATTS] = {false};
	Relation rel;

	values[ATT_KIND - 1] = CharGetDatum((char) kind);
	values[ATT_NAME - 1] = CStringGetTextDatum(name);
	values[ATT_OWNER - 1] = ObjectIdGetDatum(owner);
	values[ATT_POSITION - 1] = Int64GetDatum((int64) position);
	values[ATT_CREATED - 1] = values[ATT_ADVANCED - 1] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	values[ATT_RATE - 1] = Float8GetDatum(0);
	nulls[ATT_VIEW - 1] = view == NULL;
	if (view != NULL)
		values[ATT_VIEW - 1] = CStringGetTextDatum(view);
	rel = open_consumers(RowExclusiveLock);
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
}

void
docstore_consumer_create(DocConsumerKind kind, const char *name, Oid owner, List *collections)
{
	List *sorted = list_copy(collections);

	list_sort(sorted, by_text);
	claim(kind, name);
	add_consumer(kind, name, owner, lock_collections(sorted), NULL);
	add_links(kind, name, sorted);
	docstore_collections_changed();
	docstore_owner_added(owner);
}

void
docstore_consumer_create_of_view(DocConsumerKind kind, const char *name, Oid owner, const char *view)
{
	claim(kind, name);
	add_consumer(kind, name, owner, docstore_feed_last_etag(), view);
	docstore_collections_changed();
	docstore_owner_added(owner);
}

bool
docstore_consumer_drop(DocConsumerKind kind, const char *name)
{
	DocConsumer *consumer = docstore_consumer_get(kind, name, true);
	SysScanDesc scan;
	HeapTuple tuple;
	uint64 last;
	Relation rel;
	ListCell *lc;

	if (consumer == NULL)
		return false;
	if (consumer->of_view)
	{
		/* The indexer's writes are over, and it makes no more changes before we are. */
		(void) view_storage(linitial(consumer->collections), ShareLock);
		last = docstore_feed_last_etag();
	}
	else
		last = lock_collections(consumer->collections);

	rel = open_consumers(RowExclusiveLock);
	scan = scan_consumers(rel, kind, name);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);

	delete_links(kind, name);
	docstore_collections_changed();

	if (consumer->of_view)
		purge_view(linitial(consumer->collections), last, true);
	else
		foreach (lc, consumer->collections)
			purge(lfirst(lc), last, true);
	return true;
}

uint64
docstore_consumer_set_collections(DocConsumer *consumer, List *collections)
{
	List *sorted = list_copy(collections);
	List *changed = NIL;
	uint64 last;
	ListCell *lc;

	foreach (lc, consumer->collections)
		if (!docstore_name_in(collections, lfirst(lc)))
			changed = lappend(changed, lfirst(lc));
	foreach (lc, collections)
		if (!docstore_name_in(consumer->collections, lfirst(lc)))
			changed = lappend(changed, lfirst(lc));
	list_sort(sorted, by_text);
	list_sort(changed, by_text);
	last = lock_collections(changed);
	delete_links(consumer->kind, consumer->name);
	CommandCounterIncrement();
	add_links(consumer->kind, consumer->name, sorted);
	docstore_collections_changed();
	CommandCounterIncrement();

	foreach (lc, consumer->collections)
		if (!docstore_name_in(sorted, lfirst(lc)))
			purge(lfirst(lc), last, true);
	consumer->collections = sorted;
	return last;
}

/* Opens a consumer's row, which is locked. */
static HeapTuple
find_row(DocConsumerKind kind, const char *name, Relation *rel, SysScanDesc *scan)
{
	HeapTuple tuple;

	*rel = open_consumers(RowExclusiveLock);
	*scan = scan_consumers(*rel, kind, name);
	tuple = systable_getnext(*scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "%s \"%s\" is gone", docstore_consumer_kind_name(kind), name);
	return tuple;
}

static void
replace_row(Relation rel, SysScanDesc scan, HeapTuple tuple, int n, int *columns, Datum *values)
{
	bool nulls[NATTS] = {false};

	tuple = heap_modify_tuple_by_cols(tuple, RelationGetDescr(rel), n, columns, values, nulls);
	CatalogTupleUpdate(rel, &tuple->t_self, tuple);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* Gives rows of a scan another kind. */
static void
change_kind(Relation rel, SysScanDesc scan, int column, DocConsumerKind kind)
{
	HeapTuple tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Datum value = CharGetDatum((char) kind);
		bool isnull = false;

		tuple = heap_modify_tuple_by_cols(tuple, RelationGetDescr(rel), 1, &column, &value, &isnull);
		CatalogTupleUpdate(rel, &tuple->t_self, tuple);
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
}

void
docstore_consumer_take_place(const char *view)
{
	Relation rel;

	lock_consumer(DOC_CONSUMER_NEXT_VIEW, view);
	(void) docstore_consumer_drop(DOC_CONSUMER_VIEW, view);
	CommandCounterIncrement();
	rel = open_consumers(RowExclusiveLock);
	change_kind(rel, scan_consumers(rel, DOC_CONSUMER_NEXT_VIEW, view), ATT_KIND, DOC_CONSUMER_VIEW);
	rel = open_links(RowExclusiveLock);
	change_kind(rel, scan_links(rel, DOC_CONSUMER_NEXT_VIEW, view), ATT_LINK_KIND, DOC_CONSUMER_VIEW);
	CommandCounterIncrement();
}

void
docstore_consumer_set_owner(DocConsumerKind kind, const char *name, Oid owner)
{
	int columns[] = {ATT_OWNER};
	Datum values[] = {ObjectIdGetDatum(owner)};
	SysScanDesc scan;
	HeapTuple tuple;
	Relation rel;

	lock_consumer(kind, name);
	tuple = find_row(kind, name, &rel, &scan);
	replace_row(rel, scan, tuple, lengthof(columns), columns, values);
}

/* The mean of the rate so far and the one since then, by how long that is. */
static double
new_rate(double rate, double moved, TimestampTz from, TimestampTz to)
{
	double seconds = (double) Max(to - from, 1) / USECS_PER_SEC;
	double old = exp(-seconds / RATE_SECONDS);

	return rate * old + moved / seconds * (1 - old);
}

void
docstore_consumer_advance(DocConsumer *consumer, uint64 position)
{
	int columns[] = {ATT_POSITION, ATT_ADVANCED, ATT_RATE};
	TimestampTz now = GetCurrentTimestamp();
	Datum values[lengthof(columns)];
	SysScanDesc scan;
	HeapTuple tuple;
	Relation rel;
	bool isnull;
	ListCell *lc;

	if (position <= consumer->position)
		return;
	tuple = find_row(consumer->kind, consumer->name, &rel, &scan);
	values[0] = Int64GetDatum((int64) position);
	values[1] = TimestampTzGetDatum(now);
	values[2] = Float8GetDatum(new_rate(DatumGetFloat8(heap_getattr(tuple, ATT_RATE, RelationGetDescr(rel), &isnull)),
										(double) (position - consumer->position),
										DatumGetTimestampTz(heap_getattr(tuple, ATT_ADVANCED, RelationGetDescr(rel), &isnull)), now));
	replace_row(rel, scan, tuple, lengthof(columns), columns, values);
	consumer->position = position;

	if (consumer->of_view)
		purge_view(linitial(consumer->collections), position, false);
	else
		foreach (lc, consumer->collections)
			purge(lfirst(lc), position, false);
}
