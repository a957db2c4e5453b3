/*
 * plan.h - what the planner and the executor agree on about a scan of documents.
 *
 * ForeignScan.fdw_exprs holds the operands of the seeks and, of a direct UPDATE (direct.h), the new values of the columns
 * that it sets; fdw_private the lists below.  The scan itself tests the
 * conditions, which are in fdw_recheck_quals: the first of them, PLAN_FLAGS says how many, are true of all that its seeks
 * find, and are there for rows that are looked at again.
 */
#ifndef DOCSTORE_PLAN_H
#define DOCSTORE_PLAN_H

#include "postgres.h"

#include "foreign/fdwapi.h"

typedef enum PlanPrivate
{
	PLAN_SEEKS,   /* list of SeekOps, one for each of fdw_exprs */
	PLAN_COLUMNS, /* list of attribute numbers that somebody needs */
	PLAN_TESTED,  /* those of them that fdw_recheck_quals are about */
	PLAN_FLAGS,   /* list of two integers: the flags below, and how many conditions the seeks answer */
	PLAN_SETS     /* only of a direct UPDATE: list of the attribute numbers that it sets */
} PlanPrivate;

#define PLAN_BACKWARD 0x01 /* ids in descending order */
#define PLAN_VERSION 0x02  /* an UPDATE's or DELETE's target: the rows' ctid shows their version */
#define PLAN_LOCK 0x04     /* such a one with row triggers: lock the documents that pass the quals */
#define PLAN_KEY 0x08      /* ... against KEY SHARE, too (DELETE) */
#define PLAN_MARK 0x10     /* rows are looked for again: the ctid shows a number (mark.h) */
#define PLAN_COUNTS 0x20   /* a direct change whose rows the command tag counts */

extern void docstore_get_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid relid);
extern bool docstore_is_parallel_safe(PlannerInfo *root, RelOptInfo *rel, RangeTblEntry *rte);
extern void docstore_get_paths(PlannerInfo *root, RelOptInfo *rel, Oid relid);
extern ForeignScan *docstore_get_plan(PlannerInfo *root, RelOptInfo *rel, Oid relid, ForeignPath *path, List *tlist,
									  List *clauses, Plan *outer);

#endif
