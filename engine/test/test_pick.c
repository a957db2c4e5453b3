/*
 * test_pick.c - choosing what is merged, from pictures of levels: no store.
 *
 * What must hold:
 *   - inputs are closed under overlap; a lone file is moved; the file that meets least is taken first
 *   - nothing is taken that others merge, nor what would be in the way of level 0 when that is due
 *   - levels get the sizes that the last one asks for
 */
#include "engine/test/test.h"

#include "engine/job.h"
#include "engine/pick.h"
#include "engine/shape.h"

static LsmOptions options;

static LsmSlice
text(const char *s)
{
	return lsm_slice(s, strlen(s));
}

static void
reset_options(void)
{
	lsm_options_init(&options);
	options.memtable_size = 64 << 10;
	options.file_size = 16 << 10;
	options.level1_size = 64 << 10;
	options.level_factor = 4;
}

static LsmEdit picture;

/* A file in the picture: level, number, first and last user key, size in units of 1000. */
static void
draw(int level, uint64_t number, const char *first, const char *last, uint64_t size)
{
	LsmBuf a = {0};
	LsmBuf b = {0};
	LsmFileMeta *file;

	lsm_ikey_append(&a, text(first), 1000 - number * 10 + 9, LSM_TYPE_VALUE);
	lsm_ikey_append(&b, text(last), 1000 - number * 10, LSM_TYPE_VALUE);
	file = lsm_file_new(number, size * 1000, lsm_buf_slice(&a), lsm_buf_slice(&b));
	lsm_edit_add(&picture, level, file);
	lsm_file_unref(file);
	lsm_buf_free(&a);
	lsm_buf_free(&b);
}

static LsmFiles *
drawn(void)
{
	LsmFilesBuilder *builder = lsm_files_builder_new(NULL, NULL);
	LsmFiles *files = NULL;
	LsmError err;

	MUST(lsm_files_builder_apply(builder, &picture, &err), &err);
	MUST(lsm_files_builder_finish(builder, &files, &err), &err);
	lsm_files_builder_free(builder);
	lsm_edit_free(&picture);
	return files;
}

/* Are the inputs of one level exactly these numbers, in any order? */
static bool
inputs_are(const LsmCompaction *c, int which, const char *numbers)
{
	char got[200] = "";

	for (uint64_t number = 0; number < 100; number++)
	{
		for (int i = 0; i < c->ninputs[which]; i++)
		{
			if (c->inputs[which][i]->number == number)
				snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%d", got[0] ? " " : "", (int) number);
		}
	}
	if (strcmp(got, numbers) != 0)
		fprintf(stderr, "inputs are \"%s\"\n", got);
	return strcmp(got, numbers) == 0;
}

