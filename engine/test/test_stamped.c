/*
 * test_stamped.c - a store whose versions carry transaction ids, with a transaction table and a journal made up here.
 *
 * What must hold:
 *   - every snapshot that is still open sees exactly the versions of the transactions that had committed when it was
 *     taken, through flush, compaction, settling, and (the newest one) through a crash
 *   - versions and row locks of running transactions are never dropped; aborted ones go
 *   - once settled, ids are gone from the files: nothing asks for an outcome that the table has forgotten
 *   - sequence numbers never come twice, also after writes that a crash lost
 *   - who knows a version already sees the same ones above it as everybody, with less reading
 *   - a scan of what is newer than some sequence finds that, whatever files it leaves out
 *   - large values come back from their spill files, and no spill file outlives its memtable
 *   - a copy of the directory made file by file, in any order, while everything changes, recovers to what there is at its end
 *   - the journal is told to flush before tables are installed, and lets go only of what is in tables
 */
#include <dirent.h>
#include <time.h>

#include "engine/test/stamped.h"

#define KEYS 120
#define MAX_SNAPSHOTS 4

static uint64_t random_state;

static uint64_t
below(uint64_t n)
{
	return test_random(&random_state) % n;
}

/* ---- the model: all writes, and what a snapshot makes of them ---- */

typedef struct Write
{
	int key;
	uint64_t xid;
	uint64_t seq;
	uint8_t flags; /* LSM_STAMP_DELETE, LSM_STAMP_LOCK */
	uint32_t value;
	bool lost; /* in a crash */
} Write;

static Write writes[MAX_WRITES];
static int nwrites;
static uint64_t last_seq_seen;

typedef struct Snapshot
{
	bool open;
	uint64_t time;
} Snapshot;

static Snapshot snapshots[MAX_SNAPSHOTS];

static void
recompute_horizon(void)
{
	horizon = UINT64_MAX;
	for (int i = 0; i < MAX_SNAPSHOTS; i++)
	{
		if (snapshots[i].open && snapshots[i].time < horizon)
			horizon = snapshots[i].time;
	}
}

static LsmSlice
key_name(char *buf, int key)
{
	snprintf(buf, 16, "%c%05d", key % 10 == 9 ? 'z' : 'k', key);
	return text(buf);
}

static size_t
value_len(uint32_t value)
{
	return value % 40 == 0 ? 20000 + value % 30000 : value % 400; /* some are larger than an eighth of a memtable */
}

static void
fill_value(char *buf, uint32_t value)
{
	memset(buf, 'a' + (int) (value % 26), value_len(value));
}

/* The model's answer: index of the write that the snapshot sees, -1 if none. */
static int
model_get(int key, uint64_t time)
{
	int best = -1;

	for (int i = 0; i < nwrites; i++)
	{
		const Write *w = &writes[i];

		if (w->key != key || w->lost || (w->flags & LSM_STAMP_LOCK) || fates[w->xid] != COMMITTED ||
			commit_times[w->xid] >= time)
			continue;
		if (best < 0 || w->seq > writes[best].seq)
			best = i;
	}
	return best >= 0 && !(writes[best].flags & LSM_STAMP_DELETE) ? best : -1;
}

static bool
is_value(LsmSlice payload, uint32_t value)
{
	static char expected[60000];

	fill_value(expected, value);
	return payload.len == value_len(value) && memcmp(payload.data, expected, payload.len) == 0;
}

/* Forgets writes that nobody will ever see again, to keep the model small. */
static void
shrink_model(void)
{
	int n = 0;

	for (int i = 0; i < nwrites; i++)
	{
		bool needed = !writes[i].lost && fates[writes[i].xid] != ABORTED;

		if (needed && fates[writes[i].xid] == COMMITTED)
		{
			/* superseded by a commit that all snapshots see? */
			for (int j = 0; j < nwrites && needed; j++)
			{
				if (writes[j].key == writes[i].key && !writes[j].lost && !(writes[j].flags & LSM_STAMP_LOCK) &&
					writes[j].seq > writes[i].seq && fates[writes[j].xid] == COMMITTED &&
					commit_times[writes[j].xid] < (horizon == UINT64_MAX ? clock_now : horizon))
					needed = false;
			}
		}
		if (needed)
			writes[n++] = writes[i];
	}
	nwrites = n;
}

