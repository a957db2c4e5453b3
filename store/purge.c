/*
 * purge.c - see purge.h.
 *
 * A purge record, key 'y' + database + storage id, value fixed64 etag, says that
 * nobody needs changes of the storage up to that etag.  It is an ordinary version
 * of the transaction that moved the last consumer on, so a rollback forgets it.
 * When every snapshot sees it, flushes and compactions drop those changes; no
 * reader of the feed is left that began before the positions moved.  Most changes
 * never get into a table, or go with the next merge.  Where many lie in deep
 * levels the compactor takes their range out by itself.
 *
 * Why no consumer misses a change: a position is at most a horizon, and a
 * consumer that registers later locks out writers meanwhile, so it needs none of
 * the changes that were written before, only those that get higher etags than
 * any position then.  A position read as committed stays so after a crash: WAL
 * is flushed before a table is installed (journal_wal.c).
 *
 * A record is written anew only when the position has moved by PURGE_STEP, for
 * consumers commit often.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/memutils.h"

#include "engine/coding.h"
#include "store/feed.h"
#include "store/purge.h"
#include "store/txn.h"

#define PURGE_STEP 1000
#define PURGE_BYTES (1024 * 1024) /* in tables, that are worth the while */

typedef struct Purge
{
	char prefix[DOCSTORE_KEY_PREFIX]; /* of the changes */
	uint64 position;
} Purge;

static Purge *purges; /* in order of their keys */
static int npurges;
static int max_purges;

/* ---- saying so ---- */

static LsmVisible
anything(void *arg, const LsmStamp *stamp, volatile uint8_t *hint)
{
	return LSM_VISIBLE;
}

static uint64
position_of(LsmSlice value)
{
	return value.len == sizeof(uint64) ? lsm_get_fixed64(value.data) : 0;
}

/* What was said last, by whomever: it only tells whether saying it again is worth the while. */
static uint64
said_last(LsmSlice key)
{
	LsmRead read = {LSM_MAX_SEQUENCE, anything, NULL};
	LsmBuf value = {0};
	uint64 position = 0;
	LsmStatus status;
	LsmError err;

	status = lsm_get(docstore_db(), &read, key, &value, NULL, &err);
	if (status == LSM_OK)
		position = position_of(lsm_buf_slice(&value));
	lsm_buf_free(&value);
	if (status != LSM_NOT_FOUND)
		docstore_check(status, &err);
	return position;
}

void
docstore_feed_purge(uint64 storage, uint64 position, bool always)
{
	char head[LSM_STAMP_MAX_SIZE + sizeof(uint64)];
	char key[DOCSTORE_KEY_PREFIX];
	LsmBatch batch = {0};
	LsmStamp stamp;
	size_t len;

	docstore_key_prefix(key, DOCSTORE_KEY_PURGED, MyDatabaseId, storage);
	if (!always && position < said_last(lsm_slice(key, sizeof(key))) + PURGE_STEP)
		return;
	stamp = docstore_stamp(0, GetCurrentCommandId(true));
	len = lsm_stamp_encode(head, &stamp);
	lsm_put_fixed64(head + len, position);
	if (!lsm_batch_put(&batch, lsm_slice(key, sizeof(key)), lsm_slice(head, len + sizeof(uint64))))
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	docstore_write_batch(&batch);
}

/* ---- doing it ---- */

bool
docstore_is_purged(LsmSlice user_key)
{
	uint64 number;
	int low = 0;
	int high = npurges;

	if (npurges == 0 || user_key.len != DOCSTORE_KEY_PREFIX + sizeof(number) || user_key.data[0] != DOCSTORE_KEY_CHANGE)
		return false;
	while (low < high)
	{
		int mid = (low + high) / 2;
		int order = memcmp(user_key.data, purges[mid].prefix, DOCSTORE_KEY_PREFIX);

		if (order == 0)
		{
			memcpy(&number, user_key.data + DOCSTORE_KEY_PREFIX, sizeof(number));
			return pg_ntoh64(number) <= purges[mid].position;
		}
		if (order > 0)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

static LsmVisible
settled(void *arg, const LsmStamp *stamp, volatile uint8_t *hint)
{
	return docstore_txn_ops.outcome(NULL, stamp->xid) == LSM_XACT_SETTLED ? LSM_VISIBLE : LSM_INVISIBLE;
}

static void
remember(LsmSlice key, LsmSlice value)
{
	Purge *purge;

	if (npurges == max_purges)
	{
		int more = Max(64, max_purges * 2);

		if (purges == NULL)
			purges = MemoryContextAlloc(TopMemoryContext, more * sizeof(Purge));
		else
			purges = repalloc(purges, more * sizeof(Purge));
		max_purges = more;
	}
	purge = &purges[npurges++];
	memcpy(purge->prefix, key.data, DOCSTORE_KEY_PREFIX);
	purge->prefix[0] = DOCSTORE_KEY_CHANGE;
	purge->position = position_of(value);
}

void
docstore_find_purges(void)
{
	LsmRead read = {LSM_MAX_SEQUENCE, settled, NULL};
	char lower = DOCSTORE_KEY_PURGED;
	char upper = DOCSTORE_KEY_PURGED + 1;
	LsmScan *scan;
	LsmStatus status;
	LsmError err;

	docstore_txn_ops.begin(NULL);
	docstore_check(lsm_scan_open(docstore_db(), &read, lsm_slice(&lower, 1), lsm_slice(&upper, 1), &scan, &err), &err);
	npurges = 0;
	for (lsm_scan_first(scan); scan->valid; lsm_scan_next(scan))
		if (scan->key.len == DOCSTORE_KEY_PREFIX)
			remember(scan->key, scan->value);
	status = scan->status;
	err = scan->err;
	lsm_scan_close(scan);
	docstore_check(status, &err);
}

void
docstore_finish_purges(void)
{
	LsmDb *db = docstore_db();

	for (int i = 0; i < npurges; i++)
	{
		LsmSlice lower = lsm_slice(purges[i].prefix, DOCSTORE_KEY_PREFIX);
		char end[DOCSTORE_KEY_PREFIX + sizeof(uint64)];
		uint64 number = pg_hton64(purges[i].position + 1);
		uint64 bytes;
		LsmStatus status;
		LsmError err;

		CHECK_FOR_INTERRUPTS();
		memcpy(end, purges[i].prefix, DOCSTORE_KEY_PREFIX);
		memcpy(end + DOCSTORE_KEY_PREFIX, &number, sizeof(number));
		docstore_check(lsm_range_table_bytes(db, lower, lsm_slice(end, sizeof(end)), &bytes, &err), &err);
		if (bytes < PURGE_BYTES)
			continue;
		status = lsm_drop_range(db, lower, lsm_slice(end, sizeof(end)), NULL, &err);
		if (status == LSM_BUSY)
			return;
		docstore_check(status, &err);
	}
}
