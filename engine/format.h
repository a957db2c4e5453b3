/*
 * format.h - what a table file consists of besides its blocks' entries.
 *
 * LevelDB's table (its doc/table_format.md, table/format.cc):
 *
 *     stored block*        data blocks; filter block; properties; metaindex block; index block
 *     footer               48 bytes
 *
 *     stored block:   contents, compressed or not
 *                     type       1 byte: 0 as it is, 1 snappy, 2 zstd
 *                     crc        fixed32, masked: of contents and type
 *     handle:         offset     varint64: of the contents in the file
 *                     size       varint64: of the contents, without type and crc
 *     footer:         handle of the metaindex block, handle of the index block
 *                     zeros, up to 40 bytes
 *                     magic      fixed64: 0xdb4775248b80fb57
 *
 * The index block has an entry for each data block: a key that is >= all in it
 * and < all in the next, and its handle.  (In stamped stores two varint64 follow, which LevelDB does not look at: the highest and
 * the lowest sequence in the block.  If the next block goes on with the same user key, the lowest is 0, because what is newer
 * here hides what is older there.)  The metaindex block has an entry for
 * each meta block: its name and handle; names in ascending order:
 *
 *     "docstore.properties"                  ours, in stamped stores only
 *     "filter.leveldb.BuiltinBloomFilter2"   see bloom.c
 *
 * Properties (LsmTableProps), version 2:
 *
 *     version              1 byte
 *     entries, deletions, raw_bytes, min_xid, max_seq, min_seq     varint64 each; version 1: no min_seq
 */
#ifndef LSM_FORMAT_H
#define LSM_FORMAT_H

#include "engine/env.h"
#include "engine/table.h"

#define LSM_FOOTER_SIZE 48
#define LSM_HANDLE_MAX 20 /* bytes */
#define LSM_BLOCK_TRAILER 5
#define LSM_PROPS_NAME "docstore.properties"
#define LSM_PROPS_MAX 61                    /* bytes */
#define LSM_INDEX_MAX (LSM_HANDLE_MAX + 20) /* bytes */

/* A key and its value together may take 1 GB; a block may hold such an entry and others, up to its usual size. */
#define LSM_ENTRY_MAX ((size_t) 1 << 30)
#define LSM_BLOCK_SIZE_MAX ((size_t) 1 << 26)
#define LSM_BLOCK_MAX (LSM_ENTRY_MAX + LSM_BLOCK_SIZE_MAX)

typedef struct LsmBlockHandle
{
	uint64_t offset;
	uint64_t size;
} LsmBlockHandle;

/* dst has LSM_HANDLE_MAX bytes; returns how many were written. */
extern size_t lsm_handle_encode(char *dst, LsmBlockHandle handle);
/* Returns behind the handle, or NULL. */
extern const char *lsm_handle_decode(const char *p, const char *end, LsmBlockHandle *handle);

/* A data block's entry in the index, as above.  dst has LSM_INDEX_MAX bytes; returns how many were written. */
extern size_t lsm_index_encode(char *dst, LsmBlockHandle handle, LsmSeqs seqs);
/* The block's sequences; all, where the entry does not say. */
extern LsmSeqs lsm_index_seqs(LsmSlice value);

/* Does a block with its trailer lie before `end`?  To be asked before anything is read or allocated. */
static inline bool
lsm_handle_fits(LsmBlockHandle handle, uint64_t end)
{
	return handle.size <= LSM_BLOCK_MAX && handle.offset <= end &&
		   handle.size + LSM_BLOCK_TRAILER <= end - handle.offset;
}

/* dst has LSM_FOOTER_SIZE bytes. */
extern void lsm_footer_encode(char *dst, LsmBlockHandle metaindex, LsmBlockHandle index);
/* False: not a table. */
extern bool lsm_footer_decode(const char *src, LsmBlockHandle *metaindex, LsmBlockHandle *index);

/* dst has LSM_PROPS_MAX bytes; returns how many were written. */
extern size_t lsm_props_encode(char *dst, const LsmTableProps *props);
extern bool lsm_props_decode(LsmSlice src, LsmTableProps *props);

/*
 * Checks a stored block (with its trailer) that was read from name, and undoes
 * its compression.  contents lies in stored, or in plain, whose old contents are
 * gone in any case.
 */
extern LsmStatus lsm_block_check(const char *name, LsmBlockHandle handle, const char *stored, LsmBuf *plain,
								 LsmSlice *contents, LsmError *err);
/* Reads a block, and checks it.  `end` is where the file's blocks end.  contents lies in stored or plain. */
extern LsmStatus lsm_block_read(LsmFile *file, uint64_t end, LsmBlockHandle handle, LsmBuf *stored, LsmBuf *plain,
								LsmSlice *contents, LsmError *err);

#endif
