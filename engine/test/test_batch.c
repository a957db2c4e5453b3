/*
 * test_batch.c - groups of changes.
 *
 *   - The bytes are LevelDB's WriteBatch.
 *   - What is put in comes out, in order, with ascending sequences; joining two
 *     batches is as putting all into one.
 *   - A numbered key ends in the sequence of the record that it names, whatever the batch's is set to.
 *   - The cost is the sum of the records' costs in the memtable.
 *   - Of foreign bytes nothing is believed: cut short, counted wrong or of unknown
 *     types they are refused, without reading behind their end.
 */
#include "engine/test/test.h"

#include "engine/batch.h"
#include "engine/coding.h"
#include "engine/memtable.h"

static LsmSlice
str(const char *s)
{
	return lsm_slice(s, strlen(s));
}

static bool
is(LsmSlice s, const char *expected)
{
	return s.len == strlen(expected) && (s.len == 0 || memcmp(s.data, expected, s.len) == 0);
}

static void
test_bytes(void)
{
	LsmBatch batch = {0};
	LsmBatchReader reader;
	LsmError err;
	static const char expected[] = "\x64\0\0\0\0\0\0\0\x03\0\0\0"
								   "\x01\x03"
								   "foo"
								   "\x03"
								   "bar"
								   "\0\x03"
								   "box"
								   "\x01\x03"
								   "baz"
								   "\x05"
								   "bo"
								   "zen";

	CHECK(lsm_batch_put(&batch, str("foo"), str("bar")));
	CHECK(lsm_batch_delete(&batch, str("box")));
	CHECK(lsm_batch_put2(&batch, str("baz"), str("bo"), str("zen")));
	lsm_batch_set_sequence(&batch, 100);
	CHECK(batch.count == 3);
	CHECK(batch.rep.len == sizeof(expected) - 1 && memcmp(batch.rep.data, expected, sizeof(expected) - 1) == 0);
	CHECK(batch.memtable_cost == lsm_memtable_cost(3, 3) + lsm_memtable_cost(3, 0) + lsm_memtable_cost(3, 5));

	CHECK(lsm_batch_reader_init(&reader, lsm_buf_slice(&batch.rep)));
	CHECK(reader.left == 3);
	CHECK(lsm_batch_next(&reader, &err) == LSM_OK);
	CHECK(reader.seq == 100 && reader.type == LSM_TYPE_VALUE && is(reader.key, "foo") && is(reader.value, "bar"));
	CHECK(lsm_batch_next(&reader, &err) == LSM_OK);
	CHECK(reader.seq == 101 && reader.type == LSM_TYPE_DELETION && is(reader.key, "box") && is(reader.value, ""));
	CHECK(lsm_batch_next(&reader, &err) == LSM_OK);
	CHECK(reader.seq == 102 && reader.type == LSM_TYPE_VALUE && is(reader.key, "baz") && is(reader.value, "bozen"));
	CHECK(lsm_batch_next(&reader, &err) == LSM_NOT_FOUND);
	CHECK(lsm_batch_next(&reader, &err) == LSM_NOT_FOUND);

	/* Cleared, it begins anew; an empty one takes no sequence and joins as nothing. */
	lsm_batch_clear(&batch);
	CHECK(batch.count == 0 && batch.memtable_cost == 0);
	lsm_batch_set_sequence(&batch, 7);
	CHECK(lsm_batch_put(&batch, str(""), str("")));
	CHECK(batch.rep.len == LSM_BATCH_HEADER + 3 && lsm_get_fixed64(batch.rep.data) == 0 && batch.count == 1);
	lsm_batch_free(&batch);
	CHECK(batch.rep.data == NULL && batch.count == 0 && batch.memtable_cost == 0);
}

