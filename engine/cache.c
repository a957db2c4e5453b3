/*
 * cache.c - uncompressed blocks in shared memory.  See cache.h.
 *
 * Memory: LsmCache with its partitions, hash buckets, frames, blocks.  A block
 * belongs to the partition that its hash says; a partition owns an equal share
 * of the frames and buckets, and one lock (LSM_LOCK_CACHE + partition) guards
 * its chains and what its frames hold.
 *
 * A pin is counted up under the shared lock and down without any.  What a frame
 * holds changes only under the exclusive lock and with no pins, so nobody can
 * pin it meanwhile.  The count goes down with release order and is tested with
 * acquire order: a frame is overwritten only after its last reader has read.
 *
 * Every frame is in a bucket's chain, or in the free list, or was never used.
 * Replacement is a clock: a block comes in with a credit, a hit gives one more, up
 * to a few, the hand takes one away in passing and takes a frame that it finds
 * without.  For a hot block the hand goes round until it has a frame.  For a cold
 * one (a scan's) it moves on by one frame: if that still has credit, the block
 * stays out.  So a scan of a few times what the cache holds does not push out its
 * own blocks before it comes to them again, nor what others use, and finds the
 * same part of its blocks each time; what nobody asks for gives way after two or
 * three scans.
 *
 * A block that is larger than a frame lies in pieces, each a frame with a key of
 * its own, all in the partition of the block.  The last piece is the first that is
 * shorter than a frame.  Pieces are pushed out one by one: a block of which one is
 * missing is not there, and gets no credit, so that the others go, too.
 */
#include "engine/cache.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#define NONE (-1)
#define MAX_CREDIT 3
#define MAX_FRAMES ((size_t) 1 << 24) /* a partition; times partitions it fits a pin's int */

/* In the key of a piece: file | LARGE, offset * MAX_PIECES + number. */
#define LARGE ((uint64_t) 1 << 63)
#define MAX_PIECES 64

typedef struct Frame
{
	uint64_t file;
	uint64_t offset;
	uint32_t len;
	int32_t next; /* in its bucket's chain, or in the free list */
	_Atomic uint32_t pins;
	bool linked;            /* in a chain */
	_Atomic uint8_t credit; /* turns of the hand that it outlives */
} Frame;

/* All but the counters is guarded by the partition's lock. */
typedef struct Partition
{
	_Alignas(64) _Atomic uint64_t hits;
	_Atomic uint64_t misses;
	_Atomic uint32_t used; /* frames in chains */
	int32_t hand;
	int32_t fresh; /* the first frame that was never used */
	int32_t free;  /* list of frames that forget emptied */
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
	if (n > MAX_FRAMES)
		n = MAX_FRAMES;
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

	assert((uintptr_t) mem % 64 == 0 && frame_size % 64 == 0);
	shape(bytes, frame_size, &nframes, &nbuckets);
	/* The blocks themselves need no clearing: they are touched when they are first used. */
	memset(mem, 0, blocks_offset(nbuckets, nframes));
	cache->frame_size = frame_size;
	cache->nframes = nframes;
	cache->nbuckets = nbuckets;
	for (int i = 0; i < LSM_NUM_CACHE_PARTITIONS; i++)
		cache->partitions[i].free = NONE;
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
		uint8_t credit = atomic_load_explicit(&frame->credit, memory_order_relaxed);

		/* The lock orders this and a taker's test: relaxed will do. */
		atomic_fetch_add_explicit(&frame->pins, 1, memory_order_relaxed);
		/* Of two hits at once one may not count. */
		if (credit < MAX_CREDIT)
			atomic_store_explicit(&frame->credit, (uint8_t) (credit + 1), memory_order_relaxed);
		pin->block = lsm_slice(block_of(cache, partition, i), frame->len);
		pin->frame = partition * cache->nframes + i;
	}
	lsm_unlock(env, LSM_LOCK_CACHE + partition);
	atomic_fetch_add_explicit(i != NONE ? &part->hits : &part->misses, 1, memory_order_relaxed);
	return i != NONE;
}

