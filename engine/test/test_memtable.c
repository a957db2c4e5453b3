/*
 * test_memtable.c - the skiplist.
 *
 * Invariants: the entries are those that were added, in the order of internal
 * keys, in both directions; a seek finds the first entry not before its target;
 * get visits a key's versions from the newest allowed to the oldest; rooms never
 * overlap, and a reserve fails only when there is too little left.  All of it
 * while others insert: a reader sees everything that was added before it began,
 * never anything half made or out of order.  The arena may be mapped elsewhere.
 * Where a finger lies makes no difference to what is found.
 */
#define _GNU_SOURCE
#include "engine/test/test.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/coding.h"
#include "engine/memtable.h"

static LsmMemtable *
new_memtable(size_t size)
{
	void *mem = aligned_alloc(64, (size + 63) & ~(size_t) 63);

	memset(mem, 0xa5, size); /* init must not rely on zeros */
	return lsm_memtable_init(mem, size);
}

static LsmSlice
text(const char *s)
{
	return lsm_slice(s, strlen(s));
}

static bool
add(LsmMemtable *mt, const char *key, uint64_t seq, LsmType type, const char *value)
{
	LsmMemRoom room;

	if (!lsm_memtable_reserve(mt, lsm_memtable_cost(strlen(key), strlen(value)), 1, &room))
		return false;
	lsm_memtable_add(mt, &room, seq, type, text(key), text(value));
	return true;
}

/* ---- get ---- */

typedef struct Seen
{
	int count;
	int stop_after;
	char log[256];
	volatile uint8_t *hint;
} Seen;

static bool
see(void *arg, LsmSlice ikey, LsmSlice value, volatile uint8_t *hint)
{
	Seen *seen = arg;
	LsmSlice user = lsm_ikey_user(ikey);
	size_t len = strlen(seen->log);

	snprintf(seen->log + len, sizeof(seen->log) - len, "%.*s@%d%s=%.*s ", (int) user.len, user.data,
			 (int) lsm_ikey_seq(ikey), lsm_ikey_type(ikey) == LSM_TYPE_DELETION ? "-" : "", (int) value.len, value.data);
	seen->hint = hint;
	return ++seen->count != seen->stop_after;
}

static bool
get_is(LsmMemtable *mt, const char *key, uint64_t max_seq, int stop_after, const char *expected)
{
	Seen seen = {.stop_after = stop_after};
	bool to_the_end = lsm_memtable_get(mt, NULL, text(key), max_seq, see, &seen);

	if (strcmp(seen.log, expected) != 0)
		fprintf(stderr, "get %s: \"%s\"\n", key, seen.log);
	return strcmp(seen.log, expected) == 0 && to_the_end == (stop_after == 0 || seen.count < stop_after);
}

