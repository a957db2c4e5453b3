/*
 * modify.c - changes documents through foreign tables.
 *
 * PostgreSQL does for a foreign table's rows neither NOT NULL nor CHECK nor a
 * partition's bound, nor the policies of the partitioned table above it; so the
 * row is made anew from the document that it turned into (a typed column may be
 * filled by doc, and the other way round), and they are tested on that.
 *
 * UPDATE and DELETE find their document by its id, a junk column of the scan, and
 * change the version that the scan saw, which is in ctid.  If that is not the
 * newest any more (READ COMMITTED), the newest is locked and PostgreSQL makes the
 * row again from it, with all conditions (EvalPlanQual), as for a table.  Row
 * triggers run before that could be noticed: so with them the scan locks what it
 * returns (plan.c).
 */
#include "postgres.h"

#include "fdw/modify.h"

#include "access/sysattr.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/appendinfo.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "fdw/build.h"
#include "fdw/collection.h"
#include "fdw/copy.h"
#include "fdw/looks.h"
#include "fdw/row.h"
#include "fdw/sight.h"
#include "fdw/write.h"

/* ResultRelInfo.ri_FdwState */
struct DocModify
{
	DocTable *table;
	ModifyTableState *mtstate; /* NULL of a direct change */
	DocCollection collection;
	DocWriter writer;
	DocRow row;     /* all columns; initialized when there first is one to show (ready) */
	DocRow newer;   /* likewise, of a document that is looked at again */
	bool copy;      /* COPY FROM: etag and modified are ignored, so that a dump can be restored */
	bool dumped;    /* ... and what is copied came out of such a table by pg_dump */
	bool asked;     /* ... and whether its rows can be written in batches */
	DocCopy *batch; /* ... if so */
	bool skip;      /* ON CONFLICT DO NOTHING */
	AttrNumber junk_id;
	AttrNumber junk_version;
	Bitmapset *changed; /* attribute numbers that the UPDATE sets */
	bool compare;       /* others may change, too (triggers, generated columns) */
	DocumentBuffer old;
	MemoryContext temp; /* until the next row */
};

/* The junk column of the version: what core calls it for tables, which may be in the same query. */
#define VERSION_NAME "ctid"

PG_FUNCTION_INFO_V1(docstore_put);

/* ---- planning ---- */

/* Row identities of one name must have one type over all of a query's targets. */
static const char *
junk_name(const DocTable *table)
{
	return psprintf("docstore id %u %d", table->id_type, table->id_typmod);
}

static void
require_id(const DocTable *table)
{
	if (table->id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_COLUMN_NAME_NOT_FOUND),
				 errmsg("foreign table \"%s\" cannot be changed", table->name),
				 errdetail("It has no column \"id\".")));
}

void
docstore_add_update_targets(PlannerInfo *root, Index rtindex, RangeTblEntry *rte, Relation relation)
{
	DocTable *table = doc_table_get(relation);

	require_id(table);
	add_row_identity_var(root,
						 makeVar(rtindex, table->id, table->id_type, table->id_typmod, table->id_collation, 0),
						 rtindex, junk_name(table));
	add_row_identity_var(root, makeVar(rtindex, SelfItemPointerAttributeNumber, TIDOID, -1, InvalidOid, 0), rtindex,
						 VERSION_NAME);
}

List *
docstore_plan_modify(PlannerInfo *root, ModifyTable *plan, Index result_relation, int subplan_index)
{
	return NIL;
}

int
docstore_is_updatable(Relation relation)
{
	if (doc_table_get(relation)->id == 0)
		return 0;
	return (1 << CMD_INSERT) | (1 << CMD_UPDATE) | (1 << CMD_DELETE);
}

/* ---- beginning and ending ---- */

