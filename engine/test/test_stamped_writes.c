/*
 * test_stamped_writes.c - what writers of versions with transaction ids meet: ids too old to look up, marks, numbers, no room.
 *
 * What must hold:
 *   - an id that cannot be looked up is an error with its number, and nothing is lost
 *   - a mark tells of every write and lock to its key, and of nothing else but a rotation
 *   - who is shown less than the newest version is not told that only the memtable could hold a newer one
 *   - the journal is let go when there is nothing to flush
 *   - numbered keys are the same in the memtable, after a replay and in tables, beside spilled values, too
 *   - sequence numbers never come twice, also those of writes that were not in the journal
 *   - a writer that finds no room waits, asleep
 */
#include "engine/test/stamped.h"

/* An id that cannot be looked up is an error with its number, for readers, flushes and compactions. */
static void
test_unknown_id(void)
{
	LsmBatch batch = {0};
	LsmStamp stamp = {LSM_STAMP_XACT, 3, 0};
	char head[LSM_STAMP_MAX_SIZE];
	uint64_t time = 10;
	LsmRead read = {LSM_MAX_SEQUENCE, visible, &time};
	LsmStats stats;
	LsmBuf got = {0};
	LsmScan *scan;
	LsmError err;

	next_xid = 4;
	fates[3] = COMMITTED;
	start_store();
	lsm_batch_put2(&batch, text("k"), lsm_slice(head, lsm_stamp_encode(head, &stamp)), text("v"));
	MUST(lsm_write(db, &batch, false, NULL, &err), &err);
	forgotten_below = 4;
	CHECK(lsm_get(db, &read, text("k"), &got, NULL, &err) == LSM_CORRUPT);
	CHECK(strcmp(err.text, "transaction id 3 is too old to look up") == 0);
	MUST(lsm_scan_open(db, &read, text(""), text(""), &scan, &err), &err);
	lsm_scan_first(scan);
	CHECK(!scan->valid && scan->status == LSM_CORRUPT);
	lsm_scan_last(scan);
	CHECK(!scan->valid && scan->status == LSM_CORRUPT);
	lsm_scan_close(scan);
	CHECK(lsm_flush(db, &err) == LSM_CORRUPT);
	CHECK(strcmp(err.text, "transaction id 3 is too old to look up") == 0);
	MUST(lsm_stats(db, &stats, &err), &err);
	CHECK(stats.last_error.status == LSM_CORRUPT);
	CHECK(stats.memtables_waiting == 1); /* nothing was lost */
	forgotten_below = 3;
	MUST(lsm_flush(db, &err), &err);
	MUST(lsm_stats(db, &stats, &err), &err);
	CHECK(stats.last_error.status == LSM_OK && stats.memtables_waiting == 0);
	MUST(lsm_get(db, &read, text("k"), &got, NULL, &err), &err);
	stop_store();
	lsm_batch_free(&batch);
	lsm_buf_free(&got);
}

/* Marks are what is wanted here, not versions. */
static bool
pass_version(void *arg, const LsmVersion *version, LsmSlice payload, volatile uint8_t *hint)
{
	(void) arg;
	(void) version;
	(void) payload;
	(void) hint;
	return true;
}

/* Marks: a write or a lock to the key, and a rotation, make a writer start over; other keys do not. */
static void
test_recheck(void)
{
	LsmBatch batch = {0};
	LsmStamp stamp = {LSM_STAMP_XACT | LSM_STAMP_LOCK, 3, 0};
	char head[LSM_STAMP_MAX_SIZE];
	LsmMark mark;
	LsmError err;
	size_t head_len;

	next_xid = 4;
	start_store();
	head_len = lsm_stamp_encode(head, &stamp);
	MUST(lsm_versions(db, text("k"), pass_version, NULL, &mark, &err), &err);
	CHECK(mark.newest_seq == 0);
	MUST(lsm_recheck(db, text("k"), &mark, &err), &err);
	lsm_batch_put(&batch, text("other"), lsm_slice(head, head_len));
	MUST(lsm_write_unlogged(db, &batch, NULL, &err), &err);
	CHECK(journal.n == 0);
	MUST(lsm_recheck(db, text("k"), &mark, &err), &err);
	lsm_batch_clear(&batch);
	lsm_batch_put(&batch, text("k"), lsm_slice(head, head_len));
	MUST(lsm_write_unlogged(db, &batch, NULL, &err), &err);
	CHECK(lsm_recheck(db, text("k"), &mark, &err) == LSM_BUSY);
	MUST(lsm_versions(db, text("k"), pass_version, NULL, &mark, &err), &err);
	CHECK(mark.newest_seq > 0);
	MUST(lsm_recheck(db, text("k"), &mark, &err), &err);
	MUST(lsm_flush(db, &err), &err);
	CHECK(lsm_recheck(db, text("k"), &mark, &err) == LSM_BUSY);
	CHECK(atomic_load(db->pin) == 0);
	lsm_batch_free(&batch);
	stop_store();
}

