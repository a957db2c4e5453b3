/*
 * journal_wal.c - one system has one log: a batch is a WAL record of our own resource manager.
 *
 *     record DOCSTORE_WAL_BATCH := the batch (engine/batch.h)
 *     record DOCSTORE_WAL_MARK  := nothing; flushing up to it flushes all that came before
 *
 * Redo does nothing: the startup process leaves the memtable alone, and the
 * compactor rebuilds it afterwards from the position that the manifest names
 * (lsm_recover calls replay).  A physical replication slot keeps WAL from there,
 * for checkpoints know nothing of our memtables.
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
#include "replication/slot.h"
#include "utils/memutils.h"

#include "store/compat.h"
#include "store/journal_wal.h"
#include "store/shmem.h"

#define DOCSTORE_WAL_BATCH 0x00
#define DOCSTORE_WAL_MARK 0x10

/* ---- the resource manager ---- */

static void
rmgr_redo(XLogReaderState *record)
{
	/* See the head: nothing to do, and nothing that could fail and keep the server down. */
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
	START_CRIT_SECTION();
	XLogBeginInsert();
	XLogRegisterData((char *) batch.data, (int) batch.len);
	XLogInsert(DOCSTORE_RMGR_ID, DOCSTORE_WAL_BATCH);
	END_CRIT_SECTION();
	return LSM_OK;
}

static LsmStatus
wal_rotate(LsmJournal *journal, uint64_t new_number, uint64_t *position, LsmError *err)
{
	/* Nobody inserts a record of ours meanwhile: the write pin is held exclusively. */
	*position = GetXLogInsertRecPtr();
	return LSM_OK;
}

static void
wal_release(LsmJournal *journal, uint64_t position)
{
	/* Whoever flushed; only the process that holds the slot can move it, and it looks again by itself. */
	if (MyReplicationSlot != NULL)
		docstore_slot_advance(position);
}

static LsmStatus
wal_before_install(LsmJournal *journal, LsmError *err)
{
	static char nothing = 0;
	XLogRecPtr end;

	START_CRIT_SECTION();
	XLogBeginInsert();
	XLogRegisterData(&nothing, 1);
	end = XLogInsert(DOCSTORE_RMGR_ID, DOCSTORE_WAL_MARK);
	XLogFlush(end);
	END_CRIT_SECTION();
	return LSM_OK;
}

/* Reads all our records; what it calls may throw. */
static LsmStatus
read_wal(XLogReaderState *reader, ReadLocalXLogPageNoWaitPrivate *private, XLogRecPtr start, LsmReplay fn, void *arg,
		 LsmError *err)
{
	XLogRecPtr first = XLogFindNextRecord(reader, start);
	char *problem = NULL;

	if (XLogRecPtrIsInvalid(first))
	{
		/* Nothing was written since. */
		if (private->end_of_wal)
			return LSM_OK;
		return lsm_fail(err, LSM_CORRUPT, 0, NULL, start, "could not find a WAL record after %X/%X", LSN_FORMAT_ARGS(start));
	}
	for (;;)
	{
		LsmStatus status;

		if (InterruptPending && (ProcDiePending || QueryCancelPending))
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
	return lsm_fail(err, LSM_CORRUPT, 0, NULL, reader->EndRecPtr, "could not read WAL at %X/%X: %s",
					LSN_FORMAT_ARGS(reader->EndRecPtr), problem != NULL ? problem : "no message");
}

static LsmStatus
wal_replay(LsmJournal *journal, uint64_t position, LsmReplay fn, void *arg, LsmError *err)
{
	MemoryContext context = CurrentMemoryContext;
	ReadLocalXLogPageNoWaitPrivate private = {0};
	XLogReaderState *volatile reader = NULL;
	volatile LsmStatus status = LSM_OK;

	PG_TRY();
	{
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
		ErrorData *edata;

		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		FlushErrorState();
		status = lsm_fail(err, LSM_CORRUPT, 0, NULL, position, "the WAL from %X/%X that the store needs is gone: %s",
						  LSN_FORMAT_ARGS((XLogRecPtr) position), edata->message);
		FreeErrorData(edata);
	}
	PG_END_TRY();
	if (reader != NULL)
		XLogReaderFree(reader);
	return status;
}

static void
wal_close(LsmJournal *journal)
{
}

static const LsmJournalOps wal_ops = {
	.append = wal_append,
	.rotate = wal_rotate,
	.release = wal_release,
	.before_install = wal_before_install,
	.replay = wal_replay,
	.close = wal_close,
};

LsmJournal *
docstore_journal(void)
{
	static LsmJournal journal = {.ops = &wal_ops, .concurrent = true};

	return &journal;
}

/* ---- the slot ---- */

void
docstore_slot_acquire(void)
{
	if (MyReplicationSlot != NULL)
		return;
	CheckSlotRequirements();
	if (SearchNamedReplicationSlot(DOCSTORE_SLOT, true) != NULL)
		docstore_acquire_slot(DOCSTORE_SLOT);
	else
	{
		/* A new store, or a restored base backup: those leave slots out. */
		docstore_create_slot(DOCSTORE_SLOT);
		ReplicationSlotReserveWal();
		ReplicationSlotMarkDirty();
		ReplicationSlotSave();
	}
	pg_atomic_write_u64(&docstore_shared->retained_from, MyReplicationSlot->data.restart_lsn);
}

void
docstore_slot_advance(uint64 position)
{
	ReplicationSlot *slot = MyReplicationSlot;
	bool moved = false;

	if (slot == NULL || position == 0)
		return;
	SpinLockAcquire(&slot->mutex);
	if (slot->data.restart_lsn < (XLogRecPtr) position)
	{
		slot->data.restart_lsn = (XLogRecPtr) position;
		moved = true;
	}
	SpinLockRelease(&slot->mutex);
	if (!moved)
		return;
	/* An older position on disk is safe: it only keeps more. */
	ReplicationSlotMarkDirty();
	ReplicationSlotSave();
	ReplicationSlotsComputeRequiredLSN();
	pg_atomic_write_u64(&docstore_shared->retained_from, position);
}
