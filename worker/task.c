/*
 * task.c - a piece of background work that is done again and again.  See task.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "worker/task.h"

#define FIRST_PAUSE_MS 100
#define LONGEST_PAUSE_MS 30000

static void
note_failure(DocstoreTask *task, ErrorData *edata)
{
	task->pause_ms = task->pause_ms == 0 ? FIRST_PAUSE_MS : Min(task->pause_ms * 2, LONGEST_PAUSE_MS);
	task->due_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), task->pause_ms);
	if (task->note != NULL)
		task->note(task->arg, edata);
	if (strncmp(task->told, edata->message, sizeof(task->told) - 1) == 0)
		return;
	strlcpy(task->told, edata->message, sizeof(task->told));
	ereport(LOG,
			(errcode(edata->sqlerrcode),
			 errmsg("docstore: %s: %s", task->failed, edata->message),
			 edata->detail != NULL ? errdetail_internal("%s", edata->detail) : 0,
			 edata->hint != NULL ? errhint("%s", edata->hint) : errhint("It is tried again, and said once.")));
}

static void
note_success(DocstoreTask *task, bool more)
{
	if (task->pause_ms > 0)
	{
		ereport(LOG, (errmsg("docstore: background work goes on after \"%s\"", task->told)));
		if (task->note != NULL)
			task->note(task->arg, NULL);
	}
	task->pause_ms = 0;
	task->told[0] = '\0';
	task->due_at = more ? 0 : TimestampTzPlusMilliseconds(GetCurrentTimestamp(), task->every_ms);
}

static bool
run(DocstoreTask *task, bool early)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "docstore task", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);
	volatile bool more = false;

	PG_TRY();
	{
		more = task->run(task->arg);
		if (!early)
			note_success(task, more);
	}
	PG_CATCH();
	{
		ErrorData *edata;

		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		LWLockReleaseAll(); /* without a transaction nobody else does */
		ConditionVariableCancelSleep();
		pgstat_report_wait_end();
		RESUME_INTERRUPTS();
		/* Being told to end is not a failure. */
		if (!ShutdownRequestPending)
			note_failure(task, edata);
		more = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(before);
	MemoryContextDelete(context);
	return more;
}

bool
docstore_task_run(DocstoreTask *task)
{
	return GetCurrentTimestamp() >= task->due_at ? run(task, false) : false;
}

bool
docstore_task_run_early(DocstoreTask *task)
{
	return run(task, true);
}

void
docstore_task_hurry(DocstoreTask *task)
{
	task->due_at = 0;
}

long
docstore_task_due_in(const DocstoreTask *task, long most)
{
	return Min(most, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), task->due_at));
}
