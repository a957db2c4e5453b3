/*
 * log_file.h - what the log's tests share: a file in memory, the format as a
 * straightforward encoder makes it, records to write, and reading them back.
 */
#ifndef LSM_TEST_LOG_FILE_H
#define LSM_TEST_LOG_FILE_H

#include "engine/test/test.h"

#include "engine/coding.h"
#include "engine/crc32c.h"
#include "engine/log.h"

#define BLOCK LSM_LOG_BLOCK_SIZE
#define HEADER LSM_LOG_HEADER_SIZE

enum
{
	FULL = 1,
	FIRST,
	MIDDLE,
	LAST
};

/* ---- a file in memory ---- */

typedef struct MemFile
{
	LsmFile base;
	LsmBuf data;
	int appends;
	int fail_append; /* the n-th from now fails, having written half; 0: none */
	int fail_read;
	bool fail_sync;
} MemFile;

static inline LsmStatus
mem_read(LsmFile *file, uint64_t offset, char *buf, size_t len, size_t *nread, LsmError *err)
{
	MemFile *mem = (MemFile *) file;

	if (mem->fail_read > 0 && --mem->fail_read == 0)
		return lsm_fail(err, LSM_IO, 5, file->name, offset, "could not read");
	*nread = 0;
	if (offset < mem->data.len)
	{
		*nread = mem->data.len - offset < len ? mem->data.len - offset : len;
		memcpy(buf, mem->data.data + offset, *nread);
	}
	return LSM_OK;
}

static inline LsmStatus
mem_append(LsmFile *file, const char *data, size_t len, LsmError *err)
{
	MemFile *mem = (MemFile *) file;

	mem->appends++;
	if (mem->fail_append > 0 && --mem->fail_append == 0)
	{
		if (!lsm_buf_append(&mem->data, data, len / 2))
			abort();
		return lsm_fail(err, LSM_NO_SPACE, 28, file->name, mem->data.len, "could not append");
	}
	if (!lsm_buf_append(&mem->data, data, len))
		abort();
	return LSM_OK;
}

static inline LsmStatus
mem_sync(LsmFile *file, LsmError *err)
{
	MemFile *mem = (MemFile *) file;

	if (mem->fail_sync)
		return lsm_fail(err, LSM_IO, 5, file->name, 0, "could not sync");
	return LSM_OK;
}

static const LsmEnvOps mem_ops = {.read = mem_read, .append = mem_append, .sync = mem_sync};
static LsmEnv mem_env = {&mem_ops};

static inline MemFile
mem_file(void)
{
	MemFile mem;

	memset(&mem, 0, sizeof(mem));
	mem.base.env = &mem_env;
	strcpy(mem.base.name, "000001.log");
	return mem;
}

/* ---- the format, straight from its description ---- */

static inline void
reference_fragment(LsmBuf *file, int type, LsmSlice payload)
{
	char tail[3] = {(char) payload.len, (char) (payload.len >> 8), (char) type};
	uint32_t crc = lsm_crc32c_extend_portable(lsm_crc32c_extend_portable(0, tail + 2, 1), payload.data, payload.len);

	if (!lsm_buf_put_fixed32(file, lsm_crc32c_mask(crc)) || !lsm_buf_append(file, tail, 3) ||
		!lsm_buf_append(file, payload.data, payload.len))
		abort();
}

static inline void
reference_record(LsmBuf *file, LsmSlice record)
{
	bool first = true;

	for (;;)
	{
		size_t left = BLOCK - file->len % BLOCK;
		size_t n;
		bool last;

		if (left < HEADER)
		{
			if (!lsm_buf_append(file, "\0\0\0\0\0\0", left))
				abort();
			left = BLOCK;
		}
		n = record.len < left - HEADER ? record.len : left - HEADER;
		last = n == record.len;
		reference_fragment(file, first ? (last ? FULL : FIRST) : (last ? LAST : MIDDLE), lsm_slice(record.data, n));
		record.data += n;
		record.len -= n;
		first = false;
		if (last)
			return;
	}
}

/* ---- helpers ---- */

static uint64_t seed;
static char text[400000]; /* where records are cut from: random bytes */

