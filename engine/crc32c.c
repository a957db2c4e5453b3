/*
 * crc32c.c - CRC-32C by the CPU's instruction (SSE 4.2, ARMv8) or by eight tables ("slicing by 8").
 *
 * The choice is made once; both give the same numbers (polynomial 0x1EDC6F41,
 * reflected 0x82F63B78; RFC 3720 has test vectors).
 */
#include "engine/crc32c.h"

#include <stdatomic.h>
#include <string.h>

#include "engine/coding.h"

#define POLYNOMIAL UINT32_C(0x82f63b78)

static uint32_t table[8][256];
static atomic_int table_ready;

/* Every thread that races here computes and stores the same values. */
static void
make_table(void)
{
	for (int i = 0; i < 256; i++)
	{
		uint32_t crc = (uint32_t) i;

		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ ((crc & 1) ? POLYNOMIAL : 0);
		__atomic_store_n(&table[0][i], crc, __ATOMIC_RELAXED);
	}
	for (int i = 0; i < 256; i++)
	{
		uint32_t crc = table[0][i];

		for (int k = 1; k < 8; k++)
		{
			crc = table[0][crc & 0xff] ^ (crc >> 8);
			__atomic_store_n(&table[k][i], crc, __ATOMIC_RELAXED);
		}
	}
	atomic_store_explicit(&table_ready, 1, memory_order_release);
}

uint32_t
lsm_crc32c_extend_table(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;

	if (!atomic_load_explicit(&table_ready, memory_order_acquire))
		make_table();
	crc = ~crc;
	while (len >= 8)
	{
		uint32_t low = lsm_get_fixed32((const char *) p) ^ crc;
		uint32_t high = lsm_get_fixed32((const char *) p + 4);

		crc = table[7][low & 0xff] ^ table[6][(low >> 8) & 0xff] ^
			  table[5][(low >> 16) & 0xff] ^ table[4][low >> 24] ^
			  table[3][high & 0xff] ^ table[2][(high >> 8) & 0xff] ^
			  table[1][(high >> 16) & 0xff] ^ table[0][high >> 24];
		p += 8;
		len -= 8;
	}
	while (len-- > 0)
		crc = table[0][(crc ^ *p++) & 0xff] ^ (crc >> 8);
	return ~crc;
}

#if defined(__x86_64__)
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t
extend_instruction(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t wide = (uint32_t) ~crc;

	while (len >= 8)
	{
		uint64_t word;

		memcpy(&word, p, sizeof(word));
		wide = _mm_crc32_u64(wide, word);
		p += 8;
		len -= 8;
	}
	crc = (uint32_t) wide;
	while (len-- > 0)
		crc = _mm_crc32_u8(crc, *p++);
	return ~crc;
}

static bool
have_instruction(void)
{
	return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>

static uint32_t
extend_instruction(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;

	crc = ~crc;
	while (len >= 8)
	{
		uint64_t word;

		memcpy(&word, p, sizeof(word));
		crc = __crc32cd(crc, word);
		p += 8;
		len -= 8;
	}
	while (len-- > 0)
		crc = __crc32cb(crc, *p++);
	return ~crc;
}

static bool
have_instruction(void)
{
	return true;
}
#else
#define extend_instruction lsm_crc32c_extend_table

static bool
have_instruction(void)
{
	return false;
}
#endif

uint32_t
lsm_crc32c_extend(uint32_t crc, const void *data, size_t len)
{
	static atomic_int choice; /* 0 not made, 1 table, 2 instruction */
	int chosen = atomic_load_explicit(&choice, memory_order_relaxed);

	if (chosen == 0)
	{
		chosen = have_instruction() ? 2 : 1;
		atomic_store_explicit(&choice, chosen, memory_order_relaxed);
	}
	return chosen == 2 ? extend_instruction(crc, data, len) : lsm_crc32c_extend_table(crc, data, len);
}