static void
test_get(void)
{
	LsmMemtable *mt = new_memtable(10000);
	Seen seen = {.stop_after = 1};
	LsmIter *it = lsm_memtable_iter(mt);
	LsmIter *other = lsm_iter_empty(LSM_OK, NULL);

	CHECK(get_is(mt, "a", LSM_MAX_SEQUENCE, 0, ""));
	CHECK(!it->valid && it->status == LSM_OK && lsm_memtable_iter_hint(it) == NULL);
	lsm_iter_seek_first(it);
	CHECK(!it->valid);
	lsm_iter_seek_last(it);
	CHECK(!it->valid);

	CHECK(add(mt, "b", 5, LSM_TYPE_VALUE, "five"));
	CHECK(add(mt, "bb", 6, LSM_TYPE_VALUE, "six"));
	CHECK(add(mt, "a", 7, LSM_TYPE_VALUE, ""));
	CHECK(add(mt, "b", 9, LSM_TYPE_DELETION, ""));
	CHECK(add(mt, "b", 2, LSM_TYPE_VALUE, "two"));
	CHECK(add(mt, "", 3, LSM_TYPE_VALUE, "empty"));
	CHECK(get_is(mt, "b", LSM_MAX_SEQUENCE, 0, "b@9-= b@5=five b@2=two "));
	CHECK(get_is(mt, "b", 9, 1, "b@9-= "));
	CHECK(get_is(mt, "b", 8, 0, "b@5=five b@2=two "));
	CHECK(get_is(mt, "b", 5, 1, "b@5=five "));
	CHECK(get_is(mt, "b", 4, 0, "b@2=two "));
	CHECK(get_is(mt, "b", 1, 0, ""));
	CHECK(get_is(mt, "bb", LSM_MAX_SEQUENCE, 0, "bb@6=six "));
	CHECK(get_is(mt, "a", LSM_MAX_SEQUENCE, 0, "a@7= "));
	CHECK(get_is(mt, "ab", LSM_MAX_SEQUENCE, 0, ""));
	CHECK(get_is(mt, "c", LSM_MAX_SEQUENCE, 0, ""));
	CHECK(get_is(mt, "", LSM_MAX_SEQUENCE, 0, "@3=empty "));
	CHECK(!lsm_memtable_get(mt, NULL, (LsmSlice){NULL, 0}, LSM_MAX_SEQUENCE, see, &seen) && seen.count == 1);
	CHECK(lsm_memtable_entries(mt) == 6);
	CHECK(lsm_memtable_size(mt) == 10000);

	/* the hint byte: 0 at first, one per version, the same by get and by iterator */
	memset(&seen, 0, sizeof(seen));
	lsm_memtable_get(mt, NULL, text("b"), 5, see, &seen); /* ends on b@2 */
	CHECK(*seen.hint == 0);
	*seen.hint = 7;
	lsm_iter_seek_first(it); /* "" a b@9 b@5 b@2 bb */
	for (int i = 0; i < 4; i++)
	{
		CHECK(it->valid && *lsm_iter_hint(it) == 0 && lsm_memtable_iter_hint(it) == lsm_iter_hint(it));
		lsm_iter_next(it);
	}
	CHECK(*lsm_iter_hint(it) == 7 && it->value.len == 3 && lsm_iter_hint(it) == seen.hint);
	CHECK(lsm_memtable_iter_hint(other) == NULL && lsm_iter_hint(other) == NULL);
	CHECK(get_is(mt, "b", 4, 0, "b@2=two "));
	lsm_iter_close(it);
	lsm_iter_close(other);
	free(mt);
}

/* ---- stepping over ---- */

static bool
is_dead(void *arg, LsmSlice value, volatile uint8_t *hint)
{
	(void) hint;
	++*(int *) arg;
	return value.data[0] == 'x';
}

static void
test_step_over(void)
{
	LsmMemtable *mt = new_memtable(1 << 20);
	LsmIter *it = lsm_memtable_iter(mt);
	char expected[64];
	int asked = 0;
	int n = 0;

	/* nothing there, one version, the newest of all: nothing to do */
	lsm_memtable_step_over(mt, text("k"), is_dead, &asked);
	CHECK(add(mt, "k", 1, LSM_TYPE_VALUE, "live"));
	lsm_memtable_step_over(mt, text("k"), is_dead, &asked);
	lsm_memtable_step_over(mt, text("j"), is_dead, &asked);
	CHECK(asked == 0);
	CHECK(add(mt, "j", 2, LSM_TYPE_VALUE, "x") && add(mt, "l", 3, LSM_TYPE_VALUE, "x"));
	CHECK(add(mt, "k", 4, LSM_TYPE_VALUE, "x"));
	lsm_memtable_step_over(mt, text("k"), is_dead, &asked);
	CHECK(asked == 1);
	CHECK(get_is(mt, "k", LSM_MAX_SEQUENCE, 0, "k@4=x k@1=live "));

	/* of many dead ones the newest and the oldest stay, and it never gets many again */
	for (uint64_t seq = 5; seq < 2000; seq++)
	{
		CHECK(add(mt, "k", seq, LSM_TYPE_VALUE, "x"));
		asked = 0;
		lsm_memtable_step_over(mt, text("k"), is_dead, &asked);
		CHECK(asked <= 3);
		if (seq % 100 == 0)
		{
			snprintf(expected, sizeof(expected), "k%d", (int) seq);
			CHECK(add(mt, expected, seq, LSM_TYPE_VALUE, "neighbour"));
		}
	}
	CHECK(get_is(mt, "k", LSM_MAX_SEQUENCE, 0, "k@1999=x k@4=x k@1=live "));
	CHECK(get_is(mt, "k", 3, 0, "k@1=live "));
	CHECK(get_is(mt, "l", LSM_MAX_SEQUENCE, 0, "l@3=x "));
	CHECK(get_is(mt, "j", LSM_MAX_SEQUENCE, 0, "j@2=x "));
	CHECK(get_is(mt, "k100", LSM_MAX_SEQUENCE, 0, "k100@100=neighbour "));

	/* a live one above them; those below a live one are left alone */
	CHECK(add(mt, "k", 3000, LSM_TYPE_VALUE, "new"));
	lsm_memtable_step_over(mt, text("k"), is_dead, &asked);
	CHECK(get_is(mt, "k", LSM_MAX_SEQUENCE, 0, "k@3000=new k@4=x k@1=live "));
	CHECK(add(mt, "k", 3001, LSM_TYPE_VALUE, "newer") && add(mt, "k", 3002, LSM_TYPE_VALUE, "newest"));
	lsm_memtable_step_over(mt, text("k"), is_dead, &asked);
	CHECK(get_is(mt, "k", LSM_MAX_SEQUENCE, 0, "k@3002=newest k@3001=newer k@3000=new k@4=x k@1=live "));

	/* forward everything that is needed once, in order; backward, too, perhaps with others between */
	lsm_iter_seek_first(it);
	for (; it->valid; lsm_iter_next(it))
		n++;
	CHECK(n == 2 + 5 + 19);
	n = 0;
	for (lsm_iter_seek_last(it); it->valid; lsm_iter_prev(it))
		n += it->value.data[0] != 'x';
	CHECK(n == 4 + 19);
	lsm_iter_close(it);
	free(mt);
}

