/*
 * replicate.c - moves one replication forward by one batch (replicate.h).
 *
 * A batch is one transaction that writes the rows, the list of documents that
 * failed, and the position, so each change arrives exactly once, whatever
 * crashes.  It is READ COMMITTED: documents are read with one snapshot, but
 * tables may be written by others, too, and their rows are met as they are.
 *
 * What was there when the replication was made, or reset, is scanned first,
 * collection by collection in the order of ids.  The position stands still
 * meanwhile, and the scan passes over documents that are newer: those the feed
 * brings afterwards.  Collections that are added later are scanned likewise, when the
 * position has reached the etag from which on their changes are recorded.  So nothing comes twice, and nothing newer than the position
 * enters.  For the same reason a document that failed is tried again only while
 * its newest version is the one that failed.
 *
 * A replication of a view reads its rows instead: scan and feed are the same, with the view's storage
 * for a collection's and rows as documents (repl/view_row.h).  It begins with the view's lock in ShareLock mode: then
 * the indexer's writes are over, those that come are recorded, and the last etag parts the two.  When the
 * view has got other storage, that is another definition or finalize, the tables' rows are taken away and it begins
 * again; likewise in a copy of a database, whose views are built anew.
 *
 * With on_error "stop" a batch in which a document fails is undone.  The next ones
 * are smaller, down to one document: then it stands before the one that fails.
 */
#include "postgres.h"

#include "worker/replicate.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "fdw/collection.h"
#include "fdw/consumer.h"
#include "fdw/document.h"
#include "fdw/scan.h"
#include "repl/state.h"
#include "repl/view_row.h"
#include "store/feed.h"
#include "store/stop.h"
#include "store/txn.h"

/* A batch ends with the first of these. */
#define BATCH_DOCUMENTS 2000
#define BATCH_BYTES (4 * 1024 * 1024)
/* Of them, at most so many that failed before. */
#define BATCH_RETRIES 200
/* A position moves without documents only when it would move this far: it is a row to be written. */
#define IDLE_ETAGS 100000
/* Until the next look at a view that is not built yet. */
#define NOT_BUILT_MS 1000

typedef struct Batch
{
	Replicating *replicating;
	DocConsumer *consumer;
	ReplState state;
	ReplCounts counts;
	Snapshot snapshot;
	uint64 horizon;
	uint64 *storages;
	ReplView *view;  /* NULL: documents of collections are replicated */
	uint64 position; /* to be */
	ViewDocument *docs;
	ReplViewRow *rows; /* of a view: what is to be the documents */
	int ndocs;
	int limit;
	Size bytes;
	bool changed; /* the state must be written, documents or not */
} Batch;

void
docstore_replicating_init(Replicating *replicating, const char *name)
{
	strlcpy(replicating->name, name, NAMEDATALEN);
	replicating->may_have_errors = true;
	replicating->retry_ms = -1;
	replicating->limit = BATCH_DOCUMENTS;
}

void
docstore_replicating_free(Replicating *replicating)
{
	if (replicating->apply != NULL)
		repl_apply_free(replicating->apply);
	if (replicating->definition != NULL)
		pfree(replicating->definition);
	replicating->apply = NULL;
	replicating->definition = NULL;
}

/* ---- documents of a batch ---- */

static bool
is_full(const Batch *batch)
{
	return batch->ndocs >= batch->limit || batch->bytes >= BATCH_BYTES;
}

static LsmSlice
copy_slice(LsmSlice slice)
{
	char *copy = palloc(slice.len + 1);

	memcpy(copy, slice.data, slice.len);
	return lsm_slice(copy, slice.len);
}

/* Copies; value empty: the document is deleted.  Of a view: the row and its key behind the prefix, not a document so far. */
static void
add_document(Batch *batch, int collection, LsmSlice id, uint64 etag, LsmSlice value)
{
	ViewDocument *doc;

	if (batch->view != NULL && id.len > REPL_VIEW_MAX_KEY)
	{
		/* It has never been replicated.  The position goes behind it. */
		if (value.len == 0)
		{
			batch->changed = true;
			return;
		}
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("view \"%s\" has a row whose key is too long to be replicated", repl_view(batch->view)->name),
				 errdetail("It has %zu bytes; %d can be replicated.", id.len, REPL_VIEW_MAX_KEY)));
	}
	if (batch->docs == NULL)
		batch->docs = palloc((BATCH_DOCUMENTS + BATCH_RETRIES) * sizeof(ViewDocument));
	doc = &batch->docs[batch->ndocs++];
	memset(doc, 0, sizeof(*doc));
	doc->collection = list_nth(batch->consumer->collections, collection);
	doc->etag = etag;
	batch->bytes += sizeof(ViewDocument) + id.len + value.len;
	if (batch->view != NULL)
	{
		if (batch->rows == NULL)
			batch->rows = palloc((BATCH_DOCUMENTS + BATCH_RETRIES) * sizeof(ReplViewRow));
		doc->id = repl_view_id(id);
		batch->rows[batch->ndocs - 1] = (ReplViewRow){copy_slice(id), copy_slice(value)};
		return;
	}
	doc->id = cstring_to_text_with_len(id.data, (int) id.len);
	if (value.len > 0)
	{
		LsmSlice body;

		document_decode(value, &doc->modified, &body);
		doc->doc = palloc(VARHDRSZ + body.len);
		SET_VARSIZE(doc->doc, VARHDRSZ + body.len);
		memcpy(VARDATA(doc->doc), body.data, body.len);
	}
}

