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

#include "access/transam.h"
#include "access/xlog.h"
#include "replication/slot.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

#include "store/compat.h"
#include "store/slot.h"
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
		docstore_create_slot(DOCSTORE_SLOT);
		ReplicationSlotReserveWal();
		ReplicationSlotMarkDirty();
		ReplicationSlotSave();
	}
	if (!TransactionIdIsValid(MyReplicationSlot->data.catalog_xmin))
		set_xid(oldest_in_commit_log());
}

bool
docstore_slot_is_ahead(uint64 position)
{
	return MyReplicationSlot != NULL && MyReplicationSlot->data.restart_lsn > (XLogRecPtr) position;
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
