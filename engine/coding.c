/*
 * coding.c - the parts of coding.h that need not be inline.
 */
#include "engine/coding.h"

int
lsm_varint_length(uint64_t v)
{
	int len = 1;

	while (v >= 0x80)
	{
		v >>= 7;
		len++;
	}
	return len;
}

const char *
lsm_get_varint64_long(const char *p, const char *end, uint64_t *v)
{
	uint64_t result = 0;
	int shift;

	for (shift = 0; shift < 64 && p < end; shift += 7)
	{
		unsigned char byte = (unsigned char) *p++;

		/* The tenth byte has room for one bit only. */
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
lsm_get_varint32_long(const char *p, const char *end, uint32_t *v)
{
	uint64_t wide;

	/* Five bytes carry 35 bits; whoever needs a sixth is wrong however small the number. */
	if (end - p > LSM_VARINT32_MAX)
		end = p + LSM_VARINT32_MAX;
	p = lsm_get_varint64_long(p, end, &wide);
	if (p == NULL || wide > UINT32_MAX)
		return NULL;
	*v = (uint32_t) wide;
	return p;
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
lsm_buf_put_varint32(LsmBuf *buf, uint32_t v)
{
	return lsm_buf_put_varint64(buf, v);
}

bool
lsm_buf_put_varint64(LsmBuf *buf, uint64_t v)
{
	char bytes[LSM_VARINT64_MAX];

	return lsm_buf_append(buf, bytes, (size_t) (lsm_put_varint64(bytes, v) - bytes));
}

bool
lsm_buf_put_slice(LsmBuf *buf, LsmSlice s)
{
	if (s.len > UINT32_MAX || !lsm_buf_reserve(buf, LSM_VARINT32_MAX + s.len))
		return false;
	/* With the room set aside neither can fail. */
	return lsm_buf_put_varint32(buf, (uint32_t) s.len) && lsm_buf_append(buf, s.data, s.len);
}

bool
lsm_get_slice(const char **p, const char *end, LsmSlice *s)
{
	uint32_t len;
	const char *data = lsm_get_varint32(*p, end, &len);

	if (data == NULL || len > (size_t) (end - data))
		return false;
	*s = lsm_slice(data, len);
	*p = data + len;
	return true;
}
