/*
 * index.h - moves one view forward by one batch: the indexer's work.
 */
#ifndef DOCSTORE_INDEX_H
#define DOCSTORE_INDEX_H

#include "postgres.h"

#include "view/map.h"
#include "view/reduce.h"

/* A view as the indexer knows it from one batch to the next; zero-initialised but for name and storage. */
typedef struct ViewIndexing
{
	char name[NAMEDATALEN];
	uint64 storage;
	int max_documents;      /* of a batch; 0: not known yet */
	TimestampTz busy_since; /* the end of the last batch, if there was more to do then; else 0 */
	bool ready;             /* a replacement that is built: it may take the view's place */
	ViewMap *map;           /* made at its first use, in TopMemoryContext */
	ViewReduce *reduce;     /* the same; of a view with a reduce */
	Oid owner;              /* whose map and reduce they are */
	uint64 results;         /* View.results that they were made for */
} ViewIndexing;

/*
 * One batch, in a transaction of its own.  Returns whether there may be more to do
 * at once.  Throws also when the map cannot be run; then the view is marked as paused.
 */
extern bool docstore_index_batch(ViewIndexing *indexed);

#endif
