/*
 * test_repair.c - stores that do not come up any more, and what repair makes of them.
 *
 * Invariants: after repair the store comes up and verifies.  Whatever the manifest
 * lost, nothing else is lost: every key has its newest value.  Of a damaged
 * table or log all is there that is not in the damaged part, and the damage is reported
 * with the file's name; a key whose newest version was lost is missing or has
 * an older one of its own.  Damaged files stay under another name.  Whatever
 * byte of whatever file is flipped, and wherever a file is cut, the same.
 * A crash at any operation of a repair leaves a store that can be repaired.
 */
#include "engine/repair.h"
#include "engine/env_sim.h"
#include "engine/handle.h"
#include "engine/test/test.h"

#include <stdlib.h>
#include <string.h>

#define KEYS 600
#define LAST_ROUND 3

static LsmEnv *env;
static LsmOptions options;
static uint64_t seed = 20261121;

/* A value tells its key and the round it was written in. */
static void
make_value(char *value, int key, int round)
{
	memset(value, 'a' + key % 26, 100);
	snprintf(value, 100, "%d/%d", key, round);
}

/* The round in which a key was written last; every seventh key is deleted in the last one. */
static int
newest(int key)
{
	if (key % 7 == 0)
		return -1;
	return key % 5 == 0 ? LAST_ROUND : key % 2 == 0 ? 2
													: 1;
}

static void
write_key(LsmDb *db, int key, int round)
{
	LsmBatch batch = {0};
	char name[16];
	char value[100];
	LsmStatus status;
	LsmError err;

	snprintf(name, sizeof(name), "%06d", key);
	make_value(value, key, round);
	if (round < 0)
		CHECK(lsm_batch_delete(&batch, lsm_slice(name, 6)));
	else
		CHECK(lsm_batch_put(&batch, lsm_slice(name, 6), lsm_slice(value, 100)));
	while ((status = lsm_write(db, &batch, true, NULL, &err)) == LSM_BUSY)
		MUST(lsm_make_room(db, batch.memtable_cost, &err), &err);
	MUST(status, &err);
	lsm_batch_free(&batch);
}

/* Tables in several levels, and a log that holds the last of it. */
static void
make_store(uint64_t env_seed)
{
	LsmDb *db;
	LsmError err;

	MUST(lsm_env_sim_new(env_seed, &env), &err);
	MUST(lsm_open(env, &options, &db, &err), &err);
	for (int key = 0; key < KEYS; key++)
		write_key(db, key * 7 % KEYS, 1);
	for (int key = 0; key < KEYS; key += 2)
		write_key(db, key, 2);
	for (int key = 0; key < KEYS; key += 5)
		write_key(db, key, LAST_ROUND);
	MUST(lsm_flush(db, &err), &err);
	for (int key = 0; key < KEYS; key += 7)
		write_key(db, key, -1);
	lsm_close(db);
}

/* ---- files ---- */

typedef struct Listing
{
	char names[200][64];
	int n;
} Listing;

static void
note_name(void *arg, const char *name)
{
	Listing *list = arg;

	snprintf(list->names[list->n++], 64, "%s", name);
}

static Listing
list_files(const char *part)
{
	Listing all = {.n = 0};
	Listing found = {.n = 0};
	LsmError err;

	MUST(env->ops->list(env, note_name, &all, &err), &err);
	for (int i = 0; i < all.n; i++)
	{
		if (strstr(all.names[i], part) != NULL && strstr(all.names[i], ".bad") == NULL)
			note_name(&found, all.names[i]);
	}
	return found;
}

static uint64_t
size_of(const char *name)
{
	uint64_t size;
	LsmError err;

	MUST(env->ops->file_size(env, name, &size, &err), &err);
	return size;
}

