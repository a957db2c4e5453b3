/*
 * test_corrupt.c - damaged files.
 *
 * A small store with tables in several levels, deletions, and a log that was
 * synced but not flushed.  Byte after byte is changed, and every file is cut at
 * length after length; each time the store is opened and read.
 *
 * - A value that is returned is the right one, a key that is not found was never
 *   there: never wrong data, whatever the damage.
 * - So every damage is harmless, or open, get, scan or verify reports it with
 *   the file's name.
 * - The rest stays readable: a damaged table spoils no other.
 * - One thing cannot be told from a crash that lost unsynced writes: the last
 *   log cut, or damaged in its last record.  Then the batches before are there.
 *
 * CORRUPT_STEP=1 takes every byte (7 by default), CORRUPT_FILE=name one file.
 */
#include "engine/env_sim.h"
#include "engine/test/model.h"

typedef struct Store
{
	LsmOptions options;
	Keys keys;
	LsmEnv *env;
	History history;
	int flushed;   /* batches that are in tables; the rest is in the last log */
	Cell **states; /* after each number of batches from `flushed` on */
	char log[64];  /* the last log's name */
} Store;

typedef struct Tally
{
	uint64_t cases, open, get, scan, verify, harmless, cut;
} Tally;

static LsmError err;
static Tally tally;
static const char *case_file;
static uint64_t case_offset;
static const char *case_what;

static void
fail(const char *text)
{
	fprintf(stderr, "test_corrupt: file %s, %s %llu: %s\nrepeat with: CORRUPT_STEP=1 CORRUPT_FILE=%s build/test/test_corrupt\n",
			case_file, case_what, (unsigned long long) case_offset, text, case_file);
	exit(1);
}

static void
count_damage(void *arg, const LsmError *what)
{
	int *damages = arg;

	if (what->file[0] == 0 || what->text[0] == 0)
		fail("verify reports a damage without a name");
	(*damages)++;
}

static void
check_error(LsmStatus status, const char *where)
{
	char text[400];

	if (status == err.status && err.file[0] != 0 && err.text[0] != 0 && (status == LSM_CORRUPT || status == LSM_NOT_FOUND))
		return;
	snprintf(text, sizeof(text), "%s: an error that says too little: %s, \"%s\", file \"%s\"", where,
			 lsm_status_name(status), err.text, err.file);
	fail(text);
}

static void
wrong(const char *how, LsmSlice key)
{
	char text[300];

	snprintf(text, sizeof(text), "%s, key %s", how, model_key_text(key));
	fail(text);
}

/* Reads all keys one by one.  Marks in `known` the keys whose state was told, in `found` what it is.  Returns how many
 * could not be read. */
static int
get_all(const Store *store, LsmDb *db, Cell *found, bool *known)
{
	LsmRead read = {LSM_MAX_SEQUENCE, NULL, NULL};
	LsmBuf value = {0};
	int failed = 0;
	int i;

	for (i = 0; i < store->keys.count; i++)
	{
		LsmVersion version;
		LsmStatus status = lsm_get(db, &read, store->keys.keys[i], &value, &version, &err);

		known[i] = status == LSM_OK || status == LSM_NOT_FOUND;
		memset(&found[i], 0, sizeof(Cell));
		if (!known[i])
		{
			check_error(status, "get");
			failed++;
		}
		else if (status == LSM_OK)
		{
			found[i].there = true;
			found[i].len = (uint32_t) value.len;
			found[i].hash = model_hash(lsm_buf_slice(&value));
		}
	}
	lsm_buf_free(&value);
	return failed;
}

/* The state that all known cells agree with, latest first; -1 if there is none. */
static int
matching_state(const Store *store, const Cell *found, const bool *known)
{
	int s;
	int i;

	for (s = store->history.num_groups - store->flushed; s >= 0; s--)
	{
		for (i = 0; i < store->keys.count; i++)
		{
			const Cell *a = &store->states[s][i];

			if (known[i] && (a->there != found[i].there ||
							 (a->there && (a->len != found[i].len || a->hash != found[i].hash))))
				break;
		}
		if (i == store->keys.count)
			return s;
	}
	return -1;
}

