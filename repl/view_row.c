/*
 * view_row.c - rows of views as documents (view_row.h).
 */
#include "postgres.h"

#include "repl/view_row.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "view/entry.h"
#include "view/pin.h"
#include "view/progress.h"

/* As bytea has it. */
#define ID_HEAD "\\x"

struct ReplView
{
	View *view;
	Oid owner;
	ViewLayout *layout;
	TupleDesc desc; /* the view's columns, and without a reduce the document's id */
};

ReplView *
repl_view_open(const char *name, Oid owner)
{
	ReplView *view = palloc0(sizeof(ReplView));
	const ViewShape *shape;

	view->view = view_get(name, AccessShareLock);
	if (!has_privs_of_role(owner, view->view->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for view \"%s\"", name),
				 errdetail("The replication's owner is not a member of the role that owns the view.")));
	view->owner = owner;
	shape = view->view->shape;
	view->layout = view_layout(shape);
	view->desc = CreateTemplateTupleDesc(shape->ncolumns + (view->view->reduce == NULL ? 1 : 0));
	for (int i = 0; i < shape->ncolumns; i++)
		TupleDescInitEntry(view->desc, (AttrNumber) (i + 1), shape->columns[i].name, shape->columns[i].type, shape->columns[i].typmod, 0);
	if (view->view->reduce == NULL)
		TupleDescInitEntry(view->desc, (AttrNumber) (shape->ncolumns + 1), "id", TEXTOID, -1, 0);
	view->desc = BlessTupleDesc(view->desc);
	return view;
}

const View *
repl_view(const ReplView *view)
{
	return view->view;
}

bool
repl_view_is_built(const ReplView *view)
{
	ViewProgress progress;

	return view_progress_read(view->view->storage, NULL, &progress) && progress.built;
}

text *
repl_view_id(LsmSlice key)
{
	size_t head = strlen(ID_HEAD);
	text *id = palloc(VARHDRSZ + head + 2 * key.len);

	SET_VARSIZE(id, VARHDRSZ + head + 2 * key.len);
	memcpy(VARDATA(id), ID_HEAD, head);
	(void) hex_encode(key.data, key.len, VARDATA(id) + head);
	return id;
}

bool
repl_view_key(const ReplView *view, const char *id, StringInfo key)
{
	char prefix[DOCSTORE_KEY_PREFIX];
	size_t head = strlen(ID_HEAD);
	size_t digits = strlen(id) - Min(head, strlen(id));

	/* As repl_view_id writes it, and no other way. */
	if (strncmp(id, ID_HEAD, head) != 0 || strspn(id + head, "0123456789abcdef") != digits || digits % 2 != 0 ||
		digits / 2 > VIEW_MAX_KEY)
		return false;
	docstore_key_prefix(prefix, DOCSTORE_KEY_VIEW, MyDatabaseId, view->view->results);
	resetStringInfo(key);
	appendBinaryStringInfo(key, prefix, sizeof(prefix));
	enlargeStringInfo(key, (int) (digits / 2));
	key->len += (int) hex_decode(id + head, digits, key->data + key->len);
	return true;
}

/* The columns in JSON; values of types of the owner's are made text by functions of the owner's, so the pin must be set. */
static Jsonb *
document_of(const ReplView *view, const ReplViewRow *row, Datum *values, bool *nulls)
{
	int n = view->layout->ncolumns;
	HeapTuple tuple;
	Datum json;

	view_entry_read(view->layout, row->value, NULL, values, nulls);
	if (n < view->desc->natts)
	{
		StringInfoData key;

		initStringInfo(&key);
		appendStringInfoSpaces(&key, DOCSTORE_KEY_PREFIX);
		appendBinaryStringInfo(&key, row->key.data, (int) row->key.len);
		values[n] = PointerGetDatum(view_entry_id(lsm_slice(key.data, key.len), row->value));
		nulls[n] = false;
	}
	tuple = heap_form_tuple(view->desc, values, nulls);
	json = DirectFunctionCall1(row_to_json, HeapTupleGetDatum(tuple));
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(TextDatumGetCString(json))));
}

static ErrorData *
error_of(LsmSlice value)
{
	ErrorData *error = palloc0(sizeof(ErrorData));
	LsmSlice message = view_entry_message(value);

	error->sqlerrcode = view_entry_sqlstate(value);
	error->message = pnstrdup(message.data, message.len);
	return error;
}

void
repl_view_documents(const ReplView *view, const ReplViewRow *rows, ViewDocument *docs, int n)
{
	Datum *values = palloc(view->desc->natts * sizeof(Datum));
	bool *nulls = palloc(view->desc->natts * sizeof(bool));
	ViewPin pin;

	view_pin(&pin, view->owner);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		/* When it was computed says nothing. */
		docs[i].modified = DT_NOBEGIN;
		if (rows[i].value.len == 0)
			continue;
		if (view_entry_is_error(rows[i].value))
			docs[i].broken = error_of(rows[i].value);
		else
			docs[i].doc = document_of(view, &rows[i], values, nulls);
	}
	view_unpin(&pin);
}