/* Overwrites `name` by its first len bytes, with one bit of the byte at `flip` (below len) turned round. */
static void
spoil(const char *name, uint64_t len, uint64_t flip)
{
	char *bytes = malloc(len + 1);
	LsmFile *file;
	size_t n;
	LsmError err;

	MUST(lsm_file_open(env, name, LSM_OPEN_READ, &file, &err), &err);
	MUST(lsm_file_read(file, 0, bytes, len, &n, &err), &err);
	lsm_file_close(file);
	CHECK(n == len);
	if (flip < len)
		bytes[flip] ^= (char) (1 << flip % 8);
	MUST(lsm_file_open(env, name, LSM_OPEN_CREATE, &file, &err), &err);
	MUST(lsm_file_append(file, bytes, len, &err), &err);
	MUST(lsm_file_sync(file, &err), &err);
	lsm_file_close(file);
	free(bytes);
}

static void
remove_files(const char *part)
{
	Listing list = list_files(part);
	LsmError err;

	CHECK(list.n > 0);
	for (int i = 0; i < list.n; i++)
		MUST(env->ops->remove(env, list.names[i], &err), &err);
	MUST(env->ops->sync_dir(env, &err), &err);
}

/* ---- repairing, and looking ---- */

typedef struct Reported
{
	int n;
	char files[64]; /* of the last */
} Reported;

static void
note_damage(void *arg, const LsmError *what)
{
	Reported *reported = arg;

	CHECK(what->file[0] != '\0' && what->text[0] != '\0');
	reported->n++;
	snprintf(reported->files, sizeof(reported->files), "%s", what->file);
}

static void
complain(void *arg, const LsmError *what)
{
	(void) arg;
	fprintf(stderr, "%s: %s\n", what->file, what->text);
	CHECK(what == NULL);
}

/* Opens the store and reads every key; how many are not as they should be.  None may be anything that was never written. */
static int
count_wrong(void)
{
	LsmRead read = {LSM_MAX_SEQUENCE, NULL, NULL};
	LsmBuf got = {0};
	uint64_t files;
	uint64_t entries;
	int wrong = 0;
	LsmDb *db;
	LsmError err;

	MUST(lsm_open(env, &options, &db, &err), &err);
	MUST(lsm_verify(db, complain, NULL, NULL, &files, &entries, &err), &err);
	for (int key = 0; key < KEYS; key++)
	{
		bool known = false;
		char name[16];
		char value[100];
		LsmStatus status;

		snprintf(name, sizeof(name), "%06d", key);
		status = lsm_get(db, &read, lsm_slice(name, 6), &got, NULL, &err);
		CHECK(status == LSM_OK || status == LSM_NOT_FOUND);
		if (status == LSM_NOT_FOUND)
		{
			wrong += newest(key) >= 0;
			continue;
		}
		for (int round = 1; round <= LAST_ROUND; round++)
		{
			make_value(value, key, round);
			if (got.len != 100 || memcmp(got.data, value, 100) != 0)
				continue;
			known = true;
			wrong += round != newest(key);
		}
		CHECK(known);
	}
	lsm_buf_free(&got);
	lsm_close(db);
	return wrong;
}

static LsmRepairResult
repair(Reported *reported)
{
	LsmRepairResult result;
	LsmError err;

	memset(reported, 0, sizeof(*reported));
	MUST(lsm_repair(env, &options, false, 0, note_damage, reported, NULL, &result, &err), &err);
	return result;
}

/* ---- the cases ---- */

static void
test_sound(void)
{
	LsmRepairResult result;
	Reported reported;
	int tables;

	make_store(1);
	tables = list_files(".ldb").n;
	CHECK(tables > 5);
	result = repair(&reported);
	CHECK(reported.n == 0 && result.tables == (uint64_t) tables && result.damaged_tables == 0 && result.lost_tables == 0);
	CHECK(result.logs == 1 && result.damaged_logs == 0 && !result.rewritten);
	CHECK(list_files(".ldb").n == tables);
	CHECK(count_wrong() == 0);
	lsm_env_sim_free(env);
}

