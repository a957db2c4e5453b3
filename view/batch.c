/*
 * batch.c - documents as a relation, and who of them fails (batch.h).
 *
 * The batch is a tuplestore, registered as an ephemeral named relation.  A SELECT
 * stands in a LATERAL subquery in which `docs` is one document of the batch; the
 * planner flattens that, so a batch costs one execution and not one a document.
 */
#include "postgres.h"

#include "view/batch.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/resowner.h"

#include "view/check.h"

#define WORK_MEM_KB 16384

/* ---- the relation ---- */

char *
view_batch_from(const char *select)
{
	return psprintf("FROM \"%s\" AS b, LATERAL (WITH docs AS (SELECT b.id, b.doc, b.etag, b.collection, b.modified) "
					"SELECT * FROM (%s\n) AS q) AS m",
					VIEW_BATCH, select);
}

static TupleDesc
batch_desc(void)
{
	TupleDesc docs = view_docs_desc();
	TupleDesc desc = CreateTemplateTupleDesc(1 + VIEW_DOCS_COLUMNS);

	TupleDescInitEntry(desc, 1, "n", INT4OID, -1, 0);
	for (int i = 1; i <= VIEW_DOCS_COLUMNS; i++)
		TupleDescCopyEntry(desc, i + 1, docs, i);
	return desc;
}

Tuplestorestate *
view_batch_register(const ViewDocument *docs, int first, int n)
{
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));
	Tuplestorestate *batch = tuplestore_begin_heap(false, false, WORK_MEM_KB);

	relation->md.name = VIEW_BATCH;
	relation->md.tupdesc = batch_desc();
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = n;
	relation->reldata = batch;
	if (SPI_register_relation(relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the batch");
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
		tuplestore_putvalues(batch, relation->md.tupdesc, values, nulls);
	}
	return batch;
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

/* In a subtransaction; returns the error, if any, that is the work's. */
static ErrorData *
attempt(const ViewBatchWork *work, ViewDocument *docs, int first, int n)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	/* What the work makes stays. */
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work->run(work->arg, docs, first, n);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		work->undone(work->arg, docs, first, n);
		if (!view_error_is_of_query(error->sqlerrcode))
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

static void
halve(const ViewBatchWork *work, ViewDocument *docs, int first, int n)
{
	int half = n / 2;

	for (int i = 0; i < 2; i++)
	{
		int from = i == 0 ? first : first + half;
		int count = i == 0 ? half : n - half;
		ErrorData *error;

		CHECK_FOR_INTERRUPTS();
		error = attempt(work, docs, from, count);
		if (error == NULL)
			continue;
		if (count == 1)
			docs[from].error = error;
		else
			halve(work, docs, from, count);
	}
}

ErrorData *
view_batch_run(const ViewBatchWork *work, ViewDocument *docs, int n)
{
	ErrorData *error = attempt(work, docs, 0, n);
	ErrorData *fault;

	if (error == NULL)
		return NULL;
	fault = attempt(work, docs, 0, 0);
	if (fault != NULL)
		return fault;
	if (n == 1)
		docs[0].error = error;
	else
		halve(work, docs, 0, n);
	return NULL;
}
