/*
 * lag.c - how far a consumer of changes is behind, and what it keeps from being purged, for docstore.consumers.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "fdw/consumer.h"
#include "fdw/document.h"
#include "store/feed.h"
#include "store/store.h"

/* More changes are not counted. */
#define MAX_CHANGES 10000

#define COLUMNS 3

PG_FUNCTION_INFO_V1(docstore_consumer_lag);

/* Counts; *since is when the oldest document, or row of a view, was written, unless *unknown: deletions of documents do not say. */
static int64
count_changes(const uint64 *storages, int n, const DocConsumer *consumer, Snapshot snapshot, TimestampTz *since, bool *unknown)
{
	DocstoreFeed *feed = docstore_feed_open(storages, n, consumer->position, docstore_feed_last_etag() + 1, snapshot);
	DocstoreChange change;
	int64 count = 0;

	*unknown = true;
	while (count < MAX_CHANGES && docstore_feed_next(feed, &change))
	{
		LsmSlice body;

		count++;
		if (!*unknown || (change.value.len == 0 && !consumer->of_view))
			continue;
		if (consumer->of_view)
			*since = change.written;
		else
			document_decode(change.value, since, &body);
		*unknown = false;
	}
	docstore_feed_close(feed);
	return count;
}

/* Of the changes behind a position, as files tell. */
static uint64
held_bytes(uint64 storage, uint64 position)
{
	char lower[DOCSTORE_CHANGE_KEY];
	char upper[DOCSTORE_KEY_PREFIX];
	uint64 entries;
	uint64 bytes;
	LsmError err;

	if (storage == 0)
		return 0;
	docstore_change_key(lower, MyDatabaseId, storage, position + 1);
	docstore_key_prefix_end(upper, DOCSTORE_KEY_CHANGE, MyDatabaseId, storage);
	docstore_check(lsm_range_stats(docstore_db(), lsm_slice(lower, sizeof(lower)), lsm_slice(upper, sizeof(upper)), LSM_ALL_SEQS, &bytes, &entries, &err),
				   &err);
	return bytes;
}

/* docstore.consumer_lag(kind "char", name text, OUT changes bigint, OUT since timestamptz, OUT bytes bigint) */
Datum
docstore_consumer_lag(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	DocConsumer *consumer = docstore_consumer_get((DocConsumerKind) PG_GETARG_CHAR(0), name, false);
	bool nulls[COLUMNS] = {true, true, true};
	Datum values[COLUMNS] = {0};
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	/* It may just have been dropped. */
	if (consumer != NULL)
	{
		Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
		uint64 *storages = docstore_consumer_storages(consumer, snapshot);
		int n = list_length(consumer->collections);
		TimestampTz since = 0;
		uint64 bytes = 0;

		values[0] = Int64GetDatum(count_changes(storages, n, consumer, snapshot, &since, &nulls[1]));
		values[1] = TimestampTzGetDatum(since);
		for (int i = 0; i < n; i++)
			bytes += held_bytes(storages[i], consumer->position);
		values[2] = Int64GetDatum((int64) bytes);
		nulls[0] = nulls[2] = false;
		UnregisterSnapshot(snapshot);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
