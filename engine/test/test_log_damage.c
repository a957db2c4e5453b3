/*
 * test_log_damage.c - the log's reader on files that are not as they were written.
 *
 *   - Whatever bit is flipped, records come back as they were written or not at
 *     all, and none is missing without a report.
 *   - A file that was cut off anywhere, or that ends in zeros, is no damage: what
 *     was whole comes back, and the end offset is where a writer may go on.
 *   - Stretches are reported where they are.
 *   - After a failed read the next call goes on where it was.
 */
#include "engine/test/log_file.h"

static void
flip(MemFile *mem, const LsmSlice *records, int n, size_t at, int bit, int *unreported, int *lost)
{
	Damage damage;
	uint64_t end;
	int came;

	mem->data.data[at] ^= (char) (1 << bit);
	came = read_all(mem, records, n, &damage, &end);
	if (came < n)
	{
		(*lost)++;
		if (damage.calls == 0)
		{
			fprintf(stderr, "byte %zu bit %d: %d of %d records and no report\n", at, bit, came, n);
			(*unreported)++;
		}
	}
	mem->data.data[at] ^= (char) (1 << bit);
}

static void
test_flips(void)
{
	LsmSlice records[SERIES];
	uint64_t ends[SERIES];
	MemFile mem = series(records, ends);
	int unreported = 0;
	int lost = 0;
	int flips = 0;
	int record = 0;

	/* Headers (and a little more) bit by bit, of the rest a sample. */
	for (size_t at = 0; at < mem.data.len; at++)
	{
		uint64_t begin = record == 0 ? 0 : ends[record - 1];
		bool header = at - begin < HEADER + 2 || at % BLOCK < HEADER + 2;

		if (header)
			for (int bit = 0; bit < 8; bit++, flips++)
				flip(&mem, records, SERIES, at, bit, &unreported, &lost);
		else if (at % 53 == 0)
			flips++, flip(&mem, records, SERIES, at, (int) (test_random(&seed) % 8), &unreported, &lost);
		if (at + 1 == ends[record])
			record++;
	}
	CHECK(unreported == 0);
	CHECK(lost == flips); /* no flip was overlooked: this log has no padding */
	lsm_buf_free(&mem.data);

	/* A log of 400 bytes: every bit. */
	mem = mem_file();
	{
		LsmLogWriter *writer = writer_at_end(&mem);

		for (int i = 0; i < 9; i++)
		{
			records[i] = piece(i, (size_t) (i * 9));
			write_whole(writer, records[i]);
		}
		lsm_log_writer_free(writer);
	}
	lost = 0;
	for (size_t at = 0; at < mem.data.len; at++)
		for (int bit = 0; bit < 8; bit++)
			flip(&mem, records, 9, at, bit, &unreported, &lost);
	CHECK(unreported == 0);
	CHECK(lost == (int) mem.data.len * 8);
	lsm_buf_free(&mem.data);
}

static void
test_truncation(void)
{
	LsmSlice records[SERIES];
	uint64_t ends[SERIES];
	MemFile mem = series(records, ends);
	size_t whole = mem.data.len;
	int bad = 0;
	int expect = SERIES;

	for (size_t len = whole; len-- > 0;)
	{
		Damage damage;
		uint64_t end;

		while (expect > 0 && ends[expect - 1] > len)
			expect--;
		/* Near fragments' ends every length, elsewhere a sample. */
		if (len % 37 != 0 && len % BLOCK > 20 && (expect == 0 || len - ends[expect - 1] > 20))
			continue;
		mem.data.len = len;
		if (read_all(&mem, records, SERIES, &damage, &end) != expect || damage.calls > 0 ||
			end != (expect == 0 ? 0 : ends[expect - 1]))
		{
			fprintf(stderr, "cut off at %zu\n", len);
			bad++;
		}
	}
	CHECK(bad == 0);

	/* Cut back to the end offset, the log can be written on. */
	for (int i = 1; i < SERIES; i++)
	{
		LsmSlice after[SERIES];
		Damage damage;
		uint64_t end;
		LsmLogWriter *writer;

		memcpy(after, records, sizeof(after));
		after[i] = piece(999, 33000);
		mem.data.len = (size_t) ends[i - 1];
		writer = writer_at_end(&mem);
		write_streamed(writer, after[i], 10000);
		bad += read_all(&mem, after, i + 1, &damage, &end) != i + 1 || damage.calls > 0 || end != mem.data.len;
		lsm_log_writer_free(writer);
		lsm_buf_free(&mem.data);
		mem = series(records, ends);
	}
	CHECK(bad == 0);
	lsm_buf_free(&mem.data);
}

