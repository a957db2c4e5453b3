/*
 * repair.c - docstore.repair(): a new manifest from the files that are there (engine/repair.h), while the server runs.
 *
 * As long as the store is not up nobody but the compactor touches its files, since
 * it is the compactor that brings it up.  So that does the repair, too: the
 * function asks it through shared memory and waits.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/spin.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "engine/env_pg.h"
#include "store/compat.h"
#include "store/shmem.h"
#include "store/slot.h"
#include "store/store.h"
#include "worker/repair.h"

#define POLL_MS 50
#define BEGIN_MS 30000 /* the compactor may be at a try to recover, or come to nothing before it could repair */
#define RESULT_COLUMNS 6

PG_FUNCTION_INFO_V1(docstore_repair);

/* Goes from one state to another, if it is in that. */
static bool
step(DocstoreRepairState from, DocstoreRepairState to)
{
	bool done;

	SpinLockAcquire(&docstore_shared->mutex);
	done = docstore_shared->repair.state == from;
	if (done)
		docstore_shared->repair.state = to;
	SpinLockRelease(&docstore_shared->mutex);
	return done;
}

/* ---- the compactor ---- */

bool
docstore_repair_asked(void)
{
	bool asked;

	SpinLockAcquire(&docstore_shared->mutex);
	asked = docstore_shared->repair.state == DOCSTORE_REPAIR_ASKED;
	SpinLockRelease(&docstore_shared->mutex);
	return asked;
}

static void
note_damage(void *arg, const LsmError *damage)
{
	ereport(LOG,
			(errmsg("docstore: repair: %s", damage->text),
			 errdetail("File \"%s/%s\", offset %llu.", LSM_PG_DIRECTORY, damage->file, (unsigned long long) damage->offset)));
}

void
docstore_repair_run(bool (*should_stop)(void *arg))
{
	LsmError err = {0};
	LsmRepairResult result;
	LsmOptions options;
	LsmStatus status;

	if (!step(DOCSTORE_REPAIR_ASKED, DOCSTORE_REPAIR_RUNS))
		return;
	ereport(LOG, (errmsg("docstore: repair of the store begins")));
	docstore_engine_options(&options);
	options.block_cache_size = 0;
	options.max_handles = 1;
	status = lsm_repair(docstore_env(), &options, true, 0, note_damage, NULL, should_stop, &result, &err);
	/* No manifest tells where WAL is to be read from; the slot has kept it from there on, if not from before. */
	if (status == LSM_NOT_FOUND && docstore_slot_exists())
		status = lsm_repair(docstore_env(), &options, true, docstore_slot_position(), note_damage, NULL, should_stop, &result, &err);
	SpinLockAcquire(&docstore_shared->mutex);
	docstore_shared->repair.state = status == LSM_OK ? DOCSTORE_REPAIR_DONE : DOCSTORE_REPAIR_FAILED;
	docstore_shared->repair.result = result;
	docstore_shared->repair.err = err;
	SpinLockRelease(&docstore_shared->mutex);
	docstore_check(status, &err);
	ereport(LOG, (errmsg("docstore: repair of the store ended: %llu tables sound, %llu damaged, %llu lost",
						 (unsigned long long) result.tables, (unsigned long long) result.damaged_tables,
						 (unsigned long long) result.lost_tables)));
}

/* ---- docstore.repair() ---- */

static void
check_may_repair(void)
{
	char trouble[sizeof(docstore_shared->trouble)];
	LsmError err;
	LsmStatus status = lsm_ready(docstore_attach(), &err);

	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("recovery is in progress"),
				 errhint("docstore.repair() cannot be executed during recovery.")));
	if (status == LSM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot repair a store that is up"),
				 errhint("docstore.verify() lists what is damaged.  If files are, stop the server and use docstore-tool repair.")));
	if (status == LSM_BUSY && !docstore_get_trouble(trouble, sizeof(trouble)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot repair a store that is being recovered"),
				 errhint("Wait until docstore.status says that it is running, or failed.")));
}

static Datum
make_row(FunctionCallInfo fcinfo, const LsmRepairResult *result)
{
	Datum values[RESULT_COLUMNS];
	bool nulls[RESULT_COLUMNS] = {false};
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != RESULT_COLUMNS)
		elog(ERROR, "docstore.repair has an unexpected row type");
	values[0] = Int64GetDatum((int64) result->tables);
	values[1] = Int64GetDatum((int64) result->damaged_tables);
	values[2] = Int64GetDatum((int64) result->lost_tables);
	values[3] = Int64GetDatum((int64) result->entries);
	values[4] = BoolGetDatum(result->rewritten);
	values[5] = LSNGetDatum(result->position);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * docstore.repair() returns (tables, damaged_tables, lost_tables, entries, rewritten, wal_position).  55000 if the store is up,
 * or may come up by itself, or if the compactor does not come to it; 55006 if somebody repairs it already.
 */
Datum
docstore_repair(PG_FUNCTION_ARGS)
{
	TimestampTz since = GetCurrentTimestamp();
	char trouble[sizeof(docstore_shared->trouble)];
	DocstoreRepair repair;

	docstore_require_preload();
	check_may_repair();
	/* (done, failed: of somebody who did not wait for it) */
	if (!step(DOCSTORE_REPAIR_NONE, DOCSTORE_REPAIR_ASKED) && !step(DOCSTORE_REPAIR_DONE, DOCSTORE_REPAIR_ASKED) &&
		!step(DOCSTORE_REPAIR_FAILED, DOCSTORE_REPAIR_ASKED))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the store is being repaired already")));
	PG_TRY();
	{
		for (;;)
		{
			SpinLockAcquire(&docstore_shared->mutex);
			repair = docstore_shared->repair;
			SpinLockRelease(&docstore_shared->mutex);
			if (repair.state == DOCSTORE_REPAIR_DONE || repair.state == DOCSTORE_REPAIR_FAILED)
				break;
			if (TimestampDifferenceExceeds(since, GetCurrentTimestamp(), BEGIN_MS) &&
				step(DOCSTORE_REPAIR_ASKED, DOCSTORE_REPAIR_NONE))
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("the compactor did not begin to repair the store"),
						 docstore_get_trouble(trouble, sizeof(trouble)) ? errdetail("It says: %s.", trouble) : 0,
						 errhint("The server's log tells more.")));
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS, PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
		(void) step(repair.state, DOCSTORE_REPAIR_NONE);
	}
	PG_CATCH();
	{
		/* What has begun goes on; nobody waits for its result. */
		(void) step(DOCSTORE_REPAIR_ASKED, DOCSTORE_REPAIR_NONE);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (repair.state == DOCSTORE_REPAIR_FAILED && repair.err.status == LSM_NOT_FOUND)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("neither a manifest nor replication slot \"%s\" tells from where WAL is to be read", DOCSTORE_SLOT),
				 errhint("Stop the server, and use docstore-tool repair --position.")));
	if (repair.state == DOCSTORE_REPAIR_FAILED)
		docstore_throw(&repair.err);
	return make_row(fcinfo, &repair.result);
}
