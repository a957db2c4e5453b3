/*
 * memtable.c - a concurrent skiplist in an arena.  See memtable.h.
 *
 * Arena: LsmMemtable, the filter, then rooms, each filled with nodes.  Everything is aligned
 * to 4 bytes; an offset of 0 is "none".
 *
 *     node := tower, header, internal key, value
 *     tower := next[height - 1] ... next[1], next[0]    atomic offsets of headers
 *     header := key_len, value_len, hint
 *
 * The filter is a Bloom filter of 64-bit words: a key has one word, and some bits in it (a "register-blocked" one, as in Lang et al.,
 * "Performance-Optimal Filtering", VLDB 2019).  To find that a key is not there takes one look at memory then, where a search
 * takes a dozen or two.
 *
 * Why readers need no lock, and writers none among themselves:
 *
 * - Level 0 alone says what is in the list.  The levels above are short cuts:
 *   each is an ordered part of the one below, which may show up later or never.
 *   So a search that goes down from any node that is before the key finds the
 *   key's place, whatever writers have and have not linked yet.
 * - A node is filled and its own link on a level set before the compare and swap
 *   with release order that puts it there; links are followed with acquire order.
 *   Whoever arrives at a node therefore sees its header, key and value.  It also
 *   sees the node's links on the levels below, since those were made before.
 *   (What lies behind: a writer that links N before M has itself arrived at M by
 *   acquire, and passes that on by its release.)
 * - Nothing is unlinked or changed (but see the next), so "A is before the key"
 *   stays true for good, and no link ever returns to an earlier value.  If A was seen before the key
 *   and B, A's successor, not before it, then a swap of A's link from B to the new
 *   node succeeds only if nobody came between: the order is kept.  If it fails,
 *   walking on from A finds the new place.  One of the writers has succeeded then.
 * - lsm_memtable_step_over sets a link on level 0 further ahead, over nodes of one
 *   key between which nothing will ever be added.  They keep their own links, and
 *   the levels above may still lead to them: from there, too, everything behind them
 *   is reached in order.  A swap of the link that is moved would add something
 *   between them.
 * - Readers only follow links of a list that ends; a writer cannot hold them up.
 * - A finger holds nodes of which each was before an earlier key, on ever lower levels ever
 *   further ahead.  If the last of them is before the key, all are; so a search may begin at any.
 * - A key's bits are set before its node is linked, so who has reason to find the node finds them, too.
 * - Counters (used, height) promise nothing about nodes and are relaxed.
 *   `height` may be seen late: the search then begins lower and takes longer.
 * - Keys are unique (sequences are), so that two writers never mean the same place.
 */
#include "engine/memtable.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/coding.h"

#define MAX_HEIGHT LSM_MEM_LEVELS
#define LINK sizeof(uint32_t)
#define LEVEL_SHARE 3 /* one in so many nodes of a level reaches the next */
#define COST_HEIGHT 2 /* links that lsm_memtable_cost counts; a tower has 3/2 on average */
#define ESTIMATE_SAMPLE 256
#define FILTER_SHARE 64      /* of the arena: entries of 100 bytes have 12 bits each when it is full, and 2 in 100 others pass */
#define FILTER_MAX (4 << 20) /* bytes: they are cleared while nobody can write */
#define PAID 32              /* entries of a room whose towers are reserved as drawn */
/* A finger is given up when the key is not found below this level; after so many times in a row it is asked once in 16. */
#define NEAR_LEVELS 4
#define MANY_MISSES 8

/* Another process maps the arena: an atomic that hides a lock would lie in ours. */
_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2, "lock-free atomics");

struct LsmMemtable
{
	/* what searches read */
	_Alignas(64) uint32_t size;
	uint32_t filter_mask;    /* number of its words, a power of two, less one */
	_Atomic uint32_t height; /* of the highest node */
	_Atomic uint32_t head[MAX_HEIGHT];
	/* what writers change all the time: in another cache line, which searches do not need */
	_Alignas(64) _Atomic uint32_t used; /* everything below is given out */
	_Atomic uint64_t entries;
};

typedef struct Node
{
	uint32_t key_len; /* of the internal key */
	uint32_t value_len;
	volatile uint8_t hint;
	/* the internal key and the value follow; the tower lies before the node */
} Node;

#define NODE_HEADER (offsetof(Node, hint) + 1)

