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
 * goes through the entries behind it.  Nothing remembers which restart point the
 * current entry belongs to, so that next() has nothing to keep up to date;
 * prev() finds it by halving, too.
 */
#include "engine/block.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/coding.h"
#include "engine/keys.h"

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

	if (limit - p >= 3 && (u[0] | u[1] | u[2]) < 0x80)
	{
		entry->shared = u[0];
		entry->unshared = u[1];
		entry->value_len = u[2];
		p += 3;
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
		memcpy(it->key_buf + entry.shared, entry.key, entry.unshared);
		it->key = lsm_slice(it->key_buf, len);
	}
	if (it->keys == LSM_KEYS_INTERNAL && !lsm_ikey_ok(it->key))
	{
		fail(it, LSM_CORRUPT);
		return;
	}
	it->value = lsm_slice(entry.key + entry.unshared, entry.value_len);
	it->current = p;
	it->valid = true;
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

static inline int
compare_to(const LsmBlockIter *it, const char *key, size_t len, const Target *target)
{
	size_t user_len = it->keys == LSM_KEYS_INTERNAL ? len - LSM_TRAILER_SIZE : len;
	int order = memcmp(key, target->user, user_len < target->user_len ? user_len : target->user_len);
	uint64_t trailer;

	if (order != 0)
		return order;
	if (user_len != target->user_len)
		return user_len < target->user_len ? -1 : 1;
	if (it->keys == LSM_KEYS_PLAIN)
		return 0;
	trailer = lsm_get_fixed64(key + user_len);
	return (trailer < target->trailer) - (trailer > target->trailer);
}

void
lsm_block_iter_seek(LsmBlockIter *it, LsmSlice target_key)
{
	Target target = {target_key.data, target_key.len, 0};
	size_t size = (size_t) (it->limit - it->data);
	const char *stop = it->limit; /* entries from here on are known to be >= target */
	uint32_t left = 0;            /* restart points before this one are known to be < target */
	uint32_t right = it->num_restarts;

	it->valid = false;
	it->status = LSM_OK;
	if (it->num_restarts == 0 || size == 0)
		return;
	if (it->keys == LSM_KEYS_INTERNAL)
	{
		target.user_len -= LSM_TRAILER_SIZE;
		target.trailer = lsm_get_fixed64(target.user + target.user_len);
	}
	while (left < right)
	{
		uint32_t mid = left + (right - left) / 2;
		uint32_t offset = restart_offset(it, mid);
		Entry entry;
		LsmSlice key;

		if (offset >= size || !decode_entry(it->data + offset, it->limit, &entry) || entry.shared != 0)
		{
			fail(it, LSM_CORRUPT);
			return;
		}
		key = lsm_slice(entry.key, entry.unshared);
		if (it->keys == LSM_KEYS_INTERNAL && !lsm_ikey_ok(key))
		{
			fail(it, LSM_CORRUPT);
			return;
		}
		if (compare_to(it, key.data, key.len, &target) < 0)
			left = mid + 1;
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
	while (it->valid)
	{
		parse_at(it, it->value.data + it->value.len);
		if (!it->valid || it->current >= stop || compare_to(it, it->key.data, it->key.len, &target) >= 0)
			return;
	}
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
