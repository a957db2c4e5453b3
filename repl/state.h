/*
 * state.h - what is kept of each replication: docstore.replication_state, a row each, and docstore.replication_error.
 *
 * The replicator moves them in the transaction that writes the rows; who else
 * changes them holds the consumer's lock (fdw/consumer.h), as the replicator does.
 * All functions write past the tables' grants.
 */
#ifndef DOCSTORE_REPL_STATE_H
#define DOCSTORE_REPL_STATE_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "repl/apply.h"

#define REPL_OTHER_SOURCE PG_UINT64_MAX

typedef struct ReplState
{
	char *definition;
	Oid owner;
	bool paused;     /* by a user */
	bool emptying;   /* first all rows are to be taken away */
	bool failed;     /* there is a reason why it does not go on */
	List *to_scan;   /* collections (char *) that are to be read; the first one */
	char *next_id;   /* ... behind this id; NULL: from its beginning */
	uint64 scan_to;  /* versions up to this etag, once the position is not before it: the feed brings the others */
	int64 documents; /* scanned so far */
	uint64 source;   /* of a view: storage id of the rows that the tables are made of; 0: none yet; REPL_OTHER_SOURCE: another database's */
} ReplState;

/* A new one, that begins with a scan of these collections up to its consumer's position. */
extern void repl_state_create(const char *name, bool paused, List *collections, uint64 position);
extern void repl_state_drop(const char *name);
/* By a user; or it goes on, whatever was in the way. */
extern void repl_state_pause(const char *name, bool paused);
/* Begins anew with a scan, likewise; errors are forgotten. */
extern void repl_state_reset(const char *name, bool emptying, List *collections, uint64 position);
/* False if there is no such replication. */
extern bool repl_state_read(const char *name, ReplState *state);
/* Where it is; adds rows to the counts of the tables of those names.  It is not failed then. */
extern void repl_state_write(const char *name, const ReplState *state, List *tables, const ReplCounts *counts);
/* Why it does not go on; NULL: nothing is in the way. */
extern void repl_state_fail(const char *name, const char *sqlstate, const char *message);
/* Names of all replications, as char *. */
extern List *repl_state_names(void);

/* ---- documents that failed ---- */

typedef struct ReplFailed
{
	char *collection;
	char *id;
	uint64 etag;
	bool deleted;
} ReplFailed;

/* Those whose time has come, at most `most`; *next_ms is when the next one's comes, -1 if there is none. */
extern List *repl_errors_due(const char *name, int most, int64 *next_ms);
/* Those of the batch that went well leave the list, the others come onto it. */
extern void repl_errors_note(const char *name, const ReplApply *apply, const ViewDocument *docs, int n);
/* All, or (not NULL) that of an id, are due now; returns how many. */
extern uint64 repl_errors_hurry(const char *name, const char *id);
/* Of a collection, or (NULL) of all. */
extern void repl_errors_forget(const char *name, const char *collection);

#endif
