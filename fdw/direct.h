/*
 * direct.h - UPDATE and DELETE of one foreign table, done by its scan.
 */
#ifndef DOCSTORE_DIRECT_H
#define DOCSTORE_DIRECT_H

#include "postgres.h"

#include "foreign/fdwapi.h"

extern bool docstore_plan_direct(PlannerInfo *root, ModifyTable *plan, Index result_relation, int subplan_index);
extern void docstore_begin_direct(ForeignScanState *node, int eflags);
extern TupleTableSlot *docstore_iterate_direct(ForeignScanState *node);

#endif
