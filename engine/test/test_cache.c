/*
 * test_cache.c - the block cache.
 *
 * Invariants: a hit returns the bytes that were put for that file and offset,
 * and they stay as long as they are pinned, whatever others put and forget; what
 * was put hot is there afterwards unless all frames are pinned; blocks that are
 * asked for again outlive a scan, the scan's own ones, too; forgotten frames are
 * used before others are taken; the counters are exact.  Between threads and
 * between processes, too.
 */
#define _GNU_SOURCE
#include "engine/test/test.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/cache.h"

enum
{
	FRAME = 128,
	PARTITIONS = LSM_NUM_CACHE_PARTITIONS
};

static char dir[] = "/tmp/lsm-test-cache-XXXXXX";
static LsmEnv *env;

/* `frames` to each partition; exactly the memory that footprint says, so that ASan sees a step beyond. */
static LsmCache *
new_cache(size_t frames)
{
	size_t bytes = frames * PARTITIONS * FRAME;
	size_t size = lsm_cache_footprint(bytes, FRAME);
	void *mem;

	if (posix_memalign(&mem, 64, size) != 0)
		abort();
	memset(mem, 0xa5, size);
	return lsm_cache_init(mem, bytes, FRAME);
}

/* A block's length and bytes follow from its name. */
static LsmSlice
make_block(char *buf, uint64_t file, uint64_t offset)
{
	uint64_t state = file * 1000003 + offset * 2 + 1;
	size_t len = (file * 7 + offset) % (FRAME + 1);

	for (size_t i = 0; i < len; i++)
		buf[i] = (char) test_random(&state);
	return lsm_slice(buf, len);
}

static bool
is_block(LsmSlice block, uint64_t file, uint64_t offset)
{
	char buf[FRAME];
	LsmSlice expected = make_block(buf, file, offset);

	return block.len == expected.len && memcmp(block.data, expected.data, expected.len) == 0;
}

static void
put(LsmCache *cache, uint64_t file, uint64_t offset, bool hot)
{
	char buf[FRAME];

	lsm_cache_put(cache, env, file, offset, make_block(buf, file, offset), hot);
}

static bool
has(LsmCache *cache, uint64_t file, uint64_t offset)
{
	LsmCachePin pin;

	if (!lsm_cache_get(cache, env, file, offset, &pin))
	{
		CHECK(pin.frame == -1);
		return false;
	}
	if (!is_block(pin.block, file, offset))
		CHECK(!"a hit has the block's bytes");
	lsm_cache_unpin(cache, env, &pin);
	CHECK(pin.frame == -1);
	return true;
}

static LsmCacheStats
stats_of(LsmCache *cache)
{
	LsmCacheStats stats;

	lsm_cache_stats(cache, &stats);
	return stats;
}

/* Offsets of file 1 that share a partition: with one frame each, such blocks push each other out. */
static void
find_neighbours(uint64_t *offsets, int n)
{
	LsmCache *cache = new_cache(1);
	int found = 1;

	offsets[0] = 0;
	for (uint64_t offset = 1; found < n; offset++)
	{
		if (offset > 100000)
		{
			fprintf(stderr, "blocks do not push each other out\n");
			exit(1);
		}
		put(cache, 1, 0, true);
		put(cache, 1, offset, true);
		if (!has(cache, 1, 0))
			offsets[found++] = offset;
	}
	free(cache);
}

/* Who peeks sees where a block lies, pins nothing and is not counted. */
static void
test_peek(void)
{
	LsmCache *cache = new_cache(4);
	LsmCacheStats before;
	char big[FRAME + 1];
	LsmCachePin pin;

	CHECK(lsm_cache_peek(cache, env, 1, 0).len == 0);
	put(cache, 1, 0, true);
	CHECK(lsm_cache_get(cache, env, 1, 0, &pin));
	lsm_cache_unpin(cache, env, &pin);
	before = stats_of(cache);
	CHECK(is_block(lsm_cache_peek(cache, env, 1, 0), 1, 0) && lsm_cache_peek(cache, env, 1, 0).data == pin.block.data);
	CHECK(lsm_cache_peek(cache, env, 1, 1).len == 0 && lsm_cache_peek(cache, env, 2, 0).len == 0);
	CHECK(stats_of(cache).hits == before.hits && stats_of(cache).misses == before.misses);
	/* one that is larger than a frame lies in no one place */
	memset(big, 1, sizeof(big));
	lsm_cache_put(cache, env, 3, 0, lsm_slice(big, sizeof(big)), true);
	CHECK(lsm_cache_peek(cache, env, 3, 0).len == 0);
	lsm_cache_forget(cache, env, 1);
	CHECK(lsm_cache_peek(cache, env, 1, 0).len == 0);
	free(cache);
}

