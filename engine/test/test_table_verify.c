/*
 * test_table_verify.c - verify sees more than checksums do, and goes on.
 *
 * - Tables whose blocks are each in order, but do not agree with each other: the
 *   one thing that is wrong is named, once.
 * - Damage in two places is reported twice, and the entries between are counted.
 */
#include "engine/block_builder.h"
#include "engine/bloom.h"
#include "engine/test/table_kit.h"

static Kit kit;

typedef struct Faulty
{
	const char *keys[4]; /* of the data block, in this order; an empty one ends it */
	const char *index_key;
	const char *filter_key; /* NULL: no filter; else the filter has all keys but this one, which takes its place */
	int entries;            /* as the properties say; -1: no properties */
	size_t gap;             /* bytes before the data block that belong to nothing */
	bool bad_restart;
	const char *expected; /* of the only damage; NULL: none */
} Faulty;

static void
check_faulty(const Faulty *faulty)
{
	LsmTableProps props = {.entries = (uint64_t) faulty->entries, .max_seq = 7, .min_seq = 7, .known = true};
	LsmBlockBuilder block;
	LsmBlockBuilder metaindex;
	LsmFilterBuilder filter;
	LsmBuf file = {0};
	LsmBlockHandle data;
	LsmBlockHandle meta;
	LsmBlockHandle index;
	KitDamages damages = {0};
	uint64_t entries;
	LsmSlice built;
	char encoded[LSM_PROPS_MAX];
	char footer[LSM_FOOTER_SIZE];
	char key[40];

	lsm_buf_append(&file, "xxxxxxxxxxxxxxxx", faulty->gap);
	lsm_block_builder_init(&block, 16, 0);
	lsm_filter_builder_init(&filter, 10, true);
	for (int i = 0; i < 4 && faulty->keys[i] != NULL; i++)
	{
		size_t len = strlen(faulty->keys[i]);

		memcpy(key, faulty->keys[i], len);
		lsm_put_fixed64(key + len, lsm_pack_trailer(7, LSM_TYPE_VALUE));
		lsm_block_builder_add(&block, lsm_slice(key, len + 8), lsm_slice("\0", 1));
		props.raw_bytes += len + 8 + 1;
		lsm_filter_builder_add(&filter, i == 1 && faulty->filter_key != NULL ? lsm_slice(faulty->filter_key, strlen(faulty->filter_key)) : lsm_slice(key, len));
	}
	built = lsm_block_builder_finish(&block);
	if (faulty->bad_restart)
		lsm_put_fixed32((char *) built.data + built.len - 8, 13);
	data = kit_put_block(&file, built, 0);

	lsm_block_builder_init(&metaindex, 16, 0);
	if (faulty->entries >= 0)
	{
		meta = kit_put_block(&file, lsm_slice(encoded, lsm_props_encode(encoded, &props)), 0);
		lsm_block_builder_add(&metaindex, lsm_slice(LSM_PROPS_NAME, strlen(LSM_PROPS_NAME)), lsm_slice(encoded, lsm_handle_encode(encoded, meta)));
	}
	if (faulty->filter_key != NULL)
	{
		meta = kit_put_block(&file, lsm_filter_builder_finish(&filter), 0);
		lsm_block_builder_add(&metaindex, lsm_slice(LSM_FILTER_NAME, strlen(LSM_FILTER_NAME)), lsm_slice(encoded, lsm_handle_encode(encoded, meta)));
	}
	meta = kit_put_block(&file, lsm_block_builder_finish(&metaindex), 0);

	lsm_block_builder_reset(&block);
	memcpy(key, faulty->index_key, strlen(faulty->index_key));
	lsm_put_fixed64(key + strlen(faulty->index_key), lsm_pack_trailer(1, LSM_TYPE_VALUE));
	lsm_block_builder_add(&block, lsm_slice(key, strlen(faulty->index_key) + 8), lsm_slice(encoded, lsm_handle_encode(encoded, data)));
	index = kit_put_block(&file, lsm_block_builder_finish(&block), 0);
	lsm_footer_encode(footer, meta, index);
	lsm_buf_append(&file, footer, sizeof(footer));
	kit_put_file(&kit, lsm_buf_slice(&file));

	MUST(lsm_table_verify_file(kit.env, kit.number, kit.size, kit_damage, &damages, &entries, &kit_err), &kit_err);
	if (faulty->expected == NULL ? damages.n != 0 : damages.n != 1 || strcmp(damages.last.text, faulty->expected) != 0)
	{
		fprintf(stderr, "expected \"%s\", got %d: \"%s\"\n", faulty->expected != NULL ? faulty->expected : "", damages.n, damages.last.text);
		CHECK(!"what verify says");
	}
	else
		CHECK(true);
	kit_remove(&kit);
	lsm_block_builder_free(&block);
	lsm_block_builder_free(&metaindex);
	lsm_filter_builder_free(&filter);
	lsm_buf_free(&file);
}

static void
test_verify(void)
{
	static const Faulty cases[] = {
		{{"a", "b", "c"}, "c", "b", 3, 0, false, NULL},
		{{"a", "b", "c"}, "c", NULL, -1, 0, false, NULL},
		{{"a", "b", "c"}, "c", "x", 3, 0, false, "filter denies a key that is there"},
		{{"b", "a", "c"}, "c", NULL, 3, 0, false, "keys are not in order"},
		{{"a", "b", "b"}, "c", NULL, 3, 0, false, "keys are not in order"},
		{{"a", "b", "c"}, "b", NULL, 3, 0, false, "key lies behind its block's index entry"},
		{{"a", "b", "c"}, "c", NULL, 4, 0, false, "properties do not agree with the entries"},
		{{"a", "b", "c"}, "c", NULL, 3, 7, false, "index leaves out a part of the file"},
		{{"a", "b", "c"}, "c", NULL, 3, 0, true, "restart points of a block are wrong"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check_faulty(&cases[i]);
}

/* Damage in two places is reported twice, and the entries between are counted. */
static void
test_goes_on(void)
{
	KitDamages damages = {0};
	LsmTable *table;
	uint64_t entries;
	char name[64];

	kit_small_table(&kit, LSM_COMPRESS_NONE, true);
	MUST(lsm_table_open(kit.env, NULL, kit.number, kit.size, &table, &kit_err), &kit_err);
	lsm_file_name(name, LSM_FILE_TABLE, kit.number);
	CHECK(lsm_env_sim_corrupt(kit.env, name, 3, 1));
	CHECK(lsm_env_sim_corrupt(kit.env, name, 700, 1));
	MUST(lsm_table_verify(table, kit_damage, &damages, &entries, &kit_err), &kit_err);
	CHECK(damages.n == 2 && strcmp(damages.last.file, name) == 0);
	CHECK(damages.last.offset > 400 && damages.last.offset <= 700);
	CHECK(entries > 0 && entries < (uint64_t) kit.n);
	lsm_table_unref(table);
	kit_remove(&kit);
	memset(&damages, 0, sizeof(damages));
	MUST(lsm_table_verify_file(kit.env, 999999, 100, kit_damage, &damages, &entries, &kit_err), &kit_err);
	CHECK(damages.n == 1 && strcmp(damages.last.file, "999999.ldb") == 0);
}

int
main(void)
{
	kit_rnd = 20240607;
	MUST(lsm_env_sim_new(kit_rnd, &kit.env), &kit_err);
	test_verify();
	test_goes_on();
	kit_clear(&kit);
	lsm_env_sim_free(kit.env);
	return test_done();
}
