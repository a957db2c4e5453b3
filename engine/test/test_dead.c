/*
 * test_dead.c - scans that meet little but deletions have them taken away.
 *
 * Invariants: after a scan over a deleted stretch and the background work that follows nothing of it is left,
 * whether it lay in a memtable, in level 0 or in a small part of larger files, and whichever way the scan went;
 * what else is there stays as it is; what a snapshot needs stays until it is released, and is not tried again and
 * again meanwhile; few deletions among many keys, and stretches with nothing dead, give nothing to do.  While a
 * scan passes over what is dead it can be stopped.
 */
#include "engine/dead.h"
#include "engine/test/sim_store.h"

#define KEYS 12000
#define LONG_MS 200000 /* all pauses are over then */

static bool deleted[KEYS];

static void
write_keys(int from, int to, int step, bool delete)
{
	for (int i = from; i < to; i += step)
	{
		write_key(i, 60, delete);
		deleted[i] = delete;
	}
}

/* Walks over everything and compares; true if background work was asked for. */
static bool
scan_all(bool backward)
{
	LsmRead read = {.max_seq = lsm_last_sequence(db)};
	int at = backward ? KEYS - 1 : 0;
	int step = backward ? -1 : 1;
	LsmScan *scan;
	LsmError err;

	MUST(lsm_scan_open(db, &read, lsm_slice("", 0), lsm_slice("", 0), &scan, &err), &err);
	if (backward)
		lsm_scan_last(scan);
	else
		lsm_scan_first(scan);
	while (scan->valid)
	{
		char key[16];

		while (at >= 0 && at < KEYS && deleted[at])
			at += step;
		CHECK(at >= 0 && at < KEYS && lsm_slice_compare(scan->key, key_of(key, at)) == 0);
		at += step;
		if (backward)
			lsm_scan_prev(scan);
		else
			lsm_scan_next(scan);
	}
	MUST(scan->status, &scan->err);
	while (at >= 0 && at < KEYS && deleted[at])
		at += step;
	CHECK(at == (backward ? -1 : KEYS));
	lsm_scan_close(scan);
	return atomic_load(&db->shared->dead_noted);
}

/* Entries in tables; nothing is left in memtables. */
static uint64_t
entries(void)
{
	LsmMemtables memtables;
	uint64_t sum = 0;
	LsmStats stats;
	LsmError err;

	MUST(lsm_memtables(db, &memtables, &err), &err);
	CHECK(memtables.empty);
	MUST(lsm_stats(db, &stats, &err), &err);
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
		sum += stats.levels[level].entries;
	return sum;
}

static uint64_t
live(void)
{
	uint64_t n = 0;

	for (int i = 0; i < KEYS; i++)
		n += !deleted[i];
	return n;
}

static void
open_store(size_t memtable_size, size_t file_size)
{
	LsmOptions options;
	LsmError err;

	lsm_options_init(&options);
	options.memtable_size = memtable_size;
	options.block_cache_size = 0;
	options.table.compression = options.level0_compression = LSM_COMPRESS_NONE;
	options.file_size = file_size;
	options.level1_size = 4 * file_size;
	open_sim(&options);
	memset(deleted, false, sizeof(deleted));
	write_keys(0, KEYS, 1, false);
	MUST(lsm_compact_range(db, lsm_slice("", 0), lsm_slice("", 0), &err), &err);
	CHECK(entries() == KEYS);
	CHECK(!scan_all(false) && !scan_all(true));
}

/* A scan has asked, and now nothing of what was deleted is there. */
static void
check_gone(void)
{
	work();
	CHECK(!atomic_load(&db->shared->dead_noted));
	CHECK(entries() == live());
	pass_ms(LONG_MS);
	CHECK(!scan_all(false) && !scan_all(true));
}

static void
test_stretches(size_t memtable_size, size_t file_size)
{
	LsmError err;

	open_store(memtable_size, file_size);

	/* as they come, in the memtable or in tables, and nothing else is due */
	write_keys(2000, 6000, 1, true);
	work();
	CHECK(scan_all(false));
	check_gone();

	/* a small part of a table with much else, backward */
	write_keys(7000, 8200, 1, true);
	write_keys(0, 2000, 1, false);
	write_keys(9000, KEYS, 1, false);
	MUST(lsm_flush(db, &err), &err);
	work();
	CHECK(scan_all(true));
	check_gone();

	/* old versions, which no scan wants either */
	for (int i = 0; i < 4; i++)
		write_keys(8500, 9000, 1, false);
	CHECK(scan_all(false));
	work();
	pass_ms(LONG_MS);
	CHECK(!scan_all(false));

	/* up to the last key */
	write_keys(9500, KEYS, 1, true);
	work();
	CHECK(scan_all(false));
	check_gone();
	close_sim();
}

static void
test_sparse(void)
{
	open_store(1 << 20, 1 << 20);
	write_keys(0, KEYS, 3, true);
	CHECK(!scan_all(false) && !scan_all(true));
	close_sim();
}

/* In vain at first. */
static void
test_snapshot(void)
{
	uint64_t seq;

	open_store(1 << 20, 1 << 20);
	seq = lsm_snapshot_take(db);
	write_keys(2000, 6000, 1, true);
	CHECK(scan_all(false));
	work();
	CHECK(entries() == KEYS + 4000);
	CHECK(!scan_all(false));
	pass_ms(LONG_MS);
	CHECK(scan_all(false));
	work();
	CHECK(entries() == KEYS + 4000);
	lsm_snapshot_release(db, seq);
	CHECK(!scan_all(false));
	pass_ms(LONG_MS);
	CHECK(scan_all(false));
	check_gone();
	close_sim();
}

/* should_stop */
static bool
yes(void *arg)
{
	(void) arg;
	return true;
}

static void
test_stopped(void)
{
	LsmOptions options;
	LsmRead read;
	LsmScan *scan;
	LsmError err;

	lsm_options_init(&options);
	open_sim(&options);
	write_keys(0, KEYS, 1, true);
	write_key(KEYS, 60, false);
	read = (LsmRead){.max_seq = lsm_last_sequence(db)};
	MUST(lsm_scan_open(db, &read, lsm_slice("", 0), lsm_slice("", 0), &scan, &err), &err);
	db->should_stop = yes;
	lsm_scan_first(scan);
	CHECK(!scan->valid && scan->status == LSM_INTERRUPTED);
	lsm_scan_last(scan);
	CHECK(scan->valid);
	lsm_scan_prev(scan);
	CHECK(!scan->valid && scan->status == LSM_INTERRUPTED);
	db->should_stop = NULL;
	lsm_scan_first(scan);
	CHECK(scan->valid);
	lsm_scan_next(scan);
	CHECK(!scan->valid && scan->status == LSM_OK);
	lsm_scan_close(scan);
	close_sim();
}

int
main(void)
{
	test_stretches(1 << 20, 1 << 20);
	/* in many files, so one part after the other */
	test_stretches(1 << 20, 8 << 10);
	test_sparse();
	test_snapshot();
	test_stopped();
	return test_done();
}
