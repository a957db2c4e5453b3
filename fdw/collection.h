/*
 * collection.h - the catalog of collections: names, storage ids, owners, locks, rights.
 *
 * docstore.collection is an ordinary table, so creation, TRUNCATE and DROP are
 * as transactional as everything else.  Only the functions here and its trigger write it.
 *
 * Locks: a heavyweight lock per collection name, taken after the foreign
 * table's: AccessShare by readers, RowExclusive by writers, Share by who registers
 * or drops a consumer (consumer.h), AccessExclusive by TRUNCATE and DROP, held to the end of the transaction.
 */
#ifndef DOCSTORE_COLLECTION_H
#define DOCSTORE_COLLECTION_H

#include "postgres.h"

#include "catalog/dependency.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "utils/snapshot.h"

#include "fdw/option.h"

typedef struct DocCollection
{
	char name[NAMEDATALEN];
	uint64 storage; /* the storage id its keys begin with */
	Oid owner;
	TransactionId xmin; /* of the catalog's row */
	bool tracked;       /* has consumers: writes record their changes (not set by docstore_collection_list) */
} DocCollection;

/* Installs the hook that sees the catalog dropped (DROP EXTENSION).  Called from _PG_init. */
extern void docstore_collection_init(void);

/* The oid of a table or index of the extension's; throws if it is not installed. */
extern Oid docstore_extension_relation(const char *name);

/*
 * Opens a catalog table of the extension's.  Throws if it does not have so many columns: the library is of another version than
 * the extension in this database.
 */
extern Relation docstore_catalog_open(Oid relid, int natts, LOCKMODE mode);
/* Locks (unless NoLock) and reads; throws if there is no such collection. */
extern void docstore_collection_get(const char *name, LOCKMODE mode, DocCollection *collection);
/* The collection behind a table; throws if the table's owner has no right to it. */
extern void docstore_collection_of(const DocTable *table, LOCKMODE mode, DocCollection *collection);
/*
 * Makes it what a statement that runs with a snapshot works on.  A reader whose
 * snapshot is older than a TRUNCATE gets the storage that was emptied; it is
 * still there, for as long as the snapshot is.  A writer gets the newest one, or
 * 40001 if its snapshot is the transaction's.
 */
extern void docstore_collection_as_of(DocCollection *collection, LOCKMODE mode, Snapshot snapshot);
/* Both of them. */
extern void docstore_collection_at(const DocTable *table, LOCKMODE mode, Snapshot snapshot, DocCollection *collection);
/* Would docstore_collection_of succeed? */
extern bool docstore_collection_usable(const DocTable *table);
/* Throws unless the current user owns the collection or is a member of the role that does. */
extern void docstore_collection_check_owner(const DocCollection *collection);
/* Gives the collection a new, empty storage and marks the old one as dropped.  Locks. */
extern void docstore_collection_truncate(const DocTable *table);
/* Makes a collection, if there is none, for documents that are restored before the catalog's row. */
extern void docstore_collection_foretell(const char *name, Oid owner);
/* Likewise for a definition that reads them; nobody else restores any until this transaction ends. */
extern void docstore_collections_foretell(List *names, Oid owner);
/* Drops it with its documents and foreign tables, as docstore.drop_collection; checks the rights. */
extern void docstore_collection_drop(const char *name, bool cascade);
/* Locks; the rights are the caller's business, and docstore_owners_changed. */
extern void docstore_collection_set_owner(const char *name, Oid owner);
/* Is the extension installed in this database?  The oid of its table docstore.collection, or an error. */
extern bool docstore_collection_installed(void);
extern Oid docstore_collection_catalog(void);
/* Its storage id as of a snapshot, 0 if there was none. */
extern uint64 docstore_collection_storage_at(const char *name, Snapshot snapshot);
/* Which collections are tracked has changed: every backend forgets what it knew, at commit. */
extern void docstore_collections_changed(void);
/* Another number after every change of what this backend knows of collections. */
extern uint64 docstore_collection_generation(void);
/* Palloc'ed DocCollections, in order of their names. */
extern List *docstore_collection_list(void);

/* A storage id that was never used in this database. */
extern uint64 docstore_new_storage(void);

/* The foreign tables of this wrapper whose option ("collection", "view") is a name, by any server, as a list of oids. */
extern List *docstore_foreign_tables_of(const char *option, const char *name);
/*
 * Locks those, to be dropped: with cascade all, else those whose owners may show what belongs to `owner`; throws
 * if one of them is not the current user's.
 */
extern ObjectAddresses *docstore_lock_foreign_tables(const char *option, const char *name, Oid owner, bool cascade);
/* An error if one of those whose owners may show what belongs to `owner` belongs to none of the roles, whoever asks. */
extern void docstore_check_foreign_tables(const char *option, const char *name, Oid owner, List *roles);

/* What the engine's files know of a collection; see lsm_range_stats. */
extern void docstore_storage_stats(uint64 storage, uint64 *bytes, uint64 *entries);
/* The same of a storage's keys of a kind (store.h). */
extern void docstore_kind_stats(char kind, uint64 storage, uint64 *bytes, uint64 *entries);

#endif