/* The complete key of a document or row of that id; false if there can be none. */
static bool
key_of(const Batch *batch, int collection, const char *id, StringInfo key)
{
	DocumentKey document;

	if (batch->view != NULL)
		return repl_view_key(batch->view, id, key);
	document_key_init(&document, batch->storages[collection], id, strlen(id));
	resetStringInfo(key);
	appendBinaryStringInfo(key, document.data, document.len);
	return true;
}

/* Its place; -1 if it is not there. */
static int
find_collection(const Batch *batch, const char *name)
{
	ListCell *lc;

	foreach (lc, batch->consumer->collections)
		if (strcmp(lfirst(lc), name) == 0)
			return foreach_current_index(lc);
	return -1;
}

/* The next documents of a collection, or rows of the view; true if it is at its end. */
static bool
scan_collection(Batch *batch, int collection)
{
	uint64 storage = batch->storages[collection];
	char kind = batch->view != NULL ? DOCSTORE_KEY_VIEW : DOCSTORE_KEY_DOCUMENT;
	DocCursor *cursor;
	StringInfoData key;
	StringInfoData last;
	char lower[DOCSTORE_KEY_PREFIX];
	char upper[DOCSTORE_KEY_PREFIX];
	LsmSlice from = lsm_slice(lower, sizeof(lower));
	bool after = false; /* the batch before ended with `from` */
	bool any = false;

	if (storage == 0)
		return true;
	initStringInfo(&key);
	initStringInfo(&last);
	docstore_key_prefix(lower, kind, MyDatabaseId, storage);
	docstore_key_prefix_end(upper, kind, MyDatabaseId, storage);
	if (batch->state.next_id != NULL && key_of(batch, collection, batch->state.next_id, &key))
	{
		from = lsm_slice(key.data, key.len);
		after = true;
	}
	cursor = doc_cursor_new(batch->snapshot);
	doc_cursor_open(cursor, from, lsm_slice(upper, sizeof(upper)));
	for (lsm_scan_first(cursor->scan); cursor->scan->valid && !is_full(batch); lsm_scan_next(cursor->scan))
	{
		LsmScan *at = cursor->scan;
		LsmSlice id = document_key_id(at->key);

		if (!after || lsm_slice_compare(at->key, from) != 0)
		{
			resetStringInfo(&last);
			appendBinaryStringInfo(&last, id.data, (int) id.len);
			any = true;
			if (at->version.seq <= batch->state.scan_to)
				add_document(batch, collection, id, at->version.seq, at->value);
			batch->state.documents++;
		}
		lsm_scan_release(at);
		CHECK_FOR_INTERRUPTS();
	}
	lsm_scan_release(cursor->scan);
	docstore_check(cursor->scan->status, &cursor->scan->err);
	doc_cursor_close(cursor);
	if (!is_full(batch))
		return true;
	if (any)
		batch->state.next_id = batch->view != NULL ? text_to_cstring(repl_view_id(lsm_slice(last.data, last.len))) : last.data;
	return false;
}

static void
scan(Batch *batch)
{
	ReplState *state = &batch->state;

	while (state->to_scan != NIL && !is_full(batch))
	{
		int collection = find_collection(batch, linitial(state->to_scan));

		if (collection >= 0 && !scan_collection(batch, collection))
			continue;
		state->to_scan = list_delete_first(state->to_scan);
		state->next_id = NULL;
	}
	batch->changed = true;
}

/* What is wrong with the replication itself ends the batch. */
static void
check_fault(ErrorData *fault)
{
	if (fault != NULL)
		ReThrowError(fault);
}

