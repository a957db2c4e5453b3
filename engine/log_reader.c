/*
 * log_reader.c - reads LevelDB's log format (grammar: log_writer.c), over damage and while it grows.
 *
 * A record belongs to the reader within whose stretch its first fragment's
 * header lies, so several readers that start at different offsets, each stopping
 * where the next one starts, return every record once.
 *
 * Damage: a fragment whose checksum or length is wrong makes the rest of its
 * block unreadable (its length cannot be trusted), so reading goes on at the
 * next block, and a record of which a part is lost is dropped whole.  What is
 * cut short by the end of the file is the end: a crash while writing, or a
 * writer that has not come further yet.  The next call then reads on from
 * behind the last whole record.
 */
#include "engine/log.h"

#include <stdlib.h>
#include <string.h>

#include "engine/coding.h"
#include "engine/crc32c.h"
#include "engine/log_format.h"

typedef enum Fragment
{
	FRAGMENT_OK,
	FRAGMENT_BAD, /* reported; the rest of the block is passed over */
	FRAGMENT_ZERO, /* zeros to the block's end: preallocated */
	FRAGMENT_END,
	FRAGMENT_ERROR
} Fragment;

struct LsmLogReader
{
	LsmFile *file;
	uint64_t start; /* records that start before are not ours */
	LsmLogDamage damage;
	void *damage_arg;

	char *block;
	uint64_t block_at;	/* file offset of block[0], a multiple of the block size */
	size_t block_len;	/* valid bytes in block; 0: nothing is read */
	size_t pos;			/* next fragment in block */
	bool last_block;	/* the block was cut short by the file's end */

	LsmBuf record;
	uint64_t record_at;
	uint64_t end_at;	/* just behind the last whole record */
};

static void
report(LsmLogReader *reader, uint64_t from, uint64_t to, const char *why)
{
	if (reader->damage != NULL && to > from && to > reader->start)
		reader->damage(reader->damage_arg, from, to - from, why);
}

/* The next read starts at file offset `at`, from the file anew. */
static void
move_to(LsmLogReader *reader, uint64_t at)
{
	reader->block_at = at - at % LSM_LOG_BLOCK_SIZE;
	reader->pos = (size_t) (at - reader->block_at);
	reader->block_len = 0;
	reader->last_block = false;
}

static LsmStatus
read_block(LsmLogReader *reader, LsmError *err)
{
	size_t nread = 0;
	LsmStatus status = lsm_file_read(reader->file, reader->block_at, reader->block, LSM_LOG_BLOCK_SIZE, &nread, err);

	if (status != LSM_OK)
		return status;
	reader->block_len = nread;
	reader->last_block = nread < LSM_LOG_BLOCK_SIZE;
	return LSM_OK;
}

static bool
all_zero(const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (data[i] != 0)
			return false;
	return true;
}

/* The next fragment; *at is the offset of its header. */
static Fragment
next_fragment(LsmLogReader *reader, int *type, LsmSlice *payload, uint64_t *at, LsmStatus *status, LsmError *err)
{
	const char *header;
	size_t left, len;
	uint64_t block_end;

	for (;;)
	{
		if (reader->block_len == 0)
		{
			*status = read_block(reader, err);
			if (*status != LSM_OK)
			{
				reader->block_len = 0;
				return FRAGMENT_ERROR;
			}
			if (reader->block_len <= reader->pos)
			{
				reader->block_len = 0;
				return FRAGMENT_END;
			}
		}
		left = reader->block_len - reader->pos;
		if (left >= LSM_LOG_HEADER_SIZE)
			break;
		if (reader->last_block)
			return FRAGMENT_END;
		/* The trailer, or a block that was given up. */
		move_to(reader, reader->block_at + LSM_LOG_BLOCK_SIZE);
	}

	header = reader->block + reader->pos;
	*at = reader->block_at + reader->pos;
	block_end = reader->block_at + reader->block_len;
	len = (size_t) (unsigned char) header[4] | (size_t) (unsigned char) header[5] << 8;
	*type = (unsigned char) header[6];

	if (*type == LSM_LOG_ZERO && len == 0 && all_zero(header, left))
	{
		reader->pos = reader->block_len;
		return FRAGMENT_ZERO;
	}
	if (len > left - LSM_LOG_HEADER_SIZE)
	{
		if (reader->last_block)
			return FRAGMENT_END;
		report(reader, *at, block_end, "fragment is longer than its block");
		reader->pos = reader->block_len;
		return FRAGMENT_BAD;
	}
	if (lsm_crc32c_unmask(lsm_get_fixed32(header)) != lsm_crc32c(header + 6, 1 + len))
	{
		report(reader, *at, block_end, "checksum mismatch");
		reader->pos = reader->block_len;
		return FRAGMENT_BAD;
	}
	reader->pos += LSM_LOG_HEADER_SIZE + len;
	*payload = lsm_slice(header + LSM_LOG_HEADER_SIZE, len);
	return FRAGMENT_OK;
}