static inline Node *
node_at(const LsmMemtable *mt, uint32_t offset)
{
	return (Node *) ((char *) mt + offset);
}

/* The tower grows downward from the header, so that the header's place tells the links', whatever the height. */
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
align4(size_t n)
{
	return (n + 3) & ~(size_t) 3;
}

/* An empty key may come as NULL, which memcmp and memcpy do not take. */
static inline LsmSlice
never_null(LsmSlice s)
{
	return s.data != NULL ? s : lsm_slice("", 0);
}

LsmMemtable *
lsm_memtable_init(void *mem, size_t size)
{
	LsmMemtable *mt = mem;
	size_t filter = sizeof(uint64_t);
	size_t used;

	while (filter * 2 <= size / FILTER_SHARE && filter * 2 <= FILTER_MAX)
		filter *= 2;
	used = sizeof(*mt) + filter;
	assert(size > used && size <= UINT32_MAX && (uintptr_t) mem % 64 == 0);
	memset(mem, 0, offsetof(LsmMemtable, used));
	memset(mt + 1, 0, filter);
	mt->size = (uint32_t) size;
	mt->filter_mask = (uint32_t) (filter / sizeof(uint64_t) - 1);
	atomic_init(&mt->height, 1);
	/* Who has looked up the active memtable, to see how full it is (throttle.c), may be so late that the arena is another's by now. */
	atomic_store_explicit(&mt->used, (uint32_t) used, memory_order_relaxed);
	atomic_store_explicit(&mt->entries, 0, memory_order_relaxed);
	return mt;
}

/* ---- the filter ---- */

static inline _Atomic uint64_t *
filter_word(LsmMemtable *mt, uint64_t hash)
{
	return (_Atomic uint64_t *) (mt + 1) + ((hash >> 32) & mt->filter_mask);
}

static inline uint64_t
filter_bits(uint64_t hash)
{
	return UINT64_C(1) << (hash & 63) | UINT64_C(1) << (hash >> 6 & 63) | UINT64_C(1) << (hash >> 12 & 63) | UINT64_C(1) << (hash >> 18 & 63);
}

static inline void
filter_add(LsmMemtable *mt, LsmSlice user_key)
{
	uint64_t hash = lsm_key_hash(user_key);
	uint64_t bits = filter_bits(hash);

	/* Linking the node publishes them. */
	if ((atomic_load_explicit(filter_word(mt, hash), memory_order_relaxed) & bits) != bits)
		atomic_fetch_or_explicit(filter_word(mt, hash), bits, memory_order_relaxed);
}

bool
lsm_memtable_may_have(LsmMemtable *mt, LsmSlice user_key)
{
	uint64_t hash = lsm_key_hash(user_key);
	uint64_t bits = filter_bits(hash);

	return (atomic_load_explicit(filter_word(mt, hash), memory_order_relaxed) & bits) == bits;
}

/* ---- room ---- */

/* Bytes of a node besides its tower. */
static inline size_t
body_size(size_t user_key_len, size_t value_len)
{
	return align4(NODE_HEADER + user_key_len + LSM_TRAILER_SIZE + value_len);
}

size_t
lsm_memtable_cost(size_t user_key_len, size_t value_len)
{
	return COST_HEIGHT * LINK + body_size(user_key_len, value_len);
}

/*
 * A search waits for one node after the other: on each level for (1 - p) / p on average, where p is the share of nodes that reach
 * it, and there are ln n / ln (1 / p) levels (Pugh, "Skip Lists: A Probabilistic Alternative to Balanced Trees", 1990).  A quarter
 * would take a fifth more, a half a fifth less, but two links a node, and more where the budget below must have some to spare.
 */
static inline int
draw_height(uint32_t from)
{
	uint64_t h = ((uint64_t) from + 1) * UINT64_C(0x9e3779b97f4a7c15);
	int height = 1;

	h ^= h >> 29;
	h *= UINT64_C(0xbf58476d1ce4e5b9);
	h ^= h >> 32;
	while (height < MAX_HEIGHT && h % LEVEL_SHARE == 0)
	{
		height++;
		h /= LEVEL_SHARE;
	}
	return height;
}

