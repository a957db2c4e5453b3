/*
 * write.c - conflict-safe writes of documents.
 *
 * One write of one document, or of a few at once:
 *
 *  1. Look at the newest versions without a lock (lsm_versions), which leaves
 *     a mark.  Aborted versions and locks of ended transactions do not count.
 *  2. If the newest that counts, version or lock record, belongs to another
 *     transaction in progress: queue on a heavyweight lock for the id, as
 *     heap_acquire_tuplock does, wait for that transaction, go to 1.  The queue
 *     makes waiters take their turns and lets the deadlock detector see them.
 *  3. Decide: duplicate id, newer version than the snapshot's, ... (may throw).
 *  4. Take the stripe locks of all ids, in ascending order.  lsm_recheck: if
 *     anything was written to an id since its mark, or the memtable was
 *     rotated, unlock and go to 1.
 *  5. lsm_write, unlock.  If there was no room: lsm_make_room without a lock,
 *     go to 1.
 *
 * Why no update is lost: between the mark and the write nobody else wrote the
 * id, since every writer holds its stripe from recheck to write; and what 3
 * decided on (commit or abort of the versions it saw) does not change again.
 *
 * A row lock is a version with LSM_STAMP_LOCK, put into the memtable but not into
 * the journal: like any write it makes others wait in step 2, and it ends with
 * its transaction.  It needs no second look later: who holds it is the only one
 * who may write the id.
 *
 * Steps 4 and 5 neither throw nor serve interrupts.
 */
#include "postgres.h"

#include "fdw/write.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"

typedef enum ChangeKind
{
	CHANGE_INSERT,
	CHANGE_LOCK,
	CHANGE_UPDATE,
	CHANGE_DELETE,
	CHANGE_PUT
} ChangeKind;

/* What a look at an id's versions found. */
typedef struct Sight
{
	bool exists;  /* there is a version that counts, and it is no deletion */
	bool any;     /* there is a version that counts */
	bool running; /* another transaction in progress has written it ... */
	bool locked;  /* ... or locked it */
	LsmStamp blocker;
	bool own_lock;
	bool unknown;
	DocstoreFate fate;
	LsmVersion version;
	LsmBuf *copy; /* where to put the version's value, or NULL */
	bool no_memory;
	LsmMark mark;
} Sight;

typedef struct Change
{
	ChangeKind kind;
	const DocumentKey *key;
	const Jsonb *doc; /* insert, update, put */
	bool want_found;  /* the version that is there goes to writer->found */
	bool skip;        /* insert: a duplicate is no error */
	uint64 seen;      /* lock, update, delete */
	LockWaitPolicy wait;
	const uint64 *expected; /* put */
	/* results */
	DocResult result;
	bool write; /* there is something to write */
	Sight sight;
	bool queued;
	LOCKTAG tag;
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
docstore_writer_init(DocWriter *writer, uint64 storage, const char *collection, CommandId cid, Snapshot snapshot)
{
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));

	memset(writer, 0, sizeof(*writer));
	writer->storage = storage;
	writer->collection = collection;
	writer->cid = cid;
	writer->snapshot = snapshot;
	callback->func = free_found;
	callback->arg = writer;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
}

/* ---- step 1 ---- */

static bool
visit(void *arg, const LsmVersion *version, LsmSlice payload, volatile uint8_t *hint)
{
	Sight *sight = arg;
	DocstoreFate fate = docstore_fate(&version->stamp, hint);

	if (fate == DOCSTORE_FATE_ABORTED)
		return true;
	if (version->stamp.flags & LSM_STAMP_LOCK)
	{
		if (fate == DOCSTORE_FATE_OWN)
			sight->own_lock = true;
		else if (fate == DOCSTORE_FATE_RUNNING)
		{
			sight->locked = true;
			sight->blocker = version->stamp;
		}
		return true;
	}
	if (fate == DOCSTORE_FATE_RUNNING)
	{
		sight->running = true;
		sight->blocker = version->stamp;
		return false;
	}
	if (fate == DOCSTORE_FATE_UNKNOWN)
	{
		sight->unknown = true;
		sight->blocker = version->stamp;
		return false;
	}
	/* Whoever wrote this had waited for all that lies below it. */
	sight->any = true;
	sight->exists = (version->stamp.flags & LSM_STAMP_DELETE) == 0;
	sight->fate = fate;
	sight->version = *version;
	if (sight->copy != NULL && sight->exists && !lsm_buf_set(sight->copy, payload.data, payload.len))
		sight->no_memory = true;
	return false;
}

