/*
 * test_crash.c - losing power at every operation on the disk.
 *
 * A script of random batches, flushes, compactions and reopenings runs on a
 * simulated disk.  Before each operation on the disk, those of recovery
 * included, the disk is copied four times, each copy loses power in its own way
 * (env_sim.h), and the store is opened on it:
 *
 * - it opens;
 * - every batch acknowledged with sync is there with all before it, and so is
 *   everything that was acknowledged before a flush that succeeded;
 * - of the batches after those, exactly the first few are there: in order, each
 *   whole, none that was never written;
 * - scans forward and backward and gets agree, lsm_verify reports no damage,
 *   and no file is left over;
 * - it can be written to, and what is written with sync is there after the next
 *   opening.
 *
 * Another handle works whenever the first is in the middle of a merge, so that several run at the
 * same time.
 *
 * The recovery itself is cut off, too, at one of its operations, in each of the
 * ways, and the store must open all the same and keep the same promises.
 *
 * CRASH_POINTS=n: at least so many crash points (5,000).  CRASH_SEED=n and
 * CRASH_OP=n repeat one script and one point.
 */
#include "engine/env_sim.h"
#include "engine/handle.h"
#include "engine/test/model.h"

#define STEPS 150

typedef struct Script
{
	uint64_t seed;
	uint64_t random;
	LsmOptions options;
	Keys keys;
	LsmEnv *env;
	LsmDb *db;
	LsmDb *helper;
	bool helping;
	LsmBatch batch;
	History history;
	int durable; /* so many batches must be there; the rest of the history may be */
	Cell *base;  /* the state after `durable` batches */

	uint64_t op; /* the crash point being looked at */
	const char *image;
	uint64_t second; /* operation of recovery at which it crashed again; 0: it did not */
	uint64_t points;
} Script;

static const char *const images[LSM_SIM_NUM_IMAGES] = {"synced only", "torn", "reordered", "directory lost"};

/* What all scripts together did, because a promise is kept easily by who does nothing. */
typedef struct Coverage
{
	uint64_t flushes, compactions, rolls, reopens;
	uint64_t together; /* merges in the middle of another */
	int deepest_level;
	uint64_t recoveries;
	uint64_t lost; /* recoveries that had lost a batch that need not be there */
	uint64_t kept; /* ... that had kept one */
	uint64_t second_crashes;
} Coverage;

static LsmError err;
static uint64_t only_op; /* 0: all */
static Coverage coverage;

static void
fail(Script *script, const char *text)
{
	fprintf(stderr, "test_crash: seed %llu, crash before operation %llu, image \"%s\"", (unsigned long long) script->seed,
			(unsigned long long) script->op, script->image);
	if (script->second)
		fprintf(stderr, ", again at operation %llu of the recovery", (unsigned long long) script->second);
	fprintf(stderr, ": %s\nrepeat with: CRASH_SEED=%llu CRASH_OP=%llu build/test/test_crash\n", text,
			(unsigned long long) script->seed, (unsigned long long) script->op);
	exit(1);
}

static void
must(Script *script, LsmStatus status, const char *what)
{
	char text[512];

	if (status == LSM_OK)
		return;
	snprintf(text, sizeof(text), "%s: %s: %s (file \"%s\", offset %llu)", what, lsm_status_name(status), err.text, err.file,
			 (unsigned long long) err.offset);
	fail(script, text);
}

static void
report_damage(void *arg, const LsmError *what)
{
	err = *what;
	must(arg, LSM_CORRUPT, "verify reports");
}

/* Everything written so far must survive from now on. */
static void
all_durable(Script *script)
{
	while (script->durable < script->history.num_groups)
		model_apply(script->base, &script->history, script->durable++);
}

/* ---- after a crash ---- */

typedef struct FileCount
{
	int tables;
	int logs;
	int manifests;
	int others;
} FileCount;

