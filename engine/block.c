/*
 * block.c - see block.h.
 *
 * LevelDB's block (its doc/table_format.md and table/block_builder.cc):
 *
 *     entry*
 *     restart[num_restarts]   fixed32 each: offset of an entry that is stored whole
 *     num_restarts            fixed32
 *
 *     entry:  shared      varint32   bytes that the key has in common with the one before
 *             unshared    varint32
 *             value_len   varint32
 *             key[shared ..]         unshared bytes
 *             value                  value_len bytes
 *
 * A seek looks for the last restart point before the target by halving, then
 * goes through the entries behind it, looking at no more of each key than it
 * does not share with the one before.  Nothing remembers which restart point the
 * current entry belongs to, so that next() has nothing to keep up to date;
 * prev() finds it by halving, too.
 */
#include "engine/block.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/coding.h"
#include "engine/keys.h"

/* Blocks of documents have fewer restart points; an index has more, and is in the processor's cache if in use. */
#define PREFETCHED 32

/* One entry as it is stored. */
typedef struct Entry
{
	uint32_t shared;
	uint32_t unshared;
	uint32_t value_len;
	const char *key; /* the unshared bytes; the value follows */
} Entry;

/* What a seek looks for, taken apart once. */
typedef struct Target
{
	const char *user;
	size_t user_len;
	uint64_t trailer; /* LSM_KEYS_INTERNAL */
} Target;

static void
fail(LsmBlockIter *it, LsmStatus status)
{
	it->valid = false;
	it->status = status;
	it->key.len = 0;
	it->current = it->limit;
}

void
lsm_block_iter_init(LsmBlockIter *it, LsmBlockKeys keys)
{
	it->valid = false;
	it->status = LSM_OK;
	it->key = lsm_slice(it->space, 0);
	it->value = lsm_slice(it->space, 0);
	it->keys = keys;
	it->trailer = keys == LSM_KEYS_INTERNAL ? LSM_TRAILER_SIZE : 0;
	it->data = it->limit = it->current = it->space;
	it->num_restarts = 0;
	it->key_buf = it->space;
	it->key_cap = sizeof(it->space);
}

bool
lsm_block_iter_set(LsmBlockIter *it, LsmSlice contents)
{
	size_t room;

	it->valid = false;
	it->status = LSM_OK;
	it->key.len = 0;
	it->data = it->limit = it->current = contents.data;
	it->num_restarts = 0;
	if (contents.len < sizeof(uint32_t) || contents.len > UINT32_MAX)
	{
		it->status = LSM_CORRUPT;
		return false;
	}
	room = (contents.len - sizeof(uint32_t)) / sizeof(uint32_t);
	it->num_restarts = lsm_get_fixed32(contents.data + contents.len - sizeof(uint32_t));
	if (it->num_restarts > room)
	{
		it->num_restarts = 0;
		it->status = LSM_CORRUPT;
		return false;
	}
	/* LevelDB takes a block without restart points for an empty one. */
	if (it->num_restarts > 0)
		it->limit = contents.data + contents.len - (1 + (size_t) it->num_restarts) * sizeof(uint32_t);
	it->current = it->limit;
	return true;
}

void
lsm_block_iter_free(LsmBlockIter *it)
{
	if (it->key_buf != it->space)
		free(it->key_buf);
	it->key_buf = it->space;
	it->key_cap = sizeof(it->space);
}

static inline uint32_t
restart_offset(const LsmBlockIter *it, uint32_t index)
{
	return lsm_get_fixed32(it->limit + (size_t) index * sizeof(uint32_t));
}

/* False if there is no whole entry at p. */
static inline bool
decode_entry(const char *p, const char *limit, Entry *entry)
{
	const unsigned char *u = (const unsigned char *) p;

	/* Nearly all: short keys, and values of less than 16 kB. */
	if (limit - p >= 4 && (u[0] | u[1]) < 0x80 && (u[2] & u[3]) < 0x80)
	{
		bool two = u[2] >= 0x80;

		entry->shared = u[0];
		entry->unshared = u[1];
		entry->value_len = two ? (uint32_t) (u[2] & 0x7f) | (uint32_t) u[3] << 7 : u[2];
		p += two ? 4 : 3;
	}
	else if ((p = lsm_get_varint32(p, limit, &entry->shared)) == NULL ||
			 (p = lsm_get_varint32(p, limit, &entry->unshared)) == NULL ||
			 (p = lsm_get_varint32(p, limit, &entry->value_len)) == NULL)
		return false;
	entry->key = p;
	return (uint64_t) entry->unshared + entry->value_len <= (uint64_t) (limit - p);
}

