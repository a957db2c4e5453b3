/*
 * apply.h - puts the rows of changed documents into a replication's tables.
 */
#ifndef DOCSTORE_REPL_APPLY_H
#define DOCSTORE_REPL_APPLY_H

#include "postgres.h"

#include "repl/definition.h"
#include "view/batch.h"

/* A definition made ready, with its plans: until repl_apply_free, or the end of the context in which it was made. */
typedef struct ReplApply ReplApply;

/* Checks everything that can be checked, as the owner; throws.  Copies. */
extern ReplApply *repl_apply_new(const char *definition, Oid owner);
/* What only matters when a definition is stored: the order of the tables, warnings of missing indexes.  Throws. */
extern void repl_apply_check(const ReplApply *apply);
/* From now on until repl_apply_free only. */
extern void repl_apply_keep(ReplApply *apply);
extern void repl_apply_free(ReplApply *apply);
extern const ReplDefinition *repl_apply_definition(const ReplApply *apply);
/* Oids of its tables, in their order. */
extern List *repl_apply_tables(const ReplApply *apply);
/* Names of its tables as statements write them, in their order. */
extern List *repl_apply_names(const ReplApply *apply);

/* Rows that were written (inserted, updated) and deleted, per table. */
typedef struct ReplCounts
{
	int64 *written;
	int64 *deleted;
} ReplCounts;

/*
 * Each document's rows are replaced by those of its newest version, in all tables
 * or, if one of them refuses, in none: then the document has an error.  Returns
 * NULL, or what is wrong with the replication itself.  Adds to the counts.
 */
extern ErrorData *repl_apply_run(ReplApply *apply, ViewDocument *docs, int n, ReplCounts *counts);
/* The table that refused a document of the last run; NULL: a deferred constraint did. */
extern const char *repl_apply_refused(const ReplApply *apply, int doc);

/*
 * Takes all rows away, those of one collection or (NULL) of all; with `always` also those of tables that rows are
 * only inserted into.  Returns NULL, or why it cannot.
 */
extern ErrorData *repl_apply_empty(ReplApply *apply, const char *collection, bool always, ReplCounts *counts);

#endif
