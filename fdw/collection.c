/*
 * collection.c - reads and writes the catalog of collections.
 *
 * A backend keeps what it has read until the catalog changes: every change, by
 * the functions here or by anybody's SQL (a trigger sees to that), sends a
 * relcache invalidation of the catalog table, and every backend that hears it
 * forgets all it knew.  A lock on the collection is taken before the cache is
 * asked, and taking it absorbs invalidations; so who holds a lock sees what
 * the last holder of a conflicting one committed.  A rolled back change is
 * undone in the cache by the same messages, which abort runs again.
 *
 * The catalog is written past its grants, as PostgreSQL writes its own
 * catalogs; what the caller may do is checked here, first.
 */
#include "postgres.h"

#include "fdw/collection.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
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
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "fdw/consumer.h"
#include "fdw/import.h"
#include "fdw/owner.h"
#include "fdw/write.h"
#include "store/compat.h"
#include "store/feed.h"
#include "store/predicate.h"
#include "store/store.h"

#define SCHEMA "docstore"
#define ATT_NAME 1
#define ATT_STORAGE 2
#define ATT_OWNER 3
#define ATT_CREATED 4
#define NATTS 4

/* Oids of the extension's objects, learned at the first use. */
static Oid catalog_oid;
static Oid index_oid;

static HTAB *known; /* of DocCollection */
static uint64 generation;
static bool registered;
static object_access_hook_type next_object_access_hook;

PG_FUNCTION_INFO_V1(docstore_create_collection);
PG_FUNCTION_INFO_V1(docstore_drop_collection);
PG_FUNCTION_INFO_V1(docstore_collection_size);
PG_FUNCTION_INFO_V1(docstore_collection_trigger);

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

static void
lock_name(const char *name, LOCKMODE mode)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, catalog_table(),
					   hash_bytes((const unsigned char *) name, (int) strlen(name)), 0);
	if (LockAcquire(&tag, mode, false, false) != LOCKACQUIRE_ALREADY_HELD)
		AcceptInvalidationMessages();
}

/*
 * Who restores definitions or the catalog's rows locks the names of many
 * collections in one transaction, each in an order of its own, and pg_restore -j
 * does it in several sessions: one after another.
 */
static void
lock_restored(void)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationRelationId, catalog_table(), 2);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

static void
read_tuple(Relation catalog, HeapTuple tuple, DocCollection *collection)
{
	TupleDesc desc = RelationGetDescr(catalog);
	bool isnull;

	memset(collection, 0, sizeof(*collection));
	text_to_cstring_buffer(DatumGetTextPP(heap_getattr(tuple, ATT_NAME, desc, &isnull)), collection->name, NAMEDATALEN);
	collection->storage = (uint64) DatumGetInt64(heap_getattr(tuple, ATT_STORAGE, desc, &isnull));
	collection->owner = DatumGetObjectId(heap_getattr(tuple, ATT_OWNER, desc, &isnull));
	collection->xmin = HeapTupleHeaderGetXmin(tuple->t_data);
}

