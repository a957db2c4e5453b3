/*
 * view_row.h - rows of a view, as the documents that a replication makes rows of tables from.
 *
 * A row's id is its key in the store, in the text form of bytea: unique, and the same for as long as
 * the row is there.  Its doc is an object of the view's columns.
 */
#ifndef DOCSTORE_REPL_VIEW_ROW_H
#define DOCSTORE_REPL_VIEW_ROW_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "store/store.h"
#include "view/batch.h"
#include "view/catalog.h"

/* Longest key behind the prefix: indexes must take its id. */
#define REPL_VIEW_MAX_KEY 1250

typedef struct ReplView ReplView;

/* A row as it is stored: its key behind the prefix, and its value. */
typedef struct ReplViewRow
{
	LsmSlice key;
	LsmSlice value; /* empty: it is gone */
} ReplViewRow;

/* Locks the view AccessShare to the end of the transaction; throws if there is none, or that role has no right to it. */
extern ReplView *repl_view_open(const char *name, Oid owner);
extern const View *repl_view(const ReplView *view);
/* Have its rows been there since it was made? */
extern bool repl_view_is_built(const ReplView *view);
/* Of a key behind the prefix. */
extern text *repl_view_id(LsmSlice key);
/* The complete key; false if this is no id. */
extern bool repl_view_key(const ReplView *view, const char *id, StringInfo key);
/* Gives docs[i], which has id and etag, the i-th row as its document, or the reason why there is none. */
extern void repl_view_documents(const ReplView *view, const ReplViewRow *rows, ViewDocument *docs, int n);

#endif
