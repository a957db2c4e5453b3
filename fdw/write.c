/*
 * write.c - conflict-safe writes of documents.
 *
 * One write of one document, or of a few at once:
 *
 *  1. Look at the newest versions and at the locks without a lock (sight.c),
 *     which leaves a mark.  What belongs to aborted transactions, and locks of
 *     ended ones, do not count.
 *  2. If the newest that counts belongs to another transaction in progress, or
 *     such a one holds a lock that conflicts: queue on a heavyweight lock for the
 *     id, as heap_acquire_tuplock does, wait for that transaction, go to 1.  The
 *     queue makes waiters take their turns and lets the deadlock detector see
 *     them.
 *  3. Decide: duplicate id, newer version than the one that was seen, ... (may
 *     throw).
 *  4. Take the stripe locks of all ids, in ascending order.  If anything was
 *     written to an id since its mark, or locked, or the memtable was rotated,
 *     unlock and go to 1.
 *  5. lsm_write, unlock.  If there was no room: lsm_make_room without a lock,
 *     go to 1.
 *
 * Why no update is lost: between the mark and the write nobody else wrote or
 * locked the id, since everybody who does holds its stripe from the second look
 * to the write; and what 3 decided on (commit or abort of the versions it saw) does
 * not change again.
 *
 * A row lock takes the same way.  In step 5 it goes into a table in shared memory
 * (store/rowlock.h); where that has no room, it becomes a version with
 * LSM_STAMP_LOCK in the memtable.  Either makes others wait in step 2 and ends with
 * its transaction.  An UPDATE or DELETE needs none: it decides, in step 3,
 * whether the version that its scan saw is still the newest.
 *
 * Steps 4 and 5 neither throw nor serve interrupts.
 */
#include "postgres.h"

#include "fdw/write.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"

#include "fdw/sight.h"
#include "store/feed.h"
#include "store/predicate.h"
#include "store/stop.h"

typedef enum ChangeKind
{
	CHANGE_INSERT,
	CHANGE_LOCK,
	CHANGE_UPDATE,
	CHANGE_DELETE,
	CHANGE_PUT
} ChangeKind;

typedef struct Change
{
	ChangeKind kind;
	const DocumentKey *key;
	const Jsonb *doc;        /* insert, update, put */
	bool want_found;         /* the version that is there goes to writer->found */
	bool skip;               /* insert: a duplicate is no error */
	uint64 seen;             /* lock, update, delete */
	const LsmVersion *known; /* update, delete: what was read of it, or NULL */
	LockTupleMode mode;
	LockWaitPolicy wait;
	const uint64 *expected; /* put */
	/* results */
	DocResult result;
	bool write;  /* there is something to write */
	bool record; /* lock: not into the table, there was no room */
	Sight sight;
	bool queued;
	LOCKTAG tag;
	LOCKMODE queue_mode;
} Change;

/* Memory of the batch is used again; what a throw leaves behind is cleared by the next use. */
static LsmBatch batch;
#define BATCH_KEEP (1024 * 1024)

static void
free_found(void *arg)
{
	lsm_buf_free(&((DocWriter *) arg)->found);
}

void
docstore_writer_init(DocWriter *writer, const DocCollection *collection, CommandId cid, Snapshot snapshot)
{
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));

	memset(writer, 0, sizeof(*writer));
	writer->storage = collection->storage;
	writer->generation = docstore_collection_generation();
	writer->tracked = collection->tracked;
	writer->collection = collection->name;
	writer->cid = cid;
	writer->snapshot = snapshot;
	callback->func = free_found;
	callback->arg = writer;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
}

/* ---- step 2 ---- */

static void
throw_concurrent(bool deleted)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent %s", deleted ? "delete" : "update")));
}