/* The row of a collection (a copy), as of a snapshot or, if that is NULL, of now; or NULL. */
static HeapTuple
find_tuple(Relation catalog, const char *name, Snapshot snapshot)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, ATT_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	scan = systable_beginscan(catalog, index_oid, true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

static bool
find(const char *name, DocCollection *collection)
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

	catalog = docstore_catalog_open(catalog_table(), NATTS, AccessShareLock);
	before = generation;
	tuple = find_tuple(catalog, name, NULL);
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

static void
changed(Oid catalog)
{
	CacheInvalidateRelcacheByRelid(catalog);
	CommandCounterIncrement();
}

/* ---- looking up ---- */

void
docstore_collection_get(const char *name, LOCKMODE mode, DocCollection *collection)
{
	if (mode != NoLock)
		lock_name(name, mode);
	if (!find(name, collection))
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
		lock_name(table->collection, mode);
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

	catalog = docstore_catalog_open(catalog_table(), NATTS, AccessShareLock);
	tuple = find_tuple(catalog, collection->name, snapshot);
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
	Relation catalog = docstore_catalog_open(catalog_table(), NATTS, AccessShareLock);
	HeapTuple tuple = find_tuple(catalog, name, snapshot);
	DocCollection collection = {0};

	if (tuple != NULL)
		read_tuple(catalog, tuple, &collection);
	table_close(catalog, AccessShareLock);
	return collection.storage;
}

void
docstore_collections_changed(void)
{
	changed(catalog_table());
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

	return find(table->collection, &collection) && may_show(table->owner, &collection);
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
	Relation catalog = docstore_catalog_open(catalog_table(), NATTS, AccessShareLock);
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

/* ---- changing ---- */

/*
 * A storage id that was never used in this database: the catalog table's oid
 * above, the sequence's next number below.  The sequence alone would start
 * over when the extension is dropped and made again, and the new collections
 * would hold the documents of the old ones.
 *
 * It is set to the number that it has just given, for that is written to WAL
 * always.  nextval leaves it out for some numbers ahead that it believes are in
 * WAL already; in a copied database (strategy wal_log) they are not, and a crash
 * would give them out again.
 */
uint64
docstore_new_storage(void)
{
	Oid sequence = docstore_extension_relation("storage_id_seq");
	int64 next;
	int security;
	Oid user;

	/* Against others who are between the two. */
	LockRelationOid(sequence, ShareUpdateExclusiveLock);
	next = nextval_internal(sequence, false);
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, security | SECURITY_LOCAL_USERID_CHANGE);
	DirectFunctionCall2(setval_oid, ObjectIdGetDatum(sequence), Int64GetDatum(next));
	SetUserIdAndSecContext(user, security);
	UnlockRelationOid(sequence, ShareUpdateExclusiveLock);
	if (next <= 0 || next > PG_UINT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("there are no storage ids left in this database")));
	return ((uint64) (catalog_table() & 0x7fffffff) << 32) | (uint64) next;
}

static void
check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid collection name \"%s\"", name),
				 errhint("A collection's name has 1 to %d bytes.", NAMEDATALEN - 1)));
}

/* Who may make foreign tables of ours may make collections: one grant says both. */
static void
check_server_usage(ForeignServer *server)
{
	AclResult result = docstore_server_aclcheck(server->serverid, GetUserId(), ACL_USAGE);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FOREIGN_SERVER, server->servername);
}

/* The name is locked, and there is no such collection. */
static void
add(const char *name, Oid owner, TimestampTz created)
{
	Relation catalog;
	Datum values[NATTS];
	bool nulls[NATTS] = {false};

	values[ATT_NAME - 1] = CStringGetTextDatum(name);
	values[ATT_STORAGE - 1] = Int64GetDatum((int64) docstore_new_storage());
	values[ATT_OWNER - 1] = ObjectIdGetDatum(owner);
	values[ATT_CREATED - 1] = TimestampTzGetDatum(created);
	catalog = docstore_catalog_open(catalog_table(), NATTS, RowExclusiveLock);
	CatalogTupleInsert(catalog, heap_form_tuple(RelationGetDescr(catalog), values, nulls));
	table_close(catalog, NoLock);
	changed(catalog_table());
	docstore_owner_added(owner);
}

Datum
docstore_create_collection(PG_FUNCTION_ARGS)
{
	char *name;
	bool with_table;
	DocCollection collection;
	ForeignServer *server;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("arguments must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	with_table = PG_GETARG_BOOL(1);

	PreventCommandIfReadOnly("docstore.create_collection()");
	docstore_require_preload();
	check_name(name);
	server = GetForeignServerByName("docstore", false);
	check_server_usage(server);

	/* Two who make the same collection at once: the second waits here, then sees the first's. */
	lock_name(name, AccessExclusiveLock);
	if (find(name, &collection))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("collection \"%s\" already exists", name)));
	add(name, GetUserId(), GetCurrentTransactionStartTimestamp());

	if (with_table)
	{
		/* Runs with the caller's rights, in the caller's current schema. */
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		if (SPI_execute(docstore_table_statement(name, "docstore"), false, 0) != SPI_OK_UTILITY)
			elog(ERROR, "could not make the foreign table");
		SPI_finish();
	}
	PG_RETURN_VOID();
}

