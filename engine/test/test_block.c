/*
 * test_block.c - one block: what goes in comes out, whatever the bytes are.
 *
 * - A block is LevelDB's byte for byte (one by hand).
 * - Every entry comes back, forward, backward, in any mix of both, and by seeks
 *   to every key and between; compared with the sorted array it was made from.
 * - A run is what the entries behind the current one say that it is, and ends where they say.
 * - The size that the builder foretells is the size that it gets.
 * - A block with any bytes changed, or cut anywhere, keeps within its bounds and
 *   comes to an end (the sanitizers watch; the block's memory is exact).
 */
#include "engine/block.h"
#include "engine/block_builder.h"
#include "engine/coding.h"
#include "engine/keys.h"
#include "engine/test/test.h"

#define MAX_ENTRIES 300

typedef struct Entry
{
	LsmBuf key;
	LsmBuf value;
} Entry;

static uint64_t rnd;
static Entry entries[MAX_ENTRIES];
static int num_entries;
static LsmBlockKeys keys;

static int
compare(LsmSlice a, LsmSlice b)
{
	return keys == LSM_KEYS_INTERNAL ? lsm_ikey_compare(a, b) : lsm_slice_compare(a, b);
}

static int
compare_entries(const void *a, const void *b)
{
	return compare(lsm_buf_slice(&((const Entry *) a)->key), lsm_buf_slice(&((const Entry *) b)->key));
}

static void
free_entries(void)
{
	for (int i = 0; i < MAX_ENTRIES; i++)
	{
		lsm_buf_free(&entries[i].key);
		lsm_buf_free(&entries[i].value);
	}
	num_entries = 0;
}

/* A key of few different bytes, so that prefixes are shared and keys contain each other. */
static void
random_key(LsmBuf *key, size_t max_len)
{
	size_t len = (size_t) (test_random(&rnd) % (max_len + 1));
	char byte;

	lsm_buf_reserve(key, 1); /* not NULL, also when empty */
	key->len = 0;
	while (len-- > 0)
	{
		byte = "\0aaab\xff"[test_random(&rnd) % 6];
		lsm_buf_append(key, &byte, 1);
	}
	if (keys == LSM_KEYS_INTERNAL)
		lsm_buf_put_fixed64(key, lsm_pack_trailer(test_random(&rnd) % 1000, (LsmType) (test_random(&rnd) % 2)));
}

/* Fills entries[] with different keys in order. */
static void
random_entries(int n, size_t max_key, size_t max_value)
{
	int kept = 0;

	free_entries();
	for (int i = 0; i < n; i++)
	{
		size_t len = max_value == 0 ? 0 : (size_t) (test_random(&rnd) % max_value);

		random_key(&entries[i].key, test_random(&rnd) % 20 == 0 ? max_key * 20 : max_key);
		lsm_buf_reserve(&entries[i].value, len + 1);
		memset(entries[i].value.data, 'a' + i % 26, len);
		entries[i].value.len = len;
	}
	qsort(entries, (size_t) n, sizeof(entries[0]), compare_entries);
	for (int i = 0; i < n; i++)
	{
		Entry tmp = entries[kept];

		if (kept > 0 && compare_entries(&entries[kept - 1], &entries[i]) == 0)
			continue;
		entries[kept] = entries[i];
		entries[i] = tmp;
		kept++;
	}
	num_entries = kept;
}

/* The block of all entries, in memory of exactly its size (malloc). */
static LsmSlice
build(LsmBlockBuilder *builder)
{
	LsmSlice built;
	char *exact;

	lsm_block_builder_reset(builder);
	CHECK(lsm_block_builder_empty(builder));
	for (int i = 0; i < num_entries; i++)
	{
		LsmSlice key = lsm_buf_slice(&entries[i].key);
		LsmSlice value = lsm_buf_slice(&entries[i].value);
		size_t foretold = lsm_block_builder_size_with(builder, key, value);

		if (!lsm_block_builder_add(builder, key, value) || lsm_block_builder_size(builder) != foretold)
			CHECK(!"foretold size");
	}
	CHECK(lsm_block_builder_empty(builder) == (num_entries == 0));
	{
		size_t foretold = lsm_block_builder_size(builder);

		built = lsm_block_builder_finish(builder);
		CHECK(built.len == foretold);
	}
	exact = malloc(built.len);
	memcpy(exact, built.data, built.len);
	return lsm_slice(exact, built.len);
}

