/*
 * reduce.c - prepared queries that reduce many sets of rows at once (reduce.h).
 *
 * Each row goes in with the number of its set, by which the query groups first, so a
 * batch costs one execution, however many sets there are.  As with maps it runs in a
 * subtransaction, as the view's owner; if it fails, sets are halved until those
 * that fail are alone.
 */
#include "postgres.h"

#include "view/reduce.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/tuplestore.h"

#include "view/map.h"
#include "view/pin.h"
#include "view/reduce_query.h"

#define WORK_MEM_KB 16384

/* A query over `results`. */
typedef struct ReduceQuery
{
	const char *text;
	const char *what;
	bool group;    /* it has sets of many rows */
	bool with_job; /* else it returns one row, for the only set */
	ViewLayout *layout;
	const ViewShape *shape; /* of what it returns */
	SPIPlanPtr plan;
} ReduceQuery;

struct ViewReduce
{
	MemoryContext context;
	View *view;
	TupleDesc input;     /* the map's columns */
	TupleDesc input_job; /* and the job */
	ViewLayout *layout;  /* of the input */
	ReduceQuery reduce;
	ReduceQuery nothing;
	ReduceQuery finalize; /* text NULL: none */
	bool analyzed;
	ViewSums *sums; /* NULL: it does not only sum */
};

typedef struct Receiver
{
	DestReceiver pub;
	ReduceQuery *query;
	ViewJob *jobs;
	int n;
	MemoryContext result;
} Receiver;

static void
init_query(ReduceQuery *query, const char *text, const char *what, const ViewShape *shape, bool group, bool with_job)
{
	query->text = text;
	query->what = what;
	query->group = group;
	query->with_job = with_job;
	query->shape = shape;
	query->layout = view_layout(shape);
}

ViewReduce *
view_reduce_new(const View *view)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "docstore reduce", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	ViewReduce *reduce = palloc0(sizeof(ViewReduce));

	reduce->context = context;
	view = reduce->view = view_copy(view);
	reduce->input = view_results_desc(view->rows, false);
	reduce->input_job = view_results_desc(view->rows, true);
	reduce->layout = view_layout(view->rows);
	init_query(&reduce->reduce, view->reduce, "reduce", view->rows, true, true);
	init_query(&reduce->nothing, view->reduce, "reduce", view->rows, true, false);
	init_query(&reduce->finalize, view->finalize, "finalize", view->shape, false, true);
	MemoryContextSwitchTo(old);
	return reduce;
}

void
view_reduce_free(ViewReduce *reduce)
{
	ReduceQuery *queries[] = {&reduce->reduce, &reduce->nothing, &reduce->finalize};

	for (int i = 0; i < lengthof(queries); i++)
		if (queries[i]->plan != NULL)
			SPI_freeplan(queries[i]->plan);
	MemoryContextDelete(reduce->context);
}

ViewSums *
view_reduce_sums(const ViewReduce *reduce)
{
	return reduce->sums;
}

/* ---- results ---- */

/* A group that is another one when it is reduced again belongs nowhere. */
static void
check_group(const Receiver *receiver, TupleTableSlot *slot, const ViewJob *job)
{
	const ViewShape *shape = receiver->query->shape;
	StringInfoData key;

	initStringInfo(&key);
	for (int i = 0; i < shape->nkeys; i++)
	{
		int at = shape->key_attribute[i] - 1;

		view_key_append(&key, &shape->key[i], slot->tts_values[at], slot->tts_isnull[at]);
	}
	if (lsm_slice_compare(lsm_slice(key.data, key.len), job->group) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("the reduce of a view gives a group another key when it is reduced again")));
	pfree(key.data);
}

static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver *receiver = (Receiver *) self;
	ReduceQuery *query = receiver->query;
	MemoryContext old;
	ViewJob *job;
	int n = 0;

	slot_getallattrs(slot);
	if (query->with_job)
		n = slot->tts_isnull[query->shape->ncolumns] ? -1 : DatumGetInt32(slot->tts_values[query->shape->ncolumns]);
	if (n < 0 || n >= receiver->n)
		elog(ERROR, "a result of a view belongs to no group");
	job = &receiver->jobs[n];
	/* Grouping by more than the columns of the key would give a set two rows. */
	if (job->result.data != NULL)
		elog(ERROR, "the %s of a view returned two rows for a group", query->what);
	if (query->with_job && query->group)
		check_group(receiver, slot, job);
	old = MemoryContextSwitchTo(receiver->result);
	initStringInfo(&job->result);
	view_entry_value(&job->result, query->layout, job->count, slot->tts_values, slot->tts_isnull);
	if (query->group)
		appendBinaryStringInfo(&job->result, job->tail.data, (int) job->tail.len);
	MemoryContextSwitchTo(old);
	return true;
}

static void
receiver_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	const ReduceQuery *query = ((Receiver *) self)->query;
	bool same = desc->natts == query->shape->ncolumns + (query->with_job ? 1 : 0);

	for (int i = 0; same && i < query->shape->ncolumns; i++)
		same = TupleDescAttr(desc, i)->atttypid == query->shape->columns[i].type;
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the %s of the view returns other columns than it did", query->what),
				 errhint("Drop the view and create it again.")));
}

static void
receiver_nothing(DestReceiver *self)
{
}

/* ---- running ---- */