static void
test_pick(void)
{
	LsmCompaction *c;
	LsmFiles *files;
	LsmError err;

	reset_options();
	options.level1_size = 100000;
	options.memtable_size = 4 << 10;

	/* nothing due */
	draw(0, 1, "a", "z", 10);
	draw(1, 2, "a", "z", 99);
	files = drawn();
	MUST(lsm_pick(&options, files, NULL, &c, &err), &err);
	CHECK(c == NULL);
	CHECK(lsm_compaction_debt(&options, files) == 0);
	lsm_files_unref(files);

	/* level 0: the oldest (1), what overlaps it (3), what overlaps that (5), not 7; and what they meet below */
	draw(0, 1, "a", "c", 10);
	draw(0, 3, "b", "f", 10);
	draw(0, 5, "e", "g", 10);
	draw(0, 7, "h", "k", 10);
	draw(1, 2, "a", "b", 10);
	draw(1, 4, "g", "h", 10);
	draw(1, 6, "i", "k", 10);
	files = drawn();
	MUST(lsm_pick(&options, files, NULL, &c, &err), &err);
	CHECK(c->level == 0 && c->output_level == 1 && !c->move);
	CHECK(inputs_are(c, 0, "1 3 5") && inputs_are(c, 1, "2 4"));
	CHECK(c->bytes == 50000);
	lsm_compaction_free(c);
	lsm_files_unref(files);

	/* level 1 is too large: the file that meets least for its size, and moves if it meets nothing */
	draw(1, 1, "a", "c", 40);
	draw(1, 2, "d", "f", 40);
	draw(1, 3, "g", "i", 40);
	draw(2, 11, "a", "b", 30);
	draw(2, 12, "c", "e", 10);
	draw(2, 13, "f", "f", 5);
	draw(2, 14, "h", "h", 20);
	files = drawn();
	MUST(lsm_pick(&options, files, NULL, &c, &err), &err);
	CHECK(c->level == 1 && inputs_are(c, 0, "2") && inputs_are(c, 1, "12 13"));
	lsm_compaction_free(c);
	lsm_files_unref(files);
	draw(1, 1, "a", "c", 40);
	draw(1, 2, "d", "f", 40);
	draw(1, 3, "g", "i", 40);
	draw(2, 11, "a", "b", 30);
	draw(3, 12, "d", "e", 159); /* ten times 16 KB is the limit */
	files = drawn();
	MUST(lsm_pick(&options, files, NULL, &c, &err), &err);
	CHECK(inputs_are(c, 0, "2") && inputs_are(c, 1, "") && c->move);
	lsm_compaction_free(c);
	lsm_files_unref(files);
	draw(1, 1, "a", "c", 40);
	draw(1, 2, "d", "f", 80);
	draw(2, 11, "a", "b", 30);
	draw(3, 12, "d", "e", 170);
	files = drawn();
	MUST(lsm_pick(&options, files, NULL, &c, &err), &err);
	CHECK(inputs_are(c, 0, "2") && !c->move);
	lsm_compaction_free(c);
	lsm_files_unref(files);

	/* files that share a user key are never torn apart, neither above nor below */
	draw(1, 1, "a", "c", 40);
	draw(1, 2, "c", "f", 40);
	draw(1, 3, "g", "i", 40);
	draw(2, 12, "f", "h", 90);
	draw(2, 13, "h", "j", 90);
	files = drawn();
	MUST(lsm_pick_range(&options, files, 1, text("d"), text("e"), 1, &c, &err), &err);
	CHECK(inputs_are(c, 0, "1 2") && inputs_are(c, 1, "12 13"));
	lsm_compaction_free(c);
	MUST(lsm_pick_range(&options, files, 1, text("j"), text(""), 1, &c, &err), &err);
	CHECK(c == NULL);
	MUST(lsm_pick_range(&options, files, 1, text(""), text(""), 1000000, &c, &err), &err);
	CHECK(inputs_are(c, 0, "1 2 3"));
	lsm_compaction_free(c);
	/* a rewrite stays in its level, with the same care */
	MUST(lsm_pick_rewrite(&options, files, 1, 2, &c, &err), &err);
	CHECK(c->level == 1 && c->output_level == 1 && inputs_are(c, 0, "1 2") && inputs_are(c, 1, "") && !c->move);
	lsm_compaction_free(c);
	MUST(lsm_pick_rewrite(&options, files, 1, 77, &c, &err), &err);
	CHECK(c == NULL);
	lsm_files_unref(files);

	/* nothing is too large, but one file is mostly deletions, and something lies beneath it */
	draw(1, 1, "a", "c", 20);
	draw(1, 2, "d", "f", 20);
	draw(2, 3, "g", "i", 40);
	draw(3, 4, "e", "e", 800);
	files = drawn();
	for (int i = 0; i < 2; i++)
	{
		files->levels[1].files[i]->asked = true;
		files->levels[1].files[i]->props.entries = 10;
		files->levels[1].files[i]->props.deletions = 4;
	}
	files->levels[2].files[0]->asked = true;
	files->levels[2].files[0]->props.entries = files->levels[2].files[0]->props.deletions = 10;
	MUST(lsm_pick(&options, files, NULL, &c, &err), &err);
	CHECK(c == NULL);
	files->levels[1].files[0]->props.deletions = files->levels[1].files[1]->props.deletions = 5;
	MUST(lsm_pick(&options, files, NULL, &c, &err), &err);
	CHECK(c != NULL && inputs_are(c, 0, "2") && inputs_are(c, 1, ""));
	lsm_compaction_free(c);
	lsm_files_unref(files);

	/* so in level 0, together with what overlaps it there */
	draw(0, 5, "a", "c", 20);
	draw(0, 6, "e", "f", 20);
	draw(0, 7, "d", "e", 20);
	draw(1, 4, "e", "e", 80);
	files = drawn();
	for (int i = 0; i < 3; i++)
	{
		files->levels[0].files[i]->asked = true;
		files->levels[0].files[i]->props.entries = 10;
		files->levels[0].files[i]->props.deletions = files->levels[0].files[i]->number == 6 ? 4 : 5;
	}
	MUST(lsm_pick(&options, files, NULL, &c, &err), &err);
	CHECK(c != NULL && c->level == 0 && inputs_are(c, 0, "6 7") && inputs_are(c, 1, "4"));
	lsm_compaction_free(c);
	lsm_files_unref(files);

	/* level 0 is not moved when level 1 wants another compression */
	options.level0_compression = LSM_COMPRESS_SNAPPY;
	for (uint64_t i = 1; i <= 4; i++)
	{
		char key[2] = {(char) ('a' + i), 0};

		draw(0, i, key, key, 1);
	}
	files = drawn();
	MUST(lsm_pick(&options, files, NULL, &c, &err), &err);
	CHECK(inputs_are(c, 0, "1") && !c->move);
	lsm_compaction_free(c);
	options.level0_compression = options.table.compression;
	MUST(lsm_pick(&options, files, NULL, &c, &err), &err);
	CHECK(inputs_are(c, 0, "1") && c->move);
	lsm_compaction_free(c);
	lsm_files_unref(files);
}

