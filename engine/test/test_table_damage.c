/*
 * test_table_damage.c - tables that are not as they were written.
 *
 * - Every byte of a small table changed, and the table cut at every length: what
 *   is read is right, or the read fails with the file's name; verify reports
 *   every change; nothing outside of the damaged block is lost.
 * - Contents changed under a checksum that fits, and files made to hurt: reading
 *   keeps within bounds, ends, and does not allocate what a length only claims
 *   (the sanitizers watch; the files' memory is exact).
 */
#include "engine/block.h"
#include "engine/block_builder.h"
#include "engine/crc32c.h"
#include "engine/format.h"
#include "engine/test/table_kit.h"

#include <snappy-c.h>
#include <zstd.h>

static Kit kit;

/* Up to the first error everything must be right.  How many entries were read. */
static int
scan(LsmTable *table, bool forward, bool *right)
{
	LsmIter *it = lsm_table_iter(table, true, LSM_ALL_SEQS);
	int n = 0;

	*right = true;
	if (forward)
		lsm_iter_seek_first(it);
	else
		lsm_iter_seek_last(it);
	while (it->valid)
	{
		if (!kit_is_at(&kit, it, forward ? n : kit.n - 1 - n))
			*right = false;
		n++;
		if (n > 10 * KIT_MAX)
			break;
		if (forward)
			lsm_iter_next(it);
		else
			lsm_iter_prev(it);
	}
	if (it->status == LSM_CORRUPT && n > 0)
	{
		LsmError what = it->err;

		/* what could be read before can be read again */
		lsm_iter_seek(it, kit.entries[forward ? n - 1 : kit.n - n].ikey);
		if (!kit_is_at(&kit, it, forward ? n - 1 : kit.n - n))
			*right = false;
		it->status = what.status;
		it->err = what;
	}
	if (it->status == LSM_OK ? n != kit.n : it->status != LSM_CORRUPT || it->err.status != LSM_CORRUPT || it->err.file[0] == 0)
		*right = false;
	lsm_iter_close(it);
	return n;
}

/* Opens the damaged table and reads it in all ways; false if anything came out wrong.  *lost: keys that could not be read. */
static bool
read_all(int *lost)
{
	LsmTable *table;
	bool right;
	bool all_right = true;
	LsmStatus status;

	*lost = kit.n;
	memset(&kit_err, 0, sizeof(kit_err));
	status = lsm_table_open(kit.env, NULL, kit.number, kit.size, &table, &kit_err);
	if (status != LSM_OK)
		return status == LSM_CORRUPT && kit_err.status == status && kit_err.file[0] != 0;
	*lost = 0;
	for (int i = 0; i < kit.n; i++)
	{
		LsmSlice user = lsm_ikey_user(kit.entries[i].ikey);

		if (!kit_get_is_right(&kit, table, user, LSM_MAX_SEQUENCE, -1, false))
			all_right = false;
		if (kit_err.status != LSM_OK)
			(*lost)++;
	}
	scan(table, true, &right);
	all_right = all_right && right;
	scan(table, false, &right);
	lsm_table_unref(table);
	return all_right && right;
}

static int
verify(void)
{
	KitDamages damages = {0};
	uint64_t entries;

	MUST(lsm_table_verify_file(kit.env, kit.number, kit.size, kit_damage, &damages, &entries, &kit_err), &kit_err);
	return damages.n;
}

