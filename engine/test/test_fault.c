/*
 * test_fault.c - one operation on the disk fails, and the process lives on.
 *
 * A script of batches, flushes, compactions, reads and reopenings runs once for
 * every n and every kind of fault: the nth operation that changes the disk fails
 * with EIO or ENOSPC, once or from then on, or the nth that looks at it fails
 * with EIO.
 *
 * - The error has the right status and errno and names a file.
 * - What is read after the error is right or an error, never wrong.
 * - A process killed or a machine that loses power right then finds all promises
 *   kept: nothing acknowledged with sync is lost, nothing else appears but whole
 *   batches in order, of which the failed one may be the last.
 * - The disk is then well again.  The store may go on at once or refuse (its log
 *   may have an unknown end); opened anew, at the latest, it works, and the same
 *   promises are kept.
 *
 * FAULT_SEED=n and FAULT_KIND=n, FAULT_N=n repeat one.
 */
#include <errno.h>

#include "engine/env_sim.h"
#include "engine/test/model.h"

#define STEPS 45

typedef struct Kind
{
	const char *name;
	bool reading;
	int os_errno;
	bool sticky;
} Kind;

static const Kind kinds[] = {
	{"EIO once", false, EIO, false},
	{"EIO from then on", false, EIO, true},
	{"ENOSPC once", false, ENOSPC, false},
	{"ENOSPC from then on", false, ENOSPC, true},
	{"EIO while reading, once", true, EIO, false},
	{"EIO while reading, from then on", true, EIO, true},
};
#define NUM_KINDS ((int) (sizeof(kinds) / sizeof(kinds[0])))

typedef struct Script
{
	uint64_t seed;
	uint64_t random;
	int kind;
	uint64_t n;
	LsmOptions options;
	Keys keys;
	LsmEnv *env;
	LsmDb *db;
	LsmBatch batch;
	History history;
	int durable; /* so many batches must be there */
	int failed;  /* the batch whose write failed: there or not; -1: none */
	Cell *found;
} Script;

static LsmError err;
static uint64_t went_on;   /* the store took writes at once after the fault */
static uint64_t refused;   /* ... only after it was opened anew */
static uint64_t unnoticed; /* the fault hit something that may fail (removing an old file) */

