/*
 * build.c - rows into documents (build.h).
 */
#include "postgres.h"

#include "fdw/build.h"

#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

/* The slot's doc; throws if it is null. */
static Jsonb *
given_document(const DocTable *table, TupleTableSlot *slot)
{
	bool isnull;
	Datum datum = slot_getattr(slot, table->doc, &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("document must not be null"),
				 errdetail("Column \"doc\" of foreign table \"%s\" is null.", table->name),
				 errhint("To store JSON's null, write 'null'; to remove a document, use DELETE.")));
	if (table->doc_is_json)
		datum = DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(DatumGetTextPP(datum))));
	return DatumGetJsonbP(datum);
}

static Jsonb *
empty_document(void)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static Jsonb *
set_field(const DocTable *table, int at, TupleTableSlot *slot, Jsonb *doc)
{
	DocColumn *column = &table->columns[at];
	bool isnull;
	Datum datum = slot_getattr(slot, at + 1, &isnull);

	if (!isnull && column->convert.kind == DOC_CONVERT_ARRAY && AARR_NDIM(DatumGetAnyArrayP(datum)) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of foreign table \"%s\" holds arrays of one dimension only", column->name, table->name),
				 errhint("Declare it as jsonb, and use to_jsonb().")));
	return doc_path_set(column->path, doc, isnull ? NULL : doc_convert_write(&column->convert, datum));
}

Jsonb *
doc_build_new(const DocTable *table, TupleTableSlot *slot, bool dumped)
{
	bool any = false;
	Jsonb *doc;

	slot_getallattrs(slot);
	/* Whose values came out of it: setting them would make a number of "7", and a text of 5. */
	if (dumped && table->doc != 0 && !slot->tts_isnull[table->doc - 1])
		return given_document(table, slot);
	for (int i = 0; i < table->natts && table->nfields > 0 && !any; i++)
		any = table->columns[i].role == DOC_ROLE_FIELD && !slot->tts_isnull[i];

	if (table->doc != 0 && !(any && slot->tts_isnull[table->doc - 1]))
		doc = given_document(table, slot);
	else
		doc = empty_document();
	if (any)
		for (int i = 0; i < table->natts; i++)
			if (table->columns[i].role == DOC_ROLE_FIELD && !slot->tts_isnull[i])
				doc = set_field(table, i, slot, doc);
	return doc;
}

Jsonb *
doc_build_changed(const DocTable *table, TupleTableSlot *slot, Jsonb *old, const Bitmapset *changed)
{
	Jsonb *doc = old;

	if (table->doc != 0 && bms_is_member(table->doc, changed))
		doc = given_document(table, slot);
	for (int i = 0; i < table->natts; i++)
		if (table->columns[i].role == DOC_ROLE_FIELD && bms_is_member(i + 1, changed))
			doc = set_field(table, i, slot, doc);
	return doc;
}
