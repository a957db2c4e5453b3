/*
 * crc32c.c - CRC-32C by table, or by the CPU's instruction.
 *
 * The tables are computed and the implementation is chosen once, by a
 * constructor, before anything can call us: no test and no lock per call.
 *
 * By table: eight bytes a step ("slicing by 8", Kounavis and Berry 2005):
 * slice[k][b] is the CRC register after byte b and then k zero bytes, and since
 * CRCs are linear the eight lookups of eight bytes may be added up (xor).
 *
 * By instruction: it takes eight bytes, can start every cycle, but answers only
 * after three.  So three neighbouring stretches of STRIDE bytes are done at the
 * same time and joined: the register after stretches a and b is that of a,
 * moved on over STRIDE zero bytes, xor that of b begun at zero.  Moving on is
 * linear, too: four lookups in `zeros`, one per byte of the register.
 */
#include "engine/crc32c.h"

#include <string.h>

#if defined(__x86_64__)
#define HAVE_INSTRUCTION 1
#include <nmmintrin.h>
#define WITH_INSTRUCTION __attribute__((target("sse4.2")))
#define CRC_BYTE(reg, v) ((uint32_t) _mm_crc32_u8((uint32_t) (reg), (v)))
#define CRC_WORD(reg, v) ((uint64_t) _mm_crc32_u64((reg), (v)))
#elif defined(__aarch64__) && defined(__linux__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HAVE_INSTRUCTION 1
#include <sys/auxv.h>
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
#define WITH_INSTRUCTION
#define CRC_BYTE(reg, v) (arm_crc_byte((uint32_t) (reg), (v)))
#define CRC_WORD(reg, v) ((uint64_t) arm_crc_word((uint32_t) (reg), (v)))

/* Compilers disagree on when arm_acle.h offers these; the assembler's directive works with all. */
static inline uint32_t
arm_crc_byte(uint32_t reg, uint8_t v)
{
	uint32_t result;

	__asm__(".arch_extension crc\n\tcrc32cb %w0, %w1, %w2"
			: "=r"(result)
			: "r"(reg), "r"(v));
	return result;
}

static inline uint32_t
arm_crc_word(uint32_t reg, uint64_t v)
{
	uint32_t result;

	__asm__(".arch_extension crc\n\tcrc32cx %w0, %w1, %x2"
			: "=r"(result)
			: "r"(reg), "r"(v));
	return result;
}
#endif

#define POLYNOMIAL UINT32_C(0x82f63b78) /* bits reversed */

static uint32_t slice[8][256];
static uint32_t (*extend)(uint32_t crc, const void *data, size_t len);

uint32_t
lsm_crc32c_extend(uint32_t crc, const void *data, size_t len)
{
	return extend(crc, data, len);
}

uint32_t
lsm_crc32c_extend_portable(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;
	uint32_t reg = ~crc;

	for (; len >= 8; p += 8, len -= 8)
	{
		uint32_t low = reg ^ ((uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24);

		reg = slice[7][low & 0xff] ^ slice[6][(low >> 8) & 0xff] ^ slice[5][(low >> 16) & 0xff] ^
			  slice[4][low >> 24] ^ slice[3][p[4]] ^ slice[2][p[5]] ^ slice[1][p[6]] ^ slice[0][p[7]];
	}
	for (; len > 0; p++, len--)
		reg = slice[0][(reg ^ *p) & 0xff] ^ (reg >> 8);
	return ~reg;
}

static void
make_slices(void)
{
	for (uint32_t b = 0; b < 256; b++)
	{
		uint32_t reg = b;

		for (int bit = 0; bit < 8; bit++)
			reg = (reg & 1) ? (reg >> 1) ^ POLYNOMIAL : reg >> 1;
		slice[0][b] = reg;
	}
	for (int k = 1; k < 8; k++)
		for (int b = 0; b < 256; b++)
			slice[k][b] = slice[0][slice[k - 1][b] & 0xff] ^ (slice[k - 1][b] >> 8);
}

#ifdef HAVE_INSTRUCTION

#define STRIDE 512 /* bytes; a table block of 4 KB has two rounds of three strides */

static uint32_t zeros[4][256];

static void
make_zeros(void)
{
	for (int k = 0; k < 4; k++)
		for (uint32_t b = 0; b < 256; b++)
		{
			uint32_t reg = b << (8 * k);

			for (int i = 0; i < STRIDE; i++)
				reg = slice[0][reg & 0xff] ^ (reg >> 8);
			zeros[k][b] = reg;
		}
}

static inline uint32_t
over_zeros(uint32_t reg)
{
	return zeros[0][reg & 0xff] ^ zeros[1][(reg >> 8) & 0xff] ^ zeros[2][(reg >> 16) & 0xff] ^
		   zeros[3][reg >> 24];
}

static inline uint64_t
word_at(const unsigned char *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word)); /* p need not be aligned */
	return word;
}

WITH_INSTRUCTION static uint32_t
extend_hardware(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t a = (uint32_t) ~crc;

	for (; len >= 3 * STRIDE; p += 3 * STRIDE, len -= 3 * STRIDE)
	{
		uint64_t b = 0;
		uint64_t c = 0;

		for (int i = 0; i < STRIDE; i += 8)
		{
			a = CRC_WORD(a, word_at(p + i));
			b = CRC_WORD(b, word_at(p + STRIDE + i));
			c = CRC_WORD(c, word_at(p + 2 * STRIDE + i));
		}
		b ^= over_zeros((uint32_t) a);
		a = c ^ over_zeros((uint32_t) b);
	}
	for (; len >= 8; p += 8, len -= 8)
		a = CRC_WORD(a, word_at(p));
	for (; len > 0; p++, len--)
		a = CRC_BYTE(a, *p);
	return ~(uint32_t) a;
}

static bool
cpu_has_instruction(void)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	return __builtin_cpu_supports("sse4.2");
#else
	return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
#endif
}

#endif /* HAVE_INSTRUCTION */

bool
lsm_crc32c_is_hardware(void)
{
	return extend != lsm_crc32c_extend_portable;
}

__attribute__((constructor)) static void
choose(void)
{
	make_slices();
	extend = lsm_crc32c_extend_portable;
#ifdef HAVE_INSTRUCTION
	if (cpu_has_instruction())
	{
		make_zeros();
		extend = extend_hardware;
	}
#endif
}