static void
test_basics(void)
{
	LsmCache *cache = new_cache(4);
	LsmCachePin pin = {.frame = -1};
	char big[FRAME + 1];
	LsmCacheStats stats;

	memset(big, 1, sizeof(big));
	CHECK(!has(cache, 1, 0));
	put(cache, 1, 0, true);
	put(cache, 1, 0, true); /* again: one copy */
	CHECK(has(cache, 1, 0) && !has(cache, 1, 1) && !has(cache, 2, 0));
	put(cache, 1, 1, false);
	put(cache, 2, 0, false);
	put(cache, UINT64_C(1) << 40, UINT64_C(1) << 50, true);
	CHECK(has(cache, 1, 0) && has(cache, 1, 1) && has(cache, 2, 0) && has(cache, UINT64_C(1) << 40, UINT64_C(1) << 50));
	lsm_cache_put(cache, env, 3, 0, lsm_slice(big, FRAME + 1), true);
	CHECK(!lsm_cache_get(cache, env, 3, 0, &pin));
	lsm_cache_put(cache, env, 3, 0, lsm_slice(big, FRAME), true);
	CHECK(lsm_cache_get(cache, env, 3, 0, &pin) && pin.block.len == FRAME && memcmp(pin.block.data, big, FRAME) == 0);
	lsm_cache_unpin(cache, env, &pin);
	lsm_cache_unpin(cache, env, &pin); /* nothing pinned: nothing happens */
	stats = stats_of(cache);
	CHECK(stats.frames == 4 * PARTITIONS && stats.used == 5 && stats.hits == 6 && stats.misses == 4);
	free(cache);

	/* of any size something comes out, and not less than one frame a partition */
	cache = new_cache(0);
	CHECK(stats_of(cache).frames == PARTITIONS);
	put(cache, 1, 7, true);
	CHECK(has(cache, 1, 7));
	free(cache);
	CHECK(lsm_cache_footprint(1 << 20, 4096) >= 1 << 20);
	CHECK(lsm_cache_footprint(1 << 20, 4096) < (1 << 20) + (1 << 16));
}

static bool
has_large(LsmCache *cache, uint64_t file, uint64_t offset, LsmSlice expected)
{
	LsmBuf buf = {0};
	bool found = lsm_cache_get_large(cache, env, file, offset, &buf);

	if (found)
		CHECK(lsm_slice_compare(lsm_buf_slice(&buf), expected) == 0);
	lsm_buf_free(&buf);
	return found;
}

/* Larger than a frame: whole, whatever its size, or not there. */
static void
test_large(void)
{
	LsmCache *cache = new_cache(64);
	static char bytes[70 * FRAME];
	LsmCacheStats before, after;
	LsmCachePin pin;
	int there = 0;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char) (i * 7 + i / 251);
	for (size_t len = FRAME + 1; len <= 5 * FRAME; len += FRAME / 2 - 1)
	{
		LsmSlice block = lsm_slice(bytes + len % 13, len);

		CHECK(!has_large(cache, 1, len, block));
		lsm_cache_put(cache, env, 1, len, block, true);
		before = stats_of(cache);
		CHECK(!lsm_cache_get(cache, env, 1, len, &pin) && has_large(cache, 1, len, block));
		after = stats_of(cache);
		CHECK(after.hits == before.hits + 1 && after.misses == before.misses);
		CHECK(!has_large(cache, 2, len, block) && !has_large(cache, 1, len + 1, block));
		/* again: no more frames */
		lsm_cache_put(cache, env, 1, len, block, true);
		CHECK(stats_of(cache).used == after.used);
	}
	lsm_cache_put(cache, env, 1, 1 << 20, lsm_slice(bytes, 2 * FRAME), true);
	CHECK(has_large(cache, 1, 1 << 20, lsm_slice(bytes, 2 * FRAME)));
	/* more than a quarter of a partition */
	lsm_cache_put(cache, env, 1, 1 << 21, lsm_slice(bytes, 16 * FRAME), true);
	CHECK(!has_large(cache, 1, 1 << 21, lsm_slice(bytes, 16 * FRAME)));
	lsm_cache_forget(cache, env, 1);
	CHECK(stats_of(cache).used == 0 && !has_large(cache, 1, 1 << 20, lsm_slice(bytes, 2 * FRAME)));
	free(cache);

	/* Others push pieces out: what is found is whole, and once nobody asks for any, all go. */
	cache = new_cache(32);
	for (uint64_t i = 0; i < 2000; i++)
	{
		lsm_cache_put(cache, env, 1, i % 37, lsm_slice(bytes + i % 37, 3 * FRAME + i % 37), i % 3 != 0);
		put(cache, 2, i, true);
		there += has_large(cache, 1, i * 5 % 37, lsm_slice(bytes + i * 5 % 37, 3 * FRAME + i * 5 % 37));
	}
	CHECK(there > 100);
	for (uint64_t i = 0; i < 200 * PARTITIONS; i++)
		put(cache, 3, i, true);
	for (uint64_t i = 0; i < 37; i++)
		CHECK(!has_large(cache, 1, i, lsm_slice(bytes + i, 3 * FRAME + i)));
	free(cache);
}

