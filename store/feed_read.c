/*
 * feed_read.c - reads the changes of some storages in the order of their etags.  See feed.h.
 *
 * Each storage's changes are a range of keys of their own: one scan each, merged
 * by etag.  For each entry the document's version is looked up with the same
 * snapshot: the entry counts if that is the version it was made for.  A deletion
 * whose version is gone from the store, as it is once everybody sees it, counts if
 * there is no document.
 *
 * Nothing is borrowed from the engine across a call of ours: entries and values
 * are copied, and the scans release their pin.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bswap.h"

#include "engine/coding.h"
#include "store/feed.h"
#include "store/txn.h"

/* One storage's changes. */
typedef struct Source
{
	LsmScan *scan; /* NULL: at its end */
	bool started;
	/* the entry it stands on */
	uint64 etag;
	uint8 flags;
	TimestampTz written;
	uint16 id_len;
	char key[DOCSTORE_KEY_PREFIX + DOCSTORE_MAX_CHANGED]; /* of the document or row; all of the prefix but the kind is set once */
} Source;

struct DocstoreFeed
{
	LsmDb *db;
	LsmRead read;
	uint64 position; /* read up to here */
	uint64 horizon;
	Source *current; /* whose entry was returned last: it is to move on */
	LsmBuf value;
	int nsources;
	Source sources[FLEXIBLE_ARRAY_MEMBER];
};

static void
let_go(void *arg)
{
	DocstoreFeed *feed = arg;

	for (int i = 0; i < feed->nsources; i++)
	{
		if (feed->sources[i].scan != NULL)
			lsm_scan_close(feed->sources[i].scan);
		feed->sources[i].scan = NULL;
	}
	lsm_buf_free(&feed->value);
}

void
docstore_change_key(char *dst, Oid database, uint64 storage, uint64 etag)
{
	uint64 number = pg_hton64(etag);

	docstore_key_prefix(dst, DOCSTORE_KEY_CHANGE, database, storage);
	memcpy(dst + DOCSTORE_KEY_PREFIX, &number, sizeof(number));
}

DocstoreFeed *
docstore_feed_open(const uint64 *storages, int nstorages, uint64 position, uint64 horizon, Snapshot snapshot)
{
	DocstoreFeed *feed = palloc0(offsetof(DocstoreFeed, sources) + nstorages * sizeof(Source));
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));

	feed->db = docstore_db();
	docstore_read_init(&feed->read, snapshot);
	feed->position = position;
	feed->horizon = Max(horizon, position + 1);
	callback->func = let_go;
	callback->arg = feed;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	for (; feed->nsources < nstorages && position + 1 < horizon; feed->nsources++)
	{
		Source *source = &feed->sources[feed->nsources];
		uint64 storage = storages[feed->nsources];
		char lower[DOCSTORE_CHANGE_KEY];
		char upper[DOCSTORE_CHANGE_KEY];
		LsmError err;

		docstore_change_key(lower, MyDatabaseId, storage, position + 1);
		docstore_change_key(upper, MyDatabaseId, storage, horizon);
		docstore_key_prefix(source->key, DOCSTORE_KEY_DOCUMENT, MyDatabaseId, storage);
		docstore_check(lsm_scan_open(feed->db, &feed->read, lsm_slice(lower, sizeof(lower)), lsm_slice(upper, sizeof(upper)),
									 &source->scan, &err),
					   &err);
	}
	return feed;
}

static void
damaged(LsmScan *scan)
{
	lsm_scan_release(scan);
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("an entry of the change feed has an unknown format")));
}

