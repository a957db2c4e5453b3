/*
 * fuzz_batch.c - any bytes as a batch: what a log or a WAL record may hold.
 *
 * Records lie within the bytes, there are as many as the header says, and a batch
 * made of them reads the same.
 */
#include "engine/batch.h"
#include "engine/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	LsmSlice rep = lsm_slice(data, size);
	LsmBatch copy = {.count = 0};
	LsmBatchReader reader;
	LsmBatchReader again;
	LsmStatus status;
	LsmError err;
	uint32_t count;
	uint32_t seen = 0;

	if (!lsm_batch_reader_init(&reader, rep))
	{
		FUZZ_CHECK(size < LSM_BATCH_HEADER);
		return 0;
	}
	count = reader.left;
	lsm_batch_clear(&copy);
	while ((status = lsm_batch_next(&reader, &err)) == LSM_OK)
	{
		FUZZ_CHECK(reader.key.data >= rep.data && reader.key.data + reader.key.len <= rep.data + size);
		if (reader.type == LSM_TYPE_VALUE)
		{
			FUZZ_CHECK(reader.value.data >= rep.data && reader.value.data + reader.value.len <= rep.data + size);
			FUZZ_CHECK(lsm_batch_put(&copy, reader.key, reader.value));
		}
		else
			FUZZ_CHECK(lsm_batch_delete(&copy, reader.key));
		seen++;
	}
	FUZZ_CHECK(status == LSM_NOT_FOUND ? seen == count : status == LSM_CORRUPT && err.status == LSM_CORRUPT);

	FUZZ_CHECK(copy.count == seen);
	if (seen > 0)
	{
		FUZZ_CHECK(lsm_batch_reader_init(&reader, rep));
		FUZZ_CHECK(lsm_batch_reader_init(&again, lsm_buf_slice(&copy.rep)));
		while (lsm_batch_next(&again, &err) == LSM_OK)
		{
			FUZZ_CHECK(lsm_batch_next(&reader, &err) == LSM_OK);
			FUZZ_CHECK(again.type == reader.type && fuzz_same(again.key, reader.key));
			FUZZ_CHECK(again.type == LSM_TYPE_DELETION || fuzz_same(again.value, reader.value));
			seen--;
		}
		FUZZ_CHECK(seen == 0);
	}
	lsm_batch_free(&copy);
	return 0;
}
