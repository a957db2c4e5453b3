/*
 * index.c - moves one view forward by one batch (index.h).
 *
 * A batch is one REPEATABLE READ transaction that moves rows, back-index, errors
 * and position together, so after whatever crash a view is as of its position.
 *
 * A new view is scanned first, collection by collection in the order of ids,
 * each batch with a snapshot of its own; where the next one goes on is kept, so
 * a restart does not start over.  From the position that was taken before the
 * scan it then follows the feed.  A document that was written meanwhile may have
 * been scanned in its new form already; mapping it again changes nothing.  The
 * view can be read once its position is behind everything that the scan saw.
 *
 * Following: a document's rows are replaced by what its newest version emits.  Views that keep up with the
 * same collections share what one of them has read (pass.h).
 * TRUNCATE gives a collection a new storage id: the feed says so, and the rows
 * of the old one are taken away.  Back-index and rows carry the storage id, so
 * they never mix.
 */
#include "postgres.h"

#include "worker/index.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "fdw/collection.h"
#include "fdw/consumer.h"
#include "fdw/scan.h"
#include "store/feed.h"
#include "view/errors.h"
#include "view/progress.h"
#include "view/replace.h"
#include "view/tree.h"
#include "view/write.h"
#include "worker/pass.h"

/*
 * How many documents a batch has: it should take so long, that is keep others waiting.  Larger ones are
 * quicker, up to a few thousand.
 */
#define BATCH_MS 200
#define MIN_DOCUMENTS 50
#define FIRST_DOCUMENTS 2000
#define MAX_DOCUMENTS 16000
/* A position moves without documents only when it would move this far: it is a row to be written. */
#define IDLE_ETAGS 100000

/* What one transaction works on. */
typedef struct Batch
{
	ViewIndexing *indexed;
	View *view;
	DocConsumer *consumer;
	Snapshot snapshot;
	uint64 horizon;
	uint64 *storages; /* of the collections, now */
	ViewProgress progress;
	ViewDocument *docs;
	int ndocs;
	bool replaced;    /* a collection has another storage than before */
	ErrorData *fault; /* what is wrong with map or reduce */
} Batch;

/* ---- documents of a batch ---- */

/* What lies behind a position in the view's collections; copies, with what they refer to left in the pass. */
static void
take_documents(Batch *batch, const ViewPass *pass, uint64 position)
{
	batch->docs = palloc(Max(pass->ndocs, 1) * sizeof(ViewDocument));
	for (int i = 0; i < pass->ndocs; i++)
		for (int c = 0; c < batch->progress.ncollections; c++)
			if (pass->docs[i].etag > position && pass->docs[i].storage == batch->storages[c])
			{
				batch->docs[batch->ndocs] = pass->docs[i];
				batch->docs[batch->ndocs++].collection = list_nth(batch->view->collections, c);
			}
}

/* ---- map and reduce, made ready ---- */

/* They run with the owner's rights: another owner's are others.  So are those with another finalize. */
static void
forget_others(Batch *batch)
{
	ViewIndexing *indexed = batch->indexed;

	if (indexed->owner == batch->view->owner && indexed->results == batch->view->results)
		return;
	if (indexed->map != NULL)
		view_map_free(indexed->map);
	if (indexed->reduce != NULL)
		view_reduce_free(indexed->reduce);
	indexed->map = NULL;
	indexed->reduce = NULL;
	indexed->owner = batch->view->owner;
	indexed->results = batch->view->results;
}

static ViewMap *
prepared_map(Batch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	forget_others(batch);
	if (batch->indexed->map == NULL)
		batch->indexed->map = view_map_new(batch->view);
	MemoryContextSwitchTo(old);
	return batch->indexed->map;
}

static ViewReduce *
prepared_reduce(Batch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	forget_others(batch);
	if (batch->indexed->reduce == NULL)
		batch->indexed->reduce = view_reduce_new(batch->view);
	MemoryContextSwitchTo(old);
	return batch->indexed->reduce;
}

