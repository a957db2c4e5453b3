/*
 * predicate.h - SERIALIZABLE: reads and writes of documents take part in PostgreSQL's predicate locking.
 *
 * All functions are cheap where the transaction is not SERIALIZABLE.
 */
#ifndef DOCSTORE_PREDICATE_H
#define DOCSTORE_PREDICATE_H

#include "postgres.h"

#include "utils/snapshot.h"

#include "engine/db.h"

typedef struct DocPredicate DocPredicate;

/*
 * For reads of one storage with a snapshot: makes *read remember the versions
 * that it passes over.  NULL if the transaction is not SERIALIZABLE, and *read
 * as it was.  The rest is in memory of the current context; free it before.
 */
extern DocPredicate *docstore_predicate_new(uint64 storage, Snapshot snapshot, LsmRead *read);
extern void docstore_predicate_free(DocPredicate *predicate);

/* Before a read: of one id, or of a range or everything. */
extern void docstore_predicate_point(DocPredicate *predicate, LsmSlice key);
extern void docstore_predicate_range(DocPredicate *predicate);
/* After each step of it, without a pin: throws 40001 if what it passed over makes the transaction unserializable. */
extern void docstore_predicate_check(DocPredicate *predicate);

/* An id is looked up to be written only if it is (not) there. */
extern void docstore_predicate_probe(uint64 storage, LsmSlice key, Snapshot snapshot);
/* After the write (a read that does not see it has taken its lock before): throws 40001. */
extern void docstore_predicate_wrote(uint64 storage, LsmSlice key);
/* The same for everything at once, collection locked AccessExclusive. */
extern void docstore_predicate_dropped(uint64 storage);

#endif
