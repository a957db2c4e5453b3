/*
 * row.c - documents as rows of a foreign table (row.h).
 */
#include "postgres.h"

#include "fdw/row.h"

#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Small values of all columns of most rows; the others are allocated. */
#define SPACE 1024

/* Typed columns of the documents of a run. */
typedef struct DocRun
{
	DocValue *found; /* [LSM_RUN_MAX][fields of a part] */
	Datum *values;   /* [fields][LSM_RUN_MAX] */
	bool *isnull;    /* likewise */
	DocSpace space;
} DocRun;

static void
part_init(DocRowPart *part, DocTable *table, const Bitmapset *columns)
{
	DocPath **paths;
	int i = -1;

	/* A statement that fetches one row pays for this as much as for the row. */
	if (columns == NULL)
		return;
	paths = palloc(table->natts * sizeof(DocPath *));
	part->fixed = palloc(table->natts * sizeof(DocRowColumn));
	part->fields = palloc(table->natts * sizeof(DocRowColumn));
	while ((i = bms_next_member(columns, i)) >= 0)
	{
		DocRowColumn column = {i - 1, &table->columns[i - 1]};

		if (column.column->role != DOC_ROLE_FIELD)
			part->fixed[part->nfixed++] = column;
		else
		{
			paths[part->nfields] = column.column->path;
			part->fields[part->nfields++] = column;
		}
	}
	part->wants = doc_wants_new(part->nfields, paths);
	part->values = palloc(part->nfields * sizeof(DocValue));
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
	row->id_copy = palloc(VARHDRSZ + DOCSTORE_MAX_ID);
	row->doc.context = CurrentMemoryContext;
	if (row->first.wants != NULL || row->rest.wants != NULL)
	{
		row->space.data = palloc(SPACE);
		row->space.size = SPACE;
	}
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

/* Nothing of the document that was there before is needed any more. */
static inline void
begin(DocRow *row, LsmSlice id, uint64 etag)
{
	row->id = id;
	row->etag = etag;
	row->copied = false;
	row->space.used = 0;
}

static void
copy_body(DocRow *row)
{
	row->body = document_body(document_buffer_set(&row->doc, row->body));
	row->copied = true;
}

text *
doc_row_id(DocRow *row)
{
	Assert(row->id.len <= DOCSTORE_MAX_ID);
	SET_VARSIZE(row->id_copy, VARHDRSZ + row->id.len);
	row->id = lsm_slice(memmove(VARDATA(row->id_copy), row->id.data, row->id.len), row->id.len);
	return (text *) row->id_copy;
}

void
doc_row_lend(DocRow *row, LsmSlice id, uint64 etag, LsmSlice value)
{
	begin(row, id, etag);
	if (row->need_value)
		document_decode(value, &row->modified, &row->body);
}

void
doc_row_lend_entry(DocRow *row, const LsmRunEntry *entry)
{
	doc_row_lend(row, document_key_id(entry->user), entry->seq, entry->value);
}

void
doc_row_set(DocRow *row, LsmSlice id, uint64 etag, LsmSlice value)
{
	doc_row_lend(row, id, etag, value);
	(void) doc_row_id(row);
	if (row->need_body)
		copy_body(row);
}

void
doc_row_set_written(DocRow *row, LsmSlice id, uint64 etag, TimestampTz modified, const Jsonb *doc)
{
	begin(row, id, etag);
	(void) doc_row_id(row);
	row->modified = modified;
	row->body = document_body(doc);
	copy_body(row);
}

Jsonb *
doc_row_doc(DocRow *row)
{
	if (!row->copied)
		copy_body(row);
	return row->doc.jsonb;
}

static void
explain_error(void *arg)
{
	DocRow *row = arg;

	errcontext("column \"%s\" of foreign table \"%s\", document \"%s\"", row->table->columns[row->converting].name,
			   row->table->name, pnstrdup(row->id.data, row->id.len));
}

/* What takes more than doc_convert_quick has. */
static pg_noinline Datum
convert(DocRow *row, const DocRowColumn *column, const DocValue *value, bool *isnull)
{
	DocConvert *convert = &column->column->convert;
	ErrorContextCallback callback;
	JsonbValue whole;
	Datum datum;

	callback.callback = explain_error;
	callback.arg = row;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	row->converting = column->at;
	doc_value_jsonb(value, &whole);
	if (row->table->lenient || (row->lenient && doc_convert_can_try(convert)))
		datum = doc_convert_try(convert, &whole, isnull);
	else
		datum = doc_convert_read(convert, &whole, isnull);
	error_context_stack = callback.previous;
	return datum;
}

static void
fill_fixed(DocRow *row, DocRowPart *part, TupleTableSlot *slot)
{
	for (int i = 0; i < part->nfixed; i++)
	{
		const DocRowColumn *column = &part->fixed[i];
		Datum value = (Datum) 0;

		switch (column->column->role)
		{
			case DOC_ROLE_ID:
				value = PointerGetDatum(doc_row_id(row));
				break;
			case DOC_ROLE_DOC:
				value = PointerGetDatum(doc_row_doc(row));
				if (row->table->doc_is_json)
					value = PointerGetDatum(cstring_to_text(JsonbToCString(NULL, &row->doc.jsonb->root, VARSIZE(row->doc.jsonb))));
				break;
			case DOC_ROLE_ETAG:
				value = Int64GetDatum((int64) row->etag);
				break;
			case DOC_ROLE_MODIFIED:
				value = TimestampTzGetDatum(row->modified);
				break;
			case DOC_ROLE_FIELD:
			case DOC_ROLE_NONE:
				break;
		}
		slot->tts_values[column->at] = value;
		slot->tts_isnull[column->at] = false;
	}
}

static void
fill(DocRow *row, DocRowPart *part, TupleTableSlot *slot)
{
	fill_fixed(row, part, slot);
	if (part->wants == NULL)
		return;
	doc_wants_get(part->wants, row->body.data, part->values);
	for (int i = 0; i < part->nfields; i++)
	{
		const DocRowColumn *column = &part->fields[i];
		const DocValue *value = &part->values[i];
		Datum *datum = &slot->tts_values[column->at];
		bool *isnull = &slot->tts_isnull[column->at];

		if (doc_convert_quick(&column->column->convert, value, 1, 1, &row->space, datum, isnull) == 0)
			*datum = convert(row, column, value, isnull);
	}
}

static inline void
begin_slot(DocRow *row, TupleTableSlot *slot)
{
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	/* The executor sets it in what a scan returns, which is too late for conditions and values that are made here. */
	slot->tts_tableOid = row->table->relid;
}

void
doc_row_store_first(DocRow *row, TupleTableSlot *slot)
{
	begin_slot(row, slot);
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

/* ---- many at once ---- */

static DocRun *
run_new(MemoryContext context, int nfields)
{
	DocRun *run = MemoryContextAlloc(context, sizeof(DocRun));
	Size n = (Size) LSM_RUN_MAX * nfields;

	run->found = MemoryContextAlloc(context, n * sizeof(DocValue));
	run->values = MemoryContextAlloc(context, n * sizeof(Datum));
	run->isnull = MemoryContextAlloc(context, n * sizeof(bool));
	run->space.size = nfields > 0 ? LSM_RUN_MAX * SPACE : 0;
	run->space.data = MemoryContextAlloc(context, run->space.size);
	return run;
}

int
doc_row_make(DocRow *row, DocRowPart *part, const LsmRunEntry *entries, int n)
{
	int nfields = part->nfields;
	DocRun *run;

	if (row->run == NULL)
		row->run = run_new(row->doc.context, nfields);
	if (nfields == 0)
		return n;
	run = row->run;
	run->space.used = 0;
	for (int i = 0; i < n; i++)
	{
		TimestampTz modified;
		LsmSlice body;

		if (!document_split(entries[i].value, &modified, &body))
			n = i;
		else
			doc_wants_get(part->wants, body.data, run->found + (Size) i * nfields);
	}
	for (int j = 0; j < nfields; j++)
		n = doc_convert_quick(&part->fields[j].column->convert, run->found + j, nfields, n, &run->space,
							  run->values + (Size) j * LSM_RUN_MAX, run->isnull + (Size) j * LSM_RUN_MAX);
	return n;
}

static pg_noinline void
fill_fixed_of(DocRow *row, DocRowPart *part, const LsmRunEntry *entry, TupleTableSlot *slot)
{
	doc_row_lend_entry(row, entry);
	fill_fixed(row, part, slot);
}

static pg_noinline void
store_made_anew(DocRow *row, DocRowPart *part, int i, const LsmRunEntry *entry, TupleTableSlot *slot)
{
	begin_slot(row, slot);
	ExecStoreVirtualTuple(slot);
	doc_row_store_made(row, part, i, entry, slot);
}

void
doc_row_store_made(DocRow *row, DocRowPart *part, int i, const LsmRunEntry *entry, TupleTableSlot *slot)
{
	const DocRowColumn *field = part->fields;
	const DocRowColumn *end = field + part->nfields;
	const Datum *value = row->run->values + i;
	const bool *isnull = row->run->isnull + i;
	Datum *values = slot->tts_values;
	bool *nulls = slot->tts_isnull;

	/* Where the last one still lies as it was stored, the same columns change. */
	if (TTS_EMPTY(slot) || TTS_SHOULDFREE(slot) || slot->tts_nvalid != slot->tts_tupleDescriptor->natts)
	{
		store_made_anew(row, part, i, entry, slot);
		return;
	}
	for (; field < end; field++, value += LSM_RUN_MAX, isnull += LSM_RUN_MAX)
	{
		values[field->at] = *value;
		nulls[field->at] = *isnull;
	}
	if (part->nfixed > 0)
		fill_fixed_of(row, part, entry, slot);
}