/* A scan may stop with an error, but up to there it must be right.  False: it stopped. */
static bool
scan_all(const Store *store, LsmDb *db, const Cell *state, bool forward)
{
	LsmRead read = {LSM_MAX_SEQUENCE, NULL, NULL};
	LsmSlice none = {NULL, 0};
	LsmScan *scan;
	LsmStatus status;
	int by = forward ? 1 : -1;
	int at = forward ? 0 : store->keys.count - 1;

	status = lsm_scan_open(db, &read, none, none, &scan, &err);
	if (status != LSM_OK)
	{
		check_error(status, "open scan");
		return false;
	}
	for (forward ? lsm_scan_first(scan) : lsm_scan_last(scan); scan->valid;
		 forward ? lsm_scan_next(scan) : lsm_scan_prev(scan))
	{
		while (at >= 0 && at < store->keys.count && !state[at].there)
			at += by;
		if (at < 0 || at >= store->keys.count || lsm_slice_compare(store->keys.keys[at], scan->key) != 0)
			wrong("scan skips or invents a key", scan->key);
		if (state[at].len != scan->value.len || state[at].hash != model_hash(scan->value))
			wrong("scan returns a wrong value", scan->key);
		at += by;
	}
	status = scan->status;
	err = scan->err;
	if (status != LSM_OK)
		check_error(status, "scan");
	while (at >= 0 && at < store->keys.count && !state[at].there)
		at += by;
	if (status == LSM_OK && at >= 0 && at < store->keys.count)
		wrong("scan ends too early", store->keys.keys[at]);
	lsm_scan_close(scan);
	return status == LSM_OK;
}

/* The store on env, which is damaged in one place; frees env. */
static void
look(const Store *store, LsmEnv *env)
{
	Cell *found = model_state_new(&store->keys);
	bool *known = calloc(store->keys.count, sizeof(bool));
	int last = store->history.num_groups - store->flushed;
	int damages = 0;
	int failed;
	int s;
	bool scans;
	uint64_t files;
	uint64_t entries;
	LsmStatus status;
	LsmDb *db;

	tally.cases++;
	memset(&err, 0, sizeof(err));
	status = lsm_open(env, &store->options, &db, &err);
	if (status != LSM_OK)
	{
		check_error(status, "open");
		tally.open++;
		goto done;
	}
	failed = get_all(store, db, found, known);
	s = matching_state(store, found, known);
	if (s < 0)
	{
		char text[400];

		model_explain(&store->keys, store->states[last], found, text, sizeof(text));
		fail(text);
	}
	if (s != last && strcmp(case_file, store->log) != 0)
		fail("batches are missing, and nothing was said");
	/* A log that is cut loses what follows; one whose bytes differ, its last record at most. */
	if (s < last - 1 && strcmp(case_what, "changed byte") == 0)
		fail("batches are missing though good ones follow, and nothing was said");
	scans = scan_all(store, db, store->states[s], true);
	scans = scan_all(store, db, store->states[s], false) && scans;
	memset(&err, 0, sizeof(err));
	status = lsm_verify(db, count_damage, NULL, &damages, &files, &entries, &err);
	if (status != LSM_OK)
		check_error(status, "verify");
	if ((failed > 0 || !scans) && damages == 0 && status == LSM_OK)
		fail("reading fails but verify finds nothing");
	if (failed == store->keys.count)
		fail("nothing at all can be read from a store that opens");
	if (failed > 0)
		tally.get++;
	if (!scans)
		tally.scan++;
	if (damages > 0 || status != LSM_OK)
		tally.verify++;
	else if (s == last)
		tally.harmless++;
	else
		tally.cut++;
	lsm_close(db);

done:
	lsm_env_sim_free(env);
	free(found);
	free(known);
}

/* ---- the store ---- */

static void
write_some(Store *store, LsmDb *db, uint64_t *random, int batches)
{
	LsmBatch batch = {0};

	while (batches-- > 0)
	{
		model_random_batch(&store->history, &store->keys, &batch, random, 5, 120);
		MUST(lsm_write(db, &batch, true, NULL, &err), &err);
	}
	lsm_batch_free(&batch);
}

static void
note_file(void *arg, const char *name, LsmSlice contents)
{
	Store *store = arg;
	LsmFileKind kind;
	uint64_t number;

	if (lsm_parse_file_name(name, &kind, &number) && kind == LSM_FILE_LOG && contents.len > 0)
		snprintf(store->log, sizeof(store->log), "%s", name);
}