static void
count_file(void *arg, const char *name, LsmSlice contents)
{
	FileCount *count = arg;
	LsmFileKind kind;
	uint64_t number;

	(void) contents;
	if (!lsm_parse_file_name(name, &kind, &number))
		count->others++;
	else if (kind == LSM_FILE_TABLE)
		count->tables++;
	else if (kind == LSM_FILE_LOG)
		count->logs++;
	else if (kind == LSM_FILE_MANIFEST)
		count->manifests++;
	else if (kind == LSM_FILE_TEMP || kind == LSM_FILE_SPILL)
		count->others++;
}

static void
check_leftovers(Script *script, LsmEnv *env, LsmDb *db)
{
	FileCount count = {0};
	LsmStats stats;
	int live = 0;
	int i;

	must(script, lsm_stats(db, &stats, &err), "stats");
	for (i = 0; i < LSM_NUM_LEVELS; i++)
		live += stats.levels[i].files;
	lsm_env_sim_files(env, count_file, &count);
	if (count.tables != live || count.manifests != 1 || count.others != 0 || count.logs > 2)
	{
		char text[128];

		snprintf(text, sizeof(text), "files left over: %d tables of %d, %d logs, %d manifests, %d others", count.tables,
				 live, count.logs, count.manifests, count.others);
		fail(script, text);
	}
}

static void
read_all(Script *script, LsmDb *db, Cell *found)
{
	LsmRead read = {LSM_MAX_SEQUENCE, NULL, NULL};
	char message[256];
	LsmStatus status = model_read(db, &read, &script->keys, found, message, sizeof(message), &err);

	if (status == LSM_INVALID && message[0])
		fail(script, message);
	must(script, status, "read everything");
}

/* `found` must be the state after some number of batches between durable and all; returns it. */
static int
find_prefix(Script *script, const Cell *found)
{
	Cell *state = model_state_new(&script->keys);
	int batches = script->durable;
	char message[256];
	char text[512];

	memcpy(state, script->base, script->keys.count * sizeof(Cell));
	while (!model_same(&script->keys, state, found))
	{
		if (batches == script->history.num_groups)
		{
			model_explain(&script->keys, script->base, found, message, sizeof(message));
			snprintf(text, sizeof(text),
					 "what is there is not the state after any number of batches from %d to %d; against the first: %s",
					 script->durable, batches, message);
			fail(script, text);
		}
		model_apply(state, &script->history, batches++);
	}
	free(state);
	return batches;
}

/* Opens the store on env and checks all promises; frees env.  Returns the operations that opening took. */
static uint64_t
recover_and_check(Script *script, LsmEnv *env, bool write_too)
{
	Cell *found = model_state_new(&script->keys);
	uint64_t files;
	uint64_t entries;
	uint64_t ops;
	LsmDb *db;
	int batches;

	must(script, lsm_open(env, &script->options, &db, &err), "open after the crash");
	ops = lsm_env_sim_ops(env);
	read_all(script, db, found);
	batches = find_prefix(script, found);
	if (batches < script->history.num_groups)
		coverage.lost++;
	if (batches > script->durable)
		coverage.kept++;
	must(script, lsm_verify(db, report_damage, NULL, script, &files, &entries, &err), "verify");
	check_leftovers(script, env, db);
	if (write_too)
	{
		History more = {0};
		LsmBatch batch = {0};
		uint64_t random = script->op + 1;
		Cell *again = model_state_new(&script->keys);

		model_random_batch(&more, &script->keys, &batch, &random, 6, 200);
		model_apply(found, &more, 0);
		must(script, lsm_write(db, &batch, true, NULL, &err), "write after the crash");
		lsm_close(db);
		must(script, lsm_env_sim_reboot(env, LSM_SIM_SYNCED_ONLY, 1), "reboot");
		must(script, lsm_open(env, &script->options, &db, &err), "open once more");
		read_all(script, db, again);
		if (!model_same(&script->keys, found, again))
			fail(script, "what was written with sync after the recovery is not there");
		free(again);
		lsm_batch_free(&batch);
		model_history_free(&more);
	}
	lsm_close(db);
	lsm_env_sim_free(env);
	free(found);
	coverage.recoveries++;
	return ops;
}