/* Record i of a series: different contents for every i. */
static inline LsmSlice
piece(int i, size_t len)
{
	size_t from = (size_t) i * 131 % 65521;

	return lsm_slice(text + from, len);
}

static inline bool
same(LsmSlice a, LsmSlice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline LsmLogWriter *
writer_at_end(MemFile *mem)
{
	LsmError err;
	LsmLogWriter *writer;

	MUST(lsm_log_writer_new(&mem->base, mem->data.len, &writer, &err), &err);
	return writer;
}

static inline void
write_whole(LsmLogWriter *writer, LsmSlice record)
{
	LsmError err;

	MUST(lsm_log_append(writer, record, &err), &err);
}

static inline void
write_streamed(LsmLogWriter *writer, LsmSlice record, size_t max_chunk)
{
	LsmError err;

	MUST(lsm_log_begin(writer, &err), &err);
	while (record.len > 0)
	{
		size_t n = test_random(&seed) % (max_chunk + 1);

		n = n < record.len ? n : record.len;
		MUST(lsm_log_append_part(writer, lsm_slice(record.data, n), &err), &err);
		record.data += n;
		record.len -= n;
	}
	MUST(lsm_log_end(writer, &err), &err);
}

typedef struct Damage
{
	int calls;
	uint64_t offset; /* of the last call */
	uint64_t bytes;
} Damage;

static inline void
note_damage(void *arg, uint64_t offset, uint64_t bytes, const char *why)
{
	Damage *damage = arg;

	damage->calls++;
	damage->offset = offset;
	damage->bytes = bytes;
	if (bytes == 0 || why == NULL)
		abort();
}

static inline LsmLogReader *
reader_at(MemFile *mem, uint64_t start, Damage *damage)
{
	LsmError err;
	LsmLogReader *reader;

	memset(damage, 0, sizeof(*damage));
	MUST(lsm_log_reader_new(&mem->base, start, note_damage, damage, &reader, &err), &err);
	return reader;
}

/*
 * Reads the file and compares with the n records: each that comes must be one of
 * them, in order.  Returns how many came; *end is lsm_log_end_offset.
 */
static inline int
read_all(MemFile *mem, const LsmSlice *records, int n, Damage *damage, uint64_t *end)
{
	LsmLogReader *reader = reader_at(mem, 0, damage);
	LsmSlice record;
	LsmError err;
	LsmStatus status;
	int came = 0;
	int next = 0;

	while ((status = lsm_log_read(reader, &record, &err)) == LSM_OK)
	{
		while (next < n && !same(record, records[next]))
			next++;
		if (next == n)
		{
			CHECK(!"a record that was never written, or out of order");
			break;
		}
		next++;
		came++;
	}
	if (status != LSM_NOT_FOUND)
		CHECK(status == LSM_NOT_FOUND);
	*end = lsm_log_end_offset(reader);
	lsm_log_reader_free(reader);
	return came;
}

#define SERIES 24

/* A log of two and a half blocks, with small records, one over two blocks, and an empty one; ends[i] is where record i ends. */
static inline MemFile
series(LsmSlice *records, uint64_t *ends)
{
	MemFile mem = mem_file();
	LsmLogWriter *writer = writer_at_end(&mem);

	for (int i = 0; i < SERIES; i++)
	{
		size_t len = i == 7 ? 0 : i == 8 ? 50000
							  : i >= 20  ? (size_t) i
										 : 1200 + 7 * (size_t) i;

		records[i] = piece(i, len);
		write_whole(writer, records[i]);
		ends[i] = mem.data.len;
	}
	lsm_log_writer_free(writer);
	return mem;
}

static inline void
append_zeros(MemFile *mem, size_t n)
{
	if (!lsm_buf_reserve(&mem->data, n))
		abort();
	memset(mem->data.data + mem->data.len, 0, n);
	mem->data.len += n;
}

/* Every test program begins with this: the seed is the first argument. */
static inline void
start_log_test(int argc, char **argv)
{
	uint64_t fill;

	seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 20240229;
	printf("seed %llu\n", (unsigned long long) seed);
	fill = seed + 1;
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char) (test_random(&fill) >> 33);
}

#endif