/* Returns false if the caller did not want to wait. */
static bool
wait_turn(DocWriter *writer, Change *change)
{
	LsmSlice id = document_key_id(document_key_slice(change->key));

	if (change->kind == CHANGE_LOCK && change->wait == LockWaitSkip)
		return false;
	if (change->kind == CHANGE_LOCK && change->wait == LockWaitError)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not obtain lock on document in collection \"%s\"", writer->collection)));
	/* Who holds a lock already does not queue: the first in the queue may be waiting for it. */
	if (!change->queued && change->sight.own_lock == SIGHT_NO_LOCK)
	{
		/* As for rows: who can share a lock need not queue behind the other. */
		static const LOCKMODE queue_modes[] = {AccessShareLock, RowShareLock, ExclusiveLock, AccessExclusiveLock};

		change->queue_mode = change->sight.mode == SIGHT_NO_LOCK ? ExclusiveLock : queue_modes[change->sight.mode];
		/* Advisory locks of users have 1 or 2 in the last field. */
		SET_LOCKTAG_ADVISORY(change->tag, MyDatabaseId, (uint32) writer->storage,
							 hash_bytes((const unsigned char *) id.data, (int) id.len), 3);
		change->tag.locktag_lockmethodid = DEFAULT_LOCKMETHOD;
		(void) LockAcquire(&change->tag, change->queue_mode, false, false);
		change->queued = true;
	}
	docstore_wait_for(&change->sight.blocker);
	return true;
}

/*
 * REPEATABLE READ: whether or not the one who is in the way commits, what the
 * scan saw is not the newest any more.  As for a table, there is nothing to wait for then.
 */
static void
refuse_overtaken(const Change *change)
{
	const Sight *sight = &change->sight;
	bool seen = change->kind == CHANGE_UPDATE || change->kind == CHANGE_DELETE ||
				(change->kind == CHANGE_LOCK && change->wait != LockWaitSkip);

	if (seen && IsolationUsesXactSnapshot() && sight->any && sight->fate != DOCSTORE_FATE_OWN &&
		!doc_same_version(sight->version.seq, change->seen))
		throw_concurrent(!sight->exists);
}

static void
leave_queues(Change *changes, int n)
{
	for (int i = 0; i < n; i++)
		if (changes[i].queued)
		{
			LockRelease(&changes[i].tag, changes[i].queue_mode, false);
			changes[i].queued = false;
		}
}

/* ---- step 3 ---- */

static char *
id_text(const DocumentKey *key)
{
	LsmSlice id = document_key_id(document_key_slice(key));
	int len = pg_mbcliplen(id.data, (int) id.len, 200);

	return psprintf("%.*s%s", len, id.data, len < (int) id.len ? "..." : "");
}

/* Is the newest version one that the writer's snapshot should have shown, but did not? */
static bool
unseen(DocWriter *writer, const Sight *sight)
{
	return sight->any && sight->fate == DOCSTORE_FATE_COMMITTED &&
		   !docstore_stamp_visible(&sight->version.stamp, writer->snapshot);
}

static void
decide_insert(DocWriter *writer, Change *change)
{
	const Sight *sight = &change->sight;

	if (!sight->exists)
		return;
	if (!change->skip)
	{
		/* Who has looked for the id before, and not found it, is better told to try again. */
		docstore_predicate_wrote(writer->storage, document_key_slice(change->key));
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("duplicate document id in collection \"%s\"", writer->collection),
				 errdetail("Key (id)=(%s) already exists.", id_text(change->key))));
	}
	/* As ExecCheckTIDVisible: "do nothing" because of a row that the transaction cannot see is no answer. */
	if (IsolationUsesXactSnapshot() && unseen(writer, sight))
		throw_concurrent(false);
	change->result = DOC_EXISTS;
	change->write = false;
}

static void
decide_lock(DocWriter *writer, Change *change, LsmVersion *newer)
{
	const Sight *sight = &change->sight;

	/* Own newer versions: written after the scan's snapshot was taken, by this command or by functions that it calls. */
	if (sight->any && sight->fate == DOCSTORE_FATE_OWN && !doc_same_version(sight->version.seq, change->seen))
	{
		change->result = DOC_SELF;
		change->write = false;
		return;
	}
	change->write = sight->own_lock < (int) change->mode;
	if (sight->exists && doc_same_version(sight->version.seq, change->seen))
		return;
	if (IsolationUsesXactSnapshot())
		throw_concurrent(!sight->exists);
	if (!sight->exists)
	{
		change->result = DOC_GONE;
		change->write = false;
		return;
	}
	change->result = DOC_NEWER;
	*newer = sight->version;
}

