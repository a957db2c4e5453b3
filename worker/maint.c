/*
 * maint.c - what an administrator sees and does: docstore.status, levels, compactions, flush, compact, verify.
 *
 * The functions' rights are set in the extension's script: looking is for
 * everybody, doing for superusers unless granted.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/progress.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/sinvaladt.h"
#include "utils/backend_progress.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/tuplestore.h"

#include "store/compat.h"
#include "store/purge.h"
#include "store/shmem.h"
#include "store/slot.h"
#include "store/store.h"
#include "store/txn.h"

PG_FUNCTION_INFO_V1(docstore_status);
PG_FUNCTION_INFO_V1(docstore_levels);
PG_FUNCTION_INFO_V1(docstore_compactions);
PG_FUNCTION_INFO_V1(docstore_flush);
PG_FUNCTION_INFO_V1(docstore_compact);
PG_FUNCTION_INFO_V1(docstore_verify);
PG_FUNCTION_INFO_V1(docstore_check_preload);

/* docstore.check_preload(): an error unless shared_preload_libraries loaded the module. */
Datum
docstore_check_preload(PG_FUNCTION_ARGS)
{
	docstore_require_preload();
	PG_RETURN_VOID();
}

#define STATUS_COLUMNS 23

/* docstore.status: one row of facts about the store. */
Datum
docstore_status(PG_FUNCTION_ARGS)
{
	LsmDb *db = docstore_attach();
	Datum values[STATUS_COLUMNS] = {0};
	bool nulls[STATUS_COLUMNS] = {0};
	TupleDesc desc;
	LsmStats stats = {0};
	LsmError err = {0};
	LsmStatus status = lsm_ready(db, &err);
	bool ready = status == LSM_OK;
	const char *state = ready ? "running" : "recovering";
	int files = 0;
	uint64 bytes = 0;
	uint64 entries = 0;
	TransactionId xid;
	int pid;
	int i = 0;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != STATUS_COLUMNS)
		elog(ERROR, "docstore.status has an unexpected row type");
	if (ready)
	{
		/* A table that cannot be opened does not keep the rest from being shown. */
		status = lsm_stats(db, &stats, &err);
		if (stats.last_error.status != LSM_OK)
			err = stats.last_error;
		else if (status == LSM_OK)
			err.status = docstore_get_trouble(err.text, sizeof(err.text)) ? LSM_INVALID : LSM_OK;
		for (int level = 0; level < LSM_NUM_LEVELS; level++)
		{
			files += stats.levels[level].files;
			bytes += stats.levels[level].bytes;
			entries += stats.levels[level].entries;
		}
	}
	else if (status != LSM_BUSY)
		state = "failed";
	else if (docstore_get_trouble(err.text, sizeof(err.text)))
		state = "failed"; /* the compactor did not come as far as recovery */
	else
		err.status = LSM_OK;
	pid = (int) pg_atomic_read_u32(&docstore_shared->compactor_pid);

	values[i++] = CStringGetTextDatum(state);
	nulls[i] = pid == 0;
	values[i++] = Int32GetDatum(pid);
	values[i++] = Int32GetDatum(files);
	values[i++] = Int64GetDatum((int64) bytes);
	values[i++] = Int64GetDatum((int64) entries);
	values[i++] = Int64GetDatum((int64) stats.last_seq);
	values[i++] = Int64GetDatum((int64) stats.memtable_used);
	values[i++] = Int64GetDatum((int64) stats.memtable_size);
	values[i++] = Int32GetDatum(stats.memtables_waiting);
	values[i++] = Int64GetDatum((int64) stats.compaction_debt);
	values[i++] = Int64GetDatum((int64) stats.flushes);
	values[i++] = Int64GetDatum((int64) stats.compactions);
	values[i++] = Int64GetDatum((int64) stats.bytes_flushed);
	values[i++] = Int64GetDatum((int64) stats.bytes_compacted);
	values[i++] = Int64GetDatum((int64) stats.stalls);
	values[i++] = Float8GetDatum((double) stats.stall_us / 1000.0);
	values[i++] = Int64GetDatum((int64) stats.cache.hits);
	values[i++] = Int64GetDatum((int64) stats.cache.misses);
	nulls[i] = !ready;
	values[i++] = LSNGetDatum((XLogRecPtr) stats.journal_position);
	nulls[i] = !ready || RecoveryInProgress();
	if (!nulls[i])
		values[i] = Int64GetDatum((int64) (GetXLogInsertRecPtr() - (XLogRecPtr) stats.journal_position));
	i++;
	xid = docstore_slot_peek_xid();
	nulls[i] = !TransactionIdIsValid(xid);
	if (!nulls[i])
		values[i] = Int64GetDatum((int64) (U64FromFullTransactionId(ReadNextFullTransactionId()) - docstore_widen_xid(xid)));
	i++;
	nulls[i] = err.status == LSM_OK;
	if (!nulls[i] && err.os_errno != 0)
		values[i] = CStringGetTextDatum(psprintf("%s: %s", err.text, strerror(err.os_errno)));
	else if (!nulls[i])
		values[i] = CStringGetTextDatum(err.text);
	i++;
	nulls[i] = err.status == LSM_OK || err.file[0] == '\0';
	if (!nulls[i])
		values[i] = CStringGetTextDatum(err.file);
	i++;
	Assert(i == STATUS_COLUMNS);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* docstore.levels: files, bytes and entries (versions) of each level. */