DocModify *
docstore_modify_begin(EState *estate, ResultRelInfo *rri, CommandId cid, const DocCollection *collection)
{
	DocModify *modify = palloc0(sizeof(DocModify));
	Snapshot snapshot;

	modify->table = doc_table_get(rri->ri_RelationDesc);
	require_id(modify->table);
	/* COPY has no snapshot of its own. */
	snapshot = estate->es_snapshot != NULL ? estate->es_snapshot : GetActiveSnapshot();
	if (collection != NULL)
		modify->collection = *collection;
	else
		docstore_collection_at(modify->table, RowExclusiveLock, snapshot, &modify->collection);
	docstore_writer_init(&modify->writer, &modify->collection, cid, snapshot);
	modify->old.context = CurrentMemoryContext;
	modify->temp = AllocSetContextCreate(CurrentMemoryContext, "docstore row", ALLOCSET_DEFAULT_SIZES);
	return modify;
}

/* Many statements show no row: a DELETE by id would pay for the preparation as much as for the search. */
static DocRow *
ready(DocModify *modify, DocRow *row)
{
	if (row->table == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(modify->old.context);

		doc_row_init(row, modify->table, NIL, true);
		MemoryContextSwitchTo(old);
	}
	return row;
}

static void
no_assignment(const DocTable *table, AttrNumber attno)
{
	ereport(ERROR,
			(errcode(ERRCODE_GENERATED_ALWAYS),
			 errmsg("column \"%s\" of foreign table \"%s\" cannot be written", table->columns[attno - 1].name, table->name),
			 errdetail("The store sets etag and modified itself."),
			 errhint("Name the columns to write, such as (id, doc).")));
}

void
docstore_modify_sets(DocModify *modify, EState *estate, ResultRelInfo *rri)
{
	Bitmapset *columns = ExecGetUpdatedCols(rri, estate);
	TriggerDesc *triggers = rri->ri_TrigDesc;
	TupleConstr *constr = RelationGetDescr(rri->ri_RelationDesc)->constr;
	int i = -1;

	while ((i = bms_next_member(columns, i)) >= 0)
		modify->changed = bms_add_member(modify->changed, i + FirstLowInvalidHeapAttributeNumber);
	if (modify->table->etag != 0 && bms_is_member(modify->table->etag, modify->changed))
		no_assignment(modify->table, modify->table->etag);
	if (modify->table->modified != 0 && bms_is_member(modify->table->modified, modify->changed))
		no_assignment(modify->table, modify->table->modified);
	modify->compare = (triggers != NULL && triggers->trig_update_before_row) ||
					  (constr != NULL && constr->has_generated_stored);
}

void
docstore_begin_modify(ModifyTableState *mtstate, ResultRelInfo *rri, List *private, int subplan_index, int eflags)
{
	ModifyTable *plan = (ModifyTable *) mtstate->ps.plan;
	DocModify *modify;

	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	modify = docstore_modify_begin(mtstate->ps.state, rri, mtstate->ps.state->es_output_cid, NULL);
	modify->mtstate = mtstate;
	modify->skip = plan->onConflictAction == ONCONFLICT_NOTHING;

	if (mtstate->operation != CMD_INSERT)
	{
		Plan *subplan = outerPlanState(mtstate)->plan;

		modify->junk_id = ExecFindJunkAttributeInTlist(subplan->targetlist, junk_name(modify->table));
		if (!AttributeNumberIsValid(modify->junk_id))
			elog(ERROR, "could not find the junk column of the document's id");
		modify->junk_version = ExecFindJunkAttributeInTlist(subplan->targetlist, VERSION_NAME);
		if (!AttributeNumberIsValid(modify->junk_version))
			elog(ERROR, "could not find the junk column of the document's version");
	}
	if (mtstate->operation == CMD_UPDATE)
		docstore_modify_sets(modify, mtstate->ps.state, rri);
	rri->ri_FdwState = modify;
}

void
docstore_end_modify(EState *estate, ResultRelInfo *rri)
{
	/* All there is goes with the executor's memory. */
}