static void
decide_modify(DocWriter *writer, Change *change)
{
	const Sight *sight = &change->sight;

	if (sight->any && sight->fate == DOCSTORE_FATE_OWN && sight->version.stamp.cid >= writer->cid)
	{
		if (sight->version.stamp.cid > writer->cid)
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
					 errmsg("document to be %s was already modified by an operation triggered by the current command",
							change->kind == CHANGE_DELETE ? "deleted" : "updated"),
					 errhint("Consider using an AFTER trigger instead of a BEFORE trigger to propagate changes to other rows.")));
		change->result = DOC_SELF;
		change->write = false;
		return;
	}
	if (sight->exists && doc_same_version(sight->version.seq, change->seen))
		return;
	if (IsolationUsesXactSnapshot())
		throw_concurrent(!sight->exists);
	change->result = sight->exists ? DOC_NEWER : DOC_GONE;
	change->write = false;
}

static void
decide_put(DocWriter *writer, Change *change)
{
	const Sight *sight = &change->sight;
	uint64 etag = sight->exists ? sight->version.seq : 0;

	if (change->expected != NULL && *change->expected != etag)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("document \"%s\" in collection \"%s\" is not the expected version", id_text(change->key),
						writer->collection),
				 etag == 0                ? errdetail("There is no such document; expected was etag %llu.", (unsigned long long) *change->expected)
				 : *change->expected == 0 ? errdetail("Its etag is %llu; expected was that there is no such document.", (unsigned long long) etag)
										  : errdetail("Its etag is %llu; expected was %llu.", (unsigned long long) etag, (unsigned long long) *change->expected),
				 errhint("Read the document again and repeat the change.")));
	if (IsolationUsesXactSnapshot() && unseen(writer, sight))
		throw_concurrent(!sight->exists);
}

/* ---- steps 4 and 5 ---- */

static void
add_record(DocWriter *writer, const Change *change, TimestampTz modified)
{
	char head[LSM_STAMP_MAX_SIZE + DOCUMENT_HEADER];
	LsmSlice body = {NULL, 0};
	size_t len;

	if (change->kind == CHANGE_LOCK)
		len = docstore_rowlock_encode(head, change->mode, writer->cid);
	else
	{
		LsmStamp stamp = docstore_stamp(change->kind == CHANGE_DELETE ? LSM_STAMP_DELETE : 0, writer->cid);

		len = lsm_stamp_encode(head, &stamp);
	}
	if (change->doc != NULL)
	{
		document_header_encode(head + len, modified);
		len += DOCUMENT_HEADER;
		body = document_body(change->doc);
	}
	if (!lsm_batch_put2(&batch, document_key_slice(change->key), lsm_slice(head, len), body))
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
}

/* A lock: into the table, or if there is no room, the next time as a record. */
static LsmStatus
write_lock(Change *change, uint64 xid, LsmError *err)
{
	LsmSlice key = document_key_slice(change->key);
	int stripe = lsm_stripe(key);
	LsmStatus status;

	lsm_lock(docstore_env(), stripe, LSM_EXCLUSIVE);
	status = doc_sight_recheck(change->key, &change->sight, err);
	if (status == LSM_OK && !docstore_rowlock_add(key, change->mode, xid))
	{
		change->record = true;
		status = LSM_BUSY;
	}
	lsm_unlock(docstore_env(), stripe);
	return status;
}

