/*
 * modify.h - INSERT, UPDATE, DELETE, COPY and TRUNCATE of documents through foreign tables.
 */
#ifndef DOCSTORE_MODIFY_H
#define DOCSTORE_MODIFY_H

#include "postgres.h"

#include "foreign/fdwapi.h"

#include "fdw/write.h"

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

/* ---- row by row, for a direct change (direct.c), too ---- */

typedef struct DocModify DocModify;
/* collection: what is locked to be changed already, or NULL. */
extern DocModify *docstore_modify_begin(EState *estate, ResultRelInfo *rri, CommandId cid, const DocCollection *collection);
/* An UPDATE: looks at which columns it sets; throws if the store sets them itself. */
extern void docstore_modify_sets(DocModify *modify, EState *estate, ResultRelInfo *rri);
/* Is the document as given by the row enough, without the stored one? */
extern bool docstore_modify_replaces(const DocModify *modify);
/*
 * One attempt to write what the slot holds, made from the version `seen`; DOC_NEWER if that is not the newest any more.
 * stored is that version's document, or NULL: then it is read if needed.  If somebody wants to see the row once it is
 * written, the slot shows it.
 */
extern DocResult docstore_modify_update(DocModify *modify, EState *estate, ResultRelInfo *rri, TupleTableSlot *slot,
										const DocumentKey *key, const LsmVersion *seen, Jsonb *stored, LsmVersion *newest);
/* The same without writing: the document that the row stands for.  The id must stay. */
extern Jsonb *docstore_modify_build(DocModify *modify, EState *estate, ResultRelInfo *rri, TupleTableSlot *slot,
									const DocumentKey *key, const LsmVersion *seen, Jsonb *stored);
extern DocWriter *docstore_modify_writer(DocModify *modify);
extern int docstore_modify_batch_size(const DocModify *modify);
extern DocResult docstore_modify_delete(DocModify *modify, ResultRelInfo *rri, TupleTableSlot *slot, const DocumentKey *key,
										const LsmVersion *seen, LsmVersion *version);
/* The newest version's value after DOC_NEWER. */
extern LsmSlice docstore_modify_found(const DocModify *modify);
extern uint64 docstore_modify_storage(const DocModify *modify);
/* Memory for one row; empties it. */
extern MemoryContext docstore_modify_temp(DocModify *modify);

#endif