static bool
is_at(const LsmBlockIter *it, int i)
{
	if (it->status != LSM_OK)
		return false;
	if (i < 0 || i >= num_entries)
		return !it->valid;
	return it->valid && lsm_slice_compare(it->key, lsm_buf_slice(&entries[i].key)) == 0 &&
		   lsm_slice_compare(it->value, lsm_buf_slice(&entries[i].value)) == 0;
}

static int
first_not_below(LsmSlice target)
{
	int i = 0;

	while (i < num_entries && compare(lsm_buf_slice(&entries[i].key), target) < 0)
		i++;
	return i;
}

static void
check_block(LsmBlockIter *it, LsmSlice block)
{
	LsmBuf target = {0};
	bool ok = true;
	int at;

	CHECK(lsm_block_iter_set(it, block));
	CHECK(!it->valid);
	lsm_block_iter_first(it);
	for (int i = 0; i <= num_entries; i++)
	{
		ok = ok && is_at(it, i);
		if (it->valid)
			lsm_block_iter_next(it);
	}
	CHECK(ok);
	lsm_block_iter_last(it);
	for (int i = num_entries - 1; i >= -1; i--)
	{
		ok = ok && is_at(it, i);
		if (it->valid)
			lsm_block_iter_prev(it);
	}
	CHECK(ok);
	for (int i = 0; i < num_entries; i++)
	{
		lsm_block_iter_seek(it, lsm_buf_slice(&entries[i].key));
		ok = ok && is_at(it, i);
		if (i % 3 == 0)
		{
			lsm_block_iter_prev(it);
			ok = ok && is_at(it, i - 1);
		}
		else
		{
			lsm_block_iter_next(it);
			ok = ok && is_at(it, i + 1);
		}
	}
	CHECK(ok);
	for (int n = 0; n < 200; n++)
	{
		random_key(&target, 6);
		lsm_block_iter_seek(it, lsm_buf_slice(&target));
		at = first_not_below(lsm_buf_slice(&target));
		ok = ok && is_at(it, at);
		for (int m = 0; m < 6 && at >= 0 && at < num_entries; m++)
		{
			if (test_random(&rnd) % 2)
			{
				lsm_block_iter_next(it);
				at++;
			}
			else
			{
				lsm_block_iter_prev(it);
				at--;
			}
			ok = ok && is_at(it, at);
		}
	}
	CHECK(ok);
	CHECK(lsm_block_restarts_ok(it));
	lsm_buf_free(&target);
}

/* Does entry i belong to a run behind entry i - 1? */
static bool
belongs(const LsmRun *run, LsmSlice upper, int i)
{
	LsmSlice key = lsm_buf_slice(&entries[i].key);
	LsmSlice user = lsm_ikey_user(key);

	return lsm_ikey_type(key) == LSM_TYPE_VALUE && lsm_ikey_seq(key) <= run->max_seq &&
		   lsm_slice_compare(user, lsm_ikey_user(lsm_buf_slice(&entries[i - 1].key))) != 0 &&
		   (upper.len == 0 || lsm_slice_compare(user, upper) < 0) &&
		   (!run->stamped || (entries[i].value.len > 0 && entries[i].value.data[0] == 0));
}

static bool
is_entry_of_run(const LsmRun *run, const LsmRunEntry *entry, int i)
{
	LsmSlice value = lsm_buf_slice(&entries[i].value);

	if (run->stamped)
		value = lsm_slice(value.data + 1, value.len - 1);
	return lsm_slice_compare(entry->user, lsm_ikey_user(lsm_buf_slice(&entries[i].key))) == 0 &&
		   lsm_slice_compare(entry->value, value) == 0 && entry->seq == lsm_ikey_seq(lsm_buf_slice(&entries[i].key));
}