/* ---- one batch ---- */

/* The rows of a collection go, all at once. */
static void
purge(Batch *batch, int collection)
{
	StringInfoData from;

	initStringInfo(&from);
	(void) view_write_purge(batch->view, batch->progress.storages[collection], batch->snapshot, &batch->progress.rows, &from, NULL);
	pfree(from.data);
}

/* The same in pieces, with what that means to their groups. */
static void
purge_and_reduce(Batch *batch, int collection)
{
	StringInfoData from;
	bool more;

	initStringInfo(&from);
	do
	{
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "docstore purge", ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);
		ViewChanges changes = {0};

		more = view_write_purge(batch->view, batch->progress.storages[collection], batch->snapshot, &batch->progress.rows, &from, &changes);
		MemoryContextSwitchTo(old);
		/* What a fault says must stay. */
		if (batch->fault == NULL)
			batch->fault = view_tree_apply(batch->view, prepared_reduce(batch), &changes, batch->snapshot, &batch->progress);
		MemoryContextDelete(context);
	} while (more);
	pfree(from.data);
}

/* Takes a collection's rows away because its storage is gone; a new one may be in its place. */
static void
replace_storage(Batch *batch, int collection)
{
	if (batch->progress.storages[collection] != 0)
	{
		/* Where nothing stays, groups need not be told row by row. */
		if (batch->view->reduce == NULL || batch->progress.ncollections == 1)
			purge(batch, collection);
		else
			purge_and_reduce(batch, collection);
		if (batch->view->reduce != NULL && batch->progress.ncollections == 1 && batch->fault == NULL)
			batch->fault = view_tree_clear(batch->view, prepared_reduce(batch), batch->snapshot, &batch->progress);
		view_errors_forget(batch->view, list_nth(batch->view->collections, collection));
	}
	batch->progress.storages[collection] = batch->storages[collection];
	batch->replaced = true;
}

/* The next documents of the scan. */
static void
scan(Batch *batch)
{
	ViewProgress *progress = &batch->progress;
	ViewPass *pass = docstore_pass_begin(batch->storages, progress->ncollections, 0, batch->indexed->max_documents, false);

	if (progress->next_collection == 0 && progress->next_id == NULL && progress->documents == 0)
	{
		/* The first batch: what is changed from here on the feed will say.  In a copy of a database errors are there. */
		view_errors_forget(batch->view, NULL);
		progress->position = batch->horizon - 1;
		memcpy(progress->storages, batch->storages, progress->ncollections * sizeof(uint64));
	}
	while (progress->next_collection < progress->ncollections && !docstore_pass_is_full(pass))
	{
		int collection = progress->next_collection;
		uint64 storage = batch->storages[collection];
		DocCursor *cursor;
		DocumentKey key;
		char lower[DOCSTORE_KEY_PREFIX];
		char upper[DOCSTORE_KEY_PREFIX];
		LsmSlice from = lsm_slice(lower, sizeof(lower));

		/* Truncated since: the feed will say so, too, and bring what came later. */
		if (storage == 0 || storage != progress->storages[collection])
		{
			progress->next_collection++;
			progress->next_id = NULL;
			continue;
		}
		docstore_key_prefix(lower, DOCSTORE_KEY_DOCUMENT, MyDatabaseId, storage);
		docstore_key_prefix_end(upper, DOCSTORE_KEY_DOCUMENT, MyDatabaseId, storage);
		if (progress->next_id != NULL)
		{
			document_key_init(&key, storage, progress->next_id, strlen(progress->next_id));
			from = lsm_slice(key.data, key.len);
		}
		cursor = doc_cursor_new(batch->snapshot);
		doc_cursor_open(cursor, from, lsm_slice(upper, sizeof(upper)));
		for (lsm_scan_first(cursor->scan); cursor->scan->valid && !docstore_pass_is_full(pass); lsm_scan_next(cursor->scan))
		{
			LsmScan *at = cursor->scan;
			LsmSlice id = document_key_id(at->key);

			/* The batch before ended with that one. */
			if (progress->next_id == NULL || lsm_slice_compare(id, lsm_slice(progress->next_id, strlen(progress->next_id))) != 0)
				docstore_pass_add(pass, collection, id, at->version.seq, at->value);
			lsm_scan_release(at);
			CHECK_FOR_INTERRUPTS();
		}
		lsm_scan_release(cursor->scan);
		docstore_check(cursor->scan->status, &cursor->scan->err);
		doc_cursor_close(cursor);
		if (docstore_pass_is_full(pass))
			progress->next_id = text_to_cstring(pass->docs[pass->ndocs - 1].id);
		else
		{
			progress->next_collection++;
			progress->next_id = NULL;
		}
	}
	take_documents(batch, pass, 0);
	progress->documents += batch->ndocs;
	if (progress->next_collection == progress->ncollections)
		progress->scanned = Max(docstore_feed_last_etag(), 1);
}

