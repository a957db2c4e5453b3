/*
 * changes.c - the change feed for users: named consumers.
 *
 *     create_consumer(name, collections)         from now on
 *     changes(consumer, max_changes)             what comes after its position
 *     advance_consumer(consumer, etag)           everything up to that is done
 *     wait_for_changes(consumer, timeout)        sleeps until there is something
 *     changes(collection, since_etag, "limit")   what comes after an etag
 *
 * Reading moves nothing: a consumer that fails between reading and advancing
 * reads the same again.  One that writes what it made of the changes in this
 * database, and advances in the same transaction, sees each exactly once.
 *
 * Changes are read with a snapshot of their own, taken after the horizon, at every
 * isolation level: an older one could miss what lies below the horizon.
 */
#include "postgres.h"

#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "fdw/collection.h"
#include "fdw/consumer.h"
#include "fdw/document.h"
#include "fdw/owner.h"
#include "store/feed.h"

/* What a reader of changes is told; of one collection all but the second. */
enum
{
	CHANGE_ETAG,
	CHANGE_COLLECTION,
	CHANGE_ID,
	CHANGE_DELETED,
	CHANGE_DOC,
	CHANGE_MODIFIED,
	CHANGE_COLUMNS
};

PG_FUNCTION_INFO_V1(docstore_create_consumer);
PG_FUNCTION_INFO_V1(docstore_drop_consumer);
PG_FUNCTION_INFO_V1(docstore_changes);
PG_FUNCTION_INFO_V1(docstore_changes_since);
PG_FUNCTION_INFO_V1(docstore_advance_consumer);
PG_FUNCTION_INFO_V1(docstore_wait_for_changes);

/* ---- making and dropping ---- */

static List *
names_of(ArrayType *array)
{
	List *names = NIL;
	Datum *datums;
	bool *nulls;
	int n;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &datums, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char *name;
		ListCell *lc;

		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("names of collections must not be null")));
		name = TextDatumGetCString(datums[i]);
		foreach (lc, names)
			if (strcmp(lfirst(lc), name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_OBJECT),
						 errmsg("collection \"%s\" is named more than once", name)));
		names = lappend(names, name);
	}
	if (names == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a consumer needs at least one collection")));
	return names;
}

static void
check_owners(List *names)
{
	DocCollection collection;
	ListCell *lc;

	foreach (lc, names)
	{
		docstore_collection_get(lfirst(lc), NoLock, &collection);
		docstore_collection_check_owner(&collection);
	}
}

/* docstore.create_consumer(name text, collections text[]) */
Datum
docstore_create_consumer(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	List *names = names_of(PG_GETARG_ARRAYTYPE_P(1));

	PreventCommandIfReadOnly("docstore.create_consumer()");
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid consumer name \"%s\"", name),
				 errhint("A consumer's name has 1 to %d bytes.", NAMEDATALEN - 1)));
	check_owners(names);
	docstore_consumer_create(DOC_CONSUMER_NAMED, name, GetUserId(), names);
	/* They may have been others of those names before they were locked. */
	check_owners(names);
	PG_RETURN_VOID();
}

/* Throws unless there is such a consumer, and the caller may use it. */
static DocConsumer *
get(const char *name, bool lock)
{
	DocConsumer *consumer = docstore_consumer_get(DOC_CONSUMER_NAMED, name, false);

	/* Rights before the lock; it may be another of that name afterwards. */
	for (int i = 0; i < 2; i++)
	{
		if (consumer == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("consumer \"%s\" does not exist", name),
					 errhint("See the view docstore.consumers, or make it with docstore.create_consumer.")));
		if (!has_privs_of_role(GetUserId(), consumer->owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("must be owner of consumer \"%s\"", name)));
		if (lock && i == 0)
			consumer = docstore_consumer_get(DOC_CONSUMER_NAMED, name, true);
	}
	return consumer;
}

/* docstore.drop_consumer(name text) */
Datum
docstore_drop_consumer(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PreventCommandIfReadOnly("docstore.drop_consumer()");
	get(name, true);
	docstore_consumer_drop(DOC_CONSUMER_NAMED, name);
	docstore_owners_changed();
	PG_RETURN_VOID();
}

/* ---- reading ---- */