/*
 * The budget for towers.  Each entry brings COST_HEIGHT links.  The first ones'
 * towers (PAID) are measured by reserve, which takes as much more or less; they are
 * drawn from the room's place, so that reserve and add agree.  What later ones do
 * not use is there for those behind them.  A node whose tower the budget does not
 * cover is made lower: two links always are covered, and a batch saves half
 * a link an entry on average, so that its nodes soon are as high as they were
 * drawn.
 *
 * More than the first: where the same kind of key comes second in every batch of
 * two, all of those would be low, and a search among them would go through all.
 * Few batches are larger than what is measured, of which the next ones again
 * begin without anything saved.
 */
static int32_t
paid_bytes(uint32_t start, uint32_t entries)
{
	int32_t links = 0;

	for (uint32_t i = 0; i < entries; i++)
		links += draw_height(start + i) - COST_HEIGHT;
	return links * (int32_t) LINK;
}

bool
lsm_memtable_reserve(LsmMemtable *mt, size_t cost, uint32_t entries, LsmMemRoom *room)
{
	uint32_t used = atomic_load_explicit(&mt->used, memory_order_relaxed);

	do
	{
		size_t left = mt->size - used;
		int64_t size;

		if (cost > left || align4(cost) > left)
			return false;
		room->paid = cost == 0 ? 0 : entries < PAID ? entries
													: PAID;
		size = (int64_t) align4(cost) + paid_bytes(used, room->paid);
		if (size > (int64_t) left)
		{
			room->paid = 0;
			size = (int64_t) align4(cost);
		}
		room->end = used + (uint32_t) size;
	} while (!atomic_compare_exchange_weak_explicit(&mt->used, &used, room->end, memory_order_relaxed,
													memory_order_relaxed));
	room->start = used;
	room->next = used;
	room->added = 0;
	room->spare = 0;
	room->finger = (LsmMemFinger){{0}, 0};
	return true;
}

/* The height of the next node in the room; takes its links from the budget. */
static inline int
take_height(LsmMemRoom *room)
{
	uint32_t i = room->added++;
	int height;

	/* a node takes more than one byte: no number is drawn from twice */
	if (i < room->paid)
		return draw_height(room->start + i);
	height = draw_height(room->next);
	room->spare += COST_HEIGHT * (int32_t) LINK;
	if (height * (int32_t) LINK > room->spare)
		height = room->spare / (int32_t) LINK;
	room->spare -= height * (int32_t) LINK;
	return height;
}

