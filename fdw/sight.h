/*
 * sight.h - what a writer finds at a document's id: the newest version that counts, and who else is at it.
 */
#ifndef DOCSTORE_SIGHT_H
#define DOCSTORE_SIGHT_H

#include "postgres.h"

#include "nodes/lockoptions.h"

#include "fdw/document.h"
#include "store/rowlock.h"
#include "store/txn.h"

#define SIGHT_NO_LOCK (-1)

typedef struct Sight
{
	bool exists;      /* there is a version that counts, and it is no deletion */
	bool any;         /* there is a version that counts */
	bool blocked;     /* another transaction in progress has written or locked it, in a way that stands against `mode` */
	LsmStamp blocker; /* that transaction */
	int own_lock;     /* the strongest mode in which this transaction has locked or changed it, or SIGHT_NO_LOCK */
	DocstoreFate fate;
	LsmVersion version;
	int dead; /* versions and locks that do not count, in the way of the one that does */
	/* for doc_sight_recheck */
	int mode;
	LsmMark mark;
	RowLockSight locks;
} Sight;

/*
 * Looks without a lock, for somebody who wants to lock a document in a
 * LockTupleMode, or to write what takes that mode; SIGHT_NO_LOCK: locks do not
 * matter.  The version's value goes to copy unless that is NULL.  known (may be NULL) is a version
 * of it that was read, which may spare a look at files.
 */
extern void doc_look(const DocumentKey *key, int mode, LsmBuf *copy, const LsmVersion *known, Sight *sight);
/*
 * With the key's stripe lock held exclusively: LSM_OK, or LSM_BUSY if it may look
 * different now.  Puts dead versions out of the way where there are many.  Never
 * throws.
 */
extern LsmStatus doc_sight_recheck(const DocumentKey *key, const Sight *sight, LsmError *err);

/* Does `seen`, of which DOCUMENT_TID_MASK is enough, mean this version? */
static inline bool
doc_same_version(uint64 seq, uint64 seen)
{
	return ((seq ^ seen) & DOCUMENT_TID_MASK) == 0;
}
/* The value of one version, which a snapshot shows or a lock protects. */
extern void doc_read_version(const DocumentKey *key, uint64 seen, LsmBuf *value);

#endif
