/*
 * wait.c - waiting for views: by docstore.wait_for_view, and by every statement that reads views if docstore.view_wait is set.
 *
 * The second happens when the executor starts, before it opens the first scan.
 * The statement's snapshot was taken before the wait, so it is replaced by a new
 * one; a transaction whose snapshot is fixed cannot do that.  Statements within
 * functions belong to the statement that calls them and do not wait by themselves.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "fdw/consumer.h"
#include "store/compat.h"
#include "store/feed.h"
#include "store/stop.h"
#include "store/workers.h"
#include "store/store.h"
#include "view/progress.h"
#include "view/replace.h"
#include "view/table.h"
#include "view/wait.h"

/* How long the first wait is if the indexer says nothing, and the longest: each is twice the one before. */
#define POLL_MIN_MS 1
#define POLL_MAX_MS 16

static ExecutorStart_hook_type next_start;
static ExecutorRun_hook_type next_run;
static ExecutorFinish_hook_type next_finish;
static int nesting; /* of running executors */

/*
 * Is everything up to an etag in the view?  The position moves with changes only, so if it is less, the
 * feed may still say that there was nothing for this view in between.
 */
static bool
has_caught_up(const View *view, uint64 target, ViewProgress *progress)
{
	DocConsumer *consumer;
	bool result = false;
	uint64 horizon = docstore_feed_horizon();
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());

	/* Gone since it was looked up; who asks again hears what is there now. */
	if (!view_progress_read(view->storage, snapshot, progress))
	{
		UnregisterSnapshot(snapshot);
		return false;
	}
	if (progress->built)
	{
		result = progress->position >= target;
		consumer = result || horizon <= target ? NULL : docstore_consumer_get(DOC_CONSUMER_VIEW, view->name, false);
		if (consumer != NULL && list_length(consumer->collections) == progress->ncollections)
		{
			uint64 *storages = docstore_consumer_storages(consumer, snapshot);
			DocstoreFeed *feed = docstore_feed_open(storages, progress->ncollections, progress->position, target + 1, snapshot);
			DocstoreChange change;

			result = memcmp(storages, progress->storages, progress->ncollections * sizeof(uint64)) == 0 &&
					 !docstore_feed_next(feed, &change);
			docstore_feed_close(feed);
		}
	}
	UnregisterSnapshot(snapshot);
	return result;
}

/* What is not committed nobody else sees. */
static void
refuse_own(const View *view)
{
	bool made_here = view != NULL && TransactionIdIsCurrentTransactionId(view->xmin);

	if (view != NULL && (made_here || docstore_feed_own_etag() != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("cannot wait for docstore view \"%s\" in a transaction that has %s", view->name,
						made_here ? "made it" : "changed documents"),
				 errhint("Commit first.")));
}

static void
refuse_paused(const char *name, bool paused, const ViewProgress *progress)
{
	if (paused)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("docstore view \"%s\" is paused", name),
				 errhint("Use docstore.resume_view.")));
	if (progress->paused)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("docstore view \"%s\" is paused", name),
				 errdetail("%s", progress->reason)));
}

/*
 * Does the indexer wait for us, and will it go on waiting?  What is to take the view's place waits for those who read
 * it, this statement perhaps, no longer than VIEW_TAKE_PLACE_MS; who wants the view as it is waits for that to pass.
 */
static bool
is_in_the_way(bool replaced, TimestampTz *since)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!docstore_worker_waits_for_me(DOCSTORE_INDEXER))
	{
		*since = 0;
		return false;
	}
	if (*since == 0)
		*since = now;
	return replaced || TimestampDifferenceExceeds(*since, now, 2 * VIEW_TAKE_PLACE_MS);
}

