/*
 * row.c - documents as rows of a foreign table (row.h).
 */
#include "postgres.h"

#include "fdw/row.h"

#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

static void
part_init(DocRowPart *part, DocTable *table, const Bitmapset *columns)
{
	DocPath **paths = palloc(table->natts * sizeof(DocPath *) + 1);
	int npaths = 0;
	int i = -1;

	part->columns = palloc((table->natts + 1) * sizeof(AttrNumber));
	while ((i = bms_next_member(columns, i)) >= 0)
	{
		part->columns[part->ncolumns++] = (AttrNumber) i;
		if (table->columns[i - 1].role == DOC_ROLE_FIELD)
			paths[npaths++] = table->columns[i - 1].path;
	}
	part->wants = doc_wants_new(npaths, paths);
	part->values = palloc(npaths * sizeof(JsonbValue) + 1);
}

static void
row_init(DocRow *row, DocTable *table, List *columns, bool all, List *first)
{
	Bitmapset *tested = NULL;
	Bitmapset *others = NULL;

	memset(row, 0, sizeof(*row));
	row->table = table;
	for (int i = 1; i <= table->natts; i++)
	{
		DocRole role = table->columns[i - 1].role;

		if (role == DOC_ROLE_NONE || !(all || list_member_int(columns, i)))
			continue;
		if (list_member_int(first, i))
			tested = bms_add_member(tested, i);
		else
			others = bms_add_member(others, i);
		row->need_body |= role == DOC_ROLE_DOC || role == DOC_ROLE_FIELD;
		row->need_value |= row->need_body || role == DOC_ROLE_MODIFIED;
	}
	part_init(&row->first, table, tested);
	part_init(&row->rest, table, others);
	row->id = palloc(VARHDRSZ + DOCSTORE_MAX_ID);
	row->doc.context = CurrentMemoryContext;
}

void
doc_row_init(DocRow *row, DocTable *table, List *columns, bool all)
{
	row_init(row, table, columns, all, NIL);
}

void
doc_row_init_parts(DocRow *row, DocTable *table, List *columns, List *first)
{
	row_init(row, table, columns, false, first);
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

	if (row->converting < 0)
		return;
	errcontext("column \"%s\" of foreign table \"%s\", document \"%s\"", row->table->columns[row->converting].name,
			   row->table->name, text_to_cstring(row->id));
}

static Datum
field_value(DocRow *row, DocColumn *column, JsonbValue *value, bool *isnull)
{
	if (row->table->lenient || (row->lenient && doc_convert_can_try(&column->convert)))
		return doc_convert_try(&column->convert, value, isnull);
	return doc_convert_read(&column->convert, value, isnull);
}

static void
fill(DocRow *row, DocRowPart *part, TupleTableSlot *slot)
{
	Datum *values = slot->tts_values;
	bool *isnull = slot->tts_isnull;
	ErrorContextCallback callback;
	JsonbValue *found = part->values;

	if (part->wants != NULL)
	{
		callback.callback = explain_error;
		callback.arg = row;
		callback.previous = error_context_stack;
		error_context_stack = &callback;
		row->converting = -1;
		doc_wants_get(part->wants, &row->doc.jsonb->root, found);
	}
	for (int i = 0; i < part->ncolumns; i++)
	{
		int at = part->columns[i] - 1;
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
				values[at] = field_value(row, column, found++, &isnull[at]);
				break;
			case DOC_ROLE_NONE:
				break;
		}
	}
	if (part->wants != NULL)
		error_context_stack = callback.previous;
}

void
doc_row_store_first(DocRow *row, TupleTableSlot *slot)
{
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	/* The executor sets it in what a scan returns, which is too late for conditions and values that are made here. */
	slot->tts_tableOid = row->table->relid;
	fill(row, &row->first, slot);
	ExecStoreVirtualTuple(slot);
}

void
doc_row_store_rest(DocRow *row, TupleTableSlot *slot)
{
	fill(row, &row->rest, slot);
}

void
doc_row_store(DocRow *row, TupleTableSlot *slot)
{
	doc_row_store_first(row, slot);
	doc_row_store_rest(row, slot);
}
