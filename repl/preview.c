/*
 * preview.c - docstore.preview_replication: what a definition would do with a document, done and undone again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "fdw/collection.h"
#include "fdw/document.h"
#include "repl/apply.h"
#include "repl/view_row.h"
#include "store/txn.h"
#include "view/pin.h"

PG_FUNCTION_INFO_V1(docstore_preview_replication);

typedef struct Preview
{
	ReplApply *apply;
	Oid owner;
	text *id;
	ViewDocument *docs; /* one for each collection */
	int ndocs;
	List **before; /* by table: rows as jsonb, in text */
	List **after;
	ErrorData *fault;
} Preview;

/* The newest version of the document, if there is one. */
static void
look_up(const Preview *preview, const char *collection, ViewDocument *doc)
{
	static LsmBuf value; /* its room is used again */
	LsmVersion version = {0};
	DocCollection at;
	DocumentKey key;
	Snapshot snapshot;
	LsmStatus status;
	LsmSlice body;
	LsmError err;
	LsmRead read;

	docstore_collection_get(collection, NoLock, &at);
	if (!has_privs_of_role(preview->owner, at.owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for collection \"%s\"", collection)));
	memset(doc, 0, sizeof(*doc));
	doc->collection = collection;
	doc->id = preview->id;
	document_key_init(&key, at.storage, VARDATA_ANY(preview->id), VARSIZE_ANY_EXHDR(preview->id));
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	docstore_read_init(&read, snapshot);
	value.len = 0;
	status = lsm_get(docstore_db(), &read, document_key_slice(&key), &value, &version, &err);
	UnregisterSnapshot(snapshot);
	if (status != LSM_NOT_FOUND)
	{
		char *copy;
		size_t len = value.len;

		docstore_check(status, &err);
		copy = palloc(len);
		memcpy(copy, value.data, len);
		document_decode(lsm_slice(copy, len), &doc->modified, &body);
		doc->etag = version.seq;
		doc->doc = palloc(VARHDRSZ + body.len);
		SET_VARSIZE(doc->doc, VARHDRSZ + body.len);
		memcpy(VARDATA(doc->doc), body.data, body.len);
	}
}

/* The same of a row of a view. */
static void
look_up_row(const Preview *preview, const char *name, ViewDocument *doc)
{
	static LsmBuf value; /* its room is used again */
	ReplView *view = repl_view_open(name, preview->owner);
	LsmVersion version = {0};
	ReplViewRow row = {0};
	StringInfoData key;
	Snapshot snapshot;
	LsmStatus status;
	LsmError err;
	LsmRead read;

	memset(doc, 0, sizeof(*doc));
	doc->collection = name;
	doc->id = preview->id;
	initStringInfo(&key);
	if (!repl_view_key(view, text_to_cstring(preview->id), &key))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not the id of a row of view \"%s\"", text_to_cstring(preview->id), name),
				 errhint("The key column of a replicated table has ids, and so has docstore.replication_errors.")));
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	docstore_read_init(&read, snapshot);
	value.len = 0;
	status = lsm_get(docstore_db(), &read, lsm_slice(key.data, key.len), &value, &version, &err);
	UnregisterSnapshot(snapshot);
	if (status == LSM_NOT_FOUND)
		return;
	docstore_check(status, &err);
	doc->etag = version.seq;
	row.key = lsm_slice(key.data + DOCSTORE_KEY_PREFIX, key.len - DOCSTORE_KEY_PREFIX);
	row.value = lsm_slice(memcpy(palloc(value.len), value.data, value.len), value.len);
	repl_view_documents(view, &row, doc, 1);
}

