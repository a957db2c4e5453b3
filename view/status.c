/*
 * status.c - what users ask of a view by name: its size, to wait, to drop it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "fdw/collection.h"
#include "fdw/consumer.h"
#include "fdw/document.h"
#include "store/feed.h"
#include "store/store.h"
#include "view/catalog.h"
#include "view/progress.h"
#include "view/wait.h"

#define MAX_BEHIND 10000

PG_FUNCTION_INFO_V1(docstore_replace_view);
PG_FUNCTION_INFO_V1(docstore_drop_view);
PG_FUNCTION_INFO_V1(docstore_pause_view);
PG_FUNCTION_INFO_V1(docstore_resume_view);
PG_FUNCTION_INFO_V1(docstore_view_behind);
PG_FUNCTION_INFO_V1(docstore_wait_for_view);
PG_FUNCTION_INFO_V1(docstore_view_size);

/* docstore.replace_view(name, map, collections, key, reduce, finalize): stores another definition; an error if there is none. */
Datum
docstore_replace_view(PG_FUNCTION_ARGS)
{
	Oid types[6] = {TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID, TEXTOID};
	Datum values[6];
	char nulls[6];

	PreventCommandIfReadOnly("docstore.replace_view()");
	for (int i = 0; i < lengthof(types); i++)
	{
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
		values[i] = PG_ARGISNULL(i) ? (Datum) 0 : PG_GETARG_DATUM(i);
	}
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("a view's name must not be null")));
	(void) view_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), NoLock);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("UPDATE docstore.views SET definition = pg_catalog.json_strip_nulls("
							  "pg_catalog.json_build_object('collections', $3, 'map', $2, 'key', $4, 'reduce', $5, 'finalize', $6)) "
							  "WHERE name OPERATOR(pg_catalog.=) $1",
							  lengthof(types), types, values, nulls, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not change the definition");
	SPI_finish();
	PG_RETURN_VOID();
}

/* docstore.drop_view(name): deletes the definition, whose trigger does the rest; an error if there is none. */
Datum
docstore_drop_view(PG_FUNCTION_ARGS)
{
	Oid type = TEXTOID;
	Datum name = PG_GETARG_DATUM(0);

	PreventCommandIfReadOnly("docstore.drop_view()");
	(void) view_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), NoLock);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("DELETE FROM docstore.views WHERE name OPERATOR(pg_catalog.=) $1", 1, &type, &name, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete the definition");
	SPI_finish();
	PG_RETURN_VOID();
}

/* The indexer looks at it before each batch. */
static void
set_paused(const char *name, bool paused)
{
	View *view = view_get(name, ExclusiveLock);
	View *replacement = view_find_replacement(name, NoLock);

	if (!has_privs_of_role(GetUserId(), view->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of docstore view \"%s\"", name)));
	view_catalog_set_paused(view, paused);
	if (replacement != NULL)
		view_catalog_set_paused(replacement, paused);
}

Datum
docstore_pause_view(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("docstore.pause_view()");
	set_paused(text_to_cstring(PG_GETARG_TEXT_PP(0)), true);
	PG_RETURN_VOID();
}

Datum
docstore_resume_view(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("docstore.resume_view()");
	set_paused(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	PG_RETURN_VOID();
}

/* docstore.view_behind(name, OUT changes, OUT since) */
Datum
docstore_view_behind(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	View *view = view_find(name, NoLock); /* NULL: just dropped */
	DocConsumer *consumer = view != NULL ? docstore_consumer_get(DOC_CONSUMER_VIEW, name, false) : NULL;
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool nulls[2] = {true, true};
	Datum values[2] = {0};
	ViewProgress progress;
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (consumer != NULL && view_progress_read(view->storage, snapshot, &progress) && progress.built)
	{
		uint64 *storages = docstore_consumer_storages(consumer, snapshot);
		DocstoreFeed *feed = docstore_feed_open(storages, list_length(consumer->collections), progress.position,
												docstore_feed_last_etag() + 1, snapshot);
		DocstoreChange change;
		int64 n = 0;

		while (n < MAX_BEHIND && docstore_feed_next(feed, &change))
		{
			LsmSlice body;
			TimestampTz since;

			n++;
			if (change.value.len == 0 || !nulls[1])
				continue;
			document_decode(change.value, &since, &body);
			values[1] = TimestampTzGetDatum(since);
			nulls[1] = false;
		}
		docstore_feed_close(feed);
		values[0] = Int64GetDatum(n);
		nulls[0] = false;
	}
	UnregisterSnapshot(snapshot);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

Datum
docstore_view_size(PG_FUNCTION_ARGS)
{
	static const char kinds[] = {DOCSTORE_KEY_VIEW, DOCSTORE_KEY_BACK, DOCSTORE_KEY_MAPPED, DOCSTORE_KEY_PARTIAL};
	uint64 total = 0;

	for (int i = 0; i < lengthof(kinds); i++)
	{
		uint64 bytes;
		uint64 entries;

		docstore_kind_stats(kinds[i], (uint64) PG_GETARG_INT64(kinds[i] == DOCSTORE_KEY_VIEW ? 1 : 0), &bytes, &entries);
		total += bytes;
	}
	PG_RETURN_INT64((int64) total);
}

/* docstore.wait_for_view(name, timeout) */
Datum
docstore_wait_for_view(PG_FUNCTION_ARGS)
{
	Interval *timeout = PG_GETARG_INTERVAL_P(1);
	Datum until = DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(GetCurrentTimestamp()),
									  PointerGetDatum(timeout));

	view_wait(text_to_cstring(PG_GETARG_TEXT_PP(0)), DatumGetTimestampTz(until), true);
	PG_RETURN_VOID();
}
