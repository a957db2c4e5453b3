/*
 * log_writer.c - writes LevelDB's log format (doc/log_format.md there), whole and streamed records.
 *
 *     file     := block*                      each of 32768 bytes, the last may be shorter
 *     block    := fragment* trailer?
 *     fragment := crc fixed32 (masked, over type and payload), length fixed16, type 1 byte, payload
 *     trailer  := zeros, where fewer than 7 bytes are left in a block
 *
 * There is one path for both kinds of record.  A fragment is finished only when
 * it is known whether more follows: when its block is full and another byte
 * comes, or at the record's end.  So a record that ends with its block gets
 * LAST there and no empty fragment behind it, and the bytes of a streamed
 * record equal those of the same record written whole.
 *
 * With lsm_log_allocate_ahead the file is longer than what is written.  Then a sync has
 * the data to write but neither a new size nor new blocks; readers take the zeros for the end.
 *
 * The trailer is never part of a payload: a fragment is opened only where its
 * header fits, behind the zeros otherwise.
 */
#include "engine/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/coding.h"
#include "engine/crc32c.h"
#include "engine/log_format.h"

/*
 * Finished fragments are gathered up to this many bytes, so that a record of
 * moderate size is one append to the file.  The buffer has room for one more
 * block and its padding, and is made once: no append fails for lack of memory.
 */
#define GATHER_LIMIT (4 * LSM_LOG_BLOCK_SIZE)
#define WRITE_BACK (512 << 10)
#define BUFFER_SIZE (GATHER_LIMIT + LSM_LOG_BLOCK_SIZE + LSM_LOG_HEADER_SIZE)

struct LsmLogWriter
{
	LsmFile *file;
	uint64_t length; /* bytes written to the file */
	size_t step;     /* it is allocated by so much at a time; 0: it ends with what was written, by appending */
	uint64_t allocated;
	uint64_t begun; /* up to here writing it back was begun */
	char *out;      /* what follows them: finished fragments, then the open one */
	size_t used;    /* bytes in out */
	size_t open_at; /* in out: header of the open fragment */
	bool in_record;
	bool first;           /* the open fragment is its record's first */
	LsmStatus poisoned;   /* LSM_OK, or why no more may be written */
	uint32_t type_crc[5]; /* checksum of the type byte alone */
};

static LsmStatus
poison(LsmLogWriter *writer, LsmStatus status)
{
	writer->poisoned = status;
	return status;
}

static size_t
block_left(const LsmLogWriter *writer)
{
	return LSM_LOG_BLOCK_SIZE - (size_t) ((writer->length + writer->used) % LSM_LOG_BLOCK_SIZE);
}

/* Opens a fragment: pads the block if no header fits into it, and keeps room for the header. */
static void
open_fragment(LsmLogWriter *writer)
{
	size_t left = block_left(writer);
	size_t padding = left < LSM_LOG_HEADER_SIZE ? left : 0;

	assert(writer->used + padding + LSM_LOG_HEADER_SIZE <= BUFFER_SIZE);
	memset(writer->out + writer->used, 0, padding + LSM_LOG_HEADER_SIZE);
	writer->open_at = writer->used + padding;
	writer->used = writer->open_at + LSM_LOG_HEADER_SIZE;
}

static void
finish_fragment(LsmLogWriter *writer, bool last)
{
	char *header = writer->out + writer->open_at;
	size_t len = writer->used - writer->open_at - LSM_LOG_HEADER_SIZE;
	int type = writer->first ? (last ? LSM_LOG_FULL : LSM_LOG_FIRST) : (last ? LSM_LOG_LAST : LSM_LOG_MIDDLE);
	uint32_t crc = lsm_crc32c_extend(writer->type_crc[type], header + LSM_LOG_HEADER_SIZE, len);

	assert(len <= LSM_LOG_BLOCK_SIZE - LSM_LOG_HEADER_SIZE);
	lsm_put_fixed32(header, lsm_crc32c_mask(crc));
	header[4] = (char) (len & 0xff);
	header[5] = (char) (len >> 8);
	header[6] = (char) type;
	writer->first = false;
}

/* Room for what is gathered.  Whether there is any, the write will say. */
static void
allocate(LsmLogWriter *writer)
{
	const LsmEnvOps *ops = writer->file->env->ops;
	uint64_t end = writer->length + writer->used;
	size_t len;

	if (end <= writer->allocated)
		return;
	len = (size_t) ((end - writer->allocated + writer->step - 1) / writer->step) * writer->step;
	if (ops->allocate != NULL && ops->allocate(writer->file, writer->allocated, len))
		writer->allocated += len;
	else
		writer->allocated = UINT64_MAX; /* not here, or not any more */
}

/* Or the sync at the log's end would wait for all of it. */
static void
write_back(LsmLogWriter *writer)
{
	const LsmEnvOps *ops = writer->file->env->ops;

	if (ops->write_back != NULL)
		ops->write_back(writer->file, writer->begun, (size_t) (writer->length - writer->begun));
	writer->begun = writer->length;
}