/* Random records into one batch, and spread over several that are joined. */
static void
test_join(uint64_t seed)
{
	static char text[70000];
	int bad = 0;

	memset(text, 'v', sizeof(text));
	for (int round = 0; round < 200; round++)
	{
		LsmBatch one = {0};
		LsmBatch joined = {0};
		LsmBatch part = {0};
		int n = (int) (test_random(&seed) % 30);

		for (int i = 0; i < n; i++)
		{
			char name[20];
			LsmSlice key;
			LsmSlice value = lsm_slice(text, test_random(&seed) % (test_random(&seed) % 20 ? 200 : sizeof(text)));
			size_t cut = test_random(&seed) % (value.len + 1);

			snprintf(name, sizeof(name), "key %d", i);
			key = str(name);
			if (test_random(&seed) % 4 == 0)
				bad += !lsm_batch_delete(&one, key) || !lsm_batch_delete(&part, key);
			else
				bad += !lsm_batch_put(&one, key, value) ||
					   !lsm_batch_put2(&part, key, lsm_slice(text, cut), lsm_slice(text, value.len - cut));
			if (test_random(&seed) % 3 == 0)
			{
				bad += !lsm_batch_join(&joined, &part);
				lsm_batch_clear(&part);
			}
		}
		bad += !lsm_batch_join(&joined, &part);
		lsm_batch_set_sequence(&one, 5);
		lsm_batch_set_sequence(&joined, 5);
		bad += one.count != joined.count || one.count != (uint32_t) n || one.memtable_cost != joined.memtable_cost ||
			   lsm_slice_compare(lsm_buf_slice(&one.rep), lsm_buf_slice(&joined.rep)) != 0;
		lsm_batch_free(&one);
		lsm_batch_free(&joined);
		lsm_batch_free(&part);
	}
	CHECK(bad == 0);
}

static void
test_numbered(void)
{
	LsmBatch batch = {0};
	LsmBatch joined = {0};
	LsmBatchReader reader;
	LsmError err;
	static const char expected[] = "\x01\x02\x03\x04\x05\x06\x07\x08\x03\0\0\0"
								   "\x01\x01"
								   "a"
								   "\x01"
								   "1"
								   "\x01\x0a"
								   "c/\x08\x07\x06\x05\x04\x03\x02\x03"
								   "\x02"
								   "xy"
								   "\x01\x09"
								   "d\x08\x07\x06\x05\x04\x03\x02\x01"
								   "\0";

	CHECK(lsm_batch_put(&batch, str("a"), str("1")));
	CHECK(lsm_batch_put_numbered(&batch, str("c/"), 2, str("xy")));
	CHECK(lsm_batch_put_numbered(&batch, str("d"), 0, str("")));
	CHECK(batch.count == 3 && lsm_batch_numbered_count(&batch) == 2);
	CHECK(batch.memtable_cost == lsm_memtable_cost(1, 1) + lsm_memtable_cost(10, 2) + lsm_memtable_cost(9, 0));
	lsm_batch_set_sequence(&batch, 77);
	lsm_batch_set_sequence(&batch, UINT64_C(0x0807060504030201));
	CHECK(batch.rep.len == sizeof(expected) - 1 && memcmp(batch.rep.data, expected, sizeof(expected) - 1) == 0);

	/* Joined, they keep the sequences that they had in their own batch. */
	lsm_batch_set_sequence(&batch, 1);
	CHECK(lsm_batch_put(&joined, str("first"), str("")) && lsm_batch_join(&joined, &batch));
	lsm_batch_set_sequence(&joined, 50);
	CHECK(lsm_batch_reader_init(&reader, lsm_buf_slice(&joined.rep)));
	for (int i = 0; i < 3; i++)
		CHECK(lsm_batch_next(&reader, &err) == LSM_OK);
	CHECK(reader.seq == 52 && reader.key.len == 10 && memcmp(reader.key.data, "c/\0\0\0\0\0\0\0\x03", 10) == 0);

	/* A cleared batch remembers none. */
	lsm_batch_clear(&batch);
	CHECK(lsm_batch_put(&batch, str("plain plain plain"), str("plain")));
	lsm_batch_set_sequence(&batch, UINT64_MAX);
	CHECK(lsm_batch_reader_init(&reader, lsm_buf_slice(&batch.rep)));
	lsm_batch_set_sequence(&batch, 9);
	CHECK(lsm_batch_reader_init(&reader, lsm_buf_slice(&batch.rep)) && lsm_batch_next(&reader, &err) == LSM_OK);
	CHECK(is(reader.key, "plain plain plain") && is(reader.value, "plain"));
	lsm_batch_free(&batch);
	lsm_batch_free(&joined);
}