/* An iterator that holds nothing but a status. */
static void
test_empty_iterator(void)
{
	LsmError err;
	LsmStatus status = lsm_fail(&err, LSM_CORRUPT, 0, "x", 5, "bad");
	LsmIter *it = lsm_iter_empty(status, &err);

	lsm_iter_seek_first(it);
	lsm_iter_seek_last(it);
	lsm_iter_seek(it, lsm_slice("12345678", 8));
	CHECK(!it->valid && it->status == LSM_CORRUPT && it->err.offset == 5 && strcmp(it->err.file, "x") == 0);
	lsm_iter_close(it);
}

/* ---- against a sorted array ---- */

typedef struct Entry
{
	LsmBuf ikey;
	uint32_t value_len; /* the value's bytes follow from the sequence */
} Entry;

static unsigned char
value_byte(uint64_t seq, size_t i)
{
	return (unsigned char) (seq * 131 + i);
}

static int
entry_order(const void *a, const void *b)
{
	return lsm_ikey_compare(lsm_buf_slice(&((const Entry *) a)->ikey), lsm_buf_slice(&((const Entry *) b)->ikey));
}

static bool
stands_on(LsmIter *it, const Entry *entry)
{
	LsmSlice ikey = lsm_buf_slice(&entry->ikey);

	if (!it->valid || it->key.len != ikey.len || memcmp(it->key.data, ikey.data, ikey.len) != 0 ||
		it->value.len != entry->value_len)
		return false;
	for (size_t i = 0; i < it->value.len; i++)
		if ((unsigned char) it->value.data[i] != value_byte(lsm_ikey_seq(ikey), i))
			return false;
	return true;
}

/* Keys with shared beginnings, of all lengths from 0, with bytes 0 and 255, and often equal. */
static size_t
random_key(uint64_t *rnd, char *key)
{
	static const char bytes[] = {0, 'a', 'b', (char) 255};
	size_t len = test_random(rnd) % 7;

	if (test_random(rnd) % 50 == 0)
		len = 300;
	for (size_t i = 0; i < len; i++)
		key[i] = bytes[test_random(rnd) % 4];
	return len;
}

