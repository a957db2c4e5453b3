/*
 * test_crc32c.c - CRC-32C.
 *
 *   - Known vectors: RFC 3720 (iSCSI) section B.4, and the check value of the
 *     catalogue of CRCs.
 *   - By table and by the CPU's instruction equal a bit-by-bit computation, for
 *     every length around the strides, any alignment, and split anywhere.
 *   - Masking is undone by unmasking, and never leaves a CRC as it is.
 */
#include "engine/test/test.h"

#include "engine/crc32c.h"

static uint32_t
bit_by_bit(uint32_t crc, const unsigned char *p, size_t len)
{
	crc = ~crc;
	while (len-- > 0)
	{
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (UINT32_C(0x82f63b78) & (0 - (crc & 1)));
	}
	return ~crc;
}

static void
check_vector(const void *data, size_t len, uint32_t crc)
{
	CHECK(lsm_crc32c(data, len) == crc);
	CHECK(lsm_crc32c_extend_portable(0, data, len) == crc);
	CHECK(bit_by_bit(0, data, len) == crc);
}

static void
test_vectors(void)
{
	unsigned char data[48];
	/* an iSCSI read (10) command */
	static const unsigned char command[48] = {
		0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18,
		0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};

	check_vector("", 0, 0);
	check_vector("123456789", 9, UINT32_C(0xe3069283));
	memset(data, 0, 32);
	check_vector(data, 32, UINT32_C(0x8a9136aa));
	memset(data, 0xff, 32);
	check_vector(data, 32, UINT32_C(0x62a8ab43));
	for (int i = 0; i < 32; i++)
		data[i] = (unsigned char) i;
	check_vector(data, 32, UINT32_C(0x46dd794e));
	for (int i = 0; i < 32; i++)
		data[i] = (unsigned char) (31 - i);
	check_vector(data, 32, UINT32_C(0x113fdb5c));
	check_vector(command, 48, UINT32_C(0xd9963a56));
}

static void
test_against_bits(uint64_t seed)
{
	enum
	{
		SIZE = 10000
	};
	unsigned char *data = malloc(SIZE);
	int bad = 0;

	for (int i = 0; i < SIZE; i++)
		data[i] = (unsigned char) (test_random(&seed) >> 40);
	for (int round = 0; round < 3000; round++)
	{
		/* Short ones, ones around one and two rounds of three strides, any. */
		static const size_t near[] = {0, 8, 1536, 3072, 4608};
		size_t align = test_random(&seed) % 17;
		size_t len = round % 2 ? near[test_random(&seed) % 5] + test_random(&seed) % 40 : test_random(&seed) % (SIZE - 17);
		uint32_t start = round % 3 ? (uint32_t) test_random(&seed) : 0;
		size_t split = test_random(&seed) % (len + 1);
		uint32_t crc = bit_by_bit(start, data + align, len);

		bad += lsm_crc32c_extend(start, data + align, len) != crc;
		bad += lsm_crc32c_extend_portable(start, data + align, len) != crc;
		bad += lsm_crc32c_extend(lsm_crc32c_extend(start, data + align, split), data + align + split, len - split) != crc;
	}
	CHECK(bad == 0);
	free(data);
}

static void
test_mask(uint64_t seed)
{
	int bad = 0;

	/* From LevelDB's definition: rotate right by 15 bits, add a constant. */
	CHECK(lsm_crc32c_mask(0) == UINT32_C(0xa282ead8));
	CHECK(lsm_crc32c_mask(UINT32_C(0x00008000)) == UINT32_C(0xa282ead9));
	CHECK(lsm_crc32c_mask(1) == UINT32_C(0xa284ead8));
	for (int i = 0; i < 10000; i++)
	{
		uint32_t crc = (uint32_t) (test_random(&seed) >> 20);

		bad += lsm_crc32c_unmask(lsm_crc32c_mask(crc)) != crc || lsm_crc32c_mask(crc) == crc;
	}
	CHECK(bad == 0);
}

int
main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 3720;

	printf("seed %llu, %s\n", (unsigned long long) seed, lsm_crc32c_is_hardware() ? "by instruction" : "by table");
	test_vectors();
	test_against_bits(seed);
	test_mask(seed);
	return test_done();
}
