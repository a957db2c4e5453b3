/*
 * target.h - a table that a replication writes: what it must be, and the statements that write it.
 */
#ifndef DOCSTORE_REPL_TARGET_H
#define DOCSTORE_REPL_TARGET_H

#include "postgres.h"

#include "repl/definition.h"

/*
 * Parameters of all: $1 text[] ids of documents, $2 text their collection.  The
 * new rows of documents come from view_batch_register's relation; merge computes
 * them once, as relation repl_rows_name: their id, collection, and the columns.
 */
typedef enum ReplStep
{
	REPL_COMPUTE, /* merge: the new rows */
	REPL_TWICE,   /* merge: ids of documents whose rows cannot be told apart */
	REPL_ANY,     /* a row between the first id and the last, which are in order; NULL: the table orders them otherwise */
	REPL_REMOVE,  /* rows of documents; merge: those that are no more */
	REPL_UPDATE,  /* merge: those that differ */
	REPL_INSERT,
	REPL_EMPTY /* all rows of a collection */
} ReplStep;
#define REPL_STEPS 7

typedef struct ReplTarget
{
	const ReplTable *table;
	Oid relid;
	char *name;            /* as statements write it */
	char *rows;            /* merge: the relation's name */
	char *sql[REPL_STEPS]; /* NULL: there is no such step */
} ReplTarget;

#define REPL_ROWS_ID "docstore id"
#define REPL_ROWS_COLLECTION "docstore collection"

/*
 * Checks the SELECT and the table; throws.  The pin (view/pin.h) of the
 * replication's owner must be set.  `number` is the table's place.
 */
extern ReplTarget *repl_target(ReplTable *table, int number, Oid owner);
/* Throws if foreign keys between the targets ask for another order; warns of missing indexes. */
extern void repl_targets_check(List *targets);

#endif