void
docstore_begin_insert(ModifyTableState *mtstate, ResultRelInfo *rri)
{
	ModifyTable *plan = (ModifyTable *) mtstate->ps.plan;
	DocModify *modify;
	bool dumped;

	/* A partition that an UPDATE moves rows into may be among its own targets. */
	if (rri->ri_FdwState != NULL)
		return;
	/* Whoever restores a dump says so by this setting: what things refer to may come later. */
	dumped = plan == NULL && !check_function_bodies;
	if (dumped)
	{
		DocTable *table = doc_table_get(rri->ri_RelationDesc);

		docstore_collection_foretell(table->collection, table->owner);
	}
	modify = docstore_modify_begin(mtstate->ps.state, rri, plan != NULL ? mtstate->ps.state->es_output_cid : GetCurrentCommandId(true),
								   NULL);
	modify->mtstate = mtstate;
	modify->copy = plan == NULL;
	/* (what comes through a partitioned table may have been another partition's row, and doc a column of its own) */
	modify->dumped = dumped && rri->ri_RootResultRelInfo == NULL;
	modify->skip = plan != NULL && plan->onConflictAction == ONCONFLICT_NOTHING;
	rri->ri_FdwState = modify;
}

void
docstore_end_insert(EState *estate, ResultRelInfo *rri)
{
	DocModify *modify = rri->ri_FdwState;

	if (modify != NULL && modify->batch != NULL)
		doc_copy_flush(modify->batch, &modify->writer);
}

/* ---- rows ---- */

static bool
has_after_trigger(ResultRelInfo *rri, CmdType operation)
{
	TriggerDesc *triggers = rri->ri_TrigDesc;

	if (triggers == NULL)
		return false;
	return operation == CMD_INSERT ? triggers->trig_insert_after_row : triggers->trig_update_after_row;
}

/* Does anybody look at the row once it is written? */
static bool
row_wanted(ResultRelInfo *rri, CmdType operation)
{
	return rri->ri_projectReturning != NULL || rri->ri_WithCheckOptions != NIL || has_after_trigger(rri, operation);
}

static bool
row_checked(ResultRelInfo *rri, const DocTable *table)
{
	return table->constrained || rri->ri_RelationDesc->rd_rel->relispartition;
}

static void
slot_id(const DocTable *table, TupleTableSlot *slot, uint64 storage, DocumentKey *key)
{
	bool isnull;
	Datum datum = slot_getattr(slot, table->id, &isnull);
	text *id;

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("document id must not be null"),
				 errdetail("Column \"id\" of foreign table \"%s\" is null.", table->name),
				 errhint("A document id has 1 to %d bytes.", DOCSTORE_MAX_ID)));
	id = DatumGetTextPP(datum);
	document_key_init(key, storage, VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
}

/* WITH CHECK of the policies (row level security) of the partitioned table that the statement is about. */
static void
check_policies(DocModify *modify, EState *estate, ResultRelInfo *rri, CmdType operation, TupleTableSlot *slot)
{
	CmdType statement = modify->mtstate->operation;

	if (rri->ri_WithCheckOptions == NIL)
		return;
	/* A new row that an UPDATE moves here is subject to that's policies; of a MERGE's it is not known, so both count. */
	if (operation == CMD_UPDATE || statement == CMD_UPDATE || statement == CMD_MERGE)
		ExecWithCheckOptions(WCO_RLS_UPDATE_CHECK, rri, slot, estate);
	if (operation == CMD_INSERT && statement != CMD_UPDATE)
		ExecWithCheckOptions(WCO_RLS_INSERT_CHECK, rri, slot, estate);
}

/*
 * Makes the slot show the document as it will be read, and tests the
 * constraints on that.  Returns the document, which no longer lies in the slot.
 */
static Jsonb *
show_and_check(DocModify *modify, EState *estate, ResultRelInfo *rri, CmdType operation, TupleTableSlot *slot,
			   const DocumentKey *key, TimestampTz now, Jsonb *doc)
{
	DocRow *row = ready(modify, &modify->row);

	doc_row_set_written(row, document_key_id(document_key_slice(key)), 0, now, doc);
	doc_row_store(row, slot);
	if (modify->mtstate != NULL)
		check_policies(modify, estate, rri, operation, slot);
	if (row_checked(rri, modify->table))
	{
		if (RelationGetDescr(rri->ri_RelationDesc)->constr != NULL)
			ExecConstraints(rri, slot, estate);
		/*
		 * As for a table: a new row that came through the root was routed by its
		 * bounds, unless a trigger changed it since.  Nobody moves rows out of a
		 * foreign partition.
		 */
		if (rri->ri_RelationDesc->rd_rel->relispartition &&
			(operation == CMD_UPDATE || rri->ri_RootResultRelInfo == NULL ||
			 (rri->ri_TrigDesc != NULL && rri->ri_TrigDesc->trig_insert_before_row)))
			ExecPartitionCheck(rri, slot, estate, true);
	}
	return doc_row_doc(row);
}

