/*
 * row.c - documents as rows of a foreign table (row.h).
 */
#include "postgres.h"

#include "fdw/row.h"

#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

void
doc_row_init(DocRow *row, DocTable *table, List *columns, bool all)
{
	memset(row, 0, sizeof(*row));
	row->table = table;
	row->columns = palloc((table->natts + 1) * sizeof(AttrNumber));
	for (int i = 1; i <= table->natts; i++)
	{
		DocRole role = table->columns[i - 1].role;

		if (role == DOC_ROLE_NONE || !(all || list_member_int(columns, i)))
			continue;
		row->columns[row->ncolumns++] = (AttrNumber) i;
		row->need_body |= role == DOC_ROLE_DOC || role == DOC_ROLE_FIELD;
		row->need_fields |= role == DOC_ROLE_FIELD;
		row->need_value |= row->need_body || role == DOC_ROLE_MODIFIED;
	}
	row->id = palloc(VARHDRSZ + DOCSTORE_MAX_ID);
	row->doc.context = CurrentMemoryContext;
}

static void
set_id(DocRow *row, LsmSlice id)
{
	Assert(id.len <= DOCSTORE_MAX_ID);
	SET_VARSIZE(row->id, VARHDRSZ + id.len);
	memcpy(VARDATA(row->id), id.data, id.len);
}

void
doc_row_set(DocRow *row, LsmSlice id, uint64 etag, LsmSlice value)
{
	set_id(row, id);
	row->etag = etag;
	if (row->need_value)
	{
		LsmSlice body;

		document_decode(value, &row->modified, &body);
		if (row->need_body)
			document_buffer_set(&row->doc, body);
	}
}

void
doc_row_set_written(DocRow *row, LsmSlice id, uint64 etag, TimestampTz modified, const Jsonb *doc)
{
	set_id(row, id);
	row->etag = etag;
	row->modified = modified;
	document_buffer_set(&row->doc, document_body(doc));
}

static void
explain_error(void *arg)
{
	DocRow *row = arg;

	errcontext("column \"%s\" of foreign table \"%s\", document \"%s\"", row->table->columns[row->converting].name,
			   row->table->name, text_to_cstring(row->id));
}

static Datum
read_field(DocRow *row, DocColumn *column, bool *isnull)
{
	JsonbValue value;

	if (!doc_path_get(column->path, &row->doc.jsonb->root, &value))
	{
		*isnull = true;
		return (Datum) 0;
	}
	return doc_convert_read(&column->convert, &value, isnull);
}

void
doc_row_store(DocRow *row, TupleTableSlot *slot)
{
	Datum *values = slot->tts_values;
	bool *isnull = slot->tts_isnull;
	ErrorContextCallback callback;

	ExecClearTuple(slot);
	memset(isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));

	if (row->need_fields)
	{
		callback.callback = explain_error;
		callback.arg = row;
		callback.previous = error_context_stack;
		error_context_stack = &callback;
	}
	for (int i = 0; i < row->ncolumns; i++)
	{
		int at = row->columns[i] - 1;
		DocColumn *column = &row->table->columns[at];

		isnull[at] = false;
		switch (column->role)
		{
			case DOC_ROLE_ID:
				values[at] = PointerGetDatum(row->id);
				break;
			case DOC_ROLE_DOC:
				if (row->table->doc_is_json)
					values[at] = PointerGetDatum(cstring_to_text(JsonbToCString(NULL, &row->doc.jsonb->root, VARSIZE(row->doc.jsonb))));
				else
					values[at] = PointerGetDatum(row->doc.jsonb);
				break;
			case DOC_ROLE_ETAG:
				values[at] = Int64GetDatum((int64) row->etag);
				break;
			case DOC_ROLE_MODIFIED:
				values[at] = TimestampTzGetDatum(row->modified);
				break;
			case DOC_ROLE_FIELD:
				row->converting = at;
				values[at] = read_field(row, column, &isnull[at]);
				break;
			case DOC_ROLE_NONE:
				break;
		}
	}
	if (row->need_fields)
		error_context_stack = callback.previous;
	ExecStoreVirtualTuple(slot);
}