static void
test_manifest(void)
{
	static const char *const without[] = {"CURRENT", "MANIFEST"};
	LsmRepairResult result;
	Reported reported;
	uint64_t size;

	for (int i = 0; i < 3; i++)
	{
		make_store(2);
		for (int j = 0; j < 2; j++)
		{
			if (i == j || i == 2)
				remove_files(without[j]);
		}
		result = repair(&reported);
		CHECK(reported.n > 0 && result.lost_tables == 0 && result.damaged_tables == 0 && result.rewritten);
		CHECK(count_wrong() == 0);
		lsm_env_sim_free(env);
	}
	make_store(3);
	size = size_of(list_files("MANIFEST").names[0]);
	lsm_env_sim_free(env);
	for (uint64_t i = 0; i < size; i += 13)
	{
		make_store(3);
		spoil(list_files("MANIFEST").names[0], size, i);
		(void) repair(&reported);
		CHECK(reported.n > 0);
		CHECK(count_wrong() == 0);
		/* and once more, which finds nothing */
		result = repair(&reported);
		CHECK(reported.n == 0);
		CHECK(count_wrong() == 0);
		lsm_env_sim_free(env);
	}
}

static void
test_table(void)
{
	LsmRepairResult result;
	Reported reported;
	int tables;

	make_store(4);
	tables = list_files(".ldb").n;
	lsm_env_sim_free(env);
	for (int i = 0; i < tables; i++)
	{
		char name[64];

		/* the first block */
		make_store(4);
		snprintf(name, sizeof(name), "%s", list_files(".ldb").names[i]);
		spoil(name, size_of(name), 20);
		result = repair(&reported);
		CHECK(reported.n > 0 && strcmp(reported.files, name) == 0);
		CHECK(result.damaged_tables + result.lost_tables == 1 && result.tables == (uint64_t) tables - 1);
		CHECK(count_wrong() <= 40);
		CHECK(list_files(".ldb").n > 0);
		strcat(name, ".bad");
		CHECK(size_of(name) > 0);
		lsm_env_sim_free(env);

		/* the footer: nothing of it can be read */
		make_store(4);
		snprintf(name, sizeof(name), "%s", list_files(".ldb").names[i]);
		spoil(name, size_of(name) - 10, UINT64_MAX);
		result = repair(&reported);
		CHECK(reported.n > 0 && strcmp(reported.files, name) == 0 && result.lost_tables == 1);
		CHECK(count_wrong() > 0);
		lsm_env_sim_free(env);

		/* it is gone */
		make_store(4);
		remove_files(list_files(".ldb").names[i]);
		result = repair(&reported);
		CHECK(reported.n == 1 && result.lost_tables == 1);
		CHECK(count_wrong() > 0);
		lsm_env_sim_free(env);
	}
}

static void
test_log(void)
{
	LsmRepairResult result;
	Reported reported;
	uint64_t size;
	char name[64];

	make_store(5);
	snprintf(name, sizeof(name), "%s", list_files(".log").names[0]);
	size = size_of(name);
	lsm_env_sim_free(env);
	for (uint64_t i = 0; i < size; i += 41)
	{
		make_store(5);
		spoil(name, size, i);
		result = repair(&reported);
		CHECK(reported.n > 0 && strcmp(reported.files, name) == 0 && result.damaged_logs == 1);
		/* one bad record makes LevelDB's readers skip the block's rest: here all there is */
		CHECK(count_wrong() > 0);
		CHECK(size_of(strcat(name, ".bad")) == size);
		name[strlen(name) - 4] = '\0';
		lsm_env_sim_free(env);
	}
	/* cut off at its end: the last record is lost, no more */
	make_store(5);
	spoil(name, size - 1, UINT64_MAX);
	result = repair(&reported);
	CHECK(result.damaged_logs == 1 && count_wrong() == 1);
	lsm_env_sim_free(env);
}

/* Any byte of any file, or its end. */
static void
test_anything(int times)
{
	for (int i = 0; i < times; i++)
	{
		Listing all;
		Reported reported;
		uint64_t size;
		const char *name;

		make_store(6);
		all = list_files("");
		name = all.names[test_random(&seed) % (uint64_t) all.n];
		size = size_of(name);
		if (size > 0)
			spoil(name, test_random(&seed) % 2 ? size : test_random(&seed) % size + 1, test_random(&seed) % size);
		(void) repair(&reported);
		if (count_wrong() > 0)
			CHECK(reported.n > 0);
		lsm_env_sim_free(env);
	}
}

