/*
 * dropped.c - collections and databases that are gone, and getting their space back.
 *
 * DROP and TRUNCATE of a collection write a drop record, key 'x' + database +
 * storage id, as an ordinary version of their transaction (a dropped database:
 * storage id 0).  So a rollback forgets it, and a crash cannot lose it.  When
 * every snapshot sees the record nobody can look at those documents any more:
 * compaction drops their keys, and then the record goes, too.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bswap.h"

#include "store/dropped.h"
#include "store/store.h"
#include "store/txn.h"

#define MAX_DROPS 1024 /* at a time; the rest waits */

typedef struct Drop
{
	Oid database;
	uint64 storage; /* 0: the whole database */
	bool done;      /* its record is gone, so the same oid may belong to another database */
} Drop;

static Drop drops[MAX_DROPS]; /* sorted, as the keys are */
static int ndrops = 0;

static Drop
drop_of_key(LsmSlice key)
{
	Drop drop;
	uint32 database;
	uint64 storage;

	memcpy(&database, key.data + 1, sizeof(database));
	memcpy(&storage, key.data + 5, sizeof(storage));
	drop.database = pg_ntoh32(database);
	drop.storage = pg_ntoh64(storage);
	drop.done = false;
	return drop;
}

static bool
listed(Oid database, uint64 storage)
{
	int low = 0;
	int high = ndrops;

	while (low < high)
	{
		int mid = (low + high) / 2;
		const Drop *d = &drops[mid];

		if (d->database == database && d->storage == storage)
			return !d->done;
		if (d->database < database || (d->database == database && d->storage < storage))
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

bool
docstore_is_dropped(LsmSlice user_key)
{
	Drop drop;

	if (ndrops == 0 || user_key.len < DOCSTORE_KEY_PREFIX || user_key.data[0] == DOCSTORE_KEY_DROPPED)
		return false;
	drop = drop_of_key(user_key);
	return listed(drop.database, drop.storage) || listed(drop.database, 0);
}

/* Only what every snapshot sees; the engine passes frozen versions by itself. */
static LsmVisible
settled(void *arg, const LsmStamp *stamp, volatile uint8_t *hint)
{
	return docstore_txn_ops.outcome(NULL, stamp->xid) == LSM_XACT_SETTLED ? LSM_VISIBLE : LSM_INVISIBLE;
}

int
docstore_find_drops(void)
{
	LsmRead read = {LSM_MAX_SEQUENCE, settled, NULL};
	LsmDb *db = docstore_db();
	char lower = DOCSTORE_KEY_DROPPED;
	char upper = DOCSTORE_KEY_DROPPED + 1;
	LsmScan *scan;
	LsmStatus status;
	LsmError err;

	docstore_txn_ops.begin(NULL);
	docstore_check(lsm_scan_open(db, &read, lsm_slice(&lower, 1), lsm_slice(&upper, 1), &scan, &err), &err);
	ndrops = 0;
	for (lsm_scan_first(scan); scan->valid && ndrops < MAX_DROPS; lsm_scan_next(scan))
		if (scan->key.len == DOCSTORE_KEY_PREFIX)
			drops[ndrops++] = drop_of_key(scan->key);
	status = scan->status;
	err = scan->err;
	lsm_scan_close(scan);
	docstore_check(status, &err);
	return ndrops;
}

/* From this drop's first key to behind its last. */
static void
range_of(const Drop *drop, char kind, char *lower, char *upper)
{
	docstore_key_prefix(lower, kind, drop->database, drop->storage);
	if (drop->storage == 0)
		docstore_key_prefix(upper, kind, drop->database + 1, 0);
	else
		docstore_key_prefix_end(upper, kind, drop->database, drop->storage);
}

/* The record has done its work.  Nobody's transaction: it may come back after a crash, and is removed again. */
static void
remove_record(LsmDb *db, const Drop *drop)
{
	LsmBatch batch = {0};
	char key[DOCSTORE_KEY_PREFIX];
	LsmStatus status;
	LsmError err;

	docstore_key_prefix(key, DOCSTORE_KEY_DROPPED, drop->database, drop->storage);
	if (!lsm_batch_delete(&batch, lsm_slice(key, sizeof(key))))
	{
		lsm_batch_free(&batch);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	while ((status = lsm_write(db, &batch, false, NULL, &err)) == LSM_BUSY)
	{
		/* not lsm_make_room: it would wait for the compactor, which is us */
		status = lsm_flush(db, &err);
		if (status != LSM_OK)
			break;
	}
	lsm_batch_free(&batch);
	docstore_check(status, &err);
}

void
docstore_finish_drops(void)
{
	LsmDb *db = docstore_db();
	LsmStatus status;
	LsmError err;

	if (ndrops == 0)
		return;
	for (int i = 0; i < ndrops; i++)
	{
		char lower[DOCSTORE_KEY_PREFIX];
		char upper[DOCSTORE_KEY_PREFIX];

		for (const char *kind = DOCSTORE_STORAGE_KINDS; *kind != '\0'; kind++)
		{
			CHECK_FOR_INTERRUPTS();
			range_of(&drops[i], *kind, lower, upper);
			status = lsm_drop_range(db, lsm_slice(lower, sizeof(lower)), lsm_slice(upper, sizeof(upper)), NULL, &err);
			if (status == LSM_BUSY)
				return;
			docstore_check(status, &err);
		}
		/* before the record goes: it is what keeps the oid from being used again (template.c) */
		drops[i].done = true;
		remove_record(db, &drops[i]);
	}
	ndrops = 0;
}
