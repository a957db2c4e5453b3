/*
 * test_log.c - the log's writer, and its reader where nothing is wrong.
 *
 *   - A file's bytes are those of LevelDB's format as a straightforward encoder
 *     (reference_record) makes them, for whole and for streamed records alike, at
 *     every distance from a block's end.
 *   - Records come back as they were written.
 *   - Readers that share a file return every record once.
 *   - A reader goes on when its file has grown, however little at a time.
 *   - After a failed append or sync nothing is written any more.
 *   - A file that is allocated ahead grows in steps, ends for readers where the records do, and goes on
 *     without when the disk has no room for a step.
 */
#include <errno.h>

#include "engine/env_sim.h"
#include "engine/test/log_file.h"

/* Around a block's end: `left` bytes before it, then a record of len bytes, then a small one. */
static bool
boundary_case(size_t left, size_t len, bool streamed)
{
	LsmSlice records[3] = {piece(1, BLOCK - HEADER - left), piece(2, len), piece(3, 100)};
	MemFile mem = mem_file();
	LsmLogWriter *writer = writer_at_end(&mem);
	LsmBuf expected = {0};
	Damage damage;
	uint64_t end;
	bool good = true;

	for (int i = 0; i < 3; i++)
	{
		reference_record(&expected, records[i]);
		if (streamed)
			write_streamed(writer, records[i], i == 1 ? 1 + test_random(&seed) % 40000 : 1000);
		else
			write_whole(writer, records[i]);
		/* Every record that ended is in the file. */
		good = good && mem.data.len == expected.len && lsm_log_length(writer) == expected.len;
	}
	good = good && same(lsm_buf_slice(&mem.data), lsm_buf_slice(&expected));
	good = good && read_all(&mem, records, 3, &damage, &end) == 3 && damage.calls == 0 && end == mem.data.len;
	if (!streamed)
		good = good && mem.appends == 3;
	if (!good)
		fprintf(stderr, "left %zu, length %zu, %s\n", left, len, streamed ? "streamed" : "whole");
	lsm_log_writer_free(writer);
	lsm_buf_free(&mem.data);
	lsm_buf_free(&expected);
	return good;
}

static void
test_boundaries(void)
{
	int bad = 0;

	for (size_t left = 0; left <= 8; left++)
	{
		for (size_t len = 32700; len <= 32800; len++)
			for (int streamed = 0; streamed <= 1; streamed++)
				bad += !boundary_case(left, len, streamed);
		for (size_t len = 0; len <= 9; len++)
			for (int streamed = 0; streamed <= 1; streamed++)
				bad += !boundary_case(left, len, streamed);
		/* Ends with its block, or a few bytes off, after one or two blocks. */
		for (size_t len = 2 * (BLOCK - HEADER) - 9; len <= 2 * (BLOCK - HEADER) + 9; len++)
			for (int streamed = 0; streamed <= 1; streamed++)
				bad += !boundary_case(left, len, streamed);
	}
	CHECK(bad == 0);
}

/* Long files of records of all sizes, written by writers that are opened again and again. */
static void
test_random_series(void)
{
	enum
	{
		N = 120
	};
	LsmSlice records[N];
	MemFile mem = mem_file();
	LsmBuf expected = {0};
	LsmLogWriter *writer = writer_at_end(&mem);
	Damage damage;
	uint64_t end;

	for (int i = 0; i < N; i++)
	{
		static const size_t limits[] = {1, 10, 100, 5000, 40000, 300000};
		size_t len = test_random(&seed) % limits[test_random(&seed) % 6];

		records[i] = piece(i, len);
		if (test_random(&seed) % 2)
			write_streamed(writer, records[i], 1 + test_random(&seed) % 100000);
		else
			write_whole(writer, records[i]);
		reference_record(&expected, records[i]);
		if (test_random(&seed) % 5 == 0)
		{
			lsm_log_writer_free(writer);
			writer = writer_at_end(&mem);
		}
	}
	CHECK(same(lsm_buf_slice(&mem.data), lsm_buf_slice(&expected)));
	CHECK(read_all(&mem, records, N, &damage, &end) == N);
	CHECK(damage.calls == 0);
	CHECK(end == mem.data.len);
	lsm_log_writer_free(writer);
	lsm_buf_free(&mem.data);
	lsm_buf_free(&expected);
}

/*
 * One reader follows a file that grows by a few bytes or a record at a time, with
 * some zeros always behind what is written, or that had its size from the start.
 */
