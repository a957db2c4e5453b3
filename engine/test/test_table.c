/*
 * test_table.c - sorted tables: what goes in comes out.
 *
 * - A file that LevelDB 1.23 wrote is read, and written again byte for byte.
 * - Every entry comes back from an iterator, forward, backward, in any mix, and
 *   by seeks to every key and between; and from gets at every sequence, with
 *   versions that go on over several blocks.  Compared with a sorted array, for
 *   all compressions, with and without stamps, filter and block cache.
 * - Filters deny no key that is there, and most that are not.
 * - With stamps, only a single entry makes a block larger than it should be.
 * - What cannot be written, and failing reads and writes, are reported.
 */
#include "engine/block.h"
#include "engine/format.h"
#include "engine/test/table_kit.h"

static Kit kit;

static void
count_damage(void *arg, const LsmError *what)
{
	fprintf(stderr, "damage: %s@%llu: %s\n", what->file, (unsigned long long) what->offset, what->text);
	(*(int *) arg)++;
}

/* ---- entries ---- */

/* Keys that share prefixes and contain each other; few, many or huge values; now and then a heap of versions. */
static void
random_entries(int n, size_t largest, bool stamped)
{
	static char value[70000];
	LsmBuf user = {0};

	kit_clear(&kit);
	while (kit.n < n)
	{
		size_t keep = user.len > 0 ? (size_t) kit_random(user.len + 1) : 0;
		size_t more = (size_t) kit_random(kit_random(30) == 0 ? 400 : 8);
		int versions = kit_random(10) == 0 ? (int) kit_random(60) : 1 + (int) kit_random(2);

		lsm_buf_reserve(&user, 1);
		user.len = keep;
		for (; more > 0; more--)
			lsm_buf_append(&user, &"abc\0\xff"[kit_random(5)], 1);
		for (int i = 0; i < versions && kit.n < n; i++)
		{
			size_t len = kit_random(4) == 0 ? 0 : (size_t) kit_random(kit_random(20) == 0 ? largest : largest / 20 + 1);
			LsmType type = !stamped && kit_random(6) == 0 ? LSM_TYPE_DELETION : LSM_TYPE_VALUE;
			LsmSlice v = type == LSM_TYPE_DELETION ? lsm_slice(value, 0) : kit_value(value, len, stamped);

			kit_add(&kit, lsm_buf_slice(&user), 1 + kit_random(i == 0 ? 3000 : 100), type, v);
		}
	}
	lsm_buf_free(&user);
	kit_sort(&kit, stamped);
}

static LsmSlice
random_target(LsmBuf *target)
{
	LsmSlice user = kit.n > 0 ? lsm_ikey_user(kit.entries[kit_random((uint64_t) kit.n)].ikey) : lsm_slice("", 0);

	target->len = 0;
	lsm_buf_append(target, user.data, (size_t) kit_random(user.len + 1));
	if (kit_random(2))
		lsm_buf_append(target, &"ab\0\xff"[kit_random(4)], 1);
	lsm_buf_put_fixed64(target, lsm_pack_trailer(kit_random(3100), LSM_TYPE_FOR_SEEK));
	return lsm_buf_slice(target);
}

/* ---- comparisons ---- */

