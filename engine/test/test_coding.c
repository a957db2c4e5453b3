/*
 * test_coding.c - fixed and variable-length numbers.
 *
 *   - The bytes are those that the format says.
 *   - Every number comes back, and its length is what lsm_varint_length says.
 *   - A number that is cut short, too long or too large is refused, and nothing
 *     at or behind `end` is read (each case lies at the end of its own allocation,
 *     where AddressSanitizer watches).
 */
#include "engine/test/test.h"

#include "engine/coding.h"

static void
test_fixed(void)
{
	char bytes[8];

	lsm_put_fixed32(bytes, UINT32_C(0x04030281));
	CHECK(memcmp(bytes, "\x81\x02\x03\x04", 4) == 0);
	CHECK(lsm_get_fixed32(bytes) == UINT32_C(0x04030281));
	lsm_put_fixed64(bytes, UINT64_C(0xf807060504030281));
	CHECK(memcmp(bytes, "\x81\x02\x03\x04\x05\x06\x07\xf8", 8) == 0);
	CHECK(lsm_get_fixed64(bytes) == UINT64_C(0xf807060504030281));
	for (int bit = 0; bit < 64; bit++)
	{
		uint64_t v = UINT64_C(1) << bit;

		lsm_put_fixed64(bytes, v);
		CHECK(lsm_get_fixed64(bytes) == v && bytes[bit / 8] == (char) (1 << (bit % 8)));
		lsm_put_fixed32(bytes, (uint32_t) v);
		CHECK(lsm_get_fixed32(bytes) == (uint32_t) v);
	}
}

/* Decodes from an allocation of exactly len bytes; NULL-ness and numbers of both widths. */
static void
decode(const char *bytes, size_t len, bool ok32, bool ok64, uint64_t v, size_t used)
{
	char *copy = malloc(len ? len : 1);
	uint32_t v32 = 0;
	uint64_t v64 = 0;
	const char *p;

	if (len > 0)
		memcpy(copy, bytes, len);
	p = lsm_get_varint32(copy, copy + len, &v32);
	CHECK((p != NULL) == ok32);
	CHECK(p == NULL || (p == copy + used && v32 == v));
	p = lsm_get_varint64(copy, copy + len, &v64);
	CHECK((p != NULL) == ok64);
	CHECK(p == NULL || (p == copy + used && v64 == v));
	free(copy);
}

static void
round_trip(uint64_t v)
{
	char bytes[LSM_VARINT64_MAX + 1];
	char *end = lsm_put_varint64(bytes, v);
	size_t len = (size_t) (end - bytes);
	LsmBuf buf = {0};

	CHECK((int) len == lsm_varint_length(v));
	decode(bytes, len, v <= UINT32_MAX, true, v, len);
	for (size_t cut = 0; cut < len; cut++)
		decode(bytes, cut, false, false, 0, 0);
	/* What follows is not looked at. */
	bytes[len] = (char) 0xff;
	decode(bytes, len + 1, v <= UINT32_MAX, true, v, len);

	CHECK(lsm_buf_put_varint64(&buf, v) && buf.len == len && memcmp(buf.data, bytes, len) == 0);
	if (v <= UINT32_MAX)
	{
		char again[LSM_VARINT32_MAX];

		CHECK(lsm_put_varint32(again, (uint32_t) v) == again + len && memcmp(again, bytes, len) == 0);
		buf.len = 0;
		CHECK(lsm_buf_put_varint32(&buf, (uint32_t) v) && buf.len == len && memcmp(buf.data, bytes, len) == 0);
	}
	lsm_buf_free(&buf);
}

static void
test_varint(void)
{
	char bytes[16];

	CHECK(lsm_put_varint64(bytes, 300) == bytes + 2 && memcmp(bytes, "\xac\x02", 2) == 0);
	round_trip(0);
	for (int bit = 0; bit < 64; bit++)
	{
		uint64_t v = UINT64_C(1) << bit;

		round_trip(v - 1);
		round_trip(v);
		round_trip(v + 1);
	}
	round_trip(UINT64_MAX);

	/* Longer than need be is allowed, up to the most bytes a number can take. */
	decode("\x85\x00", 2, true, true, 5, 2);
	decode("\x85\x80\x80\x80\x00", 5, true, true, 5, 5);
	decode("\x85\x80\x80\x80\x80\x00", 6, false, true, 5, 6);
	decode("\x85\x80\x80\x80\x80\x80\x80\x80\x80\x00", 10, false, true, 5, 10);
	decode("\x85\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 11, false, false, 0, 0);
	/* One bit too many. */
	decode("\xff\xff\xff\xff\x0f", 5, true, true, UINT32_MAX, 5);
	decode("\xff\xff\xff\xff\x1f", 5, false, true, UINT64_C(0x1ffffffff), 5);
	decode("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, false, true, UINT64_MAX, 10);
	decode("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, false, false, 0, 0);
}

static void
test_slices(void)
{
	LsmBuf buf = {0};
	char *copy;
	const char *p;
	LsmSlice s;
	char big[300];

	memset(big, 'b', sizeof(big));
	CHECK(lsm_buf_put_slice(&buf, lsm_slice("abc", 3)));
	CHECK(lsm_buf_put_slice(&buf, lsm_slice(NULL, 0)));
	CHECK(lsm_buf_put_slice(&buf, lsm_slice(big, sizeof(big))));
	CHECK(lsm_buf_put_fixed32(&buf, 77) && lsm_buf_put_fixed64(&buf, 88));
	CHECK(buf.len == 4 + 1 + 2 + sizeof(big) + 12);

	p = buf.data;
	CHECK(lsm_get_slice(&p, buf.data + buf.len, &s) && s.len == 3 && memcmp(s.data, "abc", 3) == 0);
	CHECK(lsm_get_slice(&p, buf.data + buf.len, &s) && s.len == 0);
	CHECK(lsm_get_slice(&p, buf.data + buf.len, &s) && s.len == sizeof(big) && memcmp(s.data, big, s.len) == 0);
	CHECK(lsm_get_fixed32(p) == 77 && lsm_get_fixed64(p + 4) == 88);

	/* Cut off anywhere: refused, and p stays. */
	for (size_t len = 0; len < 2 + sizeof(big); len++)
	{
		copy = malloc(len ? len : 1);
		if (len > 0)
			memcpy(copy, buf.data + 5, len);
		p = copy;
		CHECK(!lsm_get_slice(&p, copy + len, &s) && p == copy);
		free(copy);
	}
	/* A length of 4 GB less one. */
	p = "\xff\xff\xff\xff\x0fxyz";
	CHECK(!lsm_get_slice(&p, p + 8, &s));
	/* 4 GB or more cannot be written; nothing was. */
	{
		size_t before = buf.len;

		CHECK(!lsm_buf_put_slice(&buf, lsm_slice(big, (size_t) UINT32_MAX + 1)) && buf.len == before);
	}
	lsm_buf_free(&buf);
}

int
main(void)
{
	test_fixed();
	test_varint();
	test_slices();
	return test_done();
}
