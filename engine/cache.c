/*
 * cache.c - uncompressed blocks in shared memory.  See cache.h.
 *
 * Memory: LsmCache, partitions, hash buckets, frame headers, frames.  A block
 * belongs to the partition that its hash says; a partition owns an equal share of the frames
 * and buckets, and one lock (LSM_LOCK_CACHE + partition) guards its chains.
 *
 * A pin is counted up under the shared lock and down without any.  A frame is
 * taken for another block only under the exclusive lock and with no pins, so
 * nobody can pin it meanwhile.  Replacement is a clock: a hit sets `used`, the
 * hand clears it, a frame that is found clear is taken.  Cold blocks (scans)
 * come in with `used` clear, so that a scan replaces its own.
 */
#include "engine/cache.h"

#include <stdatomic.h>
#include <string.h>

#define NONE (-1)

typedef struct Frame
{
	uint64_t file; /* 0: empty */
	uint64_t offset;
	uint32_t len;
	int32_t next; /* in its bucket's chain */
	_Atomic uint32_t pins;
	_Atomic uint8_t used;
} Frame;

typedef struct Partition
{
	_Alignas(64) _Atomic uint64_t hits;
	_Atomic uint64_t misses;
	int32_t hand;
	int32_t filled; /* frames ever used, the first ones */
} Partition;

struct LsmCache
{
	size_t frame_size;
	int nframes;  /* per partition */
	int nbuckets; /* per partition, a power of two */
	Partition partitions[LSM_NUM_CACHE_PARTITIONS];
	/* int32 buckets[partitions][nbuckets]; Frame frames[partitions][nframes]; the blocks */
};

static size_t
align64(size_t n)
{
	return (n + 63) & ~(size_t) 63;
}

static void
shape(size_t bytes, size_t frame_size, int *nframes, int *nbuckets)
{
	size_t n = bytes / frame_size / LSM_NUM_CACHE_PARTITIONS;

	if (n < 1)
		n = 1;
	if (n > (1 << 24))
		n = 1 << 24;
	*nframes = (int) n;
	*nbuckets = 1;
	while (*nbuckets < *nframes)
		*nbuckets *= 2;
}

static size_t
buckets_offset(void)
{
	return align64(sizeof(LsmCache));
}

static size_t
frames_offset(int nbuckets)
{
	return buckets_offset() + align64((size_t) LSM_NUM_CACHE_PARTITIONS * (size_t) nbuckets * sizeof(int32_t));
}

static size_t
blocks_offset(int nbuckets, int nframes)
{
	return frames_offset(nbuckets) + align64((size_t) LSM_NUM_CACHE_PARTITIONS * (size_t) nframes * sizeof(Frame));
}

size_t
lsm_cache_footprint(size_t bytes, size_t frame_size)
{
	int nframes, nbuckets;

	shape(bytes, frame_size, &nframes, &nbuckets);
	return blocks_offset(nbuckets, nframes) + (size_t) LSM_NUM_CACHE_PARTITIONS * (size_t) nframes * frame_size;
}

static int32_t *
bucket_of(LsmCache *cache, int partition, uint64_t hash)
{
	int32_t *buckets = (int32_t *) ((char *) cache + buckets_offset());

	return &buckets[(size_t) partition * (size_t) cache->nbuckets + (hash & (uint64_t) (cache->nbuckets - 1))];
}

static Frame *
frames_of(LsmCache *cache, int partition)
{
	Frame *frames = (Frame *) ((char *) cache + frames_offset(cache->nbuckets));

	return frames + (size_t) partition * (size_t) cache->nframes;
}

static char *
block_of(LsmCache *cache, int partition, int frame)
{
	size_t index = (size_t) partition * (size_t) cache->nframes + (size_t) frame;

	return (char *) cache + blocks_offset(cache->nbuckets, cache->nframes) + index * cache->frame_size;
}

LsmCache *
lsm_cache_init(void *mem, size_t bytes, size_t frame_size)
{
	LsmCache *cache = mem;
	int nframes, nbuckets;

	shape(bytes, frame_size, &nframes, &nbuckets);
	/* The blocks themselves need no clearing: they are touched when they are first used. */
	memset(mem, 0, blocks_offset(nbuckets, nframes));
	cache->frame_size = frame_size;
	cache->nframes = nframes;
	cache->nbuckets = nbuckets;
	memset((char *) mem + buckets_offset(), 0xff,
		   (size_t) LSM_NUM_CACHE_PARTITIONS * (size_t) nbuckets * sizeof(int32_t));
	return cache;
}

/* The low bits choose the partition, the high ones the bucket. */
static uint64_t
hash_block(uint64_t file, uint64_t offset)
{
	uint64_t h = file * UINT64_C(0x9e3779b97f4a7c15) ^ (offset + 1) * UINT64_C(0xc2b2ae3d27d4eb4f);

	h ^= h >> 32;
	h *= UINT64_C(0xd6e8feb86659fd93);
	h ^= h >> 32;
	return h;
}

static int
lookup(LsmCache *cache, int partition, uint64_t hash, uint64_t file, uint64_t offset)
{
	Frame *frames = frames_of(cache, partition);

	for (int i = *bucket_of(cache, partition, hash >> 8); i != NONE; i = frames[i].next)
		if (frames[i].file == file && frames[i].offset == offset)
			return i;
	return NONE;
}