LsmStatus
lsm_log_reader_new(LsmFile *file, uint64_t start, LsmLogDamage damage, void *arg, LsmLogReader **result,
				   LsmError *err)
{
	LsmLogReader *reader = calloc(1, sizeof(*reader));

	if (reader != NULL)
		reader->block = malloc(LSM_LOG_BLOCK_SIZE);
	if (reader == NULL || reader->block == NULL)
	{
		free(reader);
		return lsm_fail(err, LSM_NO_MEMORY, 0, file->name, 0, "out of memory for log reader");
	}
	reader->file = file;
	reader->start = start;
	reader->damage = damage;
	reader->damage_arg = arg;
	reader->end_at = start;
	/* Fragments can only be found from a block's beginning on. */
	move_to(reader, start - start % LSM_LOG_BLOCK_SIZE);
	*result = reader;
	return LSM_OK;
}

LsmStatus
lsm_log_read(LsmLogReader *reader, LsmSlice *record, LsmError *err)
{
	bool in_record = false;
	uint64_t record_at = 0;
	LsmStatus status = LSM_OK;

	/* At the end of what was there: look again, the file may have grown. */
	if (reader->block_len == 0 || reader->last_block)
	{
		uint64_t at = reader->block_at + reader->pos;

		if (reader->block_len != 0)
			move_to(reader, at);
	}
	reader->record.len = 0;
	for (;;)
	{
		int type;
		LsmSlice payload;
		uint64_t at = 0;
		Fragment fragment = next_fragment(reader, &type, &payload, &at, &status, err);
		uint64_t here = reader->block_at + reader->pos;

		switch (fragment)
		{
			case FRAGMENT_ERROR:
				move_to(reader, in_record ? record_at : reader->block_at + reader->pos);
				return status;
			case FRAGMENT_END:
				/* What is begun is read whole the next time. */
				move_to(reader, in_record ? record_at : here);
				return LSM_NOT_FOUND;
			case FRAGMENT_ZERO:
				if (in_record)
				{
					/* A writer that preallocates, or one that crashed: nothing behind it completes the record. */
					if (reader->last_block)
					{
						move_to(reader, record_at);
						return LSM_NOT_FOUND;
					}
					report(reader, record_at, at, "record is not finished");
					in_record = false;
				}
				continue;
			case FRAGMENT_BAD:
				if (in_record)
					report(reader, record_at, at, "record lost its end");
				in_record = false;
				continue;
			case FRAGMENT_OK:
				break;
		}

		if (type == LSM_LOG_FULL || type == LSM_LOG_FIRST)
		{
			if (in_record)
				report(reader, record_at, at, "record is not finished");
			in_record = false;
			/* Not ours: its later fragments are passed over as lost ones, without a report. */
			if (at < reader->start)
				continue;
			record_at = at;
			if (type == LSM_LOG_FULL)
			{
				reader->record_at = at;
				reader->end_at = here;
				*record = payload;
				return LSM_OK;
			}
			in_record = true;
			if (!lsm_buf_set(&reader->record, payload.data, payload.len))
				goto no_memory;
		}
		else if (type == LSM_LOG_MIDDLE || type == LSM_LOG_LAST)
		{
			if (!in_record)
			{
				/* The tail of a record that began before us, or whose beginning is reported already. */
				if (at >= reader->start && reader->end_at > reader->start)
					report(reader, at, here, "record lost its beginning");
				continue;
			}
			if (!lsm_buf_append(&reader->record, payload.data, payload.len))
				goto no_memory;
			if (type == LSM_LOG_LAST)
			{
				reader->record_at = record_at;
				reader->end_at = here;
				*record = lsm_buf_slice(&reader->record);
				return LSM_OK;
			}
		}
		else
		{
			report(reader, in_record ? record_at : at, here, "unknown fragment type");
			in_record = false;
		}
	}

no_memory:
	move_to(reader, record_at);
	return lsm_fail(err, LSM_NO_MEMORY, 0, reader->file->name, record_at, "out of memory for log record");
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