/* LSM_BUSY: start over; *full says whether for want of room. */
static LsmStatus
write_batch(LsmDb *db, Change *changes, int n, uint64 *first_seq, bool *full, LsmError *err)
{
	bool logged = changes[0].kind != CHANGE_LOCK || docstore_rowlock_logged();
	LsmEnv *env = docstore_env();
	uint64 stripes[LSM_NUM_STRIPES / 64] = {0}; /* a bit each */
	LsmStatus status = LSM_OK;

	for (int i = 0; i < n; i++)
		if (changes[i].write)
		{
			int stripe = lsm_stripe(document_key_slice(changes[i].key)) - LSM_LOCK_STRIPE;

			stripes[stripe / 64] |= UINT64CONST(1) << stripe % 64;
		}

	for (int i = 0; i < lengthof(stripes); i++)
		for (uint64 left = stripes[i]; left != 0; left &= left - 1)
			lsm_lock(env, LSM_LOCK_STRIPE + i * 64 + pg_rightmost_one_pos64(left), LSM_EXCLUSIVE);
	for (int i = 0; status == LSM_OK && i < n; i++)
		if (changes[i].write)
			status = doc_sight_recheck(changes[i].key, &changes[i].sight, err);
	if (status == LSM_OK)
	{
		status = logged ? lsm_write(db, &batch, false, first_seq, err) : lsm_write_unlogged(db, &batch, first_seq, err);
		docstore_stop("write done");
		*full = status == LSM_BUSY;
	}
	for (int i = lengthof(stripes) - 1; i >= 0; i--)
		for (uint64 left = stripes[i]; left != 0; left ^= UINT64CONST(1) << pg_leftmost_one_pos64(left))
			lsm_unlock(env, LSM_LOCK_STRIPE + i * 64 + pg_leftmost_one_pos64(left));
	return status;
}

/* The mode in which a change locks what it changes. */
static int
lock_mode(const Change *change)
{
	switch (change->kind)
	{
		case CHANGE_INSERT:
			/* There is nobody to lock what is not there, and a lock does not make a duplicate less of one. */
			return SIGHT_NO_LOCK;
		case CHANGE_LOCK:
			return (int) change->mode;
		case CHANGE_DELETE:
			return LockTupleExclusive;
		default:
			return LockTupleNoKeyExclusive;
	}
}

/* What follows a write, without locks. */
static void
after_write(DocWriter *writer, const Change *changes, int n)
{
	if (batch.count > 0)
		lsm_throttle(docstore_db(), batch.memtable_cost);
	for (int i = 0; i < n; i++)
		if (changes[i].write && changes[i].kind != CHANGE_LOCK)
			docstore_predicate_wrote(writer->storage, document_key_slice(changes[i].key));
	if (batch.rep.cap > BATCH_KEEP)
		lsm_batch_free(&batch);
}

/*
 * A statement may call a function that truncates its collection by another foreign table, which PostgreSQL does not know
 * to be the same, drops it, or gives it its first consumer.
 */
static void
look_again(DocWriter *writer)
{
	DocCollection now;

	if (writer->generation == docstore_collection_generation())
		return;
	docstore_collection_get(writer->collection, NoLock, &now);
	if (now.storage != writer->storage)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot write to collection \"%s\" because it was truncated meanwhile", writer->collection),
				 errdetail("The same transaction truncated it after this statement had begun.")));
	writer->tracked = now.tracked;
	writer->generation = docstore_collection_generation();
}

