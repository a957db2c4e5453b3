/*
 * map.h - runs a view's map over a batch of documents, set-wise, each document by itself.
 */
#ifndef DOCSTORE_MAP_H
#define DOCSTORE_MAP_H

#include "postgres.h"

#include "view/batch.h"
#include "view/catalog.h"
#include "view/entry.h"

/* A row that a document emitted, as it is stored (entry.h). */
typedef struct ViewRow
{
	struct ViewRow *next;
	LsmSlice key; /* behind the prefix */
	LsmSlice value;
	bool stored; /* it is there already, just like this */
} ViewRow;

/* A map made ready, for as long as the process lives or until view_map_free. */
typedef struct ViewMap ViewMap;
extern ViewMap *view_map_new(const View *view);
extern void view_map_free(ViewMap *map);

/*
 * Maps n documents; rows and errors are made in the current context.  Needs an
 * active snapshot.  Returns NULL, or what is wrong with the map itself (then
 * documents are not to be looked at).  Throws what is the fault of neither,
 * a cancel or a lack of memory say.
 */
extern ErrorData *view_map_run(ViewMap *map, ViewDocument *docs, int n);

/* Throws if the map cannot be run by the view's owner at all. */
extern void view_map_try(const View *view);

#endif
