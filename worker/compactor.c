/*
 * compactor.c - the process that keeps the store in shape.  See compactor.h.
 *
 * It starts when the server has recovered, acquires the slot, rebuilds the
 * memtable from WAL (lsm_recover), and then does one piece of work after another.
 * Between them it looks at its surroundings: settings, how much WAL the
 * memtables hold back, how old they are, drop records, old transaction ids.
 *
 * Each of these is a task (task.h), so that none that fails keeps the others
 * waiting; a recovery that failed is tried again, too.
 *
 * It ends with exit code 1 when it is told to: only then does the postmaster
 * start it again (and when the server shuts down it does not ask).
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "replication/slot.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "engine/env_pg.h"
#include "store/backup.h"
#include "store/dropped.h"
#include "store/purge.h"
#include "store/shmem.h"
#include "store/slot.h"
#include "store/store.h"
#include "store/txn.h"
#include "worker/compactor.h"
#include "worker/repair.h"
#include "worker/task.h"

#define IDLE_MS 1000      /* between looks for work that nobody announced */
#define CHECKPOINT_MS 100 /* between looks at checkpoints, which wait for us */
#define LOOK_MS 100       /* between looks at the memtables */
#define IDS_MS 1000       /* between looks at transaction ids */
#define DROPS_MS 2000     /* between looks for drop and purge records */

/*
 * Versions older than this are settled.  VACUUM may truncate the commit log no
 * further, and keeps what died in system catalogs since; so it is a compromise
 * between their size and rewriting files that compaction would rewrite anyway.
 */
#define SETTLE_IDS 1000000
#define SETTLE_MS 3600000

#define SEGMENT ((uint64) 16 * 1024 * 1024)

/* What the tasks remember from one run to the next. */
static struct
{
	bool ready;             /* the store is recovered */
	bool flush_failed;      /* the last piece of work was a flush and failed */
	uint64 position;        /* the journal's, at the last look */
	TimestampTz filled_at;  /* when the memtables were last seen empty, or flushed */
	TimestampTz settled_at; /* when old ids were settled */
} watch;

/* Not at each of the engine's questions. */
static void
look_at_checkpoints(void)
{
	static TimestampTz last = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(last, now, CHECKPOINT_MS / 2))
		return;
	last = now;
	docstore_checkpoints_look(docstore_attach());
}

static void
compactor_exit(int code, Datum arg)
{
	docstore_checkpoints_end();
	lsm_env_pg_remove_worker(MyLatch);
	pg_atomic_write_u32(&docstore_shared->attended, 0);
	pg_atomic_write_u32(&docstore_shared->compactor_pid, 0);
}

static bool
asked_to_stop(void *arg)
{
	lsm_env_pg_absorb();
	look_at_checkpoints();
	/* An orphan must not keep the next server from starting for as long as a compaction takes. */
	return ShutdownRequestPending || !PostmasterIsAlive();
}

/* ---- bringing the store up ---- */

static void
recover(void)
{
	TimestampTz start = GetCurrentTimestamp();
	LsmDb *db = docstore_attach();
	LsmError err;
	LsmStatus status;
	LsmStats stats;

	/* A compactor that was started again finds the store as its predecessor left it. */
	status = lsm_ready(db, &err);
	if (status != LSM_OK)
	{
		status = lsm_recover(db, &err);
		if (status != LSM_OK)
		{
			docstore_detach();
			docstore_throw(&err);
		}
		memset(&stats, 0, sizeof(stats));
		(void) lsm_stats(db, &stats, &err);
		if (stats.went_back)
			ereport(LOG, (errmsg("docstore: the store is a copy made while it was in use; recovered from an earlier state of its files")));
		ereport(LOG, (errmsg("docstore: store recovered in %ld ms, last sequence %llu",
							 TimestampDifferenceMilliseconds(start, GetCurrentTimestamp()),
							 (unsigned long long) stats.last_seq)));
	}
	lsm_set_rate(db, (uint64_t) docstore_background_rate_kb * 1024);
	lsm_env_pg_add_worker(MyLatch);
	watch.filled_at = watch.settled_at = GetCurrentTimestamp();
}

