/*
 * memtable.c - a concurrent skiplist in an arena.  See memtable.h.
 *
 * Arena: LsmMemtable, then nodes, each 8-byte aligned.  An offset of 0 is "none".
 *
 *     node := next[height] (atomic 32-bit offsets), key_len, value_len, height, hint,
 *             internal key, value
 *
 * Proof sketch.  A node is filled completely, then linked bottom-up by compare
 * and swap with release order; readers follow links with acquire order, so
 * whoever sees a link sees the node behind it.  Level 0 alone decides what is in
 * the list: the upper levels are short cuts that may appear later or never.
 * Nothing is unlinked, so a predecessor found once stays one: after a failed
 * compare and swap it is enough to walk on from it.  Keys are unique (sequences
 * are), so two inserts never fight for one place in the order.
 */
#include "engine/memtable.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/coding.h"

#define MAX_HEIGHT 12

struct LsmMemtable
{
	uint32_t size;
	_Atomic uint32_t used; /* everything below is given out */
	_Atomic uint64_t entries;
	_Atomic int height; /* of the highest node; readers may see it late */
	_Atomic uint32_t head[MAX_HEIGHT];
};

typedef struct Node
{
	uint32_t key_len; /* of the internal key */
	uint32_t value_len;
	uint8_t height;
	volatile uint8_t hint;
	/* the internal key and the value follow; next[] lies before the node */
} Node;

#define NODE_HEADER (offsetof(Node, hint) + 1)

static inline Node *
node_at(const LsmMemtable *mt, uint32_t offset)
{
	return (Node *) ((char *) mt + offset);
}

/* next[level] lies at node - 4 * (level + 1): the header stays at a fixed place whatever the height. */
static inline _Atomic uint32_t *
next_of(LsmMemtable *mt, uint32_t node, int level)
{
	if (node == 0)
		return &mt->head[level];
	return (_Atomic uint32_t *) ((char *) mt + node) - (level + 1);
}

static inline uint32_t
follow(LsmMemtable *mt, uint32_t node, int level)
{
	return atomic_load_explicit(next_of(mt, node, level), memory_order_acquire);
}

static inline char *
node_bytes(Node *node)
{
	return (char *) node + NODE_HEADER;
}

static inline LsmSlice
node_key(Node *node)
{
	return lsm_slice(node_bytes(node), node->key_len);
}

static inline LsmSlice
node_value(Node *node)
{
	return lsm_slice(node_bytes(node) + node->key_len, node->value_len);
}

static inline size_t
align8(size_t n)
{
	return (n + 7) & ~(size_t) 7;
}

LsmMemtable *
lsm_memtable_init(void *mem, size_t size)
{
	LsmMemtable *mt = mem;

	assert(size > sizeof(*mt) && size <= UINT32_MAX);
	memset(mt, 0, sizeof(*mt));
	mt->size = (uint32_t) size;
	atomic_store(&mt->used, (uint32_t) align8(sizeof(*mt)));
	atomic_store(&mt->height, 1);
	return mt;
}

/* Bytes of a node of this height, without alignment. */
static inline size_t
node_size(int height, size_t ikey_len, size_t value_len)
{
	return align8((size_t) height * sizeof(uint32_t)) + NODE_HEADER + ikey_len + value_len;
}

size_t
lsm_memtable_cost(size_t user_key_len, size_t value_len)
{
	return align8(node_size(MAX_HEIGHT, user_key_len + LSM_TRAILER_SIZE, value_len));
}

bool
lsm_memtable_reserve(LsmMemtable *mt, size_t cost, LsmMemRoom *room)
{
	uint32_t used = atomic_load_explicit(&mt->used, memory_order_relaxed);

	do
	{
		if (cost > mt->size - used)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&mt->used, &used, used + (uint32_t) cost, memory_order_relaxed,
													memory_order_relaxed));
	room->next = used;
	room->end = used + (uint32_t) cost;
	return true;
}

