/*
 * table_builder.h - writes a sorted table in LevelDB's format, byte for byte.
 */
#ifndef LSM_TABLE_BUILDER_H
#define LSM_TABLE_BUILDER_H

#include "engine/env.h"
#include "engine/keys.h"
#include "engine/table.h"

typedef enum LsmCompression
{
	LSM_COMPRESS_NONE = 0, /* LevelDB's block type bytes */
	LSM_COMPRESS_SNAPPY = 1,
	LSM_COMPRESS_ZSTD = 2
} LsmCompression;

typedef struct LsmTableOptions
{
	size_t block_size;     /* bytes before compression; a block exceeds it only if a single entry does */
	int restart_interval;  /* 16 */
	size_t restart_spread; /* bytes; 512, or 0 for LevelDB's very blocks (block_builder.h) */
	int bloom_bits;        /* per key; 0: no filter */
	LsmCompression compression;
	int zstd_level;
	bool stamped;     /* values carry stamps: fill min_xid, count stamped deletions, write "docstore.properties" */
	bool bloom_prime; /* true; false for LevelDB's very filters (bloom.h) */
} LsmTableOptions;

typedef struct LsmTableBuilder LsmTableBuilder;

/* The file (opened with CREATE) stays the caller's. */
extern LsmStatus lsm_table_builder_new(LsmFile *file, const LsmTableOptions *options, LsmTableBuilder **builder,
									   LsmError *err);
/* Internal keys in ascending order. */
extern LsmStatus lsm_table_builder_add(LsmTableBuilder *builder, LsmSlice ikey, LsmSlice value, LsmError *err);
extern uint64_t lsm_table_builder_size(const LsmTableBuilder *builder); /* bytes of file so far, the open block included */
extern const LsmTableProps *lsm_table_builder_props(const LsmTableBuilder *builder);
/* Writes the rest and syncs the file. */
extern LsmStatus lsm_table_builder_finish(LsmTableBuilder *builder, uint64_t *file_size, LsmError *err);
extern void lsm_table_builder_free(LsmTableBuilder *builder); /* also after an error: the caller removes the file */

/*
 * Block compression, used by builder and reader (compress.c).  Both append to
 * out.  lsm_compress: false, and nothing appended, if the block is better stored
 * raw.  lsm_decompress never appends more than the block says and can hold, nor
 * more than LSM_BLOCK_MAX.
 */
extern bool lsm_compress(LsmCompression kind, int level, LsmSlice raw, LsmBuf *out);
extern LsmStatus lsm_decompress(LsmCompression kind, LsmSlice data, LsmBuf *out, LsmError *err);

#endif
