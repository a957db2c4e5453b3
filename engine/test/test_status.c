/*
 * test_status.c - errors, slices, buffers.
 *
 *   - lsm_fail fills everything in, also when its arguments lie in the error itself.
 *   - Errors of the operating system become the status that says what to do.
 *   - Slices order bytewise, a prefix first, without a sign.
 *   - A buffer holds what was put in, and is unchanged when there is no memory.
 */
#include "engine/test/test.h"

#include <errno.h>

static void
test_fail(void)
{
	LsmError err;
	char longer[300];

	CHECK(lsm_fail(&err, LSM_CORRUPT, 7, "000005.ldb", 4096, "block %d is %s", 3, "bad") == LSM_CORRUPT);
	CHECK(err.status == LSM_CORRUPT && err.os_errno == 7 && err.offset == 4096);
	CHECK(strcmp(err.file, "000005.ldb") == 0);
	CHECK(strcmp(err.text, "block 3 is bad") == 0);

	/* Adding to an error. */
	CHECK(lsm_fail(&err, err.status, err.os_errno, err.file, err.offset, "opening: %s", err.text) == LSM_CORRUPT);
	CHECK(strcmp(err.text, "opening: block 3 is bad") == 0);
	CHECK(strcmp(err.file, "000005.ldb") == 0);
	CHECK(lsm_fail_os(&err, EIO, err.file, "closing: %s", err.text) == LSM_IO);
	CHECK(strcmp(err.text, "closing: opening: block 3 is bad") == 0);

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	lsm_fail(&err, LSM_IO, 0, longer, 0, "%s", longer);
	CHECK(strlen(err.file) == sizeof(err.file) - 1);
	CHECK(strlen(err.text) == sizeof(err.text) - 1);

	CHECK(lsm_fail(&err, LSM_INVALID, 0, NULL, 0, "no file") == LSM_INVALID && err.file[0] == '\0');
	CHECK(lsm_fail(NULL, LSM_BUSY, 0, "x", 0, "nobody listens") == LSM_BUSY);
	CHECK(lsm_fail_os(NULL, EIO, "x", "nobody listens") == LSM_IO);
}

static void
test_fail_os(void)
{
	static const struct
	{
		int os_errno;
		LsmStatus status;
	} cases[] = {{ENOSPC, LSM_NO_SPACE}, {EDQUOT, LSM_NO_SPACE}, {ENOENT, LSM_NOT_FOUND}, {ENOMEM, LSM_NO_MEMORY}, {EIO, LSM_IO}, {EACCES, LSM_IO}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		LsmError err;

		CHECK(lsm_fail_os(&err, cases[i].os_errno, "CURRENT", "could not open") == cases[i].status);
		CHECK(err.status == cases[i].status && err.os_errno == cases[i].os_errno);
		CHECK(strcmp(err.text, "could not open") == 0 && strcmp(err.file, "CURRENT") == 0);
	}
}

static void
test_names(void)
{
	for (int a = LSM_OK; a <= LSM_GONE; a++)
	{
		CHECK(strlen(lsm_status_name((LsmStatus) a)) > 0);
		for (int b = LSM_OK; b < a; b++)
			CHECK(strcmp(lsm_status_name((LsmStatus) a), lsm_status_name((LsmStatus) b)) != 0);
	}
	CHECK(strcmp(lsm_status_name(LSM_OK), "ok") == 0);
	CHECK(strcmp(lsm_status_name(LSM_NOT_FOUND), "not found") == 0);
}

static void
test_compare(void)
{
	/* In order; each is compared with each. */
	static const LsmSlice sorted[] = {{NULL, 0}, {"\0", 1}, {"\0\0", 2}, {"a", 1}, {"a\0", 2}, {"ab", 2}, {"b", 1}, {"\x7f", 1}, {"\x80", 1}, {"\xff", 1}};
	const int n = sizeof(sorted) / sizeof(sorted[0]);

	for (int i = 0; i < n; i++)
		for (int k = 0; k < n; k++)
		{
			int order = lsm_slice_compare(sorted[i], sorted[k]);

			CHECK((order > 0) - (order < 0) == (i > k) - (i < k));
		}
}

static void
test_buf(void)
{
	LsmBuf buf = {0};
	char *data;
	size_t cap;

	CHECK(lsm_buf_append(&buf, NULL, 0) && buf.len == 0);
	for (int i = 0; i < 1000; i++)
	{
		char c = (char) i;

		if (!lsm_buf_append(&buf, &c, 1))
			abort();
	}
	CHECK(buf.len == 1000);
	for (int i = 0; i < 1000; i++)
		if (buf.data[i] != (char) i)
			CHECK(!"what was appended");

	/* Reserved room is there: nothing moves. */
	CHECK(lsm_buf_reserve(&buf, 50000));
	data = buf.data;
	CHECK(lsm_buf_append(&buf, data, 500)); /* even from itself, now that nothing moves */
	for (int i = 0; i < 48; i++)
		if (!lsm_buf_append(&buf, data, 1000))
			abort();
	CHECK(buf.data == data && buf.len == 1000 + 500 + 48000);

	/* Out of memory, or of numbers: unchanged. */
	cap = buf.cap;
	CHECK(!lsm_buf_reserve(&buf, SIZE_MAX - 10));
	CHECK(!lsm_buf_append(&buf, data, SIZE_MAX / 2));
	CHECK(buf.data == data && buf.cap == cap && buf.len == 49500);

	CHECK(lsm_buf_set(&buf, "hello", 5) && buf.len == 5 && memcmp(buf.data, "hello", 5) == 0);
	CHECK(lsm_buf_set(&buf, buf.data + 1, 4) && buf.len == 4 && memcmp(buf.data, "ello", 4) == 0);
	CHECK(lsm_buf_slice(&buf).data == buf.data && lsm_buf_slice(&buf).len == 4);
	CHECK(lsm_buf_set(&buf, NULL, 0) && buf.len == 0 && buf.cap == cap);
	lsm_buf_free(&buf);
	CHECK(buf.data == NULL && buf.len == 0 && buf.cap == 0);

	/* A fresh one may be set, too, with more than the least capacity. */
	{
		char big[1000];

		memset(big, 7, sizeof(big));
		CHECK(lsm_buf_set(&buf, big, sizeof(big)) && buf.len == sizeof(big) && memcmp(buf.data, big, sizeof(big)) == 0);
		CHECK(lsm_buf_set(&buf, "x", 1) && buf.len == 1);
		CHECK(lsm_buf_set(&buf, big, sizeof(big)) && buf.len == sizeof(big));
	}
	lsm_buf_free(&buf);
}

int
main(void)
{
	test_fail();
	test_fail_os();
	test_names();
	test_compare();
	test_buf();
	return test_done();
}
