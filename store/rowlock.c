/*
 * rowlock.c - the table of locks on documents (rowlock.h).
 *
 * An entry is a hash of the document's key (two documents of one hash would
 * share their locks: nobody loses anything by that), the holder's
 * (sub)transaction id, and the mode.  Holders are asked about as writers of
 * versions are, so a lock ends with its transaction whatever is still in the
 * table; a transaction takes its entries away when it has left the ProcArray,
 * and a subtransaction that is rolled back at once.
 *
 * Why nobody overlooks a lock: every addition counts the stripe's `additions` up
 * under its lock.  Who wants to write or lock reads that count first, then looks at
 * the entries, asks about the holders without a lock, and compares the count
 * under the stripe lock that it then writes under.
 *
 * PREPARE TRANSACTION writes the locks as records into journal and memtable
 * before it is durable itself, and then takes them out of the table.  KEY SHARE
 * becomes SHARE there (and wherever a lock becomes a record): an update may
 * come to lie above a KEY SHARE, and nobody looks for locks below a version.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "port/atomics.h"
#include "utils/memutils.h"

#include "store/rowlock.h"
#include "store/shmem.h"
#include "store/store.h"
#include "store/txn.h"

#define STRIPE_ENTRIES 256

typedef struct StripeLocks
{
	pg_atomic_uint64 additions; /* the stripe lock, exclusive, to change */
	uint32 count;               /* likewise */
	uint64 hash[STRIPE_ENTRIES];
	uint64 holder[STRIPE_ENTRIES]; /* transaction id << 2 | mode */
} StripeLocks;

/* What this transaction holds, in order of addition. */
typedef struct Held
{
	uint64 hash;
	uint64 holder;
	int stripe;
	SubTransactionId sub;
	uint32 key; /* offset into keys, if they are kept */
} Held;
static Held held[DOCSTORE_ROWLOCKS];
static int nheld;

/* Their keys, one behind the other: uint16 length and bytes.  Only PREPARE TRANSACTION needs them. */
static char *keys;
static uint32 keys_used;
#define KEYS_SIZE (64 * 1024)

static bool registered;

Size
docstore_rowlock_shared_size(void)
{
	return mul_size(LSM_NUM_STRIPES, sizeof(StripeLocks));
}

void
docstore_rowlock_shared_init(void *shared)
{
	StripeLocks *stripes = shared;

	for (int i = 0; i < LSM_NUM_STRIPES; i++)
	{
		pg_atomic_init_u64(&stripes[i].additions, 0);
		stripes[i].count = 0;
	}
}

static StripeLocks *
stripe_locks(int stripe)
{
	StripeLocks *stripes = (StripeLocks *) ((char *) docstore_shared + docstore_shared->rowlock_offset);

	return &stripes[stripe - LSM_LOCK_STRIPE];
}

static uint64
hash_key(LsmSlice key)
{
	return hash_bytes_extended((const unsigned char *) key.data, (int) key.len, 0);
}

bool
docstore_rowlock_logged(void)
{
	return max_prepared_xacts > 0;
}

/* ---- looking ---- */

void
docstore_rowlock_look(LsmSlice key, LockTupleMode mode, RowLockSight *sight)
{
	int stripe = lsm_stripe(key);
	StripeLocks *locks = stripe_locks(stripe);
	uint64 hash = hash_key(key);
	uint64 holders[STRIPE_ENTRIES];
	int n = 0;

	memset(sight, 0, sizeof(*sight));
	sight->own = -1;
	sight->additions = pg_atomic_read_u64(&locks->additions);
	pg_read_barrier();
	/* Nobody was here: a lock that is added from now on shows in the count of additions. */
	if (*(volatile uint32 *) &locks->count == 0)
		return;

	lsm_lock(docstore_env(), stripe, LSM_SHARED);
	for (uint32 i = 0; i < locks->count; i++)
		if (locks->hash[i] == hash)
			holders[n++] = locks->holder[i];
	lsm_unlock(docstore_env(), stripe);

	for (int i = 0; i < n; i++)
	{
		LsmStamp stamp = {.flags = LSM_STAMP_XACT | LSM_STAMP_LOCK, .xid = holders[i] >> 2};
		LockTupleMode its = (LockTupleMode) (holders[i] & 3);

		switch (docstore_fate(&stamp, NULL))
		{
			case DOCSTORE_FATE_OWN:
				sight->own = Max(sight->own, (int) its);
				break;
			case DOCSTORE_FATE_RUNNING:
				if (docstore_rowlock_conflict(mode, its))
				{
					sight->conflict = true;
					sight->holder = stamp;
				}
				break;
			default:
				break;
		}
	}
}

bool
docstore_rowlock_unchanged(LsmSlice key, const RowLockSight *sight)
{
	return pg_atomic_read_u64(&stripe_locks(lsm_stripe(key))->additions) == sight->additions;
}

