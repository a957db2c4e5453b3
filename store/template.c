/*
 * template.c - CREATE DATABASE ... TEMPLATE: the documents of the template go along.
 *
 * PostgreSQL copies the template's files and with them our catalogs; documents
 * lie in the cluster's one store, under keys that begin with their database's
 * oid.  So each is written again under the new database's oid, by the
 * transaction of the CREATE DATABASE, with which they become visible or never do.
 *
 * They are copied first: if anything fails PostgreSQL has made no directory
 * yet, and if PostgreSQL fails the copies are versions of an aborted transaction.
 * For that the new oid is chosen here, and the template is locked against new
 * connections as CREATE DATABASE itself does.
 *
 * Documents get new etags.  A change that some consumer of the template may not
 * have consumed yet is written again beside its document, or, a deletion, by
 * itself; so consumers in the copy, at the positions that the template's had, get
 * all that those had before them (and perhaps some again).
 *
 * The launcher, which drops documents of databases that are not there, does not
 * count versions of transactions in progress (worker/launcher.c).
 */
#include "postgres.h"

#include "store/template.h"

#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/catalog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "port/pg_bswap.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "store/compat.h"
#include "store/feed.h"
#include "store/store.h"
#include "store/txn.h"

/* What one write may hold: with the last document, which is less than an eighth of a memtable, it fits into the smallest. */
#define BATCH_BYTES (32 * 1024)

static ProcessUtility_hook_type next_utility;

typedef struct Copy
{
	LsmDb *db;
	Oid from;
	Oid to;
	LsmRead read;
	LsmScan *scan;
	char kind;    /* of the keys that are scanned */
	bool changes; /* there are entries of the change feed */
	LsmBuf value;
	uint64 storage; /* of the last key */
	bool dropped;   /* ... and it is dropped */
	LsmBatch batch;
} Copy;

static void
free_copy(void *arg)
{
	Copy *copy = arg;

	if (copy->scan != NULL)
		lsm_scan_close(copy->scan);
	copy->scan = NULL;
	lsm_buf_free(&copy->value);
	lsm_batch_free(&copy->batch);
}

static void
open_scan(Copy *copy, Oid database, char kind)
{
	char lower[DOCSTORE_KEY_PREFIX];
	char upper[DOCSTORE_KEY_PREFIX];
	LsmError err;

	docstore_key_prefix(lower, kind, database, 0);
	docstore_key_prefix(upper, kind, database + 1, 0);
	copy->kind = kind;
	copy->storage = 0;
	docstore_check(lsm_scan_open(copy->db, &copy->read, lsm_slice(lower, sizeof(lower)), lsm_slice(upper, sizeof(upper)),
								 &copy->scan, &err),
				   &err);
	lsm_scan_first(copy->scan);
}

static void
close_scan(Copy *copy)
{
	LsmStatus status = copy->scan->status;
	LsmError err = copy->scan->err;

	lsm_scan_close(copy->scan);
	copy->scan = NULL;
	docstore_check(status, &err);
}

/* Whoever wrote it; a deletion may be one that was rolled back. */
static LsmVisible
anything(void *arg, const LsmStamp *stamp, volatile uint8_t *hint)
{
	return (stamp->flags & LSM_STAMP_DELETE) != 0 ? LSM_INVISIBLE : LSM_VISIBLE;
}

static bool
has_keys(LsmDb *db, Oid database, char kind)
{
	Copy look = {.db = db, .read = {LSM_MAX_SEQUENCE, anything, NULL}};
	bool any;

	open_scan(&look, database, kind);
	any = look.scan->valid;
	close_scan(&look);
	return any;
}

/* Documents, or changes of documents that are no more; of anybody's, visible or not. */
static bool
has_documents(LsmDb *db, Oid database)
{
	for (const char *kind = DOCSTORE_STORAGE_KINDS; *kind != '\0'; kind++)
	{
		if (has_keys(db, database, *kind))
			return true;
	}
	return false;
}

/*
 * What a dropped database left, its drop record included: the documents would
 * become the new database's, or the record would drop the new documents.
 */
static bool
has_leavings(LsmDb *db, Oid database)
{
	return has_documents(db, database) || has_keys(db, database, DOCSTORE_KEY_DROPPED);
}

static void
write_batch(Copy *copy)
{
	LsmStatus status;
	LsmError err;

	if (copy->batch.count == 0)
		return;
	/* Nobody else writes there: no stripe lock. */
	while ((status = lsm_write(copy->db, &copy->batch, false, NULL, &err)) == LSM_BUSY)
		docstore_check(lsm_make_room(copy->db, copy->batch.memtable_cost, &err), &err);
	docstore_check(status, &err);
	lsm_batch_clear(&copy->batch);
}