/* Another's merge of these inputs, of the range that they and nothing else take. */
static void
busy_with(LsmBusy *busy, const LsmCompaction *c)
{
	lsm_claim_of(c, &busy->claims[busy->n++]);
	busy->leaving[c->level] += c->ninputs[0];
	for (int i = 0; i < c->ninputs[0]; i++)
		busy->leaving_bytes[c->level] += c->inputs[0][i]->size;
}

static void
test_pick_beside_others(void)
{
	LsmBusy busy = {0};
	LsmCompaction *c;
	LsmFiles *files;
	char long_key[400];
	LsmError err;

	reset_options();
	options.level1_size = 100000;
	options.level_factor = 2;
	options.memtable_size = 4 << 10;
	options.level0_compact = 2;

	/* level 0: the oldest and what overlaps it; then the others; 5 waits for the former, for it overlaps them */
	draw(0, 1, "a", "c", 10);
	draw(0, 2, "b", "d", 10);
	draw(0, 3, "p", "r", 10);
	draw(0, 4, "q", "s", 10);
	draw(1, 11, "c", "e", 10);
	draw(1, 12, "s", "t", 10);
	files = drawn();
	MUST(lsm_pick(&options, files, &busy, &c, &err), &err);
	CHECK(inputs_are(c, 0, "1 2") && inputs_are(c, 1, "11"));
	busy_with(&busy, c);
	lsm_compaction_free(c);
	MUST(lsm_pick(&options, files, &busy, &c, &err), &err);
	CHECK(inputs_are(c, 0, "3 4") && inputs_are(c, 1, "12"));
	busy_with(&busy, c);
	lsm_compaction_free(c);
	MUST(lsm_pick(&options, files, &busy, &c, &err), &err);
	CHECK(c == NULL);
	lsm_files_unref(files);

	/* a claim reaches as far as the files below: e, though the file above ends at d */
	CHECK(lsm_busy_meets(&busy, 1, 2, text("e"), text("f")) && !lsm_busy_meets(&busy, 1, 2, text("ea"), text("o")));
	CHECK(!lsm_busy_meets(&busy, 2, 3, text("a"), text("z")));
	/* keys that begin alike for longer than is kept meet */
	memset(long_key, 'l', sizeof(long_key));
	lsm_key_head(&busy.claims[0].last, lsm_slice(long_key, 300));
	CHECK(lsm_busy_meets(&busy, 1, 1, lsm_slice(long_key, 400), text("m")));
	CHECK(lsm_busy_meets(&busy, 1, 1, lsm_slice(long_key, 256), text("m")));
	CHECK(!lsm_busy_meets(&busy, 1, 1, text("m"), text("m")));

	/* level 1: the best file of which nothing is busy; what leaves it counts as gone */
	memset(&busy, 0, sizeof(busy));
	draw(1, 1, "a", "c", 90);
	draw(1, 2, "d", "f", 80);
	draw(1, 3, "g", "i", 100);
	draw(2, 4, "b", "e", 50);
	draw(2, 5, "h", "h", 100);
	files = drawn();
	MUST(lsm_pick(&options, files, &busy, &c, &err), &err);
	CHECK(c->level == 1 && inputs_are(c, 0, "1") && inputs_are(c, 1, "4"));
	busy_with(&busy, c);
	lsm_compaction_free(c);
	/* 2 lies over 4, which is busy */
	MUST(lsm_pick(&options, files, &busy, &c, &err), &err);
	CHECK(c->level == 1 && inputs_are(c, 0, "3") && inputs_are(c, 1, "5"));
	busy_with(&busy, c);
	lsm_compaction_free(c);
	MUST(lsm_pick(&options, files, &busy, &c, &err), &err);
	CHECK(c == NULL);
	lsm_files_unref(files);

	/*
	 * Level 0 is due more than level 1, and 2 is in its way: so nothing of level 1 may begin that would be in its way
	 * after that, but something of level 2 may.
	 */
	memset(&busy, 0, sizeof(busy));
	draw(1, 2, "a", "c", 60);
	draw(2, 3, "c", "d", 10);
	files = drawn();
	MUST(lsm_pick_file(&options, files, 2, &c, &err), &err);
	busy_with(&busy, c);
	lsm_compaction_free(c);
	lsm_files_unref(files);
	for (uint64_t i = 20; i < 40; i++)
		draw(0, i, "a", "z", 1);
	draw(1, 2, "a", "c", 60);
	draw(1, 1, "e", "k", 100);
	draw(2, 3, "c", "d", 10);
	draw(2, 5, "x", "x", 300);
	draw(3, 7, "n", "n", 300);
	files = drawn();
	MUST(lsm_pick(&options, files, &busy, &c, &err), &err);
	CHECK(c != NULL && c->level == 2 && c->output_level == 3 && inputs_are(c, 0, "5"));
	busy_with(&busy, c);
	lsm_compaction_free(c);
	MUST(lsm_pick(&options, files, &busy, &c, &err), &err);
	CHECK(c == NULL);
	/* with level 0 not due, level 1 goes on */
	options.level0_compact = 100;
	options.level0_slow = 101;
	options.level0_stop = 102;
	MUST(lsm_pick(&options, files, &busy, &c, &err), &err);
	CHECK(c != NULL && c->level == 1 && inputs_are(c, 0, "1"));
	lsm_compaction_free(c);
	lsm_files_unref(files);
}