static void
compare_walks(LsmIter *it, const Entry *entries, int n, uint64_t *rnd)
{
	int wrong = 0, at = -1;

	lsm_iter_seek_first(it);
	for (int i = 0; i < n; i++, lsm_iter_next(it))
		wrong += !stands_on(it, &entries[i]);
	wrong += it->valid;
	lsm_iter_seek_last(it);
	for (int i = n - 1; i >= 0; i--, lsm_iter_prev(it))
		wrong += !stands_on(it, &entries[i]);
	wrong += it->valid;
	CHECK(wrong == 0);

	/* to and fro */
	for (int step = 0; step < 4 * n; step++)
	{
		uint64_t what = test_random(rnd) % 20;

		if (what == 0 || at < 0 || at >= n)
		{
			char key[320];
			Entry target = {0};
			size_t len = random_key(rnd, key);

			lsm_ikey_append(&target.ikey, lsm_slice(key, len), test_random(rnd) % (uint64_t) (n + 2), LSM_TYPE_FOR_SEEK);
			lsm_iter_seek(it, lsm_buf_slice(&target.ikey));
			for (at = 0; at < n && entry_order(&entries[at], &target) < 0;)
				at++;
			lsm_buf_free(&target.ikey);
		}
		else if (what < 11)
		{
			lsm_iter_next(it);
			at++;
		}
		else
		{
			lsm_iter_prev(it);
			at--;
		}
		wrong += at >= 0 && at < n ? !stands_on(it, &entries[at]) : it->valid;
	}
	CHECK(wrong == 0);
}

static bool
collect(void *arg, LsmSlice ikey, LsmSlice value, volatile uint8_t *hint)
{
	(void) value;
	(void) hint;
	return lsm_buf_append(arg, ikey.data, ikey.len);
}

static int
order_of_keys(const void *a, const void *b)
{
	const Entry *x = a;
	const Entry *y = b;

	return lsm_slice_compare(lsm_buf_slice(&x->ikey), lsm_buf_slice(&y->ikey));
}

/* The same lookups with a finger, which goes from one to the next, and without; in order of the keys, or in any. */
static void
compare_fingers(LsmMemtable *mt, LsmMemFinger *finger, uint64_t *rnd)
{
	Entry keys[20] = {0};
	int n = 1 + (int) (test_random(rnd) % 20);
	int wrong = 0;

	for (int i = 0; i < n; i++)
	{
		char key[320];

		lsm_buf_set(&keys[i].ikey, key, random_key(rnd, key));
	}
	if (test_random(rnd) % 4 > 0)
		qsort(keys, (size_t) n, sizeof(Entry), order_of_keys);
	for (int i = 0; i < n; i++)
	{
		uint64_t max_seq = test_random(rnd) % 2 ? LSM_MAX_SEQUENCE : test_random(rnd) % 900;
		LsmBuf with = {0}, without = {0};

		lsm_memtable_get(mt, finger, lsm_buf_slice(&keys[i].ikey), max_seq, collect, &with);
		lsm_memtable_get(mt, NULL, lsm_buf_slice(&keys[i].ikey), max_seq, collect, &without);
		wrong += lsm_slice_compare(lsm_buf_slice(&with), lsm_buf_slice(&without)) != 0;
		lsm_buf_free(&with);
		lsm_buf_free(&without);
		lsm_buf_free(&keys[i].ikey);
	}
	CHECK(wrong == 0);
}

