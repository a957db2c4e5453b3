/*
 * catalog.h - which views there are, and their indexes.
 *
 * docstore.views holds what users define; docstore.view_index what this file
 * makes of it, one row each: storage id, owner, map, columns, key.  A trigger on the first keeps the
 * second, so definitions are as transactional as any row.
 *
 * A view whose definition was replaced has a second row until the index of the
 * new definition has caught up: the replacement.  Readers know nothing of it.
 *
 * Locks: a heavyweight lock per view, taken after the foreign table's:
 * AccessShare by readers, RowExclusive by the indexer, Exclusive by replacing, AccessExclusive by
 * creation, drop and when the replacement takes its place; held to the end of the transaction.
 */
#ifndef DOCSTORE_CATALOG_H
#define DOCSTORE_CATALOG_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"

#include "view/check.h"

typedef struct View
{
	char name[NAMEDATALEN];
	uint64 storage; /* the storage id that its rows' keys begin with ... */
	uint64 results; /* ... and that of the results, where a reduce makes them; else the same */
	Oid owner;
	bool replacing;     /* it is a replacement */
	bool paused;        /* by docstore.pause_view */
	bool tracked;       /* set by the indexer: replications read it, so changes of its rows are recorded */
	TransactionId xmin; /* of the catalog's row */
	char *map;
	char *reduce;      /* NULL: none */
	char *finalize;    /* NULL: none */
	List *collections; /* of char * */
	ViewShape *shape;  /* of the results */
	int block_rows;    /* of a reduce: more are a tree (tree.h) */
	ViewShape *rows;   /* of what the map returns; without a reduce the same */
	/* kept by readers: snapshots whose xmin is this or more (64 bits wide) see that the view is built; 0: not known */
	uint64 readable_from;
} View;

/* Locks (unless NoLock) and reads, into the current context; throws if there is no such view. */
extern View *view_get(const char *name, LOCKMODE mode);
/* The same, NULL if there is none. */
extern View *view_find(const char *name, LOCKMODE mode);
/* A view's replacement, NULL if it has none. */
extern View *view_find_replacement(const char *name, LOCKMODE mode);
/*
 * For a foreign table and its owner: throws if that role has no right to the view.  Not a copy: it is what this process remembers,
 * and stays until the end of the transaction.
 */
extern View *view_get_for(const char *name, LOCKMODE mode, const char *table, Oid table_owner);
/* Another number after any change of the catalog that this process has heard of. */
extern uint64 view_generation(void);
/* A copy in the current context. */
extern View *view_copy(const View *view);
/* All views and replacements of this database (View *), by name; NIL also if the extension is not installed. */
extern List *view_list(void);

/* ---- changing (define.c) ---- */

extern void view_lock(const char *name, LOCKMODE mode);
/* The view is locked AccessExclusive. */
extern void view_catalog_insert(const View *view);
extern void view_catalog_delete(const View *view);
extern void view_catalog_set_owner(const View *view, Oid owner);
/* The row becomes what `after` says, but for name, storage and owner. */
extern void view_catalog_update(const View *view, const View *after);
extern void view_catalog_set_paused(const View *view, bool paused);
/* The replacement's row becomes the view's, whose own is gone. */
extern void view_catalog_take_place(const View *replacement);
/* After this transaction's commit the indexer shall look at the catalog. */
extern void view_catalog_touch(void);

/* The server of views' results: pg_dump takes the data of foreign tables by their server. */
#define VIEW_SERVER "docstore_views"

/* The statement that makes the foreign table of a view's results. */
extern char *view_table_statement(const View *view, const char *server);
/* A column as such a statement declares it. */
#define VIEW_ID_COLUMN "id pg_catalog.text COLLATE pg_catalog.\"C\" NOT NULL"
extern void view_column_text(StringInfo text, const ViewColumn *column);

/* Same columns and key? */
extern bool view_same_shape(const ViewShape *a, const ViewShape *b);

#endif
