/*
 * launcher.c - looks after databases: those that are gone, and those that want workers (databases.c).
 *
 * DROP DATABASE leaves documents behind: no hook of an extension sees its
 * commit.  So every now and then the launcher compares the databases that have
 * keys in the store with pg_database and writes a drop record (store/dropped.c)
 * for each that is gone.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_bswap.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "store/workers.h"
#include "store/store.h"
#include "store/txn.h"
#include "worker/databases.h"
#include "worker/launcher.h"
#include "worker/task.h"

#define SWEEP_MS 60000

/*
 * For finding keys, whoever wrote them.  But not those of transactions in progress: CREATE DATABASE copies the
 * template's documents before it makes the database (store/template.c).  Nor deletions: one that was rolled back
 * would hide what it was to delete.
 */
static LsmVisible
anything(void *arg, const LsmStamp *stamp, volatile uint8_t *hint)
{
	if ((stamp->flags & LSM_STAMP_DELETE) != 0 || docstore_fate(stamp, hint) == DOCSTORE_FATE_RUNNING)
		return LSM_INVISIBLE;
	return LSM_VISIBLE;
}

/* Adds the databases that own keys of a kind, by jumping from the first key of one to the next. */
static List *
add_owners(List *result, char kind)
{
	LsmRead read = {LSM_MAX_SEQUENCE, anything, NULL};
	char lower = kind;
	char upper = kind + 1;
	LsmScan *scan;
	LsmStatus status;
	LsmError err;

	docstore_check(lsm_scan_open(docstore_db(), &read, lsm_slice(&lower, 1), lsm_slice(&upper, 1), &scan, &err), &err);
	lsm_scan_first(scan);
	while (scan->valid)
	{
		char next[DOCSTORE_KEY_PREFIX];
		uint32 oid;

		if (scan->key.len < DOCSTORE_KEY_PREFIX)
			break;
		memcpy(&oid, scan->key.data + 1, sizeof(oid));
		oid = pg_ntoh32(oid);
		lsm_scan_release(scan);
		result = list_append_unique_oid(result, oid);
		if (oid == PG_UINT32_MAX)
			break;
		docstore_key_prefix(next, kind, oid + 1, 0);
		lsm_scan_seek(scan, lsm_slice(next, sizeof(next)));
	}
	status = scan->status;
	err = scan->err;
	lsm_scan_close(scan);
	docstore_check(status, &err);
	return result;
}

static List *
databases_with_documents(void)
{
	List *result = NIL;

	for (const char *kind = DOCSTORE_STORAGE_KINDS; *kind != '\0'; kind++)
		result = add_owners(result, *kind);
	return result;
}

static List *
existing_databases(void)
{
	Relation rel = table_open(DatabaseRelationId, AccessShareLock);
	TableScanDesc scan;
	List *result = NIL;
	HeapTuple tuple;

	/* Taken before, it might not show whose documents have just been committed. */
	InvalidateCatalogSnapshot();
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
		result = lappend_oid(result, ((Form_pg_database) GETSTRUCT(tuple))->oid);
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

static void
write_drop_record(Oid database)
{
	LsmStamp stamp = docstore_stamp(0, GetCurrentCommandId(true));
	LsmBatch batch = {0};
	char key[DOCSTORE_KEY_PREFIX];
	char head[LSM_STAMP_MAX_SIZE];

	docstore_key_prefix(key, DOCSTORE_KEY_DROPPED, database, 0);
	if (!lsm_batch_put(&batch, lsm_slice(key, sizeof(key)), lsm_slice(head, lsm_stamp_encode(head, &stamp))))
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	docstore_write_batch(&batch);
}

static bool
sweep(void *arg)
{
	ListCell *cell;
	List *gone;
	LsmError ignored;

	/* While the store is not up the compactor says why. */
	if (lsm_ready(docstore_attach(), &ignored) != LSM_OK)
		return false;
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	/*
	 * Who owns documents is asked first: a database that appears in between had
	 * none that count, and one whose row we do not see is gone for good.
	 */
	gone = databases_with_documents();
	if (gone != NIL)
		gone = list_difference_oid(gone, existing_databases());
	foreach (cell, gone)
	{
		Oid database = lfirst_oid(cell);

		ereport(LOG, (errmsg("docstore: dropping the documents of database %u, which is gone", database)));
		write_drop_record(database);
	}
	if (gone != NIL)
		docstore_wake_compactor();
	PopActiveSnapshot();
	CommitTransactionCommand();
	return false;
}

static void
launcher_exit(int code, Datum arg)
{
	docstore_workers_serve(NULL);
}

void
docstore_launcher_main(Datum arg)
{
	DocstoreTask sweeping = {
		.failed = "could not look for dropped databases", .run = sweep, .every_ms = SWEEP_MS};
	DocstoreTask starting = {
		.failed = "could not start workers", .run = docstore_start_workers, .arg = &starting, .every_ms = SWEEP_MS};

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("docstore launcher");
	before_shmem_exit(launcher_exit, (Datum) 0);
	docstore_workers_serve(MyLatch);

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		pgstat_report_activity(STATE_RUNNING, "looking for dropped databases");
		(void) docstore_task_run(&sweeping);
		/* Whoever woke us wants a worker, or one has ended. */
		if (starting.pause_ms == 0)
			docstore_task_hurry(&starting);
		(void) docstore_task_run(&starting);
		pgstat_report_activity(STATE_IDLE, NULL);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 docstore_task_due_in(&sweeping, docstore_task_due_in(&starting, SWEEP_MS)), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

void
docstore_launcher_register(void)
{
	BackgroundWorker worker = {0};

	strlcpy(worker.bgw_name, "docstore launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "docstore launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "docstore", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "docstore_launcher_main", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 10;
	RegisterBackgroundWorker(&worker);
}