/* What the consumer's owner may no longer read, a consumer does not show. */
static void
check_collections(const DocConsumer *consumer)
{
	DocCollection collection;
	ListCell *lc;

	foreach (lc, consumer->collections)
	{
		docstore_collection_get(lfirst(lc), NoLock, &collection);
		if (!has_privs_of_role(consumer->owner, collection.owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied for collection \"%s\"", collection.name),
					 errdetail("The owner of consumer \"%s\", role \"%s\", is not a member of the role that owns the collection.",
							   consumer->name, GetUserNameFromId(consumer->owner, true))));
	}
}

/* A round, see feed.h.  The snapshot is registered. */
static DocstoreFeed *
begin_round(const DocConsumer *consumer, uint64 position, Snapshot *snapshot)
{
	uint64 horizon = docstore_feed_horizon();

	*snapshot = RegisterSnapshot(GetLatestSnapshot());
	return docstore_feed_open(docstore_consumer_storages(consumer, *snapshot), list_length(consumer->collections), position,
							  horizon, *snapshot);
}

static void
end_round(DocstoreFeed *feed, Snapshot snapshot)
{
	docstore_feed_close(feed);
	UnregisterSnapshot(snapshot);
}

/* `collection`: NULL if rows do not say it. */
static void
put_row(ReturnSetInfo *rsinfo, const char *collection, const DocstoreChange *change, DocumentBuffer *buffer)
{
	Datum values[CHANGE_COLUMNS] = {0};
	bool nulls[CHANGE_COLUMNS] = {false};
	int skip = collection == NULL ? 1 : 0;

	values[CHANGE_COLLECTION] = collection != NULL ? CStringGetTextDatum(collection) : 0;
	nulls[CHANGE_ID] = change->truncated;
	if (!change->truncated)
		values[CHANGE_ID] = PointerGetDatum(cstring_to_text_with_len(change->id.data, (int) change->id.len));
	values[CHANGE_DELETED] = BoolGetDatum(change->deleted || change->truncated);
	nulls[CHANGE_DOC] = nulls[CHANGE_MODIFIED] = change->deleted || change->truncated;
	if (!nulls[CHANGE_DOC])
	{
		TimestampTz modified;
		LsmSlice body;

		document_decode(change->value, &modified, &body);
		values[CHANGE_DOC] = PointerGetDatum(document_buffer_set(buffer, body));
		values[CHANGE_MODIFIED] = TimestampTzGetDatum(modified);
	}
	/* The etag takes the place of what is left out. */
	values[skip] = Int64GetDatum((int64) change->etag);
	nulls[skip] = false;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values + skip, nulls + skip);
}

/* The feed's next rows, at most so many; collections: their names, NIL if rows do not say them. */
static void
put_rows(FunctionCallInfo fcinfo, DocstoreFeed *feed, List *collections, int most)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DocumentBuffer buffer = {CurrentMemoryContext, NULL, 0};
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "docstore change", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(row);
	DocstoreChange change;

	while (most-- > 0 && docstore_feed_next(feed, &change))
	{
		put_row(rsinfo, collections != NIL ? list_nth(collections, change.source) : NULL, &change, &buffer);
		MemoryContextReset(row);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(row);
}

static int
check_most(int most, const char *name)
{
	if (most <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be greater than zero", name)));
	return most;
}

/*
 * docstore.changes(consumer text, max_changes integer)
 * RETURNS TABLE (etag bigint, collection text, id text, deleted boolean, doc jsonb, modified timestamptz)
 */
Datum
docstore_changes(PG_FUNCTION_ARGS)
{
	DocConsumer *consumer = get(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	int most = check_most(PG_GETARG_INT32(1), "max_changes");
	Snapshot snapshot;
	DocstoreFeed *feed;

	check_collections(consumer);
	InitMaterializedSRF(fcinfo, 0);
	feed = begin_round(consumer, consumer->position, &snapshot);
	put_rows(fcinfo, feed, consumer->collections, most);
	end_round(feed, snapshot);
	return (Datum) 0;
}

/*
 * What some consumer has not passed is there; the rest may be purged at any time.
 * Looked at after the snapshot that the changes are read with was taken: those that
 * it needs are not purged before it ends (store/purge.c).
 */
static void
check_not_purged(const char *name, int64 since)
{
	List *consumers = docstore_consumers_of(name);
	uint64 mark = PG_UINT64_MAX;
	ListCell *lc;

	foreach (lc, consumers)
		mark = Min(mark, ((DocConsumer *) lfirst(lc))->position);
	if (consumers == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("changes of collection \"%s\" are not recorded", name),
				 errhint("They are as long as it has a consumer: docstore.create_consumer, a view or a replication.")));
	if (since < 0 || (uint64) since < mark)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("changes of collection \"%s\" after etag %lld may have been purged", name, (long long) since),
				 errdetail("All its consumers have passed etag %llu.", (unsigned long long) mark),
				 errhint("Read the collection, and go on from there; a consumer made with docstore.create_consumer keeps the changes since its position.")));
}