/* A committed version of a key, in a table of its own. */
static uint64_t
flush_version(const char *key)
{
	LsmBatch batch = {0};
	LsmStamp stamp = {LSM_STAMP_XACT, next_xid++, 0};
	char head[LSM_STAMP_MAX_SIZE];
	uint64_t seq;
	LsmError err;

	fates[stamp.xid] = COMMITTED;
	commit_times[stamp.xid] = clock_now++;
	CHECK(lsm_batch_put(&batch, text(key), lsm_slice(head, lsm_stamp_encode(head, &stamp))));
	MUST(lsm_write(db, &batch, false, &seq, &err), &err);
	MUST(lsm_flush(db, &err), &err);
	lsm_batch_free(&batch);
	return seq;
}

/* Who was shown an old version because it asked for less than all is not told that newer ones could only be in the memtable. */
static void
test_not_the_newest(void)
{
	uint64_t time = UINT64_MAX;
	LsmRead read = {LSM_MAX_SEQUENCE, visible, &time};
	LsmBuf value = {0};
	LsmVersion version;
	LsmScan *scan;
	uint64_t first;
	uint64_t second;
	uint64_t last;
	LsmError err;

	horizon = 1; /* all versions are kept */
	start_store();
	first = flush_version("k");
	(void) flush_version("z");
	MUST(lsm_compact_range(db, lsm_slice("", 0), lsm_slice("", 0), &err), &err);
	second = flush_version("k");
	last = flush_version("z");
	MUST(lsm_get(db, &read, text("k"), &value, &version, &err), &err);
	CHECK(version.seq == second && version.generation == atomic_load(&db->shared->active_generation));
	read.max_seq = first;
	MUST(lsm_get(db, &read, text("k"), &value, &version, &err), &err);
	CHECK(version.seq == first && version.generation == 0);

	/* the older version's file has the highest number, too, so that the other one is left out */
	read.max_seq = LSM_MAX_SEQUENCE;
	MUST(lsm_compact_range(db, text("y"), text("zz"), &err), &err);
	MUST(lsm_scan_open(db, &read, lsm_slice("", 0), lsm_slice("", 0), &scan, &err), &err);
	lsm_scan_want(scan, (LsmSeqs){last, UINT64_MAX});
	lsm_scan_first(scan);
	CHECK(scan->valid && lsm_slice_compare(scan->key, text("k")) == 0);
	CHECK(scan->version.seq == first && scan->version.generation == 0);
	lsm_scan_next(scan);
	CHECK(scan->valid && scan->version.seq == last);
	CHECK(scan->version.generation == atomic_load(&db->shared->active_generation));
	lsm_scan_close(scan);
	lsm_buf_free(&value);
	stop_store();
}

/* An idle store lets the journal go: the position moves on although there is nothing to flush. */
static void
test_position_moves_on(void)
{
	LsmStats before;
	LsmStats after;
	LsmError err;
	bool did;

	start_store();
	MUST(lsm_stats(db, &before, &err), &err);
	for (int i = 0; i < 5; i++)
		MUST(fake_append(NULL, text("0123456789abcdef"), false, &err), &err); /* of somebody else */
	MUST(lsm_rotate_if_older(db, 1000000 + journal.n, &err), &err);
	MUST(lsm_work(db, &did, &err), &err);
	CHECK(did);
	MUST(lsm_stats(db, &after, &err), &err);
	CHECK(before.journal_position == 1000000 && after.journal_position == 1000000 + journal.n);
	CHECK(journal.released == journal.n);
	CHECK(after.flushes == 0);
	MUST(lsm_work(db, &did, &err), &err);
	CHECK(!did);
	stop_store();
}

/* Writes `n` batches of a value and the numbered key that leads to it; some values go to spill files. */
static void
write_numbered(int n, uint64_t *seqs)
{
	static char value[40000];
	LsmBatch batch = {0};
	LsmStamp frozen = {0};
	char head[LSM_STAMP_MAX_SIZE];
	LsmSlice stamp = lsm_slice(head, lsm_stamp_encode(head, &frozen));
	LsmError err;

	for (int i = 0; i < n; i++)
	{
		char name[16];
		char numbered[20];

		lsm_batch_clear(&batch);
		snprintf(name, sizeof(name), "k%03d", i);
		snprintf(numbered, sizeof(numbered), "%c%s", 0, name);
		CHECK(lsm_batch_put(&batch, text("other"), stamp));
		CHECK(lsm_batch_put2(&batch, text(name), stamp, lsm_slice(value, i % 3 == 0 ? sizeof(value) : 10)));
		CHECK(lsm_batch_put_numbered(&batch, text("c/"), 1, lsm_slice(numbered, 1 + strlen(name))));
		while (lsm_write(db, &batch, false, &seqs[i], &err) == LSM_BUSY)
			MUST(lsm_flush(db, &err), &err);
		seqs[i]++;
	}
	lsm_batch_free(&batch);
}