/* Walks through the block by runs, and by single steps where they are empty. */
static int
check_runs(LsmBlockIter *it, LsmSlice block, LsmRun *run, LsmSlice upper)
{
	bool ok = true;
	int nruns = 0;
	int at = 0;

	CHECK(lsm_block_iter_set(it, block));
	lsm_block_iter_first(it);
	while (it->valid && ok)
	{
		size_t used = 0;
		int n = 0;

		run->max = 1 + (int) (test_random(&rnd) % LSM_RUN_MAX);
		lsm_block_iter_run(it, run, upper);
		for (; n < run->n; n++)
		{
			ok = ok && at + 1 + n < num_entries && belongs(run, upper, at + 1 + n) && is_entry_of_run(run, &run->entries[n], at + 1 + n);
			used += entries[at + 1 + n].key.len;
		}
		at += n;
		/* It ends for a reason. */
		ok = ok && (n == run->max || at + 1 == num_entries || !belongs(run, upper, at + 1) || entries[at + 1].key.len > it->key_cap ||
					used + entries[at + 1].key.len > sizeof(run->keys));
		ok = ok && is_at(it, at);
		nruns += n > 0;
		/* Now and then a step between two runs, or back and forth. */
		if (n > 0 && test_random(&rnd) % 4 == 0)
		{
			lsm_block_iter_prev(it);
			ok = ok && is_at(it, at - 1);
			if (it->valid)
				lsm_block_iter_next(it);
			ok = ok && is_at(it, at);
		}
		if (n == 0 || test_random(&rnd) % 4 == 0)
		{
			lsm_block_iter_next(it);
			ok = ok && is_at(it, ++at);
		}
	}
	CHECK(ok);
	CHECK(at >= num_entries - 1);
	return nruns;
}

/* A key that shares part of its trailer with the bytes before, though its user key is another. */
static void
test_run_of_shared_trailers(void)
{
	static const char *const users[] = {"A", "a", "a\1"};
	static const uint64_t seqs[] = {7, 1, 0};
	LsmBlockBuilder builder;
	LsmSlice block;
	LsmBlockIter it;
	LsmRun run = {.max = LSM_RUN_MAX, .max_seq = LSM_MAX_SEQUENCE};

	free_entries();
	for (num_entries = 0; num_entries < 3; num_entries++)
		CHECK(lsm_ikey_append(&entries[num_entries].key, lsm_slice(users[num_entries], strlen(users[num_entries])), seqs[num_entries],
							  LSM_TYPE_VALUE));
	lsm_block_builder_init(&builder, 16, 0);
	block = build(&builder);
	lsm_block_iter_init(&it, LSM_KEYS_INTERNAL);
	CHECK(lsm_block_iter_set(&it, block));
	lsm_block_iter_first(&it);
	lsm_block_iter_run(&it, &run, lsm_slice(NULL, 0));
	CHECK(run.n == 2 && is_entry_of_run(&run, &run.entries[0], 1) && is_entry_of_run(&run, &run.entries[1], 2));
	lsm_block_iter_free(&it);
	lsm_block_builder_free(&builder);
	free((char *) block.data);
}

