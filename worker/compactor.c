/*
 * compactor.c - the process that keeps the store in shape.  See compactor.h.
 *
 * It starts when the server has recovered, acquires the slot, rebuilds the
 * memtable from WAL (lsm_recover), and then does one piece of work after another.
 * Between them it looks at its surroundings: settings, how much WAL the
 * memtables hold back, how old they are, drop records, old transaction ids.
 *
 * It ends with exit code 1 when it is told to: only then does the postmaster
 * start it again (and when the server shuts down it does not ask).
 *
 * An error of a piece of work is kept in the store (docstore.status shows it)
 * and retried with growing pauses; the log tells of it once and not at every try.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "replication/slot.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "storage/procsignal.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "engine/env_pg.h"
#include "store/dropped.h"
#include "store/journal_wal.h"
#include "store/shmem.h"
#include "store/store.h"
#include "worker/compactor.h"

#define IDLE_MS 1000
#define DROPS_MS 2000          /* between looks for drop records */
#define LONGEST_PAUSE_MS 30000 /* between tries of what keeps failing */
#define SETTLE_AGE 10000000    /* transaction ids: versions older than this are settled */

typedef struct Watch
{
	TimestampTz drops_at;                      /* last look for drop records */
	TimestampTz empty_at;                      /* when the active memtable was last seen to be new */
	uint64 seen_position;                      /* journal position then */
	uint64 settled_at;                         /* next transaction id at the last settling */
	int pause_ms;                              /* 0: the last piece of work went well */
	char told[sizeof(((LsmError *) 0)->text)]; /* what the log was told last */
} Watch;

static void
compactor_exit(int code, Datum arg)
{
	lsm_env_pg_set_worker(NULL);
	pg_atomic_write_u32(&docstore_shared->compactor_pid, 0);
}

/* Tells the log once of what failed, and says how long to pause. */
static void
note_failure(Watch *watch, const LsmError *err)
{
	watch->pause_ms = watch->pause_ms == 0 ? 100 : Min(watch->pause_ms * 2, LONGEST_PAUSE_MS);
	if (strcmp(watch->told, err->text) == 0)
		return;
	strlcpy(watch->told, err->text, sizeof(watch->told));
	errno = err->os_errno;
	ereport(LOG,
			(err->os_errno != 0 ? errmsg("docstore: background work failed: %s: %m", err->text)
								: errmsg("docstore: background work failed: %s", err->text),
			 err->file[0] != '\0' ? errdetail("File \"%s/%s\", offset %llu.", LSM_PG_DIRECTORY, err->file, (unsigned long long) err->offset) : 0,
			 errhint("It is tried again; docstore.status shows the last error.")));
}

static void
note_success(Watch *watch)
{
	if (watch->pause_ms > 0)
		ereport(LOG, (errmsg("docstore: background work goes on")));
	watch->pause_ms = 0;
	watch->told[0] = '\0';
}

/* Rotates a memtable that holds back too much WAL or is too old. */
static LsmStatus
watch_memtable(LsmDb *db, Watch *watch, LsmError *err)
{
	XLogRecPtr now = GetXLogInsertRecPtr();
	uint64 most = (uint64) docstore_max_wal_kb * 1024;
	LsmStats stats;
	LsmStatus status = lsm_stats(db, &stats, err);

	if (status != LSM_OK)
		return status;
	docstore_slot_advance(stats.journal_position);
	if (stats.journal_position != watch->seen_position)
	{
		watch->seen_position = stats.journal_position;
		watch->empty_at = GetCurrentTimestamp();
	}
	if (now > most && stats.journal_position < now - most)
		return lsm_rotate_if_older(db, now - most, err);
	if (docstore_flush_delay_ms > 0 && stats.journal_position < now &&
		TimestampDifferenceExceeds(watch->empty_at, GetCurrentTimestamp(), docstore_flush_delay_ms))
	{
		watch->empty_at = GetCurrentTimestamp();
		return lsm_rotate_if_older(db, now, err);
	}
	return LSM_OK;
}

/* Freezes old versions long before the commit log forgets their transactions. */
static LsmStatus
watch_ids(LsmDb *db, Watch *watch, LsmError *err)
{
	uint64 next = U64FromFullTransactionId(ReadNextFullTransactionId());
	LsmStatus status;

	if (next < watch->settled_at + SETTLE_AGE)
		return LSM_OK;
	status = lsm_settle(db, next - SETTLE_AGE / 2, NULL, err);
	if (status == LSM_OK)
		watch->settled_at = next;
	return status;
}

