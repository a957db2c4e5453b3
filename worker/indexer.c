/*
 * indexer.c - keeps the views of one database up to date.
 *
 * Each view has a task (task.h), and the tasks take turns, one batch each
 * (index.c): a view that takes long does not keep the others waiting, and one
 * that fails pauses alone.
 */
#include "postgres.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "access/xact.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "store/feed.h"
#include "store/workers.h"
#include "view/catalog.h"
#include "worker/databases.h"
#include "worker/index.h"
#include "worker/indexer.h"
#include "worker/pass.h"
#include "worker/task.h"

#define IDLE_MS 60000
/* Batches allocate and free the same memory again and again: so much of it malloc keeps, or page faults would take a tenth of the time. */
#define KEPT_MEMORY (64 * 1024 * 1024)

typedef struct IndexedView
{
	dlist_node node;
	ViewIndexing indexing;
	DocstoreTask task;
	bool listed;
} IndexedView;

static dlist_head views = DLIST_STATIC_INIT(views);
static Oid database;

static bool
run(void *arg)
{
	ViewIndexing *indexing = &((IndexedView *) arg)->indexing;
	char activity[64 + NAMEDATALEN];
	bool more;

	/* Which one, if its map does not end. */
	snprintf(activity, sizeof(activity), "indexing view \"%s\"", indexing->name);
	pgstat_report_activity(STATE_RUNNING, activity);
	more = docstore_index_batch(indexing);
	docstore_worker_progress();
	return more;
}

static void
forget_view(IndexedView *indexed)
{
	dlist_delete(&indexed->node);
	if (indexed->indexing.map != NULL)
		view_map_free(indexed->indexing.map);
	if (indexed->indexing.reduce != NULL)
		view_reduce_free(indexed->indexing.reduce);
	pfree(indexed);
}

static IndexedView *
find_view(const View *view)
{
	dlist_iter iter;

	dlist_foreach (iter, &views)
	{
		IndexedView *indexed = dlist_container(IndexedView, node, iter.cur);

		if (indexed->indexing.storage == view->storage)
			return indexed;
	}
	return NULL;
}

/* The views that there are now; unless always, only if any of them may have changed. */
static void
list_views(bool always)
{
	static uint64 generation;
	dlist_mutable_iter mutable;
	MemoryContext context = CurrentMemoryContext;
	dlist_iter iter;
	ListCell *lc;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (always || generation != view_generation())
	{
		generation = view_generation();
		dlist_foreach (iter, &views)
			dlist_container(IndexedView, node, iter.cur)->listed = false;
		foreach (lc, view_list())
		{
			View *view = lfirst(lc);
			IndexedView *indexed = find_view(view);

			if (indexed == NULL)
			{
				indexed = MemoryContextAllocZero(TopMemoryContext, sizeof(IndexedView));
				strlcpy(indexed->indexing.name, view->name, NAMEDATALEN);
				indexed->indexing.storage = view->storage;
				indexed->task.failed = "could not index";
				indexed->task.run = run;
				indexed->task.arg = indexed;
				indexed->task.every_ms = IDLE_MS;
				dlist_push_tail(&views, &indexed->node);
			}
			indexed->listed = true;
		}
		dlist_foreach_modify(mutable, &views)
		{
			IndexedView *indexed = dlist_container(IndexedView, node, mutable.cur);

			if (!indexed->listed)
				forget_view(indexed);
		}
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* Ends the process unless there are views. */
static void
look_for_views(void)
{
	list_views(dlist_is_empty(&views));
	if (!dlist_is_empty(&views))
		return;
	docstore_unwant_worker(DOCSTORE_INDEXER, database);
	list_views(true);
	if (dlist_is_empty(&views))
		proc_exit(0);
	docstore_want_worker(DOCSTORE_INDEXER, database);
}

/* One batch for each view that has something to do.  Returns whether any may have more. */
static bool
take_turns(void)
{
	bool more = false;
	dlist_iter iter;

	docstore_pass_forget();
	dlist_foreach (iter, &views)
	{
		IndexedView *indexed = dlist_container(IndexedView, node, iter.cur);

		CHECK_FOR_INTERRUPTS();
		/* Whoever woke us brings work, but does not end a pause. */
		if (indexed->task.pause_ms == 0)
			docstore_task_hurry(&indexed->task);
		more |= docstore_task_run(&indexed->task);
	}
	docstore_pass_forget();
	return more;
}

static long
due_in(void)
{
	long most = IDLE_MS;
	dlist_iter iter;

	dlist_foreach (iter, &views)
		most = docstore_task_due_in(&dlist_container(IndexedView, node, iter.cur)->task, most);
	return most;
}

static void
keep_memory(void)
{
#ifdef __GLIBC__
	(void) mallopt(M_MMAP_THRESHOLD, KEPT_MEMORY / 2);
	(void) mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
#endif
}

/* When there is nothing to do. */
static void
return_memory(void)
{
#ifdef __GLIBC__
	(void) malloc_trim(0);
#endif
}

void
docstore_indexer_main(Datum arg)
{
	bool more = true;

	database = DatumGetObjectId(arg);
	docstore_database_worker_begin(DOCSTORE_INDEXER, database);
	/* What a crash takes from a view is computed again, from the position that it has then: no commit needs to wait for the disk. */
	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_OVERRIDE);
	keep_memory();
	look_for_views();
	docstore_feed_listen();

	for (;;)
	{
		TimestampTz since = GetCurrentTimestamp();

		CHECK_FOR_INTERRUPTS();
		docstore_database_worker_look();
		pgstat_report_activity(STATE_RUNNING, "indexing views");
		look_for_views();
		more = take_turns();
		/* Autovacuum should know what happens to docstore.view_progress. */
		(void) pgstat_report_stat(!more);
		if (more)
			continue;
		pgstat_report_activity(STATE_IDLE, NULL);
		if ((WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, due_in(), PG_WAIT_EXTENSION) & WL_TIMEOUT) != 0)
			return_memory();
		docstore_database_worker_gather(since);
		ResetLatch(MyLatch);
		docstore_worker_reset();
	}
}
