/*
 * row.h - one document on its way from the engine into a slot.
 *
 * doc_row_set copies what the engine lends, while it lends it; doc_row_store
 * makes column values of the copy, which may run any type's input function.
 * A row's storage is used again for the next one: what a slot got from it is
 * good until then (of typed columns that take an input function: until the current context of
 * doc_row_store is reset, if that is earlier).
 *
 * Columns may be in two parts: those that conditions are about are made first,
 * the others only for a row that passes.
 */
#ifndef DOCSTORE_ROW_H
#define DOCSTORE_ROW_H

#include "postgres.h"

#include "executor/tuptable.h"

#include "fdw/convert.h"
#include "fdw/document.h"
#include "fdw/extract.h"
#include "fdw/option.h"

/* A column to fill. */
typedef struct DocRowColumn
{
	int at; /* in the slot */
	DocColumn *column;
} DocRowColumn;

/* Some of them. */
typedef struct DocRowPart
{
	int nfixed; /* what every document has */
	DocRowColumn *fixed;
	int nfields; /* typed columns */
	DocRowColumn *fields;
	DocWants *wants;  /* of the fields, in their order; NULL if there are none */
	DocValue *values; /* likewise: what was found */
} DocRowPart;

typedef struct DocRow
{
	DocTable *table;
	DocRowPart first;
	DocRowPart rest;
	bool need_value; /* any of them lies in the document's value */
	bool lenient;    /* what does not fit its column reads as NULL, where the type allows that, whatever on_mismatch says */
	bool need_body;
	LsmSlice id; /* in id_copy or lent */
	char *id_copy;
	uint64 etag;
	TimestampTz modified;
	LsmSlice body;      /* the document, in `doc` or lent */
	DocumentBuffer doc; /* a copy of the document, if there is one */
	bool copied;        /* there is */
	DocSpace space;     /* of typed columns */
	int converting;     /* the column at work, for error messages */
	struct DocRun *run; /* of doc_row_make; NULL: there was none yet */
} DocRow;

/* columns: a list of attribute numbers, or NIL with all set; those of them that are in `first` make the first part. */
extern void doc_row_init(DocRow *row, DocTable *table, List *columns, bool all);
extern void doc_row_init_parts(DocRow *row, DocTable *table, List *columns, List *first);
/* value is not looked at unless the columns need it. */
extern void doc_row_set(DocRow *row, LsmSlice id, uint64 etag, LsmSlice value);
/* The same, but id and value stay where they are until the row is set again. */
extern void doc_row_lend(DocRow *row, LsmSlice id, uint64 etag, LsmSlice value);
extern void doc_row_lend_entry(DocRow *row, const LsmRunEntry *entry);
/* The same from a document that was just written. */
extern void doc_row_set_written(DocRow *row, LsmSlice id, uint64 etag, TimestampTz modified, const Jsonb *doc);
/* The id, good until the row is set again. */
extern text *doc_row_id(DocRow *row);
/* The document, good until the row is set again; only if need_body. */
extern Jsonb *doc_row_doc(DocRow *row);
/*
 * Makes the typed columns of a part for the n documents of a run at once, which is quicker than one by one.  Returns for how many:
 * it stops before one that needs an input function, much memory, or throws.  They are good until it is called again.
 */
extern int doc_row_make(DocRow *row, DocRowPart *part, const LsmRunEntry *entries, int n);
/*
 * That part's columns of document i of those.  Columns of the other part are null, or what the slot had; the others are null.
 * The slot is one that only this row's functions store into.
 */
extern void doc_row_store_made(DocRow *row, DocRowPart *part, int i, const LsmRunEntry *entry, TupleTableSlot *slot);
/* Columns that were not asked for become null. */
extern void doc_row_store(DocRow *row, TupleTableSlot *slot);
/* The same in two steps: the columns of the second part are null after the first. */
extern void doc_row_store_first(DocRow *row, TupleTableSlot *slot);
extern void doc_row_store_rest(DocRow *row, TupleTableSlot *slot);

#endif
