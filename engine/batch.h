/*
 * batch.h - a group of changes that are made together; LevelDB's WriteBatch format:
 *
 *     fixed64 sequence of the first record, fixed32 count, then per record
 *     type byte (1 value, 0 deletion), varint32-prefixed key, for a value varint32-prefixed value.
 *
 * The record in the log (or in PostgreSQL's WAL) is exactly these bytes.
 */
#ifndef LSM_BATCH_H
#define LSM_BATCH_H

#include "engine/keys.h"

#define LSM_BATCH_HEADER 12

typedef struct LsmBatch
{
	LsmBuf rep; /* the format above */
	uint32_t count;
	size_t memtable_cost; /* sum of lsm_memtable_cost over its records */
	LsmBuf numbered;      /* of LsmNumbered: keys that end in a sequence */
} LsmBatch;

/* Where a record's key waits for a sequence. */
typedef struct LsmNumbered
{
	uint32_t at;     /* index of the record */
	uint32_t of;     /* index of the record whose sequence it is */
	uint32_t offset; /* in rep, of the 8 bytes */
} LsmNumbered;

/* Zero-initialise a batch, or clear it. */
extern void lsm_batch_clear(LsmBatch *batch);
extern void lsm_batch_free(LsmBatch *batch);
extern bool lsm_batch_put(LsmBatch *batch, LsmSlice key, LsmSlice value);
/* As put with a value made of two parts (stamp and payload), without joining them first. */
extern bool lsm_batch_put2(LsmBatch *batch, LsmSlice key, LsmSlice value1, LsmSlice value2);
extern bool lsm_batch_delete(LsmBatch *batch, LsmSlice key);
/*
 * As put; behind the key come 8 bytes, big-endian: the sequence of the batch's
 * record `of` (from 0; it may be this one).  lsm_batch_set_sequence fills them in,
 * so the journal and the memtable get the whole key.
 */
extern bool lsm_batch_put_numbered(LsmBatch *batch, LsmSlice key, uint32_t of, LsmSlice value);
/* Appends all of src's records; numbered keys as they are, so src's sequence must be set before. */
extern bool lsm_batch_join(LsmBatch *batch, const LsmBatch *src);
extern void lsm_batch_set_sequence(LsmBatch *batch, uint64_t seq);

static inline size_t
lsm_batch_numbered_count(const LsmBatch *batch)
{
	return batch->numbered.len / sizeof(LsmNumbered);
}

/* Reading a batch of any origin: every length is checked. */
typedef struct LsmBatchReader
{
	LsmSlice rest;
	uint64_t seq; /* of the record last returned */
	uint32_t left;
	LsmType type;
	LsmSlice key;
	LsmSlice value;
} LsmBatchReader;

/* false if rep is too short. */
extern bool lsm_batch_reader_init(LsmBatchReader *reader, LsmSlice rep);
/* LSM_OK and a record, LSM_NOT_FOUND at the end, LSM_CORRUPT. */
extern LsmStatus lsm_batch_next(LsmBatchReader *reader, LsmError *err);

#endif