/* Drop records: needs a snapshot of nothing, but throws, so it runs in a transaction of its own. */
static void
watch_drops(Watch *watch)
{
	MemoryContext context = CurrentMemoryContext;
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(watch->drops_at, now, DROPS_MS))
		return;
	watch->drops_at = now;
	PG_TRY();
	{
		if (docstore_find_drops() > 0)
			docstore_finish_drops();
	}
	PG_CATCH();
	{
		/* Being asked to end passes on. */
		if (ProcDiePending || ShutdownRequestPending)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		FlushErrorState();
		lsm_unpin_all(docstore_attach());
	}
	PG_END_TRY();
}

static bool
asked_to_stop(void *arg)
{
	return ShutdownRequestPending || ProcDiePending;
}

/*
 * Without a slot nothing would keep the WAL that the memtables are rebuilt from.
 * Says so once and stays, idle, so that reads fail with the reason instead of
 * waiting for a recovery that cannot come.
 */
static void
refuse_settings(void)
{
	if (wal_level >= WAL_LEVEL_REPLICA && max_replication_slots > 0)
		return;
	pg_atomic_write_u32(&docstore_shared->refused, 1);
	ereport(LOG, (errmsg("docstore: collections cannot be used: a replication slot needs wal_level \"replica\" or higher and max_replication_slots above 0"),
				  errhint("Change the settings and restart the server.")));
	while (!ShutdownRequestPending)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, 0, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	proc_exit(1);
}

static void
recover(LsmDb *db)
{
	TimestampTz start = GetCurrentTimestamp();
	LsmError err;
	LsmStatus status;
	LsmStats stats;

	/* A compactor that restarted finds the store as its predecessor left it. */
	status = lsm_ready(db, &err);
	if (status == LSM_OK)
		return;
	if (status == LSM_BUSY)
		status = lsm_recover(db, &err);
	if (status == LSM_INTERRUPTED)
		proc_exit(1);
	if (status != LSM_OK)
	{
		errno = err.os_errno;
		ereport(FATAL,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 err.os_errno != 0 ? errmsg("docstore: could not recover the store: %s: %m", err.text)
								   : errmsg("docstore: could not recover the store: %s", err.text),
				 err.file[0] != '\0' ? errdetail("File \"%s/%s\", offset %llu.", LSM_PG_DIRECTORY, err.file, (unsigned long long) err.offset) : 0,
				 errhint("Collections cannot be read until this is mended and the server restarted; ordinary tables can.")));
	}
	if (lsm_stats(db, &stats, &err) == LSM_OK)
		ereport(LOG, (errmsg("docstore: store recovered in %ld ms, last sequence %llu",
							 TimestampDifferenceMilliseconds(start, GetCurrentTimestamp()),
							 (unsigned long long) stats.last_seq)));
}

void
docstore_compactor_main(Datum arg)
{
	Watch watch = {0};
	LsmDb *db;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("docstore compactor");

	refuse_settings();
	db = docstore_attach();
	before_shmem_exit(compactor_exit, (Datum) 0);
	lsm_env_pg_make_directory();
	docstore_slot_acquire();
	docstore_set_should_stop(asked_to_stop);
	recover(db);
	lsm_env_pg_set_worker(MyLatch);
	pg_atomic_write_u32(&docstore_shared->compactor_pid, (uint32) MyProcPid);
	lsm_set_rate(db, (uint64) docstore_background_rate_kb * 1024);
	watch.empty_at = GetCurrentTimestamp();

	while (!ShutdownRequestPending)
	{
		LsmError err;
		LsmStatus status;
		bool did_work = false;

		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			lsm_set_rate(db, (uint64) docstore_background_rate_kb * 1024);
		}
		if (ProcSignalBarrierPending)
			ProcessProcSignalBarrier();

		pgstat_report_activity(STATE_RUNNING, "flush and compaction");
		status = lsm_work(db, &did_work, &err);
		if (status == LSM_OK)
			status = watch_memtable(db, &watch, &err);
		if (status == LSM_OK)
			status = watch_ids(db, &watch, &err);
		if (status == LSM_INTERRUPTED)
			continue;
		if (status != LSM_OK)
			note_failure(&watch, &err);
		else
		{
			note_success(&watch);
			watch_drops(&watch);
		}
		if (did_work && status == LSM_OK)
			continue;

		pgstat_report_activity(STATE_IDLE, NULL);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 watch.pause_ms > 0 ? watch.pause_ms : IDLE_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	proc_exit(1);
}

void
docstore_compactor_register(void)
{
	BackgroundWorker worker = {0};

	strlcpy(worker.bgw_name, "docstore compactor", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "docstore compactor", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "docstore", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "docstore_compactor_main", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 2;
	RegisterBackgroundWorker(&worker);
}