/* ---- the end of a lock ---- */

/* Takes away the locks from the n-th on. */
static void
release_from(int n)
{
	while (nheld > n)
	{
		Held *one = &held[--nheld];
		StripeLocks *locks = stripe_locks(one->stripe);

		lsm_lock(docstore_env(), one->stripe, LSM_EXCLUSIVE);
		for (uint32 i = 0; i < locks->count; i++)
		{
			if (locks->hash[i] == one->hash && locks->holder[i] == one->holder)
			{
				locks->count--;
				locks->hash[i] = locks->hash[locks->count];
				locks->holder[i] = locks->holder[locks->count];
				break;
			}
		}
		lsm_unlock(docstore_env(), one->stripe);
		if (keys != NULL)
			keys_used = one->key;
	}
}

/* Puts a lock of a transaction that is about to be prepared into journal and memtable. */
static void
write_record(LsmDb *db, LsmBatch *batch, const Held *one)
{
	LsmEnv *env = docstore_env();
	uint16 len;
	LsmError err;
	LsmStatus status;

	memcpy(&len, keys + one->key, sizeof(len));
	do
	{
		char value[LSM_STAMP_MAX_SIZE + 1];
		size_t size = docstore_rowlock_encode(value, (LockTupleMode) (one->holder & 3), FirstCommandId);

		lsm_batch_clear(batch);
		if (!lsm_batch_put(batch, lsm_slice(keys + one->key + sizeof(len), len), lsm_slice(value, size)))
			ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
		lsm_lock(env, one->stripe, LSM_EXCLUSIVE);
		status = lsm_write(db, batch, false, NULL, &err);
		lsm_unlock(env, one->stripe);
		if (status == LSM_BUSY)
			docstore_check(lsm_make_room(db, batch->memtable_cost, &err), &err);
	} while (status == LSM_BUSY);
	docstore_check(status, &err);
}

static void
write_records(void)
{
	static LsmBatch batch; /* what a throw leaves behind is used again */

	for (int i = 0; i < nheld; i++)
		write_record(docstore_db(), &batch, &held[i]);
	lsm_batch_free(&batch);
}

static void
xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (nheld > 0)
				write_records();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			release_from(0);
			break;
		default:
			break;
	}
}

/* Subtransactions are numbered upwards: what this one and those within it locked lies at the end. */
static void
subxact_callback(SubXactEvent event, SubTransactionId sub, SubTransactionId parent, void *arg)
{
	int n = nheld;

	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (n > 0 && held[n - 1].sub >= sub)
		n--;
	release_from(n);
}

/* ---- adding ---- */

bool
docstore_rowlock_prepare(LsmSlice key)
{
	if (!registered)
	{
		RegisterXactCallback(xact_callback, NULL);
		RegisterSubXactCallback(subxact_callback, NULL);
		registered = true;
	}
	if (docstore_rowlock_logged() && keys == NULL)
		keys = MemoryContextAlloc(TopMemoryContext, KEYS_SIZE);
	return nheld < DOCSTORE_ROWLOCKS && (keys == NULL || keys_used + sizeof(uint16) + key.len <= KEYS_SIZE);
}

bool
docstore_rowlock_add(LsmSlice key, LockTupleMode mode, uint64 xid)
{
	int stripe = lsm_stripe(key);
	StripeLocks *locks = stripe_locks(stripe);
	Held *one = &held[nheld];

	if (locks->count == STRIPE_ENTRIES)
		return false;
	one->hash = hash_key(key);
	one->holder = xid << 2 | (uint64) mode;
	one->stripe = stripe;
	one->sub = GetCurrentSubTransactionId();
	if (keys != NULL)
	{
		uint16 len = (uint16) key.len;

		one->key = keys_used;
		memcpy(keys + keys_used, &len, sizeof(len));
		memcpy(keys + keys_used + sizeof(len), key.data, len);
		keys_used += sizeof(len) + len;
	}
	nheld++;

	locks->hash[locks->count] = one->hash;
	locks->holder[locks->count] = one->holder;
	locks->count++;
	pg_atomic_fetch_add_u64(&locks->additions, 1);
	return true;
}

/* ---- lock records ---- */

size_t
docstore_rowlock_encode(char *dst, LockTupleMode mode, CommandId cid)
{
	LsmStamp stamp = docstore_stamp(LSM_STAMP_LOCK, cid);
	size_t len = lsm_stamp_encode(dst, &stamp);

	dst[len++] = (char) (mode == LockTupleKeyShare ? LockTupleShare : mode);
	return len;
}

LockTupleMode
docstore_rowlock_mode(LsmSlice payload)
{
	/* An unknown one is the strongest. */
	return payload.len == 1 && payload.data[0] <= LockTupleExclusive ? (LockTupleMode) payload.data[0] : LockTupleExclusive;
}