/* What was read of each key last, since the store was started. */
static LsmVersion remembered[KEYS];

static void
check_snapshot(uint64_t time, bool dead_too)
{
	LsmRead read = {LSM_MAX_SEQUENCE, visible, &time};
	LsmScan *scan;
	LsmBuf got = {0};
	LsmVersion version;
	LsmError err;
	char name[16];
	int count = 0;
	int wrong = 0;
	int forward = 0;
	int expected[KEYS];

	for (int key = 0; key < KEYS; key++)
	{
		LsmStatus status = lsm_get(db, &read, key_name(name, key), &got, &version, &err);
		int at = model_get(key, time);

		expected[key] = at;
		if (key % 10 == 9 && dead_prefix)
		{
			expected[key] = -1;
			if (!dead_too)
				continue; /* may still be there, or not */
			at = -1;
		}
		count += at >= 0;
		if (status != LSM_OK && status != LSM_NOT_FOUND)
			MUST(status, &err);
		if (status == LSM_OK && below(2) == 0)
			remembered[key] = version;
		if ((status == LSM_OK) != (at >= 0))
			wrong++;
		else if (status == LSM_OK && (version.seq != writes[at].seq || !is_value(lsm_buf_slice(&got), writes[at].value)))
			wrong++;
	}
	CHECK(wrong == 0);
	MUST(lsm_scan_open(db, &read, text(""), text("z"), &scan, &err), &err);
	{
		int keys[KEYS];
		int n = 0;

		/* in the order of the keys: k... ascending */
		for (int key = 0; key < KEYS; key++)
		{
			if (key % 10 != 9 && expected[key] >= 0)
				keys[n++] = key;
		}
		for (lsm_scan_first(scan); scan->valid; lsm_scan_next(scan), forward++)
		{
			if (forward >= n || lsm_slice_compare(scan->key, key_name(name, keys[forward])) != 0 ||
				!is_value(scan->value, writes[expected[keys[forward]]].value))
				wrong++;
			else if (below(2) == 0)
				remembered[keys[forward]] = scan->version;
			if (below(3) == 0)
				lsm_scan_release(scan);
		}
		CHECK(scan->status == LSM_OK);
		CHECK(forward == n);
		for (lsm_scan_last(scan); scan->valid; lsm_scan_prev(scan))
		{
			forward--;
			if (forward < 0 || lsm_slice_compare(scan->key, key_name(name, keys[forward])) != 0 ||
				!is_value(scan->value, writes[expected[keys[forward]]].value))
				wrong++;
		}
		CHECK(scan->status == LSM_OK);
		CHECK(forward == 0 && wrong == 0);
	}
	lsm_scan_close(scan);
	lsm_buf_free(&got);
}

static bool
is_wanted(LsmSeqs wanted, uint64_t seq)
{
	return seq >= wanted.min && seq <= wanted.max;
}

/*
 * A scan of what was written from one write to another finds all of it, in both directions, and no version but the right ones.
 * Either end may be open.
 */
static void
check_wanted(uint64_t time)
{
	LsmRead read = {LSM_MAX_SEQUENCE, visible, &time};
	LsmSeqs wanted = LSM_ALL_SEQS;
	int expected = 0;
	int forward = 0;
	int backward = 0;
	LsmScan *scan;
	LsmError err;

	if (nwrites > 0 && below(3) > 0)
		wanted.min = writes[below((uint64_t) nwrites)].seq;
	if (nwrites > 0 && below(3) > 0)
		wanted.max = below(3) == 0 ? wanted.min : writes[below((uint64_t) nwrites)].seq;
	for (int key = 0; key < KEYS; key++)
	{
		int at = key % 10 == 9 ? -1 : model_get(key, time);

		expected += at >= 0 && is_wanted(wanted, writes[at].seq);
	}
	MUST(lsm_scan_open(db, &read, text(""), text("z"), &scan, &err), &err);
	lsm_scan_want(scan, wanted);
	for (lsm_scan_first(scan); scan->valid; lsm_scan_next(scan))
	{
		char number[6] = {0};
		int at;

		if (!is_wanted(wanted, scan->version.seq))
			continue;
		memcpy(number, scan->key.data + 1, 5);
		at = model_get(atoi(number), time);
		CHECK(at >= 0 && writes[at].seq == scan->version.seq);
		forward++;
		if (below(3) == 0)
			lsm_scan_release(scan);
	}
	CHECK(scan->status == LSM_OK);
	for (lsm_scan_last(scan); scan->valid; lsm_scan_prev(scan))
		backward += is_wanted(wanted, scan->version.seq);
	CHECK(scan->status == LSM_OK);
	CHECK(forward == expected && backward == expected);
	lsm_scan_close(scan);
}