/* The next changes; true if there may be more. */
static bool
follow(Batch *batch)
{
	DocstoreFeed *feed = docstore_feed_open(batch->storages, list_length(batch->consumer->collections), batch->position,
											batch->horizon, batch->snapshot);
	DocstoreChange change;
	bool more = true;

	while (!is_full(batch) && (more = docstore_feed_next(feed, &change)))
	{
		CHECK_FOR_INTERRUPTS();
		if (change.truncated)
		{
			const char *collection = list_nth(batch->consumer->collections, change.source);

			check_fault(repl_apply_empty(batch->replicating->apply, collection, false, &batch->counts));
			repl_errors_forget(batch->replicating->name, collection);
			batch->changed = true;
		}
		else
			add_document(batch, change.source, change.id, change.etag, change.value);
	}
	batch->position = docstore_feed_position(feed);
	docstore_feed_close(feed);
	return more;
}

/* Is what failed still the newest version?  Then it comes into the batch again. */
static void
add_failed(Batch *batch, const ReplFailed *failed)
{
	LsmVersion version = {0};
	static LsmBuf value; /* its room is used again */
	LsmStatus status;
	LsmError err;
	LsmRead read;
	StringInfoData key;
	LsmSlice id;
	int collection = find_collection(batch, failed->collection);

	initStringInfo(&key);
	if (collection < 0 || batch->storages[collection] == 0 || !key_of(batch, collection, failed->id, &key))
		return;
	id = lsm_slice(key.data + DOCSTORE_KEY_PREFIX, key.len - DOCSTORE_KEY_PREFIX);
	docstore_read_init(&read, batch->snapshot);
	value.len = 0;
	status = lsm_get(docstore_db(), &read, lsm_slice(key.data, key.len), &value, &version, &err);
	if (status == LSM_NOT_FOUND)
	{
		if (failed->deleted)
			add_document(batch, collection, id, failed->etag, lsm_slice("", 0));
		return;
	}
	docstore_check(status, &err);
	if (version.seq == failed->etag)
		add_document(batch, collection, id, failed->etag, lsm_buf_slice(&value));
}

/* ---- one batch ---- */

static void
check_rights(const Batch *batch)
{
	ListCell *lc;

	if (batch->view != NULL)
		return;
	foreach (lc, batch->consumer->collections)
	{
		DocCollection collection;

		if (batch->storages[foreach_current_index(lc)] == 0)
			continue;
		docstore_collection_get(lfirst(lc), NoLock, &collection);
		if (!has_privs_of_role(batch->state.owner, collection.owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied for collection \"%s\"", collection.name)));
	}
}

/* The definition or its owner may be another than before. */
static void
make_ready(Batch *batch)
{
	Replicating *replicating = batch->replicating;
	ReplState *state = &batch->state;

	if (replicating->apply != NULL &&
		(replicating->owner != state->owner || strcmp(replicating->definition, state->definition) != 0))
		docstore_replicating_free(replicating);
	if (replicating->apply == NULL)
	{
		ReplApply *apply = repl_apply_new(state->definition, state->owner);

		replicating->definition = MemoryContextStrdup(TopMemoryContext, state->definition);
		replicating->owner = state->owner;
		repl_apply_keep(apply);
		replicating->apply = apply;
	}
	batch->counts.written = palloc0(list_length(repl_apply_tables(replicating->apply)) * sizeof(int64));
	batch->counts.deleted = palloc0(list_length(repl_apply_tables(replicating->apply)) * sizeof(int64));
}

/* False if there is nothing to do for this replication. */
static bool
begin(Batch *batch, Replicating *replicating)
{
	memset(batch, 0, sizeof(*batch));
	batch->replicating = replicating;
	batch->consumer = docstore_consumer_get(DOC_CONSUMER_REPLICATION, replicating->name, true);
	if (batch->consumer == NULL || !repl_state_read(replicating->name, &batch->state) || batch->state.paused)
		return false;
	batch->position = batch->consumer->position;
	batch->limit = replicating->limit;
	if (!replicating->may_have_errors)
		replicating->retry_ms = -1;
	if (batch->consumer->of_view)
	{
		/* Locked before the snapshot is taken: it stays what the snapshot sees. */
		batch->view = repl_view_open(linitial(batch->consumer->collections), batch->state.owner);
		if (!repl_view_is_built(batch->view))
		{
			replicating->retry_ms = NOT_BUILT_MS;
			return false;
		}
	}
	batch->horizon = docstore_feed_horizon();
	batch->snapshot = RegisterSnapshot(GetLatestSnapshot());
	batch->storages = docstore_consumer_storages(batch->consumer, batch->snapshot);
	check_rights(batch);
	make_ready(batch);
	return true;
}

static void
retry_failed(Batch *batch)
{
	Replicating *replicating = batch->replicating;
	int room = Min(BATCH_RETRIES, BATCH_DOCUMENTS + BATCH_RETRIES - batch->ndocs);
	ListCell *lc;

	if (!replicating->may_have_errors)
		return;
	foreach (lc, repl_errors_due(replicating->name, room, &replicating->retry_ms))
		add_failed(batch, lfirst(lc));
	replicating->may_have_errors = replicating->retry_ms >= 0;
}

