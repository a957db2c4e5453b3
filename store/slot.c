/*
 * slot.c - the replication slot that keeps WAL and the commit log.  See slot.h.
 *
 * restart_lsn is never ahead of the journal position that the manifest names
 * (but for a slot that was lost and made anew: docstore_slot_hold moves it back,
 * if the WAL is still there).
 *
 * catalog_xmin is never ahead of the oldest transaction id that a version
 * carries.  VACUUM computes how far the commit log may be truncated from ordinary
 * tables alone, but does not go beyond any slot's catalog_xmin (the horizon
 * for shared and catalog tables).  So whatever VACUUM FREEZE is asked for, the
 * outcome of every transaction in the store can be looked up.  The price: dead
 * rows of system catalogs that are younger stay; the compactor settles versions
 * in time so that they are few (worker/compactor.c, watch_ids).  Rows of ordinary
 * tables are not held back.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/transam.h"
#include "access/xlog.h"
#include "replication/slot.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

#include "engine/env_pg.h"
#include "engine/manifest.h"
#include "store/compat.h"
#include "store/slot.h"
#include "store/store.h"
#include "store/txn.h"

static void
set_restart(XLogRecPtr position)
{
	SpinLockAcquire(&MyReplicationSlot->mutex);
	MyReplicationSlot->data.restart_lsn = position;
	SpinLockRelease(&MyReplicationSlot->mutex);
	ReplicationSlotMarkDirty();
	ReplicationSlotSave();
	ReplicationSlotsComputeRequiredLSN();
}

/* Durable first: a restart must not find an older id than what was let go of.  (It may find an older position.) */
static void
set_xid(TransactionId xid)
{
	SpinLockAcquire(&MyReplicationSlot->mutex);
	MyReplicationSlot->data.catalog_xmin = xid;
	SpinLockRelease(&MyReplicationSlot->mutex);
	ReplicationSlotMarkDirty();
	ReplicationSlotSave();
	SpinLockAcquire(&MyReplicationSlot->mutex);
	MyReplicationSlot->effective_catalog_xmin = xid;
	SpinLockRelease(&MyReplicationSlot->mutex);
	ReplicationSlotsComputeRequiredXmin(false);
}

static TransactionId
oldest_in_commit_log(void)
{
	TransactionId oldest;

	LWLockAcquire(XactTruncationLock, LW_SHARED);
	oldest = docstore_oldest_clog_xid();
	LWLockRelease(XactTruncationLock);
	return oldest;
}

void
docstore_slot_acquire(void)
{
	if (MyReplicationSlot != NULL)
		return;
	CheckSlotRequirements();
	if (SearchNamedReplicationSlot(DOCSTORE_SLOT, true) != NULL)
	{
		docstore_acquire_slot(DOCSTORE_SLOT);
		if (!SlotIsPhysical(MyReplicationSlot))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("replication slot \"%s\" is a logical one", DOCSTORE_SLOT),
					 errdetail("docstore needs a physical slot of this name."),
					 errhint("Drop the slot.")));
		if (docstore_slot_invalidated(MyReplicationSlot) || XLogRecPtrIsInvalid(MyReplicationSlot->data.restart_lsn))
		{
			ereport(LOG, (errmsg("docstore: replication slot \"%s\" was invalidated and is made anew", DOCSTORE_SLOT),
						  errhint("max_slot_wal_keep_size should be larger than docstore.max_wal_retained.")));
			ReplicationSlotRelease();
			ReplicationSlotDrop(DOCSTORE_SLOT, true);
		}
	}
	if (MyReplicationSlot == NULL)
	{
		/* A new store, or a restored base backup (those leave slots out), or see above. */
		docstore_create_slot(DOCSTORE_SLOT, RS_EPHEMERAL);
		ReplicationSlotReserveWal();
		ReplicationSlotMarkDirty();
		ReplicationSlotSave();
	}
	if (!TransactionIdIsValid(MyReplicationSlot->data.catalog_xmin))
		set_xid(oldest_in_commit_log());
}

void
docstore_slot_persist(void)
{
	if (MyReplicationSlot->data.persistency == RS_EPHEMERAL)
		ReplicationSlotPersist();
}

