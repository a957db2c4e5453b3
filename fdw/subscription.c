/*
 * subscription.c - the change feed for users: named subscribers.
 *
 *     create_subscription(name, collections)   from now on
 *     changes(subscription, max_changes)       what comes after its position
 *     advance(subscription, etag)              everything up to that is done
 *     wait_for_changes(subscription, timeout)  sleeps until there is something
 *
 * Reading moves nothing: a subscriber that fails between reading and advancing
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

#define CHANGE_COLUMNS 6

PG_FUNCTION_INFO_V1(docstore_create_subscription);
PG_FUNCTION_INFO_V1(docstore_drop_subscription);
PG_FUNCTION_INFO_V1(docstore_changes);
PG_FUNCTION_INFO_V1(docstore_advance);
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
				 errmsg("a subscription needs at least one collection")));
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

/* docstore.create_subscription(name text, collections text[]) */
Datum
docstore_create_subscription(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	List *names = names_of(PG_GETARG_ARRAYTYPE_P(1));

	PreventCommandIfReadOnly("docstore.create_subscription()");
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid subscription name \"%s\"", name),
				 errhint("A subscription's name has 1 to %d bytes.", NAMEDATALEN - 1)));
	check_owners(names);
	docstore_consumer_create(DOC_CONSUMER_SUBSCRIPTION, name, GetUserId(), names);
	/* They may have been others of those names before they were locked. */
	check_owners(names);
	PG_RETURN_VOID();
}

/* Throws unless there is such a subscription, and the caller may use it. */
static DocConsumer *
get(const char *name, bool lock)
{
	DocConsumer *consumer = docstore_consumer_get(DOC_CONSUMER_SUBSCRIPTION, name, false);

	/* Rights before the lock; it may be another of that name afterwards. */
	for (int i = 0; i < 2; i++)
	{
		if (consumer == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("subscription \"%s\" does not exist", name),
					 errhint("See the view docstore.subscriptions, or make it with docstore.create_subscription.")));
		if (!has_privs_of_role(GetUserId(), consumer->owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("must be owner of subscription \"%s\"", name)));
		if (lock && i == 0)
			consumer = docstore_consumer_get(DOC_CONSUMER_SUBSCRIPTION, name, true);
	}
	return consumer;
}

/* docstore.drop_subscription(name text) */
Datum
docstore_drop_subscription(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PreventCommandIfReadOnly("docstore.drop_subscription()");
	get(name, true);
	docstore_consumer_drop(DOC_CONSUMER_SUBSCRIPTION, name);
	docstore_owners_changed();
	PG_RETURN_VOID();
}

/* ---- reading ---- */

/* What the subscription's owner may no longer read, a subscription does not show. */
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
					 errdetail("The owner of subscription \"%s\", role \"%s\", is not a member of the role that owns the collection.",
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

static void
put_row(ReturnSetInfo *rsinfo, const DocConsumer *consumer, const DocstoreChange *change, DocumentBuffer *buffer)
{
	Datum values[CHANGE_COLUMNS] = {0};
	bool nulls[CHANGE_COLUMNS] = {false};

	values[0] = Int64GetDatum((int64) change->etag);
	values[1] = CStringGetTextDatum(list_nth(consumer->collections, change->source));
	nulls[2] = change->truncated;
	if (!change->truncated)
		values[2] = PointerGetDatum(cstring_to_text_with_len(change->id.data, (int) change->id.len));
	values[3] = BoolGetDatum(change->deleted || change->truncated);
	nulls[4] = nulls[5] = change->deleted || change->truncated;
	if (!nulls[4])
	{
		TimestampTz modified;
		LsmSlice body;

		document_decode(change->value, &modified, &body);
		values[4] = PointerGetDatum(document_buffer_set(buffer, body));
		values[5] = TimestampTzGetDatum(modified);
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * docstore.changes(subscription text, max_changes integer)
 * RETURNS TABLE (etag bigint, collection text, id text, deleted boolean, doc jsonb, modified timestamptz)
 */
Datum
docstore_changes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DocConsumer *consumer = get(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	int left = PG_GETARG_INT32(1);
	DocumentBuffer buffer = {CurrentMemoryContext, NULL, 0};
	DocstoreChange change;
	MemoryContext row;
	MemoryContext old;
	Snapshot snapshot;
	DocstoreFeed *feed;

	if (left <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_changes must be greater than zero")));
	check_collections(consumer);
	InitMaterializedSRF(fcinfo, 0);
	row = AllocSetContextCreate(CurrentMemoryContext, "docstore change", ALLOCSET_DEFAULT_SIZES);
	feed = begin_round(consumer, consumer->position, &snapshot);
	old = MemoryContextSwitchTo(row);
	while (left-- > 0 && docstore_feed_next(feed, &change))
	{
		put_row(rsinfo, consumer, &change, &buffer);
		MemoryContextReset(row);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(row);
	end_round(feed, snapshot);
	return (Datum) 0;
}

/* docstore.advance(subscription text, etag bigint) RETURNS bigint: the position, which never goes back. */
Datum
docstore_advance(PG_FUNCTION_ARGS)
{
	int64 etag = PG_GETARG_INT64(1);
	DocConsumer *consumer;

	PreventCommandIfReadOnly("docstore.advance()");
	consumer = get(text_to_cstring(PG_GETARG_TEXT_PP(0)), true);
	if (etag <= (int64) consumer->position)
		PG_RETURN_INT64((int64) consumer->position);
	if ((uint64) etag >= docstore_feed_horizon())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot advance subscription \"%s\" to etag %lld", consumer->name, (long long) etag),
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

/* docstore.wait_for_changes(subscription text, timeout interval) RETURNS boolean: is there something to read? */
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