/* ---- steps ---- */

#define MAX_RUNNING 6
static uint64_t running[MAX_RUNNING]; /* 0: none */

/* Nobody writes over a version whose transaction is not over. */
static bool
written_by_other(int key, uint64_t xid)
{
	for (int i = 0; i < nwrites; i++)
	{
		if (writes[i].key == key && writes[i].xid != xid && !writes[i].lost && fates[writes[i].xid] == RUNNING &&
			!(writes[i].flags & LSM_STAMP_LOCK))
			return true;
	}
	return false;
}

static void
write_one(uint64_t xid)
{
	static char value[60000];
	Write *w = &writes[nwrites];
	LsmBatch batch = {0};
	LsmStamp stamp = {LSM_STAMP_XACT, xid, (uint32_t) below(5)};
	char head[LSM_STAMP_MAX_SIZE];
	char name[16];
	LsmSlice payload = {"", 0};
	LsmStatus status;
	LsmError err;

	w->flags = below(8) == 0 ? LSM_STAMP_LOCK : 0;
	if (w->flags == 0 && below(5) == 0)
		w->flags = LSM_STAMP_DELETE;
	do
		w->key = (int) below(KEYS);
	while ((dead_prefix && w->key % 10 == 9) || (w->flags != LSM_STAMP_LOCK && written_by_other(w->key, xid)));
	w->xid = xid;
	w->lost = false;
	w->value = (uint32_t) below(100000);
	stamp.flags |= w->flags;
	if (w->flags == 0)
	{
		fill_value(value, w->value);
		payload = lsm_slice(value, value_len(w->value));
	}
	lsm_batch_put2(&batch, key_name(name, w->key), lsm_slice(head, lsm_stamp_encode(head, &stamp)), payload);
	for (;;)
	{
		if (w->flags & LSM_STAMP_LOCK)
			status = lsm_write_unlogged(db, &batch, &w->seq, &err);
		else
			status = lsm_write(db, &batch, false, &w->seq, &err);
		if (status != LSM_BUSY)
			break;
		if (lsm_flush(db, &err) != LSM_OK)
			exit(1);
	}
	MUST(status, &err);
	CHECK(w->seq > last_seq_seen);
	last_seq_seen = w->seq;
	nwrites++;
	lsm_batch_free(&batch);
}

static void
end_xact(int i, Fate fate)
{
	fates[running[i]] = fate;
	if (fate == COMMITTED)
	{
		commit_times[running[i]] = clock_now++;
		journal.flushed = journal.n; /* a commit flushes the journal */
	}
	running[i] = 0;
}

/* A crash of machine and server: unflushed journal records are lost, memtables too, running transactions abort. */
static void
crash(void)
{
	stop_store();
	for (int i = 0; i < MAX_RUNNING; i++)
	{
		if (running[i] != 0)
			end_xact(i, ABORTED);
	}
	while (journal.n > journal.flushed)
		free(journal.records[--journal.n].data);
	for (int i = 0; i < MAX_SNAPSHOTS; i++)
		snapshots[i].open = false;
	recompute_horizon();
	memset(remembered, 0, sizeof(remembered));
	start_store();
}

typedef struct Seen
{
	const Write *needed[200];
	int n;
	int found;
	uint64_t last;
	int bad;
} Seen;

