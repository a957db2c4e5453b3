/*
 * feed.c - the change feed's writers: entries, the horizon, wake-ups.  See feed.h.
 *
 * Etags are handed out when documents are written, but count when their
 * transactions commit, in another order.  So a consumer that has seen etag 100
 * may not go on from there while a transaction that holds 90 is running.  Each
 * transaction that writes changes therefore publishes a lower bound of its
 * etags, in a slot of its backend's, before its first one is reserved:
 *
 *     writer    low := last etag + 1; publish low; reserve etags (each >= low); ...
 *               leave the ProcArray (visible to snapshots from then on); clear low
 *     consumer  N := last etag + 1; read all lows; horizon := min(N, lows); take a snapshot
 *
 * Nothing that commits late is skipped.  Claim: a change with an etag e < horizon
 * is visible to the snapshot, or its transaction has aborted.  Its writer
 * published low <= e.
 *   - The consumer read the slot before that: then e was reserved later still, so
 *     after N was read, and e >= N >= horizon.
 *   - It read it while low stood there: horizon <= low <= e.
 *   - It read it when low was cleared: the writer had left the ProcArray, and the
 *     snapshot is taken later.
 * So a consumer that reads all visible changes below the horizon may go on from it.
 *
 * The horizon never goes back for a consumer.  A low may be smaller than a
 * horizon computed before it was published (other etags were handed out in
 * between), but then none of its writer's etags is, by the claim: changes between
 * the two do not exist, or were visible then.  Consumers take the position they
 * have as a lower bound, so such a horizon only makes a round empty.  And it does
 * not last: low is set twice, and the second is no less than any horizon computed
 * before the first stood there.
 *
 * PREPARE TRANSACTION detaches a transaction from its backend.  Before it does, low
 * goes to the table of prepared ones, and into a heavyweight lock whose tag says
 * it (ShareLock, for two may have the same low).  PostgreSQL keeps the locks of
 * prepared transactions over restarts and crashes, and lets go of them when the
 * transaction has left the ProcArray.  So the table is rebuilt from the lock
 * manager, and whether an entry still counts is asked by trying to get the lock in
 * a mode that conflicts.  A reader looks at backends first, then at this table,
 * while a low moves the other way: it is always found in one of them.
 *
 * After a crash numbers go on behind all that were handed out (engine/recover.c),
 * so no new etag lies below a position that was committed.
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "port/pg_bswap.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "tcop/utility.h"
#include "utils/timestamp.h"

#include "engine/coding.h"
#include "store/compat.h"
#include "store/feed.h"
#include "store/txn.h"

/* Last field of the lock's tag; users' advisory locks have 1 or 2 there, fdw/write.c has 3. */
#define LOCK_FIELD 4

/* A line of its own: written by every transaction with changes. */
typedef union Published
{
	struct
	{
		pg_atomic_uint64 low; /* 0: none; written by its backend */
		Oid database;         /* of the backend; set before low */
	};
	char line[PG_CACHE_LINE_SIZE];
} Published;

typedef struct Prepared
{
	uint64 low; /* 0: free */
	Oid database;
} Prepared;

typedef struct FeedShared
{
	pg_atomic_uint32 nlisteners;
	pg_atomic_uint32 nprepared;
	pg_atomic_uint32 prepared_known; /* those of before the start are in the table */
									 /* Published[MaxBackends], listeners' databases[MaxBackends], Prepared[max_prepared_xacts] */
} FeedShared;

static FeedShared *feed;
static Published *published;        /* by number of a backend's PGPROC */
static pg_atomic_uint32 *listeners; /* likewise: its database if it listens, else 0 */
static Prepared *prepared;          /* lock */
static LWLock *lock;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;
static ProcessUtility_hook_type previous_utility_hook = NULL;

static bool publishing; /* this transaction has a low */
static bool listening;

/* ---- shared memory ---- */

static Size
shared_size(void)
{
	Size size = CACHELINEALIGN(sizeof(FeedShared));

	size = add_size(size, mul_size(MaxBackends, sizeof(Published)));
	size = add_size(size, mul_size(MaxBackends, sizeof(pg_atomic_uint32)));
	size = MAXALIGN(size);
	return add_size(size, mul_size(max_prepared_xacts, sizeof(Prepared)));
}

static void
request(void)
{
	if (previous_request_hook != NULL)
		previous_request_hook();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("docstore feed", 1);
}