/* To the source's next entry. */
static void
move_on(Source *source)
{
	LsmScan *scan = source->scan;

	if (source->started)
		lsm_scan_next(scan);
	else
		lsm_scan_first(scan);
	source->started = true;
	if (scan->valid)
	{
		LsmSlice value = scan->value;
		uint64 number;

		if (scan->key.len != DOCSTORE_CHANGE_KEY || value.len < 1)
			damaged(scan);
		memcpy(&number, scan->key.data + DOCSTORE_KEY_PREFIX, sizeof(number));
		source->etag = pg_ntoh64(number);
		source->flags = (uint8) value.data[0];
		if ((source->flags & ~(DOCSTORE_CHANGE_DELETED | DOCSTORE_CHANGE_TRUNCATED | DOCSTORE_CHANGE_OF_VIEW)) != 0)
			damaged(scan);
		source->key[0] = (source->flags & DOCSTORE_CHANGE_OF_VIEW) ? DOCSTORE_KEY_VIEW : DOCSTORE_KEY_DOCUMENT;
		value = lsm_slice(value.data + 1, value.len - 1);
		source->written = 0;
		if (source->flags & DOCSTORE_CHANGE_OF_VIEW)
		{
			if (value.len < sizeof(uint64))
				damaged(scan);
			source->written = (TimestampTz) lsm_get_fixed64(value.data);
			value = lsm_slice(value.data + sizeof(uint64), value.len - sizeof(uint64));
		}
		if (value.len > DOCSTORE_MAX_CHANGED)
			damaged(scan);
		source->id_len = (uint16) value.len;
		memcpy(source->key + DOCSTORE_KEY_PREFIX, value.data, value.len);
		lsm_scan_release(scan);
	}
	else
	{
		LsmStatus status = scan->status;
		LsmError err = scan->err;

		lsm_scan_close(scan);
		source->scan = NULL;
		docstore_check(status, &err);
	}
}

/* The source with the lowest etag; NULL if all are at their ends. */
static Source *
lowest(DocstoreFeed *feed)
{
	Source *best = NULL;

	for (int i = 0; i < feed->nsources; i++)
	{
		Source *source = &feed->sources[i];

		if (source->scan != NULL && !source->started)
			move_on(source);
		if (source->scan != NULL && (best == NULL || source->etag < best->etag))
			best = source;
	}
	return best;
}

/* Is the document's version that the snapshot shows the one that this entry was made for? */
static bool
counts(DocstoreFeed *feed, const Source *source)
{
	LsmVersion version = {0};
	LsmStatus status;
	LsmError err;

	if (source->flags & DOCSTORE_CHANGE_TRUNCATED)
		return true;
	status = lsm_get(feed->db, &feed->read, lsm_slice(source->key, DOCSTORE_KEY_PREFIX + source->id_len), &feed->value,
					 &version, &err);
	if (status == LSM_NOT_FOUND)
		return (source->flags & DOCSTORE_CHANGE_DELETED) && (version.seq == 0 || version.seq == source->etag);
	docstore_check(status, &err);
	return version.seq == source->etag;
}

bool
docstore_feed_next(DocstoreFeed *feed, DocstoreChange *change)
{
	for (;;)
	{
		Source *source;

		CHECK_FOR_INTERRUPTS();
		if (feed->current != NULL)
			move_on(feed->current);
		source = feed->current = lowest(feed);
		if (source == NULL)
		{
			feed->position = feed->horizon - 1;
			return false;
		}
		feed->position = source->etag;
		feed->value.len = 0;
		if (!counts(feed, source))
			continue;
		change->etag = source->etag;
		change->source = (int) (source - feed->sources);
		change->deleted = (source->flags & DOCSTORE_CHANGE_DELETED) != 0;
		change->truncated = (source->flags & DOCSTORE_CHANGE_TRUNCATED) != 0;
		change->written = source->written;
		change->id = lsm_slice(source->key + DOCSTORE_KEY_PREFIX, source->id_len);
		change->value = change->deleted || change->truncated ? lsm_slice("", 0) : lsm_buf_slice(&feed->value);
		return true;
	}
}

uint64
docstore_feed_position(const DocstoreFeed *feed)
{
	return feed->position;
}

void
docstore_feed_close(DocstoreFeed *feed)
{
	let_go(feed);
	feed->current = NULL;
}