static void
test_flips(LsmCompression compression, bool stamped)
{
	static const unsigned char masks[] = {0x01, 0x80, 0xff};
	LsmSlice original;
	LsmBlockHandle metaindex;
	LsmBlockHandle index;
	char encoded[2 * LSM_HANDLE_MAX];
	size_t padding;
	int lost;
	int refused = 0;
	char name[64];

	kit_small_table(&kit, compression, stamped);
	original = kit_file_bytes(&kit);
	CHECK(read_all(&lost) && lost == 0 && verify() == 0);
	CHECK(lsm_footer_decode(original.data + original.len - LSM_FOOTER_SIZE, &metaindex, &index));
	padding = lsm_handle_encode(encoded, metaindex);
	padding += original.len - LSM_FOOTER_SIZE + lsm_handle_encode(encoded, index);
	lsm_file_name(name, LSM_FILE_TABLE, kit.number);
	for (size_t at = 0; at < original.len; at++)
	{
		for (size_t m = 0; m < sizeof(masks); m++)
		{
			bool harmless = at >= padding && at < original.len - 8;
			bool right;
			int damages;

			CHECK(lsm_env_sim_corrupt(kit.env, name, at, masks[m]));
			right = read_all(&lost);
			damages = verify();
			refused += lost == kit.n;
			if (!right || damages == 0 || (harmless && lost > 0))
			{
				fprintf(stderr, "byte %zu ^ %02x of a table of %zu: %s, %d damages reported\n", at, masks[m],
						original.len, right ? "read right" : "read WRONG", damages);
				CHECK(!"damage");
			}
			/* A data block holds at most 20 of the entries. */
			if (at < metaindex.offset - 200 && lost > 25)
				CHECK(lost == kit.n);
			CHECK(lsm_env_sim_corrupt(kit.env, name, at, masks[m]));
		}
	}
	CHECK(read_all(&lost) && lost == 0 && verify() == 0);
	printf("compression %d: %zu bytes, %d changes made the table refuse to open\n", compression, original.len, refused);
	free((char *) original.data);
	kit_remove(&kit);
}

static void
test_cuts(void)
{
	LsmSlice original;
	uint64_t whole;
	int lost;

	kit_small_table(&kit, LSM_COMPRESS_SNAPPY, true);
	original = kit_file_bytes(&kit);
	whole = kit.size;
	kit_remove(&kit);
	for (size_t len = 0; len < original.len; len++)
	{
		kit_put_file(&kit, lsm_slice(original.data, len));
		CHECK(read_all(&lost) && lost == kit.n); /* by its new size */
		CHECK(verify() > 0);
		kit.size = whole; /* by the size it had */
		CHECK(read_all(&lost) && lost == kit.n);
		CHECK(verify() > 0);
		kit_remove(&kit);
	}
	free((char *) original.data);
}

/* ---- files made by hand ---- */

static bool
visit_any(void *arg, LsmSlice ikey, LsmSlice value, volatile uint8_t *hint)
{
	size_t *sum = arg;

	(void) hint;
	for (size_t i = 0; i < ikey.len; i++)
		*sum += (unsigned char) ikey.data[i];
	for (size_t i = 0; i < value.len; i++)
		*sum += (unsigned char) value.data[i];
	return true;
}

/* Everything one can do with a table that may be anything.  LSM_OK, or the first error of open, gets and scans. */
static LsmStatus
exercise(void)
{
	LsmStatus first;
	LsmTable *table;
	size_t sum = 0;
	bool stopped;
	LsmIter *it;

	(void) verify();
	first = lsm_table_open(kit.env, NULL, kit.number, kit.size, &table, &kit_err);
	if (first != LSM_OK)
		return first;
	for (int i = 0; i < kit.n; i++)
	{
		LsmStatus status = lsm_table_get(table, lsm_ikey_user(kit.entries[i].ikey), LSM_MAX_SEQUENCE, visit_any, &sum,
										 &stopped, NULL, &kit_err);

		if (first == LSM_OK)
			first = status;
		(void) lsm_table_offset_of(table, kit.entries[i].ikey);
	}
	for (int turn = 0; turn < 3; turn++)
	{
		int steps = 0;

		it = lsm_table_iter(table, false, LSM_ALL_SEQS);
		if (turn == 0)
			lsm_iter_seek_first(it);
		else if (turn == 1)
			lsm_iter_seek_last(it);
		else
			lsm_iter_seek(it, kit.entries[kit_random((uint64_t) kit.n)].ikey);
		for (; it->valid && steps < 20000; steps++)
		{
			(void) visit_any(&sum, it->key, it->value, NULL);
			if (turn == 1 || (turn == 2 && kit_random(2)))
				lsm_iter_prev(it);
			else
				lsm_iter_next(it);
		}
		CHECK(steps < 20000);
		if (first == LSM_OK)
			first = it->status;
		lsm_iter_close(it);
	}
	lsm_table_unref(table);
	return first;
}