/* Reads the next changes. */
static ViewPass *
read_changes(Batch *batch)
{
	ViewProgress *progress = &batch->progress;
	ViewPass *pass = docstore_pass_begin(batch->storages, progress->ncollections, progress->position, batch->indexed->max_documents, true);
	DocstoreFeed *feed = docstore_feed_open(batch->storages, progress->ncollections, progress->position, batch->horizon, batch->snapshot);
	DocstoreChange change;
	bool more = true;

	while (!docstore_pass_is_full(pass) && (more = docstore_feed_next(feed, &change)))
	{
		CHECK_FOR_INTERRUPTS();
		if (progress->storages[change.source] != batch->storages[change.source])
			replace_storage(batch, change.source);
		if (!change.truncated)
			docstore_pass_add(pass, change.source, change.id, change.etag, change.deleted ? lsm_slice(NULL, 0) : change.value);
	}
	docstore_pass_end(pass, docstore_feed_position(feed), more);
	docstore_feed_close(feed);
	progress->changes_read += pass->ndocs;
	return pass;
}

/* The next changes; true if there may be more. */
static bool
follow(Batch *batch)
{
	ViewProgress *progress = &batch->progress;
	ViewPass *pass = NULL;

	for (int i = 0; i < progress->ncollections; i++)
		if (batch->storages[i] == 0 && progress->storages[i] != 0)
			replace_storage(batch, i);
	/* Rows of storages that are gone go when the feed says so, which only who reads it hears. */
	if (memcmp(batch->storages, progress->storages, progress->ncollections * sizeof(uint64)) == 0)
		pass = docstore_pass_find(batch->storages, progress->ncollections, progress->position);
	if (pass == NULL)
		pass = read_changes(batch);
	take_documents(batch, pass, progress->position);
	progress->changes += batch->ndocs;
	progress->position = pass->to;
	return pass->more;
}

static ErrorData *
make_fault(int sqlerrcode, const char *message)
{
	ErrorData *fault = palloc0(sizeof(ErrorData));

	fault->sqlerrcode = sqlerrcode;
	fault->message = pstrdup(message);
	return fault;
}

/* What the view rests on must be there still: types and collations of columns, and rights. */
static ErrorData *
check_foundations(const Batch *batch)
{
	const char *lost = view_lost(batch->view->rows, true);
	ListCell *lc;

	if (lost == NULL)
		lost = view_lost(batch->view->shape, true);
	if (lost != NULL)
		return make_fault(ERRCODE_UNDEFINED_OBJECT, lost);
	foreach (lc, batch->view->collections)
	{
		DocCollection collection;

		if (batch->storages[foreach_current_index(lc)] == 0)
			continue;
		docstore_collection_get(lfirst(lc), NoLock, &collection);
		if (!has_privs_of_role(batch->view->owner, collection.owner))
			return make_fault(ERRCODE_INSUFFICIENT_PRIVILEGE, psprintf("permission denied for collection \"%s\"", collection.name));
	}
	return NULL;
}

