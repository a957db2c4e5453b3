/*
 * collection.c - reads the catalog of collections.
 *
 * A backend keeps what it has read until the catalog changes: every change, by
 * docstore's functions (collection_change.c) or by anybody's SQL (a trigger sees to that), sends a
 * relcache invalidation of the catalog table, and every backend that hears it
 * forgets all it knew.  A lock on the collection is taken before the cache is
 * asked, and taking it absorbs invalidations; so who holds a lock sees what
 * the last holder of a conflicting one committed.  A rolled back change is
 * undone in the cache by the same messages, which abort runs again.
 */
#include "postgres.h"

#include "fdw/collection_catalog.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "fdw/consumer.h"
#include "fdw/write.h"
#include "store/store.h"

#define SCHEMA "docstore"

/* Oids of the extension's objects, learned at the first use. */
static Oid catalog_oid;
static Oid index_oid;

static HTAB *known; /* of DocCollection */
static uint64 generation;
static bool registered;
static object_access_hook_type next_object_access_hook;

PG_FUNCTION_INFO_V1(docstore_collection_size);

/* ---- cache ---- */

static void
invalidate(Datum arg, Oid relid)
{
	if (OidIsValid(relid) && relid != catalog_oid)
		return;
	generation++;
	catalog_oid = InvalidOid;
	if (known != NULL)
		hash_destroy(known);
	known = NULL;
}

Oid
docstore_extension_relation(const char *name)
{
	Oid schema = get_namespace_oid(SCHEMA, true);
	Oid oid = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;

	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"docstore\" is not installed in this database"),
				 errhint("Run CREATE EXTENSION docstore.")));
	return oid;
}

Relation
docstore_catalog_open(Oid relid, int natts, LOCKMODE mode)
{
	Relation rel = table_open(relid, mode);

	if (RelationGetNumberOfAttributes(rel) != natts)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s.%s\" is not of the version of the library", SCHEMA, RelationGetRelationName(rel)),
				 errdetail("It has %d columns, the library knows %d.", RelationGetNumberOfAttributes(rel), natts),
				 errhint("Run ALTER EXTENSION docstore UPDATE, or install the library of the extension's version.")));
	return rel;
}

static Oid
catalog_table(void)
{
	if (!registered)
	{
		CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
		registered = true;
	}
	if (!OidIsValid(catalog_oid))
	{
		index_oid = docstore_extension_relation("collection_pkey");
		catalog_oid = docstore_extension_relation("collection");
	}
	return catalog_oid;
}

Oid
docstore_collection_catalog(void)
{
	return catalog_table();
}

/* Anybody may have a table of that name where the extension is not: look at whose it is. */
static bool
is_catalog(Oid relid)
{
	Oid extension = getExtensionOfObject(RelationRelationId, relid);

	return OidIsValid(extension) && extension == get_extension_oid("docstore", true);
}

bool
docstore_collection_installed(void)
{
	Oid schema = get_namespace_oid(SCHEMA, true);
	Oid relid = OidIsValid(schema) ? get_relname_relid("collection", schema) : InvalidOid;

	return OidIsValid(relid) && is_catalog(relid);
}

void
docstore_collection_lock(const char *name, LOCKMODE mode)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, catalog_table(),
					   hash_bytes((const unsigned char *) name, (int) strlen(name)), 0);
	if (LockAcquire(&tag, mode, false, false) != LOCKACQUIRE_ALREADY_HELD)
		AcceptInvalidationMessages();
}

static void
read_tuple(Relation catalog, HeapTuple tuple, DocCollection *collection)
{
	TupleDesc desc = RelationGetDescr(catalog);
	bool isnull;

	memset(collection, 0, sizeof(*collection));
	text_to_cstring_buffer(DatumGetTextPP(heap_getattr(tuple, COLLECTION_ATT_NAME, desc, &isnull)), collection->name, NAMEDATALEN);
	collection->storage = (uint64) DatumGetInt64(heap_getattr(tuple, COLLECTION_ATT_STORAGE, desc, &isnull));
	collection->owner = DatumGetObjectId(heap_getattr(tuple, COLLECTION_ATT_OWNER, desc, &isnull));
	collection->xmin = HeapTupleHeaderGetXmin(tuple->t_data);
}

