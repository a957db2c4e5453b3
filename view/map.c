/*
 * map.c - one prepared query a view, fed with batches of documents (map.h).
 *
 * The batch is a tuplestore, registered as an ephemeral named relation.  The map
 * stands in a LATERAL subquery in which `docs` is one document of the batch; the
 * planner flattens that, so a batch costs one execution and not one a document.
 *
 * It runs in a subtransaction, as the view's owner, with pinned settings.  If a
 * batch fails it is halved until the documents that fail are alone: those have
 * an error, the others their rows.  If the query fails without any document,
 * the fault is the map's (a function was dropped, say).
 */
#include "postgres.h"

#include "view/map.h"

#include "access/xact.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "view/pin.h"
#include "view/reduce_query.h"

#define BATCH "docstore batch"
/* What the rows of a batch may take in memory; a batch of one document that needs more is an error of that document. */
#define MAX_ROWS_BYTES (64 * 1024 * 1024)
#define WORK_MEM_KB 16384

struct ViewMap
{
	MemoryContext context;
	View *view;
	ViewLayout *layout;
	TupleDesc batch_desc;
	SPIPlanPtr plan;
};

/* Where the executor puts the rows. */
typedef struct Receiver
{
	DestReceiver pub;
	ViewMap *map;
	MemoryContext result; /* of rows */
	ViewDocument *docs;
	int n;
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
	if (n < 0 || n >= receiver->n)
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

static TupleDesc
make_batch_desc(void)
{
	TupleDesc docs = view_docs_desc();
	TupleDesc desc = CreateTemplateTupleDesc(1 + VIEW_DOCS_COLUMNS);

	TupleDescInitEntry(desc, 1, "n", INT4OID, -1, 0);
	for (int i = 1; i <= VIEW_DOCS_COLUMNS; i++)
		TupleDescCopyEntry(desc, i + 1, docs, i);
	return desc;
}

ViewMap *
view_map_new(const View *view)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "docstore map", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	ViewMap *map = palloc0(sizeof(ViewMap));

	map->context = context;
	map->view = view_copy(view);
	map->layout = view_layout(view->rows);
	map->batch_desc = make_batch_desc();
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
	text = psprintf("SELECT b.n, m.* FROM \"%s\" AS b, LATERAL (WITH docs AS (SELECT b.id, b.doc, b.etag, b.collection, b.modified) "
					"SELECT * FROM (%s\n) AS q) AS m",
					BATCH, select);

	map->plan = SPI_prepare(text, 0, NULL);
	if (map->plan == NULL)
		elog(ERROR, "could not prepare the map: %s", SPI_result_code_string(SPI_result));
	(void) SPI_keepplan(map->plan);
}

static Tuplestorestate *
make_batch(ViewMap *map, ViewDocument *docs, int first, int n)
{
	Tuplestorestate *batch = tuplestore_begin_heap(false, false, WORK_MEM_KB);

	for (int i = first; i < first + n; i++)
	{
		Datum values[1 + VIEW_DOCS_COLUMNS];
		bool nulls[1 + VIEW_DOCS_COLUMNS] = {false};

		if (docs[i].doc == NULL)
			continue;
		values[0] = Int32GetDatum(i);
		values[1] = PointerGetDatum(docs[i].id);
		values[2] = JsonbPGetDatum(docs[i].doc);
		values[3] = Int64GetDatum((int64) docs[i].etag);
		values[4] = CStringGetTextDatum(docs[i].collection);
		values[5] = TimestampTzGetDatum(docs[i].modified);
		tuplestore_putvalues(batch, map->batch_desc, values, nulls);
	}
	return batch;
}

/* Runs the query; docs[first .. first + n) get rows.  Throws. */
static void
execute(ViewMap *map, ViewDocument *docs, int first, int n, int total, MemoryContext result)
{
	EphemeralNamedRelationData relation = {0};
	SPIExecuteOptions options = {0};
	Receiver receiver = {0};
	Tuplestorestate *batch;
	ViewPin pin;
	int code;

	view_pin(&pin, map->view->owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	batch = make_batch(map, docs, first, n);
	relation.md.name = BATCH;
	relation.md.tupdesc = map->batch_desc;
	relation.md.enrtype = ENR_NAMED_TUPLESTORE;
	relation.md.enrtuples = n;
	relation.reldata = batch;
	if (SPI_register_relation(&relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the batch");
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
	receiver.n = total;
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

/* ---- errors ---- */

bool
view_error_is_of_query(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_TRANSACTION_ROLLBACK:
			return false;
		default:
			return sqlstate != ERRCODE_DATA_CORRUPTED && sqlstate != ERRCODE_INDEX_CORRUPTED;
	}
}

static void
forget_rows(ViewDocument *docs, int first, int n)
{
	for (int i = first; i < first + n; i++)
	{
		docs[i].rows = docs[i].last = NULL;
		docs[i].nrows = 0;
	}
}

/* In a subtransaction; returns the error, if any, that is the map's. */
static ErrorData *
attempt(ViewMap *map, ViewDocument *docs, int first, int n, int total)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		execute(map, docs, first, n, total, context);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		forget_rows(docs, first, n);
		if (!view_error_is_of_query(error->sqlerrcode))
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

static void
halve(ViewMap *map, ViewDocument *docs, int first, int n, int total)
{
	int half = n / 2;

	for (int i = 0; i < 2; i++)
	{
		int from = i == 0 ? first : first + half;
		int count = i == 0 ? half : n - half;
		ErrorData *error;

		CHECK_FOR_INTERRUPTS();
		error = attempt(map, docs, from, count, total);
		if (error == NULL)
			continue;
		if (count == 1)
			docs[from].error = error;
		else
			halve(map, docs, from, count, total);
	}
}

ErrorData *
view_map_run(ViewMap *map, ViewDocument *docs, int n)
{
	ErrorData *error = attempt(map, docs, 0, n, n);
	ErrorData *fault;

	if (error == NULL)
		return NULL;
	fault = attempt(map, docs, 0, 0, n);
	if (fault != NULL)
		return fault;
	if (n == 1)
		docs[0].error = error;
	else
		halve(map, docs, 0, n, n);
	return NULL;
}

void
view_map_try(const View *view)
{
	ViewMap *map = view_map_new(view);

	execute(map, NULL, 0, 0, 0, CurrentMemoryContext);
	view_map_free(map);
}
