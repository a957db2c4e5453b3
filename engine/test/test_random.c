/*
 * test_random.c - random operations, compared with a sorted array.
 *
 * - Whatever was written is read, by get and by scan, forward, backward and with
 *   any mix of moves, within any bounds.
 * - A snapshot sees what was there when it was taken, whatever is written,
 *   flushed or compacted afterwards, also in a scan that was released meanwhile.
 * - All of it holds over close and reopen, and lsm_verify has nothing to report.
 * - And whatever merges run beside each other: in the middle of one handle's merge another handle
 *   does a piece of work, now and then.
 *
 * RANDOM_SEED=n runs one seed, RANDOM_STEPS=n longer; RANDOM_OPS=n seeds from 1 on until so many changes, gets and
 * moves of scans were made.
 */
#include "engine/env_sim.h"
#include "engine/handle.h"
#include "engine/test/model.h"

#define MAX_SNAPSHOTS 4

typedef struct Snapshot
{
	uint64_t seq;
	Cell *state;
} Snapshot;

typedef struct Run
{
	uint64_t seed;
	uint64_t random;
	int step;
	LsmOptions options;
	size_t max_value;
	size_t big_value; /* now and then */
	LsmEnv *env;
	LsmDb *db;
	LsmDb *other;  /* a second handle, which only reads */
	LsmDb *helper; /* a third, which works while the first does */
	uint64_t help_random;
	bool helping;
	Keys keys;
	Cell *state;
	Snapshot snapshots[MAX_SNAPSHOTS];
	int num_snapshots;
	LsmBatch batch;
} Run;

static LsmError err;
static uint64_t flushes;
static uint64_t compactions;
static uint64_t seek_compactions;
static uint64_t together; /* merges that a helper did in the middle of another */
static uint64_t changes;  /* written */
static uint64_t gets;
static uint64_t moves;   /* of scans; those of check_everything do not count */
static uint64_t in_runs; /* entries that a scan gave out without a move */

static uint64_t
below(Run *run, uint64_t limit)
{
	return test_random(&run->random) % limit;
}

/* Ends the program: after a wrong answer the rest would only be noise. */
static void
fail(Run *run, const char *text)
{
	fprintf(stderr, "test_random: seed %llu, step %d: %s\nrepeat with: RANDOM_SEED=%llu build/test/test_random\n",
			(unsigned long long) run->seed, run->step, text, (unsigned long long) run->seed);
	exit(1);
}

static void
must(Run *run, LsmStatus status, const char *what)
{
	char text[512];

	if (status == LSM_OK)
		return;
	snprintf(text, sizeof(text), "%s: %s: %s (file \"%s\", offset %llu)", what, lsm_status_name(status), err.text, err.file,
			 (unsigned long long) err.offset);
	fail(run, text);
}

static LsmRead
read_at(uint64_t seq)
{
	LsmRead read = {seq, NULL, NULL};

	return read;
}

/* Either the present or a snapshot. */
static LsmRead
pick_view(Run *run, const Cell **state, bool *fixed)
{
	int i = (int) below(run, run->num_snapshots + 1);

	*fixed = i < run->num_snapshots;
	*state = *fixed ? run->snapshots[i].state : run->state;
	return read_at(*fixed ? run->snapshots[i].seq : LSM_MAX_SEQUENCE);
}

static LsmDb *
pick_handle(Run *run)
{
	return below(run, 3) == 0 ? run->other : run->db;
}

static uint64_t
count_compactions(Run *run)
{
	return atomic_load(&run->db->shared->compactions);
}

/* Before each operation on the disk. */
static void
help(void *arg, uint64_t op)
{
	Run *run = arg;
	uint64_t before;
	bool did;

	(void) op;
	if (run->helping || run->db == NULL || run->db->job < 0 || test_random(&run->help_random) % 2 != 0 ||
		!lsm_try_lock(run->env, LSM_LOCK_MANIFEST, LSM_EXCLUSIVE))
		return;
	lsm_unlock(run->env, LSM_LOCK_MANIFEST);
	run->helping = true;
	before = count_compactions(run);
	must(run, lsm_work(run->helper, &did, &err), "work of the helper");
	together += count_compactions(run) > before;
	run->helping = false;
}

static void
open_store(Run *run)
{
	must(run, lsm_open(run->env, &run->options, &run->db, &err), "open");
	must(run, lsm_open_handle(run->db, &run->other, &err), "open another handle");
	must(run, lsm_open_handle(run->db, &run->helper, &err), "open a helper");
}

static void
drop_snapshot(Run *run, int i)
{
	free(run->snapshots[i].state);
	run->snapshots[i] = run->snapshots[--run->num_snapshots];
}