static uint64
storage_of(LsmSlice key)
{
	uint64 storage;

	memcpy(&storage, key.data + 5, sizeof(storage));
	return pg_ntoh64(storage);
}

/* Is the storage, which the key begins with, dropped and only not compacted away yet? */
static bool
is_dropped(Copy *copy, LsmSlice key)
{
	char drop[DOCSTORE_KEY_PREFIX];
	LsmBuf value = {0};
	LsmVersion version;
	LsmStatus status;
	uint64 storage;
	LsmError err;

	storage = storage_of(key);
	if (storage == copy->storage)
		return copy->dropped;
	docstore_key_prefix(drop, DOCSTORE_KEY_DROPPED, copy->from, storage);
	status = lsm_get(copy->db, &copy->read, lsm_slice(drop, sizeof(drop)), &value, &version, &err);
	lsm_buf_free(&value);
	if (status != LSM_NOT_FOUND)
		docstore_check(status, &err);
	copy->storage = storage;
	copy->dropped = status == LSM_OK;
	return copy->dropped;
}

static void
next(Copy *copy)
{
	lsm_scan_release(copy->scan);
	if (copy->batch.rep.len > BATCH_BYTES)
		write_batch(copy);
	lsm_scan_next(copy->scan);
}

/* The scan's entry of the change feed if no document goes with it, and on to the next one. */
static void
copy_change(Copy *copy)
{
	LsmStamp stamp = docstore_stamp(0, GetCurrentCommandId(true));
	LsmSlice value = copy->scan->value;

	if (value.len < 1 || value.len > 1 + sizeof(uint64) + DOCSTORE_MAX_CHANGED)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("an entry of the change feed has an unknown format")));
	/* Rows of views are not copied: views are built anew, and who reads them begins anew. */
	if (value.data[0] != 0 && (value.data[0] & DOCSTORE_CHANGE_OF_VIEW) == 0)
		docstore_feed_add_entry(&copy->batch, copy->to, storage_of(copy->scan->key), copy->batch.count, &stamp,
								(uint8) value.data[0], lsm_slice(value.data + 1, value.len - 1));
	next(copy);
}

/* Does the feed have this version of a document? */
static bool
has_change(Copy *copy, uint64 storage, uint64 etag)
{
	char key[DOCSTORE_CHANGE_KEY];
	LsmStatus status;
	LsmError err;

	docstore_change_key(key, copy->from, storage, etag);
	status = lsm_get(copy->db, &copy->read, lsm_slice(key, sizeof(key)), &copy->value, NULL, &err);
	if (status != LSM_NOT_FOUND)
		docstore_check(status, &err);
	return status == LSM_OK;
}

/* The scan's document, and on to the next one. */
static void
copy_document(Copy *copy)
{
	LsmStamp stamp = docstore_stamp(0, GetCurrentCommandId(true));
	uint64 etag = copy->scan->version.seq;
	char key[DOCSTORE_KEY_PREFIX + DOCSTORE_MAX_ID];
	char head[LSM_STAMP_MAX_SIZE];
	LsmSlice from = copy->scan->key;
	uint32 database = pg_hton32(copy->to);

	if (from.len > sizeof(key))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a stored document's key is too long")));
	memcpy(key, from.data, from.len);
	memcpy(key + 1, &database, sizeof(database));
	if (!lsm_batch_put2(&copy->batch, lsm_slice(key, from.len), lsm_slice(head, lsm_stamp_encode(head, &stamp)),
						copy->scan->value))
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	lsm_scan_release(copy->scan);
	if (copy->changes && has_change(copy, storage_of(lsm_slice(key, from.len)), etag))
		docstore_feed_add_entry(&copy->batch, copy->to, storage_of(lsm_slice(key, from.len)), copy->batch.count - 1, &stamp,
								0, lsm_slice(key + DOCSTORE_KEY_PREFIX, from.len - DOCSTORE_KEY_PREFIX));
	next(copy);
}

/* Past the rest of a dropped storage. */
static void
skip_storage(Copy *copy)
{
	char key[DOCSTORE_KEY_PREFIX];

	docstore_key_prefix_end(key, copy->kind, copy->from, copy->storage);
	lsm_scan_release(copy->scan);
	lsm_scan_seek(copy->scan, lsm_slice(key, sizeof(key)));
}

static void
copy_kind(Copy *copy, char kind, void (*copy_one)(Copy *copy))
{
	open_scan(copy, copy->from, kind);
	if (kind == DOCSTORE_KEY_CHANGE)
		copy->changes = copy->scan->valid;
	while (copy->scan->valid)
	{
		CHECK_FOR_INTERRUPTS();
		if (is_dropped(copy, copy->scan->key))
			skip_storage(copy);
		else
			copy_one(copy);
	}
	close_scan(copy);
}

