/*
 * txn.c - PostgreSQL's transactions for the engine.  See txn.h.
 *
 * Ids are kept whole (64 bits), so that one is never mistaken for another after
 * a wraparound: PostgreSQL's functions, which take 32, are asked only about ids
 * that are known to be recent.  Before the commit log is asked, the id must not
 * be older than what it still covers, checked under XactTruncationLock as
 * pg_xact_status does.  (The slot keeps it from being truncated, slot.h; should
 * that ever fail, an unknown outcome is an error and not a guess.)
 *
 * The raw status of the commit log is enough.  Whoever is asked about is known to
 * be over, from a snapshot, the ProcArray or the horizon; then "in progress" means
 * that a crash ended it, and "sub-committed" that it ended before its parent's
 * commit.
 *
 * Final outcomes are remembered in the hint byte beside a version in its
 * memtable, and in a small cache of this process.  Neither outlives the memory
 * it lies in, so no rule about WAL applies to them.
 */
#include "postgres.h"

#include "access/clog.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"

#include "store/compat.h"
#include "store/dropped.h"
#include "store/purge.h"
#include "store/txn.h"

/* hint bytes */
#define HINT_COMMITTED 1
#define HINT_ABORTED 2

typedef enum Final
{
	FINAL_UNKNOWN, /* too old to look up */
	FINAL_NONE,    /* the commit log names no outcome: running, or ended by a crash */
	FINAL_COMMITTED,
	FINAL_ABORTED
} Final;

/* Outcomes of neighbouring transactions, a bit each: documents that lie together were often written together. */
#define GROUP_SIZE 64
#define NUM_GROUPS 1024
typedef struct Outcomes
{
	uint64 number; /* of ids from number * GROUP_SIZE on */
	uint64 known;
	uint64 committed;
} Outcomes;
static Outcomes outcomes[NUM_GROUPS];

/* For compaction: ids below are over, and seen by every snapshot. */
static uint64 horizon;

/* The last id that had no outcome when a flush or merge asked.  For the rest of it that stands: what it wrote is kept. */
static uint64 running;

/* The 64-bit form of an id near `next` that is not after it. */
static uint64
widen(TransactionId xid, FullTransactionId next)
{
	return U64FromFullTransactionId(next) - (uint32) (XidFromFullTransactionId(next) - xid);
}

uint64
docstore_widen_xid(TransactionId xid)
{
	return widen(xid, ReadNextFullTransactionId());
}

/* The same, remembered: asking for the next id takes a lock. */
static uint64
widen_again(TransactionId xid)
{
	static TransactionId narrow = InvalidTransactionId;
	static uint64 wide = 0;

	if (xid != narrow)
	{
		wide = docstore_widen_xid(xid);
		narrow = xid;
	}
	return wide;
}

/* What the commit log says; it may throw. */
static Final
ask_commit_log(TransactionId xid)
{
	XLogRecPtr ignored;

	if (!TransactionIdIsNormal(xid))
		return TransactionIdEquals(xid, InvalidTransactionId) ? FINAL_ABORTED : FINAL_COMMITTED;
	switch (TransactionIdGetStatus(xid, &ignored))
	{
		case TRANSACTION_STATUS_COMMITTED:
			return FINAL_COMMITTED;
		case TRANSACTION_STATUS_ABORTED:
			return FINAL_ABORTED;
		default:
			return FINAL_NONE;
	}
}

/* The same, remembered if it is final. */
static Final
ask_and_keep(Outcomes *group, uint64 xid)
{
	uint64 bit = UINT64CONST(1) << (xid % GROUP_SIZE);
	Final final = ask_commit_log((TransactionId) xid);

	if (final == FINAL_NONE)
		return final;
	group->known |= bit;
	if (final == FINAL_COMMITTED)
		group->committed |= bit;
	return final;
}

/* Asks for an id, and if more of its group have been asked for before, for all of them: only the first costs the locks. */
static Final
look_up(Outcomes *group, uint64 xid)
{
	MemoryContext context = CurrentMemoryContext;
	volatile Final final = FINAL_UNKNOWN;
	FullTransactionId next = ReadNextFullTransactionId();
	bool others = group->known != 0;
	uint64 oldest;
	uint32 holdoff;

	/* Never handed out: what it wrote cannot have been committed. */
	if (xid >= U64FromFullTransactionId(next))
		return FINAL_ABORTED;
	LWLockAcquire(XactTruncationLock, LW_SHARED);
	holdoff = InterruptHoldoffCount;
	oldest = widen(docstore_oldest_clog_xid(), next);
	if (xid >= oldest)
	{
		PG_TRY();
		{
			final = ask_and_keep(group, xid);
			if (others)
			{
				uint64 end = Min((group->number + 1) * GROUP_SIZE, U64FromFullTransactionId(next));

				for (uint64 id = Max(group->number * GROUP_SIZE, oldest); id < end; id++)
					if ((group->known & UINT64CONST(1) << (id % GROUP_SIZE)) == 0)
						(void) ask_and_keep(group, id);
			}
		}
		PG_CATCH();
		{
			ErrorData *edata;

			/* An unreadable commit log is no answer.  We still hold our lock, and perhaps the engine some. */
			InterruptHoldoffCount = holdoff;
			MemoryContextSwitchTo(context);
			edata = CopyErrorData();
			FlushErrorState();
			docstore_release_clog_lock();
			ereport(LOG, (errmsg("docstore: could not look up transaction %llu: %s", (unsigned long long) xid, edata->message)));
			FreeErrorData(edata);
			final = FINAL_UNKNOWN;
		}
		PG_END_TRY();
	}
	LWLockRelease(XactTruncationLock);
	return final;
}

