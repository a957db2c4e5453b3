/*
 * test_sim.c - the simulated disk itself: a crash test is worth what its disk is.
 *
 * - What was synced is there after every image; what was not may be gone, cut,
 *   or holey, and each of these does happen for some seed.
 * - A name is durable only after sync_dir, also of a synced file; a rename is
 *   all or nothing.
 * - A failed sync loses its bytes for good, though they stay readable.
 * - Faults and crashes come at the operation they were asked for.
 * - The same seed gives the same disk.
 */
#include <errno.h>

#include "engine/env_sim.h"
#include "engine/test/test.h"

#define SEEDS 400

static LsmError err;

static LsmEnv *
fresh(void)
{
	LsmEnv *env;

	MUST(lsm_env_sim_new(7, &env), &err);
	return env;
}

static LsmFile *
opened(LsmEnv *env, const char *name, LsmOpenMode mode)
{
	LsmFile *file = NULL;

	MUST(lsm_file_open(env, name, mode, &file, &err), &err);
	return file;
}

/* The contents, as a string; "(none)" if there is no such file. */
static const char *
contents(LsmEnv *env, const char *name)
{
	static char buf[65536];
	LsmFile *file;
	size_t n = 0;

	if (lsm_file_open(env, name, LSM_OPEN_READ, &file, &err) != LSM_OK)
		return "(none)";
	MUST(lsm_file_read(file, 0, buf, sizeof(buf) - 1, &n, &err), &err);
	buf[n] = 0;
	lsm_file_close(file);
	return buf;
}

static void
write_file(LsmEnv *env, const char *name, const char *text, bool sync)
{
	LsmFile *file = opened(env, name, LSM_OPEN_CREATE);

	MUST(lsm_file_append(file, text, strlen(text), &err), &err);
	if (sync)
		MUST(lsm_file_sync(file, &err), &err);
	lsm_file_close(file);
}

/* A copy of env's disk after losing power; the caller frees it. */
static LsmEnv *
after(LsmEnv *env, LsmSimImage image, uint64_t seed)
{
	LsmEnv *copy;

	MUST(lsm_env_sim_clone(env, seed, &copy), &err);
	MUST(lsm_env_sim_reboot(copy, image, seed), &err);
	return copy;
}

static void
test_files(void)
{
	LsmEnv *env = fresh();
	LsmFile *file;
	uint64_t size;
	char buf[8];
	size_t n;

	CHECK(lsm_file_open(env, "a", LSM_OPEN_READ, &file, &err) == LSM_NOT_FOUND);
	CHECK(strcmp(err.file, "a") == 0);
	write_file(env, "a", "hello", false);
	file = opened(env, "a", LSM_OPEN_APPEND);
	MUST(lsm_file_append(file, " world", 6, &err), &err);
	CHECK(lsm_file_read(file, 6, buf, 8, &n, &err) == LSM_OK && n == 5 && memcmp(buf, "world", 5) == 0);
	CHECK(lsm_file_read(file, 11, buf, 8, &n, &err) == LSM_OK && n == 0);
	lsm_file_close(file);
	CHECK(strcmp(contents(env, "a"), "hello world") == 0);
	file = opened(env, "s", LSM_OPEN_SHARED);
	MUST(lsm_file_write_at(file, 2, "xy", 2, &err), &err);
	CHECK(lsm_file_read(file, 0, buf, 8, &n, &err) == LSM_OK && n == 4 && memcmp(buf, "\0\0xy", 4) == 0);
	lsm_file_close(file);
	CHECK(env->ops->file_size(env, "a", &size, &err) == LSM_OK && size == 11);
	CHECK(env->ops->rename(env, "a", "b", &err) == LSM_OK);
	CHECK(strcmp(contents(env, "a"), "(none)") == 0);
	CHECK(strcmp(contents(env, "b"), "hello world") == 0);
	/* A removed file stays readable while it is open. */
	file = opened(env, "b", LSM_OPEN_READ);
	CHECK(env->ops->remove(env, "b", &err) == LSM_OK);
	CHECK(env->ops->remove(env, "b", &err) == LSM_NOT_FOUND);
	CHECK(lsm_file_read(file, 0, buf, 5, &n, &err) == LSM_OK && n == 5);
	lsm_file_close(file);
	CHECK(lsm_env_sim_files(env, NULL, NULL) == 1);
	lsm_env_sim_free(env);
}

