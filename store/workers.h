/*
 * workers.h - which databases want background workers of their own, and how to wake them: what backends, the launcher and
 * the workers tell each other in shared memory.
 */
#ifndef DOCSTORE_WORKERS_H
#define DOCSTORE_WORKERS_H

#include "postgres.h"

#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/spin.h"

/* Databases that have any, at a time; the others wait. */
#define DOCSTORE_MAX_WORKED 64

/* A database has at most one of each kind. */
typedef enum DocstoreWorkerKind
{
	DOCSTORE_INDEXER,
	DOCSTORE_REPLICATOR
} DocstoreWorkerKind;
#define DOCSTORE_WORKER_KINDS 2

typedef struct DocstoreWorkers
{
	ConditionVariable progress; /* a worker has committed something */
	slock_t mutex;              /* protects everything below; launcher and latch are shared ones of running processes */
	Latch *launcher;
	bool look; /* every database may want some: the launcher shall ask them all */
	struct
	{
		Oid database; /* 0: free */
		int holds;    /* statements that need the database without other sessions */
		struct
		{
			bool wanted;  /* somebody made work for one; cleared by a worker that finds none */
			Latch *latch; /* of the worker; NULL: none runs */
			Latch hurry;  /* owned by the worker: somebody waits for it, or it is to end */
		} workers[DOCSTORE_WORKER_KINDS];
	} slots[DOCSTORE_MAX_WORKED];
} DocstoreWorkers;

extern void docstore_workers_init(DocstoreWorkers *workers);

/* ---- backends ---- */

/* There may be work: starts or wakes the database's worker.  After commit; never throws. */
extern void docstore_want_worker(DocstoreWorkerKind kind, Oid database);
/* No worker may run until the hold is released; true when none does.  Those that run are told to end. */
extern bool docstore_hold_workers(Oid database, bool first);
extern void docstore_release_workers(Oid database);
/*
 * Sleeps until a worker of any database has committed something, or for so long.  Around the looks for what is waited for:
 * prepare before the first one, cancel after the last.
 */
extern void docstore_wait_prepare(void);
extern void docstore_wait_for_worker(long ms);
extern void docstore_wait_end(void);
/* Does this database have one?  If not, and it is wanted, it has just ended or cannot start. */
extern bool docstore_worker_runs(DocstoreWorkerKind kind);
/* Does this database's worker wait for a lock that this session holds, or for somebody who does? */
extern bool docstore_worker_waits_for_me(DocstoreWorkerKind kind);

/* ---- the launcher ---- */

extern void docstore_workers_serve(Latch *latch); /* NULL: the launcher ends */
/* True once after start, and when slots were short: ask all databases. */
extern bool docstore_workers_look(void);
/* Wants each kind of worker in a database; false if there is no slot free for it. */
extern bool docstore_ask_workers(Oid database);
/* Databases that want a worker; returns how many. */
extern int docstore_workers_wanted(DocstoreWorkerKind kind, Oid databases[DOCSTORE_MAX_WORKED]);
/* There is no such database any more. */
extern void docstore_forget_workers(Oid database);

/* ---- a worker ---- */

/* Something was committed that others may wait for. */
extern void docstore_worker_progress(void);

/* False if it must not run: it is held, or another one runs. */
extern bool docstore_worker_begin(DocstoreWorkerKind kind, Oid database, Latch *latch);
extern void docstore_worker_end(DocstoreWorkerKind kind, Oid database);
/* Sleeps for so long, or until somebody calls docstore_want_worker or _hold_workers, or has since the last reset.  Its own latch does not end this. */
extern void docstore_worker_pause(long ms);
/* Whoever calls those functions from now on ends the next pause. */
extern void docstore_worker_reset(void);
/* Nobody wants one unless he says so from now on: then look for work, and if there is none, end. */
extern void docstore_unwant_worker(DocstoreWorkerKind kind, Oid database);
extern bool docstore_worker_held(Oid database);

#endif