static void
check_iterator(LsmTable *table, bool fill_cache)
{
	LsmIter *it = lsm_table_iter(table, fill_cache, LSM_ALL_SEQS);
	LsmBuf target = {0};
	bool ok = true;

	CHECK(!it->valid && it->status == LSM_OK);
	lsm_iter_seek_first(it);
	for (int i = 0; i <= kit.n && ok; i++)
	{
		ok = kit_is_at(&kit, it, i);
		if (it->valid)
			lsm_iter_next(it);
	}
	CHECK(ok);
	lsm_iter_seek_last(it);
	for (int i = kit.n - 1; i >= -1 && ok; i--)
	{
		ok = kit_is_at(&kit, it, i);
		if (it->valid)
			lsm_iter_prev(it);
	}
	CHECK(ok);
	for (int i = 0; i < kit.n && ok; i++)
	{
		lsm_iter_seek(it, kit.entries[i].ikey);
		ok = kit_is_at(&kit, it, i);
	}
	CHECK(ok);
	for (int n = 0; n < 400 && ok; n++)
	{
		LsmSlice wanted = random_target(&target);
		int at = kit_first_not_below(&kit, wanted);

		lsm_iter_seek(it, wanted);
		ok = kit_is_at(&kit, it, at);
		for (int steps = (int) kit_random(40); steps > 0 && ok && it->valid; steps--)
		{
			if (kit_random(2))
			{
				lsm_iter_next(it);
				at++;
			}
			else
			{
				lsm_iter_prev(it);
				at--;
			}
			ok = kit_is_at(&kit, it, at);
		}
	}
	CHECK(ok);
	lsm_buf_free(&target);
	lsm_iter_close(it);
}

static void
check_gets(LsmTable *table)
{
	LsmBuf target = {0};
	bool ok = true;

	for (int i = 0; i < kit.n && ok; i++)
	{
		LsmSlice user = lsm_ikey_user(kit.entries[i].ikey);
		uint64_t seq = lsm_ikey_seq(kit.entries[i].ikey);

		ok = kit_get_is_right(&kit, table, user, seq, -1, true) &&
			 kit_get_is_right(&kit, table, user, seq - 1, -1, true) &&
			 kit_get_is_right(&kit, table, user, LSM_MAX_SEQUENCE, 1, true) &&
			 kit_get_is_right(&kit, table, user, LSM_MAX_SEQUENCE, 1 + (int) kit_random(30), true);
	}
	CHECK(ok);
	for (int n = 0; n < 300 && ok; n++)
	{
		LsmSlice wanted = random_target(&target);

		ok = kit_get_is_right(&kit, table, lsm_ikey_user(wanted), lsm_ikey_seq(wanted), -1, true);
	}
	CHECK(ok);
	lsm_buf_free(&target);
}

/* What is not wanted may be left out; never what is, nor what hides it. */
static void
check_wanted(LsmTable *table)
{
	uint64_t a = 1 + kit_random(3000), b = 1 + kit_random(kit_random(2) ? 3000 : 100);
	LsmSeqs wanted = {a < b ? a : b, a < b ? b : a};
	LsmIter *it;
	LsmBuf target = {0};
	static bool shown[KIT_MAX + 1];
	int wrong = 0;
	int at = 0;

	if (kit_random(3) == 0)
		wanted.min = 0;
	else if (kit_random(2) == 0)
		wanted.max = LSM_MAX_SEQUENCE;
	it = lsm_table_iter(table, true, wanted);
	memset(shown, 0, sizeof(shown));
	for (lsm_iter_seek_first(it); it->valid && at < kit.n; lsm_iter_next(it), at++)
	{
		while (at < kit.n && !kit_is_at(&kit, it, at))
			at++;
		shown[at] = true;
	}
	wrong += it->valid || it->status != LSM_OK;
	for (int i = 0; i < kit.n; i++)
	{
		uint64_t seq = lsm_ikey_seq(kit.entries[i].ikey);
		bool is_wanted = seq >= wanted.min && seq <= wanted.max;

		wrong += is_wanted && !shown[i];
		/* the same key's next newer one */
		if (i > 0 && is_wanted && !shown[i - 1])
			wrong += lsm_slice_compare(lsm_ikey_user(kit.entries[i - 1].ikey), lsm_ikey_user(kit.entries[i].ikey)) == 0;
	}
	CHECK(wrong == 0);
	at = kit.n - 1;
	for (lsm_iter_seek_last(it); it->valid; lsm_iter_prev(it), at--)
	{
		while (at >= 0 && !shown[at])
			at--;
		wrong += !kit_is_at(&kit, it, at);
	}
	while (at >= 0 && !shown[at])
		at--;
	CHECK(wrong == 0 && at == -1);
	for (int n = 0; n < 50; n++)
	{
		LsmSlice key = random_target(&target);

		at = kit_first_not_below(&kit, key);
		while (at < kit.n && !shown[at])
			at++;
		lsm_iter_seek(it, key);
		wrong += !kit_is_at(&kit, it, at);
	}
	CHECK(wrong == 0);
	lsm_buf_free(&target);
	lsm_iter_close(it);
}

