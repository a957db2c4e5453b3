/*
 * entry.h - what a view's rows look like in the engine.
 *
 * A row: key 'v', database, storage id of the view (store.h's prefix), then
 *
 *     the columns of the view's key, encoded (key.h)
 *     the document's id, encoded as one more text column
 *     storage id of the document's collection, 8 bytes big-endian
 *     number of the row among the document's, 4 bytes big-endian
 *
 * and as value
 *
 *     format     1 byte, 1
 *     id offset  varint32: where the encoded id begins in the key, counted behind the prefix
 *     nulls      a bit for each of the map's columns, set where it is null; padded to bytes
 *     columns    those that are not null, one after the other:
 *                fixed length: the bytes in memory; variable: a datum with a 1-byte header, or
 *                a zero byte, varint32 length, and the contents
 *
 * Of a view with a reduce these rows have kind 'm', their key's columns are those of the group, and between
 * them and the id stands a hash of what comes behind it, 4 bytes big-endian: it spreads a group's rows evenly over its tree (tree.h).
 *
 * A result, key 'v', and a partial result, key 'p' (tree.h), have the same form of value, but in place of the id's offset the number of rows
 * below; or, where the reduce fails, format 2, varint32 number of rows, 5 bytes SQLSTATE, and the error's message.
 * Of a reduce that only sums there is more behind the columns: what it takes to change the sums (sums.h), and, of a result with a
 * finalize, before that everything that the finalize was made of, as a value of its own.
 *
 * The back-index: key 'b', database, storage id of the view, storage id of the
 * collection as above, the document's id; value: for each row that the
 * document has, varint32 length and the bytes of its key behind the prefix; of a view with a reduce the same of the row's value
 * then, so that what a document gave to its groups is known without looking at its rows.
 * Documents without rows have none.
 */
#ifndef DOCSTORE_ENTRY_H
#define DOCSTORE_ENTRY_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "lib/stringinfo.h"

#include "store/store.h"
#include "view/check.h"

/* Longest key of a row behind its prefix. */
#define VIEW_MAX_KEY 8192

/* What is wrong, if a column's type, or its collation (to store and read rows nobody needs that), was dropped; else NULL. */
extern const char *view_lost(const ViewShape *shape, bool collations);

/* The map's columns as they are stored. */
typedef struct ViewLayout
{
	int ncolumns;
	int16 *length;
	bool *by_value;
	bool *packable; /* variable length, and short values may have a short header */
} ViewLayout;
extern ViewLayout *view_layout(const ViewShape *shape);

/* Appends a row's key behind the prefix, with the hash if `reduced`; returns the id's offset.  values, nulls: the map's columns. */
extern uint32 view_entry_key(StringInfo key, const ViewShape *shape, bool reduced, const Datum *values, const bool *nulls, LsmSlice id,
							 uint64 collection, uint32 number);
extern void view_entry_value(StringInfo value, const ViewLayout *layout, uint32 id_offset, const Datum *values,
							 const bool *nulls);

/*
 * A stored row's columns: values[i] for those in wanted (NULL: all).  They
 * borrow from value and the current context.  Returns what comes behind them.  Throws ERRCODE_DATA_CORRUPTED, or the error that the
 * value is.
 */
extern LsmSlice view_entry_read(const ViewLayout *layout, LsmSlice value, const bool *wanted, Datum *values, bool *nulls);
/* What comes behind them alone. */
extern LsmSlice view_entry_behind(const ViewLayout *layout, LsmSlice value);
/* Of a row of a view with a reduce, whose key (behind the prefix) is that of a document: its group and hash. */
extern LsmSlice view_entry_group(LsmSlice key, size_t id_len, uint32 *hash);
/* The same, with the row's value at hand. */
extern LsmSlice view_entry_group_of(LsmSlice key, LsmSlice value, uint32 *hash);
/* The first number in a value: rows below a result or partial result. */
extern uint32 view_entry_count(LsmSlice value);
extern void view_entry_error(StringInfo value, uint32 count, const ErrorData *error);
/* The same with another count. */
extern void view_entry_error_copy(StringInfo value, uint32 count, LsmSlice error);
extern bool view_entry_is_error(LsmSlice value);
extern int view_entry_sqlstate(LsmSlice error);
extern LsmSlice view_entry_message(LsmSlice error);
/* A number as values have it, and off the front. */
extern void view_entry_append_number(StringInfo value, uint32 number);
extern uint32 view_entry_take_number(LsmSlice *rest);
/* The id in a row's key (with prefix). */
extern text *view_entry_id(LsmSlice key, LsmSlice value);

/* The back-index's key of a document, complete. */
extern void view_back_key(StringInfo key, uint64 view, uint64 collection, LsmSlice id);
extern void view_back_append(StringInfo list, LsmSlice bytes);
/* Takes the next key or value off the front; false at the end.  Throws ERRCODE_DATA_CORRUPTED. */
extern bool view_back_next(LsmSlice *rest, LsmSlice *bytes);

#endif