static void
fail(Script *script, const char *text)
{
	fprintf(stderr,
			"test_fault: seed %llu, %s at operation %llu: %s\n"
			"repeat with: FAULT_SEED=%llu FAULT_KIND=%d FAULT_N=%llu build/test/test_fault\n",
			(unsigned long long) script->seed, kinds[script->kind].name, (unsigned long long) script->n, text,
			(unsigned long long) script->seed, script->kind, (unsigned long long) script->n);
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

/* An error that the fault explains. */
static void
check_error(Script *script, LsmStatus status)
{
	LsmStatus expected = kinds[script->kind].os_errno == ENOSPC ? LSM_NO_SPACE : LSM_IO;

	if (status != err.status)
		fail(script, "the status returned is not the one in the error");
	if (status != expected && status != LSM_POISONED)
		must(script, status, "the fault is reported as something else");
	if (status == expected && err.os_errno != kinds[script->kind].os_errno)
		fail(script, "the error has not the operating system's number");
	if (err.file[0] == 0)
		fail(script, "the error names no file");
	if (err.text[0] == 0)
		fail(script, "the error has no text");
}

/* Is script->found the state after some number of batches from `durable` on, with or without the failed one? */
static bool
is_possible(Script *script)
{
	Cell *state = model_state_new(&script->keys);
	bool possible = false;
	int without;
	int i;

	for (without = 0; without < 2 && !possible; without++)
	{
		memset(state, 0, script->keys.count * sizeof(Cell));
		for (i = 0; i <= script->history.num_groups && !possible; i++)
		{
			possible = i >= script->durable && model_same(&script->keys, state, script->found);
			if (i < script->history.num_groups && (without == 0 || i != script->failed))
				model_apply(state, &script->history, i);
		}
	}
	free(state);
	return possible;
}

/* Reads everything; an error is allowed if `may_fail`. */
static void
read_and_check(Script *script, LsmDb *db, bool may_fail, const char *when)
{
	LsmRead read = {LSM_MAX_SEQUENCE, NULL, NULL};
	char message[256];
	char text[512];
	LsmStatus status = model_read(db, &read, &script->keys, script->found, message, sizeof(message), &err);

	if (status == LSM_INVALID && message[0])
		fail(script, message);
	if (status != LSM_OK && may_fail)
		return;
	must(script, status, when);
	if (!is_possible(script))
	{
		snprintf(text, sizeof(text), "%s: wrong data", when);
		fail(script, text);
	}
}

static void
report_damage(void *arg, const LsmError *what)
{
	err = *what;
	must(arg, LSM_CORRUPT, "verify reports");
}

static LsmStatus
write_one(Script *script, bool sync)
{
	LsmStatus status;

	/* Now and then one that is larger than a memtable. */
	model_random_batch(&script->history, &script->keys, &script->batch, &script->random,
					   test_random(&script->random) % 25 == 0 ? 100 : 5, 250);
	status = lsm_write(script->db, &script->batch, sync, NULL, &err);
	if (status == LSM_OK && sync)
		script->durable = script->history.num_groups;
	return status;
}

static LsmStatus
one_step(Script *script)
{
	int what = (int) (test_random(&script->random) % 100);
	LsmSlice none = {NULL, 0};
	LsmStatus status;

	if (what < 75)
	{
		status = write_one(script, what < 25);
		if (status != LSM_OK)
			script->failed = script->history.num_groups - 1;
		return status;
	}
	if (what < 82)
	{
		status = lsm_flush(script->db, &err);
		if (status == LSM_OK)
			script->durable = script->history.num_groups;
		return status;
	}
	if (what < 88)
		return lsm_compact_range(script->db, none, none, &err);
	if (what < 94)
	{
		LsmBuf value = {0};
		LsmRead read = {LSM_MAX_SEQUENCE, NULL, NULL};
		LsmVersion version;
		int key = (int) (test_random(&script->random) % script->keys.count);

		status = lsm_get(script->db, &read, script->keys.keys[key], &value, &version, &err);
		lsm_buf_free(&value);
		return status == LSM_NOT_FOUND ? LSM_OK : status;
	}
	lsm_close(script->db);
	script->db = NULL;
	return lsm_open(script->env, &script->options, &script->db, &err);
}

static void
script_options(Script *script)
{
	LsmOptions *options = &script->options;

	lsm_options_init(options);
	options->inline_work = true;
	options->max_handles = 2;
	options->memtable_slots = 2;
	options->memtable_size = 4096 << test_random(&script->random) % 2;
	options->block_cache_size = 16384;
	options->file_size = 4096;
	options->level1_size = 8192;
	options->level_factor = 2;
	options->level0_compact = 2;
	options->manifest_size = 500;
	options->table.block_size = 512;
	options->table.zstd_level = 1;
}

/*
 * The store as another process finds it, `how` telling what happened before: all
 * promises are kept, and it can be written to.
 */
static void
start_again(Script *script, LsmEnv *env, const char *how)
{
	Cell *state = model_state_new(&script->keys);
	LsmRead read = {LSM_MAX_SEQUENCE, NULL, NULL};
	History more = {0};
	char message[256];
	uint64_t files;
	uint64_t entries;
	LsmDb *db;
	int i;

	must(script, lsm_open(env, &script->options, &db, &err), how);
	read_and_check(script, db, false, how);
	must(script, lsm_verify(db, report_damage, NULL, script, &files, &entries, &err), "verify");
	memcpy(state, script->found, script->keys.count * sizeof(Cell));
	for (i = 0; i < 10; i++)
	{
		model_random_batch(&more, &script->keys, &script->batch, &script->random, 5, 250);
		must(script, lsm_write(db, &script->batch, true, NULL, &err), "write after opening anew");
		model_apply(state, &more, i);
	}
	lsm_close(db);
	must(script, lsm_env_sim_reboot(env, LSM_SIM_SYNCED_ONLY, 1), "reboot");
	must(script, lsm_open(env, &script->options, &db, &err), "open once more");
	must(script, model_read(db, &read, &script->keys, script->found, message, sizeof(message), &err), "read once more");
	if (!model_same(&script->keys, state, script->found))
		fail(script, "what was written after the fault is not there");
	lsm_close(db);
	model_history_free(&more);
	free(state);
}

/* On a copy of the disk as it is now: the process was killed, and the machine lost power. */
static void
start_copies(Script *script, const char *killed, const char *power_lost)
{
	LsmEnv *copy;

	must(script, lsm_env_sim_clone(script->env, script->n, &copy), "clone");
	start_again(script, copy, killed);
	lsm_env_sim_free(copy);
	must(script, lsm_env_sim_clone(script->env, script->n, &copy), "clone");
	must(script, lsm_env_sim_reboot(copy, (LsmSimImage) (script->n % LSM_SIM_NUM_IMAGES), script->n), "reboot");
	start_again(script, copy, power_lost);
	lsm_env_sim_free(copy);
}

/* Some writes with sync, and a flush, on a disk that is well again. */
static void
write_more(Script *script)
{
	int acknowledged = 0;
	int i;

	for (i = 0; i < 5; i++)
	{
		if (write_one(script, true) == LSM_OK)
		{
			acknowledged++;
			continue;
		}
		if (err.text[0] == 0)
			fail(script, "a refused write has no text");
		if (acknowledged > 0)
			fail(script, "a write failed on a disk that is well again");
		/* One write may have failed halfway; those refused after it must leave nothing. */
		if (script->failed < 0)
			script->failed = script->history.num_groups - 1;
		else
			script->history.num_groups--;
	}
	/* So that tables and the manifest are written, too, behind whatever the fault left there. */
	if (lsm_flush(script->db, &err) == LSM_OK)
		script->durable = script->history.num_groups;
	else if (acknowledged > 0)
		must(script, err.status, "flush on a disk that is well again");
	if (acknowledged > 0)
		went_on++;
	else
		refused++;
}

static void
look_after(Script *script)
{
	start_copies(script, "killed right after the fault", "lost power right after the fault");
	if (script->db != NULL)
	{
		read_and_check(script, script->db, true, "reading while the disk is ill");
		lsm_env_sim_set_fault(script->env, 0, 0, false);
		lsm_env_sim_set_read_fault(script->env, 0, 0, false);
		read_and_check(script, script->db, true, "reading after the fault");
		write_more(script);
		read_and_check(script, script->db, true, "reading after more writes");
		start_copies(script, "killed some writes after the fault", "lost power some writes after the fault");
		lsm_close(script->db);
		script->db = NULL;
	}
	lsm_env_sim_set_fault(script->env, 0, 0, false);
	lsm_env_sim_set_read_fault(script->env, 0, 0, false);
	start_again(script, script->env, "opened anew");
}

/* False if the script was over before its nth operation. */
static bool
run(uint64_t seed, int kind, uint64_t n)
{
	Script script = {.seed = seed, .random = seed * 15485863 + 1, .kind = kind, .n = n, .failed = -1};
	const Kind *fault = &kinds[kind];
	LsmStatus status;
	bool hit;
	int i;

	script_options(&script);
	script.keys = model_keys_new(seed, 40, true);
	script.found = model_state_new(&script.keys);
	must(&script, lsm_env_sim_new(seed + n, &script.env), "new disk");
	if (fault->reading)
		lsm_env_sim_set_read_fault(script.env, n, fault->os_errno, fault->sticky);
	else
		lsm_env_sim_set_fault(script.env, n, fault->os_errno, fault->sticky);

	memset(&err, 0, sizeof(err));
	status = lsm_open(script.env, &script.options, &script.db, &err);
	for (i = 0; i < STEPS && status == LSM_OK; i++)
		status = one_step(&script);
	hit = lsm_env_sim_faults(script.env) > 0;
	if (status != LSM_OK)
	{
		if (!hit)
			must(&script, status, "without a fault");
		check_error(&script, status);
	}
	else if (hit)
		unnoticed++;
	if (hit)
		look_after(&script);
	else
		lsm_close(script.db);

	lsm_env_sim_free(script.env);
	lsm_batch_free(&script.batch);
	model_history_free(&script.history);
	model_keys_free(&script.keys);
	free(script.found);
	return hit;
}

int
main(void)
{
	const char *seed_text = getenv("FAULT_SEED");
	const char *kind_text = getenv("FAULT_KIND");
	const char *n_text = getenv("FAULT_N");
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : 1;
	uint64_t last = seed_text ? seed : 3;
	int kind;

	for (; seed <= last; seed++)
	{
		for (kind = kind_text ? atoi(kind_text) : 0; kind < (kind_text ? atoi(kind_text) + 1 : NUM_KINDS); kind++)
		{
			uint64_t n = n_text ? strtoull(n_text, NULL, 10) : 1;

			went_on = refused = unnoticed = 0;
			while (run(seed, kind, n) && n_text == NULL)
				n++;
			printf("seed %llu, %s: %llu operations; the store went on at once %llu times, after reopening %llu times; %llu "
				   "faults were of no consequence\n",
				   (unsigned long long) seed, kinds[kind].name, (unsigned long long) n - 1,
				   (unsigned long long) went_on, (unsigned long long) refused, (unsigned long long) unnoticed);
			CHECK(n_text || n > 50);
		}
	}
	return test_done();
}
