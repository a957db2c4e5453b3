/*
 * coding.h - numbers and slices as bytes: LevelDB's fixed little-endian and varint encodings.
 *
 * Writers that take a char* need the room checked by the caller and return the
 * byte behind what they wrote.  Readers are bounded by `end` and return NULL
 * when the bytes are cut short or overlong.
 */
#ifndef LSM_CODING_H
#define LSM_CODING_H

#include <string.h>

#include "engine/status.h"

#define LSM_MAX_VARINT32 5
#define LSM_MAX_VARINT64 10

static inline void
lsm_put_fixed32(char *dst, uint32_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	v = __builtin_bswap32(v);
#endif
	memcpy(dst, &v, sizeof(v));
}

static inline void
lsm_put_fixed64(char *dst, uint64_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	memcpy(dst, &v, sizeof(v));
}

static inline uint32_t
lsm_get_fixed32(const char *src)
{
	uint32_t v;

	memcpy(&v, src, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	v = __builtin_bswap32(v);
#endif
	return v;
}

static inline uint64_t
lsm_get_fixed64(const char *src)
{
	uint64_t v;

	memcpy(&v, src, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	return v;
}

extern char *lsm_put_varint64(char *dst, uint64_t v);

static inline char *
lsm_put_varint32(char *dst, uint32_t v)
{
	return lsm_put_varint64(dst, v);
}

extern const char *lsm_get_varint32_slow(const char *p, const char *end, uint32_t *v);
extern const char *lsm_get_varint64(const char *p, const char *end, uint64_t *v);

/* Most lengths fit one byte. */
static inline const char *
lsm_get_varint32(const char *p, const char *end, uint32_t *v)
{
	if (p < end && (unsigned char) *p < 0x80)
	{
		*v = (unsigned char) *p;
		return p + 1;
	}
	return lsm_get_varint32_slow(p, end, v);
}

/* Bytes that v takes. */
extern int lsm_varint_length(uint64_t v);

/* Appenders: false when out of memory. */
extern bool lsm_buf_put_fixed32(LsmBuf *buf, uint32_t v);
extern bool lsm_buf_put_fixed64(LsmBuf *buf, uint64_t v);
extern bool lsm_buf_put_varint32(LsmBuf *buf, uint32_t v);
extern bool lsm_buf_put_varint64(LsmBuf *buf, uint64_t v);
/* varint32 length, then the bytes. */
extern bool lsm_buf_put_slice(LsmBuf *buf, LsmSlice s);

/* Reads what lsm_buf_put_slice wrote and moves *p behind it; false if cut short. */
extern bool lsm_get_slice(const char **p, const char *end, LsmSlice *s);

#endif
