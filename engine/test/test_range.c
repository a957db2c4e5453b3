/*
 * test_range.c - giving back the space of a range of which all is dead.
 *
 * Invariants: afterwards nothing of the range is left in any file, everything else is
 * there; files that lie within the range are not read; of its neighbours no more
 * is written than what shared a file with it; nothing is left to do; an empty range
 * changes nothing; behind somebody else's range it does not wait.  Compared with what was written.
 */
#include "engine/env_sim.h"
#include "engine/handle.h"
#include "engine/test/test.h"
#include "engine/work.h"

#include <stdlib.h>
#include <string.h>

#define KEYS 4000 /* of each letter */
#define VALUE 200

static LsmEnv *env;
static LsmDb *db;
static LsmOptions options;
static char dead_letter;

static void
txn_begin(void *ctx)
{
	(void) ctx;
}

static LsmOutcome
txn_outcome(void *ctx, uint64_t xid)
{
	(void) ctx;
	(void) xid;
	return LSM_XACT_SETTLED;
}

static bool
txn_dead(void *ctx, LsmSlice user_key)
{
	(void) ctx;
	return user_key.len > 0 && user_key.data[0] == dead_letter;
}

static const LsmTxnOps txn_ops = {txn_begin, txn_outcome, txn_dead};

/* A journal that keeps nothing. */
static LsmStatus
no_append(LsmJournal *journal, LsmSlice batch, bool sync, LsmError *err)
{
	(void) journal;
	(void) batch;
	(void) sync;
	(void) err;
	return LSM_OK;
}

static LsmStatus
no_rotate(LsmJournal *journal, uint64_t new_number, uint64_t *position, LsmError *err)
{
	(void) journal;
	(void) err;
	*position = new_number;
	return LSM_OK;
}

static void
no_release(LsmJournal *journal, uint64_t position)
{
	(void) journal;
	(void) position;
}

static LsmStatus
no_replay(LsmJournal *journal, uint64_t position, LsmReplay fn, void *arg, LsmError *err)
{
	(void) journal;
	(void) position;
	(void) fn;
	(void) arg;
	(void) err;
	return LSM_OK;
}

static const LsmJournalOps journal_ops = {.append = no_append, .rotate = no_rotate, .release = no_release, .replay = no_replay};
static LsmJournal journal = {.ops = &journal_ops, .concurrent = true};

static void
make_key(char *key, char letter, int number)
{
	snprintf(key, 16, "%c%08d", letter, number);
}

static void
put(char letter, int number)
{
	LsmBatch batch = {0};
	LsmStamp stamp = {0};
	char head[LSM_STAMP_MAX_SIZE];
	char value[VALUE];
	char key[16];
	LsmStatus status;
	LsmError err;

	memset(value, letter, sizeof(value));
	make_key(key, letter, number);
	CHECK(lsm_batch_put2(&batch, lsm_slice(key, 9), lsm_slice(head, lsm_stamp_encode(head, &stamp)), lsm_slice(value, sizeof(value))));
	while ((status = lsm_write(db, &batch, false, NULL, &err)) == LSM_BUSY)
	{
		bool did = true;

		MUST(lsm_make_room(db, batch.memtable_cost, &err), &err);
		while (did)
			MUST(lsm_work(db, &did, &err), &err);
	}
	MUST(status, &err);
	lsm_batch_free(&batch);
}

/* The letters' keys in turns, so that every table of level 0 holds all of them. */
static void
fill(const char *letters)
{
	for (int i = 0; i < KEYS; i++)
		for (const char *letter = letters; *letter != '\0'; letter++)
			put(*letter, i * 7 % KEYS);
}

static uint64_t
count_entries(void)
{
	uint64_t files;
	uint64_t entries;
	LsmError err;

	MUST(lsm_flush(db, &err), &err);
	MUST(lsm_verify(db, NULL, NULL, NULL, &files, &entries, &err), &err);
	return entries;
}

static bool
all_there(char letter)
{
	LsmRead read = {LSM_MAX_SEQUENCE, NULL, NULL};
	LsmBuf value = {0};
	LsmError err;
	bool all = true;

	for (int i = 0; i < KEYS && all; i++)
	{
		char key[16];

		make_key(key, letter, i);
		all = lsm_get(db, &read, lsm_slice(key, 9), &value, NULL, &err) == LSM_OK && value.len == VALUE && value.data[0] == letter;
	}
	lsm_buf_free(&value);
	return all;
}

static void
start_store(void)
{
	LsmAttach attach = {.env = env, .journal = &journal, .txn = &txn_ops, .handle = 0};
	LsmError err;

	attach.shared = lsm_shared_init(aligned_alloc(64, (lsm_shared_size(&options) + 63) & ~(size_t) 63), &options);
	MUST(lsm_attach(&attach, &db, &err), &err);
	MUST(lsm_recover(db, &err), &err);
}

static void
stop_store(void)
{
	LsmShared *shared = db->shared;

	lsm_detach(db);
	free(shared);
}

static uint64_t
total_bytes(const LsmStats *stats)
{
	uint64_t bytes = 0;

	for (int level = 0; level < LSM_NUM_LEVELS; level++)
		bytes += stats->levels[level].bytes;
	return bytes;
}