static bool
see_version(void *arg, const LsmVersion *version, LsmSlice payload, volatile uint8_t *hint)
{
	Seen *seen = arg;

	(void) hint;
	seen->bad += version->seq >= seen->last;
	seen->last = version->seq;
	for (int i = 0; i < seen->n; i++)
	{
		const Write *w = seen->needed[i];

		if (w->seq != version->seq)
			continue;
		seen->found++;
		seen->bad += version->stamp.xid != w->xid || !(version->stamp.flags & LSM_STAMP_XACT);
		seen->bad += (version->stamp.flags & (LSM_STAMP_LOCK | LSM_STAMP_DELETE)) != w->flags;
		seen->bad += w->flags == 0 && !is_value(payload, w->value);
	}
	return true;
}

/* A writer sees every version and lock of running transactions. */
static void
check_running(void)
{
	for (int key = 0; key < KEYS; key++)
	{
		Seen seen = {.last = UINT64_MAX};
		LsmMark mark;
		LsmError err;
		char name[16];

		for (int i = 0; i < nwrites; i++)
		{
			if (writes[i].key == key && !writes[i].lost && fates[writes[i].xid] == RUNNING)
				seen.needed[seen.n++] = &writes[i];
		}
		MUST(lsm_versions(db, key_name(name, key), see_version, &seen, &mark, &err), &err);
		/* of a dead key nothing need be left */
		CHECK(seen.found == seen.n || (dead_prefix && key % 10 == 9));
		CHECK(seen.bad == 0);
		MUST(lsm_recheck(db, key_name(name, key), &mark, &err), &err);
	}
}

/* The versions down to the first that was committed, as a writer goes through them. */
typedef struct Walked
{
	uint64_t seqs[200];
	int n;
	bool spared; /* the last one was known before */
} Walked;

static bool
walk_version(void *arg, const LsmVersion *version, LsmSlice payload, volatile uint8_t *hint)
{
	Walked *walked = arg;

	(void) hint;
	CHECK(walked->n < 200);
	walked->seqs[walked->n++] = version->seq;
	walked->spared = payload.data == NULL;
	return (version->stamp.flags & LSM_STAMP_LOCK) ||
		   ((version->stamp.flags & LSM_STAMP_XACT) && fates[version->stamp.xid] != COMMITTED);
}

/* Who has read a version before, however long ago, comes upon the same ones as who has not.  How often tables were spared. */
static int
check_known(void)
{
	int spared = 0;

	for (int key = 0; key < KEYS; key++)
	{
		Walked with = {.n = 0};
		Walked without = {.n = 0};
		LsmMark mark;
		LsmError err;
		char name[16];

		if (remembered[key].generation == 0 || (dead_prefix && key % 10 == 9))
			continue;
		MUST(lsm_versions_known(db, key_name(name, key), &remembered[key], walk_version, &with, &mark, &err), &err);
		MUST(lsm_recheck(db, key_name(name, key), &mark, &err), &err);
		MUST(lsm_versions(db, key_name(name, key), walk_version, &without, &mark, &err), &err);
		CHECK(with.n == without.n && memcmp(with.seqs, without.seqs, (size_t) with.n * sizeof(uint64_t)) == 0);
		spared += with.spared;
	}
	return spared;
}

static int
count_spills(void)
{
	char command[100];
	FILE *pipe;
	int n;

	snprintf(command, sizeof(command), "ls %s | grep -c spill", dir);
	pipe = popen(command, "r");
	if (fscanf(pipe, "%d", &n) != 1)
		n = -1;
	pclose(pipe);
	return n;
}

/* The oldest id that still matters: everything below is settled, then the table forgets it. */
static void
forget_old_ids(void)
{
	uint64_t oldest = next_xid;
	LsmError err;
	uint64_t rewritten;

	for (int i = 0; i < MAX_RUNNING; i++)
	{
		if (running[i] != 0 && running[i] < oldest)
			oldest = running[i];
	}
	for (uint64_t xid = forgotten_below; xid < oldest; xid++)
	{
		/* an open snapshot may not see it yet */
		if (fates[xid] == COMMITTED && commit_times[xid] >= (horizon == UINT64_MAX ? clock_now : horizon))
		{
			oldest = xid;
			break;
		}
	}
	MUST(lsm_settle(db, oldest, &rewritten, &err), &err);
	forgotten_below = oldest;
	shrink_model();
}

