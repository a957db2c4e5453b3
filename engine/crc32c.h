/*
 * crc32c.h - CRC-32C (Castagnoli, polynomial 0x1EDC6F41), and LevelDB's mask.
 *
 * Uses the CPU's instruction where there is one, found out when the program or
 * library is loaded.
 */
#ifndef LSM_CRC32C_H
#define LSM_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The CRC of a + b, given the CRC of a and the bytes of b. */
extern uint32_t lsm_crc32c_extend(uint32_t crc, const void *data, size_t len);

static inline uint32_t
lsm_crc32c(const void *data, size_t len)
{
	return lsm_crc32c_extend(0, data, len);
}

/*
 * Files hold masked CRCs: a CRC over bytes that themselves contain CRCs (a log
 * stored as a document, say) is weak.
 */
static inline uint32_t
lsm_crc32c_mask(uint32_t crc)
{
	return ((crc >> 15) | (crc << 17)) + UINT32_C(0xa282ead8);
}

static inline uint32_t
lsm_crc32c_unmask(uint32_t masked)
{
	uint32_t rotated = masked - UINT32_C(0xa282ead8);

	return (rotated >> 17) | (rotated << 15);
}

/* For tests: the version without the instruction, and whether lsm_crc32c_extend uses it. */
extern uint32_t lsm_crc32c_extend_portable(uint32_t crc, const void *data, size_t len);
extern bool lsm_crc32c_is_hardware(void);

#endif
