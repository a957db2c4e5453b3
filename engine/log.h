/*
 * log.h - LevelDB's log format: 32 KB blocks of records with 7-byte headers
 * (masked crc32c fixed32, length fixed16, type FULL 1 / FIRST 2 / MIDDLE 3 / LAST 4);
 * a block's last 0 to 6 bytes are zeros when no header fits.
 * Carries logs (standalone) and manifests.
 */
#ifndef LSM_LOG_H
#define LSM_LOG_H

#include "engine/env.h"

#define LSM_LOG_BLOCK_SIZE 32768
#define LSM_LOG_HEADER_SIZE 7

typedef struct LsmLogWriter LsmLogWriter;
typedef struct LsmLogReader LsmLogReader;

/*
 * Writes to file from its current length on (0 for a new one).  The file stays
 * the caller's.  Once an append or sync failed the tail is unknown: every later
 * call fails with LSM_POISONED.
 */
extern LsmStatus lsm_log_writer_new(LsmFile *file, uint64_t length, LsmLogWriter **writer, LsmError *err);
/* For a new file that was opened with LSM_OPEN_SHARED: it grows by `step` bytes at a time, zeros ahead of what is written. */
extern void lsm_log_allocate_ahead(LsmLogWriter *writer, size_t step);
extern void lsm_log_writer_free(LsmLogWriter *writer);
/* One whole record (may be empty). */
extern LsmStatus lsm_log_append(LsmLogWriter *writer, LsmSlice record, LsmError *err);
/* A streamed record: begin, any number of appends of any size, end.  One at a time.  The bytes in the file are
 * the same as if it had been written whole; memory is bounded by the writer's buffer (160 KB).  A record that is
 * begun but never ended leaves no whole record, and the file must not be appended to. */
extern LsmStatus lsm_log_begin(LsmLogWriter *writer, LsmError *err);
extern LsmStatus lsm_log_append_part(LsmLogWriter *writer, LsmSlice part, LsmError *err);
extern LsmStatus lsm_log_end(LsmLogWriter *writer, LsmError *err);
extern LsmStatus lsm_log_sync(LsmLogWriter *writer, LsmError *err);
extern uint64_t lsm_log_length(const LsmLogWriter *writer); /* bytes written, all ended records included */

/*
 * Called for every stretch that is skipped: offset and bytes in the file, and why.  Without a call nothing is
 * missing but what was cut off at the end of the file.
 */
typedef void (*LsmLogDamage)(void *arg, uint64_t offset, uint64_t bytes, const char *why);

/*
 * Reads from the first record that starts at or after `start` (any offset).  A
 * record starts where its first header lies.  Several readers may share a file:
 * if each stops at the first record that starts at or after the next one's start,
 * every record is returned once; damage near such a border may be reported twice.
 * damage may be NULL.  A record cut short by the end of the file, and zeros up to
 * the end of the file, are the end (a crash while writing; a preallocated file),
 * not damage.
 */
extern LsmStatus lsm_log_reader_new(LsmFile *file, uint64_t start, LsmLogDamage damage, void *arg,
									LsmLogReader **reader, LsmError *err);
/* LSM_OK and a record (borrowed until the next call), LSM_NOT_FOUND at the end, LSM_IO...  After the end (and after an
 * error) the reader stands behind the last whole record: a file that has grown may be read on. */
extern LsmStatus lsm_log_read(LsmLogReader *reader, LsmSlice *record, LsmError *err);
/*
 * Where the record last returned starts, and ends (before the first record: `start`).  At the end of a file without
 * damage a writer may go on there, if that is also the file's length; else something was cut off behind it.
 */
extern uint64_t lsm_log_record_offset(const LsmLogReader *reader);
extern uint64_t lsm_log_end_offset(const LsmLogReader *reader);
extern void lsm_log_reader_free(LsmLogReader *reader);

#endif