static void
startup(void)
{
	bool found;

	if (previous_startup_hook != NULL)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	feed = ShmemInitStruct("docstore feed", shared_size(), &found);
	published = (Published *) ((char *) feed + CACHELINEALIGN(sizeof(FeedShared)));
	listeners = (pg_atomic_uint32 *) (published + MaxBackends);
	prepared = (Prepared *) MAXALIGN(listeners + MaxBackends);
	lock = &GetNamedLWLockTranche("docstore feed")->lock;
	if (!found)
	{
		memset(feed, 0, shared_size());
		pg_atomic_init_u32(&feed->nlisteners, 0);
		pg_atomic_init_u32(&feed->nprepared, 0);
		pg_atomic_init_u32(&feed->prepared_known, max_prepared_xacts == 0);
		for (int i = 0; i < MaxBackends; i++)
		{
			pg_atomic_init_u64(&published[i].low, 0);
			pg_atomic_init_u32(&listeners[i], 0);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

/* ---- prepared transactions ---- */

static void
make_tag(LOCKTAG *tag, Oid database, uint64 low)
{
	SET_LOCKTAG_ADVISORY(*tag, database, (uint32) (low >> 32), (uint32) low, LOCK_FIELD);
	tag->locktag_lockmethodid = DEFAULT_LOCKMETHOD;
}

/* False if the table is full. */
static bool
add_prepared(Oid database, uint64 low)
{
	int at = -1;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < max_prepared_xacts; i++)
	{
		if (prepared[i].low == 0 && at < 0)
			at = i;
		if (prepared[i].low == low && prepared[i].database == database)
		{
			LWLockRelease(lock);
			return true;
		}
	}
	if (at >= 0)
	{
		prepared[at].database = database;
		prepared[at].low = low;
		pg_atomic_fetch_add_u32(&feed->nprepared, 1);
	}
	LWLockRelease(lock);
	return at >= 0;
}

static void
remove_prepared(Oid database, uint64 low)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < max_prepared_xacts; i++)
		if (prepared[i].low == low && prepared[i].database == database)
		{
			prepared[i].low = 0;
			pg_atomic_fetch_sub_u32(&feed->nprepared, 1);
		}
	LWLockRelease(lock);
}

/*
 * The lowest of a database's prepared transactions (InvalidOid: of all of them), `most` if there is none; forgets those
 * that are over.
 */
static uint64
lowest_prepared(Oid database, uint64 most)
{
	Prepared *entries;
	int n = 0;

	if (pg_atomic_read_u32(&feed->nprepared) == 0)
		return most;
	entries = palloc(max_prepared_xacts * sizeof(Prepared));
	LWLockAcquire(lock, LW_SHARED);
	for (int i = 0; i < max_prepared_xacts; i++)
		if (prepared[i].low != 0 && (prepared[i].database == database || !OidIsValid(database)))
			entries[n++] = prepared[i];
	LWLockRelease(lock);

	for (int i = 0; i < n; i++)
	{
		LOCKTAG tag;

		make_tag(&tag, entries[i].database, entries[i].low);
		if (LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		{
			most = Min(most, entries[i].low);
			continue;
		}
		/* With the lock in our hands nobody else is about to enter the same low. */
		remove_prepared(entries[i].database, entries[i].low);
		LockRelease(&tag, ExclusiveLock, false);
	}
	pfree(entries);
	return most;
}

/* False if the table is full.  Those that are over stay in it until a reader of their database comes by, and there may be none. */
static bool
enter_prepared(Oid database, uint64 low)
{
	if (add_prepared(database, low))
		return true;
	(void) lowest_prepared(InvalidOid, 0);
	return add_prepared(database, low);
}

/* Those that were prepared before the server was started hold their locks, and no process does it for them. */
static void
find_prepared(void)
{
	LockData *data;

	if (pg_atomic_read_u32(&feed->prepared_known) != 0)
		return;
	data = GetLockStatusData();
	for (int i = 0; i < data->nelements; i++)
	{
		const LockInstanceData *held = &data->locks[i];
		const LOCKTAG *tag = &held->locktag;

		if (held->pid == 0 && held->holdMask != 0 && tag->locktag_type == LOCKTAG_ADVISORY &&
			tag->locktag_lockmethodid == DEFAULT_LOCKMETHOD && tag->locktag_field4 == LOCK_FIELD)
		{
			uint64 low = (uint64) tag->locktag_field2 << 32 | tag->locktag_field3;

			if (!enter_prepared(tag->locktag_field1, low))
				elog(ERROR, "too many prepared transactions");
		}
	}
	pg_atomic_write_u32(&feed->prepared_known, 1);
}

/* PREPARE TRANSACTION may still fail here, and later, too: then the lock goes with the transaction. */
static void
prepare(void)
{
	uint64 low = pg_atomic_read_u64(&published[docstore_proc_number()].low);
	LOCKTAG tag;

	/* Without it PREPARE TRANSACTION says what is wrong. */
	if (max_prepared_xacts == 0)
		return;
	make_tag(&tag, MyDatabaseId, low);
	(void) LockAcquire(&tag, ShareLock, false, false);
	if (!enter_prepared(MyDatabaseId, low))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("maximum number of prepared transactions reached"),
				 errhint("Increase max_prepared_transactions (currently %d).", max_prepared_xacts)));
}