static void
show_etag(DocModify *modify, TupleTableSlot *slot, uint64 etag)
{
	if (modify->table->etag != 0)
		slot->tts_values[modify->table->etag - 1] = Int64GetDatum((int64) etag);
}

static void
check_unwritable(DocModify *modify, TupleTableSlot *slot)
{
	const DocTable *table = modify->table;

	if (modify->copy)
		return;
	slot_getallattrs(slot);
	if (table->etag != 0 && !slot->tts_isnull[table->etag - 1])
		no_assignment(table, table->etag);
	if (table->modified != 0 && !slot->tts_isnull[table->modified - 1])
		no_assignment(table, table->modified);
}

TupleTableSlot *
docstore_exec_insert(EState *estate, ResultRelInfo *rri, TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	DocModify *modify = rri->ri_FdwState;
	bool wanted = row_wanted(rri, CMD_INSERT);
	bool shown = wanted || row_checked(rri, modify->table);
	TimestampTz now = 0;
	MemoryContext old;
	DocumentKey key;
	DocResult result;
	uint64 etag;
	Jsonb *doc;

	/* Not before the first row: then COPY says which one it is. */
	if (modify->copy && !modify->asked)
	{
		modify->asked = true;
		modify->batch = doc_copy_begin(rri, modify->table->batch_size, GetMemoryChunkContext(modify));
	}
	if (shown || modify->batch == NULL)
		now = GetCurrentTimestamp();
	MemoryContextReset(modify->temp);
	old = MemoryContextSwitchTo(modify->temp);
	check_unwritable(modify, slot);
	slot_id(modify->table, slot, modify->collection.storage, &key);
	doc = doc_build_new(modify->table, slot, modify->dumped);
	if (shown)
		doc = show_and_check(modify, estate, rri, CMD_INSERT, slot, &key, now, doc);
	if (modify->batch != NULL)
	{
		doc_copy_add(modify->batch, &modify->writer, &key, doc);
		MemoryContextSwitchTo(old);
		return slot;
	}
	result = docstore_insert(&modify->writer, &key, doc, now, modify->skip, &etag);
	if (wanted)
		show_etag(modify, slot, etag);
	MemoryContextSwitchTo(old);
	if (result == DOC_DONE)
		return slot;
	/* For EXPLAIN (ANALYZE): one more that was in conflict. */
	InstrCountTuples2(&modify->mtstate->ps, 1);
	return NULL;
}

int
docstore_batch_size(ResultRelInfo *rri)
{
	/* Of an EXPLAIN there is nothing more to know. */
	DocModify *modify = rri->ri_FdwState;
	DocTable *table = modify != NULL ? modify->table : doc_table_get(rri->ri_RelationDesc);
	TriggerDesc *triggers = rri->ri_TrigDesc;

	if ((modify != NULL && (modify->skip || modify->mtstate->mt_transition_capture != NULL ||
							docstore_insert_looks(modify->mtstate))) ||
		row_wanted(rri, CMD_INSERT) || (triggers != NULL && triggers->trig_insert_before_row))
		return 1;
	return table->batch_size;
}

