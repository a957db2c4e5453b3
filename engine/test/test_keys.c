/*
 * test_keys.c - internal keys, stamps, file names.
 *
 *   - Internal keys order by user key (bytewise, a prefix first), then newest
 *     first; compared with a slow comparison of the parts.
 *   - A stamp comes back as it was written; what is too short or has flags of the
 *     future is refused.
 *   - File names are LevelDB's and parse to what they were made of; other names
 *     are not ours.
 */
#include "engine/test/test.h"

#include "engine/keys.h"

static int
sign(int v)
{
	return (v > 0) - (v < 0);
}

static void
test_ikeys(uint64_t seed)
{
	enum
	{
		N = 400
	};
	LsmBuf keys[N];
	int bad = 0;
	LsmBuf buf = {0};

	CHECK(lsm_ikey_append(&buf, lsm_slice("ab", 2), UINT64_C(0x01020304050607), LSM_TYPE_VALUE));
	CHECK(buf.len == 10 && memcmp(buf.data, "ab\x01\x07\x06\x05\x04\x03\x02\x01", 10) == 0);
	CHECK(lsm_ikey_append(&buf, lsm_slice(NULL, 0), LSM_MAX_SEQUENCE, LSM_TYPE_DELETION)); /* appended, not set */
	CHECK(buf.len == 18 && memcmp(buf.data + 10, "\0\xff\xff\xff\xff\xff\xff\xff", 8) == 0);
	buf.len = 10;
	CHECK(lsm_ikey_ok(lsm_buf_slice(&buf)));
	CHECK(lsm_slice_compare(lsm_ikey_user(lsm_buf_slice(&buf)), lsm_slice("ab", 2)) == 0);
	CHECK(lsm_ikey_seq(lsm_buf_slice(&buf)) == UINT64_C(0x01020304050607));
	CHECK(lsm_ikey_type(lsm_buf_slice(&buf)) == LSM_TYPE_VALUE);
	CHECK(!lsm_ikey_ok(lsm_slice(buf.data, 7)));
	buf.data[2] = 2; /* a type that there is not */
	CHECK(!lsm_ikey_ok(lsm_buf_slice(&buf)));
	lsm_buf_free(&buf);

	memset(keys, 0, sizeof(keys));
	for (int i = 0; i < N; i++)
	{
		static const char alphabet[] = {'\0', 'a', 'b', '\x7f', '\x80', '\xff'};
		char user[6];
		size_t len = test_random(&seed) % 4;
		uint64_t seq = test_random(&seed) % 4 ? test_random(&seed) % 3 : LSM_MAX_SEQUENCE - test_random(&seed) % 2;

		for (size_t k = 0; k < len; k++)
			user[k] = alphabet[test_random(&seed) % sizeof(alphabet)];
		if (!lsm_ikey_append(&keys[i], lsm_slice(user, len), seq, (LsmType) (test_random(&seed) % 2)))
			abort();
	}
	for (int i = 0; i < N; i++)
		for (int k = 0; k < N; k++)
		{
			LsmSlice a = lsm_buf_slice(&keys[i]);
			LsmSlice b = lsm_buf_slice(&keys[k]);
			int expect = sign(lsm_slice_compare(lsm_ikey_user(a), lsm_ikey_user(b)));

			if (expect == 0 && lsm_ikey_seq(a) != lsm_ikey_seq(b))
				expect = lsm_ikey_seq(a) > lsm_ikey_seq(b) ? -1 : 1;
			else if (expect == 0 && lsm_ikey_type(a) != lsm_ikey_type(b))
				expect = lsm_ikey_type(a) > lsm_ikey_type(b) ? -1 : 1;
			bad += sign(lsm_ikey_compare(a, b)) != expect;
		}
	CHECK(bad == 0);
	for (int i = 0; i < N; i++)
		lsm_buf_free(&keys[i]);
}