static bool
grow_key(LsmBlockIter *it, size_t need)
{
	size_t cap = it->key_cap;
	bool in_buf = it->key.data == it->key_buf;
	char *buf;

	while (cap < need)
		cap *= 2;
	buf = it->key_buf == it->space ? malloc(cap) : realloc(it->key_buf, cap);
	if (buf == NULL)
		return false;
	if (it->key_buf == it->space)
		memcpy(buf, it->space, sizeof(it->space));
	it->key_buf = buf;
	it->key_cap = cap;
	if (in_buf)
		it->key.data = buf;
	return true;
}

/*
 * Copies the unshared bytes to dst, which has room for them (and `room` in all).
 * They are few as a rule, and a copy of fixed length is a single instruction.
 */
static inline void
copy_short(char *dst, size_t room, const Entry *entry, const char *limit)
{
	if (entry->unshared <= 16 && room >= 16 && limit - entry->key >= 16)
		memcpy(dst, entry->key, 16);
	else
		memcpy(dst, entry->key, entry->unshared);
}

/* The key is in place: takes over the rest of the entry at p. */
static inline void
accept(LsmBlockIter *it, const char *p, const Entry *entry)
{
	if (it->keys == LSM_KEYS_INTERNAL && !lsm_ikey_ok(it->key))
	{
		fail(it, LSM_CORRUPT);
		return;
	}
	it->value = lsm_slice(entry->key + entry->unshared, entry->value_len);
	it->current = p;
	it->valid = true;
}

/*
 * Makes the entry at p the current one.  The key that is current now must be
 * that of the entry before, or empty if p is a restart point.
 */
static inline void
parse_at(LsmBlockIter *it, const char *p)
{
	Entry entry;

	if (p >= it->limit)
	{
		it->valid = false;
		it->current = it->limit;
		return;
	}
	if (!decode_entry(p, it->limit, &entry) || entry.shared > it->key.len)
	{
		fail(it, LSM_CORRUPT);
		return;
	}
	if (entry.shared == 0)
		it->key = lsm_slice(entry.key, entry.unshared);
	else
	{
		size_t len = (size_t) entry.shared + entry.unshared;

		if (len > it->key_cap && !grow_key(it, len))
		{
			fail(it, LSM_NO_MEMORY);
			return;
		}
		if (it->key.data != it->key_buf)
			memcpy(it->key_buf, it->key.data, entry.shared);
		copy_short(it->key_buf + entry.shared, it->key_cap - entry.shared, &entry, it->limit);
		it->key = lsm_slice(it->key_buf, len);
	}
	accept(it, p, &entry);
}

static void
parse_restart(LsmBlockIter *it, uint32_t index)
{
	uint32_t offset = restart_offset(it, index);

	it->status = LSM_OK;
	it->key.len = 0;
	/* At the limit is the restart point of a block without entries. */
	if (offset > (size_t) (it->limit - it->data))
		fail(it, LSM_CORRUPT);
	else
		parse_at(it, it->data + offset);
}

void
lsm_block_iter_next(LsmBlockIter *it)
{
	assert(it->valid);
	parse_at(it, it->value.data + it->value.len);
}

/* An entry in a run's terms; false if it needs a second look. */
static inline bool
is_plain(const LsmRun *run, LsmSlice upper, LsmSlice key, uint64_t trailer, LsmSlice before, LsmRunEntry *entry)
{
	entry->user = lsm_ikey_user(key);
	entry->seq = trailer >> 8;
	if ((trailer & 0xff) != LSM_TYPE_VALUE || entry->seq > run->max_seq || lsm_same_key(entry->user, lsm_ikey_user(before)) ||
		lsm_behind(entry->user, upper))
		return false;
	if (!run->stamped)
		return true;
	if (entry->value.len == 0 || entry->value.data[0] != 0)
		return false;
	entry->value = lsm_slice(entry->value.data + 1, entry->value.len - 1);
	return true;
}

/*
 * The bytes that a key shares with the one before, which lies in the run, too, if it is not the first: then what is behind them
 * may be copied along, and a copy of fixed length is two instructions.
 */
static inline void
copy_shared(LsmRun *run, size_t used, LsmSlice before, uint32_t shared)
{
	char words[32];

	if (run->n > 0 && shared <= sizeof(words) && used + sizeof(words) <= sizeof(run->keys))
	{
		memcpy(words, before.data, sizeof(words));
		memcpy(run->keys + used, words, sizeof(words));
	}
	else
		memcpy(run->keys + used, before.data, shared);
}

