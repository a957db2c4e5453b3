/*
 * test_seek.c - files that many lookups search in vain are merged, if that is wanted.
 *
 * Invariants: with the option on a file that so many lookups searched before they came to another one goes down a level,
 * whether the key was there, missing, or hidden from the reader in the first file; not before, and not with the option
 * off, nor when its filter spared them the search, nor when lookups of two handles only come to that number together;
 * a file of the deepest level is never asked for, so asking ends; what has gone meanwhile is forgotten; an interrupted
 * merge is done later, a failed one is not tried again at once; answers stay what they were.
 */
#include "engine/seek.h"
#include "engine/test/sim_store.h"

#define KEYS 4000

static LsmOptions options;
static bool there[KEYS];

static void
write_keys(int from, int to, int step, size_t size)
{
	for (int i = from; i < to; i += step)
	{
		write_key(i, size, false);
		there[i] = true;
	}
}

static void
look_up(LsmDb *handle, uint64_t seq, int i, uint64_t times, bool found)
{
	LsmRead read = {.max_seq = seq};
	LsmBuf value = {0};
	uint64_t bad = 0;
	char key[16];
	LsmError err;

	for (uint64_t n = 0; n < times; n++)
		bad += lsm_get(handle, &read, key_of(key, i), &value, NULL, &err) != (found ? LSM_OK : LSM_NOT_FOUND);
	CHECK(bad == 0);
	lsm_buf_free(&value);
}

static void
get(int i, uint64_t times)
{
	look_up(db, LSM_MAX_SEQUENCE, i, times, there[i]);
}

static bool
asked(void)
{
	return atomic_load(&db->shared->seek_file) != 0;
}

static LsmStats
stats(void)
{
	LsmStats s;
	LsmError err;

	MUST(lsm_stats(db, &s, &err), &err);
	return s;
}

static void
flush(void)
{
	LsmError err;

	MUST(lsm_flush(db, &err), &err);
	work();
}

static void
open_empty(bool wanted, int bloom_bits)
{
	lsm_options_init(&options);
	options.seek_compaction = wanted;
	options.block_cache_size = 0;
	options.table.bloom_bits = bloom_bits;
	options.table.compression = options.level0_compression = LSM_COMPRESS_NONE;
	open_sim(&options);
	memset(there, false, sizeof(there));
}

/* Keys 0, 4, 8 ... in the deepest level, 2, 6, 10 ... over them in level 0; odd ones are missing. */
static void
open_store(bool wanted, int bloom_bits)
{
	LsmError err;

	open_empty(wanted, bloom_bits);
	write_keys(0, KEYS, 4, 50);
	MUST(lsm_compact_range(db, lsm_slice("", 0), lsm_slice("", 0), &err), &err);
	write_keys(2, KEYS, 4, 50);
	flush();
	CHECK(stats().levels[0].files == 1 && stats().levels[1].files == 1);
}

static void
close_store(void)
{
	CHECK(stats().last_error.status == LSM_OK);
	for (int i = 0; i < KEYS; i++)
		get(i, 1);
	close_sim();
}

static void
check_merged(uint64_t times)
{
	LsmStats before = stats();

	CHECK(asked());
	work();
	CHECK(!asked());
	CHECK(stats().seek_compactions == times && stats().compactions == before.compactions + 1);
	CHECK(stats().levels[0].files == 0 && stats().levels[1].entries == before.levels[0].entries + before.levels[1].entries);
}

/* `key` is one that is searched for in both files. */
static void
test_asked(int key)
{
	open_store(true, 0);
	get(key, LSM_SEEK_LEAST);
	CHECK(!asked());
	work();
	CHECK(stats().seek_compactions == 0 && stats().levels[0].files == 1);
	get(key, 1);
	check_merged(1);

	/* now one search is enough, and one level is left */
	get(key, 20 * LSM_SEEK_LEAST);
	CHECK(!asked());
	work();
	CHECK(stats().seek_compactions == 1);
	close_store();
}

static void
test_not_asked(void)
{
	/* switched off */
	open_store(false, 0);
	get(400, 20 * LSM_SEEK_LEAST);
	get(401, 20 * LSM_SEEK_LEAST);
	CHECK(!asked());
	work();
	CHECK(stats().seek_compactions == 0 && stats().levels[0].files == 1);
	close_store();

	/* filters spare nearly all */
	open_store(true, 10);
	for (int i = 0; i < KEYS; i += 4)
		get(i, 1);
	CHECK(!asked());
	close_store();

	/* the first file answers */
	open_store(true, 0);
	get(402, 20 * LSM_SEEK_LEAST);
	CHECK(!asked());
	close_store();
}

/* A large file costs more to merge. */
static void
test_large(void)
{
	uint64_t limit;
	LsmError err;

	open_empty(true, 0);
	write_keys(0, KEYS, 4, 50);
	MUST(lsm_compact_range(db, lsm_slice("", 0), lsm_slice("", 0), &err), &err);
	write_keys(2, KEYS, 2, 2000);
	flush();
	CHECK(stats().levels[0].files == 1);
	limit = stats().levels[0].bytes / LSM_SEEK_BYTES;
	CHECK(limit > 2 * LSM_SEEK_LEAST);
	get(401, limit);
	CHECK(!asked());
	get(401, 1);
	CHECK(asked());
	work();
	CHECK(stats().seek_compactions == 1 && stats().levels[0].files == 0);
	close_store();
}

