/*
 * convert.h - typed columns: values out of a document, and back into it.
 *
 * A column of type T reads as (doc #>> path)::T would: the text of the value
 * goes to T's input function; numbers and booleans take a shorter way to the
 * same result.  JSON null and a missing value are SQL NULL.  A JSON array reads
 * as an SQL array of one dimension if T is an array type, an object as a row if
 * T is a row's type (by the names of its columns, as jsonb_populate_record);
 * jsonb and json columns give the value itself.
 *
 * A value that does not fit its type is an error, or NULL (doc_convert_try): that
 * catches the input function's error, without a subtransaction, since there is
 * none to be had in parallel mode.  So it is for types whose input functions hold
 * nothing when they fail.
 *
 * A value is written as to_jsonb() gives it, in the styles of dates, intervals and numbers that every session reads alike.
 */
#ifndef DOCSTORE_CONVERT_H
#define DOCSTORE_CONVERT_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/jsonb.h"

#include "fdw/extract.h"

typedef enum DocConvertKind
{
	DOC_CONVERT_TEXT,
	DOC_CONVERT_NUMERIC,
	DOC_CONVERT_INT2,
	DOC_CONVERT_INT4,
	DOC_CONVERT_INT8,
	DOC_CONVERT_FLOAT8,
	DOC_CONVERT_BOOL,
	DOC_CONVERT_JSONB,
	DOC_CONVERT_JSON,
	DOC_CONVERT_ARRAY,
	DOC_CONVERT_ROW,
	DOC_CONVERT_INPUT /* through the type's input function */
} DocConvertKind;

typedef struct DocConvert
{
	DocConvertKind kind;
	Oid type;
	int32 typmod;
	FmgrInfo input;
	Oid input_param;
	FmgrInfo to_jsonb;
	FmgrInfo populate; /* rows: jsonb_populate_record */
	/* arrays */
	struct DocConvert *element;
	int16 length;
	bool by_value;
	char align;
} DocConvert;

/* Memory for a row's small values, which is used again for the next row. */
typedef struct DocSpace
{
	char *data; /* aligned for any type */
	Size size;
	Size used;
} DocSpace;

/* Looks the type up; what it allocates lives in context. */
extern void doc_convert_init(DocConvert *convert, Oid type, int32 typmod, MemoryContext context);
/*
 * The SQL values of n values of a column, which lie `stride` apart: as doc_convert_read would give them, but good only until the
 * space is used again.  Returns how many: it stops before one that takes a function's call or more memory than the space has.
 * Throws nothing.
 */
extern int doc_convert_quick(const DocConvert *convert, const DocValue *values, int stride, int n, DocSpace *space, Datum *datums,
							 bool *isnull);
/* The SQL value, in the current context; *isnull for JSON null. */
extern Datum doc_convert_read(DocConvert *convert, JsonbValue *value, bool *isnull);
/* The same, but *isnull also for what does not fit; only if doc_convert_can_try. */
extern Datum doc_convert_try(DocConvert *convert, JsonbValue *value, bool *isnull);
extern bool doc_convert_can_try(const DocConvert *convert);
/* The JSON value, in the current context. */
extern JsonbValue *doc_convert_write(DocConvert *convert, Datum datum);
/* A jsonb's value: a scalar itself, or jbvBinary that borrows. */
extern JsonbValue *doc_jsonb_value(Jsonb *jsonb);

#endif
