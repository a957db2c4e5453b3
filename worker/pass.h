/*
 * pass.h - changes that the indexer has read once, for all views that want them.
 *
 * What a view's batch reads from the feed stays until the turn is over.  The views
 * behind it in the turn whose position lies within what was read take from there
 * what is theirs: views that keep up with the same collections share one reading
 * and decoding of each document, and those that lag, wait or fail read for themselves.
 *
 * Another view's transaction may use it because what is in it only depends on the
 * snapshot that read it: a document that was changed again since is in the feed behind `to`.
 */
#ifndef DOCSTORE_PASS_H
#define DOCSTORE_PASS_H

#include "postgres.h"

#include "utils/hsearch.h"

#include "view/map.h"

typedef struct ViewPass
{
	MemoryContext context; /* of what is below, and of the pass itself */
	int nstorages;
	uint64 *storages; /* of the collections, ascending as the consumer has them */
	uint64 from;      /* every change with from < etag <= to is in docs ... */
	uint64 to;
	bool more; /* ... and there may be others behind */
	int max_docs;
	int ndocs;
	ViewDocument *docs; /* collection is not set: names are the views' */
	Size bytes;
	HTAB *gone; /* deletions so far: one may come twice */
} ViewPass;

/* Forgets what was read: a turn of the views begins. */
extern void docstore_pass_forget(void);
/* The pass that has what lies behind a position in some storages, NULL if there is none. */
extern ViewPass *docstore_pass_find(const uint64 *storages, int nstorages, uint64 position);

/*
 * Begins one; if shared, in the place of the last, and docstore_pass_find finds it from docstore_pass_end on.  Else it is the
 * caller's, who may read what it likes, and goes with the current context.  It is full with so many documents, or some megabytes.
 */
extern ViewPass *docstore_pass_begin(const uint64 *storages, int nstorages, uint64 from, int max_docs, bool shared);
/* A document of storages[source], which is copied; value empty: it is deleted. */
extern void docstore_pass_add(ViewPass *pass, int source, LsmSlice id, uint64 etag, LsmSlice value);
extern bool docstore_pass_is_full(const ViewPass *pass);
extern void docstore_pass_end(ViewPass *pass, uint64 to, bool more);

#endif