static void
test_tailing(bool by_record, bool grows, size_t behind)
{
	LsmSlice records[SERIES];
	uint64_t ends[SERIES];
	MemFile full = series(records, ends);
	MemFile mem = mem_file();
	LsmLogReader *reader;
	Damage damage;
	LsmError err;
	size_t visible = 0;
	int came = 0;
	int bad = 0;

	append_zeros(&mem, full.data.len + behind);
	if (grows)
		mem.data.len = behind;
	reader = reader_at(&mem, 0, &damage);
	for (int step = 0; visible < full.data.len; step++)
	{
		LsmSlice record;
		size_t grown = by_record ? (size_t) ends[step] : visible + 1 + test_random(&seed) % 300;

		if (grown > full.data.len)
			grown = full.data.len;
		memcpy(mem.data.data + visible, full.data.data + visible, grown - visible);
		visible = grown;
		if (grows)
			mem.data.len = visible + behind;
		while (lsm_log_read(reader, &record, &err) == LSM_OK)
		{
			bad += came >= SERIES || !same(record, records[came]) || lsm_log_end_offset(reader) != ends[came];
			came++;
		}
		/* All that is whole has come. */
		bad += came < SERIES && ends[came] <= visible;
		bad += lsm_log_end_offset(reader) != (came == 0 ? 0 : ends[came - 1]);
	}
	CHECK(bad == 0);
	CHECK(came == SERIES);
	CHECK(damage.calls == 0);
	lsm_log_reader_free(reader);
	lsm_buf_free(&mem.data);
	lsm_buf_free(&full.data);
}

/* Several readers, at block boundaries or anywhere, each up to where the next one starts. */
static void
test_shared_file(void)
{
	LsmSlice records[SERIES];
	uint64_t ends[SERIES];
	MemFile mem = series(records, ends);
	int bad = 0;

	for (int round = 0; round < 200; round++)
	{
		uint64_t start = 0;
		int came = 0;

		while (start < mem.data.len)
		{
			uint64_t next = round == 0 ? start + BLOCK : start + 1 + test_random(&seed) % 20000;
			Damage damage;
			LsmLogReader *reader = reader_at(&mem, start, &damage);
			LsmSlice record;
			LsmError err;

			bad += lsm_log_end_offset(reader) != start;
			while (lsm_log_read(reader, &record, &err) == LSM_OK)
			{
				uint64_t offset = lsm_log_record_offset(reader);

				if (offset >= next)
					break;
				bad += offset < start || came >= SERIES || !same(record, records[came]) ||
					   lsm_log_end_offset(reader) != ends[came];
				came++;
			}
			bad += damage.calls;
			lsm_log_reader_free(reader);
			start = next;
		}
		bad += came != SERIES;
	}
	CHECK(bad == 0);
	lsm_buf_free(&mem.data);
}

static void
test_poison(void)
{
	MemFile mem = mem_file();
	LsmLogWriter *writer = writer_at_end(&mem);
	LsmSlice records[2] = {piece(1, 100), piece(2, 60000)};
	LsmError err;
	Damage damage;
	uint64_t end;

	write_whole(writer, records[0]);
	mem.fail_append = 1;
	CHECK(lsm_log_append(writer, records[1], &err) == LSM_NO_SPACE);
	CHECK(err.status == LSM_NO_SPACE && err.os_errno == 28);
	end = mem.data.len;
	CHECK(lsm_log_append(writer, records[1], &err) == LSM_POISONED);
	CHECK(lsm_log_begin(writer, &err) == LSM_POISONED);
	CHECK(lsm_log_append_part(writer, records[1], &err) == LSM_POISONED);
	CHECK(lsm_log_end(writer, &err) == LSM_POISONED);
	CHECK(lsm_log_sync(writer, &err) == LSM_POISONED);
	CHECK(mem.data.len == end);
	CHECK(read_all(&mem, records, 2, &damage, &end) == 1 && damage.calls == 0);
	lsm_log_writer_free(writer);

	mem.data.len = 0;
	writer = writer_at_end(&mem);
	write_whole(writer, records[0]);
	mem.fail_sync = true;
	CHECK(lsm_log_sync(writer, &err) == LSM_IO);
	mem.fail_sync = false;
	CHECK(lsm_log_sync(writer, &err) == LSM_POISONED);
	CHECK(lsm_log_append(writer, records[1], NULL) == LSM_POISONED);
	lsm_log_writer_free(writer);

	/* One record at a time. */
	mem.data.len = 0;
	writer = writer_at_end(&mem);
	CHECK(lsm_log_end(writer, &err) == LSM_INVALID);
	CHECK(lsm_log_append_part(writer, records[0], &err) == LSM_INVALID);
	CHECK(lsm_log_begin(writer, &err) == LSM_OK);
	CHECK(lsm_log_begin(writer, &err) == LSM_INVALID);
	CHECK(lsm_log_append(writer, records[1], &err) == LSM_INVALID);
	CHECK(lsm_log_append_part(writer, records[0], &err) == LSM_OK);
	CHECK(lsm_log_end(writer, &err) == LSM_OK);
	CHECK(lsm_log_sync(writer, &err) == LSM_OK);
	CHECK(read_all(&mem, records, 2, &damage, &end) == 1 && end == HEADER + 100);
	lsm_log_writer_free(writer);
	lsm_buf_free(&mem.data);
}