/* The same through the cache. */
static Final
outcome_of(uint64 xid)
{
	uint64 number = xid / GROUP_SIZE;
	uint64 bit = UINT64CONST(1) << (xid % GROUP_SIZE);
	Outcomes *group = &outcomes[number % NUM_GROUPS];

	if (group->number != number)
	{
		group->number = number;
		group->known = group->committed = 0;
	}
	if (group->known & bit)
		return (group->committed & bit) ? FINAL_COMMITTED : FINAL_ABORTED;
	return look_up(group, xid);
}

/* Of a transaction that is known to be over. */
static Final
final_outcome(uint64 xid, volatile uint8_t *hint)
{
	Final final = outcome_of(xid);

	if (final == FINAL_NONE)
		final = FINAL_ABORTED;
	if (hint != NULL && final != FINAL_UNKNOWN)
		*hint = final == FINAL_COMMITTED ? HINT_COMMITTED : HINT_ABORTED;
	return final;
}

/* This transaction, or a living subtransaction of it? */
static bool
is_own(uint64 xid)
{
	FullTransactionId top = GetTopFullTransactionIdIfAny();

	return FullTransactionIdIsValid(top) && xid >= U64FromFullTransactionId(top) &&
		   TransactionIdIsCurrentTransactionId((TransactionId) xid);
}

/* Only for processes that take snapshots: they keep RecentXmin up to date. */
static bool
is_in_progress(uint64 xid)
{
	return xid >= widen_again(RecentXmin) && TransactionIdIsInProgress((TransactionId) xid);
}

static LsmVisible
visible(void *arg, const LsmStamp *stamp, volatile uint8_t *hint)
{
	Snapshot snapshot = arg;

	if (hint != NULL && *hint == HINT_ABORTED)
		return LSM_INVISIBLE;
	/* Neither our own ids nor any that runs for the snapshot are below its xmin. */
	if (stamp->xid >= widen_again(snapshot->xmin))
	{
		if (is_own(stamp->xid))
			return stamp->cid < snapshot->curcid ? LSM_VISIBLE : LSM_INVISIBLE;
		if (XidInMVCCSnapshot((TransactionId) stamp->xid, snapshot))
			return LSM_INVISIBLE;
	}
	if (hint != NULL && *hint == HINT_COMMITTED)
		return LSM_VISIBLE;
	switch (final_outcome(stamp->xid, hint))
	{
		case FINAL_COMMITTED:
			return LSM_VISIBLE;
		case FINAL_ABORTED:
			return LSM_INVISIBLE;
		default:
			return LSM_VISIBLE_ERROR;
	}
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
	if ((stamp->flags & LSM_STAMP_XACT) == 0)
		return DOCSTORE_FATE_FROZEN;
	if (hint != NULL && *hint == HINT_COMMITTED)
		return DOCSTORE_FATE_COMMITTED;
	if (hint != NULL && *hint == HINT_ABORTED)
		return DOCSTORE_FATE_ABORTED;
	if (is_own(stamp->xid))
		return DOCSTORE_FATE_OWN;
	/* In progress is asked first: a transaction leaves the ProcArray after its commit record. */
	if (is_in_progress(stamp->xid))
		return DOCSTORE_FATE_RUNNING;
	switch (final_outcome(stamp->xid, hint))
	{
		case FINAL_COMMITTED:
			return DOCSTORE_FATE_COMMITTED;
		case FINAL_ABORTED:
			return DOCSTORE_FATE_ABORTED;
		default:
			return DOCSTORE_FATE_UNKNOWN;
	}
}

bool
docstore_dead(const LsmStamp *stamp, uint8_t hint)
{
	return hint == HINT_ABORTED || (hint == HINT_COMMITTED && (stamp->flags & LSM_STAMP_LOCK));
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

/*
 * Of all databases.  Not GetOldestNonRemovableTransactionId: that heeds the
 * catalog_xmin of slots, which guards catalogs and not documents, and one of
 * which is our own.
 */
uint64
docstore_horizon(void)
{
	TransactionId xmin;
	TransactionId catalog_xmin;

	GetReplicationHorizons(&xmin, &catalog_xmin);
	return docstore_widen_xid(xmin);
}

static void
txn_begin(void *ctx)
{
	uint64 now = docstore_horizon();

	/* a flush in the middle of a compaction takes a fresh one for both */
	if (horizon < now)
		horizon = now;
	running = InvalidTransactionId;
}

/*
 * The compactor takes no snapshots, so its RecentXmin may be ages old, and
 * TransactionIdIsInProgress, which leans on it, could call a running transaction
 * over.  So it is not asked: what is not below the horizon may be running unless
 * the commit log says otherwise.
 */
static LsmOutcome
txn_outcome(void *ctx, uint64_t xid)
{
	bool over = xid < horizon;

	if (xid == running && !over)
		return LSM_XACT_RUNNING;
	switch (over ? final_outcome(xid, NULL) : outcome_of(xid))
	{
		case FINAL_ABORTED:
			return LSM_XACT_ABORTED;
		case FINAL_COMMITTED:
			return over ? LSM_XACT_SETTLED : LSM_XACT_COMMITTED;
		case FINAL_NONE:
			running = xid;
			return LSM_XACT_RUNNING;
		case FINAL_UNKNOWN:
			break;
	}
	return LSM_XACT_UNKNOWN;
}

static bool
txn_dead(void *ctx, LsmSlice user_key)
{
	return docstore_is_dropped(user_key) || docstore_is_purged(user_key);
}

const LsmTxnOps docstore_txn_ops = {
	.begin = txn_begin,
	.outcome = txn_outcome,
	.dead = txn_dead,
};
