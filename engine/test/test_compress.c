/*
 * test_compress.c - compressed blocks.
 *
 * - They append to what is there, and come back as they were.
 * - What would hardly shrink is left alone.
 * - A length that is only claimed allocates nothing; cut and changed blocks are
 *   refused, or give no more than the length they claim.
 */
#include "engine/table_builder.h"
#include "engine/test/test.h"

static LsmError err;
static uint64_t rnd = 20240607;

static void
test_compression(void)
{
	static const char claims_much[] = "\x80\x80\x80\x80\x04"; /* snappy, 1 GB */
	char raw[1000];
	LsmSlice whole = lsm_slice(raw, sizeof(raw));

	for (int kind = LSM_COMPRESS_SNAPPY; kind <= LSM_COMPRESS_ZSTD; kind++)
	{
		LsmBuf packed = {0};
		LsmBuf out = {0};

		for (size_t i = 0; i < sizeof(raw); i++)
			raw[i] = (char) (i % 50);
		lsm_buf_append(&packed, "abc", 3);
		lsm_buf_append(&out, "defg", 4);
		CHECK(lsm_compress((LsmCompression) kind, 1, whole, &packed));
		CHECK(packed.len < 500 && memcmp(packed.data, "abc", 3) == 0);
		CHECK(lsm_decompress((LsmCompression) kind, lsm_slice(packed.data + 3, packed.len - 3), &out, &err) == LSM_OK);
		CHECK(out.len == 1004 && memcmp(out.data, "defg", 4) == 0 && memcmp(out.data + 4, raw, 1000) == 0);
		for (size_t i = 0; i < sizeof(raw); i++)
			raw[i] = (char) test_random(&rnd);
		packed.len = 3;
		CHECK(!lsm_compress((LsmCompression) kind, 1, whole, &packed) && packed.len == 3);
		lsm_buf_free(&packed);
		lsm_buf_free(&out);
		CHECK(lsm_decompress(LSM_COMPRESS_SNAPPY, lsm_slice(claims_much, 5), &out, &err) == LSM_CORRUPT && out.cap == 0);
	}
}

static void
test_damage(void)
{
	char raw[2000];
	LsmBuf packed = {0};
	LsmBuf out = {0};
	int refused = 0;

	for (size_t i = 0; i < sizeof(raw); i++)
		raw[i] = (char) (i % 50 < 25 ? test_random(&rnd) : i);
	for (int kind = LSM_COMPRESS_SNAPPY; kind <= LSM_COMPRESS_ZSTD; kind++)
	{
		packed.len = 0;
		CHECK(lsm_compress((LsmCompression) kind, 3, lsm_slice(raw, sizeof(raw)), &packed));
		for (size_t at = 0; at < packed.len; at++)
		{
			char *exact = malloc(packed.len);

			/* cut */
			memcpy(exact, packed.data, at);
			out.len = 0;
			CHECK(lsm_decompress((LsmCompression) kind, lsm_slice(exact, at), &out, &err) == LSM_CORRUPT && out.len == 0);
			/* changed */
			memcpy(exact, packed.data, packed.len);
			exact[at] = (char) (exact[at] ^ (1 + test_random(&rnd) % 255));
			if (lsm_decompress((LsmCompression) kind, lsm_slice(exact, packed.len), &out, &err) != LSM_OK)
			{
				CHECK(err.status == LSM_CORRUPT && out.len == 0);
				refused++;
			}
			free(exact);
		}
	}
	CHECK(refused > 0);
	CHECK(lsm_decompress((LsmCompression) 3, lsm_slice(raw, 10), &out, &err) == LSM_CORRUPT);
	lsm_buf_free(&packed);
	lsm_buf_free(&out);
}

int
main(void)
{
	test_compression();
	test_damage();
	return test_done();
}