static void
test_pins(const uint64_t *near)
{
	LsmCache *cache = new_cache(2);
	LsmCachePin a, a2, b;

	put(cache, 1, near[0], true);
	put(cache, 1, near[1], true);
	CHECK(lsm_cache_get(cache, env, 1, near[0], &a) && lsm_cache_get(cache, env, 1, near[1], &b));
	CHECK(lsm_cache_get(cache, env, 1, near[0], &a2));
	put(cache, 1, near[2], true); /* no frame to take: not put */
	CHECK(!has(cache, 1, near[2]));
	CHECK(is_block(a.block, 1, near[0]) && is_block(b.block, 1, near[1]));
	lsm_cache_forget(cache, env, 1); /* leaves what is pinned */
	CHECK(is_block(a.block, 1, near[0]) && is_block(b.block, 1, near[1]) && stats_of(cache).used == 2);
	lsm_cache_unpin(cache, env, &a);
	put(cache, 1, near[2], true); /* a is still pinned once */
	CHECK(!has(cache, 1, near[2]) && has(cache, 1, near[0]));
	lsm_cache_unpin(cache, env, &a2);
	put(cache, 1, near[2], true);
	CHECK(has(cache, 1, near[2]) && !has(cache, 1, near[0]) && has(cache, 1, near[1]));
	CHECK(is_block(b.block, 1, near[1]));
	lsm_cache_unpin(cache, env, &b);
	lsm_cache_forget(cache, env, 1);
	CHECK(stats_of(cache).used == 0 && !has(cache, 1, near[1]) && !has(cache, 1, near[2]));
	free(cache);
}

/* Reads the first n neighbours as a scan does: hits. */
static int
scan(LsmCache *cache, const uint64_t *near, int n)
{
	int hits = 0;

	for (int i = 0; i < n; i++)
	{
		if (has(cache, 1, near[i]))
			hits++;
		else
			put(cache, 1, near[i], false);
	}
	return hits;
}

static void
test_clock(const uint64_t *near, int n)
{
	LsmCache *cache = new_cache(4);

	/* scans of a little more, and of twice what fits, find the part that is in, every time */
	CHECK(scan(cache, near, 5) == 0);
	for (int i = 0; i < 20; i++)
		CHECK(scan(cache, near, 5) == 4);
	for (int i = 0; i < 20; i++)
		CHECK(scan(cache, near, 8) == 4);

	/* others' blocks take over when the old ones are asked for no longer, at the latest after credit + 1 turns */
	for (int i = 0; i < 4; i++)
		(void) scan(cache, near + 8, 4);
	CHECK(scan(cache, near + 8, 4) == 4 && stats_of(cache).used == 4);

	/* a hot block comes in at once, whatever the others' credit */
	for (int i = 0; i < 4; i++)
		CHECK(scan(cache, near + 8, 4) == 4);
	put(cache, 1, near[0], true);
	CHECK(has(cache, 1, near[0]));

	/* a block that is asked for between survives any scan, and goes when it is no longer */
	for (int i = 1; i < n; i++)
	{
		put(cache, 1, near[i], false);
		CHECK(has(cache, 1, near[0]));
	}
	for (int i = 1; i < n; i++)
		put(cache, 1, near[i], false);
	CHECK(!has(cache, 1, near[0]));

	/* all with full credit: one goes nevertheless */
	for (int i = 0; i < n; i++)
	{
		put(cache, 1, near[i], true);
		CHECK(has(cache, 1, near[i]) && has(cache, 1, near[i]) && has(cache, 1, near[i]));
	}
	CHECK(stats_of(cache).used == 4);
	free(cache);
}