/* Offsets grow with the keys, from the file's beginning to its end. */
static void
check_offsets(LsmTable *table)
{
	uint64_t last = 0;
	bool ok = true;

	for (int i = 0; i < kit.n; i++)
	{
		uint64_t offset = lsm_table_offset_of(table, kit.entries[i].ikey);

		ok = ok && offset >= last && offset < kit.size && (i > 0 || offset == 0);
		last = offset;
	}
	CHECK(ok);
	CHECK(lsm_table_offset_of(table, lsm_slice("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\0\0\0\0\0\0\0", 24)) >= last);
}

/* Data blocks within their size, unless an entry is alone.  Returns how many there are. */
static int
check_block_sizes(const LsmTableOptions *options)
{
	LsmSlice bytes = kit_file_bytes(&kit);
	LsmBlockHandle metaindex;
	LsmBlockHandle handle;
	LsmBlockIter index;
	LsmBlockIter block;
	LsmBuf index_plain = {0};
	LsmBuf plain = {0};
	LsmSlice contents;
	int blocks = 0;

	CHECK(lsm_footer_decode(bytes.data + bytes.len - LSM_FOOTER_SIZE, &metaindex, &handle));
	MUST(lsm_block_check("", handle, bytes.data + handle.offset, &index_plain, &contents, &kit_err), &kit_err);
	lsm_block_iter_init(&index, LSM_KEYS_INTERNAL);
	lsm_block_iter_init(&block, LSM_KEYS_INTERNAL);
	CHECK(lsm_block_iter_set(&index, contents));
	for (lsm_block_iter_first(&index); index.valid; lsm_block_iter_next(&index))
	{
		blocks++;
		CHECK(lsm_handle_decode(index.value.data, index.value.data + index.value.len, &handle) != NULL);
		MUST(lsm_block_check("", handle, bytes.data + handle.offset, &plain, &contents, &kit_err), &kit_err);
		CHECK(lsm_block_iter_set(&block, contents));
		lsm_block_iter_first(&block);
		lsm_block_iter_next(&block);
		if (options->stamped && block.valid && contents.len > options->block_size)
			CHECK(!"a block is larger than it should be");
	}
	lsm_block_iter_free(&index);
	lsm_block_iter_free(&block);
	lsm_buf_free(&index_plain);
	lsm_buf_free(&plain);
	free((char *) bytes.data);
	return blocks;
}

static void
check_table(const LsmTableOptions *options)
{
	uint64_t entries;
	int damages = 0;
	LsmTable *table;

	kit_build(&kit, options);
	CHECK((check_block_sizes(options) > 0) == (kit.n > 0));
	MUST(lsm_table_open(kit.env, kit.cache, kit.number, kit.size, &table, &kit_err), &kit_err);
	CHECK(memcmp(lsm_table_props(table), &kit.props, sizeof(kit.props)) == 0);
	CHECK(lsm_table_memory(table) > 0 && lsm_table_memory(table) < kit.size + 1000);
	check_iterator(table, false);
	check_gets(table);
	check_iterator(table, true);
	check_gets(table);
	for (int i = 0; i < 5; i++)
		check_wanted(table);
	check_offsets(table);
	MUST(lsm_table_verify(table, count_damage, &damages, &entries, &kit_err), &kit_err);
	CHECK(damages == 0 && entries == (uint64_t) kit.n);
	lsm_table_unref(table);
	kit_remove(&kit);
}