static void
close_store(Run *run)
{
	LsmStats stats;

	must(run, lsm_stats(run->db, &stats, &err), "stats");
	flushes += stats.flushes;
	compactions += stats.compactions;
	seek_compactions += stats.seek_compactions;
	while (run->num_snapshots > 0)
	{
		lsm_snapshot_release(run->db, run->snapshots[0].seq);
		drop_snapshot(run, 0);
	}
	lsm_detach(run->helper);
	lsm_detach(run->other);
	lsm_close(run->db);
	run->db = NULL;
}

static void
write_batch(Run *run, int max_changes)
{
	LsmStatus status = LSM_OK;
	bool sync = below(run, 8) == 0;
	History history = {0};
	size_t max = below(run, 40) == 0 ? run->big_value : run->max_value;

	if (max > run->max_value)
		max_changes = 1;
	model_random_batch(&history, &run->keys, &run->batch, &run->random, max_changes, max);
	do
	{
		bool did = true;

		/* without inline_work nobody else makes room */
		while (status == LSM_BUSY && did)
			must(run, lsm_work(run->db, &did, &err), "work");
		if (status == LSM_BUSY)
			must(run, lsm_make_room(run->db, run->batch.memtable_cost, &err), "make room");
		status = lsm_write(run->db, &run->batch, sync, NULL, &err);
	} while (status == LSM_BUSY);
	must(run, status, "write");
	changes += run->batch.count;
	model_apply(run->state, &history, 0);
	model_history_free(&history);
}

static void
get_some(Run *run)
{
	LsmBuf value = {0};
	int n;

	for (n = 0; n < 8; n++)
	{
		/* now and then often enough for the files that it passes to be merged */
		int times = run->options.seek_compaction && below(run, 10) == 0 ? 150 : 1;
		const Cell *state;
		bool fixed;
		LsmRead read = pick_view(run, &state, &fixed);
		int key = (int) below(run, run->keys.count);
		LsmDb *handle = pick_handle(run);
		bool did = times > 1;

		while (times-- > 0)
		{
			LsmVersion version;
			LsmStatus status = lsm_get(handle, &read, run->keys.keys[key], &value, &version, &err);

			gets++;
			if (status != LSM_NOT_FOUND)
				must(run, status, "get");
			if ((status == LSM_OK) != state[key].there)
				fail(run, state[key].there ? "get does not find a key" : "get finds a deleted key");
			if (status == LSM_OK && (value.len != state[key].len || model_hash(lsm_buf_slice(&value)) != state[key].hash))
				fail(run, "get returns a wrong value");
		}
		while (did)
			must(run, lsm_work(run->db, &did, &err), "work");
	}
	lsm_buf_free(&value);
}

/* Any key: one of ours, a neighbour of it, or nonsense. */
static LsmSlice
pick_key(Run *run, char *buf)
{
	LsmSlice key = run->keys.keys[below(run, run->keys.count)];

	memcpy(buf, key.data, key.len);
	switch (below(run, 4))
	{
		case 0:
			buf[key.len++] = (char) below(run, 256);
			break;
		case 1:
			if (key.len > 0)
				key.len--;
			break;
		case 2:
			if (key.len > 0)
				buf[key.len - 1] ^= (char) (1 << below(run, 8));
			break;
	}
	key.data = buf;
	return key;
}

/* The next index from `from` on, in steps of `by`, that is there; -1 or count outside. */
static int
walk(const Cell *state, int from, int by, int low, int high)
{
	while (from >= low && from < high && !state[from].there)
		from += by;
	return from;
}

/* Takes the run that a scan stands in, which is at `at`; returns where it stands then. */
static int
check_run(Run *run, LsmScan *scan, const Cell *state, int at, int low, int high)
{
	const LsmRunEntry *entries;
	int n = lsm_scan_take_run(scan, &entries);

	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			at = walk(state, at + 1, 1, low, high);
		if (at < low || at >= high || lsm_slice_compare(entries[i].user, run->keys.keys[at]) != 0)
			fail(run, "run has a wrong key");
		if (entries[i].value.len != state[at].len || model_hash(entries[i].value) != state[at].hash)
			fail(run, "run has a wrong value");
		in_runs += i > 0;
	}
	if (n > 0 && (lsm_slice_compare(scan->key, entries[n - 1].user) != 0 || scan->version.seq != entries[n - 1].seq))
		fail(run, "scan does not stand at the end of the run");
	return at;
}