static void
test_random_transactions(int steps)
{
	uint64_t settled = 0;
	int spared = 0;
	LsmError err;
	LsmStats stats;
	uint64_t files;
	uint64_t entries;

	nwrites = 0;
	last_seq_seen = 0;
	memset(running, 0, sizeof(running));
	memset(remembered, 0, sizeof(remembered));
	memset(snapshots, 0, sizeof(snapshots));
	start_store();
	for (int step = 0; step < steps && next_xid < MAX_XACTS - 10 && journal.n < MAX_WRITES - 10; step++)
	{
		int i = (int) below(MAX_RUNNING);

		if (running[i] == 0)
		{
			fates[next_xid] = RUNNING;
			running[i] = next_xid++;
		}
		write_one(running[i]);
		if (below(3) == 0)
			end_xact(i, below(4) == 0 ? ABORTED : COMMITTED);
		if (below(20) == 0)
		{
			Snapshot *s = &snapshots[below(MAX_SNAPSHOTS)];

			s->open = !s->open;
			s->time = clock_now++;
			recompute_horizon();
		}
		if (below(300) == 0)
			MUST(lsm_flush(db, &err), &err);
		if (below(600) == 0)
			MUST(lsm_compact_range(db, text(""), text(""), &err), &err);
		if (dead_prefix && below(200) == 0)
			MUST(lsm_drop_range(db, text("z"), text("{"), NULL, &err), &err);
		if (below(20) == 0)
		{
			bool did;

			MUST(lsm_work(db, &did, &err), &err);
		}
		if (below(400) == 0)
		{
			forget_old_ids();
			settled++;
		}
		if (below(100) == 0)
			check_running();
		if (below(30) == 0)
			spared += check_known();
		if (below(50) == 0)
		{
			check_snapshot(clock_now, false);
			check_wanted(clock_now);
			for (int k = 0; k < MAX_SNAPSHOTS; k++)
			{
				if (snapshots[k].open)
					check_snapshot(snapshots[k].time, false);
			}
			shrink_model();
		}
		if (below(700) == 0)
		{
			crash();
			check_snapshot(clock_now, false);
			check_wanted(clock_now);
			shrink_model();
		}
		if (step == steps * 3 / 4)
			dead_prefix = true;
	}
	CHECK(unknown_asked == 0);
	CHECK(begins > 0);
	for (int i = 0; i < MAX_RUNNING; i++)
	{
		if (running[i] != 0)
			end_xact(i, COMMITTED);
	}
	for (int i = 0; i < MAX_SNAPSHOTS; i++)
		snapshots[i].open = false;
	recompute_horizon();
	/* at rest: one version for each key, all frozen, no spill file, nothing dead */
	MUST(lsm_compact_range(db, text(""), text(""), &err), &err);
	forget_old_ids();
	check_snapshot(clock_now, true);
	CHECK(unknown_asked == 0);
	{
		bool did = true;

		while (did)
			MUST(lsm_work(db, &did, &err), &err);
	}
	CHECK(count_spills() == 0);
	MUST(lsm_verify(db, NULL, NULL, NULL, &files, &entries, &err), &err);
	{
		uint64_t live = 0;

		for (int key = 0; key < KEYS; key++)
			live += key % 10 != 9 && model_get(key, clock_now) >= 0;
		CHECK(entries == live);
	}
	MUST(lsm_stats(db, &stats, &err), &err);
	CHECK(stats.flushes + stats.compactions > 0);
	CHECK(settled > 0);
	CHECK(spared > 0);
	stop_store();
}

/* ---- copies ---- */