bool
lsm_cache_get(LsmCache *cache, LsmEnv *env, uint64_t file, uint64_t offset, LsmCachePin *pin)
{
	uint64_t hash = hash_block(file, offset);
	int partition = (int) (hash % LSM_NUM_CACHE_PARTITIONS);
	Partition *part = &cache->partitions[partition];
	int i;

	pin->frame = -1;
	lsm_lock(env, LSM_LOCK_CACHE + partition, LSM_SHARED);
	i = lookup(cache, partition, hash, file, offset);
	if (i != NONE)
	{
		Frame *frame = &frames_of(cache, partition)[i];

		atomic_fetch_add_explicit(&frame->pins, 1, memory_order_acquire);
		if (atomic_load_explicit(&frame->used, memory_order_relaxed) == 0)
			atomic_store_explicit(&frame->used, 1, memory_order_relaxed);
		pin->block = lsm_slice(block_of(cache, partition, i), frame->len);
		pin->frame = partition * cache->nframes + i;
	}
	lsm_unlock(env, LSM_LOCK_CACHE + partition);
	atomic_fetch_add_explicit(i != NONE ? &part->hits : &part->misses, 1, memory_order_relaxed);
	return i != NONE;
}

void
lsm_cache_unpin(LsmCache *cache, LsmEnv *env, LsmCachePin *pin)
{
	(void) env;
	if (pin->frame < 0)
		return;
	atomic_fetch_sub_explicit(&frames_of(cache, 0)[pin->frame].pins, 1, memory_order_release);
	pin->frame = -1;
}

/* Takes frame i out of its chain.  The lock is held exclusively. */
static void
unlink_frame(LsmCache *cache, int partition, int i)
{
	Frame *frames = frames_of(cache, partition);
	int32_t *link = bucket_of(cache, partition, hash_block(frames[i].file, frames[i].offset) >> 8);

	while (*link != i)
		link = &frames[*link].next;
	*link = frames[i].next;
	frames[i].file = 0;
}

/* A frame to take, out of its chain; NONE when all are pinned.  The lock is held exclusively. */
static int
victim(LsmCache *cache, int partition)
{
	Partition *part = &cache->partitions[partition];
	Frame *frames = frames_of(cache, partition);

	if (part->filled < cache->nframes)
		return part->filled++;
	for (int step = 0; step < 2 * cache->nframes; step++)
	{
		int i = part->hand;

		part->hand = (i + 1) % cache->nframes;
		if (atomic_load_explicit(&frames[i].pins, memory_order_acquire) != 0)
			continue;
		if (frames[i].file != 0 && atomic_load_explicit(&frames[i].used, memory_order_relaxed) != 0)
		{
			atomic_store_explicit(&frames[i].used, 0, memory_order_relaxed);
			continue;
		}
		if (frames[i].file != 0)
			unlink_frame(cache, partition, i);
		return i;
	}
	return NONE;
}

void
lsm_cache_put(LsmCache *cache, LsmEnv *env, uint64_t file, uint64_t offset, LsmSlice block, bool hot)
{
	uint64_t hash = hash_block(file, offset);
	int partition = (int) (hash % LSM_NUM_CACHE_PARTITIONS);
	int i;

	if (block.len > cache->frame_size)
		return;
	lsm_lock(env, LSM_LOCK_CACHE + partition, LSM_EXCLUSIVE);
	/* Somebody else may have read the same block meanwhile. */
	if (lookup(cache, partition, hash, file, offset) == NONE && (i = victim(cache, partition)) != NONE)
	{
		Frame *frame = &frames_of(cache, partition)[i];
		int32_t *bucket = bucket_of(cache, partition, hash >> 8);

		memcpy(block_of(cache, partition, i), block.data, block.len);
		frame->file = file;
		frame->offset = offset;
		frame->len = (uint32_t) block.len;
		atomic_store_explicit(&frame->used, hot, memory_order_relaxed);
		frame->next = *bucket;
		*bucket = i;
	}
	lsm_unlock(env, LSM_LOCK_CACHE + partition);
}

void
lsm_cache_forget(LsmCache *cache, LsmEnv *env, uint64_t file)
{
	for (int partition = 0; partition < LSM_NUM_CACHE_PARTITIONS; partition++)
	{
		Frame *frames = frames_of(cache, partition);

		lsm_lock(env, LSM_LOCK_CACHE + partition, LSM_EXCLUSIVE);
		for (int i = 0; i < cache->partitions[partition].filled; i++)
			if (frames[i].file == file && atomic_load_explicit(&frames[i].pins, memory_order_acquire) == 0)
				unlink_frame(cache, partition, i);
		lsm_unlock(env, LSM_LOCK_CACHE + partition);
	}
}

void
lsm_cache_stats(LsmCache *cache, LsmCacheStats *stats)
{
	memset(stats, 0, sizeof(*stats));
	stats->frames = (uint64_t) LSM_NUM_CACHE_PARTITIONS * (uint64_t) cache->nframes;
	for (int i = 0; i < LSM_NUM_CACHE_PARTITIONS; i++)
	{
		/* Without the lock: figures for people. */
		stats->used += (uint64_t) cache->partitions[i].filled;
		stats->hits += atomic_load_explicit(&cache->partitions[i].hits, memory_order_relaxed);
		stats->misses += atomic_load_explicit(&cache->partitions[i].misses, memory_order_relaxed);
	}
}
