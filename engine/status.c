/*
 * status.c - errors, slices and growing buffers.
 *
 * lsm_fail is the only place where an LsmError is filled in, so one breakpoint
 * (or one line of tracing) shows every failure where it begins.
 */
#include "engine/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Small enough not to hurt, large enough that short keys never grow twice. */
#define BUF_MIN_CAP 64

LsmStatus
lsm_fail(LsmError *err, LsmStatus status, int os_errno, const char *file, uint64_t offset,
		 const char *text, ...)
{
	LsmError made;
	va_list args;

	if (err == NULL)
		return status;

	/* Made aside first: callers pass err->text and err->file when they add to an error. */
	memset(&made, 0, sizeof(made));
	made.status = status;
	made.os_errno = os_errno;
	made.offset = offset;
	if (file != NULL)
		snprintf(made.file, sizeof(made.file), "%s", file);
	va_start(args, text);
	vsnprintf(made.text, sizeof(made.text), text, args);
	va_end(args);

	*err = made;
	return status;
}

LsmStatus
lsm_fail_os(LsmError *err, int os_errno, const char *file, const char *text, ...)
{
	char formatted[sizeof(err->text)];
	LsmStatus status;
	va_list args;

	switch (os_errno)
	{
		case ENOSPC:
		case EDQUOT:
			status = LSM_NO_SPACE;
			break;
		case ENOENT:
			status = LSM_NOT_FOUND;
			break;
		case ENOMEM:
			status = LSM_NO_MEMORY;
			break;
		default:
			status = LSM_IO;
			break;
	}
	va_start(args, text);
	vsnprintf(formatted, sizeof(formatted), text, args);
	va_end(args);
	return lsm_fail(err, status, os_errno, file, 0, "%s", formatted);
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
			return "input/output error";
		case LSM_NO_SPACE:
			return "no space";
		case LSM_NO_MEMORY:
			return "no memory";
		case LSM_INVALID:
			return "invalid";
		case LSM_BUSY:
			return "busy";
		case LSM_INTERRUPTED:
			return "interrupted";
		case LSM_GONE:
			return "gone";
		case LSM_POISONED:
			return "poisoned";
	}
	return "unknown status";
}

int
lsm_slice_compare(LsmSlice a, LsmSlice b)
{
	size_t common = a.len < b.len ? a.len : b.len;
	int order = common > 0 ? memcmp(a.data, b.data, common) : 0;

	if (order != 0)
		return order;
	return (a.len > b.len) - (a.len < b.len);
}

bool
lsm_buf_reserve(LsmBuf *buf, size_t more)
{
	size_t cap = buf->cap;
	char *data;

	if (more <= cap - buf->len)
		return true;
	if (more > SIZE_MAX / 2 - buf->len)
		return false;

	/* Doubling keeps many small appends linear. */
	if (cap < BUF_MIN_CAP)
		cap = BUF_MIN_CAP;
	while (cap < buf->len + more)
		cap *= 2;
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
	/* data may lie within buf: then it fits, nothing moves, and memmove copes. */
	if (len > buf->cap && !lsm_buf_reserve(buf, len - buf->len))
		return false;
	if (len > 0)
		memmove(buf->data, data, len);
	buf->len = len;
	return true;
}

void
lsm_buf_free(LsmBuf *buf)
{
	free(buf->data);
	memset(buf, 0, sizeof(*buf));
}
