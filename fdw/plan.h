/*
 * plan.h - what the planner and the executor agree on about a scan of documents.
 *
 * ForeignScan.fdw_exprs holds the operands of the seeks; fdw_private the lists below.
 */
#ifndef DOCSTORE_PLAN_H
#define DOCSTORE_PLAN_H

#include "postgres.h"

#include "foreign/fdwapi.h"

typedef enum PlanPrivate
{
	PLAN_SEEKS,   /* list of SeekOps, one for each of fdw_exprs */
	PLAN_COLUMNS, /* list of attribute numbers that somebody needs */
	PLAN_FLAGS    /* list of one integer: the flags below and the wait policy above them */
} PlanPrivate;

#define PLAN_BACKWARD 0x01 /* ids in descending order */
#define PLAN_LOCK 0x02     /* lock the documents that pass the quals, which the scan itself tests */
#define PLAN_VERSION 0x04  /* the rows' ctid shows their version */
#define PLAN_WAIT_SHIFT 4  /* LockWaitPolicy */

extern void docstore_get_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid relid);
extern void docstore_get_paths(PlannerInfo *root, RelOptInfo *rel, Oid relid);
extern ForeignScan *docstore_get_plan(PlannerInfo *root, RelOptInfo *rel, Oid relid, ForeignPath *path, List *tlist,
									  List *clauses, Plan *outer);

#endif
