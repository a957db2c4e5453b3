/*
 * stamped.h - what the tests of stores with transaction ids share: a transaction table, a journal in memory that a crash
 * cuts, and a store over both.
 */
#ifndef STAMPED_H
#define STAMPED_H

#include "engine/test/test.h"

#include <stdlib.h>
#include <unistd.h>

#include "engine/env_sim.h"
#include "engine/handle.h"
#include "engine/write.h"

#define MAX_XACTS 40000
#define MAX_WRITES 60000

static char dir[64];
static LsmEnv *env;

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

/* Small limits, so that little is much. */
static void
small_options(void)
{
	lsm_options_init(&options);
	options.memtable_size = 128 << 10;
	options.memtable_slots = 3;
	options.block_cache_size = 256 << 10;
	options.file_size = 32 << 10;
	options.level1_size = 64 << 10;
	options.level_factor = 3;
	options.table.block_size = 1 << 10;
}

/* An empty directory and a world in which nothing has happened, for one test; close_world() removes both. */
static void
open_world(void)
{
	LsmError err;

	snprintf(dir, sizeof(dir), "/tmp/lsm_test_stamped.%d", (int) getpid());
	MUST(lsm_env_posix_open(dir, &env, &err), &err);
	reset_world();
}

static void
close_world(void)
{
	char command[100];

	reset_world();
	lsm_env_posix_close(env);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	if (system(command) != 0)
		exit(1);
}

#endif