LsmSlice
lsm_cache_peek(LsmCache *cache, LsmEnv *env, uint64_t file, uint64_t offset)
{
	uint64_t hash = hash_block(file, offset);
	int partition = (int) (hash % LSM_NUM_CACHE_PARTITIONS);
	LsmSlice block = {NULL, 0};
	int i;

	lsm_lock(env, LSM_LOCK_CACHE + partition, LSM_SHARED);
	i = lookup(cache, partition, hash, file, offset);
	if (i != NONE)
		block = lsm_slice(block_of(cache, partition, i), frames_of(cache, partition)[i].len);
	lsm_unlock(env, LSM_LOCK_CACHE + partition);
	return block;
}

static uint64_t
piece_key(uint64_t offset, int piece)
{
	return offset * MAX_PIECES + (uint64_t) piece;
}

static int
lookup_piece(LsmCache *cache, int partition, uint64_t file, uint64_t offset, int piece)
{
	uint64_t key = piece_key(offset, piece);

	return lookup(cache, partition, hash_block(file | LARGE, key), file | LARGE, key);
}

bool
lsm_cache_get_large(LsmCache *cache, LsmEnv *env, uint64_t file, uint64_t offset, LsmBuf *block)
{
	int partition = (int) (hash_block(file, offset) % LSM_NUM_CACHE_PARTITIONS);
	Partition *part = &cache->partitions[partition];
	Frame *frames = frames_of(cache, partition);
	int found[MAX_PIECES];
	int n = 0;
	bool whole = false;
	bool copied = true;

	lsm_lock(env, LSM_LOCK_CACHE + partition, LSM_SHARED);
	while (!whole && n < MAX_PIECES && (found[n] = lookup_piece(cache, partition, file, offset, n)) != NONE)
		whole = frames[found[n++]].len < cache->frame_size;
	for (int i = 0; whole && i < n; i++)
	{
		atomic_fetch_add_explicit(&frames[found[i]].pins, 1, memory_order_relaxed);
		atomic_store_explicit(&frames[found[i]].credit, MAX_CREDIT, memory_order_relaxed);
	}
	lsm_unlock(env, LSM_LOCK_CACHE + partition);
	if (!whole)
		return false;
	/* The miss that lsm_cache_get has counted was none. */
	atomic_fetch_add_explicit(&part->hits, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&part->misses, 1, memory_order_relaxed);

	for (int i = 0; i < n; i++)
	{
		const char *piece = block_of(cache, partition, found[i]);
		size_t len = frames[found[i]].len;

		copied = copied && (i == 0 ? lsm_buf_set(block, piece, len) : lsm_buf_append(block, piece, len));
		atomic_fetch_sub_explicit(&frames[found[i]].pins, 1, memory_order_release);
	}
	return copied;
}

void
lsm_cache_unpin(LsmCache *cache, LsmEnv *env, LsmCachePin *pin)
{
	uint32_t pins;

	(void) env;
	if (pin->frame < 0)
		return;
	pins = atomic_fetch_sub_explicit(&frames_of(cache, 0)[pin->frame].pins, 1, memory_order_release);
	assert(pins > 0);
	(void) pins;
	pin->frame = -1;
}

/* The lock is held exclusively, here and below. */
static void
unlink_frame(LsmCache *cache, int partition, int i)
{
	Frame *frames = frames_of(cache, partition);
	int32_t *link = bucket_of(cache, partition, hash_block(frames[i].file, frames[i].offset) >> 8);

	while (*link != i)
		link = &frames[*link].next;
	*link = frames[i].next;
	frames[i].linked = false;
	atomic_fetch_sub_explicit(&cache->partitions[partition].used, 1, memory_order_relaxed);
}

static void
link_frame(LsmCache *cache, int partition, int i, int32_t *bucket)
{
	Frame *frames = frames_of(cache, partition);

	frames[i].next = *bucket;
	frames[i].linked = true;
	*bucket = i;
	atomic_fetch_add_explicit(&cache->partitions[partition].used, 1, memory_order_relaxed);
}

static bool
pinned(Frame *frame)
{
	return atomic_load_explicit(&frame->pins, memory_order_acquire) != 0;
}

