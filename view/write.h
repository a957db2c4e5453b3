/*
 * write.h - what a view's indexer writes: the rows of documents in place of those they had.
 */
#ifndef DOCSTORE_VIEW_WRITE_H
#define DOCSTORE_VIEW_WRITE_H

#include "postgres.h"

#include "utils/snapshot.h"

#include "view/map.h"

/* A row of a view with a reduce came or went. */
typedef struct ViewChange
{
	LsmSlice group; /* the columns of its group, encoded */
	uint32 hash;
	int delta;      /* 1 or -1 */
	LsmSlice value; /* the row's */
} ViewChange;

/* Grows in the memory context that is current. */
typedef struct ViewChanges
{
	ViewChange *array;
	int n;
	int max;
} ViewChanges;

/*
 * Part of the current transaction, which holds the view's lock RowExclusive; the
 * snapshot is its (REPEATABLE READ).  A document must not come twice in one transaction.
 * fresh: none of these documents has been in the view.  changes: of a view with a reduce, what its groups must be told; may be NULL.
 */
extern void view_write_documents(const View *view, const ViewDocument *docs, int n, bool fresh, Snapshot snapshot, int64 *rows,
								 ViewChanges *changes);
/*
 * Takes away the rows of all documents of a storage, *rows is the view's count.  With
 * changes only a part of them: returns whether there are more, and in *from, empty at first, where to go on.
 */
extern bool view_write_purge(const View *view, uint64 collection_storage, Snapshot snapshot, int64 *rows, StringInfo from,
							 ViewChanges *changes);

/* ---- what is under that ---- */

typedef struct ViewWriter
{
	LsmDb *db;
	const View *view;
	CommandId cid;
} ViewWriter;

/* One at a time.  What is put is written by a flush at the latest. */
extern void view_writer_begin(ViewWriter *writer, const View *view);
/* value NULL: the key is deleted. */
extern void view_writer_put(ViewWriter *writer, LsmSlice key, const LsmSlice *value);
extern void view_writer_flush(ViewWriter *writer);

#endif
