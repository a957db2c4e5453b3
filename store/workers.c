/*
 * workers.c - the list of databases with workers (workers.h).
 *
 * A view is made, say: its transaction wants an indexer after its commit.  An
 * indexer that would end for want of views first withdraws the wish, then looks
 * for views once more, so a wish that comes in between is either seen by that
 * look or stays.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
#include "utils/wait_event.h"

#include "store/shmem.h"
#include "store/workers.h"

static Latch *hurry; /* this process's, if it is a worker */

static DocstoreWorkers *
list(void)
{
	return &docstore_shared->workers;
}

void
docstore_workers_init(DocstoreWorkers *workers)
{
	ConditionVariableInit(&workers->progress);
	SpinLockInit(&workers->mutex);
	workers->look = true;
	for (int i = 0; i < DOCSTORE_MAX_WORKED; i++)
		for (int kind = 0; kind < DOCSTORE_WORKER_KINDS; kind++)
			InitSharedLatch(&workers->slots[i].workers[kind].hurry);
}

/* The slot of a database, a new one if make; -1 if there is none.  The mutex is held. */
static int
slot_of(Oid database, bool make)
{
	int free = -1;

	for (int i = 0; i < DOCSTORE_MAX_WORKED; i++)
	{
		if (list()->slots[i].database == database)
			return i;
		if (free < 0 && list()->slots[i].database == InvalidOid)
			free = i;
	}
	if (make && free >= 0)
		list()->slots[free].database = database;
	return make ? free : -1;
}

static bool
any_runs(int i)
{
	for (int kind = 0; kind < DOCSTORE_WORKER_KINDS; kind++)
		if (list()->slots[i].workers[kind].latch != NULL)
			return true;
	return false;
}

/* Frees a slot that says nothing any more.  The mutex is held. */
static void
tidy(int i)
{
	if (list()->slots[i].holds > 0 || any_runs(i))
		return;
	for (int kind = 0; kind < DOCSTORE_WORKER_KINDS; kind++)
		if (list()->slots[i].workers[kind].wanted)
			return;
	list()->slots[i].database = InvalidOid;
}

void
docstore_want_worker(DocstoreWorkerKind kind, Oid database)
{
	Latch *latch = NULL;
	int i;

	SpinLockAcquire(&list()->mutex);
	i = slot_of(database, true);
	if (i >= 0)
	{
		list()->slots[i].workers[kind].wanted = true;
		latch = list()->slots[i].workers[kind].latch;
		if (latch != NULL)
			SetLatch(&list()->slots[i].workers[kind].hurry);
	}
	else
		list()->look = true;
	if (latch == NULL)
		latch = list()->launcher;
	if (latch != NULL)
		SetLatch(latch);
	SpinLockRelease(&list()->mutex);
}

bool
docstore_hold_workers(Oid database, bool first)
{
	bool runs;
	int i;

	SpinLockAcquire(&list()->mutex);
	i = slot_of(database, first);
	runs = i >= 0 && any_runs(i);
	if (i >= 0 && first)
		list()->slots[i].holds++;
	for (int kind = 0; runs && kind < DOCSTORE_WORKER_KINDS; kind++)
		if (list()->slots[i].workers[kind].latch != NULL)
		{
			SetLatch(&list()->slots[i].workers[kind].hurry);
			SetLatch(list()->slots[i].workers[kind].latch);
		}
	SpinLockRelease(&list()->mutex);
	return !runs;
}

void
docstore_release_workers(Oid database)
{
	int i;

	SpinLockAcquire(&list()->mutex);
	i = slot_of(database, false);
	if (i >= 0 && list()->slots[i].holds > 0)
	{
		list()->slots[i].holds--;
		tidy(i);
	}
	if (list()->launcher != NULL)
		SetLatch(list()->launcher);
	SpinLockRelease(&list()->mutex);
}

void
docstore_wait_prepare(void)
{
	ConditionVariablePrepareToSleep(&list()->progress);
}

void
docstore_wait_for_worker(long ms)
{
	(void) ConditionVariableTimedSleep(&list()->progress, ms, PG_WAIT_EXTENSION);
}

void
docstore_wait_end(void)
{
	ConditionVariableCancelSleep();
}

void
docstore_worker_progress(void)
{
	ConditionVariableBroadcast(&list()->progress);
}

/* Likewise of any process; cheap if it waits for no lock. */
static bool
waits_for_me(int pid)
{
	List *pids = list_make1_int(pid);
	PGPROC *proc = BackendPidGetProc(pid);
	ListCell *lc;

	if (proc == NULL || (proc->wait_event_info & 0xFF000000) != PG_WAIT_LOCK)
		return false;
	foreach (lc, pids)
	{
		ArrayType *array = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(lfirst_int(lc))));
		const int32 *blockers = (const int32 *) ARR_DATA_PTR(array);

		for (int i = 0; i < ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)); i++)
		{
			if (blockers[i] == MyProcPid)
				return true;
			pids = list_append_unique_int(pids, blockers[i]);
		}
	}
	return false;
}