/* Returns the sequence number of the first record written. */
static uint64
perform(DocWriter *writer, Change *changes, int n, TimestampTz modified, LsmVersion *newer)
{
	LsmDb *db = docstore_db();
	uint64 first_seq = 0;
	int given = n;

	Assert(n <= DOCSTORE_MAX_BATCH);
	look_again(writer);
	/* To do nothing because a document is there is to have read it. */
	if (changes[0].skip)
		docstore_predicate_probe(writer->storage, document_key_slice(changes[0].key), writer->snapshot);
	for (;;)
	{
		bool again = false;
		bool nothing = false;
		bool any = false;
		bool full = false;
		LsmStatus status;
		LsmError err;

		CHECK_FOR_INTERRUPTS();
		lsm_batch_clear(&batch);
		for (int i = 0; i < n; i++)
			changes[i].write = false;
		for (int i = 0; i < n && !again && !nothing; i++)
		{
			Change *change = &changes[i];

			writer->deciding = change->key;
			doc_look(change->key, lock_mode(change), change->want_found ? &writer->found : NULL, change->known, &change->sight);
			if (change->sight.blocked)
			{
				refuse_overtaken(change);
				if (wait_turn(writer, change))
					again = true;
				else
				{
					change->result = DOC_LOCKED;
					change->write = false;
				}
				continue;
			}
			change->result = DOC_DONE;
			change->write = true;
			switch (change->kind)
			{
				case CHANGE_INSERT:
					decide_insert(writer, change);
					break;
				case CHANGE_LOCK:
					decide_lock(writer, change, newer);
					break;
				case CHANGE_UPDATE:
				case CHANGE_DELETE:
					decide_modify(writer, change);
					if (change->result == DOC_NEWER)
					{
						/* Locks it before it leaves the queue: else all who wait there would wake up for nothing. */
						change->mode = (LockTupleMode) lock_mode(change);
						change->kind = CHANGE_LOCK;
						change->doc = NULL;
						change->want_found = again = true;
						n = 1;
					}
					/* Of a move only the whole makes sense. */
					nothing = !change->write;
					break;
				case CHANGE_PUT:
					decide_put(writer, change);
					break;
			}
			/* The value is only needed if it is another than the one seen, which is rare: look again. */
			if (change->result == DOC_NEWER && !change->want_found)
				change->want_found = again = true;
			if (!change->write)
				continue;
			any = true;
			if (change->kind == CHANGE_LOCK && !docstore_rowlock_prepare(document_key_slice(change->key)))
				change->record = true;
			if (change->kind != CHANGE_LOCK || change->record)
				add_record(writer, change, modified);
		}
		if (again)
			continue;
		if (!any)
			break;

		if (writer->tracked && changes[0].kind != CHANGE_LOCK)
			docstore_feed_add(&batch);
		if (batch.count > 0)
			status = write_batch(db, changes, n, &first_seq, &full, &err);
		else
			status = write_lock(changes, U64FromFullTransactionId(GetCurrentFullTransactionId()), &err);
		if (status == LSM_OK)
			break;
		if (status != LSM_BUSY)
			docstore_throw(&err);
		if (full)
			docstore_check(lsm_make_room(db, batch.memtable_cost, &err), &err);
	}
	leave_queues(changes, given);
	after_write(writer, changes, n);
	return first_seq;
}

/* ---- the face ---- */

DocResult
docstore_insert(DocWriter *writer, const DocumentKey *key, const Jsonb *doc, TimestampTz modified, bool skip, uint64 *etag)
{
	Change change = {.kind = CHANGE_INSERT, .key = key, .doc = doc, .skip = skip};

	*etag = perform(writer, &change, 1, modified, NULL);
	return change.result;
}

static int
compare_change(const void *a, const void *b)
{
	const Change *x = a;
	const Change *y = b;

	int order = lsm_slice_compare(document_key_slice(x->key), document_key_slice(y->key));

	/* Of twins the later one is the wrong one. */
	return order != 0 ? order : x->key < y->key ? -1
												: 1;
}

void
docstore_insert_many(DocWriter *writer, int n, const DocumentKey *keys, Jsonb *const *docs, TimestampTz modified,
					 uint64 *etags)
{
	Change *changes = palloc0(n * sizeof(Change));
	uint64 first_seq;

	for (int i = 0; i < n; i++)
	{
		changes[i].kind = CHANGE_INSERT;
		changes[i].key = &keys[i];
		changes[i].doc = docs[i];
	}
	/* Neighbours in the memtable one after the other; and twins within the batch show. */
	qsort(changes, n, sizeof(Change), compare_change);
	for (int i = 1; i < n; i++)
		if (lsm_slice_compare(document_key_slice(changes[i - 1].key), document_key_slice(changes[i].key)) == 0)
		{
			writer->deciding = changes[i].key;
			ereport(ERROR,
					(errcode(ERRCODE_UNIQUE_VIOLATION),
					 errmsg("duplicate document id in collection \"%s\"", writer->collection),
					 errdetail("Key (id)=(%s) already exists.", id_text(changes[i].key))));
		}
	first_seq = perform(writer, changes, n, modified, NULL);
	for (int i = 0; i < n; i++)
		etags[changes[i].key - keys] = first_seq + i;
	pfree(changes);
}

DocResult
docstore_lock(DocWriter *writer, const DocumentKey *key, uint64 seen, LockTupleMode mode, LockWaitPolicy wait,
			  LsmVersion *newer)
{
	Change change = {.kind = CHANGE_LOCK, .key = key, .seen = seen, .mode = mode, .wait = wait};

	perform(writer, &change, 1, 0, newer);
	return change.result;
}

