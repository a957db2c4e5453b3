/*
 * check_casts.h - casts and coalesce around and within an aggregate of a view's reduce.
 */
#ifndef DOCSTORE_CHECK_CASTS_H
#define DOCSTORE_CHECK_CASTS_H

#include "nodes/primnodes.h"

/* What is below a cast, or below coalesce(x, a constant); NULL for any other node. */
extern Node *view_cast_argument(Node *node);

/*
 * Whether a column of a reduce, made of view_cast_argument()s around one of PostgreSQL's own aggregates and of such within its
 * argument, is the same when it is reduced again: which node is at fault, or NULL.
 */
extern Node *view_cast_fault(Node *column, const char *aggregate);

#endif
