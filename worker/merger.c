/*
 * merger.c - processes that compact beside the compactor.  See merger.h.
 *
 * They do the same work (lsm_work): each takes a merge that has nothing in common
 * with those that run (engine/job.h), or flushes when a memtable waits.  What
 * else the store needs, and bringing it up, is the compactor's (compactor.c).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"
#include "utils/guc.h"

#include "engine/env_pg.h"
#include "store/purge.h"
#include "store/shmem.h"
#include "store/store.h"
#include "worker/merger.h"
#include "worker/task.h"

#define IDLE_MS 1000   /* between looks for work that nobody announced */
#define PURGES_MS 2000 /* between looks for purge records */

static bool
asked_to_stop(void *arg)
{
	lsm_env_pg_absorb();
	/* An orphan must not keep the next server from starting for as long as a compaction takes. */
	return ShutdownRequestPending || !PostmasterIsAlive();
}

static void
merger_exit(int code, Datum arg)
{
	lsm_env_pg_remove_worker(MyLatch);
}

/*
 * Not while the compactor brings the store up, nor while there is none: without the slot, what is written would look
 * safer than it is.
 */
static bool
is_attended(void)
{
	LsmError err;

	return pg_atomic_read_u32(&docstore_shared->attended) != 0 && lsm_ready(docstore_attach(), &err) == LSM_OK;
}

static bool
work(void *arg)
{
	bool did_work;
	LsmError err;

	if (!is_attended())
		return false;
	docstore_check(lsm_work(docstore_attach(), &did_work, &err), &err);
	return did_work;
}

/* What merges and flushes may leave out of the change feed. */
static bool
watch_purges(void *arg)
{
	if (is_attended())
		docstore_find_purges();
	return false;
}

void
docstore_merger_main(Datum arg)
{
	static DocstoreTask working = {.failed = "background work failed", .run = work, .every_ms = IDLE_MS};
	static DocstoreTask purges = {
		.failed = "could not look for purges of the change feed", .run = watch_purges, .every_ms = PURGES_MS};
	bool more = true;
	bool woken = true;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGINT, SIG_IGN); /* there is no query to be cancelled */
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("docstore merger");
	docstore_env();
	before_shmem_exit(merger_exit, (Datum) 0);
	docstore_set_should_stop(asked_to_stop);
	docstore_attach();
	lsm_env_pg_add_worker(MyLatch);

	while (!ShutdownRequestPending)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			docstore_task_hurry(&working);
		}
		pgstat_report_activity(STATE_RUNNING, "compaction");
		(void) docstore_task_run(&purges);
		/* whoever woke us has something to do, but does not end a pause */
		if (woken && working.pause_ms == 0)
			docstore_task_hurry(&working);
		more = docstore_task_run(&working);
		if (more)
			continue;
		pgstat_report_activity(STATE_IDLE, NULL);
		woken = (WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						   docstore_task_due_in(&working, IDLE_MS), PG_WAIT_EXTENSION) &
				 WL_LATCH_SET) != 0;
		ResetLatch(MyLatch);
	}
	proc_exit(1);
}

void
docstore_mergers_register(void)
{
	for (int i = 1; i < docstore_max_compactions; i++)
	{
		BackgroundWorker worker = {0};

		strlcpy(worker.bgw_name, "docstore merger", BGW_MAXLEN);
		strlcpy(worker.bgw_type, "docstore merger", BGW_MAXLEN);
		strlcpy(worker.bgw_library_name, "docstore", BGW_MAXLEN);
		strlcpy(worker.bgw_function_name, "docstore_merger_main", BGW_MAXLEN);
		worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
		worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
		worker.bgw_restart_time = 2;
		RegisterBackgroundWorker(&worker);
	}
}
