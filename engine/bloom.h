/*
 * bloom.h - LevelDB's built-in bloom filter and the block that holds a table's filters.
 *
 * Grammar in bloom.c.  The keys asked for and put in are user keys.
 */
#ifndef LSM_BLOOM_H
#define LSM_BLOOM_H

#include "engine/status.h"

#define LSM_FILTER_NAME "filter.leveldb.BuiltinBloomFilter2" /* in the metaindex block */

/* LevelDB's general hash (a kin of MurmurHash). */
extern uint32_t lsm_hash(const void *data, size_t len, uint32_t seed);

/* ---- writing ---- */

typedef struct LsmFilterBuilder
{
	int bits_per_key;
	int probes;
	bool prime;
	uint32_t *hashes; /* of the keys since the last filter */
	size_t num_hashes;
	size_t cap_hashes;
	uint32_t *offsets; /* of the filters */
	size_t num_offsets;
	size_t cap_offsets;
	LsmBuf buf; /* filters */
} LsmFilterBuilder;

/* prime: filters of a prime number of bytes (bloom.c); else LevelDB's very bytes. */
extern void lsm_filter_builder_init(LsmFilterBuilder *filter, int bits_per_key, bool prime);
extern void lsm_filter_builder_free(LsmFilterBuilder *filter);
/* A data block begins at this offset of the file; the keys that follow are in it.  False when out of memory. */
extern bool lsm_filter_builder_block(LsmFilterBuilder *filter, uint64_t offset);
extern bool lsm_filter_builder_add(LsmFilterBuilder *filter, LsmSlice user_key);
/* The filter block; data is NULL when out of memory.  Borrowed until the builder is freed. */
extern LsmSlice lsm_filter_builder_finish(LsmFilterBuilder *filter);

/* ---- reading ---- */

typedef struct LsmFilter
{
	const char *data;    /* filters, then their offsets */
	const char *offsets; /* one more than num, the last is the offset of the offsets */
	size_t num;
	int base_lg;
} LsmFilter;

/* contents must outlive the filter.  False if they cannot be a filter block. */
extern bool lsm_filter_init(LsmFilter *filter, LsmSlice contents);
/* False: user_key is in no entry of the data block at this offset. */
extern bool lsm_filter_may_match(const LsmFilter *filter, uint64_t block_offset, LsmSlice user_key);

#endif
