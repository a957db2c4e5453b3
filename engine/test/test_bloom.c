/*
 * test_bloom.c - LevelDB's hash and its filters.
 *
 * - The hash gives LevelDB's values, and a filter block that LevelDB 1.23 wrote
 *   is written again byte for byte.
 * - A key that was put in is never denied; few others are let through, and with
 *   a prime number of bytes also few that differ from one in the last byte only.
 * - Whatever the bytes of a filter block are, reading keeps within them, and
 *   damage that can be told never denies a key.
 */
#include "engine/bloom.h"
#include "engine/coding.h"
#include "engine/test/test.h"

static uint64_t rnd;

static void
test_hash(void)
{
	static const unsigned char long_one[48] = {
		0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
		0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0};

	CHECK(lsm_hash("", 0, 0xbc9f1d34) == 0xbc9f1d34);
	CHECK(lsm_hash("\x62", 1, 0xbc9f1d34) == 0xef1345c4);
	CHECK(lsm_hash("\xc3\x97", 2, 0xbc9f1d34) == 0x5b663814);
	CHECK(lsm_hash("\xe2\x99\xa5", 3, 0xbc9f1d34) == 0x323c078f);
	CHECK(lsm_hash("\xe1\x80\xb9\x32", 4, 0xbc9f1d34) == 0xed21633a);
	CHECK(lsm_hash(long_one, sizeof(long_one), 0x12345678) == 0xf333dabb);
}

static void
test_bytes(void)
{
	static const char *keys[] = {"key000", "key00039595", "key0031676", "key023757", "key15838", "key7919"};
	static const char expected[] = "\xb6\x2a\x26\x15\x4c\xc5\xaa\x2e\x06"
								   "\0\0\0\0"
								   "\x09\0\0\0"
								   "\x0b";
	LsmFilterBuilder builder;
	LsmSlice built;

	lsm_filter_builder_init(&builder, 10, false);
	CHECK(lsm_filter_builder_block(&builder, 0));
	for (int i = 0; i < 6; i++)
		CHECK(lsm_filter_builder_add(&builder, lsm_slice(keys[i], strlen(keys[i]))));
	CHECK(lsm_filter_builder_block(&builder, 154 + 5));
	built = lsm_filter_builder_finish(&builder);
	CHECK(built.len == sizeof(expected) - 1 && memcmp(built.data, expected, built.len) == 0);
	lsm_filter_builder_free(&builder);

	/* One key in each of two stretches of 2 KB, none in the one between: the third filter begins where the second ends. */
	lsm_filter_builder_init(&builder, 10, false);
	CHECK(lsm_filter_builder_add(&builder, lsm_slice("a", 1)) && lsm_filter_builder_block(&builder, 4096));
	CHECK(lsm_filter_builder_add(&builder, lsm_slice("b", 1)) && lsm_filter_builder_block(&builder, 4200));
	built = lsm_filter_builder_finish(&builder);
	CHECK(built.len == 9 + 9 + 4 * 4 + 1 && memcmp(built.data + 18, "\0\0\0\0\x09\0\0\0\x09\0\0\0\x12\0\0\0\x0b", 17) == 0);
	lsm_filter_builder_free(&builder);

	for (int bits = 0; bits <= 60; bits += 4)
	{
		static const int probes[] = {1, 2, 5, 8, 11, 13, 16, 19, 22, 24, 27, 30, 30, 30, 30, 30};

		lsm_filter_builder_init(&builder, bits, false);
		CHECK(builder.probes == probes[bits / 4]);
	}

	lsm_filter_builder_init(&builder, 10, false); /* a table without entries */
	built = lsm_filter_builder_finish(&builder);
	CHECK(built.len == 5 && memcmp(built.data, "\0\0\0\0\x0b", 5) == 0);
	lsm_filter_builder_free(&builder);
}

static LsmSlice
key_of(char *buf, uint64_t i)
{
	lsm_put_fixed64(buf, i * UINT64_C(0x9e3779b97f4a7c15));
	return lsm_slice(buf, (size_t) (4 + i % 5));
}

