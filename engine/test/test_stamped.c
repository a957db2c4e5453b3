/*
 * test_stamped.c - a store whose versions carry transaction ids, with a transaction table and a journal made up here.
 *
 * What must hold:
 *   - every snapshot that is still open sees exactly the versions of the transactions that had committed when it was
 *     taken, through flush, compaction, settling, and (the newest one) through a crash
 *   - versions and row locks of running transactions are never dropped; aborted ones go
 *   - once settled, ids are gone from the files: nothing asks for an outcome that the table has forgotten
 *   - sequence numbers never come twice, also after writes that a crash lost, or that were not in the journal
 *   - numbered keys are the same in the memtable, after a replay and in tables, beside spilled values, too
 *   - large values come back from their spill files, and no spill file outlives its memtable
 *   - a writer that finds no room waits, asleep
 *   - a copy of the directory made file by file, in any order, while everything changes, recovers to what there is at its end
 *   - the journal is told to flush before tables are installed, and lets go only of what is in tables
 */
#include "engine/test/test.h"

#include <dirent.h>
#include <time.h>
#include <unistd.h>

#include "engine/env_sim.h"
#include "engine/handle.h"
#include "engine/write.h"

#define KEYS 120
#define MAX_XACTS 40000
#define MAX_WRITES 60000
#define MAX_SNAPSHOTS 4

static char dir[64];
static LsmEnv *env;
static uint64_t random_state;

static uint64_t
below(uint64_t n)
{
	return test_random(&random_state) % n;
}

static LsmSlice
text(const char *s)
{
	return lsm_slice(s, strlen(s));
}

/* ---- transactions ---- */

typedef enum Fate
{
	RUNNING,
	COMMITTED,
	ABORTED
} Fate;

static Fate fates[MAX_XACTS];
static uint64_t commit_times[MAX_XACTS]; /* when, if COMMITTED */
static uint64_t clock_now = 1;
static uint64_t next_xid = 3;
static uint64_t forgotten_below = 3; /* outcomes that can no longer be looked up */
static uint64_t unknown_asked;
static uint64_t begins;
static bool dead_prefix; /* keys that begin with 'z' may go */

/* Settled: committed before the oldest snapshot was taken. */
static uint64_t horizon = UINT64_MAX;
static uint64_t horizon_in_use;

static void
txn_begin(void *ctx)
{
	(void) ctx;
	begins++;
	horizon_in_use = horizon == UINT64_MAX ? clock_now : horizon;
}

static LsmOutcome
txn_outcome(void *ctx, uint64_t xid)
{
	(void) ctx;
	if (xid < forgotten_below)
	{
		unknown_asked++;
		return LSM_XACT_UNKNOWN;
	}
	switch (fates[xid])
	{
		case RUNNING:
			return LSM_XACT_RUNNING;
		case ABORTED:
			return LSM_XACT_ABORTED;
		case COMMITTED:
			break;
	}
	return commit_times[xid] < horizon_in_use ? LSM_XACT_SETTLED : LSM_XACT_COMMITTED;
}

static bool
txn_dead(void *ctx, LsmSlice user_key)
{
	(void) ctx;
	return dead_prefix && user_key.len > 0 && user_key.data[0] == 'z';
}

static const LsmTxnOps txn_ops = {txn_begin, txn_outcome, txn_dead};

/* ---- the journal: memory that a crash cuts ---- */

typedef struct Record
{
	char *data;
	size_t len;
} Record;

typedef struct FakeJournal
{
	LsmJournal pub;
	Record records[MAX_WRITES];
	uint64_t n;        /* positions 1 .. n are taken; n + 1 is the end */
	uint64_t flushed;  /* up to this position a crash loses nothing */
	uint64_t released; /* what lies before is gone */
	bool copying;      /* nothing goes meanwhile */
} FakeJournal;

static FakeJournal journal;