/* One in four nodes reaches the next level.  Any mixing will do: the offset differs from node to node. */
static int
pick_height(uint32_t offset, uint64_t seq)
{
	uint64_t h = (seq + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ offset * UINT64_C(0xc2b2ae3d27d4eb4f);
	int height = 1;

	h ^= h >> 29;
	h *= UINT64_C(0xbf58476d1ce4e5b9);
	h ^= h >> 32;
	while (height < MAX_HEIGHT && (h & 3) == 0)
	{
		height++;
		h >>= 2;
	}
	return height;
}

static inline int
compare_key(LsmSlice user_key, uint64_t trailer, Node *node)
{
	size_t nlen = node->key_len - LSM_TRAILER_SIZE;
	const char *nkey = node_bytes(node);
	int c = memcmp(user_key.data, nkey, user_key.len < nlen ? user_key.len : nlen);
	uint64_t ntrailer;

	if (c != 0)
		return c;
	if (user_key.len != nlen)
		return user_key.len < nlen ? -1 : 1;
	ntrailer = lsm_get_fixed64(nkey + nlen);
	return (trailer < ntrailer) - (trailer > ntrailer);
}

/* From `before` on (0: the head) at this level: the last node < key; *after is the first >= key or 0. */
static uint32_t
walk(LsmMemtable *mt, uint32_t before, int level, LsmSlice user_key, uint64_t trailer, uint32_t known_after,
	 uint32_t *after)
{
	for (;;)
	{
		uint32_t next = follow(mt, before, level);

		/* A node that stopped the level above stops this one, too: no need to compare again. */
		if (next == 0 || next == known_after || compare_key(user_key, trailer, node_at(mt, next)) <= 0)
		{
			*after = next;
			return before;
		}
		before = next;
	}
}

void
lsm_memtable_add(LsmMemtable *mt, LsmMemRoom *room, uint64_t seq, LsmType type, LsmSlice user_key, LsmSlice value)
{
	uint64_t trailer = lsm_pack_trailer(seq, type);
	int height = pick_height(room->next, seq);
	size_t links = align8((size_t) height * sizeof(uint32_t));
	uint32_t offset = room->next + (uint32_t) links;
	uint32_t before[MAX_HEIGHT];
	uint32_t after = 0;
	uint32_t at = 0;
	Node *node = node_at(mt, offset);
	int top = atomic_load_explicit(&mt->height, memory_order_relaxed);

	node->key_len = (uint32_t) (user_key.len + LSM_TRAILER_SIZE);
	node->value_len = (uint32_t) value.len;
	node->height = (uint8_t) height;
	node->hint = 0;
	memcpy(node_bytes(node), user_key.data, user_key.len);
	lsm_put_fixed64(node_bytes(node) + user_key.len, trailer);
	if (value.len > 0)
		memcpy(node_bytes(node) + node->key_len, value.data, value.len);
	room->next += (uint32_t) align8(links + NODE_HEADER + node->key_len + value.len);
	assert(room->next <= room->end);

	while (top < height &&
		   !atomic_compare_exchange_weak_explicit(&mt->height, &top, height, memory_order_relaxed, memory_order_relaxed))
		;
	if (top < height)
		top = height;
	for (int level = top - 1; level >= 0; level--)
	{
		at = walk(mt, at, level, user_key, trailer, after, &after);
		if (level < height)
			before[level] = at;
	}
	for (int level = 0; level < height; level++)
	{
		for (;;)
		{
			uint32_t next;

			before[level] = walk(mt, before[level], level, user_key, trailer, 0, &next);
			atomic_store_explicit(next_of(mt, offset, level), next, memory_order_relaxed);
			if (atomic_compare_exchange_strong_explicit(next_of(mt, before[level], level), &next, offset,
														memory_order_release, memory_order_relaxed))
				break;
		}
	}
	atomic_fetch_add_explicit(&mt->entries, 1, memory_order_relaxed);
}

/* First node >= key, or 0. */
static uint32_t
find(LsmMemtable *mt, LsmSlice user_key, uint64_t trailer)
{
	uint32_t at = 0;
	uint32_t after = 0;

	for (int level = atomic_load_explicit(&mt->height, memory_order_relaxed) - 1; level >= 0; level--)
		at = walk(mt, at, level, user_key, trailer, after, &after);
	return after;
}

/* Last node < key, or 0; without a key the last of all. */
static uint32_t
find_before(LsmMemtable *mt, const LsmSlice *user_key, uint64_t trailer)
{
	uint32_t at = 0;
	uint32_t after = 0;

	for (int level = atomic_load_explicit(&mt->height, memory_order_relaxed) - 1; level >= 0; level--)
	{
		if (user_key != NULL)
			at = walk(mt, at, level, *user_key, trailer, after, &after);
		else
			while ((after = follow(mt, at, level)) != 0)
				at = after;
	}
	return at;
}

bool
lsm_memtable_get(LsmMemtable *mt, LsmSlice user_key, uint64_t max_seq, LsmVisit visit, void *arg)
{
	uint32_t at = find(mt, user_key, lsm_pack_trailer(max_seq, LSM_TYPE_FOR_SEEK));

	for (; at != 0; at = follow(mt, at, 0))
	{
		Node *node = node_at(mt, at);
		LsmSlice ikey = node_key(node);

		if (lsm_slice_compare(lsm_ikey_user(ikey), user_key) != 0)
			break;
		if (!visit(arg, ikey, node_value(node), &node->hint))
			return false;
	}
	return true;
}

size_t
lsm_memtable_used(const LsmMemtable *mt)
{
	return atomic_load_explicit(&((LsmMemtable *) mt)->used, memory_order_relaxed);
}

size_t
lsm_memtable_size(const LsmMemtable *mt)
{
	return mt->size;
}

uint64_t
lsm_memtable_entries(const LsmMemtable *mt)
{
	return atomic_load_explicit(&((LsmMemtable *) mt)->entries, memory_order_relaxed);
}

/* ---- iterator ---- */

typedef struct MemIter
{
	LsmIter base;
	LsmMemtable *mt;
	uint32_t at;
} MemIter;

static void
stand_on(MemIter *it, uint32_t at)
{
	it->at = at;
	it->base.valid = at != 0;
	if (at != 0)
	{
		Node *node = node_at(it->mt, at);

		it->base.key = node_key(node);
		it->base.value = node_value(node);
	}
}

static void
mem_seek_first(LsmIter *base)
{
	MemIter *it = (MemIter *) base;

	stand_on(it, follow(it->mt, 0, 0));
}

static void
mem_seek_last(LsmIter *base)
{
	MemIter *it = (MemIter *) base;

	stand_on(it, find_before(it->mt, NULL, 0));
}

static void
mem_seek(LsmIter *base, LsmSlice target)
{
	MemIter *it = (MemIter *) base;

	stand_on(it, find(it->mt, lsm_ikey_user(target), lsm_ikey_trailer(target)));
}

static void
mem_next(LsmIter *base)
{
	MemIter *it = (MemIter *) base;

	stand_on(it, follow(it->mt, it->at, 0));
}

static void
mem_prev(LsmIter *base)
{
	MemIter *it = (MemIter *) base;
	LsmSlice user_key = lsm_ikey_user(base->key);

	stand_on(it, find_before(it->mt, &user_key, lsm_ikey_trailer(base->key)));
}

static void
mem_close(LsmIter *base)
{
	free(base);
}

static volatile uint8_t *
mem_hint(LsmIter *base)
{
	MemIter *it = (MemIter *) base;

	return base->valid ? &node_at(it->mt, it->at)->hint : NULL;
}

static const LsmIterOps mem_ops = {
	.seek_first = mem_seek_first,
	.seek_last = mem_seek_last,
	.seek = mem_seek,
	.next = mem_next,
	.prev = mem_prev,
	.close = mem_close,
	.hint = mem_hint,
};

LsmIter *
lsm_memtable_iter(LsmMemtable *mt)
{
	MemIter *it = calloc(1, sizeof(*it));

	if (it == NULL)
		return NULL;
	it->base.ops = &mem_ops;
	it->mt = mt;
	return &it->base;
}