static void
do_something(void)
{
	int i = (int) below(MAX_RUNNING);
	LsmError err;
	bool did;

	if (running[i] == 0)
	{
		fates[next_xid] = RUNNING;
		running[i] = next_xid++;
	}
	write_one(running[i]);
	if (below(3) == 0)
		end_xact(i, below(4) == 0 ? ABORTED : COMMITTED);
	if (below(40) == 0)
		MUST(lsm_flush(db, &err), &err);
	if (below(150) == 0)
		MUST(lsm_compact_range(db, text(""), text(""), &err), &err);
	if (below(5) == 0)
		MUST(lsm_work(db, &did, &err), &err);
}

/* Reads as a backup does: in pieces, up to where the file ended when it was opened. */
static bool
copy_file(const char *from, const char *to)
{
	static char piece[4096];
	FILE *in = fopen(from, "r");
	FILE *out;
	long left;

	if (in == NULL)
		return false;
	setvbuf(in, NULL, _IONBF, 0);
	fseek(in, 0, SEEK_END);
	left = ftell(in);
	rewind(in);
	out = fopen(to, "w");
	while (left > 0)
	{
		size_t n = fread(piece, 1, left < (long) sizeof(piece) ? (size_t) left : sizeof(piece), in);

		if (n == 0)
			break;
		fwrite(piece, 1, n, out);
		left -= (long) n;
		if (below(4) == 0)
			do_something();
	}
	fclose(in);
	fclose(out);
	return true;
}

static void
test_copies(void)
{
	char copy[100];
	char command[600];
	int went_back = 0;
	int vanished = 0;

	nwrites = 0;
	last_seq_seen = 0;
	memset(running, 0, sizeof(running));
	memset(snapshots, 0, sizeof(snapshots));
	snprintf(copy, sizeof(copy), "%s.copy", dir);
	start_store();
	for (int round = 0; round < 40 && next_xid < MAX_XACTS - 5000 && journal.n < MAX_WRITES - 5000; round++)
	{
		static char names[2000][64];
		struct dirent *entry;
		int n = 0;
		DIR *d;

		for (int i = 0; i < 200; i++)
			do_something();
		snprintf(command, sizeof(command), "rm -rf %s && mkdir %s", copy, copy);
		if (system(command) != 0)
			exit(1);
		journal.copying = true;
		do_something();
		d = opendir(dir);
		while ((entry = readdir(d)) != NULL && n < 2000)
		{
			if (entry->d_name[0] != '.')
				snprintf(names[n++], 64, "%.63s", entry->d_name);
		}
		closedir(d);
		while (n > 0)
		{
			int i = (int) below((uint64_t) n);
			char from[200];
			char to[200];

			snprintf(from, sizeof(from), "%s/%s", dir, names[i]);
			snprintf(to, sizeof(to), "%s/%s", copy, names[i]);
			if (!copy_file(from, to))
			{
				vanished++;
				CHECK(strstr(names[i], ".ldb") == NULL && strstr(names[i], "MANIFEST") == NULL);
			}
			memmove(names[i], names[n - 1], 64);
			n--;
			do_something();
		}
		/* the copy takes the place of the store */
		stop_store();
		for (int i = 0; i < MAX_RUNNING; i++)
		{
			if (running[i] != 0)
				end_xact(i, ABORTED);
		}
		journal.flushed = journal.n;
		snprintf(command, sizeof(command), "rm %s/* && mv %s/* %s && rmdir %s", dir, copy, dir, copy);
		if (system(command) != 0)
			exit(1);
		start_store();
		went_back += atomic_load(&db->shared->went_back);
		journal.copying = false;
		check_snapshot(clock_now, false);
		shrink_model();
	}
	CHECK(went_back > 5);
	CHECK(vanished > 0); /* spill files at least */
	stop_store();
}

int
main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t) time(NULL) * 2654435761u + (uint64_t) getpid();

	printf("seed %llu\n", (unsigned long long) seed);
	random_state = seed;
	small_options();
	for (int inline_work = 0; inline_work < 2; inline_work++)
	{
		options.inline_work = inline_work == 1;
		open_world();
		test_random_transactions(5000);
		close_world();
	}
	options.inline_work = false;
	options.memtable_size = 4 << 20; /* seldom flushed: much is replayed */
	open_world();
	test_random_transactions(3000);
	close_world();
	small_options();
	open_world();
	test_copies();
	close_world();
	return test_done();
}