/* The document's rows as they are now, in the current context. */
static List *
rows_of(const Preview *preview, const char *table, const char *key)
{
	MemoryContext context = CurrentMemoryContext;
	Datum id = PointerGetDatum(preview->id);
	Oid type = TEXTOID;
	List *rows = NIL;
	ViewPin pin;

	view_pin(&pin, preview->owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(psprintf("SELECT to_jsonb(t)::text FROM %s AS t WHERE t.%s = $1 ORDER BY to_jsonb(t)::text COLLATE pg_catalog.\"C\"", table, quote_identifier(key)),
							  1, &type, &id, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the rows of table %s", table);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		rows = lappend(rows, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	view_unpin(&pin);
	return rows;
}

static void
read_tables(const Preview *preview, List **rows)
{
	List *names = repl_apply_names(preview->apply);
	ListCell *lc;

	foreach (lc, repl_apply_definition(preview->apply)->tables)
	{
		int i = foreach_current_index(lc);

		rows[i] = rows_of(preview, list_nth(names, i), ((ReplTable *) lfirst(lc))->key);
	}
}

/* What it does is undone; what it has seen stays. */
static void
try_it(Preview *preview)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	int n = list_length(repl_apply_definition(preview->apply)->tables);
	ReplCounts counts = {palloc0(n * sizeof(int64)), palloc0(n * sizeof(int64))};

	preview->before = palloc0(n * sizeof(List *));
	preview->after = palloc0(n * sizeof(List *));
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		read_tables(preview, preview->before);
		preview->fault = repl_apply_run(preview->apply, preview->docs, preview->ndocs, &counts);
		if (preview->fault == NULL)
			read_tables(preview, preview->after);
	}
	PG_CATCH();
	{
		RollbackAndReleaseCurrentSubTransaction();
		CurrentResourceOwner = owner;
		PG_RE_THROW();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

/* ---- the result ---- */

static void
put(ReturnSetInfo *rsinfo, const char *table, const char *change, const char *row, const char *error)
{
	Datum values[4] = {0};
	bool nulls[4] = {table == NULL, false, row == NULL, error == NULL};

	if (table != NULL)
		values[0] = CStringGetTextDatum(table);
	values[1] = CStringGetTextDatum(change);
	if (row != NULL)
		values[2] = DirectFunctionCall1(jsonb_in, CStringGetDatum(row));
	if (error != NULL)
		values[3] = CStringGetTextDatum(error);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Both are in the same order; what is in both does not change. */
static void
put_changes(ReturnSetInfo *rsinfo, const char *table, List *before, List *after)
{
	ListCell *old = list_head(before);
	ListCell *new = list_head(after);

	while (old != NULL || new != NULL)
	{
		int order = old == NULL ? 1 : new == NULL ? -1
												  : strcmp(lfirst(old), lfirst(new));

		if (order < 0)
			put(rsinfo, table, "lose", lfirst(old), NULL);
		else if (order > 0)
			put(rsinfo, table, "gain", lfirst(new), NULL);
		if (order <= 0)
			old = lnext(before, old);
		if (order >= 0)
			new = lnext(after, new);
	}
}

/*
 * docstore.preview_replication(definition json, id text)
 * RETURNS TABLE ("table" text, change text, "row" jsonb, error text)
 */
Datum
docstore_preview_replication(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char *json = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Preview preview = {.owner = GetUserId(), .id = PG_GETARG_TEXT_PP(1)};
	const ReplDefinition *definition;
	ListCell *lc;

	PreventCommandIfReadOnly("docstore.preview_replication()");
	InitMaterializedSRF(fcinfo, 0);
	preview.apply = repl_apply_new(json, preview.owner);
	repl_apply_check(preview.apply);
	definition = repl_apply_definition(preview.apply);
	preview.docs = palloc0(list_length(definition->collections) * sizeof(ViewDocument));
	if (definition->view != NULL)
		look_up_row(&preview, definition->view, &preview.docs[preview.ndocs++]);
	else
		foreach (lc, definition->collections)
			look_up(&preview, lfirst(lc), &preview.docs[preview.ndocs++]);
	try_it(&preview);

	if (preview.fault != NULL)
		put(rsinfo, NULL, "error", NULL, preview.fault->message);
	for (int i = 0; i < preview.ndocs; i++)
		if (preview.docs[i].error != NULL)
			put(rsinfo, repl_apply_refused(preview.apply, i), "error", NULL, preview.docs[i].error->message);
	if (preview.fault == NULL)
		foreach (lc, repl_apply_names(preview.apply))
		{
			int i = foreach_current_index(lc);

			put_changes(rsinfo, lfirst(lc), preview.before[i], preview.after[i]);
		}
	repl_apply_free(preview.apply);
	return (Datum) 0;
}
