/*
 * predicate.c - predicate locks over documents (predicate.h).
 *
 * predicate.c of PostgreSQL knows relations, pages and rows, by number.  Of a
 * relation it looks at oid, database, kind and persistence, and nothing else.  A
 * storage shows it a relation of its own: the oid is the storage id's number
 * with the highest bit set, which no relation has before two thousand million
 * oids are used up (and if one did, transactions would conflict without need,
 * no more).  Reading one id locks a page, the hash of the id; reading a range, or
 * many ids (max_pred_locks_per_relation), the relation.  Writing an id looks for
 * locks of both kinds.
 *
 * Why no conflict is overlooked: a reader takes its lock before it reads, a writer
 * looks for locks after its version is in the memtable.  If the reader does not
 * find the version, its lock was there when the writer looked.  If it does, it is
 * one that the snapshot does not show, the read passes over it, and reports its
 * writer.
 *
 * The read notes writers while it has a pin, where nothing may throw; they are
 * reported when it has let go.
 */
#include "postgres.h"

#include "access/subtrans.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/predicate.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store/compat.h"
#include "store/predicate.h"
#include "store/store.h"
#include "store/txn.h"

#define REPORTED 64

struct DocPredicate
{
	uint64 storage;
	Snapshot snapshot;
	LsmRead inner;
	LsmBuf skipped; /* uint64 ids of writers; malloc'ed */
	uint64 last;
	bool no_memory;
	uint64 reported[REPORTED]; /* some that need not be reported again */
};

/* The relation that stands for a storage; good until the next call. */
static Relation
anchor(uint64 storage)
{
	static FormData_pg_class form;
	static RelationData relation;

	form.relkind = RELKIND_RELATION;
	form.relpersistence = RELPERSISTENCE_PERMANENT;
	relation.rd_rel = &form;
	relation.rd_id = (Oid) storage | UINT32_C(0x80000000);
	docstore_relation_database(&relation) = MyDatabaseId;
	return &relation;
}

static BlockNumber
page(LsmSlice key)
{
	return hash_bytes((const unsigned char *) key.data, (int) key.len) & MaxBlockNumber & 0x7fffffff;
}

/* ---- reading ---- */

static LsmVisible
visible(void *arg, const LsmStamp *stamp, volatile uint8_t *hint)
{
	DocPredicate *predicate = arg;
	LsmVisible answer = predicate->inner.visible(predicate->inner.arg, stamp, hint);

	if (answer == LSM_INVISIBLE && stamp->xid != predicate->last &&
		predicate->reported[stamp->xid % REPORTED] != stamp->xid)
	{
		predicate->last = stamp->xid;
		if (!lsm_buf_append(&predicate->skipped, &stamp->xid, sizeof(stamp->xid)))
			predicate->no_memory = true;
	}
	return answer;
}

DocPredicate *
docstore_predicate_new(uint64 storage, Snapshot snapshot, LsmRead *read)
{
	DocPredicate *predicate;

	if (!IsolationIsSerializable() || !CheckForSerializableConflictOutNeeded(anchor(storage), snapshot))
		return NULL;
	predicate = palloc0(sizeof(DocPredicate));
	predicate->storage = storage;
	predicate->snapshot = snapshot;
	predicate->inner = *read;
	read->visible = visible;
	read->arg = predicate;
	return predicate;
}

void
docstore_predicate_free(DocPredicate *predicate)
{
	lsm_buf_free(&predicate->skipped);
}

void
docstore_predicate_point(DocPredicate *predicate, LsmSlice key)
{
	PredicateLockPage(anchor(predicate->storage), page(key), predicate->snapshot);
}

void
docstore_predicate_range(DocPredicate *predicate)
{
	PredicateLockRelation(anchor(predicate->storage), predicate->snapshot);
}

static void
report(DocPredicate *predicate, uint64 full)
{
	TransactionId xid = (TransactionId) full;

	if (TransactionIdIsCurrentTransactionId(xid) || TransactionIdPrecedes(xid, TransactionXmin))
		return;
	xid = SubTransGetTopmostTransaction(xid);
	if (!TransactionIdPrecedes(xid, TransactionXmin))
		CheckForSerializableConflictOut(anchor(predicate->storage), xid, predicate->snapshot);
}

void
docstore_predicate_check(DocPredicate *predicate)
{
	if (predicate->no_memory)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (predicate->skipped.len == 0)
		return;
	for (size_t at = 0; at < predicate->skipped.len; at += sizeof(uint64))
	{
		uint64 xid;

		memcpy(&xid, predicate->skipped.data + at, sizeof(xid));
		if (predicate->reported[xid % REPORTED] == xid)
			continue;
		report(predicate, xid);
		predicate->reported[xid % REPORTED] = xid;
	}
	predicate->skipped.len = 0;
	predicate->last = 0;
}

/* ---- writing ---- */

void
docstore_predicate_probe(uint64 storage, LsmSlice key, Snapshot snapshot)
{
	if (IsolationIsSerializable())
		PredicateLockPage(anchor(storage), page(key), snapshot);
}

void
docstore_predicate_wrote(uint64 storage, LsmSlice key)
{
	if (IsolationIsSerializable())
		CheckForSerializableConflictIn(anchor(storage), NULL, page(key));
}

void
docstore_predicate_dropped(uint64 storage)
{
	if (IsolationIsSerializable())
		CheckTableForSerializableConflictIn(anchor(storage));
}