static LsmEnv *
lose_power(Script *script, LsmEnv *env, LsmSimImage image, uint64_t seed)
{
	LsmEnv *copy;

	must(script, lsm_env_sim_clone(env, seed, &copy), "clone");
	must(script, lsm_env_sim_reboot(copy, image, seed), "reboot");
	return copy;
}

static void
crash_here(Script *script, LsmEnv *env)
{
	uint64_t seed = script->seed * 1000003 + script->op;
	LsmSimImage first = (LsmSimImage) (script->op % LSM_SIM_NUM_IMAGES);
	uint64_t recovery_ops = 0;
	LsmEnv *copy;
	LsmDb *db;
	int i;

	script->points++;
	for (i = 0; i < LSM_SIM_NUM_IMAGES; i++)
	{
		uint64_t ops;

		script->image = images[i];
		ops = recover_and_check(script, lose_power(script, env, (LsmSimImage) i, seed), i == (int) first);
		if (i == (int) first)
			recovery_ops = ops;
	}
	if (recovery_ops == 0)
		return;

	/* Again, while it recovers. */
	script->image = images[first];
	script->second = 1 + (seed * 31 + seed / 7) % recovery_ops;
	copy = lose_power(script, env, first, seed);
	lsm_env_sim_set_crash(copy, script->second);
	if (lsm_open(copy, &script->options, &db, &err) == LSM_OK)
		lsm_close(db);
	if (lsm_env_sim_crashed(copy))
		coverage.second_crashes++;
	must(script, lsm_env_sim_reboot(copy, (LsmSimImage) (seed / 5 % LSM_SIM_NUM_IMAGES), seed + 1), "reboot");
	recover_and_check(script, copy, true);
	script->second = 0;
}

/* ---- the script ---- */

/* In the middle of a merge of the first handle, before an operation on the disk.  What fails here for want of a disk soon fails there, too. */
static void
help(Script *script)
{
	LsmError ignored;
	uint64_t before;
	bool did;

	if (script->helping || script->db == NULL || script->db->job < 0 ||
		!lsm_try_lock(script->env, LSM_LOCK_MANIFEST, LSM_EXCLUSIVE))
		return;
	lsm_unlock(script->env, LSM_LOCK_MANIFEST);
	script->helping = true;
	before = atomic_load(&script->db->shared->compactions);
	if (lsm_work(script->helper, &did, &ignored) == LSM_OK && atomic_load(&script->db->shared->compactions) > before)
		coverage.together++;
	script->helping = false;
}

static void
at_each_op(void *arg, uint64_t op)
{
	Script *script = arg;

	script->op = op;
	if (only_op == 0 || only_op == op)
		crash_here(script, script->env);
	help(script);
}

static void
only_help(void *arg, uint64_t op)
{
	(void) op;
	help(arg);
}

static void
script_options(Script *script)
{
	LsmOptions *options = &script->options;

	lsm_options_init(options);
	options->inline_work = script->seed % 2 == 0;
	options->max_handles = 3;
	options->memtable_slots = 2 + script->seed % 4 / 2;
	options->memtable_size = 4096 << test_random(&script->random) % 3;
	options->block_cache_size = 32768;
	options->file_size = 2048 << test_random(&script->random) % 2;
	options->level1_size = options->file_size * 2;
	options->level_factor = 2;
	options->level0_compact = 2;
	options->manifest_size = 300;
	options->table.block_size = 512;
	options->table.compression = (LsmCompression) (test_random(&script->random) % 3);
	options->table.zstd_level = 1;
	options->level0_compression = (LsmCompression) (test_random(&script->random) % 3);
}

static void
find_manifest(void *arg, const char *name, LsmSlice contents)
{
	uint64_t *last = arg;
	LsmFileKind kind;
	uint64_t number;

	(void) contents;
	if (lsm_parse_file_name(name, &kind, &number) && kind == LSM_FILE_MANIFEST && number > *last)
		*last = number;
}

static LsmStatus
open_store(Script *script)
{
	LsmStatus status = lsm_open(script->env, &script->options, &script->db, &err);

	if (status != LSM_OK)
		return status;
	return lsm_open_handle(script->db, &script->helper, &err);
}

