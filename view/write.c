/*
 * write.c - replaces the rows of documents (write.h).
 *
 * Only one process writes a view, so nothing is waited for and nothing rechecked:
 * records go to the store in batches, as versions of this transaction.
 *
 * The rows of all documents are written together, in the order of their keys: a search in the memtable
 * then mostly goes where the one before has gone, whose nodes are in the processor's caches.
 */
#include "postgres.h"

#include "view/write.h"

#include "access/xact.h"
#include "miscadmin.h"

#include "fdw/scan.h"
#include "store/feed.h"
#include "store/store.h"
#include "store/txn.h"

/* Records are written when they come to this; any memtable takes it. */
#define BATCH_COST (64 * 1024)
#define LOOK_AHEAD 8
/* A purge of a view with a reduce is done in pieces of about that many rows. */
#define PURGE_CHANGES 20000

StaticAssertDecl(VIEW_MAX_KEY <= DOCSTORE_MAX_CHANGED, "the change feed takes the key of every row");

/* Memory of the batch is used again; what a throw leaves behind is cleared by the next use. */
static LsmBatch batch;

void
view_writer_begin(ViewWriter *writer, const View *view)
{
	writer->db = docstore_db();
	writer->view = view;
	writer->cid = GetCurrentCommandId(true);
	lsm_batch_clear(&batch);
}

void
view_writer_flush(ViewWriter *writer)
{
	LsmStatus status;
	LsmError err;

	if (batch.count == 0)
		return;
	if (writer->view->tracked)
		docstore_feed_add(&batch);
	while ((status = lsm_write(writer->db, &batch, false, NULL, &err)) == LSM_BUSY)
		docstore_check(lsm_make_room(writer->db, batch.memtable_cost, &err), &err);
	docstore_check(status, &err);
	lsm_batch_clear(&batch);
}

void
view_writer_put(ViewWriter *writer, LsmSlice key, const LsmSlice *value)
{
	LsmStamp stamp = docstore_stamp(value == NULL ? LSM_STAMP_DELETE : 0, writer->cid);
	char head[LSM_STAMP_MAX_SIZE];
	LsmSlice stamped = lsm_slice(head, lsm_stamp_encode(head, &stamp));

	if (!lsm_batch_put2(&batch, key, stamped, value != NULL ? *value : lsm_slice(NULL, 0)))
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (batch.memtable_cost > BATCH_COST)
		view_writer_flush(writer);
}

static void
set_prefix(StringInfo key, const View *view)
{
	char prefix[DOCSTORE_KEY_PREFIX];

	docstore_key_prefix(prefix, view->reduce != NULL ? DOCSTORE_KEY_MAPPED : DOCSTORE_KEY_VIEW, MyDatabaseId, view->storage);
	resetStringInfo(key);
	appendBinaryStringInfo(key, prefix, sizeof(prefix));
}

/* A row of a group came, went, or (both) changed. */
static void
note_change(ViewChanges *changes, LsmSlice key, size_t id_len, int delta, LsmSlice value)
{
	ViewChange *change;
	char *copy;

	if (changes == NULL)
		return;
	if (changes->n == changes->max)
	{
		changes->max = Max(changes->max * 2, 1024);
		changes->array = changes->array == NULL ? palloc_extended(changes->max * sizeof(ViewChange), MCXT_ALLOC_HUGE)
												: repalloc_huge(changes->array, changes->max * sizeof(ViewChange));
	}
	change = &changes->array[changes->n++];
	change->group = view_entry_group(key, id_len, &change->hash);
	change->delta = delta;
	copy = palloc(change->group.len + value.len + 1);
	memcpy(copy, change->group.data, change->group.len);
	memcpy(copy + change->group.len, value.data, value.len);
	change->group.data = copy;
	change->value = lsm_slice(copy + change->group.len, value.len);
}

/*
 * Deletes the rows that a back-index entry lists; returns how many it lists.  A
 * document that changed mostly has its rows in the same places and order: those
 * that are about to be written (`kept`, may be NULL) again need no deletion.  One
 * too many does no harm, since they are written later.
 */
static int64
delete_rows(ViewWriter *writer, const View *view, LsmSlice list, ViewRow *kept, size_t id_len, ViewChanges *changes)
{
	StringInfoData key;
	LsmSlice behind;
	int64 n = 0;

	initStringInfo(&key);
	while (view_back_next(&list, &behind))
	{
		LsmSlice value = {NULL, 0};
		ViewRow *row = kept;

		n++;
		if (view->reduce != NULL)
			(void) view_back_next(&list, &value);
		for (int i = 0; i < LOOK_AHEAD && row != NULL && lsm_slice_compare(row->key, behind) != 0; i++)
			row = row->next;
		if (row != NULL && lsm_slice_compare(row->key, behind) == 0)
		{
			kept = row->next;
			/* What stays as it is changes nothing above it. */
			row->stored = view->reduce != NULL && lsm_slice_compare(row->value, value) == 0;
			if (!row->stored)
				note_change(changes, behind, id_len, -1, value);
			continue;
		}
		note_change(changes, behind, id_len, -1, value);
		set_prefix(&key, view);
		appendBinaryStringInfo(&key, behind.data, (int) behind.len);
		view_writer_put(writer, lsm_slice(key.data, key.len), NULL);
	}
	pfree(key.data);
	return n;
}