static void
test_shape(void)
{
	LsmCompaction *c;
	LsmFiles *files;
	LsmShape shape;
	LsmError err;

	reset_options();
	options.level1_size = 100000;
	options.memtable_size = 4 << 10; /* so 4 KB are worth a level */

	/* an empty store begins with level 1, and stays there until that is full */
	files = drawn();
	lsm_shape_of(&options, files, &shape);
	CHECK(shape.base == 1 && shape.bottom == 1 && shape.target[1] == 100000);
	lsm_files_unref(files);

	/* level 2 is new: all of level 1 is above its share, and moves */
	draw(1, 1, "a", "b", 90);
	draw(2, 2, "c", "d", 16);
	files = drawn();
	lsm_shape_of(&options, files, &shape);
	CHECK(shape.base == 1 && shape.target[1] == 106000 * 3 / 16 && shape.target[2] == 400000);
	CHECK(lsm_shape_score(&options, &shape, 1, files->levels[1].n, files->levels[1].bytes) > 3);
	CHECK(lsm_compaction_debt(&options, files) == 90000 - 106000 * 3 / 16);
	lsm_files_unref(files);

	/* level 1's share is not worth a level: level 0 goes straight into level 2 */
	draw(2, 2, "a", "c", 12);
	for (uint64_t i = 3; i <= 6; i++)
		draw(0, i, "b", "d", 4);
	files = drawn();
	lsm_shape_of(&options, files, &shape);
	CHECK(shape.base == 2 && shape.target[1] == 0);
	MUST(lsm_pick(&options, files, NULL, &c, &err), &err);
	CHECK(c != NULL && c->level == 0 && c->output_level == 2 && inputs_are(c, 1, "2"));
	lsm_compaction_free(c);
	lsm_files_unref(files);

	/* but through level 1 while that holds anything, which goes down before level 0 is much above its limit */
	draw(1, 1, "a", "b", 1);
	draw(2, 2, "a", "c", 12);
	for (uint64_t i = 3; i <= 7; i++)
		draw(0, i, "b", "d", 4);
	files = drawn();
	lsm_shape_of(&options, files, &shape);
	CHECK(shape.base == 1 && shape.target[1] == 0);
	MUST(lsm_pick(&options, files, NULL, &c, &err), &err);
	CHECK(c != NULL && c->level == 1 && inputs_are(c, 0, "1") && inputs_are(c, 1, "2"));
	lsm_compaction_free(c);
	lsm_files_unref(files);

	/* the last level takes what comes */
	draw(6, 1, "a", "b", 4000000);
	files = drawn();
	lsm_shape_of(&options, files, &shape);
	CHECK(shape.bottom == 6 && shape.base == 1 && shape.target[5] == 750000000);
	CHECK(lsm_shape_score(&options, &shape, 6, files->levels[6].n, files->levels[6].bytes) == 0);
	lsm_files_unref(files);
}

int
main(void)
{
	test_pick();
	test_pick_beside_others();
	test_shape();
	return test_done();
}