/* A fragment by hand: crc32c("\x01" "abc") = 0xc30d7db2 was computed bit by bit outside of this project. */
static void
test_known_bytes(void)
{
	MemFile mem = mem_file();
	LsmLogWriter *writer = writer_at_end(&mem);

	write_whole(writer, lsm_slice("abc", 3));
	CHECK(mem.data.len == 10);
	CHECK(memcmp(mem.data.data + 4, "\x03\x00\x01"
									"abc",
				 6) == 0);
	CHECK(lsm_get_fixed32(mem.data.data) == UINT32_C(0x9de870f2));
	lsm_log_writer_free(writer);
	lsm_buf_free(&mem.data);
}

static void
fail_on_damage(void *arg, uint64_t offset, uint64_t bytes, const char *why)
{
	(void) arg, (void) offset, (void) bytes, (void) why;
	CHECK(false);
}

static uint64_t
size_of(LsmEnv *env, const char *name)
{
	uint64_t size;

	MUST(env->ops->file_size(env, name, &size, NULL), &(LsmError){0});
	return size;
}

static void
test_allocated_ahead(void)
{
	char bytes[3000];
	LsmLogWriter *writer;
	LsmLogReader *reader;
	LsmSlice record;
	LsmFile *file;
	LsmEnv *env;
	LsmError err;
	int n = 0;

	memset(bytes, 'b', sizeof(bytes));
	MUST(lsm_env_sim_new(1, &env), &err);
	MUST(lsm_file_open(env, "000003.log", LSM_OPEN_SHARED, &file, &err), &err);
	MUST(lsm_log_writer_new(file, 0, &writer, &err), &err);
	lsm_log_allocate_ahead(writer, 4096);
	CHECK(size_of(env, "000003.log") == 0);
	MUST(lsm_log_append(writer, lsm_slice(bytes, 100), &err), &err);
	CHECK(size_of(env, "000003.log") == 4096);
	MUST(lsm_log_append(writer, lsm_slice(bytes, 3000), &err), &err);
	CHECK(size_of(env, "000003.log") == 4096 && lsm_log_length(writer) == 100 + 3000 + 2 * HEADER);
	/* the next operation allocates: without that there is still room for the record itself */
	lsm_env_sim_set_fault(env, 1, ENOSPC, false);
	MUST(lsm_log_append(writer, lsm_slice(bytes, 3000), &err), &err);
	CHECK(lsm_env_sim_faults(env) == 1);
	MUST(lsm_log_append(writer, lsm_slice(bytes, 1), &err), &err);
	MUST(lsm_log_sync(writer, &err), &err);
	CHECK(lsm_log_length(writer) == 6101 + 4 * HEADER);

	MUST(lsm_log_reader_new(file, 0, fail_on_damage, NULL, &reader, &err), &err);
	while (lsm_log_read(reader, &record, &err) == LSM_OK)
		n++;
	CHECK(n == 4 && lsm_log_end_offset(reader) == lsm_log_length(writer));
	lsm_log_reader_free(reader);
	lsm_log_writer_free(writer);
	lsm_file_close(file);
	lsm_env_sim_free(env);
}

int
main(int argc, char **argv)
{
	start_log_test(argc, argv);
	test_allocated_ahead();
	test_known_bytes();
	test_boundaries();
	test_random_series();
	test_tailing(false, true, 0);
	test_tailing(true, true, 3);
	test_tailing(true, true, 100);
	test_tailing(true, false, 0);
	test_tailing(true, false, 3 * BLOCK);
	test_shared_file();
	test_poison();
	return test_done();
}
