/*
 * log_reader.c - reads LevelDB's log format (grammar: log_writer.c), over damage and while it grows.
 *
 * Whose a record is: it belongs to the reader with the largest start that is not
 * behind the record's first header.  So readers that share a file, each stopping
 * at the first record at or behind the next one's start, return every record
 * once between them.  A reader begins at its start's block (fragments can only be
 * found from there on) and passes over what lies before its start, and over the
 * rest of a record that began there.
 *
 * Damage: where a header or checksum is wrong, no length can be trusted, so the
 * rest of the block is given up and reading goes on with the next one.  A record
 * of which a part is lost is dropped whole.  All that is dropped is reported, so
 * that "no report" means "nothing is missing but what was cut off at the end".
 *
 * The end: where the file ends, in the middle of a fragment or of a record or not
 * (a crash while writing, or a writer who has not come further), and where
 * nothing but zeros follow (a preallocated file).  The reader then stands behind
 * the last whole record, and forgets what it read of the file behind it: the next
 * call looks again.
 */
#include "engine/log.h"

#include <stdlib.h>
#include <string.h>

#include "engine/coding.h"
#include "engine/crc32c.h"
#include "engine/log_format.h"

struct LsmLogReader
{
	LsmFile *file;
	uint64_t start;
	LsmLogDamage damage;
	void *damage_arg;

	char *block;       /* one block of the file, as far as it is read */
	uint64_t block_at; /* its offset in the file */
	size_t block_len;
	uint64_t pos; /* offset in the file of the next fragment */

	bool foreign_tail; /* MIDDLE and LAST may be the rest of a record that began before start */
	LsmBuf record;     /* of a record in several fragments */
	uint64_t record_at;
	uint64_t end_at; /* just behind the last whole record */
};

/* A fragment, or a stretch in place of one (why is set, type and payload are not). */
typedef struct Fragment
{
	uint64_t at; /* offset of the header */
	uint64_t end;
	int type;
	LsmSlice payload; /* in the reader's block */
	const char *why;
} Fragment;

static LsmStatus next_fragment(LsmLogReader *reader, Fragment *fragment, LsmError *err);
static LsmStatus zeros(LsmLogReader *reader, Fragment *fragment, LsmError *err);
static LsmStatus rest_of_block(LsmLogReader *reader, Fragment *fragment, const char *why);
static bool length_is_wrong(const char *header, size_t have);
static LsmStatus fill(LsmLogReader *reader, size_t want, size_t *have, LsmError *err);
static LsmStatus stop(LsmLogReader *reader, uint64_t at, LsmStatus status);
static void report(LsmLogReader *reader, uint64_t from, uint64_t to, const char *why);

LsmStatus
lsm_log_reader_new(LsmFile *file, uint64_t start, LsmLogDamage damage, void *arg, LsmLogReader **result, LsmError *err)
{
	LsmLogReader *reader = calloc(1, sizeof(*reader));

	if (reader != NULL)
		reader->block = malloc(LSM_LOG_BLOCK_SIZE);
	if (reader == NULL || reader->block == NULL)
	{
		free(reader);
		return lsm_fail(err, LSM_NO_MEMORY, 0, file->name, start, "out of memory for log reader");
	}
	reader->file = file;
	reader->start = start;
	reader->damage = damage;
	reader->damage_arg = arg;
	reader->pos = start - start % LSM_LOG_BLOCK_SIZE;
	reader->foreign_tail = start > 0;
	reader->end_at = start;
	*result = reader;
	return LSM_OK;
}

