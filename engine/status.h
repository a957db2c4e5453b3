/*
 * status.h - how the engine says what happened, and the slices it speaks in.
 *
 * Every function that can fail returns an LsmStatus and fills the caller's
 * LsmError (may be NULL) through lsm_fail(), the one origin of all errors: one
 * breakpoint shows them all.  Nothing in the engine throws.
 */
#ifndef LSM_STATUS_H
#define LSM_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum LsmStatus
{
	LSM_OK = 0,
	LSM_NOT_FOUND,   /* no such key, or no such file */
	LSM_CORRUPT,     /* what a file holds is not what was written */
	LSM_IO,          /* the operating system refused; see os_errno */
	LSM_NO_SPACE,    /* ENOSPC or EDQUOT */
	LSM_NO_MEMORY,   /* malloc returned NULL, or a shared area is exhausted */
	LSM_INVALID,     /* the caller asked for what cannot be */
	LSM_BUSY,        /* no room in the memtable: wait for the flush, start over */
	LSM_INTERRUPTED, /* a wait was cut short; the caller decides what to throw */
	LSM_POISONED,    /* an earlier write failed and left the tail unknown */
	LSM_GONE         /* the journal does not reach back to where memtables must be rebuilt from */
} LsmStatus;

typedef struct LsmError
{
	LsmStatus status;
	int os_errno;    /* 0 where the operating system was not asked */
	char file[64];   /* file name within the store's directory, or "" */
	uint64_t offset; /* where in the file, for LSM_CORRUPT */
	char text[192];  /* lower case, no full stop: "could not read block" */
} LsmError;

/* Borrowed bytes; the owner says until when. */
typedef struct LsmSlice
{
	const char *data;
	size_t len;
} LsmSlice;

/* Owned, growing bytes.  Zero-initialise; lsm_buf_free when done. */
typedef struct LsmBuf
{
	char *data;
	size_t len;
	size_t cap;
} LsmBuf;

/*
 * Records an error and returns its status, so that "return lsm_fail(...)" reads
 * well.  file may be NULL; text is printf-like.
 */
extern LsmStatus lsm_fail(LsmError *err, LsmStatus status, int os_errno, const char *file,
						  uint64_t offset, const char *text, ...)
	__attribute__((format(printf, 6, 7)));

/* As lsm_fail for a failed system call: ENOSPC/EDQUOT, ENOENT, ENOMEM become their own status. */
extern LsmStatus lsm_fail_os(LsmError *err, int os_errno, const char *file, const char *text, ...)
	__attribute__((format(printf, 4, 5)));

/* "ok", "not found", ... for tests and tools. */
extern const char *lsm_status_name(LsmStatus status);

static inline LsmSlice
lsm_slice(const void *data, size_t len)
{
	LsmSlice s = {(const char *) data, len};
	return s;
}

static inline LsmSlice
lsm_buf_slice(const LsmBuf *buf)
{
	LsmSlice s = {buf->data, buf->len};
	return s;
}

/* Bytewise order; a prefix sorts first.  Returns <0, 0, >0. */
extern int lsm_slice_compare(LsmSlice a, LsmSlice b);

/* Makes room for `more` bytes after len.  false when out of memory (buf unchanged). */
extern bool lsm_buf_reserve(LsmBuf *buf, size_t more);
extern bool lsm_buf_append(LsmBuf *buf, const void *data, size_t len);
/* Sets the contents (len = 0 empties without freeing). */
extern bool lsm_buf_set(LsmBuf *buf, const void *data, size_t len);
extern void lsm_buf_free(LsmBuf *buf);

#endif
