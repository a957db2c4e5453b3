/*
 * test_stress.c - a store used by many at once, killed at any moment, again and again.
 *
 * A process with two writing threads and three for the background work, which merge at the same
 * time, and two processes that read along, share a store in a directory.  All of them are killed together, sometimes
 * while they still recover from the last time.  What was acknowledged was handed to the
 * kernel, so, whether it was synced or not:
 *
 * - after each kill every acknowledged batch is there, and of each writer at most one more, whole;
 * - readers never see a part of a batch, and never go back in time;
 * - lsm_verify has nothing to report;
 * - once the background work is done, tables take at most 1.3 times what is alive, and the manifest
 *   has not grown past its limit.
 *
 * STRESS_SEED=n gives the same kills (of threads that run as they like); STRESS_ROUNDS=n more of them, and
 * STRESS_SECONDS=n goes on for so long: a soak.
 */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/handle.h"
#include "engine/test/test.h"

#define WRITERS 2
#define READERS 2
#define WORKERS 3
#define MARKS 10     /* keys that every batch of a writer sets to its number */
#define FILLERS 3000 /* keys of a writer of which each batch changes some */
#define CHANGED 8
#define VALUE 400
#define MANIFEST_SIZE 65536

/* Shared by all processes, and outliving them. */
typedef struct Board
{
	_Atomic uint64_t acknowledged[WRITERS]; /* number of the writer's last batch */
	_Atomic uint64_t reads;
	_Atomic uint64_t together; /* times that a writer saw several merges */
	_Atomic int bad;
} Board;

typedef struct Member
{
	LsmDb *db;
	int number;
} Member;

static Board *board;
static char dir[] = "/tmp/lsm-stress.XXXXXX";
static LsmOptions options;
static uint64_t seed;
static uint64_t rnd;

static uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 31) * UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	return x ^ x >> 32;
}

/* The n-th key that a writer's batch number `i` changes, and whether it deletes it. */
static int
filler(uint64_t i, int n, bool *gone)
{
	uint64_t x = mix(i * CHANGED + (uint64_t) n + 1);

	*gone = x >> 40 & 1 && x >> 41 & 1 && x >> 42 & 1;
	return (int) (x % FILLERS);
}

/* Begins with the batch's number; does not compress. */
static void
fill_value(char *value, uint64_t i, int key)
{
	uint64_t x = i * FILLERS + (uint64_t) key + 1;

	for (size_t at = 0; at < VALUE; at += 8)
	{
		x = mix(x + at);
		memcpy(value + at, &x, 8);
	}
	memcpy(value, &i, sizeof(i));
}

static LsmSlice
key_of(char *buf, int writer, char kind, int n)
{
	return lsm_slice(buf, (size_t) snprintf(buf, 32, "%c%d/%05d", kind, writer, n));
}

/* ---- those who are killed ---- */

static void *
write_on(void *arg)
{
	Member *m = arg;
	uint64_t i = atomic_load(&board->acknowledged[m->number]);
	LsmMerge merges[LSM_MAX_MERGES];
	LsmBatch batch = {.count = 0};
	char value[VALUE];
	char key[32];
	LsmError err;

	for (;;)
	{
		LsmStatus status;

		i++;
		lsm_batch_clear(&batch);
		for (int k = 0; k < MARKS; k++)
			lsm_batch_put(&batch, key_of(key, m->number, 'm', k), lsm_slice(&i, sizeof(i)));
		for (int n = 0; n < CHANGED; n++)
		{
			bool gone;
			int at = filler(i, n, &gone);

			fill_value(value, i, at);
			if (gone)
				lsm_batch_delete(&batch, key_of(key, m->number, 'f', at));
			else
				lsm_batch_put(&batch, key_of(key, m->number, 'f', at), lsm_slice(value, VALUE));
		}
		while ((status = lsm_write(m->db, &batch, i % 50 == 0, NULL, &err)) == LSM_BUSY)
			MUST(lsm_make_room(m->db, batch.memtable_cost, &err), &err);
		MUST(status, &err);
		atomic_store(&board->acknowledged[m->number], i);
		if (lsm_merges(m->db, merges) > 1)
			atomic_fetch_add(&board->together, 1);
	}
	return NULL;
}

static void *
work_on(void *arg)
{
	LsmDb *db = ((Member *) arg)->db;
	LsmEnv *env = db->env;
	LsmError err;

	for (;;)
	{
		bool did;

		env->ops->wait_prepare(env, LSM_WAIT_WORK);
		MUST(lsm_work(db, &did, &err), &err);
		if (!did)
			env->ops->wait(env, LSM_WAIT_WORK, 5);
		env->ops->wait_end(env, LSM_WAIT_WORK);
	}
	return NULL;
}

