/*
 * bloom.c - see bloom.h.
 *
 * LevelDB's filter block (its doc/table_format.md, util/bloom.cc, util/hash.cc):
 *
 *     filter*
 *     offset[n]       fixed32 each: where filter i begins
 *     array_offset    fixed32: where the offsets begin (and the last filter ends)
 *     base_lg         1 byte: 11
 *
 *     filter:  bits, probes (1 byte).  No byte at all if there are no keys.
 *
 * Filter i covers the data blocks that begin within bytes [i << base_lg,
 * (i + 1) << base_lg) of the file.  A key sets `probes` bits: those at h, h + d,
 * h + 2d, ..., where h is its hash and d is h rotated right by 17.  More than 30
 * probes are reserved, and match everything.
 *
 * LevelDB's hash mixes a key's last four bytes badly: of keys that differ in the last one only, many
 * bits of the hash are equal.  Where the number of bits has a large power of two in it, their probes are the same
 * then: for documents of 1,000 bytes, five a block, a filter of LevelDB's has none of the missing ones' numbers but lets
 * all of them pass.  A reader takes any number of bytes; with a prime number of them the whole hash counts (0.3 to 3 % pass).
 */
#include "engine/bloom.h"

#include <stdlib.h>
#include <string.h>

#include "engine/coding.h"

#define BASE_LG 11
#define SEED UINT32_C(0xbc9f1d34)
#define MAX_PROBES 30
#define MIN_BITS 64  /* tiny filters would match too much */
#define MIN_PRIME 19 /* likewise; 17 would be as bad as 16 */

uint32_t
lsm_hash(const void *data, size_t len, uint32_t seed)
{
	const uint32_t m = UINT32_C(0xc6a4a793);
	const unsigned char *p = data;
	uint32_t h = seed ^ ((uint32_t) len * m);

	for (; len >= 4; p += 4, len -= 4)
	{
		h += lsm_get_fixed32((const char *) p);
		h *= m;
		h ^= h >> 16;
	}
	if (len > 0)
	{
		if (len > 2)
			h += (uint32_t) p[2] << 16;
		if (len > 1)
			h += (uint32_t) p[1] << 8;
		h += p[0];
		h *= m;
		h ^= h >> 24;
	}
	return h;
}

static inline uint32_t
step_of(uint32_t hash)
{
	return (hash >> 17) | (hash << 15);
}

void
lsm_filter_builder_init(LsmFilterBuilder *filter, int bits_per_key, bool prime)
{
	memset(filter, 0, sizeof(*filter));
	filter->bits_per_key = bits_per_key;
	filter->prime = prime;
	filter->probes = (int) (bits_per_key * 0.69); /* ln 2, rounded down as LevelDB does */
	if (filter->probes < 1)
		filter->probes = 1;
	if (filter->probes > MAX_PROBES)
		filter->probes = MAX_PROBES;
}

void
lsm_filter_builder_free(LsmFilterBuilder *filter)
{
	free(filter->hashes);
	free(filter->offsets);
	lsm_buf_free(&filter->buf);
	memset(filter, 0, sizeof(*filter));
}

static bool
push(uint32_t **array, size_t *num, size_t *cap, uint32_t value)
{
	if (*num == *cap)
	{
		size_t new_cap = *cap > 0 ? *cap * 2 : 256;
		uint32_t *grown = realloc(*array, new_cap * sizeof(uint32_t));

		if (grown == NULL)
			return false;
		*array = grown;
		*cap = new_cap;
	}
	(*array)[(*num)++] = value;
	return true;
}

static size_t
next_prime(size_t n)
{
	for (n |= 1;; n += 2)
	{
		size_t d = 3;

		while (d * d <= n && n % d != 0)
			d += 2;
		if (d * d > n)
			return n;
	}
}

