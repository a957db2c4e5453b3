/*
 * crc32c.h - CRC-32C (Castagnoli), as every block and record of LevelDB's formats carries it.
 */
#ifndef LSM_CRC32C_H
#define LSM_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of what crc already covers, continued with data.  Start with 0. */
extern uint32_t lsm_crc32c_extend(uint32_t crc, const void *data, size_t len);

static inline uint32_t
lsm_crc32c(const void *data, size_t len)
{
	return lsm_crc32c_extend(0, data, len);
}

/* Without the CPU's instruction; for tests and for CPUs that lack it. */
extern uint32_t lsm_crc32c_extend_table(uint32_t crc, const void *data, size_t len);

/*
 * Checksums are stored masked: a checksum over bytes that themselves contain
 * checksums would else be weak (LevelDB's doc/log_format.md, util/crc32c.h).
 */
#define LSM_CRC_MASK_DELTA UINT32_C(0xa282ead8)

static inline uint32_t
lsm_crc32c_mask(uint32_t crc)
{
	return ((crc >> 15) | (crc << 17)) + LSM_CRC_MASK_DELTA;
}

static inline uint32_t
lsm_crc32c_unmask(uint32_t masked)
{
	uint32_t rot = masked - LSM_CRC_MASK_DELTA;

	return (rot >> 17) | (rot << 15);
}

#endif
