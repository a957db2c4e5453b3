/*
 * wait.c - docstore.wait_for_replication: until the tables have what was committed before.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "fdw/consumer.h"
#include "repl/state.h"
#include "store/feed.h"
#include "store/workers.h"
#include "view/wait.h"

/* Between two looks: at first, growing to. */
#define POLL_FIRST_MS 1
#define POLL_MAX_MS 20

PG_FUNCTION_INFO_V1(docstore_wait_for_replication);

/* The position moves with changes only: if it is less, there may have been none for this replication in between. */
static bool
has_caught_up(const DocConsumer *consumer, uint64 target)
{
	uint64 horizon = docstore_feed_horizon();
	DocstoreChange change;
	DocstoreFeed *feed;
	Snapshot snapshot;
	bool result;

	if (consumer->position >= target)
		return true;
	if (horizon <= target)
		return false;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	feed = docstore_feed_open(docstore_consumer_storages(consumer, snapshot), list_length(consumer->collections),
							  consumer->position, target + 1, snapshot);
	result = !docstore_feed_next(feed, &change);
	docstore_feed_close(feed);
	UnregisterSnapshot(snapshot);
	return result;
}

static bool
is_done(const char *name, uint64 target)
{
	ReplState state;
	DocConsumer *consumer;

	if (!repl_state_read(name, &state) || (consumer = docstore_consumer_get(DOC_CONSUMER_REPLICATION, name, false)) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("replication \"%s\" does not exist", name),
				 errhint("See docstore.replications, or make it with docstore.create_replication.")));
	if (state.paused || state.failed)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("replication \"%s\" is %s", name, state.paused ? "paused" : "stopped"),
				 errhint("See docstore.replication_status.")));
	/* A view may have other storage than the tables were made of. */
	if (consumer->of_view && docstore_consumer_storages(consumer, NULL)[0] != state.source)
		return false;
	return !state.emptying && state.to_scan == NIL && has_caught_up(consumer, target);
}

/* docstore.wait_for_replication(name text, timeout interval) */
Datum
docstore_wait_for_replication(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Datum end = DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(GetCurrentTimestamp()), PG_GETARG_DATUM(1));
	MemoryContext temp = AllocSetContextCreate(CurrentMemoryContext, "docstore wait", ALLOCSET_DEFAULT_SIZES);
	uint64 target = docstore_feed_last_etag();
	long poll_ms = POLL_FIRST_MS;
	DocConsumer *consumer;

	if (docstore_feed_own_etag() != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("cannot wait for replication \"%s\" in a transaction that has changed documents", name),
				 errhint("Commit first.")));
	consumer = docstore_consumer_get(DOC_CONSUMER_REPLICATION, name, false);
	if (consumer != NULL && consumer->of_view)
	{
		/* What it does not have yet its replications cannot have. */
		view_wait(linitial(consumer->collections), DatumGetTimestampTz(end), true);
		target = docstore_feed_last_etag();
	}
	docstore_wait_prepare();
	for (;;)
	{
		MemoryContext old = MemoryContextSwitchTo(temp);
		bool done = is_done(name, target);

		if (!done && poll_ms == POLL_MAX_MS && docstore_worker_waits_for_me(DOCSTORE_REPLICATOR))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
					 errmsg("cannot wait for replication \"%s\" in a transaction for whose locks the replicator waits", name),
					 errhint("Commit first.")));
		MemoryContextSwitchTo(old);
		if (done)
			break;
		if (GetCurrentTimestamp() >= DatumGetTimestampTz(end))
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("replication \"%s\" did not catch up in time", name),
					 docstore_worker_runs(DOCSTORE_REPLICATOR) ? 0 : errhint("No replicator runs in this database; the server's log has the reason, such as max_worker_processes.")));
		MemoryContextReset(temp);
		docstore_want_worker(DOCSTORE_REPLICATOR, MyDatabaseId);
		docstore_wait_for_worker(poll_ms);
		poll_ms = Min(poll_ms * 2, POLL_MAX_MS);
		CHECK_FOR_INTERRUPTS();
	}
	docstore_wait_end();
	MemoryContextDelete(temp);
	PG_RETURN_VOID();
}