static void
test_runs(void)
{
	static const int intervals[] = {1, 3, 16};
	LsmBlockIter it;
	LsmRun run;
	int nruns = 0;

	keys = LSM_KEYS_INTERNAL;
	lsm_block_iter_init(&it, keys);
	for (int n = 0; n < 300; n++)
	{
		LsmBlockBuilder builder;
		LsmBuf upper = {0};
		LsmSlice block;

		lsm_block_builder_init(&builder, intervals[n % 3], 0);
		random_entries(1 + (int) (test_random(&rnd) % 100), n % 2 ? 12 : 20, 30);
		run.stamped = n % 4 >= 2;
		run.max_seq = n % 5 == 0 ? 500 : n % 5 == 1 ? 990
													: LSM_MAX_SEQUENCE;
		for (int i = 0; i < num_entries && n % 7 != 0; i++)
			if (entries[i].value.len > 0 && test_random(&rnd) % 8 != 0)
				entries[i].value.data[0] = 0;
		/* Deletions are rarer than in other tests. */
		for (int i = 0; i < num_entries && n % 3 != 0; i++)
			entries[i].key.data[entries[i].key.len - LSM_TRAILER_SIZE] = LSM_TYPE_VALUE;
		qsort(entries, (size_t) num_entries, sizeof(entries[0]), compare_entries);
		if (n % 2)
			random_key(&upper, 12);
		block = build(&builder);
		nruns += check_runs(&it, block, &run, n % 2 ? lsm_ikey_user(lsm_buf_slice(&upper)) : lsm_slice(NULL, 0));
		free((char *) block.data);
		lsm_buf_free(&upper);
		lsm_block_builder_free(&builder);
	}
	CHECK(nruns > 1000);
	lsm_block_iter_free(&it);
}

static void
test_round_trips(void)
{
	static const int intervals[] = {1, 2, 3, 16, 1000};
	static const size_t spreads[] = {0, 0, 100, 400, 1};
	static const int sizes[] = {0, 1, 2, 15, 16, 17, 32, 33, 100, 299};
	LsmBlockIter it;

	for (int k = 0; k < 2; k++)
	{
		keys = k ? LSM_KEYS_PLAIN : LSM_KEYS_INTERNAL;
		lsm_block_iter_init(&it, keys);
		for (size_t i = 0; i < sizeof(intervals) / sizeof(intervals[0]); i++)
		{
			LsmBlockBuilder builder;

			lsm_block_builder_init(&builder, intervals[i], spreads[i]);
			for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
			{
				LsmSlice block;

				random_entries(sizes[s], s % 2 ? 5 : 30, s % 3 * 150);
				block = build(&builder);
				check_block(&it, block);
				free((char *) block.data);
			}
			lsm_block_builder_free(&builder);
		}
		lsm_block_iter_free(&it);
	}
}

/* Worked out by hand from LevelDB's description of the format. */
static void
test_bytes(void)
{
	static const char expected[] = "\x00\x05\x02"
								   "applev1"
								   "\x04\x02\x00"
								   "y!"
								   "\x00\x04\x01"
								   "pearx"
								   "\x00\x00\x00\x00"
								   "\x0f\x00\x00\x00"
								   "\x02\x00\x00\x00";
	LsmBlockBuilder builder;
	LsmSlice built;

	lsm_block_builder_init(&builder, 2, 0);
	for (int round = 0; round < 2; round++)
	{
		lsm_block_builder_reset(&builder);
		CHECK(lsm_block_builder_add(&builder, lsm_slice("apple", 5), lsm_slice("v1", 2)));
		CHECK(lsm_block_builder_add(&builder, lsm_slice("apply!", 6), lsm_slice("", 0)));
		CHECK(lsm_block_builder_add(&builder, lsm_slice("pear", 4), lsm_slice("x", 1)));
		built = lsm_block_builder_finish(&builder);
		CHECK(built.len == sizeof(expected) - 1 && memcmp(built.data, expected, built.len) == 0);
	}
	lsm_block_builder_reset(&builder);
	built = lsm_block_builder_finish(&builder); /* no entries: one restart point all the same */
	CHECK(built.len == 8 && memcmp(built.data, "\0\0\0\0\1\0\0\0", 8) == 0);
	lsm_block_builder_free(&builder);
}