bool
docstore_slot_exists(void)
{
	ReplicationSlot *slot = SearchNamedReplicationSlot(DOCSTORE_SLOT, true);

	return slot != NULL && slot->data.persistency == RS_PERSISTENT;
}

TransactionId
docstore_slot_peek_xid(void)
{
	ReplicationSlot *slot = SearchNamedReplicationSlot(DOCSTORE_SLOT, true);
	TransactionId xid;

	if (slot == NULL)
		return InvalidTransactionId;
	SpinLockAcquire(&slot->mutex);
	xid = slot->data.catalog_xmin;
	SpinLockRelease(&slot->mutex);
	return xid;
}

/* The position that the manifest names, if that can be told. */
static XLogRecPtr
position_in_manifest(void)
{
	LsmEnv *env = docstore_env();
	XLogRecPtr position = InvalidXLogRecPtr;
	LsmFollow follow;
	uint64_t number;
	LsmError ignored;

	lsm_follow_init(&follow, env);
	if (lsm_current_read(env, &number, &ignored) == LSM_OK && lsm_follow_recover(&follow, number, &ignored) == LSM_OK)
		position = (XLogRecPtr) follow.state.log_number;
	lsm_follow_free(&follow);
	return position;
}

/*
 * A restored base backup has no slot: the checkpoint at the end of its recovery
 * would remove WAL that only the compactor, which starts later, reads.  Not on a
 * standby, where it would keep WAL for as long as that runs, and with
 * hot_standby_feedback hold the primary's catalogs back (docs/operations.md).
 */
void
docstore_slot_make_for_redo(void)
{
	MemoryContext context = CurrentMemoryContext;
	XLogRecPtr position;
	struct stat st;

	if (max_replication_slots == 0 || stat(LSM_PG_DIRECTORY "/CURRENT", &st) != 0 ||
		stat(STANDBY_SIGNAL_FILE, &st) == 0 || SearchNamedReplicationSlot(DOCSTORE_SLOT, true) != NULL)
		return;
	PG_TRY();
	{
		/* Where a slot was dropped by hand the position may be behind; in a copy made under load it may be ahead. */
		position = position_in_manifest();
		if (XLogRecPtrIsInvalid(position) || position > GetRedoRecPtr())
			position = GetRedoRecPtr();
		docstore_create_slot(DOCSTORE_SLOT, RS_PERSISTENT);
		set_restart(position);
		set_xid(oldest_in_commit_log());
	}
	PG_CATCH();
	{
		ErrorData *edata;

		/* All slots are taken, or the disk is full: no reason to keep the server down. */
		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		FlushErrorState();
		LWLockReleaseAll();
		ereport(LOG, (errmsg("docstore: could not make replication slot \"%s\": %s", DOCSTORE_SLOT, edata->message)));
		FreeErrorData(edata);
	}
	PG_END_TRY();
	/* Not ReplicationSlotRelease: this process is not among those that it writes about. */
	if (MyReplicationSlot != NULL)
	{
		SpinLockAcquire(&MyReplicationSlot->mutex);
		MyReplicationSlot->active_pid = 0;
		SpinLockRelease(&MyReplicationSlot->mutex);
		MyReplicationSlot = NULL;
	}
}

bool
docstore_slot_is_ahead(uint64 position)
{
	return MyReplicationSlot != NULL && MyReplicationSlot->data.restart_lsn > (XLogRecPtr) position;
}

uint64
docstore_slot_position(void)
{
	return MyReplicationSlot->data.restart_lsn;
}

void
docstore_slot_hold(uint64 position)
{
	if (docstore_slot_is_ahead(position))
		set_restart((XLogRecPtr) position);
}

void
docstore_slot_advance(uint64 position)
{
	if (MyReplicationSlot != NULL && MyReplicationSlot->data.restart_lsn < (XLogRecPtr) position)
		set_restart((XLogRecPtr) position);
}

void
docstore_slot_advance_xid(uint64 xid)
{
	if (MyReplicationSlot != NULL && docstore_slot_xid() < xid)
		set_xid((TransactionId) xid);
}

uint64
docstore_slot_xid(void)
{
	return docstore_widen_xid(MyReplicationSlot->data.catalog_xmin);
}
