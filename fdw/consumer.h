/*
 * consumer.h - who consumes changes of which collections, and how far: views, replications, named ones.
 *
 * Ordinary catalog rows: docstore.consumer has kind, name, owner and position,
 * docstore.consumer_collection which collections each reads.  A collection with a
 * consumer is tracked (DocCollection.tracked).  Rights are the caller's to check;
 * rows are written past the tables' grants.
 *
 * A replication may read one view instead (column view): what was said of collections
 * holds for that, but that registering waits for nobody: its reader begins with
 * the view's lock in ShareLock mode (worker/replicate.c).  fdw/ knows views by their storage only.
 *
 * Registering takes each collection's lock in ShareLock mode (as CREATE INDEX
 * does), in order of their names, and waits for its writers, prepared ones
 * included; so all who write after the registration's commit add changes, and what
 * others wrote before is visible to every snapshot taken after it.  Dropping locks
 * likewise.  drop_collection refuses while the collection has consumers; with
 * cascade it drops them.
 */
#ifndef DOCSTORE_CONSUMER_H
#define DOCSTORE_CONSUMER_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "utils/snapshot.h"

typedef enum DocConsumerKind
{
	DOC_CONSUMER_NAMED = 's',
	DOC_CONSUMER_VIEW = 'v',
	DOC_CONSUMER_NEXT_VIEW = 'n', /* takes a view's place when it has caught up */
	DOC_CONSUMER_REPLICATION = 'r'
} DocConsumerKind;

/* Is it in a List of char *? */
extern bool docstore_name_in(const List *names, const char *name);
/* "view" and so on, for messages. */
extern const char *docstore_consumer_kind_name(DocConsumerKind kind);

typedef struct DocConsumer
{
	DocConsumerKind kind;
	char *name; /* any text; unique within its kind */
	Oid owner;
	uint64 position;   /* changes up to and including this etag are consumed */
	List *collections; /* of char *, in order of their names */
	bool of_view;      /* what `collections` names is a view */
} DocConsumer;

/*
 * Registers a consumer of existing collections (List of char *, none twice).  Its
 * position is the highest etag given out when all were locked.  23505-like error
 * (ERRCODE_DUPLICATE_OBJECT) if there is one of that kind and name.
 */
extern void docstore_consumer_create(DocConsumerKind kind, const char *name, Oid owner, List *collections);
/* The same for a consumer of a view. */
extern void docstore_consumer_create_of_view(DocConsumerKind kind, const char *name, Oid owner, const char *view);
/* False if there is none. */
extern bool docstore_consumer_drop(DocConsumerKind kind, const char *name);
/*
 * Other collections from now on, for a consumer that this transaction has locked:
 * of those that are new to it changes are recorded as for a new consumer.  Returns
 * the highest etag given out when they were locked: what they had up to that is
 * visible to every snapshot taken after the commit.
 */
extern uint64 docstore_consumer_set_collections(DocConsumer *consumer, List *collections);
/* A view's replacement takes the place of the view's registration, which is dropped. */
extern void docstore_consumer_take_place(const char *view);
/* docstore_owners_changed is the caller's to call, as after docstore_consumer_drop. */
extern void docstore_consumer_set_owner(DocConsumerKind kind, const char *name, Oid owner);

/* A consumer with all that belongs to it: views and replications are more than a registration, and go with their definition. */
extern void docstore_consumer_drop_whole(DocConsumerKind kind, const char *name);
/* ... and, if it is a view, who reads that. */
extern void docstore_consumer_drop_cascade(DocConsumerKind kind, const char *name);
extern void docstore_consumer_give_whole(DocConsumerKind kind, const char *name, Oid owner);

/*
 * Reads a consumer as it is now (palloc'ed); NULL if there is none.  With lock, it
 * is locked for the rest of the transaction: nobody else moves its position or drops it.
 */
extern DocConsumer *docstore_consumer_get(DocConsumerKind kind, const char *name, bool lock);
/* All of them, by kind and name. */
extern List *docstore_consumer_list(void);

/*
 * Storage ids of its collections, in their order, as of a snapshot; palloc'ed.  0
 * for a collection that is not there (a feed of storage 0 is empty).
 */
extern uint64 *docstore_consumer_storages(const DocConsumer *consumer, Snapshot snapshot);

/*
 * Moves the position of a consumer that this transaction has locked: an ordinary
 * row, it goes back if the transaction does.  Less than it is: nothing happens.
 * What all consumers of a collection have passed is purged once this is committed.
 */
extern void docstore_consumer_advance(DocConsumer *consumer, uint64 position);

/* Of a collection: all its consumers, as a List of DocConsumer * without their collections. */
extern List *docstore_consumers_of(const char *collection);
/* Of a view: who reads its rows. */
extern List *docstore_consumers_of_view(const char *view);
/* Storage id of the rows of a view, which is locked so (unless NoLock); 0 if there is none. */
extern void docstore_consumer_set_view_storage(uint64 (*storage)(const char *view, LOCKMODE mode));

#endif