/* A file of one index block with these contents, and with an empty metaindex block. */
static LsmStatus
exercise_index(LsmBuf *file, LsmSlice index)
{
	LsmBlockHandle metaindex = kit_put_block(file, lsm_slice("\0\0\0\0\1\0\0\0", 8), 0);
	LsmBlockHandle handle = kit_put_block(file, index, 0);
	char footer[LSM_FOOTER_SIZE];
	LsmStatus status;

	lsm_footer_encode(footer, metaindex, handle);
	lsm_buf_append(file, footer, sizeof(footer));
	kit_put_file(&kit, lsm_buf_slice(file));
	status = exercise();
	kit_remove(&kit);
	file->len = 0;
	return status;
}

/* One index entry that leads to this handle. */
static LsmStatus
exercise_handle(LsmBuf *file, LsmBlockHandle handle)
{
	LsmBlockBuilder index;
	char encoded[LSM_HANDLE_MAX];
	LsmStatus status;

	lsm_block_builder_init(&index, 1, 0);
	lsm_block_builder_add(&index, lsm_slice("z\1\0\0\0\0\0\0\0", 9), lsm_slice(encoded, lsm_handle_encode(encoded, handle)));
	status = exercise_index(file, lsm_block_builder_finish(&index));
	lsm_block_builder_free(&index);
	return status;
}

/* One data block of this type. */
static LsmStatus
exercise_block(const void *contents, size_t len, int type)
{
	LsmBuf file = {0};
	LsmBlockHandle handle = kit_put_block(&file, lsm_slice(contents, len), type);
	LsmStatus status = exercise_handle(&file, handle);

	lsm_buf_free(&file);
	return status;
}

static void
test_handles(void)
{
	static const uint64_t numbers[] = {0, 1, 8, 13, 26, 48, 100, 1000, UINT64_C(1) << 30, UINT64_C(1) << 31, UINT64_C(1) << 32,
									   UINT64_C(1) << 62, UINT64_MAX - 5, UINT64_MAX - 4, UINT64_MAX};
	size_t n = sizeof(numbers) / sizeof(numbers[0]);
	LsmBuf file = {0};

	kit_small_table(&kit, LSM_COMPRESS_NONE, false);
	kit_remove(&kit);
	for (size_t i = 0; i < n; i++)
	{
		for (size_t j = 0; j < n; j++)
		{
			LsmBlockHandle handle = {numbers[i], numbers[j]};
			LsmStatus status = exercise_handle(&file, handle);
			char footer[LSM_FOOTER_SIZE];
			bool empty_block = i == 0 && numbers[j] == 8; /* the metaindex block, which has no entries */

			CHECK(status == (empty_block ? LSM_OK : LSM_CORRUPT));
			kit_put_block(&file, lsm_slice("\0\0\0\0\1\0\0\0", 8), 0);
			for (int which = 0; which < 2; which++)
			{
				LsmBlockHandle good = {0, 8};

				file.len = 13;
				lsm_footer_encode(footer, which ? handle : good, which ? good : handle);
				lsm_buf_append(&file, footer, sizeof(footer));
				kit_put_file(&kit, lsm_buf_slice(&file));
				CHECK(exercise() == (empty_block ? LSM_OK : LSM_CORRUPT));
				kit_remove(&kit);
			}
			file.len = 0;
		}
	}
	lsm_buf_free(&file);
}