static void
scan_some(Run *run)
{
	char lower_buf[1200];
	char upper_buf[1200];
	char key_buf[1200];
	LsmSlice lower = {NULL, 0};
	LsmSlice upper = {NULL, 0};
	const Cell *state;
	bool fixed;
	LsmRead read = pick_view(run, &state, &fixed);
	LsmScan *scan;
	int low = 0;
	int high = run->keys.count;
	int at = -1;
	bool valid = false;
	int left = 4 + (int) below(run, 40);

	if (below(run, 2))
	{
		lower = pick_key(run, lower_buf);
		low = model_lower_bound(&run->keys, lower);
	}
	if (below(run, 2))
	{
		upper = pick_key(run, upper_buf);
		if (upper.len > 0)
			high = model_lower_bound(&run->keys, upper);
	}
	if (high < low)
		high = low;
	must(run, lsm_scan_open(pick_handle(run), &read, lower, upper, &scan, &err), "open scan");
	while (left-- > 0)
	{
		int move = (int) below(run, 12);
		LsmSlice key;

		if (!valid && move >= 4)
			move %= 4;
		moves++;
		switch (move)
		{
			case 0:
				lsm_scan_first(scan);
				at = walk(state, low, 1, low, high);
				break;
			case 1:
				lsm_scan_last(scan);
				at = walk(state, high - 1, -1, low, high);
				break;
			case 2:
				key = pick_key(run, key_buf);
				lsm_scan_seek(scan, key);
				at = model_lower_bound(&run->keys, key);
				at = walk(state, at < low ? low : at, 1, low, high);
				break;
			case 3:
				key = pick_key(run, key_buf);
				lsm_scan_seek_last(scan, key);
				at = model_lower_bound(&run->keys, key);
				if (at == run->keys.count || lsm_slice_compare(run->keys.keys[at], key) != 0)
					at--;
				at = walk(state, at >= high ? high - 1 : at, -1, low, high);
				break;
			case 4:
			case 5:
			case 6:
			case 7:
				lsm_scan_next(scan);
				at = walk(state, at + 1, 1, low, high);
				break;
			default:
				lsm_scan_prev(scan);
				at = walk(state, at - 1, -1, low, high);
				break;
		}
		valid = at >= low && at < high;
		if (scan->status != LSM_OK)
		{
			err = scan->err;
			must(run, scan->status, "move of a scan");
		}
		if (scan->valid != valid)
			fail(run, valid ? "scan ends too early" : "scan finds what is not there");
		if (valid && lsm_slice_compare(scan->key, run->keys.keys[at]) != 0)
			fail(run, "scan stands on the wrong key");
		if (valid && (scan->value.len != state[at].len || model_hash(scan->value) != state[at].hash))
			fail(run, "scan returns a wrong value");
		if (valid && left % 3 == 0)
			at = check_run(run, scan, state, at, low, high);

		if (below(run, 4) == 0)
		{
			lsm_scan_release(scan);
			/* What a snapshot sees does not change. */
			if (fixed && below(run, 4) == 0)
			{
				write_batch(run, 20);
				if (below(run, 4) == 0)
					must(run, lsm_flush(run->db, &err), "flush");
				if (below(run, 8) == 0)
					must(run, lsm_compact_range(run->db, (LsmSlice){NULL, 0}, (LsmSlice){NULL, 0}, &err), "compact");
			}
		}
	}
	lsm_scan_close(scan);
}

static void
report_damage(void *arg, const LsmError *what)
{
	err = *what;
	must(arg, LSM_CORRUPT, "verify reports");
}

static void
check_everything(Run *run)
{
	Cell *found = model_state_new(&run->keys);
	char message[256];
	uint64_t files;
	uint64_t entries;
	int i;

	for (i = -1; i < run->num_snapshots; i++)
	{
		LsmRead read = read_at(i < 0 ? LSM_MAX_SEQUENCE : run->snapshots[i].seq);
		const Cell *state = i < 0 ? run->state : run->snapshots[i].state;
		LsmStatus status = model_read(pick_handle(run), &read, &run->keys, found, message, sizeof(message), &err);

		if (status == LSM_INVALID && message[0])
			fail(run, message);
		must(run, status, "read everything");
		if (!model_same(&run->keys, state, found))
		{
			model_explain(&run->keys, state, found, message, sizeof(message));
			fail(run, message);
		}
	}
	must(run, lsm_verify(run->db, report_damage, NULL, run, &files, &entries, &err), "verify");
	free(found);
}