/* At one snapshot all marks of a writer are the same. */
static void
read_along(LsmDb *db)
{
	uint64_t last[WRITERS] = {0};
	LsmBuf got = {0};
	LsmError err;

	for (uint64_t n = 0;; n++)
	{
		int writer = (int) (n % WRITERS);
		uint64_t acknowledged = atomic_load(&board->acknowledged[writer]);
		uint64_t snapshot = lsm_snapshot_take(db);
		LsmRead read = {snapshot, NULL, NULL};
		uint64_t first = 0;

		for (int k = 0; k < MARKS; k++)
		{
			uint64_t value = 0;
			char key[32];
			LsmStatus status = lsm_get(db, &read, key_of(key, writer, 'm', k), &got, NULL, &err);

			if (status == LSM_OK && got.len == sizeof(value))
				memcpy(&value, got.data, sizeof(value));
			else if (status != LSM_NOT_FOUND)
				MUST(status, &err);
			if (k == 0)
				first = value;
			else if (value != first)
				atomic_fetch_add(&board->bad, 1);
		}
		if (first < last[writer] || first < acknowledged)
			atomic_fetch_add(&board->bad, 1);
		last[writer] = first;
		lsm_snapshot_release(db, snapshot);
		atomic_fetch_add(&board->reads, 1);
	}
}

static void
live(void)
{
	pthread_t threads[WRITERS + WORKERS];
	Member members[WRITERS + WORKERS];
	LsmError err;
	LsmEnv *env;
	LsmDb *db;

	MUST(lsm_env_posix_open(dir, &env, &err), &err);
	MUST(lsm_open(env, &options, &db, &err), &err);
	/* before there are threads */
	for (int i = 0; i < READERS; i++)
	{
		pid_t pid = fork();

		if (pid == 0)
		{
			LsmAttach attach = {.env = env, .shared = db->shared, .journal = db->journal, .handle = 40 + i};
			LsmDb *mine;

			MUST(lsm_attach(&attach, &mine, &err), &err);
			read_along(mine);
		}
		if (pid < 0)
			exit(1);
	}
	for (int i = 0; i < WRITERS + WORKERS; i++)
	{
		members[i].number = i;
		MUST(lsm_open_handle(db, &members[i].db, &err), &err);
		if (pthread_create(&threads[i], NULL, i < WRITERS ? write_on : work_on, &members[i]) != 0)
			exit(1);
	}
	for (int i = 0; i < WRITERS + WORKERS; i++)
		pthread_join(threads[i], NULL);
}

/* ---- who kills and looks ---- */

static uint64_t
all_acknowledged(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < WRITERS; i++)
		sum += atomic_load(&board->acknowledged[i]);
	return sum;
}

/* Lets them live until they have written some batches more, or, now and then, hardly at all. */
static void
one_life(void)
{
	bool early = test_random(&rnd) % 5 == 0;
	uint64_t until = all_acknowledged() + (early ? 0 : 1 + test_random(&rnd) % 1500);
	uint64_t spins = early ? test_random(&rnd) % 30 : 0;
	struct timespec moment = {0, 1000000};
	int status;
	pid_t pid = fork();

	if (pid < 0)
		exit(1);
	if (pid == 0)
	{
		setpgid(0, 0);
		live();
		exit(1);
	}
	setpgid(pid, pid);
	do
	{
		nanosleep(&moment, NULL);
		if (waitpid(pid, &status, WNOHANG) == pid)
		{
			fprintf(stderr, "seed %llu: it ended by itself, status %d\n", (unsigned long long) seed, status);
			kill(-pid, SIGKILL);
			exit(1);
		}
	} while (early ? spins-- > 0 : all_acknowledged() < until);
	kill(-pid, SIGKILL);
	waitpid(pid, &status, 0);
}

static void
report_damage(void *arg, const LsmError *what)
{
	fprintf(stderr, "%s: %s\n", what->file, what->text);
	++*(int *) arg;
}

static bool
holds(LsmDb *db, LsmSlice key, LsmSlice value)
{
	LsmRead read = {LSM_MAX_SEQUENCE, NULL, NULL};
	LsmBuf got = {0};
	LsmError err;
	LsmStatus status = lsm_get(db, &read, key, &got, NULL, &err);
	bool same = value.data == NULL ? status == LSM_NOT_FOUND
								   : status == LSM_OK && lsm_slice_compare(lsm_buf_slice(&got), value) == 0;

	if (status != LSM_NOT_FOUND)
		MUST(status, &err);
	lsm_buf_free(&got);
	return same;
}