static void
copy_documents(LsmDb *db, Oid from, Oid to)
{
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));
	/* Not the transaction's: the template is locked only now. */
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Copy *copy = palloc0(sizeof(Copy));

	copy->db = db;
	copy->from = from;
	copy->to = to;
	docstore_read_init(&copy->read, snapshot);
	callback->func = free_copy;
	callback->arg = copy;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);

	/* Changes first: TRUNCATE comes before what was written since. */
	copy_kind(copy, DOCSTORE_KEY_CHANGE, copy_change);
	copy_kind(copy, DOCSTORE_KEY_DOCUMENT, copy_document);
	write_batch(copy);
	free_copy(copy);
	UnregisterSnapshot(snapshot);
}

static char *
option(const CreatedbStmt *stmt, const char *name)
{
	ListCell *lc;

	foreach (lc, stmt->options)
	{
		DefElem *def = lfirst(lc);

		if (strcmp(def->defname, name) == 0)
			return def->arg != NULL ? defGetString(def) : NULL;
	}
	return NULL;
}

/* May the caller copy it, as CREATE DATABASE asks?  (If not, that says so.) */
static bool
may_copy(Oid database)
{
	HeapTuple tuple;
	bool allowed = superuser();

	if (allowed)
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	allowed = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!allowed)
		return false;
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	allowed = HeapTupleIsValid(tuple) && (((Form_pg_database) GETSTRUCT(tuple))->datistemplate ||
										  docstore_owns_database(database, GetUserId()));
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return allowed;
}

static Oid
choose_oid(LsmDb *db)
{
	Relation rel = table_open(DatabaseRelationId, AccessShareLock);
	Oid oid;

	/* Nor one whose documents were not swept up yet. */
	do
		oid = GetNewOidWithIndex(rel, DatabaseOidIndexId, Anum_pg_database_oid);
	while (has_leavings(db, oid));
	table_close(rel, AccessShareLock);
	return oid;
}

/* An oid that was asked for.  (While the store is not up nobody writes documents, or drop records either.) */
static void
check_oid(Oid oid)
{
	LsmDb *db = docstore_attach();
	LsmError ignored;

	/* A database that exists is refused by CREATE DATABASE itself. */
	if (lsm_ready(db, &ignored) != LSM_OK || SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(oid)))
		return;
	if (has_leavings(db, oid))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there are documents of a dropped database with OID %u", oid),
				 errhint("They go within minutes.")));
}

/* Returns the statement to run: with an oid, if documents lie under that by now. */
static PlannedStmt *
before_create(PlannedStmt *pstmt)
{
	CreatedbStmt *stmt = (CreatedbStmt *) pstmt->utilityStmt;
	char *template = option(stmt, "template");
	char *wanted = option(stmt, "oid");
	int backends;
	int prepared;
	LsmDb *db;
	Oid from;
	Oid to;

	if (RecoveryInProgress())
		return pstmt;
	if (wanted != NULL)
		check_oid(atooid(wanted));
	if (template == NULL)
		template = "template1";
	from = get_database_oid(template, true);
	/* Nobody connects to template0, so there are no documents: it can be copied in any state of the store. */
	if (!OidIsValid(from) || strcmp(template, "template0") == 0 || !may_copy(from))
		return pstmt;
	db = docstore_db();
	LockSharedObject(DatabaseRelationId, from, 0, ShareLock);
	if (!has_documents(db, from))
		return pstmt;
	if (OidIsValid(get_database_oid(stmt->dbname, true)))
		return pstmt;
	if (CountOtherDBBackends(from, &backends, &prepared))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("source database \"%s\" is being accessed by other users", template),
				 errdetail("There are %d other sessions and %d prepared transactions using the database.", backends,
						   prepared)));

	if (wanted != NULL)
		to = atooid(wanted);
	else
	{
		to = choose_oid(db);
		pstmt = copyObject(pstmt);
		stmt = (CreatedbStmt *) pstmt->utilityStmt;
		stmt->options = lappend(stmt->options, makeDefElem("oid", (Node *) makeFloat(psprintf("%u", to)), -1));
	}
	copy_documents(db, from, to);
	return pstmt;
}

static void
utility(PlannedStmt *pstmt, const char *query, bool read_only, ProcessUtilityContext context, ParamListInfo params,
		QueryEnvironment *env, DestReceiver *dest, QueryCompletion *completion)
{
	if (IsA(pstmt->utilityStmt, CreatedbStmt))
	{
		PreventInTransactionBlock(context == PROCESS_UTILITY_TOPLEVEL, "CREATE DATABASE");
		pstmt = before_create(pstmt);
	}
	if (next_utility != NULL)
		next_utility(pstmt, query, read_only, context, params, env, dest, completion);
	else
		standard_ProcessUtility(pstmt, query, read_only, context, params, env, dest, completion);
}

void
docstore_template_init(void)
{
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
}
