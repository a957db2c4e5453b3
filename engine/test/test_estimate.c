/*
 * test_estimate.c - how much there is of a range, without reading it.
 *
 * What must hold:
 *   - of a range with few entries in the memtable the number is exact; of one with many it is near, whatever batches they came
 *     in, and right on average
 *   - neighbours in the same file do not count, and how large or how well compressed they are changes nothing: in the
 *     memtable, in tables of level 0 (where everything is beside everything) and below
 */
#include "engine/db.h"
#include "engine/env_sim.h"
#include "engine/memtable.h"
#include "engine/test/test.h"

#include <stdlib.h>
#include <string.h>

static double
distance(double off)
{
	return off < 0 ? -off : off;
}

static LsmSlice
key_of(char *buf, char letter, int number)
{
	snprintf(buf, 16, "%c%08d", letter, number);
	return lsm_slice(buf, 9);
}

/* ---- memtables ---- */

static void
fill_memtable(LsmMemtable *mt, int each, int batch)
{
	char key[16];
	uint64_t seq = 1;

	for (int i = 0; i < each; i += batch)
	{
		LsmMemRoom room;

		CHECK(lsm_memtable_reserve(mt, (size_t) batch * (lsm_memtable_cost(9, 4) + lsm_memtable_cost(9, 100)), 2 * (uint32_t) batch, &room));
		for (int k = i; k < i + batch; k++)
		{
			static const char value[100];

			/* in no order */
			lsm_memtable_add(mt, &room, seq++, LSM_TYPE_VALUE, key_of(key, 'a', (int) (k * 7919LL % each)), lsm_slice(value, 4));
			lsm_memtable_add(mt, &room, seq++, LSM_TYPE_VALUE, key_of(key, 'b', (int) (k * 7919LL % each)), lsm_slice(value, 100));
		}
	}
}

static void
test_memtable(int batch)
{
	const int each = 40000;
	const size_t size = 32 << 20;
	LsmMemtable *mt = lsm_memtable_init(aligned_alloc(64, size), size);
	double sum = 0;
	double worst = 0;
	int ranges = 0;
	char lower[16];
	char upper[16];
	uint64_t entries;
	uint64_t bytes;

	fill_memtable(mt, each, batch);
	for (int length = 1; length <= each; length = length * 3 + 1)
	{
		for (int from = 0; from + length <= each; from += each / 20)
		{
			double off;

			lsm_memtable_estimate(mt, key_of(lower, 'b', from), key_of(upper, 'b', from + length), LSM_ALL_SEQS, &entries, &bytes);
			off = (double) entries / length - 1;
			if (length <= 150)
				CHECK(entries == (uint64_t) length);
			else
			{
				sum += off;
				if (distance(off) > worst)
					worst = distance(off);
				ranges++;
			}
			CHECK(bytes / entries >= lsm_memtable_cost(9, 100) - 4 && bytes / entries <= lsm_memtable_cost(9, 100));
		}
	}
	/* a sample has 256 or more: one standard deviation is at most a sixteenth */
	if (distance(sum / ranges) > 0.08 || worst > 0.35)
		fprintf(stderr, "batch %d: %d ranges, on average %.3f off, at worst %.3f\n", batch, ranges, sum / ranges, worst);
	CHECK(distance(sum / ranges) <= 0.08);
	CHECK(worst <= 0.35);

	/* all, nothing, what is newer */
	lsm_memtable_estimate(mt, lsm_slice(NULL, 0), lsm_slice(NULL, 0), LSM_ALL_SEQS, &entries, &bytes);
	CHECK(entries > 2 * each * 0.75 && entries < 2 * each * 1.25);
	lsm_memtable_estimate(mt, lsm_slice("c", 1), lsm_slice(NULL, 0), LSM_ALL_SEQS, &entries, &bytes);
	CHECK(entries == 0 && bytes == 0);
	lsm_memtable_estimate(mt, lsm_slice("a", 1), lsm_slice("b", 1), (LsmSeqs){each + 1, UINT64_MAX}, &entries, &bytes);
	CHECK(entries > each / 2 * 0.65 && entries < each / 2 * 1.35);
	free(mt);
}

/* ---- stores ---- */

static LsmDb *db;

/* `there`: what is in the range. */
static void
check_near(const char *when, char letter, int from, int to, int there, double tolerance)
{
	LsmError err;
	uint64_t bytes;
	uint64_t entries;
	char lower[16];
	char upper[16];
	double wanted = there;

	MUST(lsm_range_stats(db, key_of(lower, letter, from), key_of(upper, letter, to), LSM_ALL_SEQS, &bytes, &entries, &err), &err);
	if (distance((double) entries - wanted) > wanted * tolerance)
		fprintf(stderr, "%s: %llu for %d of %c\n", when, (unsigned long long) entries, there, letter);
	CHECK(distance((double) entries - wanted) <= wanted * tolerance);
}

static void
check_all(const char *when, int each, double tolerance)
{
	for (char letter = 'a'; letter <= 'd'; letter++)
	{
		check_near(when, letter, 0, each, each, tolerance);
		check_near(when, letter, each / 4, each / 2, each / 4, tolerance * 1.5);
	}
}

/*
 * Of four kinds of entries the same number, in turns: small ones; large ones that compress to little; large ones that do not
 * compress; small ones again.
 */
static void
test_neighbours(LsmCompression compression)
{
	const int each = 6000;
	LsmOptions options;
	LsmEnv *env;
	uint64_t random = 7;
	LsmError err;

	lsm_options_init(&options);
	options.memtable_size = 16 << 20;
	options.table.compression = compression;
	MUST(lsm_env_sim_new(1, &env), &err);
	MUST(lsm_open(env, &options, &db, &err), &err);
	for (int i = 0; i < each; i++)
	{
		LsmBatch batch = {0};
		char key[16];
		char value[600];

		lsm_batch_put(&batch, key_of(key, 'a', i), lsm_slice(key, 3));
		memset(value, 'x', sizeof(value));
		lsm_batch_put(&batch, key_of(key, 'b', i), lsm_slice(value, sizeof(value)));
		for (size_t k = 0; k < sizeof(value); k += 8)
		{
			uint64_t word = test_random(&random);

			memcpy(value + k, &word, 8);
		}
		lsm_batch_put(&batch, key_of(key, 'c', i), lsm_slice(value, sizeof(value)));
		lsm_batch_put(&batch, key_of(key, 'd', i), lsm_slice(key, 3));
		MUST(lsm_write(db, &batch, false, NULL, &err), &err);
		lsm_batch_free(&batch);
	}
	check_all("in memory", each, 0.25);
	MUST(lsm_flush(db, &err), &err);
	check_all("flushed", each, 0.2);
	MUST(lsm_compact_range(db, lsm_slice("", 0), lsm_slice("", 0), &err), &err);
	check_all("compacted", each, 0.2);
	/* within a block or two it is counted */
	check_near("few", 'a', 100, 130, 30, 0);
	check_near("few", 'c', 100, 110, 10, 0);
	check_near("none", 'e', 0, each, 0, 0);
	lsm_close(db);
	lsm_env_sim_free(env);
}

int
main(void)
{
	test_memtable(1);
	test_memtable(8);
	test_memtable(1000);
	test_neighbours(LSM_COMPRESS_NONE);
	test_neighbours(LSM_COMPRESS_ZSTD);
	return test_done();
}
