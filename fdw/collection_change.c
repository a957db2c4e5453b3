/*
 * collection_change.c - makes, drops, empties and restores collections.
 *
 * The catalog is written past its grants, as PostgreSQL writes its own
 * catalogs; what the caller may do is checked here, first.
 */
#include "postgres.h"

#include "fdw/collection_catalog.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_authid_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_table.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
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

PG_FUNCTION_INFO_V1(docstore_create_collection);
PG_FUNCTION_INFO_V1(docstore_drop_collection);
PG_FUNCTION_INFO_V1(docstore_collection_trigger);

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
	return ((uint64) (docstore_collection_catalog() & 0x7fffffff) << 32) | (uint64) next;
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
	Datum values[COLLECTION_NATTS];
	bool nulls[COLLECTION_NATTS] = {false};

	values[COLLECTION_ATT_NAME - 1] = CStringGetTextDatum(name);
	values[COLLECTION_ATT_STORAGE - 1] = Int64GetDatum((int64) docstore_new_storage());
	values[COLLECTION_ATT_OWNER - 1] = ObjectIdGetDatum(owner);
	values[COLLECTION_ATT_CREATED - 1] = TimestampTzGetDatum(created);
	catalog = docstore_catalog_open(docstore_collection_catalog(), COLLECTION_NATTS, RowExclusiveLock);
	CatalogTupleInsert(catalog, heap_form_tuple(RelationGetDescr(catalog), values, nulls));
	table_close(catalog, NoLock);
	docstore_catalog_changed(docstore_collection_catalog());
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
	docstore_collection_lock(name, AccessExclusiveLock);
	if (docstore_collection_find(name, &collection))
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

/* What shows a collection or view keeps it. */
static void
stands_in_the_way(const char *option, const char *name, Oid table, Oid table_owner, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot drop %s \"%s\" because other objects depend on it", option, name),
			 errdetail("Foreign table \"%s\" belongs to role \"%s\".", get_rel_name(table), GetUserNameFromId(table_owner, true)),
			 hint != NULL ? errhint("%s", hint) : 0));
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
			stands_in_the_way(option, name, relid, table_owner,
							  strcmp(option, "collection") == 0
								  ? "Use docstore.drop_collection(..., cascade => true) to drop the dependent objects too."
								  : NULL);
		ObjectAddressSet(address, RelationRelationId, relid);
		add_exact_object_address(&address, objects);
	}
	return objects;
}

void
docstore_check_foreign_tables(const char *option, const char *name, Oid owner, List *roles)
{
	ListCell *lc;

	foreach (lc, docstore_foreign_tables_of(option, name))
	{
		Oid table_owner = relation_owner(lfirst_oid(lc));

		if (table_owner == InvalidOid || list_member_oid(roles, table_owner) || !has_privs_of_role(table_owner, owner))
			continue;
		stands_in_the_way(option, name, lfirst_oid(lc), table_owner,
						  strcmp(option, "collection") == 0 ? "Use DROP OWNED ... CASCADE to drop the dependent objects too."
															: "Drop the foreign table first.");
	}
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

	catalog = docstore_catalog_open(docstore_collection_catalog(), COLLECTION_NATTS, RowExclusiveLock);
	tuple = docstore_collection_row(catalog, name, NULL);
	if (tuple == NULL)
		elog(ERROR, "collection \"%s\" is gone", name);
	CatalogTupleDelete(catalog, &tuple->t_self);
	table_close(catalog, NoLock);
	docstore_write_dropped(collection.storage, GetCurrentCommandId(true));
	docstore_predicate_dropped(collection.storage);
	docstore_catalog_changed(docstore_collection_catalog());
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
	Relation catalog = docstore_catalog_open(docstore_collection_catalog(), COLLECTION_NATTS, RowExclusiveLock);
	HeapTuple tuple = docstore_collection_row(catalog, name, NULL);
	Datum values[COLLECTION_NATTS] = {0};
	bool nulls[COLLECTION_NATTS] = {false};
	bool replace[COLLECTION_NATTS] = {false};

	if (tuple == NULL)
		elog(ERROR, "collection \"%s\" is gone", name);
	values[column - 1] = value;
	replace[column - 1] = true;
	tuple = heap_modify_tuple(tuple, RelationGetDescr(catalog), values, nulls, replace);
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	table_close(catalog, NoLock);
	docstore_catalog_changed(docstore_collection_catalog());
}

void
docstore_collection_set_owner(const char *name, Oid owner)
{
	docstore_collection_lock(name, AccessExclusiveLock);
	replace_column(name, COLLECTION_ATT_OWNER, ObjectIdGetDatum(owner));
}

void
docstore_collection_truncate(const DocTable *table)
{
	DocCollection collection;
	uint64 storage;

	docstore_collection_of(table, AccessExclusiveLock, &collection);
	storage = docstore_new_storage();
	replace_column(collection.name, COLLECTION_ATT_STORAGE, Int64GetDatum((int64) storage));
	docstore_predicate_dropped(collection.storage);
	docstore_write_dropped(collection.storage, GetCurrentCommandId(true));
	if (collection.tracked)
		docstore_feed_write_truncated(storage, GetCurrentCommandId(true));
}

/* ---- restoring ---- */

/*
 * Who restores definitions or the catalog's rows locks the names of many
 * collections in one transaction, each in an order of its own, and pg_restore -j
 * does it in several sessions: one after another.
 */
static void
lock_restored(void)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationRelationId, docstore_collection_catalog(), 2);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
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

	if (docstore_collection_find(name, &collection))
		return;
	docstore_collection_lock(name, AccessExclusiveLock);
	if (!docstore_collection_find(name, &collection))
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
	bool replace[COLLECTION_NATTS] = {false};
	Datum values[COLLECTION_NATTS];
	bool nulls[COLLECTION_NATTS];
	bool isnull;
	HeapTuple there;
	char *name;

	heap_deform_tuple(row, desc, values, nulls);
	/* What is missing or too long is for the table's constraints, or of no use to anybody. */
	for (int i = 0; i < COLLECTION_NATTS; i++)
		if (nulls[i])
			return false;
	name = TextDatumGetCString(values[COLLECTION_ATT_NAME - 1]);
	lock_restored();
	docstore_collection_lock(name, AccessExclusiveLock);
	there = docstore_collection_row(catalog, name, NULL);
	if (there == NULL || DatumGetTimestampTz(heap_getattr(there, COLLECTION_ATT_CREATED, desc, &isnull)) != DT_NOBEGIN)
		return false;
	replace[COLLECTION_ATT_OWNER - 1] = replace[COLLECTION_ATT_CREATED - 1] = true;
	CatalogTupleUpdate(catalog, &there->t_self, heap_modify_tuple(there, desc, values, nulls, replace));
	docstore_catalog_changed(docstore_collection_catalog());
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
		int column = COLLECTION_ATT_STORAGE;
		bool isnull = false;
		Datum storage;

		if (adopt(data->tg_relation, data->tg_trigtuple))
			return PointerGetDatum(NULL);
		storage = Int64GetDatum((int64) docstore_new_storage());
		return PointerGetDatum(heap_modify_tuple_by_cols(data->tg_trigtuple, RelationGetDescr(data->tg_relation), 1, &column,
														 &storage, &isnull));
	}
	docstore_catalog_changed(RelationGetRelid(data->tg_relation));
	docstore_owners_changed();
	return PointerGetDatum(NULL);
}