static inline uint64_t
load_big_endian(const char *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

/* As memcmp, whose call would cost as much as these few words. */
static inline int
compare_bytes(const char *a, const char *b, size_t len)
{
	size_t i = 0;

	for (; i + 8 <= len; i += 8)
	{
		uint64_t x = load_big_endian(a + i);
		uint64_t y = load_big_endian(b + i);

		if (x != y)
			return x < y ? -1 : 1;
	}
	for (; i < len; i++)
	{
		if (a[i] != b[i])
			return (unsigned char) a[i] < (unsigned char) b[i] ? -1 : 1;
	}
	return 0;
}

static inline int
compare_key(LsmSlice user_key, uint64_t trailer, Node *node)
{
	size_t nlen = node->key_len - LSM_TRAILER_SIZE;
	const char *nkey = node_bytes(node);
	int c = compare_bytes(user_key.data, nkey, user_key.len < nlen ? user_key.len : nlen);
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
walk(LsmMemtable *mt, uint32_t before, int level, LsmSlice user_key, uint64_t trailer, uint32_t stopped_above,
	 uint32_t *after)
{
	for (;;)
	{
		uint32_t next = follow(mt, before, level);

		/* Fetch what comes below and after while the node is waited for and the keys are compared: nearly always one of them is next. */
		if (level > 0)
			__builtin_prefetch(node_at(mt, follow(mt, before, level - 1)));
		if (next != 0)
			__builtin_prefetch(node_at(mt, follow(mt, next, level)));
		/* A node that stopped the level above stops this one, too: no need to compare again. */
		if (next == 0 || next == stopped_above || compare_key(user_key, trailer, node_at(mt, next)) <= 0)
		{
			*after = next;
			return before;
		}
		before = next;
	}
}

/*
 * The level at which a search for the key may begin at the finger's place there, since what follows it is not before the key:
 * so nothing above can lead further ahead.  -1: the key is elsewhere.
 */
static int
begin_at(LsmMemtable *mt, LsmMemFinger *finger, LsmSlice user_key, uint64_t trailer)
{
	if (finger->misses >= MANY_MISSES && (++finger->misses & 15) != 0)
		return -1;
	if (finger->at[0] != 0 && compare_key(user_key, trailer, node_at(mt, finger->at[0])) > 0)
	{
		for (int level = 0; level < NEAR_LEVELS; level++)
		{
			uint32_t next = follow(mt, finger->at[level], level);

			if (next == 0 || compare_key(user_key, trailer, node_at(mt, next)) <= 0)
			{
				finger->misses = 0;
				return level;
			}
		}
	}
	finger->misses++;
	return -1;
}

/*
 * Leaves the finger on the last nodes before the key, and in `after` what follows them on the levels that were searched, whose
 * number it returns.
 */
static int
search(LsmMemtable *mt, LsmMemFinger *finger, LsmSlice user_key, uint64_t trailer, uint32_t *after)
{
	int level = begin_at(mt, finger, user_key, trailer);
	int searched;
	uint32_t at = 0;
	uint32_t stop = 0;

	if (level < 0)
	{
		memset(finger->at, 0, sizeof(finger->at));
		level = (int) atomic_load_explicit(&mt->height, memory_order_relaxed) - 1;
	}
	searched = level + 1;
	for (; level >= 0; level--)
	{
		/* the finger's place is further ahead than the level above, unless that has led on */
		uint32_t from = at != 0 ? at : finger->at[level];
		uint32_t before = walk(mt, from, level, user_key, trailer, stop, &stop);

		if (before != from)
			at = before;
		finger->at[level] = before;
		after[level] = stop;
	}
	return searched;
}

void
lsm_memtable_add(LsmMemtable *mt, LsmMemRoom *room, uint64_t seq, LsmType type, LsmSlice user_key, LsmSlice value)
{
	uint64_t trailer = lsm_pack_trailer(seq, type);
	uint32_t place = room->next;
	int height = take_height(room);
	uint32_t offset = place + (uint32_t) (height * LINK);
	uint32_t *before = room->finger.at;
	uint32_t after[MAX_HEIGHT] = {0};
	uint32_t top = atomic_load_explicit(&mt->height, memory_order_relaxed);
	int searched;
	Node *node = node_at(mt, offset);

	user_key = never_null(user_key);
	room->next = offset + (uint32_t) body_size(user_key.len, value.len);
	assert(room->next <= room->end);
	node->key_len = (uint32_t) (user_key.len + LSM_TRAILER_SIZE);
	node->value_len = (uint32_t) value.len;
	node->hint = 0;
	memcpy(node_bytes(node), user_key.data, user_key.len);
	lsm_put_fixed64(node_bytes(node) + user_key.len, trailer);
	if (value.len > 0)
		memcpy(node_bytes(node) + node->key_len, value.data, value.len);

	filter_add(mt, user_key);
	searched = search(mt, &room->finger, user_key, trailer, after);
	for (int level = searched; level < height; level++)
		before[level] = walk(mt, before[level], level, user_key, trailer, 0, &after[level]);
	/* Bottom up, so that a node that is reached on some level can be left on all below. */
	for (int level = 0; level < height; level++)
		for (;;)
		{
			uint32_t expected = after[level];

			atomic_store_explicit(next_of(mt, offset, level), expected, memory_order_relaxed);
			if (atomic_compare_exchange_strong_explicit(next_of(mt, before[level], level), &expected, offset,
														memory_order_release, memory_order_relaxed))
				break;
			before[level] = walk(mt, before[level], level, user_key, trailer, 0, &after[level]);
		}
	/* what comes next in order comes behind it */
	for (int level = 0; level < height; level++)
		before[level] = offset;
	while (top < (uint32_t) height &&
		   !atomic_compare_exchange_weak_explicit(&mt->height, &top, (uint32_t) height, memory_order_relaxed,
												  memory_order_relaxed))
		;
	/* Who reads this number finds the entry (lsm_memtable_entries). */
	atomic_fetch_add_explicit(&mt->entries, 1, memory_order_release);
}

/* First node >= key, or 0. */
static uint32_t
find(LsmMemtable *mt, LsmMemFinger *finger, LsmSlice user_key, uint64_t trailer)
{
	LsmMemFinger none;
	uint32_t after[MAX_HEIGHT];

	if (finger == NULL)
	{
		none = (LsmMemFinger){{0}, 0};
		finger = &none;
	}
	(void) search(mt, finger, user_key, trailer, after);
	return after[0];
}

/* Last node < key, or 0; without a key the last of all. */
static uint32_t
find_before(LsmMemtable *mt, const LsmSlice *user_key, uint64_t trailer)
{
	uint32_t at = 0;
	uint32_t after = 0;

	for (int level = (int) atomic_load_explicit(&mt->height, memory_order_relaxed) - 1; level >= 0; level--)
	{
		if (user_key != NULL)
			at = walk(mt, at, level, *user_key, trailer, after, &after);
		else
			while ((after = follow(mt, at, level)) != 0)
				at = after;
	}
	return at;
}

static inline bool
is_of_key(Node *node, LsmSlice user_key)
{
	return node->key_len == user_key.len + LSM_TRAILER_SIZE && memcmp(node_bytes(node), user_key.data, user_key.len) == 0;
}

void
lsm_memtable_step_over(LsmMemtable *mt, LsmSlice user_key, LsmDead dead, void *arg)
{
	uint32_t first;
	uint32_t last = 0;

	user_key = never_null(user_key);
	if (!lsm_memtable_may_have(mt, user_key))
		return;
	first = find(mt, NULL, user_key, lsm_pack_trailer(LSM_MAX_SEQUENCE, LSM_TYPE_FOR_SEEK));
	if (first == 0 || !is_of_key(node_at(mt, first), user_key))
		return;
	for (uint32_t at = follow(mt, first, 0); at != 0; at = follow(mt, at, 0))
	{
		Node *node = node_at(mt, at);

		if (!is_of_key(node, user_key) || !dead(arg, node_value(node), &node->hint))
			break;
		last = at;
	}
	if (last != 0)
		atomic_store_explicit(next_of(mt, first, 0), last, memory_order_release);
}

bool
lsm_memtable_get(LsmMemtable *mt, LsmMemFinger *finger, LsmSlice user_key, uint64_t max_seq, LsmVisit visit, void *arg)
{
	uint32_t at;

	user_key = never_null(user_key);
	if (!lsm_memtable_may_have(mt, user_key))
		return true;
	at = find(mt, finger, user_key, lsm_pack_trailer(max_seq, LSM_TYPE_FOR_SEEK));
	for (; at != 0; at = follow(mt, at, 0))
	{
		Node *node = node_at(mt, at);

		if (!is_of_key(node, user_key))
			break;
		if (!visit(arg, node_key(node), node_value(node), &node->hint))
			return false;
	}
	return true;
}

void
lsm_memtable_estimate(LsmMemtable *mt, LsmSlice lower, LsmSlice upper, LsmSeqs wanted, uint64_t *entries,
					  uint64_t *bytes)
{
	uint64_t trailer = lsm_pack_trailer(LSM_MAX_SEQUENCE, LSM_TYPE_FOR_SEEK);
	int level = (int) atomic_load_explicit(&mt->height, memory_order_relaxed);
	uint32_t before = 0;
	uint32_t sampled;

	lower = never_null(lower);
	do
	{
		uint32_t next;

		level--;
		sampled = 0;
		*entries = *bytes = 0;
		before = walk(mt, before, level, lower, trailer, 0, &next);
		for (; next != 0; next = follow(mt, next, level))
		{
			Node *node = node_at(mt, next);
			LsmSlice key = node_key(node);

			if (upper.len > 0 && lsm_slice_compare(lsm_ikey_user(key), upper) >= 0)
				break;
			sampled++;
			if (lsm_ikey_seq(key) < wanted.min || lsm_ikey_seq(key) > wanted.max)
				continue;
			++*entries;
			*bytes += lsm_memtable_cost(key.len - LSM_TRAILER_SIZE, node->value_len);
		}
	} while (sampled < ESTIMATE_SAMPLE && level > 0);
	for (; level > 0; level--)
	{
		*entries *= LEVEL_SHARE;
		*bytes *= LEVEL_SHARE;
	}
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
	return atomic_load_explicit(&((LsmMemtable *) mt)->entries, memory_order_acquire);
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

	stand_on(it, find(it->mt, NULL, lsm_ikey_user(target), lsm_ikey_trailer(target)));
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

volatile uint8_t *
lsm_memtable_iter_hint(LsmIter *it)
{
	return it->ops == &mem_ops ? mem_hint(it) : NULL;
}