static void
start_up(void)
{
	struct stat st;

	/* Without a slot nothing would keep the WAL that the memtables are rebuilt from. */
	if (wal_level < WAL_LEVEL_REPLICA || max_replication_slots == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("its replication slot needs wal_level \"replica\" or higher and max_replication_slots above 0"),
				 errhint("Change the settings and restart the server.")));
	lsm_env_pg_make_directory();
	if (docstore_repair_asked())
	{
		docstore_slot_acquire();
		docstore_repair_run(asked_to_stop);
	}
	if (stat(LSM_PG_DIRECTORY "/CURRENT", &st) != 0 && (docstore_shared->redone || docstore_slot_exists()))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the files of the store are missing"),
				 errdetail("There is no file \"%s/CURRENT\", but WAL or a replication slot says that there was a store.", LSM_PG_DIRECTORY),
				 errhint("Restore directory \"%s\", or use docstore.repair() if its tables are there.  To begin with an empty store, drop replication slot \"%s\" and restart the server.",
						 LSM_PG_DIRECTORY, DOCSTORE_SLOT)));
	docstore_slot_acquire();
	recover();
	docstore_slot_persist();
	watch.ready = true;
	pg_atomic_write_u32(&docstore_shared->attended, 1);
	docstore_set_trouble("");
}

/* ---- the surroundings ---- */

/* How much WAL may be held back: less than what makes the server take the slot away. */
static uint64
most_wal(void)
{
	uint64 most = (uint64) docstore_max_wal_kb * 1024;

	if (max_slot_wal_keep_size_mb >= 0)
		most = Min(most, (uint64) max_slot_wal_keep_size_mb * 1024 * 1024 / 2);
	return most;
}

/* Rotates a memtable that holds back too much WAL or is too old; moves the slot behind what was flushed. */
static bool
watch_memtables(void *arg)
{
	LsmDb *db = docstore_attach();
	TimestampTz now = GetCurrentTimestamp();
	XLogRecPtr end = GetXLogInsertRecPtr();
	XLogRecPtr rotate = 0; /* memtables that begin before it */
	uint64 most = most_wal();
	LsmMemtables state;
	LsmError err;

	docstore_check(lsm_memtables(db, &state, &err), &err);
	docstore_slot_advance(state.journal_position);
	if (state.empty || state.journal_position != watch.position)
		watch.filled_at = now;
	watch.position = state.journal_position;

	if (docstore_slot_is_ahead(state.journal_position))
		rotate = end;
	else if (state.journal_position + most < end)
		rotate = end - most;
	else if (state.empty && state.journal_position + SEGMENT < end)
		rotate = end;
	else if (!state.empty && docstore_flush_delay_ms > 0 &&
			 TimestampDifferenceExceeds(watch.filled_at, now, docstore_flush_delay_ms))
	{
		rotate = end;
		watch.filled_at = now;
	}
	if (rotate > 0)
		docstore_check(lsm_rotate_if_older(db, rotate, &err), &err);
	return false;
}

/* Freezes old versions, and lets go of the commit log before them. */
static bool
watch_ids(void *arg)
{
	TimestampTz now = GetCurrentTimestamp();
	uint64 settled = docstore_slot_xid();
	uint64 horizon = docstore_horizon();
	LsmStatus status;
	LsmError err;

	if (horizon <= settled)
		return false;
	if (horizon - settled < SETTLE_IDS &&
		(docstore_flush_delay_ms == 0 || !TimestampDifferenceExceeds(watch.settled_at, now, SETTLE_MS)))
		return false;
	status = lsm_settle(docstore_attach(), horizon, NULL, &err);
	if (status == LSM_BUSY)
		return false; /* later: memtables must move on meanwhile */
	docstore_check(status, &err);
	docstore_slot_advance_xid(horizon);
	watch.settled_at = now;
	return false;
}