static void
test_zeros(void)
{
	LsmSlice records[SERIES];
	uint64_t ends[SERIES];
	MemFile mem = series(records, ends);
	size_t whole = mem.data.len;
	static const size_t tails[] = {1, 6, 7, 8, 1000, BLOCK, 2 * BLOCK + 77, 5 * BLOCK};
	Damage damage;
	uint64_t end;

	/* A preallocated tail is the end, also behind a record that was cut off between two blocks. */
	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++)
	{
		append_zeros(&mem, tails[i]);
		CHECK(read_all(&mem, records, SERIES, &damage, &end) == SERIES);
		CHECK(damage.calls == 0 && end == whole);
		mem.data.len = whole;
	}
	memset(mem.data.data + BLOCK, 0, whole - BLOCK);
	CHECK(read_all(&mem, records, SERIES, &damage, &end) == 8);
	CHECK(damage.calls == 0 && end == ends[7]);
	lsm_buf_free(&mem.data);

	/* A hole is not: it costs the rest of its block, and is reported from where it starts. */
	mem = series(records, ends);
	memset(mem.data.data + ends[2], 0, (size_t) (ends[3] - ends[2]));
	CHECK(read_all(&mem, records, SERIES, &damage, &end) == 3 + (SERIES - 9));
	CHECK(damage.calls > 0 && end == whole);
	lsm_buf_free(&mem.data);

	/* Many blocks of zeros are one stretch, up to the block where something stands again. */
	mem = series(records, ends);
	append_zeros(&mem, 6 * BLOCK - mem.data.len % BLOCK);
	{
		size_t data_at = mem.data.len;
		LsmLogWriter *writer = writer_at_end(&mem);
		LsmSlice after[SERIES + 1];

		memcpy(after, records, sizeof(records));
		after[SERIES] = piece(500, 777);
		write_whole(writer, after[SERIES]);
		CHECK(read_all(&mem, after, SERIES + 1, &damage, &end) == SERIES + 1);
		CHECK(damage.calls == 1 && damage.offset == whole && damage.offset + damage.bytes == data_at);
		lsm_log_writer_free(writer);
	}
	lsm_buf_free(&mem.data);
}

/* Fragments that do not belong together. */
static void
test_odd_fragments(void)
{
	LsmSlice good[2] = {piece(1, 10), piece(2, 20)};
	MemFile mem = mem_file();
	LsmLogReader *reader;
	LsmSlice record;
	LsmError err;
	Damage damage;
	uint64_t end;

	/* The middle and the end of nothing, at the file's beginning. */
	reference_fragment(&mem.data, MIDDLE, piece(3, 5));
	reference_fragment(&mem.data, LAST, piece(4, 6));
	reference_fragment(&mem.data, FULL, good[0]);
	CHECK(read_all(&mem, good, 1, &damage, &end) == 1);
	CHECK(damage.calls == 2 && damage.offset == HEADER + 5 && damage.bytes == HEADER + 6);

	/* A beginning without an end, between two good ones. */
	mem.data.len = 0;
	reference_fragment(&mem.data, FULL, good[0]);
	reference_fragment(&mem.data, FIRST, piece(3, 5));
	reference_fragment(&mem.data, FULL, good[1]);
	CHECK(read_all(&mem, good, 2, &damage, &end) == 2);
	CHECK(damage.calls == 1 && damage.offset == HEADER + 10 && damage.bytes == HEADER + 5);

	/* The same with nothing in it is what old LevelDBs left behind. */
	mem.data.len = 0;
	reference_fragment(&mem.data, FIRST, piece(3, 0));
	reference_fragment(&mem.data, FIRST, lsm_slice(good[0].data, 4));
	reference_fragment(&mem.data, LAST, lsm_slice(good[0].data + 4, 6));
	CHECK(read_all(&mem, good, 1, &damage, &end) == 1);
	CHECK(damage.calls == 0);

	/* What follows a whole record is nobody's, also for a reader that starts between the two. */
	mem.data.len = 0;
	reference_fragment(&mem.data, FULL, good[0]);
	reference_fragment(&mem.data, LAST, piece(3, 5));
	reader = reader_at(&mem, 1, &damage);
	CHECK(lsm_log_read(reader, &record, &err) == LSM_NOT_FOUND);
	CHECK(damage.calls == 1 && damage.offset == HEADER + 10 && damage.bytes == HEADER + 5);
	lsm_log_reader_free(reader);

	/* A type of the future: that fragment is lost, the next is not. */
	mem.data.len = 0;
	reference_fragment(&mem.data, 5, piece(3, 8));
	reference_fragment(&mem.data, FULL, good[0]);
	CHECK(read_all(&mem, good, 1, &damage, &end) == 1);
	CHECK(damage.calls == 1 && damage.offset == 0 && damage.bytes == HEADER + 8);

	/* A length that does not fit the block, in the last record of the file. */
	mem.data.len = 0;
	reference_fragment(&mem.data, FULL, good[0]);
	mem.data.data[5] = (char) 0x80;
	CHECK(read_all(&mem, good, 1, &damage, &end) == 0);
	CHECK(damage.calls == 1 && damage.offset == 0 && damage.bytes == mem.data.len && end == 0);
	lsm_buf_free(&mem.data);
}