static void
test_round_trips(void)
{
	static const size_t block_sizes[] = {100, 1024, 4096};
	static const int counts[] = {0, 1, 2, 40, 500};
	int turn = 0;

	for (int stamped = 0; stamped < 2; stamped++)
	{
		for (int compression = LSM_COMPRESS_NONE; compression <= LSM_COMPRESS_ZSTD; compression++)
		{
			for (size_t b = 0; b < sizeof(block_sizes) / sizeof(block_sizes[0]); b++)
			{
				for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++, turn++)
				{
					LsmTableOptions options = {block_sizes[b], turn % 5 == 0 ? 1 : 16, turn % 3 == 0 ? 0 : 300, turn % 4 == 0 ? 0 : 10,
											   (LsmCompression) compression, 3, stamped, true};

					random_entries(counts[c], c == 3 ? 60000 : 2000, stamped);
					check_table(&options);
				}
			}
		}
	}
}

/* Entries and blocks that a walk through a table comes to. */
static int
walk_wanted(LsmTable *table, LsmSeqs wanted, uint64_t *blocks)
{
	LsmIter *it = lsm_table_iter(table, false, wanted);
	uint64_t before = lsm_read_counts.blocks_read;
	int n = 0;

	for (lsm_iter_seek_first(it); it->valid; lsm_iter_next(it))
		n++;
	CHECK(it->status == LSM_OK);
	*blocks = lsm_read_counts.blocks_read - before;
	lsm_iter_close(it);
	return n;
}

/* Blocks of other sequences are not read, but for those that may hide something. */
static void
test_wanted_blocks(void)
{
	LsmTableOptions options = {200, 16, 0, 10, LSM_COMPRESS_NONE, 0, true, true};
	LsmTable *table;
	uint64_t blocks;
	uint64_t all;
	char key[16];

	/* a hundred keys, in the order of their sequences */
	kit_clear(&kit);
	for (int i = 1; i <= 100; i++)
		kit_add(&kit, lsm_slice(key, (size_t) snprintf(key, sizeof(key), "k%03d", i)), (uint64_t) i, LSM_TYPE_VALUE, lsm_slice("\0value", 6));
	kit_sort(&kit, true);
	kit_build(&kit, &options);
	MUST(lsm_table_open(kit.env, NULL, kit.number, kit.size, &table, &kit_err), &kit_err);
	CHECK(walk_wanted(table, LSM_ALL_SEQS, &all) == 100 && all > 9);
	CHECK(walk_wanted(table, (LsmSeqs){50, 50}, &blocks) < 20 && blocks == 1);
	CHECK(walk_wanted(table, (LsmSeqs){0, 1}, &blocks) < 20 && blocks == 1);
	CHECK(walk_wanted(table, (LsmSeqs){100, LSM_MAX_SEQUENCE}, &blocks) < 20 && blocks == 1);
	CHECK(walk_wanted(table, (LsmSeqs){20, 60}, &blocks) >= 41 && blocks > 1 && blocks < all - 1);
	CHECK(walk_wanted(table, (LsmSeqs){101, LSM_MAX_SEQUENCE}, &blocks) == 0 && blocks == 0);
	lsm_table_unref(table);
	kit_remove(&kit);

	/* a hundred versions of one key, newest first: each hides the older ones */
	kit_clear(&kit);
	for (int i = 1; i <= 100; i++)
		kit_add(&kit, lsm_slice("key", 3), (uint64_t) i, LSM_TYPE_VALUE, lsm_slice("\0value", 6));
	kit_sort(&kit, true);
	kit_build(&kit, &options);
	MUST(lsm_table_open(kit.env, NULL, kit.number, kit.size, &table, &kit_err), &kit_err);
	CHECK(walk_wanted(table, LSM_ALL_SEQS, &all) == 100 && all > 9);
	CHECK(walk_wanted(table, (LsmSeqs){0, 1}, &blocks) == 100 && blocks == all);
	CHECK(walk_wanted(table, (LsmSeqs){100, 100}, &blocks) < 20 && blocks == 1);
	lsm_table_unref(table);
	kit_remove(&kit);
}