/* A frame to fill, in no chain; NONE when there is none to take. */
static int
take_frame(LsmCache *cache, int partition, bool hot)
{
	Partition *part = &cache->partitions[partition];
	Frame *frames = frames_of(cache, partition);
	int i = part->free;

	if (i != NONE)
	{
		part->free = frames[i].next;
		return i;
	}
	if (part->fresh < cache->nframes)
		return part->fresh++;
	/* After so many turns only a pin keeps a frame, or others' hits meanwhile. */
	for (int steps = hot ? (MAX_CREDIT + 1) * cache->nframes : 1; steps > 0; steps--)
	{
		uint8_t credit;

		i = part->hand;
		part->hand = i + 1 < cache->nframes ? i + 1 : 0;
		credit = atomic_load_explicit(&frames[i].credit, memory_order_relaxed);
		if (credit > 0)
			atomic_store_explicit(&frames[i].credit, (uint8_t) (credit - 1), memory_order_relaxed);
		else if (!pinned(&frames[i]))
		{
			unlink_frame(cache, partition, i);
			return i;
		}
	}
	return NONE;
}

/* Fills a frame and links it. */
static void
fill_frame(LsmCache *cache, int partition, int i, uint64_t file, uint64_t offset, LsmSlice data)
{
	Frame *frame = &frames_of(cache, partition)[i];

	memcpy(block_of(cache, partition, i), data.data, data.len);
	frame->file = file;
	frame->offset = offset;
	frame->len = (uint32_t) data.len;
	atomic_store_explicit(&frame->credit, 1, memory_order_relaxed);
	link_frame(cache, partition, i, bucket_of(cache, partition, hash_block(file, offset) >> 8));
}

static void
put_large(LsmCache *cache, LsmEnv *env, uint64_t file, uint64_t offset, LsmSlice block, bool hot)
{
	int partition = (int) (hash_block(file, offset) % LSM_NUM_CACHE_PARTITIONS);
	size_t n = block.len / cache->frame_size + 1;

	/* Not at the cost of most others. */
	if (n > MAX_PIECES || n > (size_t) cache->nframes / 4)
		return;
	lsm_lock(env, LSM_LOCK_CACHE + partition, LSM_EXCLUSIVE);
	for (size_t piece = 0; piece < n; piece++)
	{
		size_t from = piece * cache->frame_size;
		size_t len = block.len - from < cache->frame_size ? block.len - from : cache->frame_size;
		int i;

		if (lookup_piece(cache, partition, file, offset, (int) piece) != NONE)
			continue;
		i = take_frame(cache, partition, hot);
		if (i == NONE)
			break;
		fill_frame(cache, partition, i, file | LARGE, piece_key(offset, (int) piece), lsm_slice(block.data + from, len));
	}
	lsm_unlock(env, LSM_LOCK_CACHE + partition);
}

void
lsm_cache_put(LsmCache *cache, LsmEnv *env, uint64_t file, uint64_t offset, LsmSlice block, bool hot)
{
	uint64_t hash = hash_block(file, offset);
	int partition = (int) (hash % LSM_NUM_CACHE_PARTITIONS);
	int i;

	if (block.len > cache->frame_size)
	{
		put_large(cache, env, file, offset, block, hot);
		return;
	}
	lsm_lock(env, LSM_LOCK_CACHE + partition, LSM_EXCLUSIVE);
	/* Somebody else may have read the same block meanwhile. */
	if (lookup(cache, partition, hash, file, offset) == NONE && (i = take_frame(cache, partition, hot)) != NONE)
		fill_frame(cache, partition, i, file, offset, block);
	lsm_unlock(env, LSM_LOCK_CACHE + partition);
}

void
lsm_cache_forget(LsmCache *cache, LsmEnv *env, uint64_t file)
{
	for (int partition = 0; partition < LSM_NUM_CACHE_PARTITIONS; partition++)
	{
		Partition *part = &cache->partitions[partition];
		Frame *frames = frames_of(cache, partition);

		lsm_lock(env, LSM_LOCK_CACHE + partition, LSM_EXCLUSIVE);
		for (int i = 0; i < part->fresh; i++)
			if (frames[i].linked && (frames[i].file & ~LARGE) == file && !pinned(&frames[i]))
			{
				unlink_frame(cache, partition, i);
				frames[i].next = part->free;
				part->free = i;
			}
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
		stats->used += atomic_load_explicit(&cache->partitions[i].used, memory_order_relaxed);
		stats->hits += atomic_load_explicit(&cache->partitions[i].hits, memory_order_relaxed);
		stats->misses += atomic_load_explicit(&cache->partitions[i].misses, memory_order_relaxed);
	}
}