LsmStatus
lsm_log_read(LsmLogReader *reader, LsmSlice *record, LsmError *err)
{
	uint64_t record_at = 0;
	bool in_record = false;

	for (;;)
	{
		Fragment fragment;
		LsmStatus status = next_fragment(reader, &fragment, err);
		bool begins;

		if (status != LSM_OK)
			return stop(reader, in_record ? record_at : reader->pos, status);

		begins = fragment.why == NULL && (fragment.type == LSM_LOG_FULL || fragment.type == LSM_LOG_FIRST);
		if (in_record && (begins || fragment.why != NULL))
		{
			/* Old LevelDBs left an empty FIRST at a block's end and began the record again in the next. */
			if (fragment.why != NULL || reader->record.len > 0)
				report(reader, record_at, fragment.at, "record without its end");
			in_record = false;
		}
		if (fragment.why != NULL)
		{
			report(reader, fragment.at, fragment.end, fragment.why);
			reader->foreign_tail = false;
			continue;
		}
		if (fragment.at < reader->start)
		{
			/* Another reader's.  If it is not complete, so is what follows. */
			reader->foreign_tail = fragment.type == LSM_LOG_FIRST || fragment.type == LSM_LOG_MIDDLE;
			continue;
		}

		if (begins)
		{
			reader->foreign_tail = false;
			record_at = fragment.at;
			if (fragment.type == LSM_LOG_FULL)
			{
				*record = fragment.payload;
				break;
			}
			in_record = true;
			reader->record.len = 0;
		}
		else if (!in_record)
		{
			if (!reader->foreign_tail)
				report(reader, fragment.at, fragment.end, "record without its beginning");
			else if (fragment.type == LSM_LOG_LAST)
				reader->foreign_tail = false;
			continue;
		}
		if (!lsm_buf_append(&reader->record, fragment.payload.data, fragment.payload.len))
		{
			status = lsm_fail(err, LSM_NO_MEMORY, 0, reader->file->name, record_at, "out of memory for log record");
			return stop(reader, record_at, status);
		}
		if (fragment.type == LSM_LOG_LAST)
		{
			*record = lsm_buf_slice(&reader->record);
			break;
		}
	}
	reader->record_at = record_at;
	reader->end_at = reader->pos;
	return LSM_OK;
}

uint64_t
lsm_log_record_offset(const LsmLogReader *reader)
{
	return reader->record_at;
}

uint64_t
lsm_log_end_offset(const LsmLogReader *reader)
{
	return reader->end_at;
}

void
lsm_log_reader_free(LsmLogReader *reader)
{
	if (reader == NULL)
		return;
	lsm_buf_free(&reader->record);
	free(reader->block);
	free(reader);
}

/*
 * Reads what stands at reader->pos and moves behind it.  LSM_NOT_FOUND at the
 * end; then, and when an error is returned, pos stays before what was not read.
 */
static LsmStatus
next_fragment(LsmLogReader *reader, Fragment *fragment, LsmError *err)
{
	static const char no_header[LSM_LOG_HEADER_SIZE];
	size_t block_left = LSM_LOG_BLOCK_SIZE - (size_t) (reader->pos % LSM_LOG_BLOCK_SIZE);
	const char *header;
	size_t have;
	size_t len;
	LsmStatus status;

	if (block_left < LSM_LOG_HEADER_SIZE)
	{
		reader->pos += block_left;
		block_left = LSM_LOG_BLOCK_SIZE;
	}
	status = fill(reader, LSM_LOG_HEADER_SIZE, &have, err);
	if (status != LSM_OK)
		return status;
	if (have < LSM_LOG_HEADER_SIZE)
		return LSM_NOT_FOUND;

	header = reader->block + (reader->pos - reader->block_at);
	if (memcmp(header, no_header, sizeof(no_header)) == 0)
		return zeros(reader, fragment, err);
	len = (size_t) (unsigned char) header[4] | (size_t) (unsigned char) header[5] << 8;
	if (len > block_left - LSM_LOG_HEADER_SIZE)
		return rest_of_block(reader, fragment, "fragment longer than its block");

	status = fill(reader, LSM_LOG_HEADER_SIZE + len, &have, err);
	if (status != LSM_OK)
		return status;
	if (have < LSM_LOG_HEADER_SIZE + len)
	{
		if (length_is_wrong(header, have))
			return rest_of_block(reader, fragment, "wrong fragment length");
		return LSM_NOT_FOUND;
	}
	if (lsm_crc32c_unmask(lsm_get_fixed32(header)) != lsm_crc32c(header + 6, 1 + len))
		return rest_of_block(reader, fragment, "checksum mismatch");

	fragment->at = reader->pos;
	fragment->end = reader->pos + LSM_LOG_HEADER_SIZE + len;
	fragment->type = (unsigned char) header[6];
	fragment->payload = lsm_slice(header + LSM_LOG_HEADER_SIZE, len);
	fragment->why = fragment->type >= LSM_LOG_FULL && fragment->type <= LSM_LOG_LAST ? NULL : "unknown fragment type";
	reader->pos = fragment->end;
	return LSM_OK;
}

/*
 * Zeros in place of a header: the end, if the file has nothing else from here on.
 * Otherwise something was lost here, and all blocks of zeros are one stretch.
 */
