/*
 * replicator.c - keeps the replications of one database going.
 *
 * Each has a task (task.h), and the tasks take turns, one batch each
 * (replicate.c).  What keeps one from going on is written where users look, and
 * tried again after growing pauses; whoever changes the replication ends them.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "fdw/collection.h"
#include "repl/state.h"
#include "store/feed.h"
#include "store/workers.h"
#include "worker/databases.h"
#include "worker/replicate.h"
#include "worker/replicator.h"
#include "worker/task.h"

#define IDLE_MS 60000
#define PASSING_MS 1000

typedef struct Replication
{
	dlist_node node;
	Replicating replicating;
	DocstoreTask task;
	bool listed;
} Replication;

static dlist_head replications = DLIST_STATIC_INIT(replications);
static Oid database;

static bool
run(void *arg)
{
	Replication *replication = arg;
	char activity[64 + NAMEDATALEN];
	bool more;

	/* Which one, if its selects or its tables' triggers do not end. */
	snprintf(activity, sizeof(activity), "replicating \"%s\"", replication->replicating.name);
	pgstat_report_activity(STATE_RUNNING, activity);
	more = docstore_replicate_batch(&replication->replicating);
	docstore_worker_progress();
	replication->task.every_ms = IDLE_MS;
	if (replication->replicating.retry_ms >= 0)
		replication->task.every_ms = (int) Min(replication->replicating.retry_ms, IDLE_MS);
	return more;
}

/*
 * Was somebody else in the way (a deadlock, a cancel), who is most likely gone
 * at the next try?  Nobody is told before that has failed a few times, too.
 */
static bool
passes(const Replication *replication, const ErrorData *edata)
{
	return (ERRCODE_TO_CATEGORY(edata->sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK || edata->sqlerrcode == ERRCODE_QUERY_CANCELED) &&
		   replication->task.pause_ms < PASSING_MS;
}

/* Why it does not go on; what it was made of may be out of date. */
static void
note(void *arg, ErrorData *edata)
{
	Replication *replication = arg;

	/* It goes on: the batch has said so. */
	if (edata == NULL)
		return;
	docstore_replicating_free(&replication->replicating);
	if (passes(replication, edata))
		return;
	PG_TRY();
	{
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		repl_state_fail(replication->replicating.name, unpack_sql_state(edata->sqlerrcode), edata->message);
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		/* The log has it, too. */
		AbortCurrentTransaction();
		FlushErrorState();
	}
	PG_END_TRY();
}

static Replication *
find(const char *name)
{
	dlist_iter iter;

	dlist_foreach (iter, &replications)
	{
		Replication *replication = dlist_container(Replication, node, iter.cur);

		if (strcmp(replication->replicating.name, name) == 0)
			return replication;
	}
	return NULL;
}

static Replication *
add(const char *name)
{
	Replication *replication = MemoryContextAllocZero(TopMemoryContext, sizeof(Replication));

	docstore_replicating_init(&replication->replicating, name);
	replication->task.failed = "could not replicate";
	replication->task.run = run;
	replication->task.note = note;
	replication->task.arg = replication;
	replication->task.every_ms = IDLE_MS;
	dlist_push_tail(&replications, &replication->node);
	return replication;
}

/* Those that there are now. */
static void
list_replications(void)
{
	MemoryContext context = CurrentMemoryContext;
	dlist_mutable_iter mutable;
	dlist_iter iter;
	Oid schema;
	ListCell *lc;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	dlist_foreach (iter, &replications)
		dlist_container(Replication, node, iter.cur)->listed = false;
	schema = get_namespace_oid("docstore", true);
	if (OidIsValid(schema) && OidIsValid(get_relname_relid("replication_state", schema)))
		foreach (lc, repl_state_names())
		{
			Replication *replication = find(lfirst(lc));

			if (replication == NULL)
				replication = add(lfirst(lc));
			replication->listed = true;
		}
	dlist_foreach_modify(mutable, &replications)
	{
		Replication *replication = dlist_container(Replication, node, mutable.cur);

		if (replication->listed)
			continue;
		dlist_delete(&replication->node);
		docstore_replicating_free(&replication->replicating);
		pfree(replication);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* Ends the process unless there are any. */
static void
look_for_replications(void)
{
	list_replications();
	if (!dlist_is_empty(&replications))
		return;
	docstore_unwant_worker(DOCSTORE_REPLICATOR, database);
	list_replications();
	if (dlist_is_empty(&replications))
		proc_exit(0);
	docstore_want_worker(DOCSTORE_REPLICATOR, database);
}

/* One batch for each that has something to do.  Returns whether any may have more. */
static bool
take_turns(void)
{
	bool more = false;
	dlist_iter iter;

	dlist_foreach (iter, &replications)
	{
		Replication *replication = dlist_container(Replication, node, iter.cur);

		CHECK_FOR_INTERRUPTS();
		/* Whoever woke us brings work, but does not end a pause. */
		if (replication->task.pause_ms == 0)
			docstore_task_hurry(&replication->task);
		more |= docstore_task_run(&replication->task);
	}
	return more;
}

static long
due_in(void)
{
	long most = IDLE_MS;
	dlist_iter iter;

	dlist_foreach (iter, &replications)
		most = docstore_task_due_in(&dlist_container(Replication, node, iter.cur)->task, most);
	return most;
}

void
docstore_replicator_main(Datum arg)
{
	database = DatumGetObjectId(arg);
	docstore_database_worker_begin(DOCSTORE_REPLICATOR, database);
	/* Rows and position go together; what a crash takes of them is written again from the position that is left. */
	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_OVERRIDE);
	look_for_replications();
	docstore_feed_listen();

	for (;;)
	{
		TimestampTz since = GetCurrentTimestamp();
		bool more;

		CHECK_FOR_INTERRUPTS();
		docstore_database_worker_look();
		pgstat_report_activity(STATE_RUNNING, "replicating documents");
		look_for_replications();
		more = take_turns();
		(void) pgstat_report_stat(!more);
		if (more)
			continue;
		pgstat_report_activity(STATE_IDLE, NULL);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, due_in(), PG_WAIT_EXTENSION);
		docstore_database_worker_gather(since);
		ResetLatch(MyLatch);
		docstore_worker_reset();
	}
}