static void
check_numbered(int n, const uint64_t *seqs)
{
	uint64_t time = clock_now;
	LsmRead read = {LSM_MAX_SEQUENCE, visible, &time};
	LsmScan *scan;
	LsmError err;
	int i = 0;

	MUST(lsm_scan_open(db, &read, text("c/"), text("c0"), &scan, &err), &err);
	for (lsm_scan_first(scan); scan->valid; lsm_scan_next(scan), i++)
	{
		uint64_t seq = 0;
		char name[16];

		snprintf(name, sizeof(name), "k%03d", i);
		for (size_t at = 2; at < scan->key.len; at++)
			seq = seq << 8 | (unsigned char) scan->key.data[at];
		CHECK(i < n && scan->key.len == 10 && seq == seqs[i] && scan->version.seq == seq + 1);
		CHECK(scan->value.len == strlen(name) && memcmp(scan->value.data, name, scan->value.len) == 0);
	}
	CHECK(i == n && scan->status == LSM_OK);
	lsm_scan_close(scan);
}

static void
test_numbered_keys(void)
{
	uint64_t seqs[40];
	LsmStats stats;
	LsmError err;

	start_store();
	write_numbered(40, seqs);
	check_numbered(40, seqs);
	MUST(lsm_stats(db, &stats, &err), &err);
	CHECK(stats.flushes == 0);
	stop_store();
	start_store();
	check_numbered(40, seqs);
	MUST(lsm_flush(db, &err), &err);
	check_numbered(40, seqs);
	stop_store();
}

/* Row locks are in no journal, yet none of their numbers comes again. */
static void
test_unlogged_numbers(void)
{
	LsmBatch batch = {0};
	LsmStamp stamp = {LSM_STAMP_XACT | LSM_STAMP_LOCK, 3, 0};
	char head[LSM_STAMP_MAX_SIZE];
	uint64_t highest;
	LsmError err;

	next_xid = 4;
	start_store();
	CHECK(lsm_batch_put(&batch, text("k"), lsm_slice(head, lsm_stamp_encode(head, &stamp))));
	for (uint64_t i = 0; i < LSM_SEQUENCE_GAP + 1000; i++)
		while (lsm_write_unlogged(db, &batch, NULL, &err) == LSM_BUSY)
			MUST(lsm_make_room(db, batch.memtable_cost, &err), &err);
	CHECK(journal.n >= 4 && journal.n < 100);
	highest = lsm_last_sequence(db);
	CHECK(highest > LSM_SEQUENCE_GAP);
	stop_store();
	start_store();
	CHECK(lsm_last_sequence(db) >= highest);
	lsm_batch_free(&batch);
	stop_store();
}

static int stops_asked;

static bool
stop_at_last(void *arg)
{
	(void) arg;
	return ++stops_asked > 5;
}

/*
 * A writer that finds no room sleeps between its attempts, and ends when it is told to.  (Nobody works for it here.
 * That an announced wait still stands when it begins is checked by the env: PostgreSQL's would not sleep otherwise.)
 */
static void
test_waiting_for_room(void)
{
	LsmBatch batch = {0};
	LsmStamp stamp = {LSM_STAMP_XACT, 3, 0};
	static char value[8 << 10];
	LsmEnv *posix = env;
	char head[LSM_STAMP_MAX_SIZE];
	LsmStats stats;
	LsmStatus status;
	LsmError err;
	uint64_t since_us;

	next_xid = 4;
	MUST(lsm_env_sim_new(1, &env), &err);
	start_store();
	lsm_batch_put2(&batch, text("k"), lsm_slice(head, lsm_stamp_encode(head, &stamp)), lsm_slice(value, sizeof(value)));
	do
	{
		status = lsm_write(db, &batch, false, NULL, &err);
		if (status == LSM_BUSY)
		{
			db->should_stop = stop_at_last;
			stops_asked = 0;
			since_us = env->ops->now_us(env);
			status = lsm_make_room(db, batch.memtable_cost, &err);
			CHECK(status == LSM_OK || status == LSM_INTERRUPTED);
			CHECK(status == LSM_OK || env->ops->now_us(env) - since_us > 300000);
			db->should_stop = NULL;
		}
	} while (status == LSM_OK);
	CHECK(status == LSM_INTERRUPTED);
	MUST(lsm_stats(db, &stats, &err), &err);
	CHECK(stats.memtables_waiting == options.memtable_slots - 1 && stats.stalls == 1);
	/* it goes on once the work is done */
	MUST(lsm_flush(db, &err), &err);
	MUST(lsm_write(db, &batch, false, NULL, &err), &err);
	lsm_batch_free(&batch);
	stop_store();
	lsm_env_sim_free(env);
	env = posix;
}

int
main(void)
{
	static void (*const tests[])(void) = {test_unknown_id, test_recheck, test_not_the_newest, test_position_moves_on};

	small_options();
	for (int inline_work = 0; inline_work < 2; inline_work++)
	{
		options.inline_work = inline_work == 1;
		for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		{
			open_world();
			tests[i]();
			close_world();
		}
	}
	options.inline_work = false;
	open_world();
	test_waiting_for_room();
	close_world();
	options.memtable_size = 256 << 10; /* holds it all, but not the large values */
	open_world();
	test_numbered_keys();
	close_world();
	options.memtable_size = 64 << 20; /* so that no manifest says how far the numbers are */
	open_world();
	test_unlogged_numbers();
	close_world();
	return test_done();
}
