/*
 * progress.h - how far a view's index has come: docstore.view_progress, one row a view.
 *
 * The indexer moves it in the transaction that writes the rows, so whoever sees the rows sees the position, too.
 */
#ifndef DOCSTORE_PROGRESS_H
#define DOCSTORE_PROGRESS_H

#include "postgres.h"

#include "utils/snapshot.h"

#include "view/catalog.h"

typedef struct ViewProgress
{
	bool built;          /* the scan of what was there when the view was made is done */
	bool paused;         /* the map cannot be run; reason says why */
	uint64 position;     /* every change with a lower etag is in the rows */
	int64 rows;          /* of the view */
	int64 documents;     /* mapped so far by the scan */
	uint64 scanned;      /* no document that the scan saw is newer than this etag; 0: it goes on */
	int ncollections;    /* as in the definition */
	uint64 *storages;    /* of the collections that the rows come from; 0: there was none */
	int next_collection; /* the scan goes on here ... */
	char *next_id;       /* ... behind this id; NULL: at its beginning */
	int64 changes;       /* documents mapped since, because they changed; each as often as a batch brought it ... */
	int64 changes_read;  /* ... and how many of them were read for this view, and not for another one that shares them */
	int64 groups;        /* results, of a view with a reduce */
	int64 reductions;    /* sets of rows or partial results that were reduced so far */
	bool reduced;        /* with a reduce: what the scan found is reduced, too ... */
	int64 rows_reduced;  /* until then: of how many rows there are results */
	double rate;         /* documents a second, lately, while there was work; rows_reduced while those are counted */
	bytea *next_group;   /* ... if not, from here on it is not; NULL: nothing is */
	char *reason;
	uint64 results; /* View.results, as of then */
} ViewProgress;

extern void view_progress_create(const View *view);
extern void view_progress_drop(const View *view);
/* As of a snapshot; false if it sees none.  In the current context. */
extern bool view_progress_read(uint64 storage, Snapshot snapshot, ViewProgress *progress);
/* Another storage of the results. */
extern void view_progress_set_results(uint64 storage, uint64 results);
/* Indexer: everything but paused, reason and results. */
extern void view_progress_write(uint64 storage, const ViewProgress *progress);
/* Indexer: why the map cannot be run; NULL: it can. */
extern void view_progress_pause(uint64 storage, const ErrorData *reason);

#endif