static void
test_synced_stays(void)
{
	LsmEnv *env = fresh();
	LsmFile *file = opened(env, "log", LSM_OPEN_CREATE);
	int cut = 0;
	int whole = 0;
	int holes = 0;
	int image;
	uint64_t seed;
	char tail[9000];

	memset(tail, 't', sizeof(tail));
	MUST(lsm_file_append(file, "synced,", 7, &err), &err);
	MUST(lsm_file_sync(file, &err), &err);
	MUST(env->ops->sync_dir(env, &err), &err);
	MUST(lsm_file_append(file, tail, 4000, &err), &err);
	MUST(lsm_file_append(file, tail, 5000, &err), &err);
	lsm_file_close(file);

	for (image = 0; image < LSM_SIM_NUM_IMAGES; image++)
	{
		for (seed = 1; seed <= SEEDS; seed++)
		{
			LsmEnv *copy = after(env, (LsmSimImage) image, seed);
			const char *text = contents(copy, "log");
			uint64_t size = 0;

			if (strncmp(text, "synced,", 7) != 0)
				CHECK(!"synced bytes were lost");
			copy->ops->file_size(copy, "log", &size, &err);
			if (size > 9007)
				CHECK(!"bytes that were never written");
			if (image == LSM_SIM_SYNCED_ONLY && size != 7)
				CHECK(!"unsynced bytes survived");
			if (size > 7 && size < 9007)
				cut++;
			if (size == 9007 && strlen(text) == 9007)
				whole++;
			if (strlen(text) < size)
				holes++;
			lsm_env_sim_free(copy);
		}
	}
	CHECK(cut > SEEDS / 4);
	CHECK(whole > SEEDS / 8);
	CHECK(holes > SEEDS / 8);
	lsm_env_sim_free(env);
}

static void
test_names(void)
{
	LsmEnv *env = fresh();
	int seen_old = 0;
	int seen_new = 0;
	int tmp_kept = 0;
	uint64_t seed;
	LsmEnv *copy;

	write_file(env, "CURRENT", "old", true);
	copy = after(env, LSM_SIM_SYNCED_ONLY, 1);
	CHECK(strcmp(contents(copy, "CURRENT"), "(none)") == 0); /* synced, but without a name */
	lsm_env_sim_free(copy);
	MUST(env->ops->sync_dir(env, &err), &err);
	write_file(env, "tmp", "new", true);
	MUST(env->ops->rename(env, "tmp", "CURRENT", &err), &err);

	copy = after(env, LSM_SIM_SYNCED_ONLY, 1);
	CHECK(strcmp(contents(copy, "CURRENT"), "old") == 0);
	CHECK(lsm_env_sim_files(copy, NULL, NULL) == 1);
	lsm_env_sim_free(copy);
	copy = after(env, LSM_SIM_TORN, 1);
	CHECK(strcmp(contents(copy, "CURRENT"), "new") == 0);
	lsm_env_sim_free(copy);
	for (seed = 1; seed <= SEEDS; seed++)
	{
		copy = after(env, LSM_SIM_DIR_LOST, seed);
		if (strcmp(contents(copy, "CURRENT"), "old") == 0)
			seen_old++;
		if (strcmp(contents(copy, "CURRENT"), "new") == 0)
			seen_new++;
		if (strcmp(contents(copy, "tmp"), "new") == 0)
			tmp_kept++;
		lsm_env_sim_free(copy);
	}
	CHECK(seen_old + seen_new == SEEDS); /* atomic: always one of them */
	CHECK(seen_old > SEEDS / 4 && seen_new > SEEDS / 4);
	CHECK(tmp_kept > SEEDS / 8);
	MUST(env->ops->sync_dir(env, &err), &err);
	copy = after(env, LSM_SIM_SYNCED_ONLY, 1);
	CHECK(strcmp(contents(copy, "CURRENT"), "new") == 0);
	lsm_env_sim_free(copy);
	lsm_env_sim_free(env);
}

