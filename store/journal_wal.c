/*
 * journal_wal.c - one system has one log: a batch is a WAL record of our own resource manager.
 *
 *     record DOCSTORE_WAL_BATCH := the batch (engine/batch.h)
 *     record DOCSTORE_WAL_MARK  := nothing; flushing up to it flushes all that came before
 *
 * Redo does nothing: the startup process leaves the memtable alone, and the
 * compactor rebuilds it afterwards from the position that the manifest names
 * (lsm_recover calls replay; a reader that stops early asks whether WAL is there).  A replication slot keeps WAL from there (slot.h).
 *
 * WAL before data: before a table enters the manifest, WAL is flushed up to a
 * mark inserted then.  That covers the records of all versions within, and the
 * commit records of every transaction whose outcome was relied on when versions
 * were frozen (an asynchronous commit may be visible before it is durable).
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xloginsert.h"
#include "access/xlogreader.h"
#include "access/xlogutils.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "utils/memutils.h"

#include "engine/env_pg.h"
#include "store/backup.h"
#include "store/journal_wal.h"
#include "store/shmem.h"
#include "store/slot.h"
#include "store/stop.h"
#include "store/store.h"

#define DOCSTORE_WAL_BATCH 0x00
#define DOCSTORE_WAL_MARK 0x10

/* ---- the resource manager ---- */

static void
rmgr_redo(XLogReaderState *record)
{
	/* See the head: nothing to do, and nothing that could fail and keep the server down. */
	if ((XLogRecGetInfo(record) & ~XLR_INFO_MASK) == DOCSTORE_WAL_BATCH)
		docstore_shared->redone = true;
}

/* Only if there is something to redo. */
static void
rmgr_startup(void)
{
	docstore_slot_make_for_redo();
}

static void
rmgr_desc(StringInfo buf, XLogReaderState *record)
{
	uint8 info = XLogRecGetInfo(record) & ~XLR_INFO_MASK;

	if (info == DOCSTORE_WAL_BATCH && XLogRecGetDataLen(record) >= 12)
	{
		uint64 seq;
		uint32 count;

		memcpy(&seq, XLogRecGetData(record), sizeof(seq));
		memcpy(&count, XLogRecGetData(record) + 8, sizeof(count));
		appendStringInfo(buf, "sequence " UINT64_FORMAT ", %u changes", seq, count);
	}
}

static const char *
rmgr_identify(uint8 info)
{
	switch (info & ~XLR_INFO_MASK)
	{
		case DOCSTORE_WAL_BATCH:
			return "BATCH";
		case DOCSTORE_WAL_MARK:
			return "MARK";
		default:
			return NULL;
	}
}

static RmgrData rmgr = {
	.rm_name = "docstore",
	.rm_redo = rmgr_redo,
	.rm_startup = rmgr_startup,
	.rm_desc = rmgr_desc,
	.rm_identify = rmgr_identify,
};

void
docstore_rmgr_init(void)
{
	RegisterCustomRmgr(DOCSTORE_RMGR_ID, &rmgr);
}

/* ---- the journal ---- */

static LsmStatus
wal_append(LsmJournal *journal, LsmSlice batch, bool sync, LsmError *err)
{
	docstore_stop("write");
	START_CRIT_SECTION();
	XLogBeginInsert();
	XLogRegisterData((char *) batch.data, (int) batch.len);
	XLogInsert(DOCSTORE_RMGR_ID, DOCSTORE_WAL_BATCH);
	END_CRIT_SECTION();
	docstore_stop("write logged");
	return LSM_OK;
}

static LsmStatus
wal_rotate(LsmJournal *journal, uint64_t new_number, uint64_t *position, LsmError *err)
{
	/* Nobody inserts a record of ours meanwhile: the write pin is held exclusively. */
	*position = GetXLogInsertRecPtr();
	docstore_stop("rotate");
	return LSM_OK;
}

/* Whoever flushed: only the compactor holds the slot, and it moves it between two pieces of work, where it may throw. */
static void
wal_release(LsmJournal *journal, uint64_t position)
{
}

static LsmStatus
wal_before_install(LsmJournal *journal, LsmError *err)
{
	static char nothing = 0;
	XLogRecPtr end;

	docstore_stop("install");
	START_CRIT_SECTION();
	XLogBeginInsert();
	XLogRegisterData(&nothing, 1);
	XLogSetRecordFlags(XLOG_MARK_UNIMPORTANT); /* it is no reason for a checkpoint */
	end = XLogInsert(DOCSTORE_RMGR_ID, DOCSTORE_WAL_MARK);
	XLogFlush(end);
	END_CRIT_SECTION();
	docstore_stop("install logged");
	return LSM_OK;
}

static bool
asked_to_stop(void)
{
	return ShutdownRequestPending || (InterruptPending && (ProcDiePending || QueryCancelPending));
}

