/*
 * databases.c - starts the workers that databases want, and gets them out of the way (databases.h); what they all do.
 *
 * Which databases have views and replications is in their catalogs, which the
 * launcher cannot read: after its start it has every database asked, by workers
 * that end at once if they find none.  Later whoever makes one says so
 * (store/workers.h).
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "store/compat.h"
#include "store/workers.h"
#include "store/shmem.h"
#include "view/pin.h"
#include "worker/databases.h"
#include "worker/task.h"

/* One that ends soon after its start is started again after growing pauses. */
#define FIRST_PAUSE_MS 250
#define LONGEST_PAUSE_MS 10000
#define IDLE_MS 60000
/* How long a statement waits for workers to end. */
#define END_MS 10000
#define POLL_MS 10
/* From the begin of a worker's round to that of its next one, at least, while changes keep coming. */
#define ROUND_MS 50

typedef struct Running
{
	Oid database;
	DocstoreWorkerKind kind;
	BackgroundWorkerHandle *handle;
	TimestampTz started;
	int pause_ms; /* from its start on */
	bool refused; /* there was no slot for it */
} Running;

static const char *const kinds[DOCSTORE_WORKER_KINDS] = {"indexer", "replicator"};

static Running running[DOCSTORE_MAX_WORKED * DOCSTORE_WORKER_KINDS];
static List *to_ask;       /* in the launcher: databases for which there was no slot yet */
static TimestampTz served; /* when it last became shorter */
static bool crowded;       /* the log was told that there are too few slots */
static Oid worked;         /* in a worker: its database */
static List *opened;       /* databases that this transaction made, or lets connect to */
static ProcessUtility_hook_type next_utility;

/* ---- the launcher ---- */

/* Those that can be connected to. */
static List *
usable_databases(void)
{
	Relation rel = table_open(DatabaseRelationId, AccessShareLock);
	TableScanDesc scan = table_beginscan_catalog(rel, 0, NULL);
	List *result = NIL;
	HeapTuple tuple;

	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		if (form->datallowconn && !form->datistemplate)
			result = lappend_oid(result, form->oid);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

/* Notes who has ended.  One that nobody wants had nothing to do: that is no failure, and the next may start at once. */
static void
reap(DocstoreWorkerKind kind, const Oid *wanted, int n)
{
	for (int i = 0; i < lengthof(running); i++)
	{
		Running *r = &running[i];
		bool is_wanted = false;
		pid_t pid;

		if (r->handle == NULL || r->kind != kind || GetBackgroundWorkerPid(r->handle, &pid) != BGWH_STOPPED)
			continue;
		pfree(r->handle);
		r->handle = NULL;
		for (int j = 0; j < n; j++)
			is_wanted |= wanted[j] == r->database;
		if (!is_wanted)
			r->database = InvalidOid;
	}
}

/* Its place in `running`, a free one if it has none; NULL if there is none or it may not start now. */
static Running *
place_for(DocstoreWorkerKind kind, Oid database)
{
	Running *place = NULL;

	for (int i = 0; i < lengthof(running); i++)
	{
		Running *r = &running[i];

		if (r->database == database && r->kind == kind)
		{
			if (r->handle != NULL || !TimestampDifferenceExceeds(r->started, GetCurrentTimestamp(), r->pause_ms))
				return NULL;
			return r;
		}
		if (place == NULL && r->handle == NULL)
			place = r;
	}
	return place;
}

/* NULL if there is no free slot. */
static BackgroundWorkerHandle *
register_worker(DocstoreWorkerKind kind, Oid database)
{
	MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);
	BackgroundWorkerHandle *handle = NULL;
	BackgroundWorker worker = {0};

	snprintf(worker.bgw_name, BGW_MAXLEN, "docstore %s", kinds[kind]);
	strlcpy(worker.bgw_type, worker.bgw_name, BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "docstore", BGW_MAXLEN);
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "docstore_%s_main", kinds[kind]);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART; /* the launcher does */
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = MyProcPid;
	(void) RegisterDynamicBackgroundWorker(&worker, &handle);
	MemoryContextSwitchTo(context);
	return handle;
}

static void
start(DocstoreWorkerKind kind, Oid database, Running *place)
{
	place->handle = register_worker(kind, database);
	if (place->database != database || place->kind != kind ||
		TimestampDifferenceExceeds(place->started, GetCurrentTimestamp(), LONGEST_PAUSE_MS))
		place->pause_ms = 0;
	else
		place->pause_ms = place->pause_ms == 0 ? FIRST_PAUSE_MS : Min(place->pause_ms * 2, LONGEST_PAUSE_MS);
	place->database = database;
	place->kind = kind;
	place->started = GetCurrentTimestamp();
	place->refused = place->handle == NULL;
	if (!place->refused || crowded)
		return;
	crowded = true;
	ereport(LOG,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("docstore: could not start workers: there is no free background worker for the %s of database %u", kinds[kind], database),
			 errhint("Raise max_worker_processes. It is tried again, and said once.")));
}