/* ---- transactions ---- */

static void
publish(LsmDb *db)
{
	Published *slot;

	if (publishing)
		return;
	slot = &published[docstore_proc_number()];
	slot->database = MyDatabaseId;
	pg_write_barrier();
	pg_atomic_write_u64(&slot->low, lsm_last_sequence(db) + 1);
	pg_memory_barrier();
	/* A better one: nobody who looked before the first stood there has a higher horizon. */
	pg_atomic_write_u64(&slot->low, lsm_last_sequence(db) + 1);
	/* before the first etag is reserved */
	pg_memory_barrier();
	publishing = true;
}

uint64
docstore_feed_own_etag(void)
{
	return publishing ? pg_atomic_read_u64(&published[docstore_proc_number()].low) : 0;
}

static void
wake_listeners(void)
{
	uint32 left = pg_atomic_read_u32(&feed->nlisteners);

	for (int i = 0; left > 0 && i < MaxBackends; i++)
	{
		Oid database = pg_atomic_read_u32(&listeners[i]);

		if (database == InvalidOid)
			continue;
		left--;
		if (database == MyDatabaseId)
			SetLatch(&GetPGProcByNumber(i)->procLatch);
	}
}

/* At COMMIT and ABORT the transaction has left the ProcArray; at PREPARE its place there has changed owners. */
static void
xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (publishing)
				prepare();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			if (publishing)
			{
				pg_memory_barrier();
				pg_atomic_write_u64(&published[docstore_proc_number()].low, 0);
				publishing = false;
				wake_listeners();
			}
			break;
		default:
			break;
	}
}

/* COMMIT PREPARED and ROLLBACK PREPARED end another transaction than the one whose callbacks run. */
static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only, ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *env, DestReceiver *dest, QueryCompletion *completion)
{
	bool ends_prepared = false;

	/* The statement may be gone when it has run: one that ends a transaction can take its own plan away. */
	if (IsA(pstmt->utilityStmt, TransactionStmt))
	{
		TransactionStmtKind kind = ((TransactionStmt *) pstmt->utilityStmt)->kind;

		ends_prepared = kind == TRANS_STMT_COMMIT_PREPARED || kind == TRANS_STMT_ROLLBACK_PREPARED;
	}
	if (previous_utility_hook != NULL)
		previous_utility_hook(pstmt, query, read_only, context, params, env, dest, completion);
	else
		standard_ProcessUtility(pstmt, query, read_only, context, params, env, dest, completion);
	if (ends_prepared && pg_atomic_read_u32(&feed->nprepared) > 0)
		wake_listeners();
}

void
docstore_feed_init(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup;
	previous_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	RegisterXactCallback(xact_callback, NULL);
}

/* ---- entries ---- */

static void
no_memory(void)
{
	ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
}

/* The stamp is that of the record. */
void
docstore_feed_add_entry(LsmBatch *batch, Oid database, uint64 storage, uint32 of, const LsmStamp *stamp, uint8 flags,
						LsmSlice id)
{
	char value[LSM_STAMP_MAX_SIZE + 1 + sizeof(uint64) + DOCSTORE_MAX_CHANGED];
	char prefix[DOCSTORE_KEY_PREFIX];
	LsmStamp copy = *stamp;
	size_t len;

	docstore_key_prefix(prefix, DOCSTORE_KEY_CHANGE, database, storage);
	copy.flags &= LSM_STAMP_XACT;
	len = lsm_stamp_encode(value, &copy);
	value[len++] = (char) flags;
	if (flags & DOCSTORE_CHANGE_OF_VIEW)
	{
		lsm_put_fixed64(value + len, (uint64) GetCurrentTimestamp());
		len += sizeof(uint64);
	}
	memcpy(value + len, id.data, id.len);
	if (!lsm_batch_put_numbered(batch, lsm_slice(prefix, sizeof(prefix)), of, lsm_slice(value, len + id.len)))
		no_memory();
}