/* Reads all our records from `start` on; what it calls may throw. */
static LsmStatus
read_wal(XLogReaderState *reader, ReadLocalXLogPageNoWaitPrivate *private, XLogRecPtr start, LsmReplay fn, void *arg,
		 LsmError *err)
{
	XLogRecPtr end = GetFlushRecPtr(NULL);
	XLogRecPtr first;
	char *problem = NULL;

	/*
	 * The manifest is written after WAL was flushed to beyond the position it
	 * names.  So these are not this server's files, or not this server's WAL; going
	 * on would lose what comes to lie between the two.
	 */
	if (start > end)
		return lsm_fail(err, LSM_GONE, 0, NULL, 0, "the store needs WAL from %X/%X, but the server's ends at %X/%X",
						LSN_FORMAT_ARGS(start), LSN_FORMAT_ARGS(end));
	first = XLogFindNextRecord(reader, start);
	if (XLogRecPtrIsInvalid(first))
	{
		/* Nothing was written since. */
		if (private->end_of_wal)
			return LSM_OK;
		return lsm_fail(err, LSM_GONE, 0, NULL, 0, "could not find a WAL record after %X/%X", LSN_FORMAT_ARGS(start));
	}
	for (;;)
	{
		LsmStatus status;

		lsm_env_pg_absorb();
		if (asked_to_stop())
			return lsm_fail(err, LSM_INTERRUPTED, 0, NULL, 0, "recovery was interrupted");
		if (XLogReadRecord(reader, &problem) == NULL)
			break;
		if (XLogRecGetRmid(reader) != DOCSTORE_RMGR_ID ||
			(XLogRecGetInfo(reader) & ~XLR_INFO_MASK) != DOCSTORE_WAL_BATCH)
			continue;
		status = fn(arg, lsm_slice(XLogRecGetData(reader), XLogRecGetDataLen(reader)), err);
		if (status != LSM_OK)
			return status;
	}
	/* The reader also says so when it meets the end of what was flushed. */
	if (private->end_of_wal)
		return LSM_OK;
	return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "could not read WAL at %X/%X: %s", LSN_FORMAT_ARGS(reader->EndRecPtr),
					problem != NULL ? problem : "no message");
}

/* An error that PostgreSQL threw, as a status. */
static LsmStatus
caught(XLogRecPtr position, LsmError *err)
{
	ErrorData *edata = CopyErrorData();
	LsmStatus status;

	FlushErrorState();
	/* a file that is not there; what else may be wrong is said in the server's words */
	if (edata->sqlerrcode == ERRCODE_UNDEFINED_FILE)
		status = lsm_fail(err, LSM_GONE, 0, NULL, 0, "the WAL from %X/%X that the store needs is gone: %s",
						  LSN_FORMAT_ARGS(position), edata->message);
	else
		status = lsm_fail(err, LSM_IO, 0, NULL, 0, "could not read the WAL from %X/%X: %s", LSN_FORMAT_ARGS(position),
						  edata->message);
	FreeErrorData(edata);
	return status;
}

static LsmStatus
wal_replay(LsmJournal *journal, uint64_t position, LsmReplay fn, void *arg, LsmError *err)
{
	MemoryContext context = CurrentMemoryContext;
	ReadLocalXLogPageNoWaitPrivate private = {0};
	XLogReaderState *volatile reader = NULL;
	volatile LsmStatus status = LSM_OK;
	uint32 holdoff = InterruptHoldoffCount;

	PG_TRY();
	{
		docstore_slot_hold(position);
		reader = XLogReaderAllocate(wal_segment_size, NULL,
									XL_ROUTINE(.page_read = &read_local_xlog_page_no_wait,
											   .segment_open = &wal_segment_open,
											   .segment_close = &wal_segment_close),
									&private);
		if (reader == NULL)
			status = lsm_fail(err, LSM_NO_MEMORY, 0, NULL, 0, "out of memory for reading WAL");
		else
			status = read_wal(reader, &private, (XLogRecPtr) position, fn, arg, err);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		InterruptHoldoffCount = holdoff; /* the throw reset it */
		status = caught((XLogRecPtr) position, err);
	}
	PG_END_TRY();
	if (reader != NULL)
		XLogReaderFree(reader);
	if (status == LSM_GONE && docstore_ignore_missing_wal)
	{
		ereport(LOG,
				(errmsg("docstore: the store comes up without WAL that it needs: %s", err->text),
				 errdetail("Documents that were not yet in tables are lost, as docstore.ignore_missing_wal says.")));
		journal->skipped = true;
		status = LSM_OK;
	}
	return status;
}

static void
wal_close(LsmJournal *journal)
{
}

static bool
wal_copying(LsmJournal *journal)
{
	return docstore_backup_running();
}

static const LsmJournalOps wal_ops = {
	.append = wal_append,
	.rotate = wal_rotate,
	.release = wal_release,
	.before_install = wal_before_install,
	.replay = wal_replay,
	.close = wal_close,
	.copying = wal_copying,
};

LsmJournal *
docstore_journal(void)
{
	static LsmJournal journal = {.ops = &wal_ops, .concurrent = true};

	return &journal;
}