/* Drops the letter's range; returns what compaction wrote for that. */
static uint64_t
drop(char letter, uint64_t *bytes)
{
	char lower = letter;
	char upper = (char) (letter + 1);
	LsmStats before;
	LsmStats after;
	LsmError err;

	MUST(lsm_stats(db, &before, &err), &err);
	dead_letter = letter;
	MUST(lsm_drop_range(db, lsm_slice(&lower, 1), lsm_slice(&upper, 1), bytes, &err), &err);
	dead_letter = '\0';
	MUST(lsm_stats(db, &after, &err), &err);
	return after.bytes_compacted - before.bytes_compacted;
}

/* Everything lies in one deep level, b between a and c. */
static void
test_settled(void)
{
	uint64_t bytes;
	uint64_t written;
	uint64_t reads;
	LsmStats stats;
	LsmError err;

	start_store();
	fill("abc");
	MUST(lsm_compact_range(db, lsm_slice("", 0), lsm_slice("", 0), &err), &err);
	MUST(lsm_stats(db, &stats, &err), &err);
	CHECK(count_entries() == 3 * KEYS);
	reads = lsm_env_sim_reads(env);
	written = drop('b', &bytes);
	reads = lsm_env_sim_reads(env) - reads;
	CHECK(bytes > total_bytes(&stats) / 4 && bytes < total_bytes(&stats) / 3 + options.file_size);
	/* at most two files at the borders, of which some 70 blocks of a KB each are read and written */
	CHECK(written <= 2 * options.file_size);
	CHECK(reads < 3 * options.file_size / options.table.block_size);
	CHECK(count_entries() == 2 * KEYS);
	CHECK(all_there('a') && all_there('c'));

	/* once more, and a range that never was */
	CHECK(drop('b', &bytes) == 0 && bytes == 0);
	CHECK(drop('x', &bytes) == 0 && bytes == 0);
	CHECK(count_entries() == 2 * KEYS);
	/* what is written there later is no more dead than others */
	fill("b");
	CHECK(count_entries() >= 3 * KEYS);
	CHECK(all_there('a') && all_there('b') && all_there('c'));
	stop_store();
}

/* With versions in the memtable, in level 0 and in several levels. */
static void
test_spread(void)
{
	uint64_t bytes;
	LsmError err;

	start_store();
	fill("abc");
	fill("ab");
	put('b', 1);
	put('c', 1);
	(void) drop('b', &bytes);
	CHECK(bytes > 0);
	CHECK(all_there('a') && all_there('c'));
	MUST(lsm_compact_range(db, lsm_slice("", 0), lsm_slice("", 0), &err), &err);
	CHECK(count_entries() == 2 * KEYS);
	/* the last letter: the range has no end in the store */
	dead_letter = 'c';
	MUST(lsm_drop_range(db, lsm_slice("c", 1), lsm_slice("", 0), NULL, &err), &err);
	dead_letter = '\0';
	CHECK(count_entries() == KEYS && all_there('a'));
	stop_store();

	/* the same after a restart */
	start_store();
	CHECK(count_entries() == KEYS && all_there('a'));
	stop_store();
}

/* Somebody else works on a range: whoever has other things to do is not kept waiting, and flushes nothing for it. */
static void
test_behind_another(void)
{
	LsmAttach attach = {.env = env, .journal = &journal, .txn = &txn_ops, .handle = 1};
	LsmStats before;
	LsmStats after;
	bool reserved;
	LsmDb *other;
	LsmError err;

	start_store();
	fill("ab");
	put('b', 1);
	attach.shared = db->shared;
	MUST(lsm_attach(&attach, &other, &err), &err);
	CHECK(lsm_role_try(other));
	MUST(lsm_job_reserve(other, lsm_slice("c", 1), lsm_slice("d", 1), LSM_JOB_TRY, &reserved, &err), &err);
	CHECK(reserved);
	MUST(lsm_stats(db, &before, &err), &err);
	dead_letter = 'b';
	CHECK(lsm_drop_range(db, lsm_slice("b", 1), lsm_slice("c", 1), NULL, &err) == LSM_BUSY);
	CHECK(lsm_settle(db, 1, NULL, &err) == LSM_BUSY);
	MUST(lsm_stats(db, &after, &err), &err);
	CHECK(after.flushes == before.flushes && after.memtables_waiting == before.memtables_waiting);

	lsm_role_give(other);
	MUST(lsm_settle(db, 1, NULL, &err), &err);
	MUST(lsm_drop_range(db, lsm_slice("b", 1), lsm_slice("c", 1), NULL, &err), &err);
	dead_letter = '\0';
	CHECK(count_entries() == KEYS && all_there('a'));
	lsm_detach(other);
	stop_store();
}

int
main(void)
{
	LsmError err;

	lsm_options_init(&options);
	options.memtable_size = 64 << 10;
	options.block_cache_size = 0;
	options.file_size = 32 << 10;
	options.level1_size = 64 << 10;
	options.level_factor = 4;
	options.table.block_size = 1 << 10;
	options.table.compression = LSM_COMPRESS_NONE;
	options.level0_compression = LSM_COMPRESS_NONE;
	MUST(lsm_env_sim_new(1, &env), &err);
	test_settled();
	lsm_env_sim_free(env);
	MUST(lsm_env_sim_new(2, &env), &err);
	test_spread();
	lsm_env_sim_free(env);
	MUST(lsm_env_sim_new(3, &env), &err);
	test_behind_another();
	lsm_env_sim_free(env);
	return test_done();
}
