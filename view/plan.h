/*
 * plan.h - how to read a view, and reading it: the wrapper's functions for foreign tables over views.
 *
 * ForeignScan.fdw_exprs holds the operands of the seeks; fdw_private the lists below.
 */
#ifndef DOCSTORE_VIEW_PLAN_H
#define DOCSTORE_VIEW_PLAN_H

#include "postgres.h"

#include "access/parallel.h"
#include "foreign/fdwapi.h"

#include "store/compat.h"

typedef enum ViewPlanPrivate
{
	VIEW_PLAN_COLUMNS, /* for each seek the column of the key, integers */
	VIEW_PLAN_OPS,     /* and its operator, integers */
	VIEW_PLAN_TYPES,   /* and its operand's type, oids */
	VIEW_PLAN_NEEDED,  /* attribute numbers that somebody needs, integers */
	VIEW_PLAN_BACKWARD /* one integer */
} ViewPlanPrivate;

extern void view_get_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid relid);
extern void view_get_paths(PlannerInfo *root, RelOptInfo *rel, Oid relid);
extern ForeignScan *view_get_plan(PlannerInfo *root, RelOptInfo *rel, Oid relid, ForeignPath *path, List *tlist,
								  List *clauses, Plan *outer);

extern void view_begin_scan(ForeignScanState *node, int eflags);
extern TupleTableSlot *view_iterate_scan(ForeignScanState *node);
extern void view_rescan(ForeignScanState *node);
extern void view_end_scan(ForeignScanState *node);
/* By several processes. */
extern Size view_estimate_dsm(ForeignScanState *node, ParallelContext *context);
extern void view_initialize_dsm(ForeignScanState *node, ParallelContext *context, void *memory);
extern void view_initialize_worker(ForeignScanState *node, shm_toc *toc, void *memory);
extern void view_shutdown_scan(ForeignScanState *node);
extern void view_explain_scan(ForeignScanState *node, ExplainState *es);

extern bool view_analyze(Relation relation, AcquireSampleRowsFunc *func, BlockNumber *pages);

#endif