static LsmStatus
fake_append(LsmJournal *j, LsmSlice batch, bool sync, LsmError *err)
{
	Record *record = &journal.records[journal.n++];

	(void) j;
	(void) sync;
	(void) err;
	record->data = malloc(batch.len);
	record->len = batch.len;
	memcpy(record->data, batch.data, batch.len);
	return LSM_OK;
}

static LsmStatus
fake_rotate(LsmJournal *j, uint64_t new_number, uint64_t *position, LsmError *err)
{
	(void) j;
	(void) new_number;
	(void) err;
	*position = 1000000 + journal.n; /* no file numbers, these */
	return LSM_OK;
}

static void
fake_release(LsmJournal *j, uint64_t position)
{
	(void) j;
	CHECK(position - 1000000 <= journal.flushed); /* nothing is let go of that a crash could lose */
	if (position - 1000000 > journal.released && !journal.copying)
		journal.released = position - 1000000;
}

static LsmStatus
fake_before_install(LsmJournal *j, LsmError *err)
{
	(void) j;
	(void) err;
	journal.flushed = journal.n;
	return LSM_OK;
}

static LsmStatus
fake_replay(LsmJournal *j, uint64_t position, LsmReplay fn, void *arg, LsmError *err)
{
	LsmStatus status = LSM_OK;

	(void) j;
	CHECK(position >= 1000000);
	if (position - 1000000 < journal.released)
		return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "the journal from %llu is gone", (unsigned long long) position);
	for (uint64_t i = position - 1000000; i < journal.n && status == LSM_OK; i++)
		status = fn(arg, lsm_slice(journal.records[i].data, journal.records[i].len), err);
	return status;
}

static void
fake_close(LsmJournal *j)
{
	(void) j;
}

static bool
fake_copying(LsmJournal *j)
{
	(void) j;
	return journal.copying;
}

static const LsmJournalOps journal_ops = {fake_append, fake_rotate, fake_release, fake_before_install, fake_replay,
										  fake_close, fake_copying};

static void
reset_world(void)
{
	for (uint64_t i = 0; i < journal.n; i++)
		free(journal.records[i].data);
	memset(&journal, 0, sizeof(journal));
	journal.pub.ops = &journal_ops;
	journal.pub.concurrent = true;
	memset(fates, 0, sizeof(fates));
	memset(commit_times, 0, sizeof(commit_times));
	clock_now = 1;
	next_xid = forgotten_below = 3;
	unknown_asked = begins = 0;
	dead_prefix = false;
	horizon = UINT64_MAX;
}

/* ---- the store ---- */

static LsmOptions options;
static void *memory;
static LsmDb *db;

static void
start_store(void)
{
	LsmAttach attach = {.env = env, .journal = &journal.pub, .txn = &txn_ops, .handle = 0};
	LsmError err;

	memory = aligned_alloc(64, (lsm_shared_size(&options) + 63) & ~(size_t) 63);
	attach.shared = lsm_shared_init(memory, &options);
	MUST(lsm_attach(&attach, &db, &err), &err);
	MUST(lsm_recover(db, &err), &err);
}