static bool
was_refused(DocstoreWorkerKind kind, Oid database)
{
	for (int i = 0; i < lengthof(running); i++)
		if (running[i].database == database && running[i].kind == kind)
			return running[i].refused;
	return false;
}

/* Few of many databases may have anything to do.  Those that do not give their slots back, and the next are asked. */
static void
ask_databases(const List *usable, bool all)
{
	MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);
	int before = list_length(to_ask);
	ListCell *lc;

	if (all)
	{
		list_free(to_ask);
		to_ask = list_copy(usable);
	}
	foreach (lc, to_ask)
		if (!list_member_oid(usable, lfirst_oid(lc)) || docstore_ask_workers(lfirst_oid(lc)))
			to_ask = foreach_delete_current(to_ask, lc);
	if (before == 0 || list_length(to_ask) < before)
		served = GetCurrentTimestamp();
	MemoryContextSwitchTo(context);
}

bool
docstore_start_workers(void *arg)
{
	Oid wanted[DOCSTORE_WORKER_KINDS][DOCSTORE_MAX_WORKED];
	int n[DOCSTORE_WORKER_KINDS];
	MemoryContext context = CurrentMemoryContext;
	DocstoreTask *task = arg;
	bool look = docstore_workers_look();
	bool idle = !look && to_ask == NIL;
	bool refused = false;
	List *usable;

	for (int kind = 0; kind < DOCSTORE_WORKER_KINDS; kind++)
	{
		n[kind] = docstore_workers_wanted(kind, wanted[kind]);
		reap(kind, wanted[kind], n[kind]);
		idle = idle && n[kind] == 0;
	}
	task->every_ms = IDLE_MS;
	if (idle)
	{
		crowded = false;
		return false;
	}
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(context);
	usable = usable_databases();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);

	/* What is wanted since we looked may have been made since. */
	for (int kind = 0; kind < DOCSTORE_WORKER_KINDS; kind++)
		for (int i = 0; i < n[kind]; i++)
			if (!list_member_oid(usable, wanted[kind][i]))
				docstore_forget_workers(wanted[kind][i]);
	ask_databases(usable, look);
	for (int kind = 0; kind < DOCSTORE_WORKER_KINDS; kind++)
	{
		n[kind] = docstore_workers_wanted(kind, wanted[kind]);
		for (int i = 0; i < n[kind]; i++)
		{
			Running *place = NULL;

			if (list_member_oid(usable, wanted[kind][i]))
				place = place_for(kind, wanted[kind][i]);
			if (place == NULL)
				task->every_ms = FIRST_PAUSE_MS;
			else
				start(kind, wanted[kind][i], place);
			if (was_refused(kind, wanted[kind][i]))
			{
				refused = true;
				task->every_ms = FIRST_PAUSE_MS;
			}
		}
	}
	if (crowded && !refused)
	{
		crowded = false;
		ereport(LOG, (errmsg("docstore: there are background workers for all databases again")));
	}
	if (to_ask != NIL)
	{
		task->every_ms = FIRST_PAUSE_MS;
		if (TimestampDifferenceExceeds(served, GetCurrentTimestamp(), LONGEST_PAUSE_MS))
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("too many databases have views or replications"),
					 errdetail("No more than %d can have workers.", DOCSTORE_MAX_WORKED)));
	}
	return false;
}

/* ---- the workers ---- */

static void
worker_exit(int code, Datum kind)
{
	docstore_worker_end((DocstoreWorkerKind) kind, worked);
}

void
docstore_database_worker_begin(DocstoreWorkerKind kind, Oid database)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	if (!docstore_worker_begin(kind, database, MyLatch))
		proc_exit(0);
	worked = database;
	before_shmem_exit(worker_exit, (Datum) kind);
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	pgstat_report_appname(MyBgworkerEntry->bgw_name);
	/* What this process runs by itself must mean what it says, whatever the database's settings are. */
	view_pin_process();
	SetConfigOption("default_transaction_read_only", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_USERSET, PGC_S_OVERRIDE);
}

void
docstore_database_worker_look(void)
{
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	if (docstore_worker_held(worked))
		proc_exit(0);
}

void
docstore_database_worker_gather(TimestampTz since)
{
	long ms = ROUND_MS - TimestampDifferenceMilliseconds(since, GetCurrentTimestamp());

	if (ms > 0)
		docstore_worker_pause(ms);
}

/* ---- statements that need a database for themselves ---- */

static bool
drops_extension(const DropStmt *drop)
{
	ListCell *lc;

	if (drop->removeType == OBJECT_EXTENSION)
		foreach (lc, drop->objects)
			if (strcmp(strVal(lfirst(lc)), "docstore") == 0)
			{
				Oid extension = get_extension_oid("docstore", true);

				return OidIsValid(extension) && docstore_owns_extension(extension, GetUserId());
			}
	return false;
}