/* Damage in a record of several blocks: it is dropped whole, and both parts of the gap are reported. */
static void
test_damaged_middle(void)
{
	LsmSlice records[3] = {piece(1, 1000), piece(2, 3 * BLOCK), piece(3, 50)};
	MemFile mem = mem_file();
	LsmLogWriter *writer = writer_at_end(&mem);
	LsmSlice record;
	LsmLogReader *reader;
	LsmError err;
	Damage damage;
	uint64_t end;

	for (int i = 0; i < 3; i++)
		write_whole(writer, records[i]);
	mem.data.data[BLOCK + 500] ^= 1;
	CHECK(read_all(&mem, records, 3, &damage, &end) == 2);
	CHECK(end == mem.data.len);
	/* its start, the damaged block, the rest of it in the third and in the last block */
	CHECK(damage.calls == 4);
	CHECK(damage.offset == 3 * BLOCK);

	/* Who starts in the record's fourth block owns only what follows, and has nothing to report. */
	reader = reader_at(&mem, 3 * BLOCK, &damage);
	CHECK(lsm_log_read(reader, &record, &err) == LSM_OK && same(record, records[2]));
	CHECK(lsm_log_read(reader, &record, &err) == LSM_NOT_FOUND);
	CHECK(damage.calls == 0);
	lsm_log_reader_free(reader);

	/* Who starts within the damaged block reports what it cannot see of its own part. */
	reader = reader_at(&mem, BLOCK + 600, &damage);
	CHECK(lsm_log_read(reader, &record, &err) == LSM_OK && same(record, records[2]));
	CHECK(damage.calls == 3);
	lsm_log_reader_free(reader);
	lsm_log_writer_free(writer);
	lsm_buf_free(&mem.data);
}

/* Whatever read fails: the error is returned, and calling again goes on where it was. */
static void
test_read_errors(void)
{
	LsmSlice records[SERIES];
	uint64_t ends[SERIES];
	MemFile mem = series(records, ends);
	int bad = 0;
	int failed = 0;

	for (int n = 1; n <= 6; n++)
	{
		Damage damage;
		LsmLogReader *reader = reader_at(&mem, 0, &damage);
		LsmSlice record;
		LsmError err;
		int came = 0;
		LsmStatus status;

		mem.fail_read = n;
		while ((status = lsm_log_read(reader, &record, &err)) != LSM_NOT_FOUND)
		{
			if (status == LSM_OK)
			{
				bad += came >= SERIES || !same(record, records[came]);
				came++;
			}
			else
			{
				bad += status != LSM_IO || mem.fail_read != 0;
				failed++;
			}
		}
		bad += came != SERIES || damage.calls != 0;
		mem.fail_read = 0;
		lsm_log_reader_free(reader);
	}
	CHECK(bad == 0);
	CHECK(failed >= 3); /* a file of three blocks takes at least three reads */
	lsm_buf_free(&mem.data);
}

int
main(int argc, char **argv)
{
	start_log_test(argc, argv);
	test_flips();
	test_truncation();
	test_zeros();
	test_odd_fragments();
	test_damaged_middle();
	test_read_errors();
	return test_done();
}