/* All that is gathered goes to the file; every fragment in it must be finished. */
static LsmStatus
write_out(LsmLogWriter *writer, LsmError *err)
{
	LsmStatus status;

	if (writer->step == 0)
		status = lsm_file_append(writer->file, writer->out, writer->used, err);
	else
	{
		allocate(writer);
		status = lsm_file_write_at(writer->file, writer->length, writer->out, writer->used, err);
	}
	if (status != LSM_OK)
		return poison(writer, status);
	writer->length += writer->used;
	writer->used = 0;
	if (writer->step > 0 && writer->length - writer->begun >= WRITE_BACK)
		write_back(writer);
	return LSM_OK;
}

static LsmStatus
refuse_if_poisoned(LsmLogWriter *writer, LsmError *err)
{
	if (writer->poisoned == LSM_OK)
		return LSM_OK;
	return lsm_fail(err, LSM_POISONED, 0, writer->file->name, writer->length,
					"log cannot be written after an earlier failure (%s)", lsm_status_name(writer->poisoned));
}

LsmStatus
lsm_log_writer_new(LsmFile *file, uint64_t length, LsmLogWriter **result, LsmError *err)
{
	LsmLogWriter *writer = calloc(1, sizeof(*writer));

	if (writer != NULL)
		writer->out = malloc(BUFFER_SIZE);
	if (writer == NULL || writer->out == NULL)
	{
		free(writer);
		return lsm_fail(err, LSM_NO_MEMORY, 0, file->name, 0, "out of memory for log writer");
	}
	writer->file = file;
	writer->length = length;
	for (int type = 0; type < 5; type++)
	{
		char byte = (char) type;

		writer->type_crc[type] = lsm_crc32c(&byte, 1);
	}
	*result = writer;
	return LSM_OK;
}

void
lsm_log_allocate_ahead(LsmLogWriter *writer, size_t step)
{
	writer->step = step;
}

void
lsm_log_writer_free(LsmLogWriter *writer)
{
	if (writer == NULL)
		return;
	free(writer->out);
	free(writer);
}

LsmStatus
lsm_log_begin(LsmLogWriter *writer, LsmError *err)
{
	LsmStatus status = refuse_if_poisoned(writer, err);

	if (status != LSM_OK)
		return status;
	if (writer->in_record)
		return lsm_fail(err, LSM_INVALID, 0, writer->file->name, writer->length, "a log record is already open");
	writer->in_record = true;
	writer->first = true;
	open_fragment(writer);
	return LSM_OK;
}

LsmStatus
lsm_log_append_part(LsmLogWriter *writer, LsmSlice part, LsmError *err)
{
	LsmStatus status = refuse_if_poisoned(writer, err);

	if (status != LSM_OK)
		return status;
	if (!writer->in_record)
		return lsm_fail(err, LSM_INVALID, 0, writer->file->name, writer->length, "no log record is open");
	while (part.len > 0)
	{
		size_t used = writer->used - writer->open_at;
		size_t at = (size_t) ((writer->length + writer->open_at) % LSM_LOG_BLOCK_SIZE);
		size_t room = LSM_LOG_BLOCK_SIZE - at - used;
		size_t n = part.len < room ? part.len : room;

		if (room == 0)
		{
			finish_fragment(writer, false);
			if (writer->used >= GATHER_LIMIT && (status = write_out(writer, err)) != LSM_OK)
				return status;
			open_fragment(writer);
			continue;
		}
		memcpy(writer->out + writer->used, part.data, n);
		writer->used += n;
		part.data += n;
		part.len -= n;
	}
	return LSM_OK;
}

LsmStatus
lsm_log_end(LsmLogWriter *writer, LsmError *err)
{
	LsmStatus status = refuse_if_poisoned(writer, err);

	if (status != LSM_OK)
		return status;
	if (!writer->in_record)
		return lsm_fail(err, LSM_INVALID, 0, writer->file->name, writer->length, "no log record is open");
	finish_fragment(writer, true);
	writer->in_record = false;
	return write_out(writer, err);
}

LsmStatus
lsm_log_append(LsmLogWriter *writer, LsmSlice record, LsmError *err)
{
	LsmStatus status = lsm_log_begin(writer, err);

	if (status == LSM_OK)
		status = lsm_log_append_part(writer, record, err);
	if (status == LSM_OK)
		status = lsm_log_end(writer, err);
	return status;
}

LsmStatus
lsm_log_sync(LsmLogWriter *writer, LsmError *err)
{
	LsmStatus status = refuse_if_poisoned(writer, err);

	if (status != LSM_OK)
		return status;
	status = lsm_file_sync(writer->file, err);
	/* What a failed sync left on disk is unknown, and a second one may lie. */
	return status == LSM_OK ? LSM_OK : poison(writer, status);
}

uint64_t
lsm_log_length(const LsmLogWriter *writer)
{
	return writer->length;
}