static void
test_blocks(void)
{
	static const char plain[] = "\0\x09\1"
								"a\1\7\0\0\0\0\0\0"
								"v"
								"\0\0\0\0\1\0\0\0";
	size_t len = sizeof(plain) - 1;
	char buf[512];
	size_t size;
	LsmBuf file = {0};

	/* The block is good in all three ways, so that the rest fails for what it is. */
	CHECK(exercise_block(plain, len, LSM_COMPRESS_NONE) == LSM_OK);
	size = sizeof(buf);
	CHECK(snappy_compress(plain, len, buf, &size) == SNAPPY_OK);
	CHECK(exercise_block(buf, size, LSM_COMPRESS_SNAPPY) == LSM_OK);
	size = ZSTD_compress(buf, sizeof(buf), plain, len, 1);
	CHECK(exercise_block(buf, size, LSM_COMPRESS_ZSTD) == LSM_OK);

	for (int type = 3; type < 256; type++)
		CHECK(exercise_block(plain, len, type) == LSM_CORRUPT);
	CHECK(exercise_block(plain, 0, LSM_COMPRESS_NONE) == LSM_CORRUPT);
	CHECK(exercise_block(plain, 0, LSM_COMPRESS_SNAPPY) == LSM_CORRUPT);
	CHECK(exercise_block(plain, 0, LSM_COMPRESS_ZSTD) == LSM_CORRUPT);
	CHECK(exercise_block("\xff\xff\xff\xff\x0f", 5, LSM_COMPRESS_SNAPPY) == LSM_CORRUPT);                /* 4 GB */
	CHECK(exercise_block("\x80\x80\x80\x80\x04", 5, LSM_COMPRESS_SNAPPY) == LSM_CORRUPT);                /* 1 GB */
	CHECK(exercise_block("\x28\xb5\x2f\xfd\xe0\0\0\0\0\0\1\0\0", 13, LSM_COMPRESS_ZSTD) == LSM_CORRUPT); /* 1 TB */
	CHECK(exercise_block("\x28\xb5\x2f\xfd\xa0\0\0\0\x40\1\0\0", 12, LSM_COMPRESS_ZSTD) == LSM_CORRUPT); /* 1 GB, for an empty frame */
	CHECK(exercise_block("\x28\xb5\x2f\xfd\0\x58\1\0\0", 9, LSM_COMPRESS_ZSTD) == LSM_CORRUPT);          /* no length */
	CHECK(exercise_block("\0\0\0\0\xff\xff\xff\xff", 8, LSM_COMPRESS_NONE) == LSM_CORRUPT);              /* number of restarts */
	CHECK(exercise_block("\0\0\0\0\2\0\0\0", 8, LSM_COMPRESS_NONE) == LSM_CORRUPT);
	CHECK(exercise_block("\1\0\0\0\1\0\0\0", 8, LSM_COMPRESS_NONE) == LSM_CORRUPT);                           /* a restart behind the end */
	CHECK(exercise_block("\0\3\0abc\0\0\0\0\1\0\0\0", 14, LSM_COMPRESS_NONE) == LSM_CORRUPT);                 /* a key without trailer */
	CHECK(exercise_block("\1\x09\0a\1\7\0\0\0\0\0\0\0\0\0\0\1\0\0\0", 20, LSM_COMPRESS_NONE) == LSM_CORRUPT); /* shares with nothing */
	/* lengths whose sum in 32 bits is small */
	CHECK(exercise_block("\0\x08\xf8\xff\xff\xff\x0f"
						 "\1\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0",
						 23, LSM_COMPRESS_NONE) == LSM_CORRUPT);
	CHECK(exercise_block("\0\xf8\xff\xff\xff\x0f\x08"
						 "\1\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0",
						 23, LSM_COMPRESS_NONE) == LSM_CORRUPT);

	CHECK(exercise_index(&file, lsm_slice("", 0)) == LSM_CORRUPT);
	CHECK(exercise_index(&file, lsm_slice("\0\0\0\0\0\0\0\0", 8)) == LSM_OK); /* no restart point: LevelDB takes it for empty */
	CHECK(exercise_index(&file, lsm_slice("\0\3\2abc\0\0\0\0\0\0\1\0\0\0", 16)) == LSM_CORRUPT);
	CHECK(exercise_index(&file, lsm_slice("\0\x09\0z\1\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0", 20)) == LSM_CORRUPT); /* no handle */
	lsm_buf_free(&file);
}