/* Reads bytes of any origin from an allocation of their own; returns how it ended, and how many records came. */
static LsmStatus
read_foreign(const char *bytes, size_t len, int *came)
{
	char *copy = malloc(len ? len : 1);
	LsmBatchReader reader;
	LsmError err = {0};
	LsmStatus status = LSM_CORRUPT;
	volatile unsigned char touched = 0;

	if (len > 0)
		memcpy(copy, bytes, len);
	*came = 0;
	if (lsm_batch_reader_init(&reader, lsm_slice(copy, len)))
	{
		while ((status = lsm_batch_next(&reader, &err)) == LSM_OK)
		{
			/* Every byte handed out is ours to read. */
			for (size_t i = 0; i < reader.key.len; i++)
				touched ^= (unsigned char) reader.key.data[i];
			for (size_t i = 0; i < reader.value.len; i++)
				touched ^= (unsigned char) reader.value.data[i];
			(*came)++;
		}
		if (status == LSM_CORRUPT)
			CHECK(err.status == LSM_CORRUPT && err.text[0] != '\0');
	}
	free(copy);
	return status;
}

static void
test_foreign(uint64_t seed)
{
	LsmBatch batch = {0};
	size_t ends[5];
	int came;
	int bad = 0;
	char *rep;

	for (int i = 0; i < 5; i++)
	{
		if (!(i == 2 ? lsm_batch_delete(&batch, str("gone")) : lsm_batch_put(&batch, str("some key"), str("some value"))))
			abort();
		ends[i] = batch.rep.len;
	}
	lsm_batch_set_sequence(&batch, 1);
	rep = batch.rep.data;
	CHECK(read_foreign(rep, batch.rep.len, &came) == LSM_NOT_FOUND && came == 5);

	/* Cut off anywhere: the whole records come, then the complaint. */
	for (size_t len = 0; len < batch.rep.len; len++)
	{
		int whole = 0;

		while (ends[whole] <= len)
			whole++;
		bad += read_foreign(rep, len, &came) != LSM_CORRUPT || came != whole;
	}
	CHECK(bad == 0);

	/* Counted wrong, either way. */
	lsm_put_fixed32(rep + 8, 4);
	CHECK(read_foreign(rep, batch.rep.len, &came) == LSM_CORRUPT && came == 4);
	lsm_put_fixed32(rep + 8, 6);
	CHECK(read_foreign(rep, batch.rep.len, &came) == LSM_CORRUPT && came == 5);
	lsm_put_fixed32(rep + 8, 0);
	CHECK(read_foreign(rep, LSM_BATCH_HEADER, &came) == LSM_NOT_FOUND && came == 0);
	lsm_put_fixed32(rep + 8, 5);

	/* A type that there is not. */
	rep[ends[0]] = 2;
	CHECK(read_foreign(rep, batch.rep.len, &came) == LSM_CORRUPT && came == 1);
	rep[ends[0]] = 1;

	/* The last sequence that there can be, and one more. */
	lsm_put_fixed64(rep, LSM_MAX_SEQUENCE - 4);
	CHECK(read_foreign(rep, batch.rep.len, &came) == LSM_NOT_FOUND && came == 5);
	lsm_put_fixed64(rep, LSM_MAX_SEQUENCE - 3);
	CHECK(read_foreign(rep, batch.rep.len, &came) == LSM_CORRUPT && came == 4);
	lsm_put_fixed64(rep, 1);

	/* Any garbage: no crash, and an end. */
	for (int round = 0; round < 5000; round++)
	{
		size_t at = test_random(&seed) % batch.rep.len;
		char old = rep[at];
		LsmStatus status;

		rep[at] = (char) (test_random(&seed) >> 30);
		status = read_foreign(rep, batch.rep.len, &came);
		bad += status != LSM_CORRUPT && status != LSM_NOT_FOUND;
		rep[at] = old;
	}
	CHECK(bad == 0);

	/* More than a batch can hold is refused, and changes nothing. */
	{
		size_t before = batch.rep.len;
		LsmSlice huge = {rep, (size_t) UINT32_MAX + 1};

		CHECK(!lsm_batch_put(&batch, huge, str("")));
		CHECK(!lsm_batch_put(&batch, str(""), huge));
		CHECK(!lsm_batch_delete(&batch, huge));
		CHECK(batch.rep.len == before && batch.count == 5);
	}
	lsm_batch_free(&batch);
}

int
main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 99;

	printf("seed %llu\n", (unsigned long long) seed);
	test_bytes();
	test_numbered();
	test_join(seed);
	test_foreign(seed);
	return test_done();
}
