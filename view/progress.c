/*
 * progress.c - reads and writes docstore.view_progress (progress.h).
 */
#include "postgres.h"

#include "view/progress.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "fdw/collection.h"
#include "view/errors.h"

#define ATT_STORAGE 1
#define ATT_BUILT 2
#define ATT_POSITION 3
#define ATT_ROWS 4
#define ATT_DOCUMENTS 5
#define ATT_STORAGES 6
#define ATT_NEXT_COLLECTION 7
#define ATT_NEXT_ID 8
#define ATT_SQLSTATE 9
#define ATT_REASON 10
#define ATT_UPDATED 11
#define ATT_SCANNED 12
#define ATT_DATABASE 13
#define ATT_GROUPS 14
#define ATT_REDUCED 15
#define ATT_NEXT_GROUP 16
#define ATT_REDUCTIONS 17
#define ATT_RESULTS 18
#define ATT_CHANGES 19
#define ATT_CHANGES_READ 20
#define ATT_ROWS_REDUCED 21
#define ATT_RATE 22
#define NATTS 22

static Relation
open_table(LOCKMODE mode)
{
	return docstore_catalog_open(docstore_extension_relation("view_progress"), NATTS, mode);
}

static HeapTuple
find_tuple(Relation table, uint64 storage, Snapshot snapshot)
{
	Oid index = get_relname_relid("view_progress_pkey", get_namespace_oid("docstore", false));
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, ATT_STORAGE, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum((int64) storage));
	scan = systable_beginscan(table, index, true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

static Datum
storages_datum(const ViewProgress *progress)
{
	Datum *elements = palloc(Max(progress->ncollections, 1) * sizeof(Datum));

	for (int i = 0; i < progress->ncollections; i++)
		elements[i] = Int64GetDatum((int64) progress->storages[i]);
	return PointerGetDatum(construct_array(elements, progress->ncollections, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static void
set_values(const ViewProgress *progress, Datum *values, bool *nulls)
{
	values[ATT_BUILT - 1] = BoolGetDatum(progress->built);
	values[ATT_POSITION - 1] = Int64GetDatum((int64) progress->position);
	values[ATT_ROWS - 1] = Int64GetDatum(progress->rows);
	values[ATT_DOCUMENTS - 1] = Int64GetDatum(progress->documents);
	values[ATT_SCANNED - 1] = Int64GetDatum((int64) progress->scanned);
	values[ATT_DATABASE - 1] = ObjectIdGetDatum(MyDatabaseId);
	values[ATT_STORAGES - 1] = storages_datum(progress);
	values[ATT_NEXT_COLLECTION - 1] = Int32GetDatum(progress->next_collection);
	nulls[ATT_NEXT_ID - 1] = progress->next_id == NULL;
	values[ATT_NEXT_ID - 1] = progress->next_id == NULL ? (Datum) 0 : CStringGetTextDatum(progress->next_id);
	values[ATT_UPDATED - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[ATT_GROUPS - 1] = Int64GetDatum(progress->groups);
	values[ATT_ROWS_REDUCED - 1] = Int64GetDatum(progress->rows_reduced);
	values[ATT_RATE - 1] = Float8GetDatum(progress->rate);
	values[ATT_CHANGES - 1] = Int64GetDatum(progress->changes);
	values[ATT_CHANGES_READ - 1] = Int64GetDatum(progress->changes_read);
	values[ATT_REDUCTIONS - 1] = Int64GetDatum(progress->reductions);
	values[ATT_REDUCED - 1] = BoolGetDatum(progress->reduced);
	nulls[ATT_NEXT_GROUP - 1] = progress->next_group == NULL;
	values[ATT_NEXT_GROUP - 1] = PointerGetDatum(progress->next_group);
}

void
view_progress_create(const View *view)
{
	ViewProgress progress = {0};
	Relation table = open_table(RowExclusiveLock);
	Datum values[NATTS] = {0};
	bool nulls[NATTS] = {false};

	progress.ncollections = list_length(view->collections);
	progress.storages = palloc0(progress.ncollections * sizeof(uint64));
	set_values(&progress, values, nulls);
	values[ATT_STORAGE - 1] = Int64GetDatum((int64) view->storage);
	values[ATT_RESULTS - 1] = Int64GetDatum((int64) view->results);
	nulls[ATT_SQLSTATE - 1] = nulls[ATT_REASON - 1] = true;
	CatalogTupleInsert(table, heap_form_tuple(RelationGetDescr(table), values, nulls));
	table_close(table, NoLock);
}

void
view_progress_drop(const View *view)
{
	Relation table = open_table(RowExclusiveLock);
	HeapTuple tuple = find_tuple(table, view->storage, NULL);

	if (tuple != NULL)
		CatalogTupleDelete(table, &tuple->t_self);
	table_close(table, NoLock);
	view_errors_forget(view, NULL);
}

bool
view_progress_read(uint64 storage, Snapshot snapshot, ViewProgress *progress)
{
	Relation table = open_table(AccessShareLock);
	HeapTuple tuple = find_tuple(table, storage, snapshot);
	Datum values[NATTS];
	bool nulls[NATTS];

	memset(progress, 0, sizeof(*progress));
	if (tuple != NULL)
	{
		Datum *elements;

		heap_deform_tuple(tuple, RelationGetDescr(table), values, nulls);
		progress->built = DatumGetBool(values[ATT_BUILT - 1]);
		progress->position = (uint64) DatumGetInt64(values[ATT_POSITION - 1]);
		progress->rows = DatumGetInt64(values[ATT_ROWS - 1]);
		progress->documents = DatumGetInt64(values[ATT_DOCUMENTS - 1]);
		progress->scanned = (uint64) DatumGetInt64(values[ATT_SCANNED - 1]);
		deconstruct_array(DatumGetArrayTypeP(values[ATT_STORAGES - 1]), INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
						  &elements, NULL, &progress->ncollections);
		progress->storages = palloc(Max(progress->ncollections, 1) * sizeof(uint64));
		for (int i = 0; i < progress->ncollections; i++)
			progress->storages[i] = (uint64) DatumGetInt64(elements[i]);
		/* CREATE DATABASE copied this row, but not the view's rows: it is built anew. */
		if (DatumGetObjectId(values[ATT_DATABASE - 1]) != MyDatabaseId)
		{
			int n = progress->ncollections;

			memset(progress, 0, sizeof(*progress));
			progress->ncollections = n;
			progress->storages = palloc0(Max(n, 1) * sizeof(uint64));
			nulls[ATT_NEXT_ID - 1] = nulls[ATT_NEXT_GROUP - 1] = true;
		}
		else
		{
			progress->next_collection = DatumGetInt32(values[ATT_NEXT_COLLECTION - 1]);
			progress->rows_reduced = DatumGetInt64(values[ATT_ROWS_REDUCED - 1]);
			progress->rate = DatumGetFloat8(values[ATT_RATE - 1]);
			progress->changes = DatumGetInt64(values[ATT_CHANGES - 1]);
			progress->changes_read = DatumGetInt64(values[ATT_CHANGES_READ - 1]);
			progress->groups = DatumGetInt64(values[ATT_GROUPS - 1]);
			progress->reductions = DatumGetInt64(values[ATT_REDUCTIONS - 1]);
			progress->reduced = DatumGetBool(values[ATT_REDUCED - 1]);
		}
		progress->results = (uint64) DatumGetInt64(values[ATT_RESULTS - 1]);
		if (!nulls[ATT_NEXT_GROUP - 1])
			progress->next_group = DatumGetByteaPCopy(values[ATT_NEXT_GROUP - 1]);
		if (!nulls[ATT_NEXT_ID - 1])
			progress->next_id = TextDatumGetCString(values[ATT_NEXT_ID - 1]);
		progress->paused = !nulls[ATT_REASON - 1];
		if (progress->paused)
			progress->reason = TextDatumGetCString(values[ATT_REASON - 1]);
	}
	table_close(table, AccessShareLock);
	return tuple != NULL;
}

static void
update(uint64 storage, Datum *values, bool *nulls, bool *replace)
{
	Relation table = open_table(RowExclusiveLock);
	HeapTuple tuple = find_tuple(table, storage, NULL);

	if (tuple == NULL)
		elog(ERROR, "the progress of a view is gone");
	tuple = heap_modify_tuple(tuple, RelationGetDescr(table), values, nulls, replace);
	CatalogTupleUpdate(table, &tuple->t_self, tuple);
	table_close(table, NoLock);
}

void
view_progress_write(uint64 storage, const ViewProgress *progress)
{
	Datum values[NATTS] = {0};
	bool nulls[NATTS] = {false};
	bool replace[NATTS];

	memset(replace, true, sizeof(replace));
	replace[ATT_STORAGE - 1] = replace[ATT_SQLSTATE - 1] = replace[ATT_REASON - 1] = replace[ATT_RESULTS - 1] = false;
	set_values(progress, values, nulls);
	update(storage, values, nulls, replace);
}

void
view_progress_pause(uint64 storage, const ErrorData *reason)
{
	Datum values[NATTS] = {0};
	bool nulls[NATTS] = {false};
	bool replace[NATTS] = {false};

	replace[ATT_SQLSTATE - 1] = replace[ATT_REASON - 1] = replace[ATT_UPDATED - 1] = true;
	values[ATT_UPDATED - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	if (reason == NULL)
		nulls[ATT_SQLSTATE - 1] = nulls[ATT_REASON - 1] = true;
	else
	{
		values[ATT_SQLSTATE - 1] = CStringGetTextDatum(unpack_sql_state(reason->sqlerrcode));
		values[ATT_REASON - 1] = CStringGetTextDatum(reason->message);
	}
	update(storage, values, nulls, replace);
}

void
view_progress_set_results(uint64 storage, uint64 results)
{
	Datum values[NATTS] = {0};
	bool nulls[NATTS] = {false};
	bool replace[NATTS] = {false};

	replace[ATT_RESULTS - 1] = true;
	values[ATT_RESULTS - 1] = Int64GetDatum((int64) results);
	update(storage, values, nulls, replace);
}