static Tuplestorestate *
make_input(const ViewReduce *reduce, const ReduceQuery *query, ViewJob *jobs, int first, int n, MemoryContext result)
{
	ViewSums *sums = query->group ? reduce->sums : NULL;
	TupleDesc desc = query->with_job ? reduce->input_job : reduce->input;
	Tuplestorestate *input = tuplestore_begin_heap(false, false, WORK_MEM_KB);
	MemoryContext temp = AllocSetContextCreate(CurrentMemoryContext, "docstore reduce input", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(temp);
	Datum *values = MemoryContextAlloc(old, desc->natts * sizeof(Datum));
	bool *nulls = MemoryContextAllocZero(old, desc->natts * sizeof(bool));

	for (int i = first; i < first + n; i++)
	{
		if (sums != NULL)
			view_sums_begin(sums);
		for (int j = 0; j < jobs[i].ninputs; j++)
		{
			LsmSlice rest = view_entry_read(reduce->layout, jobs[i].inputs[j], NULL, values, nulls);

			if (sums != NULL)
				view_sums_count(sums, jobs[i].parts, values, nulls, rest);
			if (query->with_job)
				values[desc->natts - 1] = Int32GetDatum(i);
			tuplestore_putvalues(input, desc, values, nulls);
		}
		if (sums != NULL)
		{
			LsmSlice tail = view_sums_end(sums);
			char *copy = MemoryContextAlloc(result, tail.len + 1);

			memcpy(copy, tail.data, tail.len);
			jobs[i].tail = lsm_slice(copy, tail.len);
		}
		MemoryContextReset(temp);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(temp);
	return input;
}

static void
execute(ViewReduce *reduce, ReduceQuery *query, ViewJob *jobs, int first, int n, int total, MemoryContext result)
{
	EphemeralNamedRelationData relation = {0};
	SPIExecuteOptions options = {0};
	Receiver receiver = {0};
	Tuplestorestate *input;
	ViewPin pin;
	int code;

	view_pin(&pin, reduce->view->owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (!reduce->analyzed)
	{
		MemoryContext old = MemoryContextSwitchTo(reduce->context);

		reduce->sums = view_sums_new(reduce->view);
		MemoryContextSwitchTo(old);
		reduce->analyzed = true;
	}
	input = make_input(reduce, query, jobs, first, n, result);
	relation.md.name = "results";
	relation.md.tupdesc = query->with_job ? reduce->input_job : reduce->input;
	relation.md.enrtype = ENR_NAMED_TUPLESTORE;
	relation.md.enrtuples = (double) tuplestore_tuple_count(input);
	relation.reldata = input;
	if (SPI_register_relation(&relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the rows");
	if (query->plan == NULL)
	{
		query->plan = SPI_prepare(query->with_job ? view_query_with_job(query->text, query->what, reduce->view->rows, query->group) : query->text, 0, NULL);
		if (query->plan == NULL)
			elog(ERROR, "could not prepare the %s: %s", query->what, SPI_result_code_string(SPI_result));
		(void) SPI_keepplan(query->plan);
	}
	receiver.pub.receiveSlot = receive;
	receiver.pub.rStartup = receiver_startup;
	receiver.pub.rShutdown = receiver_nothing;
	receiver.pub.rDestroy = receiver_nothing;
	receiver.pub.mydest = DestNone;
	receiver.query = query;
	receiver.jobs = jobs;
	receiver.n = total;
	receiver.result = result;
	options.read_only = true;
	options.dest = &receiver.pub;
	code = SPI_execute_plan_extended(query->plan, &options);
	if (code < 0)
		elog(ERROR, "could not run the %s: %s", query->what, SPI_result_code_string(code));
	tuplestore_end(input);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	view_unpin(&pin);
}

/* In a subtransaction; returns the error, if any, that is the query's. */
static ErrorData *
attempt(ViewReduce *reduce, ReduceQuery *query, ViewJob *jobs, int first, int n, int total)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		execute(reduce, query, jobs, first, n, total, context);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		for (int i = first; i < first + n; i++)
			jobs[i].result.data = NULL;
		if (!view_error_is_of_query(error->sqlerrcode))
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

static void
halve(ViewReduce *reduce, ReduceQuery *query, ViewJob *jobs, int first, int n, int total)
{
	int half = n / 2;

	for (int i = 0; i < 2; i++)
	{
		int from = i == 0 ? first : first + half;
		int count = i == 0 ? half : n - half;
		ErrorData *error;

		CHECK_FOR_INTERRUPTS();
		if (count == 0)
			continue;
		error = attempt(reduce, query, jobs, from, count, total);
		if (error == NULL)
			continue;
		if (count == 1)
		{
			initStringInfo(&jobs[from].result);
			view_entry_error(&jobs[from].result, jobs[from].count, error);
		}
		else
			halve(reduce, query, jobs, from, count, total);
	}
}

static ErrorData *
run(ViewReduce *reduce, ReduceQuery *query, ViewJob *jobs, int n)
{
	ErrorData *fault;

	for (int i = 0; i < n; i++)
		jobs[i].result.data = NULL;
	if (n == 0 || attempt(reduce, query, jobs, 0, n, n) == NULL)
		return NULL;
	fault = attempt(reduce, query, jobs, 0, 0, n);
	if (fault != NULL)
		return fault;
	halve(reduce, query, jobs, 0, n, n);
	return NULL;
}

ErrorData *
view_reduce_run(ViewReduce *reduce, ViewJob *jobs, int n)
{
	return run(reduce, &reduce->reduce, jobs, n);
}

ErrorData *
view_finalize_run(ViewReduce *reduce, ViewJob *jobs, int n)
{
	return run(reduce, &reduce->finalize, jobs, n);
}

ErrorData *
view_reduce_nothing(ViewReduce *reduce, ViewJob *job)
{
	job->result.data = NULL;
	return attempt(reduce, &reduce->nothing, job, 0, 1, 1);
}