/* A version that the reader does not see answers nothing. */
static void
test_snapshot(void)
{
	uint64_t seq;
	LsmError err;

	open_empty(true, 10);
	write_keys(0, KEYS, 1, 50);
	seq = lsm_snapshot_take(db);
	MUST(lsm_compact_range(db, lsm_slice("", 0), lsm_slice("", 0), &err), &err);
	write_keys(0, KEYS, 1, 50);
	flush();
	get(400, 2 * LSM_SEEK_LEAST);
	CHECK(!asked());
	look_up(db, seq, 400, LSM_SEEK_LEAST + 1, true);
	check_merged(1);
	look_up(db, seq, 400, 2 * LSM_SEEK_LEAST, true);
	CHECK(!asked());
	lsm_snapshot_release(db, seq);
	close_store();
}

/* Each handle counts its own; each may ask. */
static void
test_handles(void)
{
	LsmDb *other;
	LsmError err;

	open_store(true, 0);
	MUST(lsm_open_handle(db, &other, &err), &err);
	get(401, LSM_SEEK_LEAST);
	look_up(other, LSM_MAX_SEQUENCE, 401, LSM_SEEK_LEAST, false);
	CHECK(!asked());
	look_up(other, LSM_MAX_SEQUENCE, 401, 1, false);
	check_merged(1);
	look_up(other, LSM_MAX_SEQUENCE, 400, 2 * LSM_SEEK_LEAST, true);
	CHECK(!asked());
	lsm_detach(other);
	close_store();
}

static void
test_pause(void)
{
	LsmError err;

	open_store(true, 0);
	get(401, LSM_SEEK_LEAST + 1);
	check_merged(1);
	CHECK(atomic_load(&db->shared->seek_pause_us) > env->ops->now_us(env));

	/* while it lasts, nobody asks */
	atomic_store(&db->shared->seek_pause_us, UINT64_MAX);
	write_keys(1, KEYS, 4, 50);
	flush();
	get(400, 20 * LSM_SEEK_LEAST);
	CHECK(!asked());
	atomic_store(&db->shared->seek_pause_us, 0);
	get(400, LSM_SEEK_LEAST + 1);
	CHECK(asked());

	/* somebody else merges it before */
	MUST(lsm_compact_range(db, lsm_slice("", 0), lsm_slice("", 0), &err), &err);
	CHECK(asked());
	work();
	CHECK(!asked() && stats().seek_compactions == 1);
	close_store();
}

static bool
always(void *arg)
{
	(void) arg;
	return true;
}

static void
test_not_done(void)
{
	LsmError err;
	bool did;

	open_store(true, 0);
	get(401, LSM_SEEK_LEAST + 1);
	db->should_stop = always;
	CHECK(lsm_work(db, &did, &err) == LSM_INTERRUPTED && !did);
	CHECK(asked() && stats().levels[0].files == 1);
	db->should_stop = NULL;
	check_merged(1);
	close_store();

	open_store(true, 0);
	get(401, LSM_SEEK_LEAST + 1);
	lsm_env_sim_set_fault(env, 1, 5, false);
	CHECK(lsm_work(db, &did, &err) == LSM_IO && !did);
	CHECK(lsm_env_sim_faults(env) == 1);
	CHECK(!asked() && stats().levels[0].files == 1 && stats().last_error.status == LSM_IO);
	get(401, 20 * LSM_SEEK_LEAST);
	CHECK(!asked());
	pass_ms(61000);
	get(401, LSM_SEEK_LEAST + 1);
	check_merged(1);
	close_store();
}

/* Blocks that are read when every key is looked up once. */
static uint64_t
reads(void)
{
	uint64_t before = lsm_read_counts.blocks_read;

	for (int i = 0; i < KEYS; i++)
		get(i, 1);
	return lsm_read_counts.blocks_read - before;
}

/* Many files in several levels: in the end no lookup reads more than one block. */
static void
test_levels(void)
{
	uint64_t random = 1;
	uint64_t before;
	int levels = 0;

	lsm_options_init(&options);
	options.seek_compaction = true;
	options.block_cache_size = 0;
	options.memtable_size = 4 << 10;
	options.file_size = 4 << 10;
	options.level1_size = 32 << 10;
	options.level_factor = 3;
	options.table.bloom_bits = 0;
	options.table.compression = options.level0_compression = LSM_COMPRESS_NONE;
	open_sim(&options);
	memset(there, false, sizeof(there));
	for (int i = 0; i < 10000; i++)
	{
		int key = (int) (test_random(&random) % (KEYS / 2)) * 2;

		write_keys(key, key + 1, 1, 50);
		if (i % 100 == 0)
			work();
	}
	flush();
	for (int level = 1; level < LSM_NUM_LEVELS; level++)
		levels += stats().levels[level].files > 0;
	CHECK(levels >= 3);
	CHECK(stats().seek_compactions == 0);
	CHECK(reads() > 2 * KEYS);
	do
	{
		before = stats().seek_compactions;
		for (int i = 0; i < KEYS; i++)
		{
			get(i, LSM_SEEK_LEAST + 1);
			work();
			atomic_store(&db->shared->seek_pause_us, 0);
		}
	} while (stats().seek_compactions > before);
	CHECK(before > 10);
	CHECK(reads() <= KEYS);
	close_store();
}

int
main(void)
{
	test_asked(400); /* it is in the deeper one */
	test_asked(401); /* missing in both */
	test_not_asked();
	test_large();
	test_snapshot();
	test_handles();
	test_pause();
	test_not_done();
	test_levels();
	return test_done();
}