/* Properties of the version before had no lowest sequence. */
static void
test_old_props(void)
{
	LsmTableProps props = {.entries = 3, .raw_bytes = 100, .max_seq = 300, .min_seq = 200, .known = true};
	LsmTableProps read;
	char encoded[LSM_PROPS_MAX];
	size_t len = lsm_props_encode(encoded, &props);

	CHECK(lsm_props_decode(lsm_slice(encoded, len), &read) && read.known && read.min_seq == 200 && read.max_seq == 300);
	encoded[0] = 1;
	CHECK(!lsm_props_decode(lsm_slice(encoded, len), &read));
	CHECK(lsm_props_decode(lsm_slice(encoded, len - 2), &read) && read.known && read.min_seq == 0 && read.max_seq == 300);
	encoded[0] = 3;
	CHECK(!lsm_props_decode(lsm_slice(encoded, len), &read));
}

/* An iterator keeps its table; a file may have LevelDB's old name. */
static void
test_handles(void)
{
	LsmTableOptions options = {4096, 16, 0, 10, LSM_COMPRESS_SNAPPY, 0, false, false};
	LsmTable *table;
	LsmIter *it;
	char ldb[64];
	char sst[80];

	random_entries(100, 300, false);
	kit_build(&kit, &options);
	MUST(lsm_table_open(kit.env, kit.cache, kit.number, kit.size, &table, &kit_err), &kit_err);
	it = lsm_table_iter(table, true, LSM_ALL_SEQS);
	lsm_table_unref(table);
	lsm_iter_seek_first(it);
	CHECK(kit_is_at(&kit, it, 0));
	lsm_iter_close(it);

	lsm_file_name(ldb, LSM_FILE_TABLE, kit.number);
	snprintf(sst, sizeof(sst), "%.*s.sst", (int) strlen(ldb) - 4, ldb);
	MUST(kit.env->ops->rename(kit.env, ldb, sst, &kit_err), &kit_err);
	MUST(lsm_table_open(kit.env, kit.cache, kit.number, kit.size, &table, &kit_err), &kit_err);
	check_gets(table);
	lsm_table_unref(table);
	MUST(kit.env->ops->remove(kit.env, sst, &kit_err), &kit_err);
	CHECK(lsm_table_open(kit.env, kit.cache, kit.number, kit.size, &table, &kit_err) == LSM_NOT_FOUND);
	CHECK(strcmp(kit_err.file, ldb) == 0);
}

static bool
never(void *arg, LsmSlice ikey, LsmSlice value, volatile uint8_t *hint)
{
	(void) ikey;
	(void) value;
	(void) hint;
	(*(int *) arg)++;
	return false;
}

static void
test_filter_rate(void)
{
	LsmTableOptions options = {4096, 16, 0, 10, LSM_COMPRESS_NONE, 0, true, true};
	LsmTable *table;
	char value[300];
	char key[32];
	int denied = 0;
	int visits = 0;
	bool stopped;
	bool filtered;

	kit_clear(&kit);
	for (int i = 0; i < KIT_MAX; i++)
		kit_add(&kit, lsm_slice(key, (size_t) snprintf(key, sizeof(key), "key%08d", i * 2)), 7, LSM_TYPE_VALUE, kit_value(value, kit_random(200), true));
	kit_sort(&kit, true);
	kit_build(&kit, &options);
	MUST(lsm_table_open(kit.env, kit.cache, kit.number, kit.size, &table, &kit_err), &kit_err);
	for (int i = 0; i < KIT_MAX; i++)
	{
		snprintf(key, sizeof(key), "key%08d", i * 2 + 1);
		MUST(lsm_table_get(table, lsm_slice(key, strlen(key)), LSM_MAX_SEQUENCE, never, &visits, &stopped, &filtered, &kit_err), &kit_err);
		denied += filtered;
	}
	CHECK(visits == 0);
	printf("%d of %d missing keys denied by the filter\n", denied, KIT_MAX);
	CHECK(denied >= KIT_MAX * 97 / 100 && denied < KIT_MAX);
	lsm_table_unref(table);
	kit_remove(&kit);
}

