/*
 * store.c - this backend's handle on the store, its errors, its keys.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#include "engine/env_pg.h"
#include "store/compat.h"
#include "store/journal_wal.h"
#include "store/shmem.h"
#include "store/stop.h"
#include "store/store.h"
#include "store/txn.h"

#define RECOVERY_POLL_MS 20
#define COMPACTOR_MISSING_MS 30000 /* longer than it takes to start again */

static LsmDb *db = NULL;

static bool (*stop_check)(void *arg) = NULL;

static bool
should_stop(void *arg)
{
	lsm_env_pg_absorb();
	if (stop_check != NULL)
		return stop_check(arg);
	return InterruptPending && (ProcDiePending || QueryCancelPending);
}

void
docstore_set_should_stop(bool (*check)(void *arg))
{
	stop_check = check;
}

void
docstore_detach(void)
{
	LsmDb *old = db;

	db = NULL;
	lsm_detach(old);
}

static void
exit_callback(int code, Datum arg)
{
	docstore_detach();
}

/* A pin is held within one call of the engine only; after an error nobody is inside any more. */
static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT)
		docstore_stop("commit");
	if (event == XACT_EVENT_COMMIT)
		docstore_stop("commit done");
	if (db != NULL && (event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT))
		lsm_unpin_all(db);
}

static void
subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (db != NULL && event == SUBXACT_EVENT_ABORT_SUB)
		lsm_unpin_all(db);
}

static void
attach(void)
{
	static bool registered = false;
	LsmAttach how = {0};
	LsmError err;

	how.env = docstore_env();
	how.shared = docstore_lsm_shared();
	how.journal = docstore_journal();
	how.txn = &docstore_txn_ops;
	how.handle = docstore_backend_number();
	how.should_stop = should_stop;
	docstore_check(lsm_attach(&how, &db, &err), &err);
	if (registered)
		return;
	registered = true;
	/* Not before_shmem_exit: the last transaction's scans are closed by callbacks that run then. */
	on_shmem_exit(exit_callback, (Datum) 0);
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}

LsmDb *
docstore_attach(void)
{
	docstore_require_preload();
	if (db == NULL)
		attach();
	return db;
}

/* Why the store may never become ready, as far as can be told while it is not. */
static void
check_recovery_can_come(TimestampTz *missing_since)
{
	TimestampTz now = GetCurrentTimestamp();
	char trouble[sizeof(docstore_shared->trouble)];

	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("collections cannot be read while the server is in recovery"),
				 errhint("Read them on the primary server.")));
	if (docstore_get_trouble(trouble, sizeof(trouble)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("docstore cannot recover its store: %s", trouble),
				 errhint("The server's log tells more.  If files are damaged or missing, docstore.repair() makes use of the others.")));
	if (pg_atomic_read_u32(&docstore_shared->compactor_pid) != 0)
		*missing_since = 0;
	else if (*missing_since == 0)
		*missing_since = now;
	else if (TimestampDifferenceExceeds(*missing_since, now, COMPACTOR_MISSING_MS))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("docstore cannot recover its store: its compactor does not run"),
				 errhint("The server's log tells more.  max_worker_processes must leave room for docstore's processes.")));
}

LsmDb *
docstore_db(void)
{
	TimestampTz missing_since = 0;
	LsmError err;
	LsmStatus status;

	docstore_attach();
	for (;;)
	{
		status = lsm_ready(db, &err);
		if (likely(status == LSM_OK))
			return db;
		if (status != LSM_BUSY)
			docstore_throw(&err);
		check_recovery_can_come(&missing_since);
		/* The compactor reads WAL into the memtable; it takes seconds at the most. */
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, RECOVERY_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static int
sqlstate_of(LsmStatus status)
{
	switch (status)
	{
		case LSM_CORRUPT:
		case LSM_GONE:
			return ERRCODE_DATA_CORRUPTED;
		case LSM_NO_SPACE:
			return ERRCODE_DISK_FULL;
		case LSM_IO:
		case LSM_NOT_FOUND:
		case LSM_POISONED:
			return ERRCODE_IO_ERROR;
		case LSM_NO_MEMORY:
			return ERRCODE_OUT_OF_MEMORY;
		case LSM_INVALID:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case LSM_BUSY:
			return ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
		case LSM_INTERRUPTED:
			return ERRCODE_QUERY_CANCELED;
		case LSM_OK:
			break;
	}
	return ERRCODE_INTERNAL_ERROR;
}

void
docstore_throw(const LsmError *err)
{
	LsmError copy = *err;
	bool up = db != NULL && lsm_ready(db, NULL) == LSM_OK;

	if (db != NULL)
		lsm_unpin_all(db);
	if (copy.status == LSM_INTERRUPTED)
		CHECK_FOR_INTERRUPTS();
	errno = copy.os_errno;
	ereport(ERROR,
			(errcode(sqlstate_of(copy.status)),
			 copy.os_errno != 0 ? errmsg("docstore: %s: %m", copy.text) : errmsg("docstore: %s", copy.text),
			 copy.file[0] == '\0' ? 0 : copy.status == LSM_CORRUPT ? errdetail("File \"%s/%s\", offset %llu.", LSM_PG_DIRECTORY, copy.file, (unsigned long long) copy.offset)
																   : errdetail("File \"%s/%s\".", LSM_PG_DIRECTORY, copy.file),
			 copy.status == LSM_CORRUPT && up ? errhint("The undamaged rest stays readable; docstore.verify() lists all damage.") : 0,
			 copy.status == LSM_CORRUPT && !up ? errhint("The store does not come up.  Restore a base backup, or use what is not damaged with docstore.repair(); see docs/operations.md.") : 0,
			 copy.status == LSM_GONE ? errhint("Copy the missing WAL into pg_wal if it is archived, or restore a base backup.  Without either, docstore.ignore_missing_wal brings back what is in tables; see docs/operations.md.") : 0,
			 copy.status == LSM_NO_SPACE ? errhint("Free disk space; the store goes on by itself.") : 0));
}

void
docstore_write_batch(LsmBatch *batch)
{
	LsmStatus status;
	LsmError err;

	while ((status = lsm_write(docstore_db(), batch, false, NULL, &err)) == LSM_BUSY)
	{
		status = lsm_make_room(db, batch->memtable_cost, &err);
		if (status != LSM_OK)
			break;
	}
	lsm_batch_free(batch);
	docstore_check(status, &err);
}

/* ---- keys ---- */

static void
put_big_endian(char *dst, uint64 value, int bytes)
{
	for (int i = bytes - 1; i >= 0; i--)
	{
		dst[i] = (char) (value & 0xff);
		value >>= 8;
	}
}

void
docstore_key_prefix(char *dst, char kind, Oid database, uint64 storage)
{
	dst[0] = kind;
	put_big_endian(dst + 1, database, 4);
	put_big_endian(dst + 5, storage, 8);
}

void
docstore_key_prefix_end(char *dst, char kind, Oid database, uint64 storage)
{
	/* Storage ids start at 1 and never reach the last one. */
	docstore_key_prefix(dst, kind, database, storage + 1);
}

void
docstore_wake_compactor(void)
{
	LsmEnv *env = docstore_env();

	env->ops->wake(env, LSM_WAIT_WORK);
}