void
lsm_block_iter_run(LsmBlockIter *it, LsmRun *run, LsmSlice upper)
{
	const char *p = it->value.data + it->value.len;
	LsmSlice before = it->key;
	size_t used = 0;

	run->n = 0;
	while (run->n < run->max && p < it->limit)
	{
		LsmRunEntry *found = &run->entries[run->n];
		uint64_t trailer;
		LsmSlice key;
		Entry entry;

		if (!decode_entry(p, it->limit, &entry) || entry.shared > before.len)
			break;
		key = lsm_slice(run->keys + used, (size_t) entry.shared + entry.unshared);
		if (key.len < LSM_TRAILER_SIZE || key.len > sizeof(run->keys) - used || key.len > it->key_cap)
			break;
		copy_shared(run, used, before, entry.shared);
		copy_short(run->keys + used + entry.shared, sizeof(run->keys) - used - entry.shared, &entry, it->limit);
		found->value = lsm_slice(entry.key + entry.unshared, entry.value_len);
		/* From the block, if it is whole there: to read what two copies have just put together makes the processor wait. */
		trailer = lsm_get_fixed64(entry.unshared >= LSM_TRAILER_SIZE ? entry.key + entry.unshared - LSM_TRAILER_SIZE
																	 : key.data + key.len - LSM_TRAILER_SIZE);
		if (!is_plain(run, upper, key, trailer, before, found))
			break;
		it->value = lsm_slice(entry.key + entry.unshared, entry.value_len);
		it->current = p;
		p = it->value.data + it->value.len;
		before = key;
		used += key.len;
		run->n++;
	}
	if (run->n > 0)
	{
		memcpy(it->key_buf, before.data, before.len);
		it->key = lsm_slice(it->key_buf, before.len);
	}
}

void
lsm_block_iter_first(LsmBlockIter *it)
{
	it->valid = false;
	if (it->num_restarts > 0)
		parse_restart(it, 0);
}

/* Goes on to the last entry that begins before `end`. */
static void
walk_before(LsmBlockIter *it, const char *end)
{
	while (it->valid && it->value.data + it->value.len < end)
		parse_at(it, it->value.data + it->value.len);
}

void
lsm_block_iter_last(LsmBlockIter *it)
{
	it->valid = false;
	if (it->num_restarts == 0)
		return;
	parse_restart(it, it->num_restarts - 1);
	walk_before(it, it->limit);
}

void
lsm_block_iter_prev(LsmBlockIter *it)
{
	const char *original = it->current;
	size_t offset = (size_t) (original - it->data);
	uint32_t left = 0;
	uint32_t right = it->num_restarts;

	assert(it->valid);
	/* number of restart points before the current entry */
	while (left < right)
	{
		uint32_t mid = left + (right - left) / 2;

		if (restart_offset(it, mid) < offset)
			left = mid + 1;
		else
			right = mid;
	}
	if (left == 0)
	{
		it->valid = false;
		it->current = it->limit;
		return;
	}
	parse_restart(it, left - 1);
	walk_before(it, original);
}

/* How many bytes at the beginning of a and b are the same, up to len. */
static inline size_t
common_prefix(const char *a, const char *b, size_t len)
{
	size_t at = 0;

	for (; at + sizeof(uint64_t) <= len; at += sizeof(uint64_t))
	{
		uint64_t differ = lsm_get_fixed64(a + at) ^ lsm_get_fixed64(b + at);

		if (differ != 0)
			return at + (size_t) __builtin_ctzll(differ) / 8;
	}
	while (at < len && a[at] == b[at])
		at++;
	return at;
}

/*
 * Order of a key and the target.  *same is how many bytes their user keys have
 * in common at the beginning.
 */
static inline int
compare_to(const LsmBlockIter *it, const char *key, size_t len, const Target *target, size_t *same)
{
	size_t user_len = len - it->trailer;
	size_t shorter = user_len < target->user_len ? user_len : target->user_len;
	uint64_t trailer;

	*same = common_prefix(key, target->user, shorter);
	if (*same < shorter)
		return (unsigned char) key[*same] < (unsigned char) target->user[*same] ? -1 : 1;
	if (user_len != target->user_len)
		return user_len < target->user_len ? -1 : 1;
	if (it->keys == LSM_KEYS_PLAIN)
		return 0;
	trailer = lsm_get_fixed64(key + user_len);
	return (trailer < target->trailer) - (trailer > target->trailer);
}

/* Goes from an entry that is below the target to the first that is not.  Entries from `stop` on are known not to be. */
static void
walk_to(LsmBlockIter *it, const Target *target, const char *stop)
{
	size_t same;

	while (it->valid)
	{
		parse_at(it, it->value.data + it->value.len);
		if (!it->valid || it->current >= stop || compare_to(it, it->key.data, it->key.len, target, &same) >= 0)
			return;
	}
}