/* Six entries, written by LevelDB 1.23 (leveldb_put, no compression, a bloom filter of 10 bits). */
static void
test_leveldb_bytes(void)
{
	static const struct
	{
		const char *key;
		uint64_t seq;
		int len;
	} puts[] = {{"key000", 1, 5}, {"key00039595", 6, 10}, {"key0031676", 5, 10}, {"key023757", 4, 5}, {"key15838", 3, 10}, {"key7919", 2, 10}};
	static const char written[] =
		"\x00\x0e\x05\x6b\x65\x79\x30\x30\x30\x01\x01\x00\x00\x00\x00\x00"
		"\x00\x00\x00\x00\x00\x00\x06\x0d\x0a\x33\x39\x35\x39\x35\x01\x06"
		"\x00\x00\x00\x00\x00\x00\x9b\x9b\x9b\x9b\x9b\x9b\x9b\x9b\x9b\x9b"
		"\x05\x0d\x0a\x33\x31\x36\x37\x36\x01\x05\x00\x00\x00\x00\x00\x00"
		"\x7c\x80\x84\x88\x8c\x90\x94\x98\x9c\xa0\x04\x0d\x05\x32\x33\x37"
		"\x35\x37\x01\x04\x00\x00\x00\x00\x00\x00\x5d\x60\x63\x66\x69\x03"
		"\x0d\x0a\x31\x35\x38\x33\x38\x01\x03\x00\x00\x00\x00\x00\x00\x3e"
		"\x40\x42\x44\x46\x48\x4a\x4c\x4e\x50\x03\x0c\x0a\x37\x39\x31\x39"
		"\x01\x02\x00\x00\x00\x00\x00\x00\x1f\x20\x21\x22\x23\x24\x25\x26"
		"\x27\x28\x00\x00\x00\x00\x01\x00\x00\x00\x00\x5f\x3a\x7f\x56\xb6"
		"\x2a\x26\x15\x4c\xc5\xaa\x2e\x06\x00\x00\x00\x00\x09\x00\x00\x00"
		"\x0b\x00\xd5\x1d\xa2\x6f\x00\x22\x03\x66\x69\x6c\x74\x65\x72\x2e"
		"\x6c\x65\x76\x65\x6c\x64\x62\x2e\x42\x75\x69\x6c\x74\x69\x6e\x42"
		"\x6c\x6f\x6f\x6d\x46\x69\x6c\x74\x65\x72\x32\x9f\x01\x12\x00\x00"
		"\x00\x00\x01\x00\x00\x00\x00\xe9\x17\x33\x8c\x00\x09\x03\x6c\x01"
		"\xff\xff\xff\xff\xff\xff\xff\x00\x9a\x01\x00\x00\x00\x00\x01\x00"
		"\x00\x00\x00\xf4\xea\x87\xf7\xb6\x01\x30\xeb\x01\x17\x00\x00\x00"
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x57"
		"\xfb\x80\x8b\x24\x75\x47\xdb";
	LsmTableOptions options = {4096, 16, 0, 10, LSM_COMPRESS_NONE, 0, false, false};
	LsmSlice bytes;

	kit_clear(&kit);
	for (int i = 0; i < 6; i++)
	{
		int n = (int) puts[i].seq - 1;
		char value[10];

		for (int j = 0; j < puts[i].len; j++)
			value[j] = (char) (n * 31 + j * (n % 5));
		kit_add(&kit, lsm_slice(puts[i].key, strlen(puts[i].key)), puts[i].seq, LSM_TYPE_VALUE, lsm_slice(value, (size_t) puts[i].len));
	}
	kit_sort(&kit, false);
	kit_build(&kit, &options);
	bytes = kit_file_bytes(&kit);
	CHECK(bytes.len == sizeof(written) - 1 && memcmp(bytes.data, written, bytes.len) == 0);
	free((char *) bytes.data);
	check_table(&options);
}