static void
test_random_entries(uint64_t seed, int n)
{
	LsmMemtable *mt = new_memtable(1 << 20);
	LsmMemFinger finger = {{0}, 0}, writers = {{0}, 0};
	size_t empty = lsm_memtable_used(mt), costs = 0;
	Entry *entries = calloc((size_t) n, sizeof(Entry));
	uint64_t rnd = seed;
	int batches = 0;
	LsmIter *it;

	for (int i = 0; i < n;)
	{
		/* a batch of 1 to 20 entries in one room */
		int batch = 1 + (int) (test_random(&rnd) % 20);
		char keys[20][320], value[300];
		size_t lens[20], cost = 0;
		LsmMemRoom room;

		if (batch > n - i)
			batch = n - i;
		for (int j = 0; j < batch; j++)
		{
			lens[j] = random_key(&rnd, keys[j]);
			entries[i + j].value_len = (uint32_t) (test_random(&rnd) % (test_random(&rnd) % 2 ? 9 : 300));
			cost += lsm_memtable_cost(lens[j], entries[i + j].value_len);
		}
		CHECK(lsm_memtable_reserve(mt, cost, (uint32_t) batch, &room));
		if (test_random(&rnd) % 2)
			room.finger = test_random(&rnd) % 2 ? finger : writers;
		costs += cost;
		batches++;
		for (int j = 0; j < batch; j++, i++)
		{
			uint64_t seq = (uint64_t) i + 1;
			LsmType type = test_random(&rnd) % 4 ? LSM_TYPE_VALUE : LSM_TYPE_DELETION;

			for (size_t b = 0; b < entries[i].value_len; b++)
				value[b] = (char) value_byte(seq, b);
			lsm_memtable_add(mt, &room, seq, type, lsm_slice(keys[j], lens[j]), lsm_slice(value, entries[i].value_len));
			lsm_ikey_append(&entries[i].ikey, lsm_slice(keys[j], lens[j]), seq, type);
			memset(keys[j], 0xee, lens[j]); /* the memtable made a copy */
		}
		CHECK(room.next <= room.end);
		writers = room.finger;
		compare_fingers(mt, &finger, &rnd);
	}
	qsort(entries, (size_t) n, sizeof(Entry), entry_order);
	CHECK(lsm_memtable_entries(mt) == (uint64_t) n);
	CHECK(lsm_memtable_used(mt) - empty <= costs + (size_t) batches * 32 * 48); /* 32 towers of 14 */
	it = lsm_memtable_iter(mt);
	compare_walks(it, entries, n, &rnd);
	lsm_iter_close(it);
	for (int i = 0; i < n; i++)
		lsm_buf_free(&entries[i].ikey);
	free(entries);
	free(mt);
}

/* ---- the arena's end ---- */

static void
test_full(uint64_t seed)
{
	for (int size = 256; size < 1400; size += 1 + (int) (test_random(&seed) % 13))
	{
		LsmMemtable *mt = new_memtable((size_t) size);
		int added = 0, found = 0, wrong = 0;
		LsmIter *it = lsm_memtable_iter(mt);

		for (;;)
		{
			int n = 1 + (int) (test_random(&seed) % 3);
			size_t cost = (size_t) n * lsm_memtable_cost(3, 8);
			size_t left = lsm_memtable_size(mt) - lsm_memtable_used(mt);
			uint32_t before = (uint32_t) lsm_memtable_used(mt);
			LsmMemRoom room;

			/* fails exactly when there is not that much left, and then changes nothing */
			if (!lsm_memtable_reserve(mt, cost, (uint32_t) n, &room))
			{
				wrong += cost <= left || lsm_memtable_used(mt) != before;
				break;
			}
			wrong += cost > left || room.next != before || room.end != lsm_memtable_used(mt);
			for (int i = 0; i < n; i++)
			{
				char key[16];

				snprintf(key, sizeof(key), "%03d", (added * 7) % 1000);
				lsm_memtable_add(mt, &room, (uint64_t) ++added, LSM_TYPE_VALUE, text(key), text("12345678"));
			}
			wrong += room.next > room.end || lsm_memtable_used(mt) > lsm_memtable_size(mt);
		}
		for (lsm_iter_seek_first(it); it->valid; lsm_iter_next(it))
			found++;
		wrong += found != added;
		if (wrong)
			fprintf(stderr, "size %d: %d wrong, %d of %d found\n", size, wrong, found, added);
		CHECK(wrong == 0);
		lsm_iter_close(it);
		free(mt);
	}
	{
		LsmMemtable *mt = new_memtable(4096);
		LsmMemRoom room;

		CHECK(!lsm_memtable_reserve(mt, SIZE_MAX, 1, &room) && !lsm_memtable_reserve(mt, (size_t) UINT32_MAX + 1, 1, &room));
		CHECK(lsm_memtable_reserve(mt, 0, 0, &room) && room.next == room.end);
		/* a low tower takes less than it costs */
		CHECK(lsm_memtable_reserve(mt, 4096 - lsm_memtable_used(mt), 1, &room) && lsm_memtable_used(mt) >= 4096 - 4);
		CHECK(!lsm_memtable_reserve(mt, 4096 - lsm_memtable_used(mt) + 1, 1, &room));
		free(mt);
	}
}