static void
test_forget(void)
{
	LsmCache *cache = new_cache(8);
	int there = 0, fresh = 0, others;

	for (uint64_t offset = 0; offset < 100; offset++)
		for (uint64_t file = 1; file <= 4; file++)
			put(cache, file, offset, true);
	for (uint64_t offset = 0; offset < 100; offset++)
		there += has(cache, 2, offset);
	CHECK(there > 50 && stats_of(cache).used > 300);
	others = (int) stats_of(cache).used - there;
	lsm_cache_forget(cache, env, 2);
	CHECK((int) stats_of(cache).used == others);
	for (uint64_t offset = 0; offset < 100; offset++)
		CHECK(!has(cache, 2, offset));
	there = 0;
	for (uint64_t offset = 0; offset < 100; offset++)
		for (uint64_t file = 1; file <= 4; file++)
			there += has(cache, file, offset);
	CHECK(there == others);
	/* the emptied frames come first: as long as a partition has one, nobody else has to go */
	for (uint64_t offset = 0; offset < 20; offset++)
	{
		uint64_t before = stats_of(cache).used;

		put(cache, 9, offset, false);
		fresh += stats_of(cache).used == before + 1;
	}
	there = 0;
	for (uint64_t offset = 0; offset < 100; offset++)
		for (uint64_t file = 1; file <= 4; file++)
			there += has(cache, file, offset);
	CHECK(fresh > 5 && there >= others - (20 - fresh));
	lsm_cache_forget(cache, env, 777);
	CHECK((int) stats_of(cache).used >= others);
	free(cache);
}

/* Frames are neither lost nor in two places, whatever happened before. */
static void
test_random_use(uint64_t seed)
{
	enum
	{
		PINS = 20
	};
	LsmCache *cache = new_cache(3);
	uint64_t rnd = seed, gets = 0;
	struct
	{
		LsmCachePin pin;
		uint64_t file, offset;
	} pins[PINS];
	LsmCacheStats stats;
	int wrong = 0;

	for (int i = 0; i < PINS; i++)
		pins[i].pin.frame = -1;
	for (int step = 0; step < 20000; step++)
	{
		uint64_t file = 1 + test_random(&rnd) % 5, offset = test_random(&rnd) % 200;
		int i = (int) (test_random(&rnd) % PINS);

		switch (test_random(&rnd) % 8)
		{
			case 0:
			case 1:
			case 2:
				put(cache, file, offset, test_random(&rnd) % 2);
				break;
			case 3:
				if (step % 50 == 0)
					lsm_cache_forget(cache, env, file);
				break;
			default:
				if (pins[i].pin.frame >= 0)
				{
					wrong += !is_block(pins[i].pin.block, pins[i].file, pins[i].offset);
					lsm_cache_unpin(cache, env, &pins[i].pin);
				}
				pins[i].file = file;
				pins[i].offset = offset;
				gets++;
				if (lsm_cache_get(cache, env, file, offset, &pins[i].pin))
					wrong += !is_block(pins[i].pin.block, file, offset);
		}
	}
	for (int i = 0; i < PINS; i++)
		lsm_cache_unpin(cache, env, &pins[i].pin);
	CHECK(wrong == 0);
	stats = stats_of(cache);
	CHECK(stats.hits + stats.misses == gets && stats.hits > 100 && stats.misses > 100);
	for (uint64_t file = 1; file <= 5; file++)
		lsm_cache_forget(cache, env, file);
	CHECK(stats_of(cache).used == 0);
	/* every frame can be used again */
	for (uint64_t offset = 0; offset < 5000; offset++)
		put(cache, 8, offset, false);
	CHECK(stats_of(cache).used == 3 * PARTITIONS);
	free(cache);
}