/* Restart points are at most the spread and one entry apart; sizes foretold are those that come out. */
static void
test_spread(void)
{
	static const char value[100];
	LsmBlockBuilder builder;
	LsmBlockIter it;
	LsmSlice built;
	size_t foretold = 0;

	lsm_block_builder_init(&builder, 16, 250);
	for (int i = 0; i < 40; i++)
	{
		char key[16];
		LsmSlice k, v = lsm_slice(value, i < 20 ? 100 : 0); /* large ones, then small ones */

		snprintf(key, sizeof(key), "key%02d", i);
		k = lsm_slice(key, 5);
		foretold = lsm_block_builder_size_with(&builder, k, v);
		CHECK(lsm_block_builder_add(&builder, k, v) && lsm_block_builder_size(&builder) == foretold);
	}
	built = lsm_block_builder_finish(&builder);
	CHECK(built.len == foretold);
	lsm_block_iter_init(&it, LSM_KEYS_PLAIN);
	CHECK(lsm_block_iter_set(&it, built) && lsm_block_restarts_ok(&it));
	/* three large entries fill a spread, sixteen small ones an interval: 0, 3, .. 18, 34 */
	CHECK(it.num_restarts == 8);
	for (int i = 0; i < 40; i++)
	{
		char key[16];

		snprintf(key, sizeof(key), "key%02d", i);
		lsm_block_iter_seek(&it, lsm_slice(key, 5));
		CHECK(it.valid && lsm_slice_compare(it.key, lsm_slice(key, 5)) == 0 && it.value.len == (i < 20 ? 100 : 0));
	}
	lsm_block_iter_free(&it);
	lsm_block_builder_free(&builder);
}

/* Everything one can do with a block; nothing is expected of the result but that it comes. */
static void
exercise(LsmBlockIter *it, LsmSlice block)
{
	LsmBuf target = {0};
	size_t sum = 0;

	if (!lsm_block_iter_set(it, block))
	{
		CHECK(it->status == LSM_CORRUPT);
		return;
	}
	for (lsm_block_iter_first(it); it->valid; lsm_block_iter_next(it))
	{
		for (size_t i = 0; i < it->key.len; i++)
			sum += (unsigned char) it->key.data[i];
		for (size_t i = 0; i < it->value.len; i++)
			sum += (unsigned char) it->value.data[i];
	}
	for (lsm_block_iter_last(it); it->valid; lsm_block_iter_prev(it))
		sum += it->key.len > 0 ? (unsigned char) it->key.data[it->key.len - 1] : 0;
	for (int n = 0; n < 4; n++)
	{
		random_key(&target, 6);
		lsm_block_iter_seek(it, lsm_buf_slice(&target));
		for (int m = 0; m < 5 && it->valid; m++)
		{
			sum += it->key.len;
			if (m % 2)
				lsm_block_iter_prev(it);
			else
				lsm_block_iter_next(it);
		}
	}
	if (it->keys == LSM_KEYS_INTERNAL)
	{
		LsmRun run = {.max = LSM_RUN_MAX, .max_seq = LSM_MAX_SEQUENCE};

		lsm_block_iter_first(it);
		while (it->valid)
		{
			lsm_block_iter_run(it, &run, lsm_slice(NULL, 0));
			for (int i = 0; i < run.n; i++)
			{
				for (size_t j = 0; j < run.entries[i].user.len; j++)
					sum += (unsigned char) run.entries[i].user.data[j];
				for (size_t j = 0; j < run.entries[i].value.len; j++)
					sum += (unsigned char) run.entries[i].value.data[j];
			}
			lsm_block_iter_next(it);
		}
	}
	(void) lsm_block_restarts_ok(it);
	lsm_buf_free(&target);
	if (sum == 1)
		fputc('\n', stderr); /* so that the reads are not optimised away */
}

