/*
 * txn.c - PostgreSQL's transactions for the engine.  See txn.h.
 *
 * Ids are kept whole (64 bits), so that one is never mistaken for another after
 * a wraparound.  Before the commit log is asked, the id must not be older than
 * what it still covers, checked under XactTruncationLock as pg_xact_status does:
 * VACUUM of ordinary tables truncates it without regard to our files.
 *
 * Final outcomes are remembered in the hint byte beside a version in its
 * memtable, and in a small cache of this process.  Neither outlives the memory
 * it lies in, so no rule about WAL applies to them.
 */
#include "postgres.h"

#include "access/subtrans.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"

#include "store/compat.h"
#include "store/dropped.h"
#include "store/txn.h"

/* hint bytes */
#define HINT_COMMITTED 1
#define HINT_ABORTED 2

typedef enum Final
{
	FINAL_UNKNOWN, /* too old to look up */
	FINAL_COMMITTED,
	FINAL_ABORTED
} Final;

#define CACHE_SIZE 256
static struct
{
	uint64 xid;
	uint8 final;
} cache[CACHE_SIZE];

/* For compaction: ids below are seen by every snapshot. */
static FullTransactionId horizon;

/* The 64-bit form of an id near `next` that is not after it. */
static FullTransactionId
widen(TransactionId xid, FullTransactionId next)
{
	uint64 value = U64FromFullTransactionId(next);

	return FullTransactionIdFromU64(value - (uint32) (XidFromFullTransactionId(next) - xid));
}

/* The outcome of a transaction that is over, from the commit log. */
static Final
look_up(uint64 xid)
{
	MemoryContext context = CurrentMemoryContext;
	volatile Final final = FINAL_UNKNOWN;
	uint32 holdoff;
	FullTransactionId next = ReadNextFullTransactionId();
	FullTransactionId oldest;

	LWLockAcquire(XactTruncationLock, LW_SHARED);
	holdoff = InterruptHoldoffCount;
	oldest = widen(docstore_oldest_clog_xid(), next);
	if (xid >= U64FromFullTransactionId(next))
	{
		/* Never handed out: what it wrote cannot have been committed. */
		final = FINAL_ABORTED;
	}
	else if (xid >= U64FromFullTransactionId(oldest))
	{
		PG_TRY();
		{
			final = TransactionIdDidCommit((TransactionId) xid) ? FINAL_COMMITTED : FINAL_ABORTED;
		}
		PG_CATCH();
		{
			/* An unreadable commit log is no answer. */
			MemoryContextSwitchTo(context);
			FlushErrorState();
			InterruptHoldoffCount = holdoff; /* we still hold the lock, and perhaps the engine some */
			final = FINAL_UNKNOWN;
		}
		PG_END_TRY();
	}
	LWLockRelease(XactTruncationLock);
	return final;
}

/* The same through hint and cache.  The transaction must be over. */
static Final
final_outcome(uint64 xid, volatile uint8_t *hint)
{
	int slot = (int) (xid % CACHE_SIZE);
	Final final;

	if (cache[slot].xid == xid)
		final = (Final) cache[slot].final;
	else
	{
		final = look_up(xid);
		if (final == FINAL_UNKNOWN)
			return final;
		cache[slot].xid = xid;
		cache[slot].final = (uint8) final;
	}
	if (hint != NULL)
		*hint = final == FINAL_COMMITTED ? HINT_COMMITTED : HINT_ABORTED;
	return final;
}

/* The 64-bit form of a snapshot's xmin, remembered: asking for the next id takes a lock. */
static uint64
snapshot_xmin(Snapshot snapshot)
{
	static TransactionId narrow = InvalidTransactionId;
	static uint64 wide = 0;

	if (snapshot->xmin != narrow)
	{
		wide = U64FromFullTransactionId(widen(snapshot->xmin, ReadNextFullTransactionId()));
		narrow = snapshot->xmin;
	}
	return wide;
}