List *
docstore_foreign_tables_of(const char *option, const char *name)
{
	Relation rel = table_open(ForeignTableRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	List *oids = NIL;
	HeapTuple tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_foreign_table form = (Form_pg_foreign_table) GETSTRUCT(tuple);
		ForeignServer *server = GetForeignServer(form->ftserver);
		ForeignDataWrapper *wrapper = GetForeignDataWrapper(server->fdwid);
		ListCell *lc;

		if (strcmp(wrapper->fdwname, "docstore") != 0)
			continue;
		foreach (lc, GetForeignTable(form->ftrelid)->options)
		{
			DefElem *def = lfirst(lc);

			if (strcmp(def->defname, option) == 0 && strcmp(strVal(def->arg), name) == 0)
				oids = lappend_oid(oids, form->ftrelid);
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return oids;
}

static Oid
relation_owner(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

static void
drop_consumers(const char *name, bool cascade)
{
	ListCell *lc;

	foreach (lc, docstore_consumers_of(name))
	{
		DocConsumer *consumer = lfirst(lc);

		if (!cascade)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot drop collection \"%s\" because other objects depend on it", name),
					 errdetail("The %s \"%s\" reads it.", docstore_consumer_kind_name(consumer->kind), consumer->name),
					 errhint("Use docstore.drop_collection(..., cascade => true) to drop the dependent objects too.")));
		docstore_consumer_drop_cascade(consumer->kind, consumer->name);
	}
}

ObjectAddresses *
docstore_lock_foreign_tables(const char *option, const char *name, Oid owner, bool cascade)
{
	ObjectAddresses *objects = new_object_addresses();
	ListCell *lc;

	foreach (lc, docstore_foreign_tables_of(option, name))
	{
		Oid relid = lfirst_oid(lc);
		Oid table_owner = relation_owner(relid);
		ObjectAddress address;

		/* A table that may not show it is nobody's loss: it stays as it is. */
		if (!cascade && table_owner != owner && !has_privs_of_role(table_owner, owner))
			continue;
		LockRelationOid(relid, AccessExclusiveLock);
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		{
			/* Somebody else has dropped it meanwhile. */
			UnlockRelationOid(relid, AccessExclusiveLock);
			continue;
		}
		if (!cascade && !docstore_owns_relation(relid, GetUserId()))
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot drop %s \"%s\" because other objects depend on it", option, name),
					 errdetail("Foreign table \"%s\" belongs to role \"%s\".", get_rel_name(relid),
							   GetUserNameFromId(table_owner, true)),
					 strcmp(option, "collection") == 0
						 ? errhint("Use docstore.drop_collection(..., cascade => true) to drop the dependent objects too.")
						 : 0));
		ObjectAddressSet(address, RelationRelationId, relid);
		add_exact_object_address(&address, objects);
	}
	return objects;
}

void
docstore_collection_drop(const char *name, bool cascade)
{
	DocCollection collection;
	ObjectAddresses *objects;
	Relation catalog;
	HeapTuple tuple;

	docstore_collection_get(name, NoLock, &collection);
	docstore_collection_check_owner(&collection);

	/* Tables before the collection, as everybody locks them. */
	objects = docstore_lock_foreign_tables("collection", name, collection.owner, cascade);
	docstore_collection_get(name, AccessExclusiveLock, &collection);
	docstore_collection_check_owner(&collection);
	drop_consumers(name, cascade);
	performMultipleDeletions(objects, cascade ? DROP_CASCADE : DROP_RESTRICT, 0);

	catalog = docstore_catalog_open(catalog_table(), NATTS, RowExclusiveLock);
	tuple = find_tuple(catalog, name, NULL);
	if (tuple == NULL)
		elog(ERROR, "collection \"%s\" is gone", name);
	CatalogTupleDelete(catalog, &tuple->t_self);
	table_close(catalog, NoLock);
	docstore_write_dropped(collection.storage, GetCurrentCommandId(true));
	docstore_predicate_dropped(collection.storage);
	changed(catalog_table());
}

Datum
docstore_drop_collection(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("arguments must not be null")));
	PreventCommandIfReadOnly("docstore.drop_collection()");
	docstore_require_preload();
	docstore_collection_drop(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_BOOL(1));
	docstore_owners_changed();
	PG_RETURN_VOID();
}