static void
look(LsmDb *db, const DocumentKey *key, LsmBuf *copy, Sight *sight)
{
	LsmError err;

	memset(sight, 0, sizeof(*sight));
	sight->copy = copy;
	docstore_check(lsm_versions(db, document_key_slice(key), visit, sight, &sight->mark, &err), &err);
	if (sight->no_memory)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (sight->unknown)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("transaction %llu of a stored document is too old to look up",
						(unsigned long long) sight->blocker.xid)));
}

/* ---- step 2 ---- */

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
	if (!change->queued)
	{
		/* Advisory locks of users have 1 or 2 in the last field. */
		SET_LOCKTAG_ADVISORY(change->tag, MyDatabaseId, (uint32) writer->storage,
							 hash_bytes((const unsigned char *) id.data, (int) id.len), 3);
		change->tag.locktag_lockmethodid = DEFAULT_LOCKMETHOD;
		(void) LockAcquire(&change->tag, ExclusiveLock, false, false);
		change->queued = true;
	}
	docstore_wait_for(&change->sight.blocker);
	return true;
}

static void
leave_queues(Change *changes, int n)
{
	for (int i = 0; i < n; i++)
		if (changes[i].queued)
		{
			LockRelease(&changes[i].tag, ExclusiveLock, false);
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

static void
throw_concurrent(bool deleted)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent %s", deleted ? "delete" : "update")));
}

/* Is the version that was found the one that was seen? */
static bool
same_version(uint64 seq, uint64 seen)
{
	return ((seq ^ seen) & DOCUMENT_TID_MASK) == 0;
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
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("duplicate document id in collection \"%s\"", writer->collection),
				 errdetail("Key (id)=(%s) already exists.", id_text(change->key))));
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

	/*
	 * Own newer versions: written after the scan's snapshot was taken, by this
	 * command or by functions that it calls.  They lock as well as a lock; what
	 * they mean is for the write to decide, as in a heap.
	 */
	if (sight->any && sight->fate == DOCSTORE_FATE_OWN && !same_version(sight->version.seq, change->seen))
	{
		change->write = false;
		return;
	}
	if (sight->exists && same_version(sight->version.seq, change->seen))
	{
		change->write = !sight->own_lock && sight->fate != DOCSTORE_FATE_OWN;
		return;
	}
	if (IsolationUsesXactSnapshot())
		throw_concurrent(!sight->exists);
	if (!sight->exists)
	{
		change->result = DOC_GONE;
		change->write = false;
		return;
	}
	change->result = DOC_NEWER;
	change->write = !sight->own_lock;
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
	if (sight->exists && same_version(sight->version.seq, change->seen))
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

static int
compare_int(const void *a, const void *b)
{
	int x = *(const int *) a;
	int y = *(const int *) b;

	return x < y ? -1 : x > y;
}

static void
add_record(DocWriter *writer, const Change *change, TimestampTz modified)
{
	uint8_t flags = change->kind == CHANGE_DELETE ? LSM_STAMP_DELETE : change->kind == CHANGE_LOCK ? LSM_STAMP_LOCK
																								   : 0;
	LsmStamp stamp = docstore_stamp(flags, writer->cid);
	char head[LSM_STAMP_MAX_SIZE + DOCUMENT_HEADER];
	size_t len = lsm_stamp_encode(head, &stamp);
	LsmSlice body = {NULL, 0};

	if (change->doc != NULL)
	{
		document_header_encode(head + len, modified);
		len += DOCUMENT_HEADER;
		body = document_body(change->doc);
	}
	if (!lsm_batch_put2(&batch, document_key_slice(change->key), lsm_slice(head, len), body))
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
}