static void
test_damage(void)
{
	LsmBlockIter it;

	for (int k = 0; k < 2; k++)
	{
		LsmBlockBuilder builder;
		LsmSlice block;
		char *copy;

		keys = k ? LSM_KEYS_PLAIN : LSM_KEYS_INTERNAL;
		lsm_block_builder_init(&builder, 4, 0);
		random_entries(20, 6, 9);
		block = build(&builder);
		lsm_block_iter_init(&it, keys);

		copy = malloc(block.len);
		for (size_t at = 0; at < block.len; at++)
		{
			static const unsigned char masks[] = {0x01, 0x80, 0xff, 0x7f};

			for (size_t m = 0; m < sizeof(masks); m++)
			{
				memcpy(copy, block.data, block.len);
				copy[at] = (char) (copy[at] ^ masks[m]);
				exercise(&it, lsm_slice(copy, block.len));
			}
		}
		for (int n = 0; n < 3000; n++)
		{
			memcpy(copy, block.data, block.len);
			for (int flips = 1 + (int) (test_random(&rnd) % 6); flips > 0; flips--)
				copy[test_random(&rnd) % block.len] = (char) test_random(&rnd);
			exercise(&it, lsm_slice(copy, block.len));
		}
		free(copy);
		for (size_t len = 0; len < block.len; len++)
		{
			copy = malloc(len > 0 ? len : 1);
			memcpy(copy, block.data, len);
			exercise(&it, lsm_slice(copy, len));
			/* and with a plausible end */
			if (len >= 8)
			{
				lsm_put_fixed32(copy + len - 4, (uint32_t) (test_random(&rnd) % (len / 4)));
				exercise(&it, lsm_slice(copy, len));
			}
			free(copy);
		}
		lsm_block_iter_free(&it);
		lsm_block_builder_free(&builder);
		free((char *) block.data);
	}
}

/* Entries that checks let through one by one, but that cannot follow each other. */
static void
test_impossible(void)
{
	/* 10 bytes of user key, then an entry that shares 9 of them and adds too little for a trailer */
	static const char cut_trailer[] = "\x00\x12\x00"
									  "aaaaaaaaaa\1\0\0\0\0\0\0\0"
									  "\x09\x02\x00"
									  "bb"
									  "\0\0\0\0\1\0\0\0";
	/* goes on as the block does behind that entry, and longer: whoever compares too much reads behind its end */
	static const char long_target[] = "aaaaaaaaabb\0\0\0\0\1\0\0\0zzzzzzzzzzzzzzzz\1\0\0\0\0\0\0\0";
	/* shares more than the key before has */
	static const char shares_more[] = "\x00\x09\x00"
									  "a\1\0\0\0\0\0\0\0"
									  "\x14\x09\x00"
									  "b\1\0\0\0\0\0\0\0"
									  "\0\0\0\0\1\0\0\0";
	LsmBlockIter it;
	char *exact;

	lsm_block_iter_init(&it, LSM_KEYS_INTERNAL);
	exact = malloc(sizeof(cut_trailer) - 1);
	memcpy(exact, cut_trailer, sizeof(cut_trailer) - 1);
	CHECK(lsm_block_iter_set(&it, lsm_slice(exact, sizeof(cut_trailer) - 1)));
	lsm_block_iter_seek(&it, lsm_slice(long_target, sizeof(long_target) - 1));
	CHECK(!it.valid && it.status == LSM_CORRUPT);
	lsm_block_iter_last(&it);
	CHECK(!it.valid && it.status == LSM_CORRUPT);
	CHECK(lsm_block_iter_set(&it, lsm_slice(shares_more, sizeof(shares_more) - 1)));
	lsm_block_iter_seek(&it, lsm_slice("b\1\0\0\0\0\0\0\0", 9));
	CHECK(!it.valid && it.status == LSM_CORRUPT);
	lsm_block_iter_first(&it);
	CHECK(it.valid);
	lsm_block_iter_next(&it);
	CHECK(!it.valid && it.status == LSM_CORRUPT);
	free(exact);
	lsm_block_iter_free(&it);
}

int
main(void)
{
	const char *seed = getenv("BLOCK_SEED");

	rnd = seed != NULL ? strtoull(seed, NULL, 10) : 20240607;
	printf("seed %llu (BLOCK_SEED)\n", (unsigned long long) rnd);
	test_bytes();
	test_spread();
	test_round_trips();
	test_runs();
	test_run_of_shared_trailers();
	test_damage();
	test_impossible();
	free_entries();
	return test_done();
}
