/*
 * status.c - errors, slices and growing buffers.
 */
#include "engine/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static LsmStatus
fill(LsmError *err, LsmStatus status, int os_errno, const char *file, uint64_t offset, const char *text,
	 va_list args)
{
	if (err != NULL)
	{
		err->status = status;
		err->os_errno = os_errno;
		err->offset = offset;
		snprintf(err->file, sizeof(err->file), "%s", file ? file : "");
		vsnprintf(err->text, sizeof(err->text), text, args);
	}
	return status;
}

LsmStatus
lsm_fail(LsmError *err, LsmStatus status, int os_errno, const char *file, uint64_t offset, const char *text, ...)
{
	va_list args;

	va_start(args, text);
	fill(err, status, os_errno, file, offset, text, args);
	va_end(args);
	return status;
}

LsmStatus
lsm_fail_os(LsmError *err, int os_errno, const char *file, const char *text, ...)
{
	LsmStatus status = LSM_IO;
	va_list args;

	if (os_errno == ENOSPC || os_errno == EDQUOT)
		status = LSM_NO_SPACE;
	else if (os_errno == ENOENT)
		status = LSM_NOT_FOUND;
	else if (os_errno == ENOMEM)
		status = LSM_NO_MEMORY;
	va_start(args, text);
	fill(err, status, os_errno, file, 0, text, args);
	va_end(args);
	return status;
}

const char *
lsm_status_name(LsmStatus status)
{
	switch (status)
	{
		case LSM_OK:
			return "ok";
		case LSM_NOT_FOUND:
			return "not found";
		case LSM_CORRUPT:
			return "corrupt";
		case LSM_IO:
			return "I/O error";
		case LSM_NO_SPACE:
			return "no space";
		case LSM_NO_MEMORY:
			return "out of memory";
		case LSM_INVALID:
			return "invalid";
		case LSM_BUSY:
			return "busy";
		case LSM_INTERRUPTED:
			return "interrupted";
		case LSM_POISONED:
			return "poisoned";
	}
	return "unknown";
}

int
lsm_slice_compare(LsmSlice a, LsmSlice b)
{
	size_t common = a.len < b.len ? a.len : b.len;
	int c = common > 0 ? memcmp(a.data, b.data, common) : 0;

	if (c != 0)
		return c;
	return (a.len > b.len) - (a.len < b.len);
}

bool
lsm_buf_reserve(LsmBuf *buf, size_t more)
{
	size_t need = buf->len + more;
	size_t cap;
	char *data;

	if (need < more)
		return false;
	if (need <= buf->cap)
		return true;
	/* Doubling, so that appending n bytes one by one costs O(n). */
	cap = buf->cap > need / 2 ? buf->cap * 2 : need;
	if (cap < 64)
		cap = 64;
	data = realloc(buf->data, cap);
	if (data == NULL)
		return false;
	buf->data = data;
	buf->cap = cap;
	return true;
}

bool
lsm_buf_append(LsmBuf *buf, const void *data, size_t len)
{
	if (!lsm_buf_reserve(buf, len))
		return false;
	if (len > 0)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	return true;
}

bool
lsm_buf_set(LsmBuf *buf, const void *data, size_t len)
{
	buf->len = 0;
	return lsm_buf_append(buf, data, len);
}

void
lsm_buf_free(LsmBuf *buf)
{
	free(buf->data);
	memset(buf, 0, sizeof(*buf));
}