static void
make_store(Store *store, LsmCompression compression)
{
	LsmSlice none = {NULL, 0};
	uint64_t random = 4711;
	LsmStats stats;
	LsmDb *db;
	int i;

	memset(store, 0, sizeof(*store));
	lsm_options_init(&store->options);
	store->options.inline_work = true;
	store->options.max_handles = 2;
	store->options.memtable_slots = 2;
	store->options.memtable_size = 65536;
	store->options.log_step = 512; /* with zeros behind the last record, but few: each is a case */
	store->options.block_cache_size = 16384;
	store->options.file_size = 1500;
	store->options.level1_size = 1 << 20;
	store->options.level0_compact = 8;
	store->options.table.block_size = 400;
	store->options.table.compression = compression;
	store->options.table.zstd_level = 1;
	store->options.level0_compression = compression;
	store->keys = model_keys_new(5, 60, true);
	MUST(lsm_env_sim_new(1, &store->env), &err);
	MUST(lsm_open(store->env, &store->options, &db, &err), &err);

	write_some(store, db, &random, 25);
	MUST(lsm_flush(db, &err), &err);
	MUST(lsm_compact_range(db, none, none, &err), &err);
	write_some(store, db, &random, 12);
	MUST(lsm_flush(db, &err), &err);
	store->flushed = store->history.num_groups;
	write_some(store, db, &random, 10);
	MUST(lsm_stats(db, &stats, &err), &err);
	CHECK(stats.levels[0].files > 0);
	CHECK(stats.levels[1].files + stats.levels[2].files + stats.levels[3].files > 1);
	lsm_close(db);

	store->states = calloc(store->history.num_groups - store->flushed + 1, sizeof(Cell *));
	for (i = 0; i <= store->history.num_groups - store->flushed; i++)
	{
		store->states[i] = model_state_new(&store->keys);
		if (i > 0)
		{
			memcpy(store->states[i], store->states[i - 1], store->keys.count * sizeof(Cell));
			model_apply(store->states[i], &store->history, store->flushed + i - 1);
		}
		else
		{
			int group;

			for (group = 0; group < store->flushed; group++)
				model_apply(store->states[0], &store->history, group);
		}
	}
	lsm_env_sim_files(store->env, note_file, store);
	CHECK(store->log[0] != 0);
}

static void
free_store(Store *store)
{
	int i;

	for (i = 0; i <= store->history.num_groups - store->flushed; i++)
		free(store->states[i]);
	free(store->states);
	model_history_free(&store->history);
	model_keys_free(&store->keys);
	lsm_env_sim_free(store->env);
}

static LsmEnv *
copy_of(const Store *store)
{
	LsmEnv *copy;

	MUST(lsm_env_sim_clone(store->env, 1, &copy), &err);
	return copy;
}

typedef struct Damaging
{
	Store *store;
	uint64_t step;
	uint64_t start;
	const char *only;
} Damaging;

static void
damage_file(void *arg, const char *name, LsmSlice contents)
{
	static const unsigned char flips[] = {0x01, 0x80, 0xff, 0x04};
	Damaging *d = arg;
	LsmFileKind kind;
	uint64_t number;
	uint64_t at;
	uint64_t n = 0;
	LsmEnv *env;

	if (!lsm_parse_file_name(name, &kind, &number) || kind == LSM_FILE_LOCK || kind == LSM_FILE_INFO)
		return;
	if (d->only != NULL && strcmp(d->only, name) != 0)
		return;
	memset(&tally, 0, sizeof(tally));
	case_file = name;
	for (at = d->start % d->step; at < contents.len; at += d->step)
	{
		case_what = "changed byte";
		case_offset = at;
		env = copy_of(d->store);
		if (!lsm_env_sim_corrupt(env, name, at, flips[n++ % sizeof(flips)]))
			CHECK(!"could not corrupt");
		look(d->store, env);
	}
	/* Short lengths and the last bytes matter most; between them steps. */
	for (at = 0; at < contents.len; at += (at < 16 || at + 56 >= contents.len) ? 1 : d->step)
	{
		case_what = "cut to length";
		case_offset = at;
		env = copy_of(d->store);
		if (!lsm_env_sim_truncate(env, name, at))
			CHECK(!"could not truncate");
		look(d->store, env);
	}
	/* And a file that is not there. */
	case_what = "removed";
	env = copy_of(d->store);
	MUST(env->ops->remove(env, name, &err), &err);
	look(d->store, env);

	printf("%s (%zu bytes): %llu cases; reported by open %llu, get %llu, scan %llu, verify %llu; harmless %llu, end of the "
		   "log lost %llu\n",
		   name, contents.len, (unsigned long long) tally.cases, (unsigned long long) tally.open,
		   (unsigned long long) tally.get, (unsigned long long) tally.scan, (unsigned long long) tally.verify,
		   (unsigned long long) tally.harmless, (unsigned long long) tally.cut);
	CHECK(tally.cases > 5);
	if (kind == LSM_FILE_TABLE || kind == LSM_FILE_MANIFEST)
		CHECK(tally.open + tally.verify > tally.cases * 3 / 4);
}

int
main(void)
{
	const char *step = getenv("CORRUPT_STEP");
	Damaging d = {.step = step ? strtoull(step, NULL, 10) : 7, .only = getenv("CORRUPT_FILE")};
	int compression;

	if (d.step == 0)
		d.step = 1;
	for (compression = 0; compression < 3; compression++)
	{
		Store store;
		LsmEnv *env;

		make_store(&store, (LsmCompression) compression);
		d.store = &store;
		d.start = (uint64_t) compression * 3;
		printf("-- block compression %d\n", compression);

		/* Undamaged, for a start. */
		case_file = "none";
		case_what = "untouched";
		memset(&tally, 0, sizeof(tally));
		env = copy_of(&store);
		look(&store, env);
		CHECK(tally.harmless == 1);
		lsm_env_sim_files(store.env, damage_file, &d);
		free_store(&store);
	}
	return test_done();
}