/* The view or replacement of that name and storage, locked; NULL if it is gone. */
static View *
find_view(const char *name, uint64 storage)
{
	View *view = view_find(name, RowExclusiveLock);

	if (view != NULL && view->storage != storage)
		view = view_find_replacement(name, NoLock);
	return view != NULL && view->storage == storage ? view : NULL;
}

/* Locks what the batch writes, then looks.  False if the view is gone. */
static bool
begin(ViewIndexing *indexed, Batch *batch)
{
	memset(batch, 0, sizeof(*batch));
	batch->indexed = indexed;
	XactIsoLevel = XACT_REPEATABLE_READ;
	if (indexed->ready)
		view_take_place_lock(indexed->name);
	batch->view = find_view(indexed->name, indexed->storage);
	if (batch->view == NULL || batch->view->paused)
		return false;
	batch->consumer = docstore_consumer_get(batch->view->replacing ? DOC_CONSUMER_NEXT_VIEW : DOC_CONSUMER_VIEW, indexed->name, true);
	if (batch->consumer == NULL)
		elog(ERROR, "view \"%s\" is not registered as a consumer", indexed->name);
	batch->horizon = docstore_feed_horizon();
	batch->view->tracked = !batch->view->replacing && docstore_consumers_of_view(indexed->name) != NIL;
	PushActiveSnapshot(GetTransactionSnapshot());
	batch->snapshot = GetActiveSnapshot();
	batch->storages = docstore_consumer_storages(batch->consumer, batch->snapshot);
	if (!view_progress_read(batch->view->storage, batch->snapshot, &batch->progress))
		elog(ERROR, "view \"%s\" has no progress", indexed->name);
	return true;
}

/* Everything that the batch found goes into the view, or else the fault of its map or reduce comes back. */
static ErrorData *
map_and_write(Batch *batch, bool scanning)
{
	bool reduce = batch->view->reduce != NULL && !scanning;
	ViewChanges changes = {0};
	ErrorData *fault;

	if (batch->fault != NULL || batch->ndocs == 0)
		return batch->fault;
	fault = view_map_run(prepared_map(batch), batch->docs, batch->ndocs);
	if (fault != NULL)
		return fault;
	/* What the scan finds is reduced when it is over. */
	view_write_documents(batch->view, batch->docs, batch->ndocs, scanning, batch->snapshot, &batch->progress.rows, reduce ? &changes : NULL);
	if (reduce)
		fault = view_tree_apply(batch->view, prepared_reduce(batch), &changes, batch->snapshot, &batch->progress);
	if (fault == NULL)
		view_errors_note(batch->view, batch->docs, batch->ndocs);
	return fault;
}