void
view_wait(const char *name, TimestampTz until, bool replaced)
{
	uint64 target = docstore_feed_last_etag();
	MemoryContext temp = AllocSetContextCreate(CurrentMemoryContext, "docstore wait", ALLOCSET_DEFAULT_SIZES);
	MemoryContext context = CurrentMemoryContext;
	ViewProgress progress;
	ViewProgress next = {0};
	TimestampTz in_the_way = 0; /* since then */
	int poll_ms = POLL_MIN_MS;

	refuse_own(view_get(name, NoLock));
	if (replaced)
		refuse_own(view_find_replacement(name, NoLock));
	docstore_wait_prepare();
	for (;;)
	{
		View *view;
		View *replacement;
		bool paused;
		bool done;

		MemoryContextSwitchTo(temp);
		/* First: if it takes the view's place meanwhile, the view is the new one. */
		replacement = replaced ? view_find_replacement(name, NoLock) : NULL;
		docstore_stop("wait view");
		AcceptInvalidationMessages();
		view = view_get(name, NoLock);
		paused = view->paused;
		done = has_caught_up(view, target, &progress);
		if (replacement != NULL)
		{
			Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());

			done = false;
			if (!view_progress_read(replacement->storage, snapshot, &next))
				next.paused = false;
			UnregisterSnapshot(snapshot);
		}
		MemoryContextSwitchTo(context);
		if (done)
			break;
		/* What is wrong with a view that is replaced passes with it. */
		refuse_paused(name, paused, replacement != NULL ? &next : &progress);
		if (GetCurrentTimestamp() >= until)
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("docstore view \"%s\" did not catch up in time", name),
					 !progress.built       ? errdetail("It is being built; %lld documents are done.", (long long) progress.documents)
					 : replacement != NULL ? errdetail("Its new definition is being built; %lld documents are done.", (long long) next.documents)
										   : errdetail("It is at position %llu, waited was for %llu.", (unsigned long long) progress.position, (unsigned long long) target),
					 docstore_worker_runs(DOCSTORE_INDEXER) ? 0 : errhint("No indexer runs in this database; the server's log has the reason, such as max_worker_processes.")));
		MemoryContextSwitchTo(temp);
		if (poll_ms == POLL_MAX_MS && is_in_the_way(replaced, &in_the_way))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
					 errmsg("cannot wait for docstore view \"%s\" in a transaction for whose locks the indexer waits", name),
					 errhint("Commit first.")));
		MemoryContextSwitchTo(context);
		MemoryContextReset(temp);
		docstore_want_worker(DOCSTORE_INDEXER, MyDatabaseId);
		docstore_wait_for_worker(poll_ms);
		poll_ms = Min(poll_ms * 2, POLL_MAX_MS);
		CHECK_FOR_INTERRUPTS();
	}
	docstore_wait_end();
	MemoryContextDelete(temp);
}

/* ---- docstore.view_wait ---- */

/* Names of the views that a statement reads. */
static List *
views_of(PlannedStmt *statement)
{
	List *names = NIL;
	ListCell *lc;

	foreach (lc, statement->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);
		char *name;

		if (rte->rtekind != RTE_RELATION || rte->relkind != RELKIND_FOREIGN_TABLE)
			continue;
		if (strcmp(GetForeignDataWrapper(GetForeignServer(GetForeignTable(rte->relid)->serverid)->fdwid)->fdwname, "docstore") != 0)
			continue;
		name = view_of_relation(rte->relid);
		if (name != NULL)
			names = lappend(names, name);
	}
	return names;
}

static void
wait_for_views(QueryDesc *query)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), docstore_view_wait_ms);
	List *names = views_of(query->plannedstmt);
	ListCell *lc;

	if (names == NIL)
		return;
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("docstore.view_wait can be used in READ COMMITTED only"),
				 errdetail("This transaction keeps the snapshot that it has."),
				 errhint("Set docstore.view_wait to 0, and use docstore.wait_for_view before the transaction.")));
	foreach (lc, names)
		view_wait(lfirst(lc), until, false);
	UnregisterSnapshot(query->snapshot);
	query->snapshot = RegisterSnapshot(GetTransactionSnapshot());
}

static void
start(QueryDesc *query, int eflags)
{
	if (docstore_view_wait_ms > 0 && nesting == 0 && (eflags & EXEC_FLAG_EXPLAIN_ONLY) == 0 && !IsParallelWorker())
		wait_for_views(query);
	if (next_start != NULL)
		next_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

static void
run(DOCSTORE_EXECUTOR_RUN_PARAMS)
{
	nesting++;
	PG_TRY();
	{
		if (next_run != NULL)
			next_run(DOCSTORE_EXECUTOR_RUN_ARGS);
		else
			standard_ExecutorRun(DOCSTORE_EXECUTOR_RUN_ARGS);
	}
	PG_FINALLY();
	{
		nesting--;
	}
	PG_END_TRY();
}

static void
finish(QueryDesc *query)
{
	nesting++;
	PG_TRY();
	{
		if (next_finish != NULL)
			next_finish(query);
		else
			standard_ExecutorFinish(query);
	}
	PG_FINALLY();
	{
		nesting--;
	}
	PG_END_TRY();
}

void
view_wait_init(void)
{
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = start;
	next_run = ExecutorRun_hook;
	ExecutorRun_hook = run;
	next_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = finish;
}