static void
test_stamps(void)
{
	char bytes[LSM_STAMP_MAX_SIZE + 3];

	for (int flags = 0; flags < 256; flags++)
	{
		LsmStamp stamp = {(uint8_t) flags, UINT64_C(0x8877665544332211), UINT32_C(0xccbbaa99)};
		LsmStamp back;
		LsmSlice payload;
		bool xact = (flags & LSM_STAMP_XACT) != 0;
		size_t len = lsm_stamp_encode(bytes, &stamp);

		CHECK(len == (xact ? 13u : 1u));
		CHECK(!xact || memcmp(bytes + 1, "\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc", 12) == 0);
		memcpy(bytes + len, "xyz", 3);
		if (flags >= 0x10)
		{
			CHECK(!lsm_stamp_decode(lsm_slice(bytes, len + 3), &back, &payload));
			continue;
		}
		CHECK(lsm_stamp_decode(lsm_slice(bytes, len + 3), &back, &payload));
		CHECK(back.flags == flags && back.xid == (xact ? stamp.xid : 0) && back.cid == (xact ? stamp.cid : 0));
		CHECK(payload.len == 3 && memcmp(payload.data, "xyz", 3) == 0);
		CHECK(lsm_stamp_decode(lsm_slice(bytes, len), &back, &payload) && payload.len == 0);
		for (size_t cut = 0; cut < len; cut++)
			CHECK(!lsm_stamp_decode(lsm_slice(bytes, cut), &back, &payload));
	}
}

static void
test_file_names(void)
{
	static const struct
	{
		const char *name;
		LsmFileKind kind;
		uint64_t number;
	} names[] = {
		{"000003.log", LSM_FILE_LOG, 3},
		{"LOCK", LSM_FILE_LOCK, 0},
		{"000005.ldb", LSM_FILE_TABLE, 5},
		{"1234567.ldb", LSM_FILE_TABLE, 1234567},
		{"MANIFEST-000002", LSM_FILE_MANIFEST, 2},
		{"MANIFEST-18446744073709551615", LSM_FILE_MANIFEST, UINT64_MAX},
		{"CURRENT", LSM_FILE_CURRENT, 0},
		{"000007.dbtmp", LSM_FILE_TEMP, 7},
		{"LOG", LSM_FILE_INFO, 0},
		{"LOG.old", LSM_FILE_INFO, 1},
		{"000008.spill", LSM_FILE_SPILL, 8},
		{"18446744073709551615.spill", LSM_FILE_SPILL, UINT64_MAX},
	};
	static const char *const foreign[] = {
		"", "foo", "foo-dx-100.log", ".log", "100", "100.", "100.lop", "100.logx", "x100.log", "-1.log", "+1.log", " 1.log",
		"18446744073709551616.log", "184467440737095516150.log", "MANIFEST", "MANIFEST-", "MANIFEST-3x", "MANIFEST-x3",
		"XMANIFEST-3", "MANIFEST-18446744073709551616", "CURREN", "CURRENTX", "LOCKx", "LO", "LOGx", "LOG.oldx", "manifest-3"};
	LsmFileKind kind;
	uint64_t number;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		char name[64];

		lsm_file_name(name, names[i].kind, names[i].number);
		CHECK(strcmp(name, names[i].name) == 0);
		CHECK(lsm_parse_file_name(name, &kind, &number) && kind == names[i].kind && number == names[i].number);
	}
	CHECK(lsm_parse_file_name("000009.sst", &kind, &number) && kind == LSM_FILE_TABLE && number == 9);
	CHECK(lsm_parse_file_name("0.log", &kind, &number) && kind == LSM_FILE_LOG && number == 0);
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
	{
		bool ours = lsm_parse_file_name(foreign[i], &kind, &number);

		CHECK(!ours);
		if (ours)
			fprintf(stderr, "taken for ours: \"%s\"\n", foreign[i]);
	}
}

int
main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 4711;

	printf("seed %llu\n", (unsigned long long) seed);
	test_ikeys(seed);
	test_stamps();
	test_file_names();
	return test_done();
}