TupleTableSlot **
docstore_exec_batch_insert(EState *estate, ResultRelInfo *rri, TupleTableSlot **slots, TupleTableSlot **plan_slots,
						   int *nslots)
{
	DocModify *modify = rri->ri_FdwState;
	TimestampTz now = GetCurrentTimestamp();
	int n = *nslots;
	MemoryContext old;
	DocumentKey *keys;
	Jsonb **docs;
	uint64 *etags;
	Size bytes = 0;
	int in = 0;

	MemoryContextReset(modify->temp);
	old = MemoryContextSwitchTo(modify->temp);
	keys = palloc(DOCSTORE_MAX_BATCH * sizeof(DocumentKey));
	docs = palloc(DOCSTORE_MAX_BATCH * sizeof(Jsonb *));
	etags = palloc(DOCSTORE_MAX_BATCH * sizeof(uint64));
	for (int i = 0; i < n; i++)
	{
		check_unwritable(modify, slots[i]);
		slot_id(modify->table, slots[i], modify->collection.storage, &keys[in]);
		docs[in] = doc_build_new(modify->table, slots[i], modify->dumped);
		if (row_checked(rri, modify->table))
		{
			/* Shown in the row's own memory, which the next one uses again. */
			Jsonb *shown = show_and_check(modify, estate, rri, CMD_INSERT, slots[i], &keys[in], now, docs[in]);

			docs[in] = memcpy(palloc(VARSIZE(shown)), shown, VARSIZE(shown));
		}
		bytes += VARSIZE_ANY(docs[in]);
		in++;
		if (in == DOCSTORE_MAX_BATCH || i == n - 1 || bytes > docstore_batch_bytes())
		{
			docstore_insert_many(&modify->writer, in, keys, docs, now, etags);
			in = 0;
			bytes = 0;
		}
	}
	MemoryContextSwitchTo(old);
	return slots;
}

