/*
 * collection_catalog.h - docstore.collection's rows, for who reads and who changes them.
 *
 * Others go by collection.h.
 */
#ifndef DOCSTORE_COLLECTION_CATALOG_H
#define DOCSTORE_COLLECTION_CATALOG_H

#include "postgres.h"

#include "access/htup.h"
#include "utils/relcache.h"

#include "fdw/collection.h"

#define COLLECTION_ATT_NAME 1
#define COLLECTION_ATT_STORAGE 2
#define COLLECTION_ATT_OWNER 3
#define COLLECTION_ATT_CREATED 4 /* -infinity: foretold (docstore_collection_foretell) */
#define COLLECTION_NATTS 4

/* Locks the name, to the end of the transaction, whether there is such a collection or not. */
extern void docstore_collection_lock(const char *name, LOCKMODE mode);
/* What the newest committed row, or one of this transaction's, says; false if there is none. */
extern bool docstore_collection_find(const char *name, DocCollection *collection);
/* The row of a collection (a copy), as of a snapshot or, if that is NULL, of now; or NULL. */
extern HeapTuple docstore_collection_row(Relation catalog, const char *name, Snapshot snapshot);
/* After a change of the catalog table: every backend forgets what it knew of it, this one at once. */
extern void docstore_catalog_changed(Oid catalog);

#endif
