/*
 * rowlock.h - locks on documents that are held until the end of a transaction, in shared memory.
 *
 * The modes are PostgreSQL's LockTupleMode with its table of conflicts.  Who may
 * write or lock a document under which lock is write.c's affair (fdw); here is
 * what others hold.  The table is divided by the engine's stripes, and a
 * document's locks are changed with its stripe lock held.
 *
 * A transaction keeps DOCSTORE_ROWLOCKS locks here at most.  For more, and where
 * a stripe's part is full, the caller has lock records in the memtable, which
 * hold any number and take their place in the files.  So does PREPARE
 * TRANSACTION: what it leaves behind must survive a crash.
 */
#ifndef DOCSTORE_ROWLOCK_H
#define DOCSTORE_ROWLOCK_H

#include "postgres.h"

#include "nodes/lockoptions.h"

#include "engine/db.h"

#define DOCSTORE_ROWLOCKS 1024 /* per transaction */

extern Size docstore_rowlock_shared_size(void);
extern void docstore_rowlock_shared_init(void *shared);

/* KEY SHARE 0, SHARE 1, NO KEY UPDATE 2, UPDATE 3: two conflict if together they are 3 or more. */
static inline bool
docstore_rowlock_conflict(LockTupleMode a, LockTupleMode b)
{
	return (int) a + (int) b >= 3;
}

/* What a look at a document's locks found. */
typedef struct RowLockSight
{
	bool conflict; /* with the mode asked about */
	LsmStamp holder;
	int own; /* strongest mode that this transaction holds, -1: none */
	uint64 additions;
} RowLockSight;
extern void docstore_rowlock_look(LsmSlice key, LockTupleMode mode, RowLockSight *sight);
/* With the stripe lock held: did nobody lock anything in the stripe since the look?  Never throws. */
extern bool docstore_rowlock_unchanged(LsmSlice key, const RowLockSight *sight);

/* Makes room for the next lock in what this transaction remembers; false if it has as many as it may have.  May throw. */
extern bool docstore_rowlock_prepare(LsmSlice key);
/* After that, with the stripe lock held exclusively; false if the stripe's part is full.  Never throws. */
extern bool docstore_rowlock_add(LsmSlice key, LockTupleMode mode, uint64 xid);

/* The value of a lock record for the memtable: stamp and mode; returns its length, at most LSM_STAMP_MAX_SIZE + 1. */
extern size_t docstore_rowlock_encode(char *dst, LockTupleMode mode, CommandId cid);
/* The mode of one, from its payload. */
extern LockTupleMode docstore_rowlock_mode(LsmSlice payload);
/* Must lock records go into the journal?  Only if there may be prepared transactions. */
extern bool docstore_rowlock_logged(void);

#endif
