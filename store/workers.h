/*
 * indexers.h - which databases want an indexer, and how to wake it: what backends, the launcher and the indexers tell
 * each other in shared memory.
 */
#ifndef DOCSTORE_INDEXERS_H
#define DOCSTORE_INDEXERS_H

#include "postgres.h"

#include "storage/latch.h"
#include "storage/spin.h"

/* Databases with views, at a time; the others wait. */
#define DOCSTORE_MAX_INDEXERS 64

typedef struct DocstoreIndexers
{
	slock_t mutex; /* protects everything below; latches are shared ones of running processes */
	Latch *launcher;
	bool look; /* every database may want one: the launcher shall ask them all */
	struct
	{
		Oid database; /* 0: free */
		bool wanted;  /* somebody made a view; cleared by an indexer that finds none */
		int holds;    /* statements that need the database without other sessions */
		Latch *latch; /* of the indexer; NULL: none runs */
	} slots[DOCSTORE_MAX_INDEXERS];
} DocstoreIndexers;

extern void docstore_indexers_init(DocstoreIndexers *indexers);

/* ---- backends ---- */

/* There may be something to index: starts or wakes the database's indexer.  After commit; never throws. */
extern void docstore_want_indexer(Oid database);
/* No indexer may run until the hold is released; true when none does.  One that runs is told to end. */
extern bool docstore_hold_indexer(Oid database, bool first);
extern void docstore_release_indexer(Oid database);

/* ---- the launcher ---- */

extern void docstore_indexers_serve(Latch *latch); /* NULL: the launcher ends */
/* True once after start, and when slots were short: ask all databases. */
extern bool docstore_indexers_look(void);
/* Databases that want an indexer; returns how many. */
extern int docstore_indexers_wanted(Oid databases[DOCSTORE_MAX_INDEXERS]);
/* There is no such database any more. */
extern void docstore_forget_indexer(Oid database);

/* ---- an indexer ---- */

/* False if it must not run: it is held, or another one runs. */
extern bool docstore_indexer_begin(Oid database, Latch *latch);
extern void docstore_indexer_end(Oid database);
/* Nobody wants one unless he says so from now on: then look for views, and if there are none, end. */
extern void docstore_unwant_indexer(Oid database);
extern bool docstore_indexer_held(Oid database);

#endif