/* Blocks of random sizes and numbers of keys; asks for all keys of a block, and for as many that are in none. */
static void
test_filters(int bits_per_key, bool prime, double worst)
{
	enum
	{
		BLOCKS = 300
	};
	uint64_t starts[BLOCKS];
	int counts[BLOCKS];
	uint64_t offset = 0;
	uint64_t next_key = 0;
	uint64_t denied = 0;
	uint64_t passed = 0;
	uint64_t asked = 0;
	LsmFilterBuilder builder;
	LsmFilter filter;
	LsmSlice built;
	char buf[8];
	char *exact;

	lsm_filter_builder_init(&builder, bits_per_key, prime);
	for (int b = 0; b < BLOCKS; b++)
	{
		/* A filter covers the blocks that begin in its 2 KB: from many small ones to none at all. */
		uint64_t size = b % 3 == 0 ? test_random(&rnd) % 300 : test_random(&rnd) % 20000;

		starts[b] = offset;
		counts[b] = 1 + (int) (test_random(&rnd) % 150);
		CHECK(lsm_filter_builder_block(&builder, offset));
		for (int i = 0; i < counts[b]; i++)
			(void) lsm_filter_builder_add(&builder, key_of(buf, next_key++));
		offset += size + 5;
	}
	CHECK(lsm_filter_builder_block(&builder, offset));
	built = lsm_filter_builder_finish(&builder);
	exact = malloc(built.len);
	memcpy(exact, built.data, built.len);
	CHECK(lsm_filter_init(&filter, lsm_slice(exact, built.len)));

	next_key = 0;
	for (int b = 0; b < BLOCKS; b++)
	{
		for (int i = 0; i < counts[b]; i++)
		{
			denied += !lsm_filter_may_match(&filter, starts[b], key_of(buf, next_key++));
			passed += lsm_filter_may_match(&filter, starts[b], key_of(buf, 1000000000 + next_key));
			asked++;
		}
	}
	CHECK(denied == 0);
	printf("%d bits: %.3f %% let through\n", bits_per_key, 100.0 * (double) passed / (double) asked);
	CHECK((double) passed <= worst * (double) asked);
	/* A filter that lets everything through would pass what is above only if worst were 1. */
	CHECK(worst < 1 && passed < asked);
	CHECK(lsm_filter_may_match(&filter, UINT64_C(1) << 40, key_of(buf, 1)));

	for (int n = 0; n < 2000; n++)
	{
		size_t at = n % 2 ? test_random(&rnd) % built.len : built.len - 1 - test_random(&rnd) % (built.len < 700 ? built.len : 700);
		char old = exact[at];

		exact[at] = (char) test_random(&rnd);
		if (lsm_filter_init(&filter, lsm_slice(exact, built.len)))
		{
			for (int i = 0; i < 5; i++)
				(void) lsm_filter_may_match(&filter, starts[test_random(&rnd) % BLOCKS], key_of(buf, test_random(&rnd)));
			(void) lsm_filter_may_match(&filter, test_random(&rnd), key_of(buf, 5));
		}
		exact[at] = old;
	}
	for (size_t len = 0; len < 12; len++)
	{
		char *cut = malloc(len + 1);

		memcpy(cut, built.data + built.len - len, len);
		if (lsm_filter_init(&filter, lsm_slice(cut, len)))
			(void) lsm_filter_may_match(&filter, 0, key_of(buf, 5));
		else
			CHECK(true);
		free(cut);
	}
	free(exact);
	lsm_filter_builder_free(&builder);
}

/* Even numbers in decimal, few and many a block; asks for the odd ones between them. */
static void
test_numbers(void)
{
	static const int per_block[] = {2, 5, 16, 35, 64};

	for (size_t i = 0; i < sizeof(per_block) / sizeof(per_block[0]); i++)
	{
		int passed = 0;
		int asked = 0;

		for (int block = 0; block < 200; block++)
		{
			unsigned first = (unsigned) (test_random(&rnd) % 1000000);
			LsmFilterBuilder builder;
			LsmFilter filter;
			char key[17];

			lsm_filter_builder_init(&builder, 10, true);
			for (int j = 0; j < per_block[i]; j++)
			{
				snprintf(key, sizeof(key), "%016u", (first + (unsigned) j) * 2);
				(void) lsm_filter_builder_add(&builder, lsm_slice(key, 16));
			}
			CHECK(lsm_filter_init(&filter, lsm_filter_builder_finish(&builder)));
			for (int j = 0; j < per_block[i]; j++)
			{
				snprintf(key, sizeof(key), "%016u", (first + (unsigned) j) * 2);
				CHECK(lsm_filter_may_match(&filter, 0, lsm_slice(key, 16)));
				key[15]++;
				passed += lsm_filter_may_match(&filter, 0, lsm_slice(key, 16));
				asked++;
			}
			lsm_filter_builder_free(&builder);
		}
		CHECK(passed < asked / 10);
	}
}

/* Damage that can be told must not hide keys. */
static void
test_damage(void)
{
	static const char empty[] = "\xff\x06"
								"\x02\0\0\0"
								"\x02\0\0\0"
								"\x0b"; /* filter 0 from 2 to 2: empty, denies */
	static const char crossed[] = "\0\x06"
								  "\x09\0\0\0"
								  "\x02\0\0\0"
								  "\x0b"; /* from 9 to 2 */
	static const char outside[] = "\0\x06"
								  "\0\0\0\0"
								  "\x63\0\0\0"
								  "\x0b"; /* the offsets lie behind the end */
	static const char reserved[] = "\0\x1f"
								   "\0\0\0\0"
								   "\x02\0\0\0"
								   "\x0b"; /* 31 probes */
	LsmFilter filter;
	LsmSlice key = lsm_slice("k", 1);

	CHECK(lsm_filter_init(&filter, lsm_slice(empty, sizeof(empty) - 1)));
	CHECK(!lsm_filter_may_match(&filter, 0, key));
	CHECK(lsm_filter_init(&filter, lsm_slice(crossed, sizeof(crossed) - 1)));
	CHECK(lsm_filter_may_match(&filter, 0, key));
	CHECK(!lsm_filter_init(&filter, lsm_slice(outside, sizeof(outside) - 1)));
	CHECK(lsm_filter_init(&filter, lsm_slice(reserved, sizeof(reserved) - 1)));
	CHECK(lsm_filter_may_match(&filter, 0, key));
}

int
main(void)
{
	const char *seed = getenv("BLOOM_SEED");

	rnd = seed != NULL ? strtoull(seed, NULL, 10) : 20240607;
	printf("seed %llu (BLOOM_SEED)\n", (unsigned long long) rnd);
	test_hash();
	test_bytes();
	for (int prime = 0; prime < 2; prime++)
	{
		test_filters(10, prime, 0.015);
		test_filters(1, prime, 0.75);
		test_filters(60, prime, 0.0005);
	}
	test_numbers();
	test_damage();
	return test_done();
}
