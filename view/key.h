/*
 * key.h - values as bytes whose order is the order of the values.
 *
 * memcmp of two encodings says what the types' btree operators say (text: COLLATE
 * "C"), column by column, with NULLs first or last and each column ascending
 * or descending.  No column's encoding is a prefix of another value's, so a
 * tuple is its columns one after the other, and what begins with the
 * encodings of some columns' values is a contiguous range.
 *
 * Encodings are not decoded: the values are stored beside.
 */
#ifndef DOCSTORE_KEY_H
#define DOCSTORE_KEY_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "engine/status.h"

/* Types that are encoded alike; what comes out of one family is comparable. */
typedef enum ViewKeyKind
{
	VIEW_KEY_NONE, /* the type cannot be part of a key */
	VIEW_KEY_BOOL,
	VIEW_KEY_INT, /* int2, int4, int8, oid: 8 bytes */
	VIEW_KEY_FLOAT,
	VIEW_KEY_NUMERIC,
	VIEW_KEY_TEXT, /* text, varchar */
	VIEW_KEY_BPCHAR,
	VIEW_KEY_BYTEA,
	VIEW_KEY_DATE,
	VIEW_KEY_TIME,
	VIEW_KEY_TIMESTAMP,
	VIEW_KEY_INTERVAL,
	VIEW_KEY_UUID
} ViewKeyKind;

/* A domain counts as its base type. */
extern ViewKeyKind view_key_kind(Oid type);
/* Names of the types that can be, for hints. */
extern const char *view_key_types(void);

typedef struct ViewKeyColumn
{
	Oid type; /* of the values; a base type */
	bool descending;
	bool nulls_first;
} ViewKeyColumn;

/* Appends a value's encoding. */
extern void view_key_append(StringInfo key, const ViewKeyColumn *column, Datum value, bool isnull);
/* Appends the bytes that every value of the column but NULL begins with. */
extern void view_key_append_not_null(StringInfo key, const ViewKeyColumn *column);
/* Appends what the encodings of all texts begin with that begin with these bytes. */
extern void view_key_append_text_start(StringInfo key, const ViewKeyColumn *column, const char *data, size_t len);
/*
 * Turns a prefix into the first bytes behind everything that begins with it;
 * false, and an empty prefix, if nothing can be behind.
 */
extern bool view_key_behind(StringInfo prefix);

#endif
