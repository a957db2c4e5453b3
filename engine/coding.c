/*
 * coding.c - LevelDB's number encodings (util/coding.h there).
 *
 * varint: seven bits a byte, least significant first, the high bit set on all
 * but the last.
 */
#include "engine/coding.h"

char *
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

const char *
lsm_get_varint64(const char *p, const char *end, uint64_t *v)
{
	uint64_t result = 0;

	for (int shift = 0; shift <= 63 && p < end; shift += 7)
	{
		unsigned char byte = (unsigned char) *p++;

		/* The tenth byte holds the one bit that is left. */
		if (shift == 63 && byte > 1)
			return NULL;
		result |= (uint64_t) (byte & 0x7f) << shift;
		if (byte < 0x80)
		{
			*v = result;
			return p;
		}
	}
	return NULL;
}

const char *
lsm_get_varint32_slow(const char *p, const char *end, uint32_t *v)
{
	uint64_t wide;

	p = lsm_get_varint64(p, end, &wide);
	if (p == NULL || wide > UINT32_MAX)
		return NULL;
	*v = (uint32_t) wide;
	return p;
}

int
lsm_varint_length(uint64_t v)
{
	int n = 1;

	while (v >= 0x80)
	{
		v >>= 7;
		n++;
	}
	return n;
}

bool
lsm_buf_put_fixed32(LsmBuf *buf, uint32_t v)
{
	char bytes[4];

	lsm_put_fixed32(bytes, v);
	return lsm_buf_append(buf, bytes, sizeof(bytes));
}

bool
lsm_buf_put_fixed64(LsmBuf *buf, uint64_t v)
{
	char bytes[8];

	lsm_put_fixed64(bytes, v);
	return lsm_buf_append(buf, bytes, sizeof(bytes));
}

bool
lsm_buf_put_varint64(LsmBuf *buf, uint64_t v)
{
	char bytes[LSM_MAX_VARINT64];

	return lsm_buf_append(buf, bytes, (size_t) (lsm_put_varint64(bytes, v) - bytes));
}

bool
lsm_buf_put_varint32(LsmBuf *buf, uint32_t v)
{
	return lsm_buf_put_varint64(buf, v);
}

bool
lsm_buf_put_slice(LsmBuf *buf, LsmSlice s)
{
	if (s.len > UINT32_MAX || !lsm_buf_reserve(buf, LSM_MAX_VARINT32 + s.len))
		return false;
	return lsm_buf_put_varint32(buf, (uint32_t) s.len) && lsm_buf_append(buf, s.data, s.len);
}

bool
lsm_get_slice(const char **p, const char *end, LsmSlice *s)
{
	uint32_t len;
	const char *body = lsm_get_varint32(*p, end, &len);

	if (body == NULL || len > (size_t) (end - body))
		return false;
	*s = lsm_slice(body, len);
	*p = body + len;
	return true;
}
