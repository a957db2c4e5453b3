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
} LsmBatch;

/* Zero-initialise a batch, or clear it. */
extern void lsm_batch_clear(LsmBatch *batch);
extern void lsm_batch_free(LsmBatch *batch);
extern bool lsm_batch_put(LsmBatch *batch, LsmSlice key, LsmSlice value);
/* As put with a value made of two parts (stamp and payload), without joining them first. */
extern bool lsm_batch_put2(LsmBatch *batch, LsmSlice key, LsmSlice value1, LsmSlice value2);
extern bool lsm_batch_delete(LsmBatch *batch, LsmSlice key);
/* Appends all of src's records. */
extern bool lsm_batch_join(LsmBatch *batch, const LsmBatch *src);
extern void lsm_batch_set_sequence(LsmBatch *batch, uint64_t seq);

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