/*
 * docstore.changes(collection text, since_etag bigint, "limit" integer)
 * RETURNS TABLE (etag bigint, id text, deleted boolean, doc jsonb, modified timestamptz)
 */
Datum
docstore_changes_since(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64 since = PG_GETARG_INT64(1);
	int most = check_most(PG_GETARG_INT32(2), "limit");
	DocCollection collection;
	uint64 horizon;
	uint64 storage;
	Snapshot snapshot;
	DocstoreFeed *feed;

	docstore_collection_get(name, NoLock, &collection);
	docstore_collection_check_owner(&collection);
	InitMaterializedSRF(fcinfo, 0);
	horizon = docstore_feed_horizon();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	check_not_purged(name, since);
	storage = docstore_collection_storage_at(name, snapshot);
	feed = docstore_feed_open(&storage, 1, (uint64) since, horizon, snapshot);
	put_rows(fcinfo, feed, NIL, most);
	end_round(feed, snapshot);
	return (Datum) 0;
}

/* docstore.advance_consumer(consumer text, etag bigint) RETURNS bigint: the position, which never goes back. */
Datum
docstore_advance_consumer(PG_FUNCTION_ARGS)
{
	int64 etag = PG_GETARG_INT64(1);
	DocConsumer *consumer;

	PreventCommandIfReadOnly("docstore.advance_consumer()");
	consumer = get(text_to_cstring(PG_GETARG_TEXT_PP(0)), true);
	if (etag <= (int64) consumer->position)
		PG_RETURN_INT64((int64) consumer->position);
	if ((uint64) etag >= docstore_feed_horizon())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot advance consumer \"%s\" to etag %lld", consumer->name, (long long) etag),
				 errdetail("Transactions that may have changes before it are not over."),
				 errhint("Advance to the etag of the last change that docstore.changes returned.")));
	docstore_consumer_advance(consumer, (uint64) etag);
	PG_RETURN_INT64((int64) consumer->position);
}

/* ---- waiting ---- */

/* Moves *position over what does not count. */
static bool
has_changes(const char *name, uint64 *position)
{
	DocConsumer *consumer = get(name, false);
	DocstoreChange change;
	Snapshot snapshot;
	DocstoreFeed *feed;
	bool found;

	check_collections(consumer);
	feed = begin_round(consumer, Max(*position, consumer->position), &snapshot);
	found = docstore_feed_next(feed, &change);
	*position = docstore_feed_position(feed);
	end_round(feed, snapshot);
	return found;
}

static bool
wait_until(const char *name, TimestampTz end)
{
	MemoryContext round = AllocSetContextCreate(CurrentMemoryContext, "docstore round", ALLOCSET_DEFAULT_SIZES);
	uint64 position = 0;

	for (;;)
	{
		MemoryContext old = MemoryContextSwitchTo(round);
		bool found;
		long left;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		found = has_changes(name, &position);
		MemoryContextSwitchTo(old);
		MemoryContextReset(round);
		if (found)
			return true;
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
		if (left <= 0)
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, PG_WAIT_EXTENSION);
	}
}

/* docstore.wait_for_changes(consumer text, timeout interval) RETURNS boolean: is there something to read? */
Datum
docstore_wait_for_changes(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	TimestampTz end = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
															  TimestampTzGetDatum(GetCurrentTimestamp()),
															  PG_GETARG_DATUM(1)));
	volatile bool found = false;

	docstore_feed_listen();
	PG_TRY();
	{
		found = wait_until(name, end);
	}
	PG_FINALLY();
	{
		docstore_feed_unlisten();
	}
	PG_END_TRY();
	PG_RETURN_BOOL(found);
}
