/*
 * modify.h - INSERT, UPDATE, DELETE, COPY and TRUNCATE of documents through foreign tables.
 */
#ifndef DOCSTORE_MODIFY_H
#define DOCSTORE_MODIFY_H

#include "postgres.h"

#include "foreign/fdwapi.h"

extern void docstore_add_update_targets(PlannerInfo *root, Index rtindex, RangeTblEntry *rte, Relation relation);
extern List *docstore_plan_modify(PlannerInfo *root, ModifyTable *plan, Index result_relation, int subplan_index);
extern void docstore_begin_modify(ModifyTableState *mtstate, ResultRelInfo *rri, List *private, int subplan_index,
								  int eflags);
extern TupleTableSlot *docstore_exec_insert(EState *estate, ResultRelInfo *rri, TupleTableSlot *slot,
											TupleTableSlot *plan_slot);
extern TupleTableSlot **docstore_exec_batch_insert(EState *estate, ResultRelInfo *rri, TupleTableSlot **slots,
												   TupleTableSlot **plan_slots, int *nslots);
extern int docstore_batch_size(ResultRelInfo *rri);
extern TupleTableSlot *docstore_exec_update(EState *estate, ResultRelInfo *rri, TupleTableSlot *slot,
											TupleTableSlot *plan_slot);
extern TupleTableSlot *docstore_exec_delete(EState *estate, ResultRelInfo *rri, TupleTableSlot *slot,
											TupleTableSlot *plan_slot);
extern void docstore_end_modify(EState *estate, ResultRelInfo *rri);
extern void docstore_begin_insert(ModifyTableState *mtstate, ResultRelInfo *rri);
extern void docstore_end_insert(EState *estate, ResultRelInfo *rri);
extern void docstore_exec_truncate(List *relations, DropBehavior behavior, bool restart_seqs);
extern int docstore_is_updatable(Relation relation);

#endif