/* The number at the end and in the middle of keys of 2 to 38 bytes. */
static LsmSlice
number_key(char key[64], int n)
{
	snprintf(key, 64, "%0*d%0*d", n % 16, n, n % 24, n);
	return text(key);
}

/* No key is missed, whatever its length and however full the memtable; few that are not there pass. */
static void
test_filter(void)
{
	const size_t sizes[] = {4 << 10, 1 << 20};

	for (int i = 0; i < 2; i++)
	{
		LsmMemtable *mt = new_memtable(sizes[i]);
		char key[64];
		int n = 0;
		int missed = 0;
		int passed = 0;

		for (int len = 0; len < 20; len++)
			CHECK(!lsm_memtable_may_have(mt, lsm_slice("01234567890123456789", (size_t) len)));
		/* every second number */
		while (add(mt, number_key(key, 2 * n).data, (uint64_t) n + 1, LSM_TYPE_VALUE, "a value of half a hundred bytes, as many have or more"))
			n++;
		CHECK(n > (int) (sizes[i] / 160));
		for (int j = 0; j < n; j++)
		{
			missed += !lsm_memtable_may_have(mt, number_key(key, 2 * j));
			passed += lsm_memtable_may_have(mt, number_key(key, 2 * j + 1));
		}
		if (missed > 0 || passed > n / 25)
			fprintf(stderr, "of %d keys %d missed; of %d others %d passed\n", n, missed, n, passed);
		CHECK(missed == 0 && passed <= n / 25);
		free(mt);
	}
}

/* Nothing of a room is wasted when each entry is its own batch: what the benchmark's figures rest on. */
static void
test_waste(void)
{
	LsmMemtable *mt = new_memtable(1 << 20);
	size_t empty = lsm_memtable_used(mt);
	int n = 0;
	char key[32];

	for (; n < 5000; n++)
	{
		snprintf(key, sizeof(key), "key-%012d", n);
		CHECK(add(mt, key, (uint64_t) n + 1, LSM_TYPE_VALUE, "12345678901234567890"));
	}
	/* 16 of key, 8 of trailer, 20 of value; less than 20 for header, tower and alignment */
	CHECK((lsm_memtable_used(mt) - empty) / (size_t) n < 44 + 20);
	free(mt);
}

/*
 * In batches of two each entry's tower is as high as the other's, 3/2 links on average: neither capped, which would make
 * searches among those that always come second a walk through all of them, nor paid for and not used.
 */
static void
test_pairs(void)
{
	const int pairs = 20000;
	LsmMemtable *mt = new_memtable(8 << 20);
	size_t empty = lsm_memtable_used(mt);
	size_t body = lsm_memtable_cost(9, 1) - 2 * 4;
	size_t links;
	int high = 0;

	for (int n = 0; n < pairs; n++)
	{
		LsmMemRoom room;
		char key[32];

		CHECK(lsm_memtable_reserve(mt, 2 * lsm_memtable_cost(9, 1), 2, &room));
		snprintf(key, sizeof(key), "a%08d", n);
		lsm_memtable_add(mt, &room, (uint64_t) n * 2 + 1, LSM_TYPE_VALUE, lsm_slice(key, 9), lsm_slice("x", 1));
		key[0] = 'b';
		high += room.end - room.next > body + 2 * 4;
		lsm_memtable_add(mt, &room, (uint64_t) n * 2 + 2, LSM_TYPE_VALUE, lsm_slice(key, 9), lsm_slice("x", 1));
		CHECK(room.next == room.end);
	}
	links = (lsm_memtable_used(mt) - empty - 2 * (size_t) pairs * body) / 4;
	CHECK(links > (size_t) pairs * 2 * 7 / 5 && links < (size_t) pairs * 2 * 8 / 5);
	/* one in nine is higher than two */
	CHECK(high > pairs / 10 && high < pairs / 8);
	free(mt);
}

/* ---- threads ---- */

enum
{
	WRITERS = 4,
	READERS = 2,
	EACH = 4000,
	BATCH = 5
};