/* The file became shorter after it was opened. */
static void
test_cut_later(void)
{
	LsmTable *table;
	LsmIter *it;
	char name[64];

	kit_small_table(&kit, LSM_COMPRESS_NONE, true);
	lsm_file_name(name, LSM_FILE_TABLE, kit.number);
	MUST(lsm_table_open(kit.env, NULL, kit.number, kit.size, &table, &kit_err), &kit_err);
	CHECK(lsm_env_sim_truncate(kit.env, name, 10));
	CHECK(kit_get_is_right(&kit, table, lsm_ikey_user(kit.entries[0].ikey), LSM_MAX_SEQUENCE, -1, false));
	CHECK(kit_err.status == LSM_CORRUPT && strcmp(kit_err.text, "file ends within a block") == 0);
	it = lsm_table_iter(table, true, LSM_ALL_SEQS);
	lsm_iter_seek_last(it);
	CHECK(!it->valid && it->status == LSM_CORRUPT && strcmp(it->err.text, "file ends within a block") == 0);
	lsm_iter_close(it);
	lsm_table_unref(table);
	kit_remove(&kit);
}

/* Bytes of one block changed, and its checksum made to fit: what checksums cannot keep away. */
static void
test_behind_checksums(LsmCompression compression, int rounds)
{
	LsmBlockHandle blocks[100];
	LsmSlice original;
	LsmSlice contents;
	LsmBlockIter it;
	LsmBuf plain = {0};
	char *changed;
	int n = 2;
	int noticed = 0;

	kit_small_table(&kit, compression, true);
	original = kit_file_bytes(&kit);
	kit_remove(&kit);
	CHECK(lsm_footer_decode(original.data + original.len - LSM_FOOTER_SIZE, &blocks[0], &blocks[1]));
	for (int i = 0; i < 2; i++)
	{
		MUST(lsm_block_check("", blocks[i], original.data + blocks[i].offset, &plain, &contents, &kit_err), &kit_err);
		lsm_block_iter_init(&it, LSM_KEYS_PLAIN);
		CHECK(lsm_block_iter_set(&it, contents));
		for (lsm_block_iter_first(&it); it.valid && n < 100; lsm_block_iter_next(&it))
			CHECK(lsm_handle_decode(it.value.data, it.value.data + it.value.len, &blocks[n++]) != NULL);
		lsm_block_iter_free(&it);
	}
	changed = malloc(original.len);
	for (int round = 0; round < rounds; round++)
	{
		/* index, metaindex, filter and properties as often as all data blocks together */
		LsmBlockHandle handle = blocks[kit_random(2) ? kit_random(4) : kit_random((uint64_t) n)];
		char *block = changed + handle.offset;

		memcpy(changed, original.data, original.len);
		for (int flips = 1 + (int) kit_random(4); flips > 0; flips--)
			block[kit_random(handle.size)] = kit_random(2) ? (char) test_random(&kit_rnd) : (char) kit_random(3);
		lsm_put_fixed32(block + handle.size + 1, lsm_crc32c_mask(lsm_crc32c(block, (size_t) handle.size + 1)));
		kit_put_file(&kit, lsm_slice(changed, original.len));
		noticed += verify() > 0;
		(void) exercise();
		kit_remove(&kit);
	}
	printf("compression %d: verify noticed %d of %d changes behind checksums\n", compression, noticed, rounds);
	CHECK(noticed > rounds / 10); /* it reads more than checksums */
	free(changed);
	free((char *) original.data);
	lsm_buf_free(&plain);
}

int
main(void)
{
	const char *seed = getenv("TABLE_SEED");

	kit_rnd = seed != NULL ? strtoull(seed, NULL, 10) : 20240607;
	printf("seed %llu (TABLE_SEED)\n", (unsigned long long) kit_rnd);
	MUST(lsm_env_sim_new(kit_rnd, &kit.env), &kit_err);
	test_flips(LSM_COMPRESS_NONE, false);
	test_flips(LSM_COMPRESS_NONE, true);
	test_flips(LSM_COMPRESS_SNAPPY, true);
	test_flips(LSM_COMPRESS_ZSTD, false);
	test_cuts();
	test_handles();
	test_blocks();
	test_behind_checksums(LSM_COMPRESS_NONE, 3000);
	test_behind_checksums(LSM_COMPRESS_SNAPPY, 1000);
	test_behind_checksums(LSM_COMPRESS_ZSTD, 1000);
	test_cut_later();
	kit_clear(&kit);
	lsm_env_sim_free(kit.env);
	return test_done();
}