/* Closes the filter of the keys so far, which may be none. */
static bool
make_filter(LsmFilterBuilder *filter)
{
	uint64_t bits = (uint64_t) filter->num_hashes * (uint64_t) filter->bits_per_key;
	size_t bytes;
	unsigned char *array;

	if (!push(&filter->offsets, &filter->num_offsets, &filter->cap_offsets, (uint32_t) filter->buf.len))
		return false;
	if (filter->num_hashes == 0)
		return true;
	if (bits < MIN_BITS)
		bits = MIN_BITS;
	bytes = (size_t) ((bits + 7) / 8);
	if (filter->prime)
		bytes = next_prime(bytes < MIN_PRIME ? MIN_PRIME : bytes);
	bits = (uint64_t) bytes * 8;
	if (!lsm_buf_reserve(&filter->buf, bytes + 1))
		return false;
	array = (unsigned char *) filter->buf.data + filter->buf.len;
	memset(array, 0, bytes);
	for (size_t i = 0; i < filter->num_hashes; i++)
	{
		uint32_t h = filter->hashes[i];
		uint32_t step = step_of(h);

		for (int j = 0; j < filter->probes; j++)
		{
			uint64_t bit = h % bits;

			array[bit / 8] |= (unsigned char) (1 << (bit % 8));
			h += step;
		}
	}
	array[bytes] = (unsigned char) filter->probes;
	filter->buf.len += bytes + 1;
	filter->num_hashes = 0;
	return true;
}

bool
lsm_filter_builder_block(LsmFilterBuilder *filter, uint64_t offset)
{
	while (offset >> BASE_LG > filter->num_offsets)
	{
		if (!make_filter(filter))
			return false;
	}
	return true;
}

bool
lsm_filter_builder_add(LsmFilterBuilder *filter, LsmSlice user_key)
{
	return push(&filter->hashes, &filter->num_hashes, &filter->cap_hashes,
				lsm_hash(user_key.data, user_key.len, SEED));
}

LsmSlice
lsm_filter_builder_finish(LsmFilterBuilder *filter)
{
	uint32_t array_offset;

	if ((filter->num_hashes > 0 && !make_filter(filter)) ||
		!lsm_buf_reserve(&filter->buf, (filter->num_offsets + 1) * sizeof(uint32_t) + 1))
		return lsm_slice(NULL, 0);
	array_offset = (uint32_t) filter->buf.len;
	/* The room is there, so none of these can fail. */
	for (size_t i = 0; i < filter->num_offsets; i++)
		(void) lsm_buf_put_fixed32(&filter->buf, filter->offsets[i]);
	(void) lsm_buf_put_fixed32(&filter->buf, array_offset);
	filter->buf.data[filter->buf.len++] = BASE_LG;
	return lsm_buf_slice(&filter->buf);
}

bool
lsm_filter_init(LsmFilter *filter, LsmSlice contents)
{
	uint32_t array_offset;

	if (contents.len < sizeof(uint32_t) + 1)
		return false;
	filter->base_lg = (unsigned char) contents.data[contents.len - 1];
	array_offset = lsm_get_fixed32(contents.data + contents.len - 5);
	if (array_offset > contents.len - 5 || (contents.len - 5 - array_offset) % sizeof(uint32_t) != 0 ||
		filter->base_lg > 62)
		return false;
	filter->data = contents.data;
	filter->offsets = contents.data + array_offset;
	filter->num = (contents.len - 5 - array_offset) / sizeof(uint32_t);
	return true;
}

static bool
filter_has(const unsigned char *array, size_t len, LsmSlice user_key)
{
	uint64_t bits;
	uint32_t h;
	uint32_t step;
	int probes;

	if (len == 0)
		return false; /* made for no keys */
	if (len == 1)
		return true; /* LevelDB writes none such */
	probes = array[len - 1];
	if (probes > MAX_PROBES)
		return true;
	bits = (uint64_t) (len - 1) * 8;
	h = lsm_hash(user_key.data, user_key.len, SEED);
	step = step_of(h);
	for (int j = 0; j < probes; j++)
	{
		/* A 32-bit division is several times quicker; filters of 512 MB are rare. */
		uint64_t bit = bits <= UINT32_MAX ? h % (uint32_t) bits : h % bits;

		if ((array[bit / 8] & (1 << (bit % 8))) == 0)
			return false;
		h += step;
	}
	return true;
}

bool
lsm_filter_may_match(const LsmFilter *filter, uint64_t block_offset, LsmSlice user_key)
{
	uint64_t index = block_offset >> filter->base_lg;
	uint32_t start;
	uint32_t end;

	if (index >= filter->num)
		return true;
	start = lsm_get_fixed32(filter->offsets + index * 4);
	end = lsm_get_fixed32(filter->offsets + index * 4 + 4);
	if (start > end || end > (size_t) (filter->offsets - filter->data))
		return true; /* not ours to understand, so it excludes nothing */
	return filter_has((const unsigned char *) filter->data + start, end - start, user_key);
}
