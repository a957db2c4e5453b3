/*
 * replicate.h - one batch of one replication.
 */
#ifndef DOCSTORE_REPLICATE_H
#define DOCSTORE_REPLICATE_H

#include "postgres.h"

#include "repl/apply.h"

/* What the replicator keeps of a replication between two batches. */
typedef struct Replicating
{
	char name[NAMEDATALEN];
	ReplApply *apply; /* NULL: to be made ready */
	char *definition; /* that it was made of */
	Oid owner;
	bool may_have_errors; /* documents that are to be tried again */
	int64 retry_ms;       /* until the next of them is due; -1: none */
	int limit;            /* of documents in the next batch */
} Replicating;

extern void docstore_replicating_init(Replicating *replicating, const char *name);
extern void docstore_replicating_free(Replicating *replicating);
/* In a transaction of its own.  Returns whether there may be more to do at once; throws what keeps it from going on. */
extern bool docstore_replicate_batch(Replicating *replicating);

#endif
