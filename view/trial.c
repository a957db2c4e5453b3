/*
 * trial.c - a reduce tried on documents before it is believed (trial.h).
 *
 * Some documents of each collection are mapped. The rows of each group are
 * reduced at once, and, cut into random parts, as parts and then the parts' results.  What comes
 * out must be the same; sums of floating point numbers nearly.
 */
#include "postgres.h"

#include "view/trial.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "fdw/collection.h"
#include "fdw/document.h"
#include "fdw/scan.h"
#include "view/map.h"
#include "view/reduce.h"

#define DOCUMENTS 100 /* of each collection */
#define ROUNDS 3
#define NEARLY 1e-4

typedef struct Row
{
	LsmSlice group;
	LsmSlice value;
} Row;

/* The first documents of a collection. */
static int
read_documents(const char *name, ViewDocument *docs)
{
	DocCollection collection;
	DocCursor *cursor = doc_cursor_new(GetActiveSnapshot());
	char lower[DOCSTORE_KEY_PREFIX];
	char upper[DOCSTORE_KEY_PREFIX];
	int n = 0;

	docstore_collection_get(name, NoLock, &collection);
	docstore_key_prefix(lower, DOCSTORE_KEY_DOCUMENT, MyDatabaseId, collection.storage);
	docstore_key_prefix_end(upper, DOCSTORE_KEY_DOCUMENT, MyDatabaseId, collection.storage);
	doc_cursor_open(cursor, lsm_slice(lower, sizeof(lower)), lsm_slice(upper, sizeof(upper)));
	for (lsm_scan_first(cursor->scan); cursor->scan->valid && n < DOCUMENTS; lsm_scan_next(cursor->scan))
	{
		LsmScan *at = cursor->scan;
		LsmSlice id = document_key_id(at->key);
		ViewDocument *doc = &docs[n++];
		LsmSlice body;

		doc->storage = collection.storage;
		doc->collection = name;
		doc->id = cstring_to_text_with_len(id.data, (int) id.len);
		doc->etag = at->version.seq;
		document_decode(at->value, &doc->modified, &body);
		doc->doc = palloc(VARHDRSZ + body.len);
		SET_VARSIZE(doc->doc, VARHDRSZ + body.len);
		memcpy(VARDATA(doc->doc), body.data, body.len);
		lsm_scan_release(at);
		CHECK_FOR_INTERRUPTS();
	}
	lsm_scan_release(cursor->scan);
	docstore_check(cursor->scan->status, &cursor->scan->err);
	doc_cursor_close(cursor);
	return n;
}

static int
by_group(const void *a, const void *b)
{
	return lsm_slice_compare(((const Row *) a)->group, ((const Row *) b)->group);
}

static Row *
map_documents(const View *view, int *nrows)
{
	ViewDocument *docs = palloc0(DOCUMENTS * list_length(view->collections) * sizeof(ViewDocument));
	ViewMap *map = view_map_new(view);
	int ndocs = 0;
	int n = 0;
	Row *rows;
	ListCell *lc;

	foreach (lc, view->collections)
		ndocs += read_documents(lfirst(lc), &docs[ndocs]);
	/* The map has been tried; what it makes of these documents is for later. */
	(void) view_map_run(map, docs, ndocs);
	view_map_free(map);
	for (int i = 0; i < ndocs; i++)
		n += (int) docs[i].nrows;
	rows = palloc((n + 1) * sizeof(Row));
	n = 0;
	for (int i = 0; i < ndocs; i++)
		for (ViewRow *row = docs[i].rows; row != NULL; row = row->next)
		{
			uint32 hash;

			rows[n].group = view_entry_group(row->key, VARSIZE_ANY_EXHDR(docs[i].id), &hash);
			rows[n++].value = row->value;
		}
	qsort(rows, n, sizeof(Row), by_group);
	*nrows = n;
	return rows;
}

static bool
is_float(Oid type)
{
	return getBaseType(type) == FLOAT4OID || getBaseType(type) == FLOAT8OID;
}

static double
float_of(Oid type, Datum value)
{
	return getBaseType(type) == FLOAT4OID ? DatumGetFloat4(value) : DatumGetFloat8(value);
}

/* How much the order in which floating point numbers are added may matter: by what they come to without their signs. */
static double
tolerance(const ViewLayout *layout, const ViewJob *whole, int column, Oid type)
{
	Datum *values = palloc(layout->ncolumns * sizeof(Datum));
	bool *nulls = palloc(layout->ncolumns * sizeof(bool));
	double sum = 0;

	for (int i = 0; i < whole->ninputs; i++)
	{
		view_entry_read(layout, whole->inputs[i], NULL, values, nulls);
		if (!nulls[column])
			sum += fabs(float_of(type, values[column]));
	}
	return NEARLY * sum;
}

static bool
same_value(const ViewLayout *layout, const ViewJob *whole, int n, const ViewColumn *column, Datum a, Datum b)
{
	TypeCacheEntry *type = lookup_type_cache(column->type, TYPECACHE_EQ_OPR_FINFO);
	double x;
	double y;

	if (!is_float(column->type))
		/* Without an equality there is nothing to say. */
		return !OidIsValid(type->eq_opr_finfo.fn_oid) ||
			   DatumGetBool(FunctionCall2Coll(&type->eq_opr_finfo, column->collation, a, b));
	x = float_of(column->type, a);
	y = float_of(column->type, b);
	return x == y || !isfinite(x) || !isfinite(y) || fabs(x - y) <= tolerance(layout, whole, n, column->type);
}

