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
extern void lsm_log_writer_free(LsmLogWriter *writer);
/* One whole record (may be empty). */
extern LsmStatus lsm_log_append(LsmLogWriter *writer, LsmSlice record, LsmError *err);
/* A streamed record: begin, any number of appends of any size, end.  One at a time.  The bytes in the file are
 * a valid record like any other; memory is bounded by one block. */
extern LsmStatus lsm_log_begin(LsmLogWriter *writer, LsmError *err);
extern LsmStatus lsm_log_append_part(LsmLogWriter *writer, LsmSlice part, LsmError *err);
extern LsmStatus lsm_log_end(LsmLogWriter *writer, LsmError *err);
extern LsmStatus lsm_log_sync(LsmLogWriter *writer, LsmError *err);
extern uint64_t lsm_log_length(const LsmLogWriter *writer); /* bytes in the file */

/* Called for every stretch that is skipped: offset and bytes in the file, and why. */
typedef void (*LsmLogDamage)(void *arg, uint64_t offset, uint64_t bytes, const char *why);

/*
 * Reads from the first record that starts at or after `start` (any offset;
 * several readers may share a file).  damage may be NULL.  A record cut short
 * by the end of the file is the end (a crash while writing), not damage.
 */
extern LsmStatus lsm_log_reader_new(LsmFile *file, uint64_t start, LsmLogDamage damage, void *arg,
									LsmLogReader **reader, LsmError *err);
/* LSM_OK and a record (borrowed until the next call), LSM_NOT_FOUND at the end, LSM_IO...  After the end, a file that
 * has grown may be read on: the reader stands after the last whole record. */
extern LsmStatus lsm_log_read(LsmLogReader *reader, LsmSlice *record, LsmError *err);
/* Offset in the file where the record last returned starts, and just behind the last whole record. */
extern uint64_t lsm_log_record_offset(const LsmLogReader *reader);
extern uint64_t lsm_log_end_offset(const LsmLogReader *reader);
extern void lsm_log_reader_free(LsmLogReader *reader);

#endif
