/*
 * fuzz_keys.c - any bytes as a stamp, a file name, varints, handles, properties, two internal keys.
 *
 * What is taken reads the same after it was written again, and the order of
 * internal keys is an order.
 */
#include "engine/coding.h"
#include "engine/format.h"
#include "engine/fuzz/fuzz.h"
#include "engine/keys.h"

static void
stamp(LsmSlice value)
{
	LsmSlice payload;
	LsmStamp stamp;
	char again[LSM_STAMP_MAX_SIZE];
	size_t len;

	if (!lsm_stamp_decode(value, &stamp, &payload))
		return;
	len = lsm_stamp_encode(again, &stamp);
	FUZZ_CHECK(len + payload.len == value.len && payload.data == value.data + len);
	FUZZ_CHECK(memcmp(again, value.data, len) == 0);
}

static void
file_name(LsmSlice bytes)
{
	char name[64];
	char again[64];
	LsmFileKind kind;
	LsmFileKind kind_again;
	uint64_t number;
	uint64_t number_again;

	if (bytes.len >= sizeof(name))
		return;
	memcpy(name, bytes.data, bytes.len);
	name[bytes.len] = '\0';
	if (!lsm_parse_file_name(name, &kind, &number))
		return;
	lsm_file_name(again, kind, number);
	FUZZ_CHECK(lsm_parse_file_name(again, &kind_again, &number_again));
	FUZZ_CHECK(kind_again == kind && number_again == number);
}

static void
numbers(LsmSlice bytes)
{
	const char *end = bytes.data + bytes.len;
	const char *p = bytes.data;
	char again[LSM_VARINT64_MAX];
	uint64_t v;
	uint32_t v32;
	LsmBlockHandle handle;
	LsmTableProps props;
	LsmSlice slice;

	if (lsm_get_varint32(p, end, &v32) != NULL)
		FUZZ_CHECK(lsm_get_varint64(p, end, &v) == lsm_get_varint32(p, end, &v32) && v == v32);
	while ((p = lsm_get_varint64(p, end, &v)) != NULL)
	{
		uint64_t read;

		FUZZ_CHECK(p <= end);
		FUZZ_CHECK(lsm_put_varint64(again, v) - again == lsm_varint_length(v));
		FUZZ_CHECK(lsm_get_varint64(again, again + lsm_varint_length(v), &read) != NULL && read == v);
	}
	p = lsm_handle_decode(bytes.data, end, &handle);
	FUZZ_CHECK(p == NULL || (p > bytes.data && p <= end));
	p = bytes.data;
	while (lsm_get_slice(&p, end, &slice))
		FUZZ_CHECK(slice.data >= bytes.data && slice.data + slice.len == p && p <= end);
	if (lsm_props_decode(bytes, &props) && props.known)
	{
		char written[LSM_PROPS_MAX];
		LsmTableProps read;

		FUZZ_CHECK(lsm_props_decode(lsm_slice(written, lsm_props_encode(written, &props)), &read));
		FUZZ_CHECK(read.entries == props.entries && read.deletions == props.deletions && read.raw_bytes == props.raw_bytes &&
				   read.min_xid == props.min_xid && read.max_seq == props.max_seq);
	}
}

static void
order(LsmSlice a, LsmSlice b)
{
	int forward;
	int users;

	if (!lsm_ikey_ok(a) || !lsm_ikey_ok(b))
		return;
	forward = lsm_ikey_compare(a, b);
	users = lsm_slice_compare(lsm_ikey_user(a), lsm_ikey_user(b));
	FUZZ_CHECK(lsm_ikey_compare(a, a) == 0);
	FUZZ_CHECK((forward < 0) == (lsm_ikey_compare(b, a) > 0) && (forward == 0) == (lsm_ikey_compare(b, a) == 0));
	if (users != 0)
		FUZZ_CHECK((users < 0) == (forward < 0));
	else if (lsm_ikey_trailer(a) != lsm_ikey_trailer(b))
		FUZZ_CHECK((lsm_ikey_trailer(a) > lsm_ikey_trailer(b)) == (forward < 0));
	else
		FUZZ_CHECK(forward == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	LsmSlice bytes;

	if (size == 0)
		return 0;
	bytes = lsm_slice(data + 1, size - 1);
	stamp(bytes);
	file_name(bytes);
	numbers(bytes);
	/* the first byte says where the second key begins */
	if (data[0] <= bytes.len)
		order(lsm_slice(bytes.data, data[0]), lsm_slice(bytes.data + data[0], bytes.len - data[0]));
	return 0;
}