typedef struct Crowd
{
	LsmMemtable *mt;
	uint64_t seed;
	bool in_order;                  /* all add at the same place, and so fight for the same links */
	_Atomic uint32_t done[WRITERS]; /* entries of each writer that are in */
	_Atomic int wrong;
	_Atomic bool stop;
} Crowd;

typedef struct Member
{
	Crowd *crowd;
	uint32_t me;
} Member;

/* Writer and number make the key; writers' keys lie between each other's. */
static void
crowd_key(const Crowd *crowd, char *key, uint32_t writer, uint32_t i)
{
	snprintf(key, 32, "%08x%02u", crowd->in_order ? i : i * 2654435761u, writer);
}

static uint64_t
crowd_seq(uint32_t writer, uint32_t i)
{
	return (uint64_t) i * WRITERS + writer + 1;
}

/* Keeps writers that fight for one place close together: two of them are enough for a collision. */
static void
wait_for_neighbour(Crowd *crowd, uint32_t me, uint32_t i)
{
	_Atomic uint32_t *neighbour = &crowd->done[me ^ 1];

	while (atomic_load(neighbour) < i)
		sched_yield();
}

static void *
write_crowd(void *arg)
{
	Member *m = arg;
	Crowd *crowd = m->crowd;
	LsmMemFinger finger = {{0}, 0};
	char key[32];

	for (uint32_t i = 0; i < EACH; i += BATCH)
	{
		LsmMemRoom room;

		if (crowd->in_order)
			wait_for_neighbour(crowd, m->me, i);
		if (!lsm_memtable_reserve(crowd->mt, BATCH * lsm_memtable_cost(10, 10), BATCH, &room))
		{
			atomic_fetch_add(&crowd->wrong, 1);
			atomic_store(&crowd->done[m->me], EACH); /* nobody need wait */
			return NULL;
		}
		if (m->me % 2 == 0)
			room.finger = finger;
		for (uint32_t j = i; j < i + BATCH; j++)
		{
			crowd_key(crowd, key, m->me, j);
			lsm_memtable_add(crowd->mt, &room, crowd_seq(m->me, j), LSM_TYPE_VALUE, text(key), text(key));
			atomic_store_explicit(&crowd->done[m->me], j + 1, memory_order_release);
		}
		if (room.next > room.end)
			atomic_fetch_add(&crowd->wrong, 1);
		finger = room.finger;
	}
	return NULL;
}

static bool
key_is_value(LsmSlice ikey, LsmSlice value)
{
	return ikey.len == 18 && value.len == 10 && memcmp(ikey.data, value.data, 10) == 0;
}

static bool
see_once(void *arg, LsmSlice ikey, LsmSlice value, volatile uint8_t *hint)
{
	*(int *) arg += key_is_value(ikey, value) ? 1 : 100;
	__atomic_store_n(hint, 1, __ATOMIC_RELAXED);
	return true;
}

/* Walks the whole list again and again, and looks up what must be there. */
static void *
read_crowd(void *arg)
{
	Member *m = arg;
	Crowd *crowd = m->crowd;
	uint64_t rnd = crowd->seed + m->me;
	LsmIter *it = lsm_memtable_iter(crowd->mt);
	LsmMemFinger finger = {{0}, 0};
	char key[32];

	while (!atomic_load(&crowd->stop))
	{
		uint64_t before = 0, count = 0;
		LsmSlice last = {NULL, 0};

		for (uint32_t w = 0; w < WRITERS; w++)
		{
			uint32_t done = atomic_load_explicit(&crowd->done[w], memory_order_acquire);

			before += done;
			for (int i = 0; i < 50 && done > 0; i++)
			{
				int seen = 0;

				crowd_key(crowd, key, w, (uint32_t) (test_random(&rnd) % done));
				lsm_memtable_get(crowd->mt, test_random(&rnd) % 2 ? &finger : NULL, text(key), LSM_MAX_SEQUENCE, see_once, &seen);
				if (seen != 1)
					atomic_fetch_add(&crowd->wrong, 1);
			}
		}
		if (test_random(&rnd) % 2)
			for (lsm_iter_seek_first(it); it->valid; lsm_iter_next(it), count++)
			{
				if ((count > 0 && lsm_ikey_compare(last, it->key) >= 0) || !key_is_value(it->key, it->value))
					atomic_fetch_add(&crowd->wrong, 1);
				last = it->key;
			}
		else
			for (lsm_iter_seek_last(it); it->valid; lsm_iter_prev(it), count++)
			{
				if ((count > 0 && lsm_ikey_compare(last, it->key) <= 0) || !key_is_value(it->key, it->value))
					atomic_fetch_add(&crowd->wrong, 1);
				last = it->key;
			}
		if (count < before) /* backward, too: what was there before the walk is met by every search */
			atomic_fetch_add(&crowd->wrong, 1);
	}
	lsm_iter_close(it);
	return NULL;
}