/* Replaces one column of a collection's row.  The collection is locked AccessExclusive. */
static void
replace_column(const char *name, int column, Datum value)
{
	Relation catalog = docstore_catalog_open(catalog_table(), NATTS, RowExclusiveLock);
	HeapTuple tuple = find_tuple(catalog, name, NULL);
	Datum values[NATTS] = {0};
	bool nulls[NATTS] = {false};
	bool replace[NATTS] = {false};

	if (tuple == NULL)
		elog(ERROR, "collection \"%s\" is gone", name);
	values[column - 1] = value;
	replace[column - 1] = true;
	tuple = heap_modify_tuple(tuple, RelationGetDescr(catalog), values, nulls, replace);
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	table_close(catalog, NoLock);
	changed(catalog_table());
}

void
docstore_collection_set_owner(const char *name, Oid owner)
{
	lock_name(name, AccessExclusiveLock);
	replace_column(name, ATT_OWNER, ObjectIdGetDatum(owner));
}

void
docstore_collection_truncate(const DocTable *table)
{
	DocCollection collection;
	uint64 storage;

	docstore_collection_of(table, AccessExclusiveLock, &collection);
	storage = docstore_new_storage();
	replace_column(collection.name, ATT_STORAGE, Int64GetDatum((int64) storage));
	docstore_predicate_dropped(collection.storage);
	docstore_write_dropped(collection.storage, GetCurrentCommandId(true));
	if (collection.tracked)
		docstore_feed_write_truncated(storage, GetCurrentCommandId(true));
}

/*
 * pg_dump orders tables' data by the names of their schemas, and pg_restore -j
 * does not order it at all: documents may come before the catalog's row that
 * says whose they are.  Until that comes (adopt), the collection belongs to the
 * owner of the foreign table, or of the view, that refers to it.
 */
void
docstore_collection_foretell(const char *name, Oid owner)
{
	DocCollection collection;

	if (find(name, &collection))
		return;
	lock_name(name, AccessExclusiveLock);
	if (!find(name, &collection))
		add(name, owner, DT_NOBEGIN);
}

void
docstore_collections_foretell(List *names, Oid owner)
{
	ListCell *lc;

	lock_restored();
	foreach (lc, names)
		docstore_collection_foretell(lfirst(lc), owner);
}

/* Gives a row that comes in to the collection that was foretold; false if none was. */
static bool
adopt(Relation catalog, HeapTuple row)
{
	TupleDesc desc = RelationGetDescr(catalog);
	bool replace[NATTS] = {false};
	Datum values[NATTS];
	bool nulls[NATTS];
	bool isnull;
	HeapTuple there;
	char *name;

	heap_deform_tuple(row, desc, values, nulls);
	/* What is missing or too long is for the table's constraints, or of no use to anybody. */
	for (int i = 0; i < NATTS; i++)
		if (nulls[i])
			return false;
	name = TextDatumGetCString(values[ATT_NAME - 1]);
	lock_restored();
	lock_name(name, AccessExclusiveLock);
	there = find_tuple(catalog, name, NULL);
	if (there == NULL || DatumGetTimestampTz(heap_getattr(there, ATT_CREATED, desc, &isnull)) != DT_NOBEGIN)
		return false;
	replace[ATT_OWNER - 1] = replace[ATT_CREATED - 1] = true;
	CatalogTupleUpdate(catalog, &there->t_self, heap_modify_tuple(there, desc, values, nulls, replace));
	changed(catalog_table());
	return true;
}

/*
 * On docstore.collection: a row that comes in otherwise than by the functions
 * above (pg_dump's COPY) gets a storage id of its own, since the one it brings
 * belongs to the collection that was dumped, perhaps of this very database.
 * After any change, every backend forgets what it knew.
 */
Datum
docstore_collection_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("this function can only be called as a trigger")));
	if (TRIGGER_FIRED_BEFORE(data->tg_event) && TRIGGER_FIRED_FOR_ROW(data->tg_event))
	{
		int column = ATT_STORAGE;
		bool isnull = false;
		Datum storage;

		if (adopt(data->tg_relation, data->tg_trigtuple))
			return PointerGetDatum(NULL);
		storage = Int64GetDatum((int64) docstore_new_storage());
		return PointerGetDatum(heap_modify_tuple_by_cols(data->tg_trigtuple, RelationGetDescr(data->tg_relation), 1, &column,
														 &storage, &isnull));
	}
	changed(RelationGetRelid(data->tg_relation));
	docstore_owners_changed();
	return PointerGetDatum(NULL);
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