HeapTuple
docstore_collection_row(Relation catalog, const char *name, Snapshot snapshot)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, COLLECTION_ATT_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	scan = systable_beginscan(catalog, index_oid, true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

bool
docstore_collection_find(const char *name, DocCollection *collection)
{
	DocCollection *entry;
	Relation catalog;
	HeapTuple tuple;
	uint64 before;

	if (strlen(name) >= NAMEDATALEN)
		return false;
	(void) catalog_table();
	if (known != NULL && (entry = hash_search(known, name, HASH_FIND, NULL)) != NULL)
	{
		*collection = *entry;
		return true;
	}

	catalog = docstore_catalog_open(catalog_table(), COLLECTION_NATTS, AccessShareLock);
	before = generation;
	tuple = docstore_collection_row(catalog, name, NULL);
	if (tuple != NULL)
		read_tuple(catalog, tuple, collection);
	table_close(catalog, AccessShareLock);
	if (tuple == NULL)
		return false;
	collection->tracked = docstore_consumers_of(name) != NIL;

	if (generation == before)
	{
		if (known == NULL)
		{
			HASHCTL ctl = {0};

			ctl.keysize = NAMEDATALEN;
			ctl.entrysize = sizeof(DocCollection);
			known = hash_create("docstore collections", 32, &ctl, HASH_ELEM | HASH_STRINGS);
		}
		entry = hash_search(known, name, HASH_ENTER, NULL);
		*entry = *collection;
	}
	return true;
}

void
docstore_catalog_changed(Oid catalog)
{
	CacheInvalidateRelcacheByRelid(catalog);
	CommandCounterIncrement();
}

/* ---- looking up ---- */

void
docstore_collection_get(const char *name, LOCKMODE mode, DocCollection *collection)
{
	if (mode != NoLock)
		docstore_collection_lock(name, mode);
	if (!docstore_collection_find(name, collection))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("collection \"%s\" does not exist", name),
				 errhint("See the view docstore.collections, or make it with docstore.create_collection.")));
}

static bool
may_show(Oid table_owner, const DocCollection *collection)
{
	return table_owner == collection->owner || has_privs_of_role(table_owner, collection->owner);
}

void
docstore_collection_of(const DocTable *table, LOCKMODE mode, DocCollection *collection)
{
	uint64 before = generation;

	/* Rights first: a lock that somebody without any waits for would stand in the way of others. */
	docstore_collection_get(table->collection, NoLock, collection);
	if (!may_show(table->owner, collection))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for collection \"%s\"", collection->name),
				 errdetail("The owner of foreign table \"%s\", role \"%s\", is not a member of the role that owns the collection.",
						   table->name, GetUserNameFromId(table->owner, true))));
	if (mode != NoLock)
	{
		docstore_collection_lock(table->collection, mode);
		/* It may be another of that name by now, or one that was read while it changed. */
		if (generation != before)
			docstore_collection_of(table, NoLock, collection);
	}
}

void
docstore_collection_as_of(DocCollection *collection, LOCKMODE mode, Snapshot snapshot)
{
	Relation catalog;
	HeapTuple tuple;

	if (TransactionIdIsCurrentTransactionId(collection->xmin) || !XidInMVCCSnapshot(collection->xmin, snapshot))
		return;

	catalog = docstore_catalog_open(catalog_table(), COLLECTION_NATTS, AccessShareLock);
	tuple = docstore_collection_row(catalog, collection->name, snapshot);
	if (tuple != NULL)
	{
		DocCollection then;

		read_tuple(catalog, tuple, &then);
		if (then.storage != collection->storage)
		{
			if (mode != AccessShareLock && IsolationUsesXactSnapshot())
				ereport(ERROR,
						(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						 errmsg("could not serialize access due to concurrent update"),
						 errdetail("Collection \"%s\" was truncated.", collection->name)));
			if (mode == AccessShareLock)
				collection->storage = then.storage;
		}
	}
	table_close(catalog, AccessShareLock);
}