/* Gives the space of dropped collections and databases back. */
static bool
watch_drops(void *arg)
{
	if (docstore_find_drops() > 0)
		docstore_finish_drops();
	return false;
}

/* ... and that of changes that every consumer has passed. */
static bool
watch_purges(void *arg)
{
	docstore_find_purges();
	docstore_finish_purges();
	return false;
}

/* ---- work ---- */

static bool
work(void *arg)
{
	LsmMemtables state;
	LsmError err;
	LsmDb *db;
	bool did_work;

	if (!watch.ready)
		start_up();
	db = docstore_attach();
	docstore_check(lsm_memtables(db, &state, &err), &err);
	watch.flush_failed = state.waiting > 0; /* unless it goes well */
	docstore_check(lsm_work(db, &did_work, &err), &err);
	watch.flush_failed = false;
	return did_work;
}

/* Until the store is up others wait for it: tell them what is wrong.  Afterwards the engine keeps what went wrong. */
static void
note_work(void *arg, ErrorData *edata)
{
	if (edata != NULL && !watch.ready)
		docstore_set_trouble(edata->message);
}

/* For docstore.status. */
static void
note_watcher(void *arg, ErrorData *edata)
{
	docstore_set_trouble(edata != NULL ? edata->message : "");
}

/* A compaction that fails must not keep memtables from being flushed. */
static bool
must_flush(void)
{
	LsmMemtables state;
	LsmError err;

	return !watch.flush_failed && lsm_memtables(docstore_attach(), &state, &err) == LSM_OK && state.waiting > 0;
}

static DocstoreTask working = {
	.failed = "background work failed", .run = work, .note = note_work, .every_ms = IDLE_MS};
static DocstoreTask watchers[] = {
	{.failed = "could not move memtables on", .run = watch_memtables, .note = note_watcher, .every_ms = LOOK_MS},
	{.failed = "could not settle old transaction ids", .run = watch_ids, .note = note_watcher, .every_ms = IDS_MS},
	{.failed = "could not give back space", .run = watch_drops, .note = note_watcher, .every_ms = DROPS_MS},
	{.failed = "could not purge the change feed", .run = watch_purges, .note = note_watcher, .every_ms = DROPS_MS},
};

static void
reload(void)
{
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	if (watch.ready)
		lsm_set_rate(docstore_attach(), (uint64_t) docstore_background_rate_kb * 1024);
	docstore_task_hurry(&working);
}

void
docstore_compactor_main(Datum arg)
{
	bool more = true;
	bool woken = true;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGINT, SIG_IGN); /* there is no query to be cancelled */
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("docstore compactor");
	docstore_env();
	before_shmem_exit(compactor_exit, (Datum) 0);
	pg_atomic_write_u32(&docstore_shared->compactor_pid, (uint32) MyProcPid);
	docstore_set_should_stop(asked_to_stop);
	docstore_attach();
	docstore_checkpoints_begin();

	while (!ShutdownRequestPending)
	{
		CHECK_FOR_INTERRUPTS();
		look_at_checkpoints();
		if (ConfigReloadPending)
			reload();
		pgstat_report_activity(STATE_RUNNING, watch.ready ? "flush and compaction" : "recovery of the store");
		if (!watch.ready && docstore_repair_asked())
			docstore_task_hurry(&working);
		/* whoever woke us has something to do, but does not end a pause */
		if (woken && working.pause_ms == 0)
			docstore_task_hurry(&working);
		if (working.pause_ms > 0 && watch.ready && must_flush())
			more = docstore_task_run_early(&working);
		else
			more = docstore_task_run(&working);
		for (int i = 0; watch.ready && i < lengthof(watchers) && !ShutdownRequestPending; i++)
			(void) docstore_task_run(&watchers[i]);
		if (more)
			continue;
		pgstat_report_activity(STATE_IDLE, NULL);
		woken = (WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						   docstore_task_due_in(&working, CHECKPOINT_MS), PG_WAIT_EXTENSION) &
				 WL_LATCH_SET) != 0;
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
