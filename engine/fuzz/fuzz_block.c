/*
 * fuzz_block.c - any bytes as the contents of a block, behind its checksum.
 *
 * First byte: 0 for internal keys, 1 for plain ones.  Every walk ends, within the
 * bytes.  If the entries read forward are in order and the restart points are
 * sound, they are the same backward, and each is found.
 */
#include "engine/block.h"
#include "engine/fuzz/fuzz.h"
#include "engine/keys.h"

#define MAX_ENTRIES 4096

typedef struct Entry
{
	LsmBuf key;
	LsmSlice value;
} Entry;

static Entry entries[MAX_ENTRIES];

static int
compare(LsmBlockKeys keys, LsmSlice a, LsmSlice b)
{
	return keys == LSM_KEYS_PLAIN ? lsm_slice_compare(a, b) : lsm_ikey_compare(a, b);
}

static bool
is_entry(const LsmBlockIter *it, int i)
{
	return it->valid && fuzz_same(it->key, lsm_buf_slice(&entries[i].key)) && fuzz_same(it->value, entries[i].value);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	LsmBlockKeys keys = size > 0 && data[0] % 2 == 1 ? LSM_KEYS_PLAIN : LSM_KEYS_INTERNAL;
	LsmSlice contents;
	LsmBlockIter it;
	bool sound = true;
	int n = 0;

	if (size == 0)
		return 0;
	contents = lsm_slice(data + 1, size - 1);
	lsm_block_iter_init(&it, keys);
	if (!lsm_block_iter_set(&it, contents))
	{
		FUZZ_CHECK(it.status == LSM_CORRUPT && !it.valid);
		lsm_block_iter_free(&it);
		return 0;
	}
	for (lsm_block_iter_first(&it); it.valid && n < MAX_ENTRIES; lsm_block_iter_next(&it), n++)
	{
		FUZZ_CHECK(it.value.data >= contents.data && it.value.data + it.value.len <= contents.data + contents.len);
		FUZZ_CHECK(keys == LSM_KEYS_PLAIN || it.key.len >= LSM_TRAILER_SIZE);
		FUZZ_CHECK(lsm_buf_set(&entries[n].key, it.key.data, it.key.len));
		entries[n].value = it.value;
		if (n > 0 && compare(keys, lsm_buf_slice(&entries[n - 1].key), lsm_buf_slice(&entries[n].key)) >= 0)
			sound = false;
	}
	if (n == MAX_ENTRIES || it.status != LSM_OK)
		sound = false;
	sound = sound && lsm_block_restarts_ok(&it);

	if (sound)
	{
		int i = n;

		for (lsm_block_iter_last(&it); it.valid; lsm_block_iter_prev(&it))
			FUZZ_CHECK(i > 0 && is_entry(&it, --i));
		FUZZ_CHECK(i == 0 && it.status == LSM_OK);
		for (i = 0; i < n; i++)
		{
			lsm_block_iter_seek(&it, lsm_buf_slice(&entries[i].key));
			FUZZ_CHECK(is_entry(&it, i));
		}
	}
	else
	{
		/* any answer, but an end */
		lsm_block_iter_last(&it);
		for (int i = 0; it.valid && i < MAX_ENTRIES; i++)
			lsm_block_iter_prev(&it);
		for (int i = 0; i < n && i < 64; i++)
			lsm_block_iter_seek(&it, lsm_buf_slice(&entries[i].key));
	}
	lsm_block_iter_free(&it);
	for (int i = 0; i < n; i++)
		lsm_buf_free(&entries[i].key);
	return 0;
}