/*
 * As walk_to, but without putting together and comparing most of the keys.  The
 * current key and the target differ at byte `same` of their user keys.  Then an
 * entry that shares more than `same` bytes differs there, too, and is as much
 * below the target.  Any other shares bytes that are the target's own, so that
 * only the rest must be compared.
 */
static void
skip_to(LsmBlockIter *it, const Target *target, const char *stop, size_t same)
{
	const char *p = it->value.data + it->value.len;
	size_t len = it->key.len;
	Entry entry;

	for (;; p = entry.key + entry.unshared + entry.value_len)
	{
		Target rest;
		size_t more;

		if (p >= it->limit)
		{
			it->valid = false;
			it->current = it->limit;
			return;
		}
		if (!decode_entry(p, it->limit, &entry) || entry.shared > len)
			break;
		len = (size_t) entry.shared + entry.unshared;
		if (entry.shared > same)
		{
			if (p < stop)
				continue;
			break; /* stop is a restart point, and shares nothing */
		}
		if (entry.unshared < it->trailer)
			break; /* a user key that ends before the byte that it should differ in */
		if (p < stop)
		{
			rest.user = target->user + entry.shared;
			rest.user_len = target->user_len - entry.shared;
			rest.trailer = target->trailer;
			if (compare_to(it, entry.key, entry.unshared, &rest, &more) < 0)
			{
				same = entry.shared + more;
				if (same < target->user_len && same + it->trailer < len)
					continue;
			}
			else
				stop = p;
		}
		/* This is the one; or it is below the target, but not for a byte of its user key. */
		if (len > it->key_cap && !grow_key(it, len))
		{
			fail(it, LSM_NO_MEMORY);
			return;
		}
		memcpy(it->key_buf, target->user, entry.shared);
		copy_short(it->key_buf + entry.shared, it->key_cap - entry.shared, &entry, it->limit);
		it->key = lsm_slice(it->key_buf, len);
		accept(it, p, &entry);
		if (p < stop)
			walk_to(it, target, stop);
		return;
	}
	fail(it, LSM_CORRUPT);
}

void
lsm_block_iter_seek(LsmBlockIter *it, LsmSlice target_key)
{
	Target target = {target_key.data, target_key.len, 0};
	size_t size = (size_t) (it->limit - it->data);
	const char *stop = it->limit; /* entries from here on are known to be >= target */
	uint32_t left = 0;            /* restart points before this one are known to be < target */
	uint32_t right = it->num_restarts;
	size_t same = 0;

	it->valid = false;
	it->status = LSM_OK;
	if (it->num_restarts == 0 || size == 0)
		return;
	if (it->keys == LSM_KEYS_INTERNAL)
	{
		target.user_len -= LSM_TRAILER_SIZE;
		target.trailer = lsm_get_fixed64(target.user + target.user_len);
	}
	/* Waits for memory once, not at each step; a wrong offset is found there. */
	if (it->num_restarts <= PREFETCHED)
		for (uint32_t i = 0; i < it->num_restarts; i++)
			__builtin_prefetch(it->data + restart_offset(it, i) % size);
	while (left < right)
	{
		uint32_t mid = left + (right - left) / 2;
		uint32_t offset = restart_offset(it, mid);
		size_t same_here;
		Entry entry;

		if (offset >= size || !decode_entry(it->data + offset, it->limit, &entry) || entry.shared != 0 ||
			(it->keys == LSM_KEYS_INTERNAL && !lsm_ikey_ok(lsm_slice(entry.key, entry.unshared))))
		{
			fail(it, LSM_CORRUPT);
			return;
		}
		if (compare_to(it, entry.key, entry.unshared, &target, &same_here) < 0)
		{
			left = mid + 1;
			same = same_here;
		}
		else
		{
			stop = it->data + offset;
			right = mid;
		}
	}
	if (left == 0)
	{
		parse_restart(it, 0); /* even the first key is >= target */
		return;
	}
	parse_restart(it, left - 1); /* < target */
	if (!it->valid)
		return;
	if (same < target.user_len && same + it->trailer < it->key.len)
		skip_to(it, &target, stop, same);
	else
		walk_to(it, &target, stop);
}

bool
lsm_block_restarts_ok(LsmBlockIter *it)
{
	uint32_t at = 0;

	if (it->num_restarts == 0 || restart_offset(it, 0) != 0)
		return it->num_restarts == 0;
	if (it->limit == it->data)
		return it->num_restarts == 1;
	for (lsm_block_iter_first(it); it->valid; lsm_block_iter_next(it))
	{
		Entry entry;

		if (at < it->num_restarts && restart_offset(it, at) == (size_t) (it->current - it->data))
		{
			if (!decode_entry(it->current, it->limit, &entry) || entry.shared != 0)
				return false;
			at++;
		}
	}
	return it->status == LSM_OK && at == it->num_restarts;
}