void
docstore_collection_at(const DocTable *table, LOCKMODE mode, Snapshot snapshot, DocCollection *collection)
{
	docstore_collection_of(table, mode, collection);
	docstore_collection_as_of(collection, mode, snapshot);
}

uint64
docstore_collection_storage_at(const char *name, Snapshot snapshot)
{
	Relation catalog = docstore_catalog_open(catalog_table(), COLLECTION_NATTS, AccessShareLock);
	HeapTuple tuple = docstore_collection_row(catalog, name, snapshot);
	DocCollection collection = {0};

	if (tuple != NULL)
		read_tuple(catalog, tuple, &collection);
	table_close(catalog, AccessShareLock);
	return collection.storage;
}

void
docstore_collections_changed(void)
{
	docstore_catalog_changed(catalog_table());
}

uint64
docstore_collection_generation(void)
{
	return generation;
}

bool
docstore_collection_usable(const DocTable *table)
{
	DocCollection collection;

	return docstore_collection_find(table->collection, &collection) && may_show(table->owner, &collection);
}

void
docstore_collection_check_owner(const DocCollection *collection)
{
	if (!has_privs_of_role(GetUserId(), collection->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of collection \"%s\"", collection->name)));
}

static int
by_name(const ListCell *a, const ListCell *b)
{
	return strcmp(((DocCollection *) lfirst(a))->name, ((DocCollection *) lfirst(b))->name);
}

List *
docstore_collection_list(void)
{
	Relation catalog = docstore_catalog_open(catalog_table(), COLLECTION_NATTS, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	List *list = NIL;
	HeapTuple tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		DocCollection *collection = palloc(sizeof(DocCollection));

		read_tuple(catalog, tuple, collection);
		list = lappend(list, collection);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	list_sort(list, by_name);
	return list;
}

void
docstore_kind_stats(char kind, uint64 storage, uint64 *bytes, uint64 *entries)
{
	char lower[DOCSTORE_KEY_PREFIX];
	char upper[DOCSTORE_KEY_PREFIX];
	LsmError err;

	docstore_key_prefix(lower, kind, MyDatabaseId, storage);
	docstore_key_prefix_end(upper, kind, MyDatabaseId, storage);
	docstore_check(lsm_range_stats(docstore_db(), lsm_slice(lower, sizeof(lower)), lsm_slice(upper, sizeof(upper)), LSM_ALL_SEQS,
								   bytes, entries, &err),
				   &err);
}

void
docstore_storage_stats(uint64 storage, uint64 *bytes, uint64 *entries)
{
	docstore_kind_stats(DOCSTORE_KEY_DOCUMENT, storage, bytes, entries);
}

/* docstore.collection_size(storage_id) returns (bytes, documents), both estimates. */
Datum
docstore_collection_size(PG_FUNCTION_ARGS)
{
	TupleDesc desc;
	Datum values[2];
	bool nulls[2] = {false, false};
	uint64 bytes;
	uint64 entries;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	docstore_storage_stats((uint64) PG_GETARG_INT64(0), &bytes, &entries);
	values[0] = Int64GetDatum((int64) bytes);
	values[1] = Int64GetDatum((int64) entries);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* ---- DROP EXTENSION ---- */

/* The catalog goes away with all its rows: their storages are dropped with it, in the same transaction. */
static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (next_object_access_hook)
		next_object_access_hook(access, class_id, object_id, sub_id, arg);

	if (access == OAT_DROP && class_id == RelationRelationId && sub_id == 0)
	{
		Oid schema = get_namespace_oid(SCHEMA, true);

		if (OidIsValid(schema) && object_id == get_relname_relid("collection", schema) && is_catalog(object_id))
		{
			ListCell *lc;

			catalog_oid = object_id;
			foreach (lc, docstore_collection_list())
				docstore_write_dropped(((DocCollection *) lfirst(lc))->storage, GetCurrentCommandId(true));
		}
	}
}

void
docstore_collection_init(void)
{
	next_object_access_hook = object_access_hook;
	object_access_hook = object_access;
}