static void
check_crowd(Crowd *crowd)
{
	uint32_t found[WRITERS] = {0};
	LsmMemFinger finger = {{0}, 0};
	LsmIter *it = lsm_memtable_iter(crowd->mt);
	char last[10] = "";
	int wrong = 0;

	for (lsm_iter_seek_first(it); it->valid; lsm_iter_next(it))
	{
		uint32_t w = (uint32_t) (it->key.data[9] - '0');

		wrong += !key_is_value(it->key, it->value) || memcmp(last, it->key.data, 10) >= 0 || w >= WRITERS;
		memcpy(last, it->key.data, 10);
		found[w % WRITERS]++;
	}
	lsm_iter_close(it);
	for (uint32_t w = 0; w < WRITERS; w++)
	{
		char key[32];

		CHECK(found[w] == EACH);
		for (uint32_t i = 0; i < EACH; i++)
		{
			int seen = 0;

			crowd_key(crowd, key, w, i);
			lsm_memtable_get(crowd->mt, &finger, text(key), LSM_MAX_SEQUENCE, see_once, &seen);
			wrong += seen != 1;
		}
	}
	CHECK(wrong == 0 && atomic_load(&crowd->wrong) == 0);
	CHECK(lsm_memtable_entries(crowd->mt) == WRITERS * EACH);
}

static void
test_threads(uint64_t seed, bool in_order)
{
	Crowd crowd = {.mt = new_memtable(2 << 20), .seed = seed, .in_order = in_order};
	pthread_t threads[WRITERS + READERS];
	Member members[WRITERS + READERS];

	for (uint32_t i = 0; i < WRITERS + READERS; i++)
	{
		members[i] = (Member){&crowd, i};
		pthread_create(&threads[i], NULL, i < WRITERS ? write_crowd : read_crowd, &members[i]);
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&crowd.stop, true);
	for (int i = WRITERS; i < WRITERS + READERS; i++)
		pthread_join(threads[i], NULL);
	check_crowd(&crowd);
	free(crowd.mt);
}

/* Processes, each with the arena mapped at another address. */
static void
test_processes(void)
{
	size_t size = 2 << 20;
	int fd = memfd_create("arena", 0);
	pid_t pids[WRITERS];
	Crowd crowd = {0};

	CHECK(ftruncate(fd, (off_t) size) == 0);
	crowd.mt = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	lsm_memtable_init(crowd.mt, size);
	for (uint32_t i = 0; i < WRITERS; i++)
	{
		pids[i] = fork();
		if (pids[i] == 0)
		{
			Member m = {&crowd, i};
			LsmMemtable *theirs = crowd.mt;

			crowd.mt = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
			munmap(theirs, size);
			write_crowd(&m);
			_exit(crowd.mt != theirs && atomic_load(&crowd.wrong) == 0 ? 0 : 1);
		}
	}
	for (int i = 0; i < WRITERS; i++)
	{
		int status;

		waitpid(pids[i], &status, 0);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	check_crowd(&crowd);
	munmap(crowd.mt, size);
	close(fd);
}

int
main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t) getpid() * 7919 + 1;

	printf("seed %llu\n", (unsigned long long) seed);
	fflush(stdout);
	test_get();
	test_step_over();
	test_empty_iterator();
	for (int n = 1; n < 900; n = n * 2 + 1)
		test_random_entries(seed + (uint64_t) n, n);
	test_full(seed);
	test_filter();
	test_waste();
	test_pairs();
	test_threads(seed, false);
	test_threads(seed, true);
	test_processes();
	return test_done();
}