static void
stop_store(void)
{
	lsm_detach(db);
	free(memory);
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

static LsmVisible
visible(void *arg, const LsmStamp *stamp, volatile uint8_t *hint)
{
	uint64_t time = *(const uint64_t *) arg;

	/* a hint may be kept: 1 + fate, once that is final */
	if (hint != NULL && *hint != 0)
		CHECK(*hint == 1 + (uint8_t) fates[stamp->xid]);
	else if (hint != NULL && fates[stamp->xid] != RUNNING)
		*hint = 1 + (uint8_t) fates[stamp->xid];
	if (stamp->xid < forgotten_below)
		return LSM_VISIBLE_ERROR;
	return fates[stamp->xid] == COMMITTED && commit_times[stamp->xid] < time ? LSM_VISIBLE : LSM_INVISIBLE;
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
	LsmError err;
	LsmStats stats;
	uint64_t files;
	uint64_t entries;

	reset_world();
	nwrites = 0;
	last_seq_seen = 0;
	memset(running, 0, sizeof(running));
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
		if (below(50) == 0)
		{
			check_snapshot(clock_now, false);
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
	MUST(lsm_verify(db, NULL, NULL, &files, &entries, &err), &err);
	{
		uint64_t live = 0;

		for (int key = 0; key < KEYS; key++)
			live += key % 10 != 9 && model_get(key, clock_now) >= 0;
		CHECK(entries == live);
	}
	MUST(lsm_stats(db, &stats, &err), &err);
	CHECK(stats.flushes + stats.compactions > 0);
	CHECK(settled > 0);
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

	reset_world();
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

	reset_world();
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

/* Marks: a write or a lock to the key, and a rotation, make a writer start over; other keys do not. */
static void
test_recheck(void)
{
	LsmBatch batch = {0};
	LsmStamp stamp = {LSM_STAMP_XACT | LSM_STAMP_LOCK, 3, 0};
	char head[LSM_STAMP_MAX_SIZE];
	Seen seen = {.last = UINT64_MAX};
	LsmMark mark;
	LsmError err;
	size_t head_len;

	reset_world();
	next_xid = 4;
	start_store();
	head_len = lsm_stamp_encode(head, &stamp);
	MUST(lsm_versions(db, text("k"), see_version, &seen, &mark, &err), &err);
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
	MUST(lsm_versions(db, text("k"), see_version, &seen, &mark, &err), &err);
	CHECK(mark.newest_seq > 0);
	MUST(lsm_recheck(db, text("k"), &mark, &err), &err);
	MUST(lsm_flush(db, &err), &err);
	CHECK(lsm_recheck(db, text("k"), &mark, &err) == LSM_BUSY);
	CHECK(atomic_load(db->pin) == 0);
	lsm_batch_free(&batch);
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

	reset_world();
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

	reset_world();
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

	reset_world();
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

	reset_world();
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
main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t) time(NULL) * 2654435761u + (uint64_t) getpid();
	char command[100];
	LsmError err;

	printf("seed %llu\n", (unsigned long long) seed);
	random_state = seed;
	lsm_options_init(&options);
	options.memtable_size = 128 << 10;
	options.memtable_slots = 3;
	options.block_cache_size = 256 << 10;
	options.file_size = 32 << 10;
	options.level1_size = 64 << 10;
	options.level_factor = 3;
	options.table.block_size = 1 << 10;
	for (int i = 0; i < 10; i++)
	{
		snprintf(dir, sizeof(dir), "/tmp/lsm_test_stamped.%d", (int) getpid());
		MUST(lsm_env_posix_open(dir, &env, &err), &err);
		options.inline_work = i % 2 == 1;
		switch (i)
		{
			case 0:
			case 1:
				test_random_transactions(5000);
				break;
			case 2:
				options.memtable_size = 4 << 20; /* seldom flushed: much is replayed */
				test_random_transactions(3000);
				options.memtable_size = 128 << 10;
				break;
			case 3:
				test_unknown_id();
				break;
			case 4:
				test_recheck();
				break;
			case 5:
				test_position_moves_on();
				break;
			case 6:
				test_waiting_for_room();
				break;
			case 7:
				options.inline_work = false;
				test_copies();
				break;
			case 8:
				options.memtable_size = 256 << 10; /* holds it all, but not the large values */
				options.memtable_slots = 3;
				test_numbered_keys();
				break;
			case 9:
				options.memtable_size = 64 << 20; /* so that no manifest says how far the numbers are */
				test_unlogged_numbers();
				break;
		}
		reset_world();
		lsm_env_posix_close(env);
		snprintf(command, sizeof(command), "rm -r %s", dir);
		if (system(command) != 0)
			return 1;
	}
	return test_done();
}
