/*
 * fuzz_log.c - any bytes as a log file.
 *
 * First byte: odd for checksums that fit.  Second and third: a border.  Fourth: so many bytes before a block's end the
 * rest begins, behind one large record; 0: at the file's start.  Reading ends, records come in ascending
 * order and lie within the file; what lsm_log_walk gives is how the plain reader
 * begins; two readers with a border anywhere find what one finds.
 */
#include "engine/crc32c.h"
#include "engine/coding.h"
#include "engine/fuzz/fuzz.h"
#include "engine/log.h"
#include "engine/log_format.h"
#include "engine/log_tail.h"

#define NAME "000003.log"

/* The checksum of each fragment where one would be, as far as lengths lead. */
static void
put_right(char *file, size_t size)
{
	size_t at = 0;

	while (size - at >= LSM_LOG_HEADER_SIZE)
	{
		size_t left = LSM_LOG_BLOCK_SIZE - at % LSM_LOG_BLOCK_SIZE;
		size_t len = (size_t) (unsigned char) file[at + 4] | (size_t) (unsigned char) file[at + 5] << 8;

		if (left >= LSM_LOG_HEADER_SIZE && len <= left - LSM_LOG_HEADER_SIZE && len <= size - at - LSM_LOG_HEADER_SIZE)
		{
			/* zeros mean that nothing was written */
			if (file[at + 6] != 0 || len > 0)
				lsm_put_fixed32(file + at, lsm_crc32c_mask(lsm_crc32c(file + at + 6, 1 + len)));
			at += LSM_LOG_HEADER_SIZE + len;
		}
		else
			at += left < size - at ? left : size - at;
	}
}

typedef struct Records
{
	LsmBuf bytes; /* all records, one behind the other */
	uint64_t n;
} Records;

/* From `start` to the first record that starts at or after `end`. */
static void
read_part(LsmFile *file, uint64_t size, uint64_t start, uint64_t end, Records *records)
{
	LsmLogReader *reader;
	LsmSlice record;
	uint64_t last = 0;
	LsmStatus status;

	FUZZ_CHECK(lsm_log_reader_new(file, start, NULL, NULL, &reader, NULL) == LSM_OK);
	while ((status = lsm_log_read(reader, &record, NULL)) == LSM_OK)
	{
		uint64_t offset = lsm_log_record_offset(reader);

		FUZZ_CHECK(offset >= start && offset >= last && lsm_log_end_offset(reader) > offset);
		FUZZ_CHECK(lsm_log_end_offset(reader) <= size && record.len < size);
		last = lsm_log_end_offset(reader);
		if (offset >= end)
			break;
		FUZZ_CHECK(lsm_buf_append(&records->bytes, record.data, record.len));
		records->n++;
	}
	FUZZ_CHECK(status == LSM_OK || status == LSM_NOT_FOUND);
	lsm_log_reader_free(reader);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Records all = {.n = 0};
	Records parts = {.n = 0};
	Records walked = {.n = 0};
	LsmLogWalk walk;
	LsmSlice record;
	LsmStatus status;
	LsmFile *file;
	LsmEnv *env;
	LsmError err;
	char *bytes;
	uint64_t border;
	size_t before = 0;

	if (size < 4)
		return 0;
	if (data[3] != 0)
		before = LSM_LOG_BLOCK_SIZE - data[3];
	bytes = malloc(before + size);
	FUZZ_CHECK(bytes != NULL);
	if (before > 0)
	{
		memset(bytes, 'x', before);
		bytes[4] = (char) ((before - LSM_LOG_HEADER_SIZE) & 0xff);
		bytes[5] = (char) ((before - LSM_LOG_HEADER_SIZE) >> 8);
		bytes[6] = LSM_LOG_FULL;
		put_right(bytes, before);
	}
	memcpy(bytes + before, data + 4, size - 4);
	size += before - 4;
	if (data[0] % 2 == 1)
		put_right(bytes, size);
	border = (uint64_t) data[1] * size / 256 + data[2];

	FUZZ_CHECK(lsm_env_sim_new(1, &env) == LSM_OK);
	fuzz_put_file(env, NAME, bytes, size);
	FUZZ_CHECK(lsm_file_open(env, NAME, LSM_OPEN_READ, &file, NULL) == LSM_OK);
	read_part(file, size, 0, UINT64_MAX, &all);
	read_part(file, size, 0, border, &parts);
	read_part(file, size, border, UINT64_MAX, &parts);
	FUZZ_CHECK(parts.n == all.n && fuzz_same(lsm_buf_slice(&parts.bytes), lsm_buf_slice(&all.bytes)));
	lsm_file_close(file);

	FUZZ_CHECK(lsm_log_walk_open(&walk, env, NAME, NULL) == LSM_OK);
	while ((status = lsm_log_walk_next(&walk, &record, &err)) == LSM_OK)
	{
		FUZZ_CHECK(lsm_buf_append(&walked.bytes, record.data, record.len));
		walked.n++;
	}
	FUZZ_CHECK(status == LSM_NOT_FOUND || (status == LSM_CORRUPT && strcmp(err.file, NAME) == 0));
	FUZZ_CHECK(walked.n <= all.n && walked.bytes.len <= all.bytes.len);
	FUZZ_CHECK(walked.bytes.len == 0 || memcmp(walked.bytes.data, all.bytes.data, walked.bytes.len) == 0);
	FUZZ_CHECK(walk.damaged || walked.n == all.n);
	lsm_log_walk_close(&walk);

	lsm_env_sim_free(env);
	lsm_buf_free(&all.bytes);
	lsm_buf_free(&parts.bytes);
	lsm_buf_free(&walked.bytes);
	free(bytes);
	return 0;
}
