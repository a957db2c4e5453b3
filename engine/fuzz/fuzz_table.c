/*
 * fuzz_table.c - any bytes as a table file.
 *
 * First byte: odd for checksums that fit.  Opening, walking, looking up, verifying and
 * salvaging end, within the file.  A table that lsm_table_verify_file has nothing to
 * say about opens, and gives every entry, forward, backward and by key.
 */
#include "engine/block.h"
#include "engine/coding.h"
#include "engine/crc32c.h"
#include "engine/format.h"
#include "engine/fuzz/fuzz.h"
#include "engine/keys.h"
#include "engine/table.h"

#define NUMBER 5
#define MAX_ENTRIES 20000 /* a key's prefix may be repeated cheaply */

static void
put_block_right(char *file, size_t end, LsmBlockHandle handle)
{
	char *contents;

	if (!lsm_handle_fits(handle, end))
		return;
	contents = file + handle.offset;
	lsm_put_fixed32(contents + handle.size + 1, lsm_crc32c_mask(lsm_crc32c(contents, handle.size + 1)));
}

/* All blocks that the entries of this one lead to. */
static void
put_children_right(char *file, size_t end, LsmBlockHandle handle, LsmBlockKeys keys)
{
	LsmBuf plain = {0};
	LsmSlice contents;
	LsmBlockIter it;

	put_block_right(file, end, handle);
	if (lsm_handle_fits(handle, end) &&
		lsm_block_check("x", handle, file + handle.offset, &plain, &contents, NULL) == LSM_OK)
	{
		/* the checksums may lie within this very block */
		char *copy = malloc(contents.len + 1);

		FUZZ_CHECK(copy != NULL);
		memcpy(copy, contents.data, contents.len);
		lsm_block_iter_init(&it, keys);
		if (lsm_block_iter_set(&it, lsm_slice(copy, contents.len)))
		{
			int n = 0;

			for (lsm_block_iter_first(&it); it.valid && n < MAX_ENTRIES; lsm_block_iter_next(&it), n++)
			{
				LsmBlockHandle child;

				if (lsm_handle_decode(it.value.data, it.value.data + it.value.len, &child) != NULL)
					put_block_right(file, end, child);
			}
		}
		lsm_block_iter_free(&it);
		free(copy);
	}
	lsm_buf_free(&plain);
}

static void
put_right(char *file, size_t size)
{
	LsmBlockHandle metaindex;
	LsmBlockHandle index;

	if (size < LSM_FOOTER_SIZE || !lsm_footer_decode(file + size - LSM_FOOTER_SIZE, &metaindex, &index))
		return;
	put_children_right(file, size - LSM_FOOTER_SIZE, metaindex, LSM_KEYS_PLAIN);
	put_children_right(file, size - LSM_FOOTER_SIZE, index, LSM_KEYS_INTERNAL);
}

static void
count_damage(void *arg, const LsmError *what)
{
	FUZZ_CHECK(what->status != LSM_OK && what->file[0] != '\0' && what->text[0] != '\0');
	++*(int *) arg;
}

static LsmStatus
count_entry(void *arg, LsmSlice ikey, LsmSlice value, LsmError *err)
{
	FUZZ_CHECK(ikey.len >= LSM_TRAILER_SIZE);
	(void) value;
	if (++*(uint64_t *) arg > MAX_ENTRIES)
		return lsm_fail(err, LSM_INTERRUPTED, 0, "x", 0, "too many");
	return LSM_OK;
}

static bool
visit(void *arg, LsmSlice ikey, LsmSlice value, volatile uint8_t *hint)
{
	(void) ikey, (void) value, (void) hint;
	++*(int *) arg;
	return false;
}

static void
look_up(LsmTable *table, LsmSlice ikey, bool sound)
{
	bool stopped = false;
	int seen = 0;
	LsmError err;
	LsmStatus status = lsm_table_get(table, lsm_ikey_user(ikey), lsm_ikey_seq(ikey), visit, &seen, &stopped, NULL, &err);

	(void) lsm_table_offset_of(table, ikey);
	if (sound)
		FUZZ_CHECK(status == LSM_OK && seen == 1 && stopped);
	else
		FUZZ_CHECK(status == LSM_OK || err.file[0] != '\0');
}

static void
use_table(LsmTable *table, bool sound, uint64_t entries)
{
	LsmIter *it = lsm_table_iter(table, false, LSM_ALL_SEQS);
	LsmBuf key = {0};
	uint64_t n = 0;

	FUZZ_CHECK(it != NULL);
	for (lsm_iter_seek_first(it); it->valid && n < MAX_ENTRIES; lsm_iter_next(it), n++)
	{
		if (n < 200)
		{
			FUZZ_CHECK(lsm_buf_set(&key, it->key.data, it->key.len));
			if (lsm_ikey_ok(lsm_buf_slice(&key)))
				look_up(table, lsm_buf_slice(&key), sound);
		}
	}
	if (sound && n < MAX_ENTRIES)
		FUZZ_CHECK(it->status == LSM_OK && n == entries);
	n = 0;
	for (lsm_iter_seek_last(it); it->valid && n < MAX_ENTRIES; lsm_iter_prev(it))
		n++;
	if (sound && n < MAX_ENTRIES)
		FUZZ_CHECK(it->status == LSM_OK && n == entries);
	if (key.len >= LSM_TRAILER_SIZE)
		lsm_iter_seek(it, lsm_buf_slice(&key));
	lsm_buf_free(&key);
	lsm_iter_close(it);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	LsmTable *table;
	LsmStatus status;
	LsmError err;
	LsmEnv *env;
	char name[64];
	char *bytes;
	int damages = 0;
	int ignored = 0;
	uint64_t entries = 0;
	uint64_t salvaged = 0;

	if (size < 2)
		return 0;
	bytes = malloc(size);
	FUZZ_CHECK(bytes != NULL);
	memcpy(bytes, data + 1, size - 1);
	if (data[0] % 2 == 1)
		put_right(bytes, size - 1);
	size--;

	FUZZ_CHECK(lsm_env_sim_new(1, &env) == LSM_OK);
	lsm_file_name(name, LSM_FILE_TABLE, NUMBER);
	fuzz_put_file(env, name, bytes, size);
	status = lsm_table_verify_file(env, NUMBER, size, count_damage, &damages, &entries, &err);
	FUZZ_CHECK(status == LSM_OK);
	status = lsm_table_open(env, NULL, NUMBER, size, &table, &err);
	FUZZ_CHECK(status == LSM_OK || (damages > 0 && err.status == status && err.file[0] != '\0'));
	if (status == LSM_OK)
	{
		use_table(table, damages == 0, entries);
		lsm_table_unref(table);
	}
	status = lsm_table_salvage(env, NUMBER, count_damage, &ignored, count_entry, &salvaged, &err);
	FUZZ_CHECK(damages > 0 || salvaged > MAX_ENTRIES || (status == LSM_OK && salvaged == entries));
	lsm_env_sim_free(env);
	free(bytes);
	return 0;
}
