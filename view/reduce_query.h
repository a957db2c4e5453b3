/*
 * reduce_query.h - a reduce as it is run: over many sets of rows at once.
 */
#ifndef DOCSTORE_VIEW_REDUCE_QUERY_H
#define DOCSTORE_VIEW_REDUCE_QUERY_H

#include "postgres.h"

#include "access/tupdesc.h"

#include "view/check.h"

/* Name of the column that says which set a row belongs to; the last one of what is read and returned. */
#define VIEW_JOB_COLUMN "docstore job"

/* What `results` looks like: a shape's columns, and the job behind them if with_job. */
extern TupleDesc view_results_desc(const ViewShape *shape, bool with_job);
/*
 * The query (a reduce or finalize that has been checked) for rows with a job: one more column, and one more to group by.
 * The pin must be set; throws if it cannot be analyzed any more.
 */
extern char *view_query_with_job(const char *text, const char *what, const ViewShape *shape, bool group);
/* Are all groups columns just as the map returns them?  Then what a row belongs to can be seen without running the reduce. */
extern bool view_groups_are_columns(const char *reduce, const ViewShape *shape);
/* Are they, those that are equal the same bytes, and all others sums of integers or numerics?  Then see sums.h.  The pin must be set. */
extern bool view_reduce_only_sums(const char *reduce, const ViewShape *shape);

#endif