static Oid
database_needed_alone(Node *statement)
{
	const char *name = NULL;
	Oid database;
	ListCell *lc;

	/* Its workers use the tables that go, in another order than they are locked in. */
	if (IsA(statement, DropStmt))
		return drops_extension((DropStmt *) statement) ? MyDatabaseId : InvalidOid;
	if (IsA(statement, DropdbStmt))
		name = ((DropdbStmt *) statement)->dbname;
	else if (IsA(statement, RenameStmt) && ((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
		name = ((RenameStmt *) statement)->subname;
	else if (IsA(statement, AlterDatabaseStmt))
	{
		foreach (lc, ((AlterDatabaseStmt *) statement)->options)
			if (strcmp(((DefElem *) lfirst(lc))->defname, "tablespace") == 0)
				name = ((AlterDatabaseStmt *) statement)->dbname;
	}
	else if (IsA(statement, CreatedbStmt))
	{
		foreach (lc, ((CreatedbStmt *) statement)->options)
		{
			DefElem *def = lfirst(lc);

			if (strcmp(def->defname, "template") == 0 && def->arg != NULL)
				name = defGetString(def);
		}
	}
	database = name != NULL ? get_database_oid(name, true) : InvalidOid;
	/* Who may not do it shall not disturb either. */
	return OidIsValid(database) && docstore_owns_database(database, GetUserId()) ? database : InvalidOid;
}

static void
look_into_opened(XactEvent event, void *arg)
{
	ListCell *lc;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT)
		foreach (lc, opened)
			for (int kind = 0; kind < DOCSTORE_WORKER_KINDS; kind++)
				docstore_want_worker(kind, lfirst_oid(lc));
	list_free(opened);
	opened = NIL;
}

/* A copy has its template's views and replications, which nobody makes there; and the launcher passes by what cannot be connected to. */
static void
note_opened(Node *statement)
{
	const char *name = NULL;
	MemoryContext context;
	ListCell *lc;
	Oid database;

	if (IsA(statement, CreatedbStmt))
		name = ((CreatedbStmt *) statement)->dbname;
	else if (IsA(statement, AlterDatabaseStmt))
		foreach (lc, ((AlterDatabaseStmt *) statement)->options)
			if (strcmp(((DefElem *) lfirst(lc))->defname, "is_template") == 0 ||
				strcmp(((DefElem *) lfirst(lc))->defname, "allow_connections") == 0)
				name = ((AlterDatabaseStmt *) statement)->dbname;
	/* ALTER DATABASE ... SET TABLESPACE commits by itself. */
	if (name == NULL || !IsTransactionState() || !OidIsValid(database = get_database_oid(name, true)))
		return;
	context = MemoryContextSwitchTo(TopMemoryContext);
	opened = list_append_unique_oid(opened, database);
	MemoryContextSwitchTo(context);
}

static void
release(int code, Datum database)
{
	docstore_release_workers(DatumGetObjectId(database));
}

static void
wait_for_end(Oid database)
{
	TimestampTz start = GetCurrentTimestamp();

	while (!docstore_hold_workers(database, false) && !TimestampDifferenceExceeds(start, GetCurrentTimestamp(), END_MS))
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
utility(PlannedStmt *pstmt, const char *text, bool read_only, ProcessUtilityContext context, ParamListInfo params,
		QueryEnvironment *env, DestReceiver *dest, QueryCompletion *completion)
{
	ProcessUtility_hook_type next = next_utility != NULL ? next_utility : standard_ProcessUtility;
	volatile Oid database = InvalidOid; /* needed again after an error */

	switch (nodeTag(pstmt->utilityStmt))
	{
		case T_DropdbStmt:
		case T_CreatedbStmt:
		case T_RenameStmt:
		case T_AlterDatabaseStmt:
		case T_DropStmt:
			if (IsTransactionState())
				database = database_needed_alone(pstmt->utilityStmt);
			break;
		default:
			break;
	}
	if (!OidIsValid(database))
	{
		next(pstmt, text, read_only, context, params, env, dest, completion);
		note_opened(pstmt->utilityStmt);
		return;
	}
	(void) docstore_hold_workers(database, true);
	PG_ENSURE_ERROR_CLEANUP(release, ObjectIdGetDatum(database));
	{
		wait_for_end(database);
		next(pstmt, text, read_only, context, params, env, dest, completion);
	}
	PG_END_ENSURE_ERROR_CLEANUP(release, ObjectIdGetDatum(database));
	docstore_release_workers(database);
	note_opened(pstmt->utilityStmt);
}

void
docstore_databases_init(void)
{
	RegisterXactCallback(look_into_opened, NULL);
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
}