static void
one_step(Run *run)
{
	char lower_buf[1200];
	char upper_buf[1200];
	int what = (int) below(run, 1000);
	Snapshot *snapshot;

	if (what < 500)
		write_batch(run, 4);
	else if (what < 545)
		write_batch(run, 40);
	else if (what < 550)
		write_batch(run, 600); /* more than a memtable holds */
	else if (what < 750)
		get_some(run);
	else if (what < 900)
		scan_some(run);
	else if (what < 915)
		must(run, lsm_flush(run->db, &err), "flush");
	else if (what < 925)
	{
		LsmSlice lower = pick_key(run, lower_buf);
		LsmSlice upper = pick_key(run, upper_buf);

		must(run, lsm_compact_range(run->db, lower, below(run, 2) ? upper : (LsmSlice){NULL, 0}, &err), "compact");
	}
	else if (what < 960)
	{
		if (run->num_snapshots == MAX_SNAPSHOTS)
			return;
		snapshot = &run->snapshots[run->num_snapshots++];
		snapshot->seq = lsm_snapshot_take(run->db);
		snapshot->state = model_state_new(&run->keys);
		memcpy(snapshot->state, run->state, run->keys.count * sizeof(Cell));
	}
	else if (what < 985)
	{
		int i = (int) below(run, run->num_snapshots + 1);

		if (i == run->num_snapshots)
			return;
		lsm_snapshot_release(run->db, run->snapshots[i].seq);
		drop_snapshot(run, i);
	}
	else if (what < 992)
		check_everything(run);
	else
	{
		close_store(run);
		open_store(run);
		check_everything(run);
	}
}

static void
run_seed(uint64_t seed, int steps)
{
	Run run = {.seed = seed, .random = seed * 7919 + 1, .help_random = seed * 7907 + 1};

	lsm_options_init(&run.options);
	run.options.inline_work = seed % 3 != 0;
	run.options.max_compactions = 1 + (int) (seed % 4);
	run.options.max_handles = 4;
	run.options.memtable_slots = 2 + (int) below(&run, 2);
	run.options.memtable_size = 4096 << below(&run, 5);
	run.options.block_cache_size = below(&run, 3) ? 65536 : 0;
	run.options.file_size = 4096 << below(&run, 4);
	run.options.level1_size = run.options.file_size * 3;
	run.options.level_factor = 2 + (int) below(&run, 3);
	run.options.level0_compact = 2 + (int) below(&run, 3);
	run.options.manifest_size = 1024 << below(&run, 4);
	run.options.table_cache_size = below(&run, 2) ? 1 << 20 : 16384;
	run.options.table.block_size = 256 << below(&run, 5);
	run.options.table.restart_interval = 1 + (int) below(&run, 16);
	run.options.table.bloom_bits = below(&run, 3) ? 10 : 0;
	run.options.table.compression = (LsmCompression) below(&run, 3);
	run.options.table.zstd_level = 1;
	run.options.level0_compression = (LsmCompression) below(&run, 3);
	if (seed % 2 == 0)
	{
		run.options.seek_compaction = true;
		run.options.table.bloom_bits = below(&run, 3) ? 0 : 10;
	}
	run.max_value = run.options.memtable_size / 128;
	run.big_value = run.options.memtable_size / 8;
	if (seed % 4 == 0)
	{
		run.options.memtable_size = 256 * 1024;
		run.big_value = 100 * 1024;
	}
	MUST(lsm_env_sim_new(seed, &run.env), &err);
	lsm_env_sim_set_watch(run.env, help, &run);
	run.keys = model_keys_new(seed, 50 << below(&run, 4), below(&run, 2));
	run.state = model_state_new(&run.keys);

	open_store(&run);
	for (run.step = 1; run.step <= steps; run.step++)
		one_step(&run);
	check_everything(&run);
	CHECK(lsm_last_sequence(run.db) > 0);
	close_store(&run);
	open_store(&run);
	check_everything(&run);
	close_store(&run);

	lsm_env_sim_free(run.env);
	lsm_batch_free(&run.batch);
	model_keys_free(&run.keys);
	free(run.state);
}

int
main(void)
{
	const char *seed = getenv("RANDOM_SEED");
	const char *steps_text = getenv("RANDOM_STEPS");
	const char *ops_text = getenv("RANDOM_OPS");
	uint64_t wanted = ops_text ? strtoull(ops_text, NULL, 10) : 0;
	int steps = steps_text ? atoi(steps_text) : 1500;
	uint64_t first = seed ? strtoull(seed, NULL, 10) : 1;
	uint64_t last = seed ? first : 16;
	uint64_t i;

	for (i = first; i <= last || (seed == NULL && changes + gets + moves < wanted); i++)
		run_seed(i, steps);
	printf("seeds %llu to %llu, %d steps each: %llu changes, %llu gets, %llu moves of scans; %llu flushes, %llu compactions, %llu of them by seeks, %llu in the middle of another\n",
		   (unsigned long long) first, (unsigned long long) i - 1, steps, (unsigned long long) changes,
		   (unsigned long long) gets, (unsigned long long) moves, (unsigned long long) flushes,
		   (unsigned long long) compactions, (unsigned long long) seek_compactions, (unsigned long long) together);
	CHECK(seed || flushes > 50);
	CHECK(seed || compactions > 50);
	CHECK(seed || seek_compactions > 20);
	CHECK(seed || together > 20);
	CHECK(seed || in_runs > 500);
	CHECK(seed || changes + gets + moves >= wanted);
	return test_done();
}
