/*
 * txn.h - all that the engine knows of transactions: 64-bit ids and these callbacks.
 *
 * Used only by stamped stores (keys.h).  None may throw or take a lock of the
 * engine's.
 */
#ifndef LSM_TXN_H
#define LSM_TXN_H

#include "engine/keys.h"

typedef enum LsmOutcome
{
	LSM_XACT_RUNNING,   /* in progress or prepared: keep, guess nothing */
	LSM_XACT_COMMITTED, /* but some snapshot may not see it */
	LSM_XACT_SETTLED,   /* committed, and every snapshot sees it: may be frozen */
	LSM_XACT_ABORTED,
	LSM_XACT_UNKNOWN /* too old to look up: an error (LSM_CORRUPT), never a guess */
} LsmOutcome;

typedef struct LsmTxnOps
{
	/* Takes a fresh horizon; called before a flush or compaction asks for outcomes. */
	void (*begin)(void *ctx);
	LsmOutcome (*outcome)(void *ctx, uint64_t xid);
	/* May this user key be dropped, all versions, because its collection or database is gone?  May be NULL. */
	bool (*dead)(void *ctx, LsmSlice user_key);
} LsmTxnOps;

typedef enum LsmVisible
{
	LSM_INVISIBLE = 0,
	LSM_VISIBLE = 1,
	LSM_VISIBLE_ERROR = 2 /* the id is too old to look up */
} LsmVisible;

/*
 * What a reader sees.  Standalone: versions of sequence <= max_seq, visible
 * NULL.  Stamped: max_seq = LSM_MAX_SEQUENCE, and visible is asked for every
 * version that is not frozen.  hint is one byte beside the version, kept as long
 * as its memtable, or NULL.
 */
typedef struct LsmRead
{
	uint64_t max_seq;
	LsmVisible (*visible)(void *arg, const LsmStamp *stamp, volatile uint8_t *hint);
	void *arg;
} LsmRead;

#endif
