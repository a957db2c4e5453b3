/*
 * batch.c - groups of changes in LevelDB's WriteBatch format (batch.h; db/write_batch.cc there).
 */
#include "engine/batch.h"

#include <string.h>

#include "engine/coding.h"
#include "engine/memtable.h"

#define NUMBER_SIZE 8

static void
put_big_endian(char *dst, uint64_t value)
{
	for (int i = NUMBER_SIZE - 1; i >= 0; i--)
	{
		dst[i] = (char) (value & 0xff);
		value >>= 8;
	}
}

/* An empty batch has no bytes at all; the header comes with the first record.  The key gets `more` zeros behind it. */
static bool
start_record(LsmBatch *batch, LsmType type, LsmSlice key, size_t more, size_t value_len)
{
	static const char zeros[LSM_BATCH_HEADER];
	size_t key_len = key.len + more;
	size_t need = LSM_BATCH_HEADER + 1 + 2 * LSM_VARINT32_MAX + key_len + value_len;
	char tag = (char) type;

	if (key_len > UINT32_MAX || value_len > UINT32_MAX || batch->count == UINT32_MAX)
		return false;
	if (!lsm_buf_reserve(&batch->rep, need))
		return false;
	/* There is room now: nothing below can fail half-way. */
	if (batch->rep.len == 0)
		lsm_buf_append(&batch->rep, zeros, sizeof(zeros));
	lsm_buf_append(&batch->rep, &tag, 1);
	lsm_buf_put_varint32(&batch->rep, (uint32_t) key_len);
	lsm_buf_append(&batch->rep, key.data, key.len);
	lsm_buf_append(&batch->rep, zeros, more);
	batch->count++;
	lsm_put_fixed32(batch->rep.data + 8, batch->count);
	batch->memtable_cost += lsm_memtable_cost(key_len, value_len);
	return true;
}

void
lsm_batch_clear(LsmBatch *batch)
{
	batch->rep.len = 0;
	batch->count = 0;
	batch->memtable_cost = 0;
	batch->numbered.len = 0;
}

void
lsm_batch_free(LsmBatch *batch)
{
	lsm_buf_free(&batch->rep);
	lsm_buf_free(&batch->numbered);
	lsm_batch_clear(batch);
}

bool
lsm_batch_put2(LsmBatch *batch, LsmSlice key, LsmSlice value1, LsmSlice value2)
{
	size_t value_len = value1.len + value2.len;

	if (!start_record(batch, LSM_TYPE_VALUE, key, 0, value_len))
		return false;
	lsm_buf_put_varint32(&batch->rep, (uint32_t) value_len);
	lsm_buf_append(&batch->rep, value1.data, value1.len);
	lsm_buf_append(&batch->rep, value2.data, value2.len);
	return true;
}

bool
lsm_batch_put(LsmBatch *batch, LsmSlice key, LsmSlice value)
{
	return lsm_batch_put2(batch, key, value, lsm_slice(NULL, 0));
}

bool
lsm_batch_delete(LsmBatch *batch, LsmSlice key)
{
	return start_record(batch, LSM_TYPE_DELETION, key, 0, 0);
}

bool
lsm_batch_put_numbered(LsmBatch *batch, LsmSlice key, uint32_t of, LsmSlice value)
{
	LsmNumbered numbered = {batch->count, of, 0};

	if (!lsm_buf_reserve(&batch->numbered, sizeof(numbered)) ||
		!start_record(batch, LSM_TYPE_VALUE, key, NUMBER_SIZE, value.len))
		return false;
	numbered.offset = (uint32_t) (batch->rep.len - NUMBER_SIZE);
	lsm_buf_append(&batch->numbered, &numbered, sizeof(numbered));
	lsm_buf_put_varint32(&batch->rep, (uint32_t) value.len);
	lsm_buf_append(&batch->rep, value.data, value.len);
	return true;
}

bool
lsm_batch_join(LsmBatch *batch, const LsmBatch *src)
{
	if (src->count == 0)
		return true;
	if (batch->count == 0)
	{
		if (!lsm_buf_set(&batch->rep, src->rep.data, src->rep.len))
			return false;
	}
	else
	{
		if (src->count > UINT32_MAX - batch->count ||
			!lsm_buf_append(&batch->rep, src->rep.data + LSM_BATCH_HEADER, src->rep.len - LSM_BATCH_HEADER))
			return false;
	}
	batch->count += src->count;
	batch->memtable_cost += src->memtable_cost;
	lsm_put_fixed32(batch->rep.data + 8, batch->count);
	return true;
}

void
lsm_batch_set_sequence(LsmBatch *batch, uint64_t seq)
{
	const LsmNumbered *numbered = (const LsmNumbered *) batch->numbered.data;

	if (batch->count > 0)
		lsm_put_fixed64(batch->rep.data, seq);
	for (size_t i = 0; i < lsm_batch_numbered_count(batch); i++)
		put_big_endian(batch->rep.data + numbered[i].offset, seq + numbered[i].of);
}

bool
lsm_batch_reader_init(LsmBatchReader *reader, LsmSlice rep)
{
	memset(reader, 0, sizeof(*reader));
	if (rep.len < LSM_BATCH_HEADER)
		return false;
	/* The first lsm_batch_next makes it the first record's. */
	reader->seq = lsm_get_fixed64(rep.data) - 1;
	reader->left = lsm_get_fixed32(rep.data + 8);
	reader->rest = lsm_slice(rep.data + LSM_BATCH_HEADER, rep.len - LSM_BATCH_HEADER);
	return true;
}

LsmStatus
lsm_batch_next(LsmBatchReader *reader, LsmError *err)
{
	const char *p = reader->rest.data;
	const char *end = p + reader->rest.len;
	unsigned char tag;

	if (reader->left == 0)
	{
		if (reader->rest.len > 0)
			return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "write batch is longer than its count says");
		return LSM_NOT_FOUND;
	}
	if (p == end)
		return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "write batch is shorter than its count says");
	tag = (unsigned char) *p++;
	if (tag != LSM_TYPE_VALUE && tag != LSM_TYPE_DELETION)
		return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "unknown record type %u in write batch", tag);
	reader->type = (LsmType) tag;
	reader->value = lsm_slice(NULL, 0);
	if (!lsm_get_slice(&p, end, &reader->key) ||
		(tag == LSM_TYPE_VALUE && !lsm_get_slice(&p, end, &reader->value)))
		return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "record in write batch is cut short");
	if (reader->seq + 1 > LSM_MAX_SEQUENCE)
		return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "sequence in write batch is too large");
	reader->rest = lsm_slice(p, (size_t) (end - p));
	reader->left--;
	reader->seq++;
	return LSM_OK;
}