/* ---- threads and processes ---- */

enum
{
	CROWD = 4,
	STEPS = 6000
};

typedef struct Member
{
	LsmCache *cache;
	uint64_t seed;
	int wrong;
	int hits;
} Member;

static void *
use(void *arg)
{
	Member *m = arg;
	uint64_t rnd = m->seed;

	for (int step = 0; step < STEPS; step++)
	{
		/* few enough blocks that several want the same, more than frames */
		uint64_t file = 1 + test_random(&rnd) % 3, offset = test_random(&rnd) % 100;
		LsmCachePin pin;

		if (step % 500 == 0)
			lsm_cache_forget(m->cache, env, file);
		if (!lsm_cache_get(m->cache, env, file, offset, &pin))
		{
			put(m->cache, file, offset, step % 2);
			continue;
		}
		m->hits++;
		m->wrong += !is_block(pin.block, file, offset);
		if (step % 64 == 0)
			sched_yield(); /* others get on while this one is pinned */
		m->wrong += !is_block(pin.block, file, offset);
		lsm_cache_unpin(m->cache, env, &pin);
	}
	return NULL;
}

static void
check_after(LsmCache *cache)
{
	LsmCacheStats stats = stats_of(cache);
	uint64_t used = stats.used, there = 0;

	CHECK(stats.hits + stats.misses == CROWD * STEPS);
	for (uint64_t file = 1; file <= 3; file++)
		for (uint64_t offset = 0; offset < 100; offset++)
			there += has(cache, file, offset);
	CHECK(there == used && used > 0 && used <= stats.frames);
	/* no pin was left behind: everything can be forgotten */
	for (uint64_t file = 1; file <= 3; file++)
		lsm_cache_forget(cache, env, file);
	CHECK(stats_of(cache).used == 0);
}

static void
test_threads(uint64_t seed)
{
	LsmCache *cache = new_cache(1);
	pthread_t threads[CROWD];
	Member members[CROWD];

	for (int i = 0; i < CROWD; i++)
	{
		members[i] = (Member){.cache = cache, .seed = seed + (uint64_t) i};
		pthread_create(&threads[i], NULL, use, &members[i]);
	}
	for (int i = 0; i < CROWD; i++)
	{
		pthread_join(threads[i], NULL);
		CHECK(members[i].wrong == 0 && members[i].hits > 0);
	}
	check_after(cache);
	free(cache);
}

/* The cache lies at different addresses in them. */
static void
test_processes(uint64_t seed)
{
	size_t bytes = PARTITIONS * FRAME, size = lsm_cache_footprint(bytes, FRAME);
	int fd = memfd_create("cache", 0);
	pid_t pids[CROWD];
	LsmCache *cache;

	CHECK(ftruncate(fd, (off_t) size) == 0);
	cache = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	lsm_cache_init(cache, bytes, FRAME);
	for (int i = 0; i < CROWD; i++)
	{
		pids[i] = fork();
		if (pids[i] == 0)
		{
			Member m = {.seed = seed + (uint64_t) i};

			m.cache = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
			munmap(cache, size);
			use(&m);
			_exit(m.cache != cache && m.wrong == 0 && m.hits > 0 ? 0 : 1);
		}
	}
	for (int i = 0; i < CROWD; i++)
	{
		int status;

		waitpid(pids[i], &status, 0);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	check_after(cache);
	munmap(cache, size);
	close(fd);
}

int
main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t) getpid() * 7919 + 1;
	char lock_file[64];
	uint64_t near[20];
	LsmError err;

	printf("seed %llu\n", (unsigned long long) seed);
	fflush(stdout);
	if (mkdtemp(dir) == NULL)
		return 1;
	MUST(lsm_env_posix_open(dir, &env, &err), &err);
	test_basics();
	test_peek();
	test_large();
	find_neighbours(near, 20);
	test_pins(near);
	test_clock(near, 20);
	test_forget();
	for (int i = 0; i < 5; i++)
		test_random_use(seed + (uint64_t) i);
	test_threads(seed);
	test_processes(seed);
	lsm_env_posix_close(env);
	snprintf(lock_file, sizeof(lock_file), "%s/LOCK", dir);
	unlink(lock_file);
	rmdir(dir);
	return test_done();
}