/* ---- refusals and faults ---- */

static LsmStatus
try_add(const LsmTableOptions *options, LsmSlice first, LsmSlice second, LsmSlice value)
{
	LsmTableBuilder *builder;
	LsmStatus status;
	uint64_t size;
	LsmFile *file;

	MUST(lsm_file_open(kit.env, "000001.dbtmp", LSM_OPEN_CREATE, &file, &kit_err), &kit_err);
	MUST(lsm_table_builder_new(file, options, &builder, &kit_err), &kit_err);
	status = lsm_table_builder_add(builder, first, value, &kit_err);
	if (status == LSM_OK)
		status = lsm_table_builder_add(builder, second, value, &kit_err);
	/* an error stays */
	CHECK(lsm_table_builder_finish(builder, &size, &kit_err) == status);
	CHECK(status == LSM_OK || (kit_err.status == status && kit_err.text[0] != 0));
	lsm_table_builder_free(builder);
	lsm_file_close(file);
	return status;
}

static void
test_refusals(void)
{
	LsmTableOptions options = {4096, 16, 0, 10, LSM_COMPRESS_NONE, 0, false, false};
	LsmTableBuilder *builder;
	LsmFile *file;
	LsmSlice a = lsm_slice("a\1\7\0\0\0\0\0\0", 9);
	LsmSlice older_a = lsm_slice("a\1\6\0\0\0\0\0\0", 9);
	LsmSlice b = lsm_slice("b\1\7\0\0\0\0\0\0", 9);
	LsmSlice empty = lsm_slice("", 0);

	CHECK(try_add(&options, a, b, empty) == LSM_OK);
	CHECK(try_add(&options, a, older_a, empty) == LSM_OK);
	CHECK(try_add(&options, b, a, empty) == LSM_INVALID);
	CHECK(try_add(&options, a, a, empty) == LSM_INVALID);
	CHECK(try_add(&options, older_a, a, empty) == LSM_INVALID);
	CHECK(try_add(&options, lsm_slice("a\1\7\0\0\0\0", 7), b, empty) == LSM_INVALID);
	CHECK(try_add(&options, lsm_slice("a\2\7\0\0\0\0\0\0", 9), b, empty) == LSM_INVALID);
	CHECK(try_add(&options, a, b, lsm_slice("", LSM_ENTRY_MAX + 1)) == LSM_INVALID);
	options.stamped = true;
	CHECK(try_add(&options, a, b, lsm_slice("\0", 1)) == LSM_OK);
	CHECK(try_add(&options, a, b, empty) == LSM_INVALID);
	CHECK(try_add(&options, a, b, lsm_slice("\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 17)) == LSM_INVALID);
	options.restart_interval = 0;
	MUST(lsm_file_open(kit.env, "000001.dbtmp", LSM_OPEN_CREATE, &file, &kit_err), &kit_err);
	CHECK(lsm_table_builder_new(file, &options, &builder, &kit_err) == LSM_INVALID);
	lsm_file_close(file);
}

/* Each read and each write fails once: the call says so, and reads again after. */
static void
test_faults(void)
{
	LsmTableOptions options = {1024, 16, 256, 10, LSM_COMPRESS_SNAPPY, 0, true, false};
	LsmTable *table;
	LsmIter *it;
	uint64_t nth;
	uint64_t entries;
	int damages = 0;

	random_entries(300, 600, true);
	kit_build(&kit, &options);
	for (nth = 1; nth < 100; nth++)
	{
		lsm_env_sim_set_read_fault(kit.env, nth, 5, false);
		if (lsm_table_open(kit.env, NULL, kit.number, kit.size, &table, &kit_err) == LSM_OK)
			break;
		CHECK(kit_err.status == LSM_IO);
	}
	CHECK(nth > 4 && nth < 100);
	lsm_env_sim_set_read_fault(kit.env, 1, 5, false);
	CHECK(!kit_get_is_right(&kit, table, lsm_ikey_user(kit.entries[0].ikey), LSM_MAX_SEQUENCE, -1, true));
	CHECK(kit_err.status == LSM_IO);
	CHECK(kit_get_is_right(&kit, table, lsm_ikey_user(kit.entries[0].ikey), LSM_MAX_SEQUENCE, -1, true));
	it = lsm_table_iter(table, true, LSM_ALL_SEQS);
	lsm_iter_seek_first(it);
	lsm_env_sim_set_read_fault(kit.env, 1, 5, false);
	while (it->valid)
		lsm_iter_next(it);
	CHECK(it->status == LSM_IO && it->err.status == LSM_IO);
	lsm_iter_seek(it, kit.entries[kit.n - 1].ikey);
	CHECK(kit_is_at(&kit, it, kit.n - 1));
	lsm_iter_close(it);
	lsm_env_sim_set_read_fault(kit.env, 7, 5, false);
	CHECK(lsm_table_verify(table, count_damage, &damages, &entries, &kit_err) == LSM_IO && damages == 0);
	lsm_table_unref(table);
	kit_remove(&kit);

	for (nth = 1; nth < 100; nth++)
	{
		LsmTableBuilder *builder;
		LsmStatus status = LSM_OK;
		LsmFile *file;
		uint64_t size;

		MUST(lsm_file_open(kit.env, "000002.dbtmp", LSM_OPEN_CREATE, &file, &kit_err), &kit_err);
		lsm_env_sim_set_fault(kit.env, nth, 28, false);
		MUST(lsm_table_builder_new(file, &options, &builder, &kit_err), &kit_err);
		for (int i = 0; i < kit.n && status == LSM_OK; i++)
			status = lsm_table_builder_add(builder, kit.entries[i].ikey, kit.entries[i].value, &kit_err);
		if (status == LSM_OK)
			status = lsm_table_builder_finish(builder, &size, &kit_err);
		lsm_table_builder_free(builder);
		lsm_file_close(file);
		if (status == LSM_OK)
			break;
		CHECK(status == LSM_NO_SPACE && kit_err.status == status);
	}
	CHECK(nth > 1 && nth < 100);
	lsm_env_sim_set_fault(kit.env, 0, 0, false);
}

static void
with_cache(size_t bytes, size_t frame_size, void (*test)(void))
{
	void *mem = NULL;

	if (bytes > 0)
	{
		size_t size = lsm_cache_footprint(bytes, frame_size);

		mem = aligned_alloc(64, (size + 63) / 64 * 64);
		kit.cache = lsm_cache_init(mem, bytes, frame_size);
	}
	test();
	if (kit.cache != NULL)
	{
		LsmCacheStats stats;

		lsm_cache_stats(kit.cache, &stats);
		printf("cache: %llu frames, %llu hits, %llu misses\n", (unsigned long long) stats.frames,
			   (unsigned long long) stats.hits, (unsigned long long) stats.misses);
		CHECK(stats.hits > 0);
	}
	kit.cache = NULL;
	free(mem);
}

int
main(void)
{
	const char *seed = getenv("TABLE_SEED");

	kit_rnd = seed != NULL ? strtoull(seed, NULL, 10) : 20240607;
	printf("seed %llu (TABLE_SEED)\n", (unsigned long long) kit_rnd);
	MUST(lsm_env_sim_new(kit_rnd, &kit.env), &kit_err);
	test_leveldb_bytes();
	with_cache(0, 0, test_round_trips);
	with_cache(1 << 20, 4096, test_round_trips);
	with_cache(16 * 1024, 1024, test_round_trips); /* always full, and most blocks too large */
	test_wanted_blocks();
	test_old_props();
	test_handles();
	test_filter_rate();
	test_refusals();
	test_faults();
	kit_clear(&kit);
	lsm_env_sim_free(kit.env);
	return test_done();
}