/* Puts a replacement that has caught up in the place of its view.  Returns what hinders it. */
static ErrorData *
take_place(const View *next)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData *volatile fault = NULL; /* set in the handler */

	PG_TRY();
	{
		view_take_place(next);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		fault = CopyErrorData();
		/* Somebody reads: that passes. */
		if (fault->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || !view_error_is_of_query(fault->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return fault;
}

/*
 * The map cannot be run.  What the batch did is undone; the reason goes where
 * users look, and by way of an error once into the log (task.c), which also
 * makes the next tries come after growing pauses.
 */
static void
pause_view(const Batch *batch, const ErrorData *fault)
{
	AbortCurrentTransaction();
	if (!batch->progress.paused || strcmp(batch->progress.reason, fault->message) != 0)
	{
		View *view;

		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		view = find_view(batch->view->name, batch->view->storage);
		if (view != NULL)
			view_progress_pause(view->storage, fault);
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	ereport(ERROR, (errcode(fault->sqlerrcode), errmsg_internal("view \"%s\": %s", batch->view->name, fault->message)));
}

/* What a batch has done in how much time, others' turns included, weighs a fifth. */
static void
note_rate(Batch *batch, const ViewProgress *before, bool building, TimestampTz since)
{
	ViewProgress *progress = &batch->progress;
	TimestampTz from = batch->indexed->busy_since != 0 ? batch->indexed->busy_since : since;
	double done = building ? (double) (progress->rows_reduced - before->rows_reduced) : batch->ndocs;
	double rate = done * USECS_PER_SEC / Max(GetCurrentTimestamp() - from, 1);

	/* Another unit. */
	if (building && before->rows_reduced == 0)
		progress->rate = 0;
	progress->rate = progress->rate == 0 ? rate : 0.8 * progress->rate + 0.2 * rate;
}

/* The next batch's size, after one that began then. */
static void
tune(ViewIndexing *indexed, int ndocs, TimestampTz since)
{
	long ms = TimestampDifferenceMilliseconds(since, GetCurrentTimestamp());

	if (ms > BATCH_MS && ndocs > MIN_DOCUMENTS)
		indexed->max_documents = Max(MIN_DOCUMENTS, Min(ndocs, indexed->max_documents) / 2);
	else if (ms < BATCH_MS / 2 && ndocs >= indexed->max_documents)
		indexed->max_documents = Min(MAX_DOCUMENTS, indexed->max_documents * 2);
}

bool
docstore_index_batch(ViewIndexing *indexed)
{
	MemoryContext context = CurrentMemoryContext;
	TimestampTz since = GetCurrentTimestamp();
	ViewProgress before;
	ErrorData *fault;
	Batch batch;
	bool more = true;
	bool scanning;
	bool building;  /* the first results */
	bool switching; /* the replacement has caught up */

	if (indexed->max_documents == 0)
		indexed->max_documents = FIRST_DOCUMENTS;
	StartTransactionCommand();
	/* What is made here outlives the transaction, which pause_view ends. */
	MemoryContextSwitchTo(context);
	if (!begin(indexed, &batch))
	{
		CommitTransactionCommand();
		return false;
	}
	before = batch.progress;
	scanning = before.scanned == 0;
	building = !scanning && batch.view->reduce != NULL && !before.reduced;
	fault = check_foundations(&batch);
	if (fault == NULL)
	{
		if (scanning)
			scan(&batch);
		else if (building)
			batch.fault = view_tree_build(batch.view, prepared_reduce(&batch), batch.snapshot, &batch.progress);
		else
			more = follow(&batch);
		fault = map_and_write(&batch, scanning);
	}
	if (fault != NULL)
		pause_view(&batch, fault);
	switching = indexed->ready && !more;

	batch.progress.built = before.built || (batch.progress.scanned != 0 && (batch.view->reduce == NULL || batch.progress.reduced) &&
											(batch.progress.position >= batch.progress.scanned || docstore_feed_last_etag() == 0));
	if (before.paused)
		view_progress_pause(batch.view->storage, NULL);
	if (scanning || building || switching || batch.ndocs > 0 || batch.replaced || batch.progress.built != before.built ||
		batch.progress.position > before.position + IDLE_ETAGS)
	{
		if (before.paused)
			CommandCounterIncrement();
		note_rate(&batch, &before, building, since);
		view_progress_write(batch.view->storage, &batch.progress);
		docstore_consumer_advance(batch.consumer, batch.progress.position);
	}
	if (switching)
	{
		CommandCounterIncrement();
		fault = take_place(batch.view);
		if (fault != NULL)
			pause_view(&batch, fault);
	}
	/* With the next batch it may. */
	indexed->ready = batch.view->replacing && batch.progress.built && !switching;
	more |= indexed->ready;
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	tune(indexed, batch.ndocs, since);
	indexed->busy_since = more ? GetCurrentTimestamp() : 0;
	return more;
}