static void
test_overwrites(void)
{
	LsmEnv *env = fresh();
	LsmFile *file = opened(env, "s", LSM_OPEN_SHARED);
	static char old[8192];
	static char new[8192];
	int mixed = 0;
	uint64_t seed;

	memset(old, 'o', sizeof(old));
	memset(new, 'n', sizeof(new));
	MUST(lsm_file_write_at(file, 0, old, sizeof(old), &err), &err);
	MUST(lsm_file_sync(file, &err), &err);
	MUST(env->ops->sync_dir(env, &err), &err);
	MUST(lsm_file_write_at(file, 1024, new, 4096, &err), &err);
	lsm_file_close(file);
	for (seed = 1; seed <= SEEDS; seed++)
	{
		LsmEnv *copy = after(env, LSM_SIM_REORDERED, seed);
		const char *text = contents(copy, "s");

		if (strlen(text) != 8192 || memcmp(text, old, 1024) != 0 || memcmp(text + 5120, old, 3072) != 0)
			CHECK(!"bytes outside the write were touched");
		if (memchr(text + 1024, 'o', 4096) != NULL && memchr(text + 1024, 'n', 4096) != NULL)
			mixed++;
		lsm_env_sim_free(copy);
	}
	CHECK(mixed > SEEDS / 4);
	lsm_env_sim_free(env);
}

static void
test_crash(void)
{
	uint64_t n;
	int applied = 0;

	/* create, append, sync, sync_dir, append, rename */
	for (n = 1; n <= 6; n++)
	{
		LsmEnv *env = fresh();
		LsmFile *file = NULL;
		int done = 0;

		lsm_env_sim_set_crash(env, n);
		done += lsm_file_open(env, "a", LSM_OPEN_CREATE, &file, &err) == LSM_OK;
		if (file != NULL)
		{
			done += lsm_file_append(file, "one", 3, &err) == LSM_OK;
			done += lsm_file_sync(file, &err) == LSM_OK;
			done += env->ops->sync_dir(env, &err) == LSM_OK;
			done += lsm_file_append(file, "two", 3, &err) == LSM_OK;
			lsm_file_close(file);
		}
		done += env->ops->rename(env, "a", "b", &err) == LSM_OK;
		CHECK(done == (int) n - 1);
		CHECK(lsm_env_sim_crashed(env));
		CHECK(lsm_env_sim_ops(env) == n);
		CHECK(err.status == LSM_IO && err.file[0] != 0);
		CHECK(strcmp(contents(env, "a"), "(none)") == 0); /* nothing works on a machine that is down */
		MUST(lsm_env_sim_reboot(env, LSM_SIM_TORN, n), &err);
		CHECK(!lsm_env_sim_crashed(env));
		if (n > 4)
			CHECK(strncmp(contents(env, "a"), "one", 3) == 0 || strncmp(contents(env, "b"), "one", 3) == 0);
		lsm_env_sim_free(env);
	}
	/* The operation of the crash itself reaches the disk or not. */
	for (n = 1; n <= SEEDS; n++)
	{
		LsmEnv *env;

		MUST(lsm_env_sim_new(n, &env), &err);
		write_file(env, "a", "one", true);
		lsm_env_sim_set_crash(env, 1);
		CHECK(env->ops->sync_dir(env, &err) == LSM_IO);
		MUST(lsm_env_sim_reboot(env, LSM_SIM_SYNCED_ONLY, n), &err);
		applied += strcmp(contents(env, "a"), "one") == 0;
		lsm_env_sim_free(env);
	}
	CHECK(applied > SEEDS / 4 && applied < SEEDS * 3 / 4);
}