/* The row that the subplan found: its id and version. */
static void
planned_row(DocModify *modify, TupleTableSlot *plan_slot, DocumentKey *key, LsmVersion *seen)
{
	bool isnull;
	Datum datum = ExecGetJunkAttribute(plan_slot, modify->junk_id, &isnull);
	text *id;

	if (isnull)
		elog(ERROR, "the document's id is null");
	id = DatumGetTextPP(datum);
	document_key_init(key, modify->collection.storage, VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
	datum = ExecGetJunkAttribute(plan_slot, modify->junk_version, &isnull);
	if (isnull)
		elog(ERROR, "the document's version is null");
	memset(seen, 0, sizeof(*seen));
	seen->seq = document_tid_get((ItemPointer) DatumGetPointer(datum));
}

/*
 * The version that was seen is not the newest; the newest is locked now, and in
 * writer.found.  Runs the subplan again for it alone.  The subplan's row, or
 * NULL if the document does not fulfil the conditions any more.
 */
static TupleTableSlot *
plan_again(DocModify *modify, ResultRelInfo *rri, const DocumentKey *key, const LsmVersion *newest)
{
	EPQState *epq = &modify->mtstate->mt_epqstate;
	TupleTableSlot *slot = EvalPlanQualSlot(epq, rri->ri_RelationDesc, rri->ri_RangeTableIndex);
	DocRow *row = ready(modify, &modify->newer);
	MemoryContext old;

	doc_row_set(row, document_key_id(document_key_slice(key)), newest->seq, lsm_buf_slice(&modify->writer.found));
	doc_row_store(row, slot);
	document_tid_set(&slot->tts_tid, newest->seq);
	/* The state that it makes, at the first time, is the query's. */
	old = MemoryContextSwitchTo(modify->mtstate->ps.state->es_query_cxt);
	slot = EvalPlanQual(epq, rri->ri_RelationDesc, rri->ri_RangeTableIndex, slot);
	MemoryContextSwitchTo(old);
	return TupIsNull(slot) ? NULL : slot;
}

/* The same for an UPDATE: the new row. */
static TupleTableSlot *
update_again(DocModify *modify, EState *estate, ResultRelInfo *rri, const DocumentKey *key, const LsmVersion *newest)
{
	TupleTableSlot *plan_slot = plan_again(modify, rri, key, newest);
	TupleConstr *constr = RelationGetDescr(rri->ri_RelationDesc)->constr;
	TupleTableSlot *slot;

	if (plan_slot == NULL)
		return NULL;
	doc_row_store(&modify->newer, rri->ri_oldTupleSlot);
	slot = ExecGetUpdateNewTuple(rri, plan_slot, rri->ri_oldTupleSlot);
	slot->tts_tableOid = RelationGetRelid(rri->ri_RelationDesc);
	if (constr != NULL && constr->has_generated_stored)
		ExecComputeStoredGenerated(rri, estate, slot, CMD_UPDATE);
	return slot;
}

/* Adds to `changed` the columns whose value in the slot is another than the stored document's. */
static Bitmapset *
compare_columns(DocModify *modify, TupleTableSlot *slot, const DocumentKey *key, Jsonb *stored)
{
	const DocTable *table = modify->table;
	TupleDesc desc = slot->tts_tupleDescriptor;
	TupleTableSlot *before = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	Bitmapset *changed = bms_copy(modify->changed);
	DocRow *row = ready(modify, &modify->row);

	doc_row_set_written(row, document_key_id(document_key_slice(key)), 0, 0, stored);
	doc_row_store(row, before);
	slot_getallattrs(slot);
	for (int i = 0; i < table->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		DocRole role = table->columns[i].role;

		if (role != DOC_ROLE_FIELD && role != DOC_ROLE_DOC)
			continue;
		if (slot->tts_isnull[i] != before->tts_isnull[i] ||
			(!slot->tts_isnull[i] &&
			 !datum_image_eq(slot->tts_values[i], before->tts_values[i], att->attbyval, att->attlen)))
			changed = bms_add_member(changed, i + 1);
	}
	ExecDropSingleTupleTableSlot(before);
	return changed;
}

bool
docstore_modify_replaces(const DocModify *modify)
{
	return !modify->compare && modify->table->doc != 0 && bms_is_member(modify->table->doc, modify->changed);
}

static Jsonb *
build_update(DocModify *modify, EState *estate, ResultRelInfo *rri, TupleTableSlot *slot, const DocumentKey *key,
			 const DocumentKey *new_key, const LsmVersion *seen, Jsonb *stored, TimestampTz now)
{
	const Bitmapset *changed = modify->changed;
	Jsonb *doc;

	if (stored == NULL && !docstore_modify_replaces(modify))
	{
		TimestampTz modified;
		LsmSlice body;

		doc_read_version(key, seen->seq, &modify->writer.found);
		document_decode(lsm_buf_slice(&modify->writer.found), &modified, &body);
		stored = document_buffer_set(&modify->old, body);
		if (modify->compare)
			changed = compare_columns(modify, slot, key, stored);
	}
	doc = doc_build_changed(modify->table, slot, stored, changed);
	if (row_wanted(rri, CMD_UPDATE) || row_checked(rri, modify->table))
		doc = show_and_check(modify, estate, rri, CMD_UPDATE, slot, new_key, now, doc);
	return doc;
}

Jsonb *
docstore_modify_build(DocModify *modify, EState *estate, ResultRelInfo *rri, TupleTableSlot *slot, const DocumentKey *key,
					  const LsmVersion *seen, Jsonb *stored)
{
	return build_update(modify, estate, rri, slot, key, key, seen, stored, GetCurrentTimestamp());
}

DocResult
docstore_modify_update(DocModify *modify, EState *estate, ResultRelInfo *rri, TupleTableSlot *slot, const DocumentKey *key,
					   const LsmVersion *seen, Jsonb *stored, LsmVersion *newest)
{
	TimestampTz now = GetCurrentTimestamp();
	DocumentKey new_key;
	DocResult result;
	uint64 etag;
	bool moved;
	Jsonb *doc;

	slot_id(modify->table, slot, modify->collection.storage, &new_key);
	moved = lsm_slice_compare(document_key_slice(key), document_key_slice(&new_key)) != 0;
	doc = build_update(modify, estate, rri, slot, key, &new_key, seen, stored, now);
	result = docstore_update(&modify->writer, key, seen, moved ? &new_key : NULL, doc, now, &etag, newest);
	if (row_wanted(rri, CMD_UPDATE) && result == DOC_DONE)
		show_etag(modify, slot, etag);
	return result;
}

TupleTableSlot *
docstore_exec_update(EState *estate, ResultRelInfo *rri, TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	DocModify *modify = rri->ri_FdwState;
	DocResult result;
	MemoryContext old;
	LsmVersion newest;
	DocumentKey key;
	LsmVersion seen;

	MemoryContextReset(modify->temp);
	old = MemoryContextSwitchTo(modify->temp);
	planned_row(modify, plan_slot, &key, &seen);
	while ((result = docstore_modify_update(modify, estate, rri, slot, &key, &seen, NULL, &newest)) == DOC_NEWER)
	{
		slot = update_again(modify, estate, rri, &key, &newest);
		if (slot == NULL)
			break;
		seen = newest;
	}
	MemoryContextSwitchTo(old);
	return result == DOC_DONE ? slot : NULL;
}

DocResult
docstore_modify_delete(DocModify *modify, ResultRelInfo *rri, TupleTableSlot *slot, const DocumentKey *key,
					   const LsmVersion *seen, LsmVersion *version)
{
	bool wanted = rri->ri_projectReturning != NULL;
	DocResult result = docstore_delete(&modify->writer, key, seen, wanted, version);

	if (result == DOC_DONE && wanted)
	{
		DocRow *row = ready(modify, &modify->row);

		doc_row_set(row, document_key_id(document_key_slice(key)), version->seq, lsm_buf_slice(&modify->writer.found));
		doc_row_store(row, slot);
	}
	return result;
}

TupleTableSlot *
docstore_exec_delete(EState *estate, ResultRelInfo *rri, TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	DocModify *modify = rri->ri_FdwState;
	MemoryContext old;
	DocumentKey key;
	LsmVersion version;
	DocResult result;
	LsmVersion seen;

	MemoryContextReset(modify->temp);
	old = MemoryContextSwitchTo(modify->temp);
	planned_row(modify, plan_slot, &key, &seen);
	while ((result = docstore_modify_delete(modify, rri, slot, &key, &seen, &version)) == DOC_NEWER)
	{
		if (plan_again(modify, rri, &key, &version) == NULL)
			break;
		seen = version;
	}
	MemoryContextSwitchTo(old);
	return result == DOC_DONE ? slot : NULL;
}

LsmSlice
docstore_modify_found(const DocModify *modify)
{
	return lsm_buf_slice(&modify->writer.found);
}

uint64
docstore_modify_storage(const DocModify *modify)
{
	return modify->collection.storage;
}

DocWriter *
docstore_modify_writer(DocModify *modify)
{
	return &modify->writer;
}

int
docstore_modify_batch_size(const DocModify *modify)
{
	return modify->table->batch_size;
}

MemoryContext
docstore_modify_temp(DocModify *modify)
{
	MemoryContextReset(modify->temp);
	return modify->temp;
}

/* ---- TRUNCATE ---- */

void
docstore_exec_truncate(List *relations, DropBehavior behavior, bool restart_seqs)
{
	ListCell *lc;

	foreach (lc, relations)
		docstore_collection_truncate(doc_table_get((Relation) lfirst(lc)));
}

/* ---- docstore.put ---- */

/* docstore.put(collection text, id text, doc jsonb, expected_etag bigint DEFAULT NULL) RETURNS bigint */
Datum
docstore_put(PG_FUNCTION_ARGS)
{
	DocCollection collection;
	DocWriter *writer;
	DocumentKey key;
	uint64 expected = 0;
	text *id;
	uint64 etag;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0)   ? "collection"
											   : PG_ARGISNULL(1) ? "document id"
																 : "document")));
	if (!PG_ARGISNULL(3))
	{
		if (PG_GETARG_INT64(3) < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("expected etag must not be negative"),
					 errhint("0 means that there must be no such document, NULL that it does not matter.")));
		expected = (uint64) PG_GETARG_INT64(3);
	}
	PreventCommandIfReadOnly("docstore.put()");
	docstore_collection_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), NoLock, &collection);
	docstore_collection_check_owner(&collection);
	docstore_collection_get(collection.name, RowExclusiveLock, &collection);
	docstore_collection_check_owner(&collection);
	id = PG_GETARG_TEXT_PP(1);
	document_key_init(&key, collection.storage, VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));

	/* A command of its own, as if a function had run an UPDATE: what calls it must not mistake the write for its own. */
	CommandCounterIncrement();
	writer = palloc(sizeof(DocWriter));
	docstore_writer_init(writer, &collection, GetCurrentCommandId(true), GetActiveSnapshot());
	etag = docstore_put_document(writer, &key, PG_GETARG_JSONB_P(2), GetCurrentTimestamp(),
								 PG_ARGISNULL(3) ? NULL : &expected);
	PG_RETURN_INT64((int64) etag);
}
