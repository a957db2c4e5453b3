/*
 * map.c - one prepared query a view, fed with batches of documents (map.h).
 *
 * It runs as the view's owner, with pinned settings, over a batch (batch.h), so
 * documents for which it fails have an error, the others their rows.
 */
#include "postgres.h"

#include "view/map.h"

#include "executor/spi.h"
#include "executor/tuptable.h"
#include "tcop/dest.h"
#include "utils/memutils.h"

#include "view/pin.h"
#include "view/reduce_query.h"

/* What the rows of a batch may take in memory; a batch of one document that needs more is an error of that document. */
#define MAX_ROWS_BYTES (64 * 1024 * 1024)

struct ViewMap
{
	MemoryContext context;
	View *view;
	ViewLayout *layout;
	SPIPlanPtr plan;
};

/* Where the executor puts the rows. */
typedef struct Receiver
{
	DestReceiver pub;
	ViewMap *map;
	MemoryContext result; /* of rows */
	ViewDocument *docs;
	int end; /* of those in the batch */
	Size bytes;
	StringInfoData key;
	StringInfoData value;
} Receiver;

static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver *receiver = (Receiver *) self;
	ViewMap *map = receiver->map;
	ViewDocument *doc;
	ViewRow *row;
	uint32 offset;
	char *data;
	int n;

	slot_getallattrs(slot);
	n = slot->tts_isnull[0] ? -1 : DatumGetInt32(slot->tts_values[0]);
	if (n < 0 || n >= receiver->end)
		elog(ERROR, "a view's row belongs to no document");
	doc = &receiver->docs[n];

	resetStringInfo(&receiver->key);
	resetStringInfo(&receiver->value);
	offset = view_entry_key(&receiver->key, map->view->rows, map->view->reduce != NULL, slot->tts_values + 1, slot->tts_isnull + 1,
							lsm_slice(VARDATA_ANY(doc->id), VARSIZE_ANY_EXHDR(doc->id)), doc->storage, doc->nrows);
	view_entry_value(&receiver->value, map->layout, offset, slot->tts_values + 1, slot->tts_isnull + 1);

	receiver->bytes += sizeof(ViewRow) + receiver->key.len + receiver->value.len;
	if (receiver->bytes > MAX_ROWS_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the rows of one document take more than %d MB", MAX_ROWS_BYTES / (1024 * 1024))));
	row = MemoryContextAlloc(receiver->result, sizeof(ViewRow) + receiver->key.len + receiver->value.len);
	data = (char *) (row + 1);
	memcpy(data, receiver->key.data, receiver->key.len);
	memcpy(data + receiver->key.len, receiver->value.data, receiver->value.len);
	row->key = lsm_slice(data, receiver->key.len);
	row->value = lsm_slice(data + receiver->key.len, receiver->value.len);
	row->next = NULL;
	row->stored = false;
	if (doc->last != NULL)
		doc->last->next = row;
	else
		doc->rows = row;
	doc->last = row;
	doc->nrows++;
	return true;
}

/* What comes out must be what the index was made for. */
static void
receiver_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	const View *view = ((Receiver *) self)->map->view;
	bool same = desc->natts == view->rows->ncolumns + 1;

	for (int i = 0; same && i < view->rows->ncolumns; i++)
		same = TupleDescAttr(desc, i + 1)->atttypid == view->rows->columns[i].type;
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the map of view \"%s\" returns other columns than it did", view->name),
				 errhint("Drop the view and create it again.")));
}

static void
receiver_nothing(DestReceiver *self)
{
}

/* ---- the query ---- */

ViewMap *
view_map_new(const View *view)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "docstore map", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	ViewMap *map = palloc0(sizeof(ViewMap));

	map->context = context;
	map->view = view_copy(view);
	map->layout = view_layout(view->rows);
	MemoryContextSwitchTo(old);
	return map;
}

void
view_map_free(ViewMap *map)
{
	if (map->plan != NULL)
		SPI_freeplan(map->plan);
	MemoryContextDelete(map->context);
}

static void
prepare(ViewMap *map)
{
	const View *view = map->view;
	char *select = view->map;
	char *text;

	/* Groups that are computed: the reduce computes them, over each document's rows, which changes nothing for what it makes of all. */
	if (view->reduce != NULL && !view_groups_are_columns(view->reduce, view->rows))
		select = psprintf("WITH results AS (%s\n) %s", view->map, view->reduce);
	text = psprintf("SELECT b.n, m.* %s", view_batch_from(select));

	map->plan = SPI_prepare(text, 0, NULL);
	if (map->plan == NULL)
		elog(ERROR, "could not prepare the map: %s", SPI_result_code_string(SPI_result));
	(void) SPI_keepplan(map->plan);
}

/* Runs the query; docs[first .. first + n) get rows, in the current context.  Throws. */
static void
execute(void *arg, ViewDocument *docs, int first, int n)
{
	ViewMap *map = arg;
	MemoryContext result = CurrentMemoryContext;
	SPIExecuteOptions options = {0};
	Receiver receiver = {0};
	Tuplestorestate *batch;
	ViewPin pin;
	int code;

	view_pin(&pin, map->view->owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	batch = view_batch_register(docs, first, n);
	if (map->plan == NULL)
		prepare(map);

	receiver.pub.receiveSlot = receive;
	receiver.pub.rStartup = receiver_startup;
	receiver.pub.rShutdown = receiver_nothing;
	receiver.pub.rDestroy = receiver_nothing;
	receiver.pub.mydest = DestNone;
	receiver.map = map;
	receiver.result = result;
	receiver.docs = docs;
	receiver.end = first + n;
	initStringInfo(&receiver.key);
	initStringInfo(&receiver.value);
	options.read_only = true;
	options.dest = &receiver.pub;
	code = SPI_execute_plan_extended(map->plan, &options);
	/* Not SPI_OK_SELECT: the rows went elsewhere. */
	if (code < 0)
		elog(ERROR, "could not run the map: %s", SPI_result_code_string(code));
	tuplestore_end(batch);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	view_unpin(&pin);
}

static void
forget_rows(void *arg, ViewDocument *docs, int first, int n)
{
	for (int i = first; i < first + n; i++)
	{
		docs[i].rows = docs[i].last = NULL;
		docs[i].nrows = 0;
	}
}

ErrorData *
view_map_run(ViewMap *map, ViewDocument *docs, int n)
{
	ViewBatchWork work = {execute, forget_rows, map};

	return view_batch_run(&work, docs, n);
}

void
view_map_try(const View *view)
{
	ViewMap *map = view_map_new(view);

	execute(map, NULL, 0, 0);
	view_map_free(map);
}