static LsmStatus
zeros(LsmLogReader *reader, Fragment *fragment, LsmError *err)
{
	uint64_t at = reader->pos;
	LsmStatus status = LSM_NOT_FOUND;

	for (;;)
	{
		const char *p;
		size_t have;

		status = fill(reader, LSM_LOG_BLOCK_SIZE - (size_t) (reader->pos % LSM_LOG_BLOCK_SIZE), &have, err);
		if (status == LSM_OK && have == 0)
			status = LSM_NOT_FOUND;
		if (status != LSM_OK)
		{
			reader->pos = at;
			return status;
		}
		p = reader->block + (reader->pos - reader->block_at);
		while (have > 0 && *p == 0)
		{
			p++;
			have--;
		}
		if (have > 0)
			break;
		reader->pos += LSM_LOG_BLOCK_SIZE - reader->pos % LSM_LOG_BLOCK_SIZE;
	}

	/* Where the first block has more than zeros, too, its rest is as lost as behind any wrong header. */
	if (reader->pos == at)
		reader->pos += LSM_LOG_BLOCK_SIZE - at % LSM_LOG_BLOCK_SIZE;
	fragment->at = at;
	fragment->end = reader->pos;
	fragment->why = "zeros in place of a record";
	return LSM_OK;
}

static LsmStatus
rest_of_block(LsmLogReader *reader, Fragment *fragment, const char *why)
{
	size_t have;
	LsmStatus status = fill(reader, LSM_LOG_BLOCK_SIZE - (size_t) (reader->pos % LSM_LOG_BLOCK_SIZE), &have, NULL);

	/* An error here would only make the stretch look shorter; the next read meets it again. */
	(void) status;
	fragment->at = reader->pos;
	fragment->end = reader->block_at + reader->block_len;
	fragment->why = why;
	reader->pos = reader->block_at + LSM_LOG_BLOCK_SIZE;
	return LSM_OK;
}

/*
 * A fragment that reaches beyond the end of the file was cut off, or its length
 * is damaged and good records follow, which must not be lost without a word.  A
 * fragment that was cut off has a header as written, and the checksum of no part
 * of it is the whole's.  (By chance one in some millions is: then a torn tail is
 * reported as damage, which is the harmless mistake.)
 */
static bool
length_is_wrong(const char *header, size_t have)
{
	uint32_t crc = lsm_crc32c_unmask(lsm_get_fixed32(header));
	int type = header[6];
	uint32_t part = lsm_crc32c(header + 6, 1);

	if (type < LSM_LOG_FULL || type > LSM_LOG_LAST)
		return true;
	for (size_t i = LSM_LOG_HEADER_SIZE;; i++)
	{
		/* What follows must look like a fragment, like zeros or like nothing. */
		if (part == crc && (have - i < LSM_LOG_HEADER_SIZE || (unsigned char) header[i + 6] <= LSM_LOG_LAST))
			return true;
		if (i == have)
			return false;
		part = lsm_crc32c_extend(part, header + i, 1);
	}
}

/*
 * Sees to it that `want` bytes at pos (within one block) are in reader->block, if
 * the file has them; *have tells how many there are, `want` or more unless the file ends.
 */
static LsmStatus
fill(LsmLogReader *reader, size_t want, size_t *have, LsmError *err)
{
	size_t in_block = (size_t) (reader->pos % LSM_LOG_BLOCK_SIZE);

	if (reader->block_at != reader->pos - in_block)
	{
		reader->block_at = reader->pos - in_block;
		reader->block_len = 0;
	}
	if (reader->block_len < in_block + want)
	{
		size_t nread;
		LsmStatus status = lsm_file_read(reader->file, reader->block_at + reader->block_len,
										 reader->block + reader->block_len, LSM_LOG_BLOCK_SIZE - reader->block_len,
										 &nread, err);

		if (status != LSM_OK)
			return status;
		reader->block_len += nread;
	}
	*have = reader->block_len > in_block ? reader->block_len - in_block : 0;
	return LSM_OK;
}

/* The next call begins at `at`, and reads from there on anew: the file may have grown, zeros been overwritten. */
static LsmStatus
stop(LsmLogReader *reader, uint64_t at, LsmStatus status)
{
	reader->pos = at;
	if (at < reader->block_at)
		reader->block_len = 0;
	else if (at - reader->block_at < reader->block_len)
		reader->block_len = (size_t) (at - reader->block_at);
	return status;
}

static void
report(LsmLogReader *reader, uint64_t from, uint64_t to, const char *why)
{
	if (from < reader->start)
		from = reader->start;
	if (reader->damage != NULL && from < to)
		reader->damage(reader->damage_arg, from, to - from, why);
}