static char *
show(const ViewColumn *column, Datum value, bool isnull)
{
	bool varlena;
	Oid output;

	if (isnull)
		return "null";
	getTypeOutputInfo(column->type, &output, &varlena);
	return OidOutputFunctionCall(output, value);
}

static void
compare(const View *view, const ViewLayout *layout, const ViewJob *whole, const ViewJob *parts)
{
	int n = layout->ncolumns;
	Datum *a = palloc(n * sizeof(Datum));
	Datum *b = palloc(n * sizeof(Datum));
	bool *a_null = palloc(n * sizeof(bool));
	bool *b_null = palloc(n * sizeof(bool));

	view_entry_read(layout, lsm_slice(whole->result.data, whole->result.len), NULL, a, a_null);
	view_entry_read(layout, lsm_slice(parts->result.data, parts->result.len), NULL, b, b_null);
	for (int i = 0; i < n; i++)
	{
		const ViewColumn *column = &view->rows->columns[i];

		if (a_null[i] && b_null[i])
			continue;
		if (a_null[i] || b_null[i] || !same_value(layout, whole, i, column, a[i], b[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("the reduce of the view does not give the same result over parts as over all rows"),
					 errdetail("For %d rows of documents that are there, column \"%s\" is %s over all, %s over the results of parts.",
							   whole->ninputs, column->name, show(column, a[i], a_null[i]), show(column, b[i], b_null[i])),
					 errhint("Its results are reduced again with others, so each column must be reduced from itself.")));
	}
}

/* A group's rows, shuffled, in random parts. */
static int
cut_into_parts(ViewJob *whole, ViewJob *parts)
{
	int n = whole->ninputs;
	int nparts = 0;

	for (int i = n - 1; i > 0; i--)
	{
		int j = (int) pg_prng_uint64_range(&pg_global_prng_state, 0, (uint64) i);
		LsmSlice slice = whole->inputs[i];

		whole->inputs[i] = whole->inputs[j];
		whole->inputs[j] = slice;
	}
	for (int from = 0; from < n;)
	{
		int len = (int) pg_prng_uint64_range(&pg_global_prng_state, 1, (uint64) Max(1, (n - from + 1) / 2));

		parts[nparts].inputs = whole->inputs + from;
		parts[nparts].ninputs = len;
		parts[nparts++].group = whole->group;
		from += len;
	}
	return nparts;
}

static void
reduce_jobs(ViewReduce *reduce, ViewJob *jobs, int n)
{
	ErrorData *fault = view_reduce_run(reduce, jobs, n);

	if (fault != NULL)
		ReThrowError(fault);
}

/* Throws what is no fault of the rows. */
static bool
has_failed(LsmSlice result)
{
	if (!view_entry_is_error(result))
		return false;
	if (view_entry_sqlstate(result) == ERRCODE_INVALID_OBJECT_DEFINITION)
		view_entry_read(NULL, result, NULL, NULL, NULL);
	return true;
}

static void
try_groups(const View *view, ViewReduce *reduce, const Row *rows, int nrows)
{
	ViewLayout *layout = view_layout(view->rows);
	ViewJob *whole = palloc0((nrows + 1) * sizeof(ViewJob));
	ViewJob *parts = palloc0((nrows + 1) * sizeof(ViewJob));
	ViewJob *again = palloc0((nrows + 1) * sizeof(ViewJob));
	int *first = palloc((nrows + 1) * sizeof(int));
	LsmSlice *inputs = palloc((nrows + 1) * sizeof(LsmSlice));
	LsmSlice *results = palloc((nrows + 1) * sizeof(LsmSlice));
	int ngroups = 0;
	int nparts = 0;

	for (int i = 0; i < nrows; i++)
	{
		inputs[i] = rows[i].value;
		if (i == 0 || by_group(&rows[i - 1], &rows[i]) != 0)
		{
			whole[ngroups].group = rows[i].group;
			whole[ngroups++].inputs = &inputs[i];
		}
		whole[ngroups - 1].ninputs++;
	}
	for (int i = 0; i < ngroups; i++)
	{
		first[i] = nparts;
		nparts += cut_into_parts(&whole[i], &parts[nparts]);
	}
	first[ngroups] = nparts;
	reduce_jobs(reduce, whole, ngroups);
	reduce_jobs(reduce, parts, nparts);
	for (int i = 0; i < nparts; i++)
		results[i] = lsm_slice(parts[i].result.data, parts[i].result.len);
	for (int i = 0; i < ngroups; i++)
	{
		bool failed = has_failed(lsm_slice(whole[i].result.data, whole[i].result.len));

		for (int j = first[i]; j < first[i + 1]; j++)
			failed |= has_failed(results[j]);
		again[i].group = whole[i].group;
		again[i].inputs = &results[first[i]];
		again[i].parts = true;
		/* A group that fails will fail; the others say what the reduce is worth. */
		again[i].ninputs = failed ? 0 : first[i + 1] - first[i];
	}
	reduce_jobs(reduce, again, ngroups);
	for (int i = 0; i < ngroups; i++)
		if (again[i].ninputs > 0)
			compare(view, layout, &whole[i], &again[i]);
}

void
view_reduce_try(const View *view, bool on_documents)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "docstore trial", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	ViewReduce *reduce = view_reduce_new(view);
	ViewJob nothing = {0};
	Row *rows;
	int nrows;
	ErrorData *fault;

	fault = view_reduce_nothing(reduce, &nothing);
	if (fault != NULL)
		ReThrowError(fault);
	if (on_documents)
	{
		rows = map_documents(view, &nrows);
		for (int i = 0; i < ROUNDS; i++)
			try_groups(view, reduce, rows, nrows);
	}
	view_reduce_free(reduce);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