/* LSM_BUSY: start over; *full says whether for want of room. */
static LsmStatus
write_batch(LsmDb *db, Change *changes, int n, bool logged, uint64 *first_seq, bool *full, LsmError *err)
{
	LsmEnv *env = docstore_env();
	int stripes[DOCSTORE_MAX_BATCH];
	int nstripes = 0;
	LsmStatus status = LSM_OK;

	*full = false;
	for (int i = 0; i < n; i++)
		if (changes[i].write)
			stripes[nstripes++] = lsm_stripe(document_key_slice(changes[i].key));
	if (nstripes > 1)
	{
		int unique = 1;

		qsort(stripes, nstripes, sizeof(int), compare_int);
		for (int i = 1; i < nstripes; i++)
			if (stripes[i] != stripes[unique - 1])
				stripes[unique++] = stripes[i];
		nstripes = unique;
	}

	for (int i = 0; i < nstripes; i++)
		lsm_lock(env, LSM_LOCK_STRIPE + stripes[i], LSM_EXCLUSIVE);
	for (int i = 0; status == LSM_OK && i < n; i++)
		if (changes[i].write)
			status = lsm_recheck(db, document_key_slice(changes[i].key), &changes[i].sight.mark, err);
	if (status == LSM_OK)
	{
		status = logged ? lsm_write(db, &batch, false, first_seq, err) : lsm_write_unlogged(db, &batch, first_seq, err);
		*full = status == LSM_BUSY;
	}
	for (int i = nstripes - 1; i >= 0; i--)
		lsm_unlock(env, LSM_LOCK_STRIPE + stripes[i]);
	return status;
}

/* Returns the sequence number of the first record written. */
static uint64
perform(DocWriter *writer, Change *changes, int n, TimestampTz modified, LsmVersion *newer)
{
	LsmDb *db = docstore_db();
	uint64 first_seq = 0;

	Assert(n <= DOCSTORE_MAX_BATCH);
	for (;;)
	{
		bool blocked = false;
		bool nothing = false;
		bool any = false;
		bool full;
		LsmStatus status;
		LsmError err;

		CHECK_FOR_INTERRUPTS();
		lsm_batch_clear(&batch);
		for (int i = 0; i < n; i++)
			changes[i].write = false;
		for (int i = 0; i < n && !blocked && !nothing; i++)
		{
			Change *change = &changes[i];

			look(db, change->key, change->want_found ? &writer->found : NULL, &change->sight);
			/* A lock on what is there does not make it less of a duplicate. */
			if (change->sight.running ||
				(change->sight.locked && !(change->kind == CHANGE_INSERT && change->sight.exists)))
			{
				if (wait_turn(writer, change))
					blocked = true;
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
					/* Of a move only the whole makes sense. */
					nothing = !change->write;
					break;
				case CHANGE_PUT:
					decide_put(writer, change);
					break;
			}
			if (change->write)
			{
				add_record(writer, change, modified);
				any = true;
			}
		}
		if (blocked)
			continue;
		if (!any)
			break;

		status = write_batch(db, changes, n, changes[0].kind != CHANGE_LOCK, &first_seq, &full, &err);
		if (status == LSM_OK)
			break;
		if (status != LSM_BUSY)
			docstore_throw(&err);
		if (full)
			docstore_check(lsm_make_room(db, batch.memtable_cost, &err), &err);
	}
	leave_queues(changes, n);
	if (batch.rep.cap > BATCH_KEEP)
		lsm_batch_free(&batch);
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

	return lsm_slice_compare(document_key_slice(x->key), document_key_slice(y->key));
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
		if (compare_change(&changes[i - 1], &changes[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNIQUE_VIOLATION),
					 errmsg("duplicate document id in collection \"%s\"", writer->collection),
					 errdetail("Key (id)=(%s) already exists.", id_text(changes[i].key))));
	first_seq = perform(writer, changes, n, modified, NULL);
	for (int i = 0; i < n; i++)
		etags[changes[i].key - keys] = first_seq + i;
	pfree(changes);
}

