/*
 * feed.h - the change feed: which documents of a tracked collection were written, in the order of their etags.
 *
 * A collection is tracked while it has a consumer (fdw/consumer.h: a view, a
 * replication, or one with just a name).  Each write of a document in it adds, in the
 * same batch, one entry:
 *
 *     key    'c' | database | storage id | etag, 8 bytes big-endian
 *     value  stamp | flags 1 byte (DOCSTORE_CHANGE_...) | time, 8 bytes, if it is of a view | id
 *
 * An entry is a version of its writer's transaction: visible when the document is.
 *
 * A view that a replication reads has such changes, too: of its rows, under the storage id
 * of its results, with what stands behind the prefix of a row's key for the id, and the time,
 * which documents have in themselves.
 *
 * A consumer's round, in this order (feed.c has the proof that nothing is
 * skipped, whatever commits late):
 *
 *     horizon = docstore_feed_horizon();
 *     take a snapshot                                      (registered or active until the end)
 *     storages = of the collections, as of that snapshot   (docstore_consumer_storages)
 *     feed = docstore_feed_open(storages, n, position, horizon, snapshot);
 *     while (docstore_feed_next(feed, &change)) ...
 *     docstore_consumer_advance(..., docstore_feed_position(feed));
 *     docstore_feed_close(feed); commit
 *
 * A position is an etag: every change up to and including it is consumed.  A new
 * consumer registers and commits; then takes a horizon, a snapshot, reads its
 * collections whole with that snapshot, and goes on from position horizon - 1.
 *
 * An entry counts only if its document has no newer version in the snapshot: the
 * others are passed over (the newer version's entry comes later in this round or,
 * being at or above the horizon, in a later one).  So each document comes at most
 * once a round, except that a deletion may come more than once.
 *
 * TRUNCATE gives the collection a new storage, whose first change says
 * `truncated`: everything the collection held before is gone.  Changes of the
 * old storage, read or not, do not matter then.  A snapshot older than the
 * TRUNCATE still shows the old storage in the catalog, which is still there.
 */
#ifndef DOCSTORE_FEED_H
#define DOCSTORE_FEED_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/snapshot.h"

#include "store/store.h"

#define DOCSTORE_CHANGE_DELETED 0x01
#define DOCSTORE_CHANGE_TRUNCATED 0x02
#define DOCSTORE_CHANGE_OF_VIEW 0x04
/* Longest id, or key of a view's row behind its prefix. */
#define DOCSTORE_MAX_CHANGED 8192

/* Called from _PG_init: shared memory, transaction callbacks. */
extern void docstore_feed_init(void);

/* ---- writers (fdw/write.c) ---- */

/*
 * Adds the changes of the documents in a batch to it, behind them, and publishes
 * that this transaction will have etags from now on.  Before lsm_write, with no
 * lock held; the batch's documents belong to a tracked collection, or its rows that users read to a view which
 * replications read.  Throws.
 */
extern void docstore_feed_add(LsmBatch *batch);
/* The first change of a storage that replaces another one.  Throws. */
extern void docstore_feed_write_truncated(uint64 storage, CommandId cid);
/* Listeners are woken when this transaction is over, as if it had written changes. */
extern void docstore_feed_wake(void);

/*
 * An entry for any database (CREATE DATABASE ... TEMPLATE): of record `of` of the
 * batch (from 0; the entry's own index if no document goes with it).  Throws.
 */
extern void docstore_feed_add_entry(LsmBatch *batch, Oid database, uint64 storage, uint32 of, const LsmStamp *stamp,
									uint8 flags, LsmSlice id);
/* The key of the entry for an etag: DOCSTORE_CHANGE_KEY bytes. */
#define DOCSTORE_CHANGE_KEY (DOCSTORE_KEY_PREFIX + 8)
extern void docstore_change_key(char *dst, Oid database, uint64 storage, uint64 etag);

/* ---- consumers ---- */

/*
 * Every transaction of this database that wrote a change with an etag below this
 * is over.  Of any two calls the later may return less; then nothing lies in
 * between (docstore_feed_open takes the position as a lower bound anyway).
 */
extern uint64 docstore_feed_horizon(void);
/* A lower bound of the etags that this transaction has given its changes; 0: there are none. */
extern uint64 docstore_feed_own_etag(void);
/* The highest etag given out so far; whatever is committed by now has no higher one. */
extern uint64 docstore_feed_last_etag(void);

typedef struct DocstoreChange
{
	uint64 etag;
	int source;          /* which of the storages */
	bool deleted;        /* the document is gone */
	bool truncated;      /* all that the collection held before is gone; no id */
	TimestampTz written; /* of a view's row: when; of documents 0 */
	LsmSlice id;         /* borrowed until the next call, as is value */
	LsmSlice value;      /* the document (fdw/document.h: document_decode) or row (view/entry.h) as stored; empty if deleted or truncated */
} DocstoreChange;

typedef struct DocstoreFeed DocstoreFeed;

/*
 * Changes with position < etag < horizon of some storages of this database, as
 * the snapshot shows them, in the order of etags.  Memory is of the current
 * context and is let go of with it at the latest.
 */
extern DocstoreFeed *docstore_feed_open(const uint64 *storages, int nstorages, uint64 position, uint64 horizon,
										Snapshot snapshot);
/* The next change that counts; false at the end.  Throws; serves interrupts. */
extern bool docstore_feed_next(DocstoreFeed *feed, DocstoreChange *change);
/* Up to where the feed was read: the last change returned, or horizon - 1 at the end; never below the position it began at. */
extern uint64 docstore_feed_position(const DocstoreFeed *feed);
extern void docstore_feed_close(DocstoreFeed *feed);

/*
 * From now until unlisten or the end of the process, every transaction of this
 * database that wrote changes sets MyLatch when it is over.  The loop: ResetLatch,
 * a round as above, WaitLatch if it found nothing.  Throws if there are too many listeners.
 */
extern void docstore_feed_listen(void);
extern void docstore_feed_unlisten(void);

/* ---- purging ---- */

/*
 * Says, as part of this transaction, that nobody needs changes of a storage up
 * to and including `position` any more.  Does nothing if that is little more than was said
 * before, unless `always`.  (docstore_consumer_advance and _drop call it.)
 */
extern void docstore_feed_purge(uint64 storage, uint64 position, bool always);

#endif