/* Closes the store; what it has done goes into the coverage. */
static void
close_store(Script *script)
{
	LsmStats stats;
	int level;

	if (lsm_stats(script->db, &stats, &err) == LSM_OK)
	{
		coverage.flushes += stats.flushes;
		coverage.compactions += stats.compactions;
		for (level = 0; level < LSM_NUM_LEVELS; level++)
			if (stats.levels[level].files > 0 && level > coverage.deepest_level)
				coverage.deepest_level = level;
	}
	lsm_detach(script->helper);
	lsm_close(script->db);
	script->db = NULL;
}

/*
 * Writes script->batch.  Scripts of odd seeds do the background work by
 * themselves, late, so that several memtables wait and logs pile up.
 */
static LsmStatus
write_batch(Script *script, bool sync)
{
	LsmStatus status = lsm_write(script->db, &script->batch, sync, NULL, &err);
	LsmStats stats;
	bool did_work;

	while (status == LSM_BUSY)
	{
		status = lsm_stats(script->db, &stats, &err);
		if (status == LSM_OK && stats.memtables_waiting + 1 >= script->options.memtable_slots)
			status = lsm_work(script->db, &did_work, &err);
		if (status == LSM_OK)
			status = lsm_make_room(script->db, script->batch.memtable_cost, &err);
		if (status == LSM_OK)
			status = lsm_write(script->db, &script->batch, sync, NULL, &err);
	}
	return status;
}

/* In every fourth script parts of the keys take turns, so that files of level 0 need not overlap.  false: it failed. */
static bool
choose_keys(Script *script, int step)
{
	if (script->seed % 4 != 1 || step % 8 != 0)
		return true;
	script->keys.span = script->keys.count / 4;
	script->keys.from = step / 8 % 4 * script->keys.span;
	if (lsm_flush(script->db, &err) != LSM_OK)
		return false;
	all_durable(script);
	return true;
}

/* One step; false if it failed (which it may only after a crash). */
static bool
one_step(Script *script)
{
	int what = (int) (test_random(&script->random) % 100);
	LsmSlice none = {NULL, 0};
	int changes = 4;
	bool sync;

	if (what < 80)
	{
		sync = test_random(&script->random) % 4 == 0;
		if (what >= 70)
			changes = what < 78 ? 12 : 150; /* the latter: more than a memtable holds */
		model_random_batch(&script->history, &script->keys, &script->batch, &script->random, changes, 200);
		if (write_batch(script, sync) != LSM_OK)
			return false;
		if (sync)
			all_durable(script);
	}
	else if (what < 84)
	{
		if (lsm_flush(script->db, &err) != LSM_OK)
			return false;
		all_durable(script);
	}
	else if (what < 89)
	{
		LsmSlice lower = script->keys.keys[test_random(&script->random) % script->keys.count];

		if (lsm_compact_range(script->db, what < 86 ? none : lower, none, &err) != LSM_OK)
			return false;
	}
	else if (what < 95)
	{
		bool did_work = !script->options.inline_work;

		while (did_work)
		{
			if (lsm_work(script->db, &did_work, &err) != LSM_OK)
				return false;
		}
	}
	else if (what < 98)
	{
		close_store(script);
		coverage.reopens++;
		if (open_store(script) != LSM_OK)
			return false;
	}
	return true;
}

static void
script_begin(Script *script, uint64_t seed)
{
	memset(script, 0, sizeof(*script));
	script->seed = seed;
	script->random = seed * 104729 + 1;
	script->image = "none";
	script_options(script);
	script->keys = model_keys_new(seed, 120, true);
	script->base = model_state_new(&script->keys);
	must(script, lsm_env_sim_new(seed, &script->env), "new disk");
}

static void
script_end(Script *script)
{
	lsm_env_sim_free(script->env);
	lsm_batch_free(&script->batch);
	model_history_free(&script->history);
	model_keys_free(&script->keys);
	free(script->base);
}