/* All of a writer's keys are as its batches up to the last one left them; returns the bytes of those that are there. */
static uint64_t
check_writer(LsmDb *db, int writer)
{
	static uint64_t last[FILLERS];
	static bool deleted[FILLERS];
	LsmRead read = {LSM_MAX_SEQUENCE, NULL, NULL};
	uint64_t acknowledged = atomic_load(&board->acknowledged[writer]);
	uint64_t final = 0;
	uint64_t bytes = 0;
	int wrong = 0;
	char value[VALUE];
	char key[32];
	LsmBuf got = {0};
	LsmError err;

	if (lsm_get(db, &read, key_of(key, writer, 'm', 0), &got, NULL, &err) == LSM_OK && got.len == sizeof(final))
		memcpy(&final, got.data, sizeof(final));
	lsm_buf_free(&got);
	CHECK(final == acknowledged || final == acknowledged + 1);
	for (int k = 1; k < MARKS; k++)
		wrong += !holds(db, key_of(key, writer, 'm', k), final == 0 ? lsm_slice(NULL, 0) : lsm_slice(&final, sizeof(final)));

	memset(last, 0, sizeof(last));
	for (uint64_t i = 1; i <= final; i++)
	{
		for (int n = 0; n < CHANGED; n++)
		{
			bool gone;
			int at = filler(i, n, &gone);

			last[at] = i;
			deleted[at] = gone;
		}
	}
	for (int at = 0; at < FILLERS; at++)
	{
		bool there = last[at] != 0 && !deleted[at];
		LsmSlice k = key_of(key, writer, 'f', at);

		fill_value(value, last[at], at);
		wrong += !holds(db, k, there ? lsm_slice(value, VALUE) : lsm_slice(NULL, 0));
		bytes += there ? k.len + VALUE : 0;
	}
	CHECK(wrong == 0);
	atomic_store(&board->acknowledged[writer], final);
	return bytes;
}

static void
check_space(LsmDb *db, uint64_t alive)
{
	uint64_t bytes = 0;
	uint64_t manifest;
	LsmStats stats;
	LsmError err;
	bool did = true;
	char name[64];

	MUST(lsm_flush(db, &err), &err);
	while (did)
		MUST(lsm_work(db, &did, &err), &err);
	MUST(lsm_stats(db, &stats, &err), &err);
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
		bytes += stats.levels[level].bytes;
	if (alive > 1000000)
		CHECK(bytes <= alive * 13 / 10);
	lsm_file_name(name, LSM_FILE_MANIFEST, db->shared->manifest_number);
	MUST(db->env->ops->file_size(db->env, name, &manifest, &err), &err);
	CHECK(manifest <= 2 * MANIFEST_SIZE);
	printf("%llu batches: tables take %.2f of what is alive, manifest %llu bytes\n", (unsigned long long) all_acknowledged(),
		   alive > 0 ? (double) bytes / (double) alive : 0, (unsigned long long) manifest);
}

static void
look(void)
{
	struct timespec moment = {0, 1000000};
	uint64_t alive = 0;
	uint64_t files;
	uint64_t entries;
	int damages = 0;
	LsmStatus status;
	LsmError err;
	LsmEnv *env;
	LsmDb *db;

	/* the last of those killed may still hold the lock for a moment */
	for (int i = 0; (status = lsm_env_posix_open(dir, &env, &err)) != LSM_OK && i < 10000; i++)
		nanosleep(&moment, NULL);
	MUST(status, &err);
	MUST(lsm_open(env, &options, &db, &err), &err);
	for (int i = 0; i < WRITERS; i++)
		alive += check_writer(db, i);
	MUST(lsm_verify(db, report_damage, NULL, &damages, &files, &entries, &err), &err);
	CHECK(damages == 0);
	CHECK(atomic_load(&board->bad) == 0);
	check_space(db, alive);
	lsm_close(db);
	lsm_env_posix_close(env);
}

static void
remove_dir(void)
{
	DIR *d = opendir(dir);
	struct dirent *entry;

	while (d != NULL && (entry = readdir(d)) != NULL)
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(d), entry->d_name, 0);
	if (d != NULL)
		closedir(d);
	rmdir(dir);
}

int
main(void)
{
	const char *seed_text = getenv("STRESS_SEED");
	const char *rounds_text = getenv("STRESS_ROUNDS");
	const char *seconds_text = getenv("STRESS_SECONDS");
	int rounds = rounds_text ? atoi(rounds_text) : 10;
	time_t end = time(NULL) + (seconds_text ? atol(seconds_text) : 0);

	seed = seed_text ? strtoull(seed_text, NULL, 10) : 1;
	rnd = seed * 7919 + 1;
	printf("seed %llu\n", (unsigned long long) seed);
	lsm_options_init(&options);
	options.memtable_size = 32 << 10;
	options.file_size = 64 << 10;
	options.level1_size = 128 << 10;
	options.manifest_size = MANIFEST_SIZE;
	options.max_compactions = WORKERS;
	options.block_cache_size = 1 << 20;
	options.table.block_size = 4 << 10;
	options.table.compression = LSM_COMPRESS_NONE;
	options.level0_compression = LSM_COMPRESS_NONE;
	board = mmap(NULL, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED || mkdtemp(dir) == NULL)
		return 1;
	for (int i = 0; i < rounds || time(NULL) < end; i++)
	{
		one_life();
		look();
	}
	CHECK(all_acknowledged() > 1000);
	CHECK(atomic_load(&board->reads) > 100);
	CHECK(atomic_load(&board->together) > 0);
	printf("%llu reads; several merges seen %llu times\n", (unsigned long long) atomic_load(&board->reads),
		   (unsigned long long) atomic_load(&board->together));
	remove_dir();
	return test_done();
}