/* The process of this database's worker; 0 if it has none. */
static int
worker_pid(DocstoreWorkerKind kind)
{
	int pid = 0;
	int i;

	SpinLockAcquire(&list()->mutex);
	i = slot_of(MyDatabaseId, false);
	if (i >= 0 && list()->slots[i].workers[kind].latch != NULL)
		pid = list()->slots[i].workers[kind].latch->owner_pid;
	SpinLockRelease(&list()->mutex);
	return pid;
}

bool
docstore_worker_runs(DocstoreWorkerKind kind)
{
	return worker_pid(kind) != 0;
}

bool
docstore_worker_waits_for_me(DocstoreWorkerKind kind)
{
	int pid = worker_pid(kind);

	return pid != 0 && waits_for_me(pid);
}

void
docstore_workers_serve(Latch *latch)
{
	SpinLockAcquire(&list()->mutex);
	list()->launcher = latch;
	SpinLockRelease(&list()->mutex);
}

bool
docstore_workers_look(void)
{
	bool look;

	SpinLockAcquire(&list()->mutex);
	look = list()->look;
	list()->look = false;
	SpinLockRelease(&list()->mutex);
	return look;
}

bool
docstore_ask_workers(Oid database)
{
	int i;

	SpinLockAcquire(&list()->mutex);
	i = slot_of(database, true);
	for (int kind = 0; i >= 0 && kind < DOCSTORE_WORKER_KINDS; kind++)
		list()->slots[i].workers[kind].wanted = true;
	SpinLockRelease(&list()->mutex);
	return i >= 0;
}

int
docstore_workers_wanted(DocstoreWorkerKind kind, Oid databases[DOCSTORE_MAX_WORKED])
{
	int n = 0;

	SpinLockAcquire(&list()->mutex);
	for (int i = 0; i < DOCSTORE_MAX_WORKED; i++)
		if (list()->slots[i].database != InvalidOid && list()->slots[i].workers[kind].wanted &&
			list()->slots[i].holds == 0 && list()->slots[i].workers[kind].latch == NULL)
			databases[n++] = list()->slots[i].database;
	SpinLockRelease(&list()->mutex);
	return n;
}

void
docstore_forget_workers(Oid database)
{
	int i;

	SpinLockAcquire(&list()->mutex);
	i = slot_of(database, false);
	if (i >= 0)
	{
		for (int kind = 0; kind < DOCSTORE_WORKER_KINDS; kind++)
			list()->slots[i].workers[kind].wanted = false;
		tidy(i);
	}
	SpinLockRelease(&list()->mutex);
}

bool
docstore_worker_begin(DocstoreWorkerKind kind, Oid database, Latch *latch)
{
	bool may;
	int i;

	SpinLockAcquire(&list()->mutex);
	i = slot_of(database, true);
	may = i >= 0 && list()->slots[i].holds == 0 && list()->slots[i].workers[kind].latch == NULL;
	if (may)
		list()->slots[i].workers[kind].latch = latch;
	SpinLockRelease(&list()->mutex);
	if (may)
	{
		hurry = &list()->slots[i].workers[kind].hurry;
		OwnLatch(hurry);
	}
	return may;
}

void
docstore_worker_end(DocstoreWorkerKind kind, Oid database)
{
	int i;

	DisownLatch(hurry);
	hurry = NULL;
	SpinLockAcquire(&list()->mutex);
	i = slot_of(database, false);
	if (i >= 0)
	{
		list()->slots[i].workers[kind].latch = NULL;
		tidy(i);
	}
	if (list()->launcher != NULL)
		SetLatch(list()->launcher);
	SpinLockRelease(&list()->mutex);
}

void
docstore_worker_pause(long ms)
{
	(void) WaitLatch(hurry, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
}

void
docstore_worker_reset(void)
{
	ResetLatch(hurry);
}

void
docstore_unwant_worker(DocstoreWorkerKind kind, Oid database)
{
	int i;

	SpinLockAcquire(&list()->mutex);
	i = slot_of(database, false);
	if (i >= 0)
		list()->slots[i].workers[kind].wanted = false;
	SpinLockRelease(&list()->mutex);
}

bool
docstore_worker_held(Oid database)
{
	bool held;
	int i;

	SpinLockAcquire(&list()->mutex);
	i = slot_of(database, false);
	held = i >= 0 && list()->slots[i].holds > 0;
	SpinLockRelease(&list()->mutex);
	return held;
}