/* Is this record a version of a document (no lock) or of a view's row that users read, and whose? */
static bool
is_version(const LsmBatchReader *record, LsmStamp *stamp)
{
	LsmSlice payload;

	return record->key.len >= DOCSTORE_KEY_PREFIX && record->key.len <= DOCSTORE_KEY_PREFIX + DOCSTORE_MAX_CHANGED &&
		   (record->key.data[0] == DOCSTORE_KEY_DOCUMENT || record->key.data[0] == DOCSTORE_KEY_VIEW) &&
		   lsm_stamp_decode(record->value, stamp, &payload) && (stamp->flags & LSM_STAMP_LOCK) == 0;
}

void
docstore_feed_add(LsmBatch *batch)
{
	LsmBatchReader reader;
	LsmStamp stamp;
	size_t need = 0;

	publish(docstore_db());
	/* The entries go behind the records that are being read: those must not move. */
	if (!lsm_batch_reader_init(&reader, lsm_buf_slice(&batch->rep)))
		return;
	while (lsm_batch_next(&reader, NULL) == LSM_OK)
		need += LSM_BATCH_HEADER + 16 + LSM_STAMP_MAX_SIZE + 1 + 2 * sizeof(uint64) + reader.key.len;
	if (!lsm_buf_reserve(&batch->rep, need))
		no_memory();

	(void) lsm_batch_reader_init(&reader, lsm_buf_slice(&batch->rep));
	for (uint32 i = 0; lsm_batch_next(&reader, NULL) == LSM_OK; i++)
	{
		uint64 storage;
		uint8 flags;

		if (!is_version(&reader, &stamp))
			continue;
		flags = (stamp.flags & LSM_STAMP_DELETE) ? DOCSTORE_CHANGE_DELETED : 0;
		if (reader.key.data[0] == DOCSTORE_KEY_VIEW)
			flags |= DOCSTORE_CHANGE_OF_VIEW;
		memcpy(&storage, reader.key.data + 5, sizeof(storage));
		docstore_feed_add_entry(batch, MyDatabaseId, pg_ntoh64(storage), i, &stamp, flags,
								lsm_slice(reader.key.data + DOCSTORE_KEY_PREFIX, reader.key.len - DOCSTORE_KEY_PREFIX));
	}
}

void
docstore_feed_write_truncated(uint64 storage, CommandId cid)
{
	LsmDb *db = docstore_db();
	LsmStamp stamp = docstore_stamp(0, cid);
	LsmBatch batch = {0};

	publish(db);
	docstore_feed_add_entry(&batch, MyDatabaseId, storage, 0, &stamp, DOCSTORE_CHANGE_TRUNCATED, lsm_slice("", 0));
	docstore_write_batch(&batch);
}

void
docstore_feed_wake(void)
{
	publish(docstore_db());
}

/* ---- consumers ---- */

uint64
docstore_feed_last_etag(void)
{
	return lsm_last_sequence(docstore_db());
}

uint64
docstore_feed_horizon(void)
{
	uint64 horizon;

	find_prepared();
	horizon = docstore_feed_last_etag() + 1;
	pg_memory_barrier();
	for (int i = 0; i < MaxBackends; i++)
	{
		uint64 low = pg_atomic_read_u64(&published[i].low);

		if (low == 0 || low >= horizon)
			continue;
		pg_read_barrier();
		if (published[i].database == MyDatabaseId)
			horizon = low;
	}
	pg_memory_barrier();
	horizon = lowest_prepared(MyDatabaseId, horizon);
	/* the snapshot comes after all this */
	pg_memory_barrier();
	return horizon;
}

static void
stop_listening(int code, Datum arg)
{
	docstore_feed_unlisten();
}

void
docstore_feed_listen(void)
{
	static bool registered = false;

	docstore_require_preload();
	if (listening)
		return;
	if (!registered)
		before_shmem_exit(stop_listening, (Datum) 0);
	registered = true;
	pg_atomic_write_u32(&listeners[docstore_proc_number()], MyDatabaseId);
	pg_atomic_fetch_add_u32(&feed->nlisteners, 1);
	listening = true;
}

void
docstore_feed_unlisten(void)
{
	if (!listening)
		return;
	listening = false;
	pg_atomic_write_u32(&listeners[docstore_proc_number()], InvalidOid);
	pg_atomic_fetch_sub_u32(&feed->nlisteners, 1);
}