static void
test_faults(void)
{
	LsmEnv *env = fresh();
	LsmFile *file = opened(env, "a", LSM_OPEN_CREATE);
	char buf[4];
	size_t n;

	MUST(env->ops->sync_dir(env, &err), &err);
	lsm_env_sim_set_fault(env, 2, ENOSPC, false);
	CHECK(lsm_file_append(file, "one,", 4, &err) == LSM_OK);
	CHECK(lsm_file_sync(file, &err) == LSM_NO_SPACE);
	CHECK(strcmp(err.file, "a") == 0);
	CHECK(lsm_env_sim_faults(env) == 1);
	/* Readable, but a later sync that succeeds does not bring it to the platter. */
	CHECK(lsm_file_append(file, "two", 3, &err) == LSM_OK);
	CHECK(lsm_file_sync(file, &err) == LSM_OK);
	CHECK(strcmp(contents(env, "a"), "one,two") == 0);
	lsm_file_close(file);
	MUST(lsm_env_sim_reboot(env, LSM_SIM_SYNCED_ONLY, 1), &err);
	file = opened(env, "a", LSM_OPEN_APPEND);
	CHECK(lsm_file_read(file, 0, buf, 4, &n, &err) == LSM_OK && n == 4 && memcmp(buf, "\0\0\0\0", 4) == 0);

	/* A full disk that stays full refuses what needs space only. */
	lsm_env_sim_set_fault(env, 1, ENOSPC, true);
	CHECK(lsm_file_append(file, "x", 1, &err) == LSM_NO_SPACE);
	CHECK(lsm_file_append(file, "x", 1, &err) == LSM_NO_SPACE);
	CHECK(lsm_file_sync(file, &err) == LSM_OK);
	CHECK(env->ops->sync_dir(env, &err) == LSM_OK);
	lsm_env_sim_set_fault(env, 1, EIO, true);
	CHECK(env->ops->sync_dir(env, &err) == LSM_IO && err.os_errno == EIO);
	CHECK(env->ops->sync_dir(env, &err) == LSM_IO);
	lsm_env_sim_set_fault(env, 0, 0, false);
	CHECK(env->ops->sync_dir(env, &err) == LSM_OK);

	lsm_env_sim_set_read_fault(env, 2, EIO, false);
	CHECK(lsm_file_read(file, 0, buf, 1, &n, &err) == LSM_OK);
	CHECK(lsm_file_read(file, 0, buf, 1, &n, &err) == LSM_IO);
	CHECK(lsm_file_read(file, 0, buf, 1, &n, &err) == LSM_OK);
	lsm_file_close(file);
	lsm_env_sim_free(env);
}

static void
add_up(void *arg, const char *name, LsmSlice data)
{
	uint64_t *sum = arg;
	size_t i;

	for (i = 0; name[i]; i++)
		*sum = *sum * 31 + (unsigned char) name[i];
	for (i = 0; i < data.len; i++)
		*sum = *sum * 31 + (unsigned char) data.data[i];
}

static void
test_repeatable(void)
{
	LsmEnv *env = fresh();
	int different = 0;
	int image;
	uint64_t seed;

	write_file(env, "a", "some bytes that nobody synced", false);
	write_file(env, "b", "others", true);
	for (image = 0; image < LSM_SIM_NUM_IMAGES; image++)
	{
		uint64_t before = 0;

		for (seed = 1; seed < 50; seed++)
		{
			LsmEnv *one = after(env, (LsmSimImage) image, seed);
			LsmEnv *two = after(env, (LsmSimImage) image, seed);
			uint64_t sum1 = 0;
			uint64_t sum2 = 0;

			lsm_env_sim_files(one, add_up, &sum1);
			lsm_env_sim_files(two, add_up, &sum2);
			if (sum1 != sum2)
				CHECK(!"same seed, different disk");
			different += sum1 != before;
			before = sum1;
			lsm_env_sim_free(one);
			lsm_env_sim_free(two);
		}
	}
	CHECK(different > 20);
	CHECK(lsm_env_sim_corrupt(env, "b", 1, 0x20));
	CHECK(strcmp(contents(env, "b"), "oThers") == 0);
	CHECK(!lsm_env_sim_corrupt(env, "b", 6, 1));
	CHECK(lsm_env_sim_truncate(env, "b", 2));
	CHECK(strcmp(contents(env, "b"), "oT") == 0);
	lsm_env_sim_free(env);
}

int
main(void)
{
	test_files();
	test_synced_stays();
	test_names();
	test_overwrites();
	test_crash();
	test_faults();
	test_repeatable();
	return test_done();
}