Datum
docstore_levels(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	LsmStats stats;
	LsmError err;

	InitMaterializedSRF(fcinfo, 0);
	docstore_check(lsm_stats(docstore_db(), &stats, &err), &err);
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
	{
		Datum values[4];
		bool nulls[4] = {0};

		values[0] = Int32GetDatum(level);
		values[1] = Int32GetDatum(stats.levels[level].files);
		values[2] = Int64GetDatum((int64) stats.levels[level].bytes);
		values[3] = Int64GetDatum((int64) stats.levels[level].entries);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* docstore.compactions: the merges that run now. */
Datum
docstore_compactions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	LsmMerge merges[LSM_MAX_MERGES];
	int n;

	InitMaterializedSRF(fcinfo, 0);
	n = lsm_merges(docstore_db(), merges);
	for (int i = 0; i < n; i++)
	{
		LsmMerge *merge = &merges[i];
		PGPROC *proc = docstore_backend_proc(merge->handle);
		Datum values[7];
		bool nulls[7] = {0};

		values[0] = Int32GetDatum(proc != NULL ? proc->pid : 0);
		nulls[0] = proc == NULL || proc->pid == 0;
		values[1] = Int32GetDatum(merge->level);
		values[2] = Int32GetDatum(merge->output_level);
		values[3] = Int32GetDatum(merge->files);
		values[4] = Int64GetDatum((int64) merge->bytes);
		values[5] = Float8GetDatum((double) merge->passed_us / 1000.0);
		/* an estimate, until it is over */
		values[6] = Float8GetDatum(Min((double) merge->passed_us / (double) Max(merge->takes_us, 1), 0.99));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* docstore.flush(): everything written so far goes into tables. */
Datum
docstore_flush(PG_FUNCTION_ARGS)
{
	LsmError err;

	docstore_check(lsm_flush(docstore_db(), &err), &err);
	docstore_wake_compactor();
	PG_RETURN_VOID();
}

static uint64
storage_of(Datum name)
{
	Oid type = TEXTOID;
	bool isnull;
	uint64 storage;

	SPI_connect();
	if (SPI_execute_with_args("SELECT storage_id FROM docstore.collection WHERE name OPERATOR(pg_catalog.=) $1", 1, &type,
							  &name, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read docstore.collection");
	if (SPI_processed == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("collection \"%s\" does not exist", TextDatumGetCString(name)),
						errhint("See the view docstore.collections, or make it with docstore.create_collection.")));
	storage = (uint64) DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return storage;
}

/* From one prefix of keys to another. */
static void
compact(LsmDb *db, const char *lower, const char *upper)
{
	LsmError err;

	docstore_check(lsm_compact_range(db, lsm_slice(lower, DOCSTORE_KEY_PREFIX), lsm_slice(upper, DOCSTORE_KEY_PREFIX), &err),
				   &err);
}

/* docstore.compact(collection): flushes, then compacts the collection, or the whole store, down to its deepest levels. */
Datum
docstore_compact(PG_FUNCTION_ARGS)
{
	LsmDb *db = docstore_db();
	char lower[DOCSTORE_KEY_PREFIX] = {0};
	char upper[DOCSTORE_KEY_PREFIX];

	docstore_find_purges();
	memset(upper, 0xff, sizeof(upper));
	if (!PG_ARGISNULL(0))
	{
		uint64 storage = storage_of(PG_GETARG_DATUM(0));

		for (const char *kind = DOCSTORE_STORAGE_KINDS; *kind != '\0'; kind++)
		{
			docstore_key_prefix(lower, *kind, MyDatabaseId, storage);
			docstore_key_prefix_end(upper, *kind, MyDatabaseId, storage);
			compact(db, lower, upper);
		}
	}
	else
		compact(db, lower, upper);
	docstore_wake_compactor();
	PG_RETURN_VOID();
}

/* What the engine reported: it calls us where nothing may throw, so rows are made afterwards. */
typedef struct Found
{
	LsmError *items;
	int n;
	int cap;
	int lost;
} Found;

static void
note_damage(void *arg, const LsmError *what)
{
	Found *found = arg;

	if (found->n == found->cap)
	{
		int cap = found->cap == 0 ? 64 : found->cap * 2;
		LsmError *items = realloc(found->items, (size_t) cap * sizeof(LsmError));

		if (items == NULL)
		{
			found->lost++;
			return;
		}
		found->items = items;
		found->cap = cap;
	}
	found->items[found->n++] = *what;
}

static void
show_progress(void *arg, uint64_t done, uint64_t total)
{
	const int params[] = {PROGRESS_COPY_BYTES_PROCESSED, PROGRESS_COPY_BYTES_TOTAL};
	int64 values[] = {(int64) done, (int64) total};

	pgstat_progress_update_multi_param(lengthof(params), params, values);
}

/*
 * docstore.verify(): reads every live file; a row for each damage, none if all is well.  An extension has no view for
 * progress of its own; it shows where that of docstore.export does.
 */
Datum
docstore_verify(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	LsmDb *db = docstore_db();
	Found found = {0};
	uint64 files;
	uint64 entries;
	LsmStatus status;
	LsmError err;

	InitMaterializedSRF(fcinfo, 0);
	pgstat_progress_start_command(PROGRESS_COMMAND_COPY, InvalidOid);
	status = lsm_verify(db, note_damage, show_progress, &found, &files, &entries, &err);
	pgstat_progress_end_command();
	for (int i = 0; i < found.n; i++)
	{
		Datum values[3];
		bool nulls[3] = {0};

		values[0] = CStringGetTextDatum(found.items[i].file);
		values[1] = Int64GetDatum((int64) found.items[i].offset);
		values[2] = CStringGetTextDatum(found.items[i].text);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	free(found.items);
	docstore_check(status, &err);
	if (found.lost > 0)
		ereport(WARNING, (errmsg("%d more damages did not fit in memory", found.lost)));
	return (Datum) 0;
}