/* The machine goes down at every operation of a repair that merges all tables. */
static void
test_crashes(void)
{
	LsmError err;

	for (uint64_t nth = 1;; nth++)
	{
		LsmRepairResult result;
		Reported reported = {0};
		bool crashed;

		make_store(7);
		remove_files("CURRENT");
		remove_files("MANIFEST");
		lsm_env_sim_set_crash(env, nth);
		(void) lsm_repair(env, &options, false, 0, note_damage, &reported, NULL, &result, &err);
		crashed = lsm_env_sim_crashed(env);
		MUST(lsm_env_sim_reboot(env, nth % LSM_SIM_NUM_IMAGES, nth), &err);
		(void) repair(&reported);
		CHECK(count_wrong() == 0);
		lsm_env_sim_free(env);
		if (!crashed)
			break;
	}
}

/* Likewise of one that writes what can be read of a table to a new one: to repair again gives no less. */
static void
test_crashes_table(int table)
{
	char name[64];
	int wrong = -1;
	bool crashed = true;
	LsmError err;

	for (uint64_t nth = 0; crashed; nth++)
	{
		LsmRepairResult result;
		Reported reported = {0};

		make_store(7);
		snprintf(name, sizeof(name), "%s", list_files(".ldb").names[table]);
		spoil(name, size_of(name), 20);
		if (nth > 0)
		{
			lsm_env_sim_set_crash(env, nth);
			(void) lsm_repair(env, &options, false, 0, note_damage, &reported, NULL, &result, &err);
			crashed = lsm_env_sim_crashed(env);
			MUST(lsm_env_sim_reboot(env, nth % LSM_SIM_NUM_IMAGES, nth), &err);
		}
		(void) repair(&reported);
		if (nth == 0)
			wrong = count_wrong(); /* when nothing happens */
		else
			CHECK(count_wrong() == wrong);
		lsm_env_sim_free(env);
	}
}

static bool
yes(void *arg)
{
	(void) arg;
	return true;
}

/* Stopped in the middle, it has changed nothing that counts. */
static void
test_stopped(void)
{
	LsmRepairResult result;
	Reported reported = {0};
	LsmError err;

	make_store(9);
	remove_files("CURRENT");
	remove_files("MANIFEST");
	CHECK(lsm_repair(env, &options, false, 0, note_damage, &reported, yes, &result, &err) == LSM_INTERRUPTED);
	(void) repair(&reported);
	CHECK(count_wrong() == 0);
	lsm_env_sim_free(env);
}

/* Stamped: where the journal begins must be known, or told. */
static void
test_position(void)
{
	LsmRepairResult result;
	Reported reported = {0};
	LsmError err;

	MUST(lsm_env_sim_new(8, &env), &err);
	CHECK(lsm_repair(env, &options, true, 0, note_damage, &reported, NULL, &result, &err) == LSM_NOT_FOUND);
	CHECK(list_files("").n == 0);
	MUST(lsm_repair(env, &options, true, 4711, note_damage, &reported, NULL, &result, &err), &err);
	CHECK(result.position == 4711);
	/* it is in the new manifest now */
	MUST(lsm_repair(env, &options, true, 0, note_damage, &reported, NULL, &result, &err), &err);
	CHECK(result.position == 4711);
	lsm_env_sim_free(env);
}

int
main(void)
{
	lsm_options_init(&options);
	options.memtable_size = 8 << 10;
	options.block_cache_size = 0;
	options.file_size = 8 << 10;
	options.level1_size = 16 << 10;
	options.level_factor = 4;
	options.table.block_size = 1 << 10;
	options.table.compression = LSM_COMPRESS_NONE;
	options.level0_compression = LSM_COMPRESS_NONE;
	options.inline_work = true;
	printf("seed %llu\n", (unsigned long long) seed);
	/* Logs end with their last record, so that every damage hits one ... */
	options.log_step = 0;
	test_sound();
	/* ... but zeros behind it are no damage. */
	options.log_step = 1 << 10;
	test_sound();
	options.log_step = 0;
	test_manifest();
	test_table();
	test_log();
	test_anything(150);
	test_crashes();
	for (int table = 0; table < 4; table++)
		test_crashes_table(table);
	test_stopped();
	test_position();
	return test_done();
}