static LsmVisible
visible(void *arg, const LsmStamp *stamp, volatile uint8_t *hint)
{
	Snapshot snapshot = arg;
	TransactionId xid = (TransactionId) stamp->xid;

	if (hint != NULL && *hint == HINT_ABORTED)
		return LSM_INVISIBLE;
	if (TransactionIdIsCurrentTransactionId(xid))
		return stamp->cid < snapshot->curcid ? LSM_VISIBLE : LSM_INVISIBLE;
	/* 32 bits are enough here: what is too old for them is not in any snapshot's window. */
	if (stamp->xid >= snapshot_xmin(snapshot) && XidInMVCCSnapshot(xid, snapshot))
		return LSM_INVISIBLE;
	if (hint != NULL && *hint == HINT_COMMITTED)
		return LSM_VISIBLE;
	switch (final_outcome(stamp->xid, hint))
	{
		case FINAL_COMMITTED:
			return LSM_VISIBLE;
		case FINAL_ABORTED:
			return LSM_INVISIBLE;
		case FINAL_UNKNOWN:
			break;
	}
	return LSM_VISIBLE_ERROR;
}

void
docstore_read_init(LsmRead *read, Snapshot snapshot)
{
	if (!IsMVCCSnapshot(snapshot))
		elog(ERROR, "documents cannot be read with snapshot type %d", (int) snapshot->snapshot_type);
	read->max_seq = LSM_MAX_SEQUENCE;
	read->visible = visible;
	read->arg = snapshot;
}

DocstoreFate
docstore_fate(const LsmStamp *stamp, volatile uint8_t *hint)
{
	TransactionId xid = (TransactionId) stamp->xid;

	if ((stamp->flags & LSM_STAMP_XACT) == 0)
		return DOCSTORE_FATE_FROZEN;
	if (hint != NULL && *hint == HINT_COMMITTED)
		return DOCSTORE_FATE_COMMITTED;
	if (hint != NULL && *hint == HINT_ABORTED)
		return DOCSTORE_FATE_ABORTED;
	if (TransactionIdIsCurrentTransactionId(xid))
		return DOCSTORE_FATE_OWN;
	/* In progress is asked first: a transaction leaves the ProcArray after its commit record. */
	if (TransactionIdIsInProgress(xid))
		return DOCSTORE_FATE_RUNNING;
	switch (final_outcome(stamp->xid, hint))
	{
		case FINAL_COMMITTED:
			return DOCSTORE_FATE_COMMITTED;
		case FINAL_ABORTED:
			return DOCSTORE_FATE_ABORTED;
		case FINAL_UNKNOWN:
			break;
	}
	return DOCSTORE_FATE_UNKNOWN;
}

bool
docstore_stamp_visible(const LsmStamp *stamp, Snapshot snapshot)
{
	if ((stamp->flags & LSM_STAMP_XACT) == 0)
		return true;
	return visible(snapshot, stamp, NULL) == LSM_VISIBLE;
}

LsmStamp
docstore_stamp(uint8_t flags, CommandId cid)
{
	LsmStamp stamp;

	stamp.flags = flags | LSM_STAMP_XACT;
	stamp.xid = U64FromFullTransactionId(GetCurrentFullTransactionId());
	stamp.cid = cid;
	return stamp;
}

void
docstore_wait_for(const LsmStamp *stamp)
{
	XactLockTableWait((TransactionId) stamp->xid, NULL, NULL, XLTW_None);
}

/* ---- for flush and compaction ---- */

static void
txn_begin(void *ctx)
{
	TransactionId oldest = GetOldestNonRemovableTransactionId(NULL);

	horizon = widen(oldest, ReadNextFullTransactionId());
}

static LsmOutcome
txn_outcome(void *ctx, uint64_t xid)
{
	int slot = (int) (xid % CACHE_SIZE);
	Final final;

	if (cache[slot].xid == xid)
		final = (Final) cache[slot].final;
	else if (TransactionIdIsCurrentTransactionId((TransactionId) xid) || TransactionIdIsInProgress((TransactionId) xid))
		return LSM_XACT_RUNNING;
	else
		final = final_outcome(xid, NULL);
	switch (final)
	{
		case FINAL_ABORTED:
			return LSM_XACT_ABORTED;
		case FINAL_COMMITTED:
			return xid < U64FromFullTransactionId(horizon) ? LSM_XACT_SETTLED : LSM_XACT_COMMITTED;
		case FINAL_UNKNOWN:
			break;
	}
	return LSM_XACT_UNKNOWN;
}

const LsmTxnOps docstore_txn_ops = {
	.begin = txn_begin,
	.outcome = txn_outcome,
	.dead = docstore_is_dropped,
};

void *
docstore_txn_ctx(void)
{
	return NULL;
}
