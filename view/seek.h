/*
 * seek.h - conditions on the columns of a view's key that are positions: found in clauses, turned into ranges of keys
 * when a scan starts.
 */
#ifndef DOCSTORE_VIEW_SEEK_H
#define DOCSTORE_VIEW_SEEK_H

#include "postgres.h"

#include "nodes/pathnodes.h"

#include "engine/status.h"
#include "view/table.h"

/* Numbers are kept in plans. */
typedef enum ViewSeekOp
{
	VIEW_SEEK_EQ = 1,
	VIEW_SEEK_ANY,
	VIEW_SEEK_LT,
	VIEW_SEEK_LE,
	VIEW_SEEK_GT,
	VIEW_SEEK_GE,
	VIEW_SEEK_NULL,
	VIEW_SEEK_NOT_NULL,
	VIEW_SEEK_PREFIX, /* of text */
	VIEW_SEEK_LIKE    /* the operand is a LIKE pattern */
} ViewSeekOp;

typedef struct ViewSeek
{
	int column; /* of the key, from 0; nkeys: the id */
	ViewSeekOp op;
	Expr *operand; /* a null constant where the operator has none */
	Oid type;      /* the operand's, or its elements'; a base type */
	RestrictInfo *rinfo;
	bool exact; /* the clause says no more than that */
} ViewSeek;

/* The Var that shows a column of the key, as the planner sees it; NULL if the table does not have it. */
extern Var *view_key_var(RelOptInfo *rel, const ViewTable *table, Relation relation, int column);
/* Is node that column (through relabelings)? */
extern bool view_is_key(Node *node, RelOptInfo *rel, const ViewTable *table, int column);
/* What a clause says about a column of the key; NULL if nothing that is a position. */
extern ViewSeek *view_seek_match(PlannerInfo *root, RelOptInfo *rel, const ViewTable *table, int column, RestrictInfo *rinfo);
/*
 * Of a list of RestrictInfos the seeks to use together, a list of ViewSeek in order of columns: equalities on the
 * first columns, one of them perhaps with an array, then bounds on one more.
 */
extern List *view_seek_choose(PlannerInfo *root, RelOptInfo *rel, const ViewTable *table, List *rinfos);

/* ---- when a scan starts ---- */

typedef struct ViewRange
{
	LsmSlice lower; /* [lower, upper) */
	LsmSlice upper;
	bool point; /* at most one row, whose key is lower */
} ViewRange;

/* Ranges in ascending order that do not overlap, palloc'ed. */
extern ViewRange *view_seek_ranges(const View *view, int nseeks, const int *columns, const ViewSeekOp *ops, const Oid *types,
								   const Datum *values, const bool *nulls, int *nranges);

#endif
