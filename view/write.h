/*
 * write.h - what a view's indexer writes: the rows of documents in place of those they had.
 */
#ifndef DOCSTORE_VIEW_WRITE_H
#define DOCSTORE_VIEW_WRITE_H

#include "postgres.h"

#include "utils/snapshot.h"

#include "view/map.h"

/*
 * Part of the current transaction, which holds the view's lock RowExclusive; the
 * snapshot is its (REPEATABLE READ).  A document must not come twice in one transaction.
 */
extern void view_write_documents(const View *view, const ViewDocument *docs, int n, Snapshot snapshot, int64 *rows);
/* Takes away the rows of all documents of a storage.  *rows is the view's count. */
extern void view_write_purge(const View *view, uint64 collection_storage, Snapshot snapshot, int64 *rows);

#endif
