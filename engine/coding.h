/*
 * coding.h - numbers as LevelDB writes them.
 *
 * fixed32, fixed64: little-endian.  varint: seven bits a byte, lowest first, the
 * top bit set on all but the last; at most 5 (32 bits) or 10 (64 bits) bytes.
 * Decoders never look at or behind `end` and refuse numbers that do not fit.
 */
#ifndef LSM_CODING_H
#define LSM_CODING_H

#include "engine/status.h"

#define LSM_VARINT32_MAX 5 /* bytes */
#define LSM_VARINT64_MAX 10

/* The shifts below become a single load or store where the CPU is little-endian. */
static inline void
lsm_put_fixed32(char *dst, uint32_t v)
{
	unsigned char *p = (unsigned char *) dst;

	p[0] = (unsigned char) v;
	p[1] = (unsigned char) (v >> 8);
	p[2] = (unsigned char) (v >> 16);
	p[3] = (unsigned char) (v >> 24);
}

static inline void
lsm_put_fixed64(char *dst, uint64_t v)
{
	unsigned char *p = (unsigned char *) dst;

	p[0] = (unsigned char) v;
	p[1] = (unsigned char) (v >> 8);
	p[2] = (unsigned char) (v >> 16);
	p[3] = (unsigned char) (v >> 24);
	p[4] = (unsigned char) (v >> 32);
	p[5] = (unsigned char) (v >> 40);
	p[6] = (unsigned char) (v >> 48);
	p[7] = (unsigned char) (v >> 56);
}

static inline uint32_t
lsm_get_fixed32(const char *src)
{
	const unsigned char *p = (const unsigned char *) src;

	return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

static inline uint64_t
lsm_get_fixed64(const char *src)
{
	const unsigned char *p = (const unsigned char *) src;

	return (uint64_t) p[0] | (uint64_t) p[1] << 8 | (uint64_t) p[2] << 16 | (uint64_t) p[3] << 24 |
		   (uint64_t) p[4] << 32 | (uint64_t) p[5] << 40 | (uint64_t) p[6] << 48 |
		   (uint64_t) p[7] << 56;
}

/* Eight bytes as a number whose order is theirs. */
static inline uint64_t
lsm_get_big_endian64(const char *src)
{
	const unsigned char *p = (const unsigned char *) src;

	return (uint64_t) p[0] << 56 | (uint64_t) p[1] << 48 | (uint64_t) p[2] << 40 | (uint64_t) p[3] << 32 |
		   (uint64_t) p[4] << 24 | (uint64_t) p[5] << 16 | (uint64_t) p[6] << 8 | (uint64_t) p[7];
}

/* dst must have room for LSM_VARINT64_MAX bytes; returns behind the last one written. */
static inline char *
lsm_put_varint64(char *dst, uint64_t v)
{
	while (v >= 0x80)
	{
		*dst++ = (char) (v | 0x80);
		v >>= 7;
	}
	*dst++ = (char) v;
	return dst;
}

static inline char *
lsm_put_varint32(char *dst, uint32_t v)
{
	return lsm_put_varint64(dst, v);
}

/* Bytes that v takes as a varint. */
extern int lsm_varint_length(uint64_t v);

/* For numbers of more than one byte; use the functions below. */
extern const char *lsm_get_varint32_long(const char *p, const char *end, uint32_t *v);
extern const char *lsm_get_varint64_long(const char *p, const char *end, uint64_t *v);

/* Returns behind the number, or NULL if it is cut short or too large. */
static inline const char *
lsm_get_varint32(const char *p, const char *end, uint32_t *v)
{
	if (p < end && (unsigned char) *p < 0x80)
	{
		*v = (unsigned char) *p;
		return p + 1;
	}
	return lsm_get_varint32_long(p, end, v);
}

static inline const char *
lsm_get_varint64(const char *p, const char *end, uint64_t *v)
{
	if (p < end && (unsigned char) *p < 0x80)
	{
		*v = (unsigned char) *p;
		return p + 1;
	}
	return lsm_get_varint64_long(p, end, v);
}

/* Appending to a buffer; false when out of memory, and nothing was appended. */
extern bool lsm_buf_put_fixed32(LsmBuf *buf, uint32_t v);
extern bool lsm_buf_put_fixed64(LsmBuf *buf, uint64_t v);
extern bool lsm_buf_put_varint32(LsmBuf *buf, uint32_t v);
extern bool lsm_buf_put_varint64(LsmBuf *buf, uint64_t v);

/* A slice: varint32 length, then the bytes.  Also false if it is 4 GB or longer. */
extern bool lsm_buf_put_slice(LsmBuf *buf, LsmSlice s);
/* Reads one from *p and moves *p behind it; false (nothing moved) if it does not end before `end`. */
extern bool lsm_get_slice(const char **p, const char *end, LsmSlice *s);

#endif