/* The whole script, with a crash before each of its operations. */
static uint64_t
run_watched(uint64_t seed)
{
	Script script;
	uint64_t manifest = 0;
	int i;

	script_begin(&script, seed);
	lsm_env_sim_set_watch(script.env, at_each_op, &script);
	must(&script, open_store(&script), "open");
	for (i = 0; i < STEPS; i++)
	{
		uint64_t now = 0;
		uint64_t reopens = coverage.reopens;

		if (!choose_keys(&script, i) || !one_step(&script))
			must(&script, err.status, "step of the script");
		lsm_env_sim_files(script.env, find_manifest, &now);
		if (i > 0 && reopens == coverage.reopens && now != manifest)
			coverage.rolls++;
		manifest = now;
	}
	close_store(&script);
	script.op++;
	if (only_op == 0 || only_op == script.op)
		crash_here(&script, script.env);
	script_end(&script);
	return script.points;
}

/* The same script on a machine that goes down under it: whatever the engine still tries then must do no harm. */
static bool
run_killed(uint64_t seed, uint64_t n)
{
	Script script;
	bool crashed;
	int i;

	script_begin(&script, seed);
	script.op = n;
	lsm_env_sim_set_crash(script.env, n);
	lsm_env_sim_set_watch(script.env, only_help, &script);
	if (open_store(&script) == LSM_OK)
	{
		for (i = 0; i < STEPS && script.db != NULL; i++)
		{
			if (!choose_keys(&script, i) || !one_step(&script))
				break;
		}
		if (i < STEPS && !lsm_env_sim_crashed(script.env))
			must(&script, err.status, "step of the script");
		if (script.db != NULL)
			close_store(&script);
	}
	crashed = lsm_env_sim_crashed(script.env);
	if (crashed)
	{
		script.image = images[n % LSM_SIM_NUM_IMAGES];
		must(&script, lsm_env_sim_reboot(script.env, (LsmSimImage) (n % LSM_SIM_NUM_IMAGES), n), "reboot");
		recover_and_check(&script, script.env, true);
		script.env = NULL;
	}
	script_end(&script);
	return crashed;
}

int
main(void)
{
	const char *seed_text = getenv("CRASH_SEED");
	const char *op_text = getenv("CRASH_OP");
	const char *points_text = getenv("CRASH_POINTS");
	uint64_t wanted = points_text ? strtoull(points_text, NULL, 10) : 5000;
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : 1;
	uint64_t points = 0;
	uint64_t n;

	only_op = op_text ? strtoull(op_text, NULL, 10) : 0;
	for (n = only_op ? only_op : 1; run_killed(seed, n) && !only_op; n += 5)
		points++;
	printf("seed %llu: %llu times the machine went down under the script\n", (unsigned long long) seed,
		   (unsigned long long) points);
	CHECK(only_op || points > 20);
	points = 0;
	do
		points += run_watched(seed++);
	while (points < wanted && seed_text == NULL);

	printf("scripts: %llu flushes, %llu compactions (%llu in the middle of another), %llu new manifests, %llu reopenings, levels 0 to %d\n",
		   (unsigned long long) coverage.flushes, (unsigned long long) coverage.compactions, (unsigned long long) coverage.together,
		   (unsigned long long) coverage.rolls, (unsigned long long) coverage.reopens, coverage.deepest_level);
	printf("%llu crash points: %llu recoveries, of which %llu had lost unsynced batches and %llu had kept some; %llu "
		   "crashes during recovery\n",
		   (unsigned long long) points, (unsigned long long) coverage.recoveries, (unsigned long long) coverage.lost,
		   (unsigned long long) coverage.kept, (unsigned long long) coverage.second_crashes);
	if (seed_text == NULL)
	{
		CHECK(points >= wanted);
		CHECK(coverage.flushes > 20);
		CHECK(coverage.compactions > 20);
		CHECK(coverage.together > 20);
		CHECK(coverage.rolls > 20);
		CHECK(coverage.reopens > 10);
		CHECK(coverage.deepest_level >= 2);
		CHECK(coverage.recoveries > points * LSM_SIM_NUM_IMAGES);
		CHECK(coverage.lost > 100);
		CHECK(coverage.kept > 100);
		CHECK(coverage.second_crashes > 100);
	}
	return test_done();
}
