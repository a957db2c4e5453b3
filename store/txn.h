/*
 * txn.h - PostgreSQL's transactions for the engine: outcomes for compaction, visibility for reads, ids for writes.
 */
#ifndef DOCSTORE_TXN_H
#define DOCSTORE_TXN_H

#include "postgres.h"

#include "access/transam.h"
#include "utils/snapshot.h"

#include "engine/txn.h"

/* For LsmAttach; its context is not used: what a process remembers of outcomes is static. */
extern const LsmTxnOps docstore_txn_ops;

/* Transaction ids below are over, and every snapshot of this server sees what they committed.  64 bits wide. */
extern uint64 docstore_horizon(void);
/* The 64-bit form of an id that was handed out within the last two thousand million. */
extern uint64 docstore_widen_xid(TransactionId xid);

/*
 * Makes `read` see what an MVCC snapshot sees (own writes by command id
 * snapshot->curcid).  The snapshot must stay registered or active as long as read is used.
 */
extern void docstore_read_init(LsmRead *read, Snapshot snapshot);

/* What a writer must know about the newest versions of a document. */
typedef enum DocstoreFate
{
	DOCSTORE_FATE_FROZEN,  /* committed long ago */
	DOCSTORE_FATE_OWN,     /* by this transaction (any live subtransaction), see the stamp's cid */
	DOCSTORE_FATE_RUNNING, /* by another transaction in progress: wait for it */
	DOCSTORE_FATE_COMMITTED,
	DOCSTORE_FATE_ABORTED, /* also own rolled-back subtransactions: skip */
	DOCSTORE_FATE_UNKNOWN  /* id too old to look up: damaged */
} DocstoreFate;
/* Never throws; safe in an LsmVersionVisit. */
extern DocstoreFate docstore_fate(const LsmStamp *stamp, volatile uint8_t *hint);
/* Does the hint beside a version say that nobody needs it: aborted, or a lock and over?  For lsm_step_over. */
extern bool docstore_dead(const LsmStamp *stamp, uint8_t hint);
/* Is a committed version visible to the snapshot (REPEATABLE READ's question)?  Never throws. */
extern bool docstore_stamp_visible(const LsmStamp *stamp, Snapshot snapshot);

/* Stamp for a write of the current (sub)transaction and command; assigns a transaction id.  flags without XACT. */
extern LsmStamp docstore_stamp(uint8_t flags, CommandId cid);

/* Waits for the transaction of a stamp to end (XactLockTableWait: deadlock detection, cancel, lock_timeout). */
extern void docstore_wait_for(const LsmStamp *stamp);

#endif