DocResult
docstore_update(DocWriter *writer, const DocumentKey *key, const LsmVersion *seen, const DocumentKey *new_key, const Jsonb *doc,
				TimestampTz modified, uint64 *etag, LsmVersion *newer)
{
	if (new_key == NULL)
	{
		Change change = {.kind = CHANGE_UPDATE, .key = key, .doc = doc, .seen = seen->seq, .known = seen};

		*etag = perform(writer, &change, 1, modified, newer);
		return change.result;
	}
	else
	{
		Change changes[2] = {{.kind = CHANGE_DELETE, .key = key, .seen = seen->seq, .known = seen},
							 {.kind = CHANGE_INSERT, .key = new_key, .doc = doc}};

		*etag = perform(writer, changes, 2, modified, newer) + 1;
		return changes[0].result;
	}
}

DocResult
docstore_delete(DocWriter *writer, const DocumentKey *key, const LsmVersion *seen, bool want_found, LsmVersion *version)
{
	Change change = {.kind = CHANGE_DELETE, .key = key, .seen = seen->seq, .known = seen, .want_found = want_found};

	perform(writer, &change, 1, 0, version);
	if (change.result == DOC_DONE)
		*version = change.sight.version;
	return change.result;
}

/* May the version that was seen be replaced, without a wait or a word? */
static bool
is_plain(const DocWriter *writer, const Change *change)
{
	const Sight *sight = &change->sight;

	return !sight->blocked && sight->exists && doc_same_version(sight->version.seq, change->seen) &&
		   (sight->fate != DOCSTORE_FATE_OWN || sight->version.stamp.cid < writer->cid);
}

bool
docstore_change_many(DocWriter *writer, int n, const DocumentKey *keys, const LsmVersion *seen, Jsonb *const *docs,
					 TimestampTz modified)
{
	Change *changes = palloc0(n * sizeof(Change));
	LsmDb *db = docstore_db();
	bool written = false;

	Assert(n <= DOCSTORE_MAX_BATCH);
	while (!written)
	{
		bool full = false;
		LsmStatus status;
		LsmError err;

		CHECK_FOR_INTERRUPTS();
		lsm_batch_clear(&batch);
		for (int i = 0; i < n; i++)
		{
			Change *change = &changes[i];

			change->kind = docs != NULL ? CHANGE_UPDATE : CHANGE_DELETE;
			change->key = &keys[i];
			change->doc = docs != NULL ? docs[i] : NULL;
			change->seen = seen[i].seq;
			doc_look(change->key, lock_mode(change), NULL, &seen[i], &change->sight);
			if (!is_plain(writer, change))
				return false;
			change->write = true;
			add_record(writer, change, modified);
		}
		if (writer->tracked)
			docstore_feed_add(&batch);
		status = write_batch(db, changes, n, NULL, &full, &err);
		written = status == LSM_OK;
		if (!written && status != LSM_BUSY)
			docstore_throw(&err);
		if (full)
			docstore_check(lsm_make_room(db, batch.memtable_cost, &err), &err);
	}
	after_write(writer, changes, n);
	pfree(changes);
	return true;
}

uint64
docstore_put_document(DocWriter *writer, const DocumentKey *key, const Jsonb *doc, TimestampTz modified,
					  const uint64 *expected)
{
	Change change = {.kind = CHANGE_PUT, .key = key, .doc = doc, .expected = expected};

	return perform(writer, &change, 1, modified, NULL);
}

void
docstore_write_dropped(uint64 storage, CommandId cid)
{
	LsmStamp stamp = docstore_stamp(0, cid);
	LsmBatch record = {0};
	char key[DOCSTORE_KEY_PREFIX];
	char head[LSM_STAMP_MAX_SIZE];
	size_t len = lsm_stamp_encode(head, &stamp);

	docstore_key_prefix(key, DOCSTORE_KEY_DROPPED, MyDatabaseId, storage);
	if (!lsm_batch_put(&record, lsm_slice(key, sizeof(key)), lsm_slice(head, len)))
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	docstore_write_batch(&record);
}
