/*
 * test_log.c - the log's writer and reader.
 *
 *   - A file's bytes are those of LevelDB's format as a straightforward encoder
 *     (reference_record) makes them, for whole and for streamed records alike, at
 *     every distance from a block's end.
 *   - Records come back as they were written, or not at all, and nothing is
 *     missing without a report except what was cut off at the end.
 *   - Readers that share a file return every record once.
 *   - A reader goes on when its file has grown, however little at a time.
 *   - After a failed append or sync nothing is written any more.
 */
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

static LsmStatus
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

static LsmStatus
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

static LsmStatus
mem_sync(LsmFile *file, LsmError *err)
{
	MemFile *mem = (MemFile *) file;

	if (mem->fail_sync)
		return lsm_fail(err, LSM_IO, 5, file->name, 0, "could not sync");
	return LSM_OK;
}

static const LsmEnvOps mem_ops = {.read = mem_read, .append = mem_append, .sync = mem_sync};
static LsmEnv mem_env = {&mem_ops};

static MemFile
mem_file(void)
{
	MemFile mem;

	memset(&mem, 0, sizeof(mem));
	mem.base.env = &mem_env;
	strcpy(mem.base.name, "000001.log");
	return mem;
}

/* ---- the format, straight from its description ---- */

static void
reference_fragment(LsmBuf *file, int type, LsmSlice payload)
{
	char tail[3] = {(char) payload.len, (char) (payload.len >> 8), (char) type};
	uint32_t crc = lsm_crc32c_extend_portable(lsm_crc32c_extend_portable(0, tail + 2, 1), payload.data, payload.len);

	if (!lsm_buf_put_fixed32(file, lsm_crc32c_mask(crc)) || !lsm_buf_append(file, tail, 3) ||
		!lsm_buf_append(file, payload.data, payload.len))
		abort();
}

static void
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
static LsmSlice
piece(int i, size_t len)
{
	size_t from = (size_t) i * 131 % 65521;

	return lsm_slice(text + from, len);
}

static bool
same(LsmSlice a, LsmSlice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static LsmLogWriter *
writer_at_end(MemFile *mem)
{
	LsmError err;
	LsmLogWriter *writer;

	MUST(lsm_log_writer_new(&mem->base, mem->data.len, &writer, &err), &err);
	return writer;
}

static void
write_whole(LsmLogWriter *writer, LsmSlice record)
{
	LsmError err;

	MUST(lsm_log_append(writer, record, &err), &err);
}

static void
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

static void
note_damage(void *arg, uint64_t offset, uint64_t bytes, const char *why)
{
	Damage *damage = arg;

	damage->calls++;
	damage->offset = offset;
	damage->bytes = bytes;
	if (bytes == 0 || why == NULL)
		abort();
}

static LsmLogReader *
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
static int
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

/* ---- tests ---- */

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

#define SERIES 24

/* A log of two and a half blocks, with small records, one over two blocks, and an empty one; ends[i] is where record i ends. */
static MemFile
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
append_zeros(MemFile *mem, size_t n)
{
	if (!lsm_buf_reserve(&mem->data, n))
		abort();
	memset(mem->data.data + mem->data.len, 0, n);
	mem->data.len += n;
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

/* A file that grows by a few bytes, or whose zeros are overwritten record by record, while one reader follows it. */
static void
test_tailing(bool preallocated)
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

	append_zeros(&mem, full.data.len + 3 * BLOCK);
	if (!preallocated)
		mem.data.len = 0;
	reader = reader_at(&mem, 0, &damage);
	for (int step = 0; visible < full.data.len; step++)
	{
		LsmSlice record;
		size_t grown = preallocated ? (size_t) ends[step] : visible + 1 + test_random(&seed) % 300;

		if (grown > full.data.len)
			grown = full.data.len;
		memcpy(mem.data.data + visible, full.data.data + visible, grown - visible);
		visible = grown;
		if (!preallocated)
			mem.data.len = visible;
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

/* Fragments that do not belong together. */
static void
test_odd_fragments(void)
{
	LsmSlice good[2] = {piece(1, 10), piece(2, 20)};
	MemFile mem = mem_file();
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

int
main(int argc, char **argv)
{
	uint64_t fill;

	seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 20240229;
	printf("seed %llu\n", (unsigned long long) seed);
	fill = seed + 1;
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char) (test_random(&fill) >> 33);

	test_known_bytes();
	test_boundaries();
	test_random_series();
	test_flips();
	test_truncation();
	test_zeros();
	test_tailing(false);
	test_tailing(true);
	test_shared_file();
	test_odd_fragments();
	test_damaged_middle();
	test_read_errors();
	test_poison();
	return test_done();
}