DocResult
docstore_lock(DocWriter *writer, const DocumentKey *key, uint64 seen, LockWaitPolicy wait, LsmVersion *newer)
{
	Change change = {.kind = CHANGE_LOCK, .key = key, .seen = seen, .wait = wait, .want_found = false};

	/* The value is only needed if it is another than the one seen, which is rare: look twice then. */
	perform(writer, &change, 1, 0, newer);
	if (change.result == DOC_NEWER)
	{
		Sight sight;

		look(docstore_db(), key, &writer->found, &sight);
		Assert(sight.exists && sight.version.seq == newer->seq);
	}
	return change.result;
}

typedef struct Wanted
{
	uint64 seen;
	LsmBuf *copy;
	bool found;
	bool no_memory;
} Wanted;

static bool
visit_wanted(void *arg, const LsmVersion *version, LsmSlice payload, volatile uint8_t *hint)
{
	Wanted *wanted = arg;

	if ((version->stamp.flags & (LSM_STAMP_LOCK | LSM_STAMP_DELETE)) || !same_version(version->seq, wanted->seen))
		return true;
	wanted->found = true;
	wanted->no_memory = !lsm_buf_set(wanted->copy, payload.data, payload.len);
	return false;
}

void
docstore_read_version(DocWriter *writer, const DocumentKey *key, uint64 seen)
{
	Wanted wanted = {.seen = seen, .copy = &writer->found};
	LsmError err;

	docstore_check(lsm_versions(docstore_db(), document_key_slice(key), visit_wanted, &wanted, NULL, &err), &err);
	if (wanted.no_memory)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (!wanted.found)
		elog(ERROR, "could not find the version of a document that was read");
}

DocResult
docstore_update(DocWriter *writer, const DocumentKey *key, uint64 seen, const DocumentKey *new_key, const Jsonb *doc,
				TimestampTz modified, uint64 *etag)
{
	if (new_key == NULL)
	{
		Change change = {.kind = CHANGE_UPDATE, .key = key, .doc = doc, .seen = seen};

		*etag = perform(writer, &change, 1, modified, NULL);
		return change.result;
	}
	else
	{
		Change changes[2] = {{.kind = CHANGE_DELETE, .key = key, .seen = seen},
							 {.kind = CHANGE_INSERT, .key = new_key, .doc = doc}};

		*etag = perform(writer, changes, 2, modified, NULL) + 1;
		return changes[0].result;
	}
}

DocResult
docstore_delete(DocWriter *writer, const DocumentKey *key, uint64 seen, bool want_found, LsmVersion *old)
{
	Change change = {.kind = CHANGE_DELETE, .key = key, .seen = seen, .want_found = want_found};

	perform(writer, &change, 1, 0, NULL);
	*old = change.sight.version;
	return change.result;
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
	LsmDb *db = docstore_db();
	LsmStamp stamp = docstore_stamp(0, cid);
	char key[DOCSTORE_KEY_PREFIX];
	char head[LSM_STAMP_MAX_SIZE];
	size_t len = lsm_stamp_encode(head, &stamp);
	LsmError err;

	docstore_key_prefix(key, DOCSTORE_KEY_DROPPED, MyDatabaseId, storage);
	for (;;)
	{
		LsmStatus status;

		lsm_batch_clear(&batch);
		if (!lsm_batch_put(&batch, lsm_slice(key, sizeof(key)), lsm_slice(head, len)))
			ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
		status = lsm_write(db, &batch, false, NULL, &err);
		if (status == LSM_OK)
			break;
		if (status != LSM_BUSY)
			docstore_throw(&err);
		docstore_check(lsm_make_room(db, batch.memtable_cost, &err), &err);
	}
}
