/*
 * cache.h - uncompressed blocks in shared memory, keyed by (file number, offset).
 *
 * Frames of one size; a block that is larger lies in several, up to a bound, and is
 * copied out of them.  Partitioned by hash, a lock each, clock replacement within a
 * partition.  A pinned frame stays; pins last for one engine call only, so a
 * process never leaves one.
 */
#ifndef LSM_CACHE_H
#define LSM_CACHE_H

#include "engine/env.h"

typedef struct LsmCache LsmCache; /* lies in shared memory */

/* Bytes of shared memory for a cache of about `bytes` with frames of frame_size (a multiple of 64). */
extern size_t lsm_cache_footprint(size_t bytes, size_t frame_size);
extern LsmCache *lsm_cache_init(void *mem, size_t bytes, size_t frame_size);

typedef struct LsmCachePin
{
	LsmSlice block; /* contents, without LevelDB's 5-byte block trailer */
	int frame;      /* -1: none */
} LsmCachePin;

/* true and a pinned block, or false: also for one that is larger than a frame. */
extern bool lsm_cache_get(LsmCache *cache, LsmEnv *env, uint64_t file, uint64_t offset, LsmCachePin *pin);
/* For what lsm_cache_get has not found: true and a copy of a block that is larger than a frame, or false. */
extern bool lsm_cache_get_large(LsmCache *cache, LsmEnv *env, uint64_t file, uint64_t offset, LsmBuf *block);
/*
 * Where a block lies that fits in a frame, to be fetched into the processor's cache; len 0 if it is not there.  It
 * is not pinned: the bytes may be those of another block at any time, and nothing may be read of them.
 */
extern LsmSlice lsm_cache_peek(LsmCache *cache, LsmEnv *env, uint64_t file, uint64_t offset);
/*
 * Puts a copy in if it fits and there is a frame to take.  A `hot` block gets any
 * that is not pinned; one that is not (a scan's) stays out when what it would push
 * out was asked for since it was last in danger.
 */
extern void lsm_cache_put(LsmCache *cache, LsmEnv *env, uint64_t file, uint64_t offset, LsmSlice block, bool hot);
extern void lsm_cache_unpin(LsmCache *cache, LsmEnv *env, LsmCachePin *pin);
/* Frees the frames of a file that is gone (may leave some; numbers are never used again). */
extern void lsm_cache_forget(LsmCache *cache, LsmEnv *env, uint64_t file);

typedef struct LsmCacheStats
{
	uint64_t frames, used, hits, misses;
} LsmCacheStats;
extern void lsm_cache_stats(LsmCache *cache, LsmCacheStats *stats);

#endif
