/*
 * batch.h - a batch of documents as a relation for SQL; documents for which the SQL fails are found by halving the batch.
 */
#ifndef DOCSTORE_BATCH_H
#define DOCSTORE_BATCH_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

struct ViewRow;

typedef struct ViewDocument
{
	/* given */
	uint64 storage; /* of its collection */
	const char *collection;
	text *id;
	uint64 etag;
	TimestampTz modified;
	Jsonb *doc; /* NULL: deleted; it emits nothing */
	/* why there is no document though there should be: a replication of a view fails with that (repl/view_row.h); else NULL */
	ErrorData *broken;
	/* what a map made of it (map.h) */
	struct ViewRow *rows; /* in the order they came */
	struct ViewRow *last;
	uint32 nrows;
	ErrorData *error; /* it failed; then there are no rows */
} ViewDocument;

/*
 * The relation's name, and for a SELECT over docs a query over the relation: its
 * column n (which document), those behind docs's, and m.*: the SELECT's.
 */
#define VIEW_BATCH "docstore batch"
/* "... FROM VIEW_BATCH AS b, LATERAL (... the SELECT, each document by itself) AS m"; palloc'ed. */
extern char *view_batch_from(const char *select);
/*
 * Makes docs[first .. first + n) known to the current SPI connection, without
 * those that are deleted.  tuplestore_end is the caller's.
 */
extern Tuplestorestate *view_batch_register(const ViewDocument *docs, int first, int n);

/* What is done with a batch.  It throws, and is then undone and done again with less. */
typedef struct ViewBatchWork
{
	void (*run)(void *arg, ViewDocument *docs, int first, int n);
	void (*undone)(void *arg, ViewDocument *docs, int first, int n); /* run failed */
	void *arg;
} ViewBatchWork;

/*
 * Runs the work over n documents in a subtransaction.  If it fails, the batch is
 * halved until those that fail are alone: they get an error.  Returns NULL, or
 * what is wrong with the work itself, which fails without any document (then
 * documents are not to be looked at).  Throws what is the fault of neither, a
 * cancel or a lack of memory say.
 */
extern ErrorData *view_batch_run(const ViewBatchWork *work, ViewDocument *docs, int n);

/* Is an error about what was computed, and not about the server's state? */
extern bool view_error_is_of_query(int sqlstate);

#endif