/* All but its rows themselves.  read NULL: it has none yet. */
static void
write_document(ViewWriter *writer, const View *view, const ViewDocument *doc, const LsmRead *read, int64 *rows,
			   ViewChanges *changes)
{
	LsmSlice id = lsm_slice(VARDATA_ANY(doc->id), VARSIZE_ANY_EXHDR(doc->id));
	StringInfoData back;
	StringInfoData was;
	StringInfoData list;
	LsmBuf found = {0};
	LsmVersion version;
	LsmStatus status;
	LsmError err;

	initStringInfo(&back);
	initStringInfo(&was);
	initStringInfo(&list);
	view_back_key(&back, view->storage, doc->storage, id);
	status = read == NULL ? LSM_NOT_FOUND : lsm_get(writer->db, read, lsm_slice(back.data, back.len), &found, &version, &err);
	/* Into memory that an error lets go of. */
	if (status == LSM_OK)
		appendBinaryStringInfo(&was, found.data, (int) found.len);
	lsm_buf_free(&found);
	if (status != LSM_OK && status != LSM_NOT_FOUND)
		docstore_throw(&err);
	if (status == LSM_OK)
		*rows -= delete_rows(writer, view, lsm_slice(was.data, was.len), doc->rows, id.len, changes);
	for (const ViewRow *row = doc->rows; row != NULL; row = row->next)
	{
		view_back_append(&list, row->key);
		if (view->reduce != NULL)
			view_back_append(&list, row->value);
		if (!row->stored)
			note_change(changes, row->key, id.len, 1, row->value);
		*rows += 1;
	}
	if (doc->rows != NULL)
	{
		LsmSlice value = lsm_slice(list.data, list.len);

		if (status != LSM_OK || lsm_slice_compare(lsm_slice(was.data, was.len), value) != 0)
			view_writer_put(writer, lsm_slice(back.data, back.len), &value);
	}
	else if (status == LSM_OK)
		view_writer_put(writer, lsm_slice(back.data, back.len), NULL);
	pfree(back.data);
	pfree(was.data);
	pfree(list.data);
}

static int
by_key(const void *a, const void *b)
{
	return lsm_slice_compare((*(const ViewRow **) a)->key, (*(const ViewRow **) b)->key);
}

static void
write_rows(ViewWriter *writer, const View *view, const ViewDocument *docs, int n)
{
	const ViewRow **rows;
	StringInfoData key;
	size_t count = 0;

	for (int i = 0; i < n; i++)
		count += docs[i].nrows;
	rows = palloc_extended(Max(count, 1) * sizeof(ViewRow *), MCXT_ALLOC_HUGE);
	count = 0;
	for (int i = 0; i < n; i++)
		for (const ViewRow *row = docs[i].rows; row != NULL; row = row->next)
			if (!row->stored)
				rows[count++] = row;
	qsort(rows, count, sizeof(ViewRow *), by_key);
	initStringInfo(&key);
	for (size_t i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		set_prefix(&key, view);
		appendBinaryStringInfo(&key, rows[i]->key.data, (int) rows[i]->key.len);
		view_writer_put(writer, lsm_slice(key.data, key.len), &rows[i]->value);
	}
	pfree(key.data);
	pfree(rows);
}

void
view_write_documents(const View *view, const ViewDocument *docs, int n, bool fresh, Snapshot snapshot, int64 *rows, ViewChanges *changes)
{
	ViewWriter writer;
	LsmRead read;

	view_writer_begin(&writer, view);
	docstore_read_init(&read, snapshot);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		write_document(&writer, view, &docs[i], fresh ? NULL : &read, rows, changes);
	}
	/* Behind the deletions, for the sake of those that were one too many. */
	write_rows(&writer, view, docs, n);
	view_writer_flush(&writer);
}

bool
view_write_purge(const View *view, uint64 collection_storage, Snapshot snapshot, int64 *rows, StringInfo from, ViewChanges *changes)
{
	StringInfoData lower;
	StringInfoData upper;
	StringInfoData key;
	StringInfoData list;
	DocCursor *cursor;
	ViewWriter writer;
	size_t head;
	bool more = false;

	initStringInfo(&lower);
	initStringInfo(&upper);
	initStringInfo(&key);
	initStringInfo(&list);
	view_back_key(&lower, view->storage, collection_storage, lsm_slice(NULL, 0));
	view_back_key(&upper, view->storage, collection_storage + 1, lsm_slice(NULL, 0));
	head = (size_t) lower.len;
	appendBinaryStringInfo(&lower, from->data, from->len);
	view_writer_begin(&writer, view);
	cursor = doc_cursor_new(snapshot);
	doc_cursor_open(cursor, lsm_slice(lower.data, lower.len), lsm_slice(upper.data, upper.len));
	for (lsm_scan_first(cursor->scan); cursor->scan->valid; lsm_scan_next(cursor->scan))
	{
		LsmScan *at = cursor->scan;

		CHECK_FOR_INTERRUPTS();
		resetStringInfo(&key);
		resetStringInfo(&list);
		appendBinaryStringInfo(&key, at->key.data, (int) at->key.len);
		appendBinaryStringInfo(&list, at->value.data, (int) at->value.len);
		lsm_scan_release(at);
		if (changes != NULL && changes->n >= PURGE_CHANGES)
		{
			resetStringInfo(from);
			appendBinaryStringInfo(from, key.data + head, key.len - (int) head);
			more = true;
			break;
		}
		*rows -= delete_rows(&writer, view, lsm_slice(list.data, list.len), NULL, (size_t) key.len - head, changes);
		view_writer_put(&writer, lsm_slice(key.data, key.len), NULL);
	}
	lsm_scan_release(cursor->scan);
	docstore_check(cursor->scan->status, &cursor->scan->err);
	doc_cursor_close(cursor);
	view_writer_flush(&writer);
	return more;
}