static void
note_errors(Batch *batch)
{
	Replicating *replicating = batch->replicating;
	int64 next_ms;

	for (int i = 0; i < batch->ndocs; i++)
	{
		ViewDocument *doc = &batch->docs[i];

		if (doc->error == NULL)
			continue;
		if (repl_apply_definition(replicating->apply)->stop)
		{
			replicating->limit = Max(batch->ndocs / 2, 1);
			ereport(ERROR,
					(errcode(doc->error->sqlerrcode),
					 batch->view != NULL
						 ? errmsg("row \"%s\" of view \"%s\": %s", text_to_cstring(doc->id), doc->collection, doc->error->message)
						 : errmsg("document \"%s\" of collection \"%s\": %s", text_to_cstring(doc->id), doc->collection, doc->error->message)));
		}
		replicating->may_have_errors = true;
	}
	if (replicating->may_have_errors)
	{
		repl_errors_note(replicating->name, replicating->apply, batch->docs, batch->ndocs);
		(void) repl_errors_due(replicating->name, 0, &next_ms);
		replicating->retry_ms = next_ms;
	}
}

/* The tables are not made of the view's rows as they are now: of those of other storage, or of none. */
static void
begin_view(Batch *batch)
{
	const View *view = repl_view(batch->view);
	ReplState *state = &batch->state;

	if (state->source != 0)
	{
		/* Takes long; the indexer is not to wait for it. */
		check_fault(repl_apply_empty(batch->replicating->apply, NULL, false, &batch->counts));
		repl_errors_forget(batch->replicating->name, NULL);
		state->source = 0;
	}
	else
	{
		view_lock(view->name, ShareLock);
		batch->position = docstore_feed_last_etag();
		state->scan_to = batch->position;
		state->source = view->results;
	}
	state->to_scan = list_copy(batch->consumer->collections);
	state->next_id = NULL;
	state->documents = 0;
	batch->changed = true;
}

/* Changes or documents that were there before, and failed ones; true if there may be more. */
static bool
gather(Batch *batch)
{
	Replicating *replicating = batch->replicating;
	bool more = true;

	if (batch->state.emptying)
	{
		check_fault(repl_apply_empty(replicating->apply, NULL, true, &batch->counts));
		batch->state.emptying = false;
		batch->changed = true;
		docstore_stop("replicate emptied");
	}
	if (batch->state.to_scan == NIL)
		more = follow(batch);
	else if (batch->position >= batch->state.scan_to)
		scan(batch);
	else
	{
		/* Collections were added: what the others have comes first, then theirs. */
		more = follow(batch) || batch->position >= batch->state.scan_to;
		batch->changed = true;
	}
	retry_failed(batch);
	return more;
}

static bool
run(Batch *batch)
{
	Replicating *replicating = batch->replicating;
	bool more = true;

	if (batch->view != NULL && batch->state.source != repl_view(batch->view)->results)
		begin_view(batch);
	else
		more = gather(batch);
	if (batch->ndocs > 0)
	{
		docstore_stop("replicate read");
		if (batch->view != NULL)
			repl_view_documents(batch->view, batch->rows, batch->docs, batch->ndocs);
		check_fault(repl_apply_run(replicating->apply, batch->docs, batch->ndocs, &batch->counts));
		docstore_stop("replicate rows");
		note_errors(batch);
	}
	if (batch->changed || batch->ndocs > 0 || batch->state.failed || batch->position > batch->consumer->position + IDLE_ETAGS)
	{
		repl_state_write(replicating->name, &batch->state, repl_apply_names(replicating->apply), &batch->counts);
		docstore_consumer_advance(batch->consumer, batch->position);
		docstore_stop("replicate position");
	}
	return more;
}

/* What a trigger left to be done at commit, a cursor WITH HOLD say, is the owner's doing, too. */
static void
commit(const Batch *batch)
{
	int security;
	Oid user;

	GetUserIdAndSecContext(&user, &security);
	if (OidIsValid(batch->state.owner))
		SetUserIdAndSecContext(batch->state.owner, security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	CommitTransactionCommand();
	SetUserIdAndSecContext(user, security);
}

bool
docstore_replicate_batch(Replicating *replicating)
{
	MemoryContext context = CurrentMemoryContext;
	bool more = false;
	Batch batch;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(context);
	if (begin(&batch, replicating))
	{
		more = run(&batch);
		UnregisterSnapshot(batch.snapshot);
	}
	PopActiveSnapshot();
	commit(&batch);
	if (batch.ndocs > 0)
		docstore_stop("replicated");
	MemoryContextSwitchTo(context);
	replicating->limit = Min(replicating->limit * 2, BATCH_DOCUMENTS);
	return more;
}
