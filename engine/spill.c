/*
 * spill.c - see spill.h.
 *
 * A spill file: the value's bytes (behind its stamp), then fixed32 of their
 * masked crc32c.
 */
#include "engine/spill.h"

#include "engine/coding.h"
#include "engine/crc32c.h"

static LsmStatus
write_file(LsmDb *db, LsmSlice value, uint64_t *number, LsmError *err)
{
	LsmError ignored;
	char name[64];
	char crc[4];
	LsmFile *file;
	LsmStatus status;

	*number = lsm_new_file_number(db);
	lsm_file_name(name, LSM_FILE_SPILL, *number);
	status = lsm_file_open(db->env, name, LSM_OPEN_CREATE, &file, err);
	if (status != LSM_OK)
		return status;
	lsm_put_fixed32(crc, lsm_crc32c_mask(lsm_crc32c(value.data, value.len)));
	status = lsm_file_append(file, value.data, value.len, err);
	if (status == LSM_OK)
		status = lsm_file_append(file, crc, sizeof(crc), err);
	lsm_file_close(file);
	if (status != LSM_OK)
		(void) db->env->ops->remove(db->env, name, &ignored);
	return status;
}

LsmStatus
lsm_spill_read(LsmDb *db, LsmSlice ref, LsmBuf *value, LsmError *err)
{
	char name[64];
	uint64_t number;
	uint64_t len;
	size_t nread;
	LsmFile *file;
	LsmStatus status;

	if (ref.len != LSM_SPILL_REF_SIZE)
		return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "bad reference to a spill file");
	number = lsm_get_fixed64(ref.data);
	len = lsm_get_fixed64(ref.data + 8);
	lsm_file_name(name, LSM_FILE_SPILL, number);
	value->len = 0;
	if (!lsm_buf_reserve(value, len + 4))
		return lsm_no_memory(err);
	status = lsm_file_open(db->env, name, LSM_OPEN_READ, &file, err);
	if (status == LSM_NOT_FOUND)
		return lsm_fail(err, LSM_CORRUPT, 0, name, 0, "spill file is missing");
	if (status != LSM_OK)
		return status;
	status = lsm_file_read(file, 0, value->data, len + 4, &nread, err);
	lsm_file_close(file);
	if (status != LSM_OK)
		return status;
	if (nread != len + 4)
		return lsm_fail(err, LSM_CORRUPT, 0, name, nread, "spill file is too short");
	if (lsm_crc32c_unmask(lsm_get_fixed32(value->data + len)) != lsm_crc32c(value->data, len))
		return lsm_fail(err, LSM_CORRUPT, 0, name, 0, "checksum of a spill file does not match");
	value->len = len;
	return LSM_OK;
}

static void
forget_value(LsmDb *db, LsmSlice value)
{
	LsmError ignored; /* a file that stays is swept at the next start */
	LsmSlice payload;
	LsmStamp stamp;
	char name[64];

	if (!lsm_stamp_decode(value, &stamp, &payload) || !(stamp.flags & LSM_STAMP_SPILLED) ||
		payload.len != LSM_SPILL_REF_SIZE)
		return;
	lsm_file_name(name, LSM_FILE_SPILL, lsm_get_fixed64(payload.data));
	(void) db->env->ops->remove(db->env, name, &ignored);
}

void
lsm_spill_forget_batch(LsmDb *db, const LsmBatch *batch)
{
	LsmBatchReader reader;
	LsmError ignored;

	if (!lsm_batch_reader_init(&reader, lsm_buf_slice(&batch->rep)))
		return;
	while (lsm_batch_next(&reader, &ignored) == LSM_OK)
		forget_value(db, reader.value);
}

void
lsm_spill_forget_memtable(LsmDb *db, LsmMemtable *memtable)
{
	LsmIter *it = lsm_memtable_iter(memtable);

	if (it == NULL)
		return; /* they stay until the next start */
	for (lsm_iter_seek_first(it); it->valid; lsm_iter_next(it))
		forget_value(db, it->value);
	lsm_iter_close(it);
}

/* One record of the batch that goes into the memtable.  Numbered keys have small values. */
static LsmStatus
spill_record(LsmDb *db, const LsmBatchReader *record, const LsmNumbered *numbered, LsmBatch *out, int *spills,
			 LsmError *err)
{
	char head[LSM_STAMP_MAX_SIZE + LSM_SPILL_REF_SIZE];
	LsmSlice payload;
	LsmStamp stamp;
	uint64_t number;
	size_t head_len;
	LsmStatus status;

	if (record->type == LSM_TYPE_DELETION)
		return lsm_batch_delete(out, record->key) ? LSM_OK : lsm_no_memory(err);
	if (numbered != NULL)
	{
		LsmSlice key = lsm_slice(record->key.data, record->key.len - sizeof(uint64_t));

		return lsm_batch_put_numbered(out, key, numbered->of, record->value) ? LSM_OK : lsm_no_memory(err);
	}
	if (!lsm_spill_wanted(db, record->value.len))
		return lsm_batch_put(out, record->key, record->value) ? LSM_OK : lsm_no_memory(err);
	if (!lsm_stamp_decode(record->value, &stamp, &payload))
		return lsm_fail(err, LSM_INVALID, 0, NULL, 0, "a value without a valid stamp");
	status = write_file(db, payload, &number, err);
	if (status != LSM_OK)
		return status;
	stamp.flags |= LSM_STAMP_SPILLED;
	head_len = lsm_stamp_encode(head, &stamp);
	lsm_put_fixed64(head + head_len, number);
	lsm_put_fixed64(head + head_len + 8, payload.len);
	if (!lsm_batch_put(out, record->key, lsm_slice(head, head_len + LSM_SPILL_REF_SIZE)))
	{
		forget_value(db, lsm_slice(head, head_len + LSM_SPILL_REF_SIZE));
		return lsm_no_memory(err);
	}
	(*spills)++;
	return LSM_OK;
}

static bool
any_wanted(LsmDb *db, const LsmBatch *batch)
{
	LsmBatchReader reader;
	LsmError ignored;

	/* no record can be larger than the whole batch */
	if (!lsm_spill_wanted(db, batch->rep.len) || !lsm_batch_reader_init(&reader, lsm_buf_slice(&batch->rep)))
		return false;
	while (lsm_batch_next(&reader, &ignored) == LSM_OK)
	{
		if (reader.type == LSM_TYPE_VALUE && lsm_spill_wanted(db, reader.value.len))
			return true;
	}
	return false;
}

LsmStatus
lsm_spill_batch(LsmDb *db, const LsmBatch *batch, LsmBatch *out, int *spills, LsmError *err)
{
	const LsmNumbered *numbered = (const LsmNumbered *) batch->numbered.data;
	size_t left = lsm_batch_numbered_count(batch);
	LsmStatus status = LSM_OK;
	LsmBatchReader reader;

	*spills = 0;
	if (!any_wanted(db, batch))
		return LSM_OK;
	if (!lsm_batch_reader_init(&reader, lsm_buf_slice(&batch->rep)))
		return lsm_fail(err, LSM_INVALID, 0, NULL, 0, "bad batch");
	lsm_batch_clear(out);
	for (uint32_t i = 0; status == LSM_OK && (status = lsm_batch_next(&reader, err)) == LSM_OK; i++)
	{
		bool is_numbered = left > 0 && numbered->at == i;

		status = spill_record(db, &reader, is_numbered ? numbered : NULL, out, spills, err);
		numbered += is_numbered;
		left -= is_numbered;
	}
	if (status == LSM_NOT_FOUND)
		return LSM_OK;
	lsm_spill_forget_batch(db, out);
	return status;
}
