/*
 * errors.c - the list of what is wrong in a view (errors.h).
 *
 * The list is nobody's to write, so it is written as the bootstrap superuser; what the caller may do has been checked.
 */
#include "postgres.h"

#include "view/errors.h"

#include "catalog/pg_authid_d.h"
#include "catalog/pg_type.h"
#include "common/md5.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "view/pin.h"

#define MD5_TEXT 33

static void
begin(ViewPin *pin)
{
	view_pin(pin, BOOTSTRAP_SUPERUSERID);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

static void
end(ViewPin *pin)
{
	SPI_finish();
	view_unpin(pin);
}

/* NULL is no value of any of them but the last of seven. */
static void
execute(const char *sql, int nargs, const Datum *values, const char *nulls)
{
	Oid types[7] = {INT8OID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID};
	int code = SPI_execute_with_args(sql, nargs, types, (Datum *) values, nulls, false, 0);

	if (code < 0)
		elog(ERROR, "could not note errors of a view: %s", SPI_result_code_string(code));
}

static void
insert(const View *view, const char *collection, Datum id, uint64 etag, int sqlstate, const char *message, const char *columns)
{
	Datum values[7];

	values[0] = Int64GetDatum((int64) view->storage);
	values[1] = CStringGetTextDatum(collection);
	values[2] = id;
	values[3] = Int64GetDatum((int64) etag);
	values[4] = CStringGetTextDatum(unpack_sql_state(sqlstate));
	values[5] = CStringGetTextDatum(message);
	values[6] = columns != NULL ? CStringGetTextDatum(columns) : (Datum) 0;
	execute("INSERT INTO docstore.view_error AS e (storage_id, collection, id, etag, sqlstate, message, columns) "
			"VALUES ($1, $2, $3, $4, $5, $6, $7::pg_catalog.jsonb) "
			"ON CONFLICT (storage_id, collection, id) DO UPDATE SET etag = EXCLUDED.etag, sqlstate = EXCLUDED.sqlstate, "
			"message = EXCLUDED.message, noticed = EXCLUDED.noticed",
			7, values, columns != NULL ? NULL : "      n");
}

/* Asked for each batch, however small: the plan is kept. */
static bool
has_any(const View *view)
{
	static SPIPlanPtr plan;
	Datum values[1] = {Int64GetDatum((int64) view->storage)};

	if (plan == NULL)
	{
		Oid types[1] = {INT8OID};

		plan = SPI_prepare("SELECT FROM docstore.view_error WHERE storage_id = $1 LIMIT 1", 1, types);
		if (plan == NULL)
			elog(ERROR, "could not prepare a look at the errors of a view: %s", SPI_result_code_string(SPI_result));
		(void) SPI_keepplan(plan);
	}
	if (SPI_execute_plan(plan, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look at the errors of a view");
	return SPI_processed > 0;
}

/* Those of one collection are no longer on the list. */
static void
delete_documents(const View *view, const char *collection, const ViewDocument *docs, int n)
{
	Oid types[3] = {INT8OID, TEXTOID, TEXTARRAYOID};
	Datum *ids = palloc(n * sizeof(Datum));
	Datum values[3];
	int m = 0;

	for (int i = 0; i < n; i++)
		if (strcmp(docs[i].collection, collection) == 0)
			ids[m++] = PointerGetDatum(docs[i].id);
	if (m == 0)
		return;
	values[0] = Int64GetDatum((int64) view->storage);
	values[1] = CStringGetTextDatum(collection);
	values[2] = PointerGetDatum(construct_array(ids, m, TEXTOID, -1, false, TYPALIGN_INT));
	if (SPI_execute_with_args("DELETE FROM docstore.view_error WHERE storage_id = $1 AND collection = $2 AND id = ANY ($3)", 3, types, values,
							  NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete errors of a view");
}

void
view_errors_note(const View *view, const ViewDocument *docs, int n)
{
	ListCell *lc;
	ViewPin pin;

	if (n == 0)
		return;
	begin(&pin);
	if (has_any(view))
		foreach (lc, view->collections)
			delete_documents(view, lfirst(lc), docs, n);
	for (int i = 0; i < n; i++)
		if (docs[i].error != NULL)
			insert(view, docs[i].collection, PointerGetDatum(docs[i].id), docs[i].etag, docs[i].error->sqlerrcode, docs[i].error->message, NULL);
	end(&pin);
}

void
view_errors_forget(const View *view, const char *collection)
{
	Datum values[2] = {Int64GetDatum((int64) view->storage)};
	ViewPin pin;

	begin(&pin);
	if (collection != NULL)
	{
		values[1] = CStringGetTextDatum(collection);
		execute("DELETE FROM docstore.view_error WHERE storage_id = $1 AND collection = $2", 2, values, NULL);
	}
	else
		execute("DELETE FROM docstore.view_error WHERE storage_id = $1", 1, values, NULL);
	end(&pin);
}

/* ---- groups ---- */

/* In place of an id; a key may be too long for an index. */
static Datum
name_of_group(LsmSlice group)
{
	char name[MD5_TEXT];
	const char *problem;

	if (!pg_md5_hash(group.data, group.len, name, &problem))
		elog(ERROR, "could not compute a hash: %s", problem);
	return CStringGetTextDatum(name);
}

void
view_errors_note_group(const View *view, LsmSlice group, const char *columns, LsmSlice error)
{
	LsmSlice message = view_entry_message(error);
	ViewPin pin;

	begin(&pin);
	insert(view, VIEW_ERRORS_GROUPS, name_of_group(group), 0, view_entry_sqlstate(error), pnstrdup(message.data, message.len), columns);
	end(&pin);
}

void
view_errors_forget_group(const View *view, LsmSlice group)
{
	Datum values[3] = {Int64GetDatum((int64) view->storage)};
	ViewPin pin;

	begin(&pin);
	values[1] = CStringGetTextDatum(VIEW_ERRORS_GROUPS);
	values[2] = name_of_group(group);
	execute("DELETE FROM docstore.view_error WHERE storage_id = $1 AND collection = $2 AND id = $3", 3, values, NULL);
	end(&pin);
}
