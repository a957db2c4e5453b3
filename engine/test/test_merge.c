/*
 * test_merge.c - merging iterators.
 *
 * Invariants: the merge of n children is their entries in one order (equal keys
 * by child), in both directions, from wherever and however it is moved; a
 * child's error ends it with that error, and a seek begins anew; while one child
 * goes ahead a step costs one comparison; a child that grows meanwhile never
 * makes an entry come twice or out of order.
 */
#include "engine/test/test.h"

#include <unistd.h>

#include "engine/coding.h"
#include "engine/iter.h"
#include "engine/keys.h"
#include "engine/memtable.h"

static int open_iterators; /* all are closed in the end, each once */

/* ---- a child over a sorted array, which fails on demand ---- */

typedef struct Item
{
	char key[16]; /* internal */
	size_t key_len;
	uint32_t id; /* the value: which entry this is */
} Item;

typedef struct ArrayIter
{
	LsmIter base;
	const Item *items;
	int n;
	int at;
	int fail_at; /* standing there is an error; -1: never */
	uint8_t hint;
	char key[16]; /* a copy that changes with every move, as a block's iterator has it */
} ArrayIter;

static LsmSlice
item_key(const Item *item)
{
	return lsm_slice(item->key, item->key_len);
}

static void
array_show(ArrayIter *it, int at)
{
	memset(it->key, 0xdd, sizeof(it->key));
	it->at = at;
	it->base.valid = at >= 0 && at < it->n;
	it->base.status = LSM_OK;
	if (it->base.valid && at == it->fail_at)
	{
		it->base.valid = false;
		it->base.status = lsm_fail(&it->base.err, LSM_CORRUPT, 0, "000007.ldb", (uint64_t) at, "bad block");
	}
	else if (it->base.valid)
	{
		memcpy(it->key, it->items[at].key, it->items[at].key_len);
		it->base.key = lsm_slice(it->key, it->items[at].key_len);
		it->base.value = lsm_slice(&it->items[at].id, sizeof(uint32_t));
	}
}

static void
array_seek_first(LsmIter *base)
{
	array_show((ArrayIter *) base, 0);
}

static void
array_seek_last(LsmIter *base)
{
	array_show((ArrayIter *) base, ((ArrayIter *) base)->n - 1);
}

static void
array_seek(LsmIter *base, LsmSlice target)
{
	ArrayIter *it = (ArrayIter *) base;
	int at = 0;

	while (at < it->n && lsm_ikey_compare(item_key(&it->items[at]), target) < 0)
		at++;
	array_show(it, at);
}

static void
array_step(LsmIter *base, int step)
{
	if (!base->valid)
	{
		fprintf(stderr, "a child was moved although it was not valid\n");
		abort();
	}
	array_show((ArrayIter *) base, ((ArrayIter *) base)->at + step);
}

static void
array_next(LsmIter *base)
{
	array_step(base, 1);
}

static void
array_prev(LsmIter *base)
{
	array_step(base, -1);
}

static void
array_close(LsmIter *base)
{
	open_iterators--;
	free(base);
}

static volatile uint8_t *
array_hint(LsmIter *base)
{
	return &((ArrayIter *) base)->hint;
}

static const LsmIterOps array_ops = {
	.seek_first = array_seek_first,
	.seek_last = array_seek_last,
	.seek = array_seek,
	.next = array_next,
	.prev = array_prev,
	.close = array_close,
	.hint = array_hint,
};

static LsmIter *
array_iter(const Item *items, int n)
{
	ArrayIter *it = calloc(1, sizeof(*it));

	it->base.ops = &array_ops;
	it->items = items;
	it->n = n;
	it->fail_at = -1;
	it->at = -1;
	open_iterators++;
	return &it->base;
}

static void
make_item(Item *item, LsmSlice user, uint64_t seq)
{
	memcpy(item->key, user.data, user.len);
	lsm_put_fixed64(item->key + user.len, lsm_pack_trailer(seq, LSM_TYPE_VALUE));
	item->key_len = user.len + LSM_TRAILER_SIZE;
}

/* ---- against the sorted whole ---- */

enum
{
	MAX_CHILDREN = 12,
	MAX_ITEMS = 60
};

typedef struct Case
{
	int nchildren;
	Item items[MAX_CHILDREN][MAX_ITEMS];
	int n[MAX_CHILDREN];
	const Item *all[MAX_CHILDREN * MAX_ITEMS]; /* ids grow with the child, so that they order equal keys */
	int nall;
	LsmIter *children[MAX_CHILDREN];
	LsmIter *merge;
} Case;

static int
item_order(const void *a, const void *b)
{
	const Item *x = a, *y = b;
	int c = lsm_ikey_compare(item_key(x), item_key(y));

	return c != 0 ? c : (x->id > y->id) - (x->id < y->id);
}

static int
item_pointer_order(const void *a, const void *b)
{
	return item_order(*(const Item *const *) a, *(const Item *const *) b);
}

/* Few different keys, so that children share them; some children empty; one may have far more than the others. */
static void
make_case(Case *c, uint64_t *rnd, int nchildren)
{
	int dominant = (int) (test_random(rnd) % MAX_CHILDREN);
	uint32_t id = 0;

	c->nchildren = nchildren;
	c->nall = 0;
	for (int i = 0; i < nchildren; i++)
	{
		int n = (int) (test_random(rnd) % (i == dominant ? MAX_ITEMS : 12));
		Item *items = c->items[i];

		for (int j = 0; j < n; j++)
		{
			char user[3] = {(char) ('a' + test_random(rnd) % 4), (char) test_random(rnd), 'x'};

			make_item(&items[j], lsm_slice(user, 1 + test_random(rnd) % 3), 1 + test_random(rnd) % 4);
			items[j].id = 0;
		}
		qsort(items, (size_t) n, sizeof(Item), item_order);
		c->n[i] = 0;
		for (int j = 0; j < n; j++) /* within one child keys are unique */
			if (c->n[i] == 0 || lsm_ikey_compare(item_key(&items[j]), item_key(&items[c->n[i] - 1])) != 0)
				items[c->n[i]++] = items[j];
		for (int j = 0; j < c->n[i]; j++)
		{
			items[j].id = id++;
			c->all[c->nall++] = &items[j];
		}
		c->children[i] = array_iter(items, c->n[i]);
	}
	qsort(c->all, (size_t) c->nall, sizeof(c->all[0]), item_pointer_order);
	c->merge = lsm_merge_iter(c->children, nchildren);
}

static bool
stands_on(LsmIter *it, const Item *item)
{
	uint32_t id;

	if (!it->valid || it->key.len != item->key_len || memcmp(it->key.data, item->key, item->key_len) != 0 ||
		it->value.len != sizeof(id))
		return false;
	memcpy(&id, it->value.data, sizeof(id));
	return id == item->id;
}

static void
test_random_case(uint64_t seed, int nchildren)
{
	static Case c;
	uint64_t rnd = seed;
	int wrong = 0, at;

	make_case(&c, &rnd, nchildren);
	CHECK(!c.merge->valid && c.merge->status == LSM_OK);
	lsm_iter_seek_first(c.merge);
	for (int i = 0; i < c.nall; i++, lsm_iter_next(c.merge))
		wrong += !stands_on(c.merge, c.all[i]);
	wrong += c.merge->valid || c.merge->status != LSM_OK;
	lsm_iter_seek_last(c.merge);
	for (int i = c.nall - 1; i >= 0; i--, lsm_iter_prev(c.merge))
		wrong += !stands_on(c.merge, c.all[i]);
	wrong += c.merge->valid || c.merge->status != LSM_OK;
	CHECK(wrong == 0);

	at = -1;
	for (int step = 0; step < 600; step++)
	{
		uint64_t what = test_random(&rnd) % 24;

		if (what == 0 || at < 0 || at >= c.nall)
		{
			Item target;
			char user[3] = {(char) ('a' + test_random(&rnd) % 5), (char) test_random(&rnd), 'x'};

			make_item(&target, lsm_slice(user, test_random(&rnd) % 4), test_random(&rnd) % 6);
			if (c.nall > 0 && test_random(&rnd) % 2)
				target = *c.all[test_random(&rnd) % (uint64_t) c.nall];
			target.id = 0;
			switch (test_random(&rnd) % 6)
			{
				case 0:
					lsm_iter_seek_first(c.merge);
					at = 0;
					break;
				case 1:
					lsm_iter_seek_last(c.merge);
					at = c.nall - 1;
					break;
				default:
					lsm_iter_seek(c.merge, item_key(&target));
					for (at = 0; at < c.nall && item_order(c.all[at], &target) < 0;)
						at++;
			}
		}
		else if (what < 13)
		{
			lsm_iter_next(c.merge);
			at++;
		}
		else
		{
			lsm_iter_prev(c.merge);
			at--;
		}
		wrong += at >= 0 && at < c.nall ? !stands_on(c.merge, c.all[at]) : c.merge->valid;
		if (nchildren > 1 && c.merge->valid && lsm_iter_hint(c.merge) == NULL)
			wrong++;
	}
	if (wrong)
		fprintf(stderr, "seed %llu, %d children: %d wrong\n", (unsigned long long) seed, nchildren, wrong);
	CHECK(wrong == 0);
	lsm_iter_close(c.merge);
	CHECK(open_iterators == 0);
}

/* ---- errors ---- */

static void
test_random_errors(uint64_t seed, int nchildren)
{
	static Case c;
	uint64_t rnd = seed;
	int wrong = 0, failures = 0;

	make_case(&c, &rnd, nchildren);
	for (int round = 0; round < 200; round++)
	{
		int victim = (int) (test_random(&rnd) % (uint64_t) nchildren);
		ArrayIter *child = (ArrayIter *) c.children[victim];
		bool backward = test_random(&rnd) % 2;
		int at = -1;

		if (child->n == 0)
			continue;
		child->fail_at = (int) (test_random(&rnd) % (uint64_t) child->n);
		/* what is before the failing entry, in this direction, comes out right; then the error, and no more */
		if (backward)
			lsm_iter_seek_last(c.merge);
		else
			lsm_iter_seek_first(c.merge);
		for (at = backward ? c.nall - 1 : 0; c.merge->valid; at += backward ? -1 : 1)
		{
			if (at < 0 || at >= c.nall || !stands_on(c.merge, c.all[at]) || c.all[at] == &child->items[child->fail_at])
			{
				wrong++;
				break;
			}
			/* turning round may run into the error as well, or not */
			if (test_random(&rnd) % 8 == 0 && at > 0 && at < c.nall - 1)
			{
				if (backward)
					lsm_iter_next(c.merge);
				else
					lsm_iter_prev(c.merge);
				if (!c.merge->valid)
					break;
				at += backward ? 1 : -1;
				wrong += !stands_on(c.merge, c.all[at]);
				if (backward)
					lsm_iter_prev(c.merge);
				else
					lsm_iter_next(c.merge);
				at += backward ? -1 : 1;
				if (!c.merge->valid)
					break;
				wrong += !stands_on(c.merge, c.all[at]);
			}
			if (backward)
				lsm_iter_prev(c.merge);
			else
				lsm_iter_next(c.merge);
		}
		wrong += c.merge->status != LSM_CORRUPT || strcmp(c.merge->err.file, "000007.ldb") != 0 ||
				 c.merge->err.offset != (uint64_t) child->fail_at;
		failures++;
		/* healed: a seek starts over */
		child->fail_at = -1;
		lsm_iter_seek_first(c.merge);
		wrong += c.merge->status != LSM_OK || !stands_on(c.merge, c.all[0]);
	}
	CHECK(wrong == 0);
	CHECK(failures > 0 || c.nall == 0);
	lsm_iter_close(c.merge);
	CHECK(open_iterators == 0);
}

/* ---- few children ---- */

static void
test_few(void)
{
	Item item;
	LsmIter *one, *none = lsm_merge_iter(NULL, 0);

	lsm_iter_seek_first(none);
	CHECK(!none->valid && none->status == LSM_OK);
	lsm_iter_close(none);
	make_item(&item, lsm_slice("k", 1), 1);
	one = array_iter(&item, 1);
	CHECK(lsm_merge_iter(&one, 1) == one);
	lsm_iter_close(one);
	CHECK(open_iterators == 0);
}

static void
test_hints(void)
{
	Item a, b;
	LsmIter *children[3], *merge;

	make_item(&a, lsm_slice("a", 1), 1);
	make_item(&b, lsm_slice("b", 1), 1);
	children[0] = array_iter(&b, 1);
	children[1] = lsm_iter_empty(LSM_OK, NULL);
	children[2] = array_iter(&a, 1);
	merge = lsm_merge_iter(children, 3);
	CHECK(lsm_iter_hint(merge) == NULL);
	lsm_iter_seek_first(merge);
	CHECK(merge->valid && lsm_iter_hint(merge) == &((ArrayIter *) children[2])->hint);
	lsm_iter_next(merge);
	CHECK(merge->valid && lsm_iter_hint(merge) == &((ArrayIter *) children[0])->hint);
	lsm_iter_next(merge);
	CHECK(!merge->valid && lsm_iter_hint(merge) == NULL);
	lsm_iter_close(merge);
}

/* ---- cost: merge.c once more, with its comparisons counted ---- */

static int comparisons;

static int
counted_compare(LsmSlice a, LsmSlice b)
{
	comparisons++;
	return lsm_ikey_compare(a, b);
}

extern LsmIter *counted_merge_iter(LsmIter **children, int n);

#define lsm_ikey_compare counted_compare
#define lsm_merge_iter counted_merge_iter
#include "engine/merge.c"
#undef lsm_ikey_compare
#undef lsm_merge_iter

static void
test_long_stretch(void)
{
	static Item big[4000];
	Item small[6];
	LsmIter *children[7], *merge;
	int wrong = 0;

	for (int i = 0; i < 4000; i++)
	{
		char user[12];

		snprintf(user, sizeof(user), "%04d", i);
		make_item(&big[i], lsm_slice(user, 4), 1);
		big[i].id = (uint32_t) i;
	}
	for (int i = 0; i < 6; i++)
	{
		char user = (char) ('a' + i);

		make_item(&small[i], lsm_slice(&user, 1), 1);
		small[i].id = 10000 + (uint32_t) i;
		children[i] = array_iter(&small[i], 1);
	}
	children[6] = array_iter(big, 4000);
	merge = counted_merge_iter(children, 7);
	lsm_iter_seek_first(merge);
	comparisons = 0;
	for (int i = 0; i < 3999; i++, lsm_iter_next(merge))
		wrong += !stands_on(merge, &big[i]);
	CHECK(wrong == 0);
	CHECK(comparisons <= 3999 + 3); /* one a step, and finding out once who is second */
	CHECK(stands_on(merge, &big[3999]));
	lsm_iter_next(merge);
	for (int i = 0; i < 6; i++, lsm_iter_next(merge))
		CHECK(stands_on(merge, &small[i]));
	CHECK(!merge->valid);
	lsm_iter_seek_last(merge);
	for (int i = 5; i >= 0; i--, lsm_iter_prev(merge))
		CHECK(stands_on(merge, &small[i]));
	comparisons = 0;
	for (int i = 3999; i >= 0; i--, lsm_iter_prev(merge))
		wrong += !stands_on(merge, &big[i]);
	CHECK(!merge->valid && wrong == 0);
	CHECK(comparisons == 0); /* the others have ended */
	lsm_iter_close(merge);
	CHECK(open_iterators == 0);
}

/* ---- children that grow ---- */

static void
grow(LsmMemtable *mt, uint64_t *rnd, uint64_t seq)
{
	LsmMemRoom room;
	char key[3];

	snprintf(key, sizeof(key), "%02d", (int) (test_random(rnd) % 40));
	if (!lsm_memtable_reserve(mt, lsm_memtable_cost(2, 0), 1, &room))
		abort();
	lsm_memtable_add(mt, &room, seq, LSM_TYPE_VALUE, lsm_slice(key, 2), lsm_slice("", 0));
}

/* A child's ops, but each seek and step is followed by an insert: the worst moments for one to come. */
typedef struct Meddler
{
	LsmIter base;
	LsmIter *inner;
	LsmMemtable *mt;
	uint64_t *rnd;
	uint64_t *seq;
} Meddler;

static void
meddle(Meddler *m)
{
	m->base.valid = m->inner->valid;
	m->base.key = m->inner->key;
	m->base.value = m->inner->value;
	if (test_random(m->rnd) % 2)
		grow(m->mt, m->rnd, ++*m->seq);
}

static void
meddler_seek_first(LsmIter *it)
{
	lsm_iter_seek_first(((Meddler *) it)->inner);
	meddle((Meddler *) it);
}

static void
meddler_seek_last(LsmIter *it)
{
	lsm_iter_seek_last(((Meddler *) it)->inner);
	meddle((Meddler *) it);
}

static void
meddler_seek(LsmIter *it, LsmSlice target)
{
	lsm_iter_seek(((Meddler *) it)->inner, target);
	meddle((Meddler *) it);
}

static void
meddler_next(LsmIter *it)
{
	lsm_iter_next(((Meddler *) it)->inner);
	meddle((Meddler *) it);
}

static void
meddler_prev(LsmIter *it)
{
	lsm_iter_prev(((Meddler *) it)->inner);
	meddle((Meddler *) it);
}

static void
meddler_close(LsmIter *it)
{
	lsm_iter_close(((Meddler *) it)->inner);
	free(it);
}

static const LsmIterOps meddler_ops = {
	.seek_first = meddler_seek_first,
	.seek_last = meddler_seek_last,
	.seek = meddler_seek,
	.next = meddler_next,
	.prev = meddler_prev,
	.close = meddler_close,
};

static void
test_growing(uint64_t seed)
{
	enum
	{
		CHILDREN = 3
	};
	size_t size = 1 << 20;
	LsmMemtable *mts[CHILDREN];
	LsmIter *children[CHILDREN], *merge;
	uint64_t rnd = seed, seq = 0;
	bool backward = false;
	LsmSlice last;
	int wrong = 0;

	for (int i = 0; i < CHILDREN; i++)
	{
		Meddler *m = calloc(1, sizeof(*m));

		mts[i] = lsm_memtable_init(aligned_alloc(64, size), size);
		for (int j = 0; j < 5; j++)
			grow(mts[i], &rnd, ++seq);
		*m = (Meddler){.base.ops = &meddler_ops, .inner = lsm_memtable_iter(mts[i]), .mt = mts[i], .rnd = &rnd, .seq = &seq};
		children[i] = &m->base;
	}
	merge = lsm_merge_iter(children, CHILDREN);
	lsm_iter_seek_first(merge);
	for (int step = 0; step < 3000; step++)
	{
		if (!merge->valid)
		{
			lsm_iter_seek_first(merge);
			continue;
		}
		if (test_random(&rnd) % 3 == 0)
			backward = !backward;
		last = merge->key; /* stays: it lies in the memtable */
		if (backward)
			lsm_iter_prev(merge);
		else
			lsm_iter_next(merge);
		if (merge->valid)
			wrong += backward ? lsm_ikey_compare(merge->key, last) >= 0 : lsm_ikey_compare(merge->key, last) <= 0;
	}
	CHECK(wrong == 0);
	lsm_iter_close(merge);
	for (int i = 0; i < CHILDREN; i++)
		free(mts[i]);
}

int
main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t) getpid() * 7919 + 1;

	printf("seed %llu\n", (unsigned long long) seed);
	fflush(stdout);
	test_few();
	test_hints();
	test_long_stretch();
	for (int round = 0; round < 40; round++)
		for (int n = 1; n <= MAX_CHILDREN; n++)
			test_random_case(seed + (uint64_t) (round * 100 + n), n);
	for (int n = 2; n <= MAX_CHILDREN; n++)
		test_random_errors(seed + (uint64_t) n, n);
	for (int i = 0; i < 10; i++)
		test_growing(seed + (uint64_t) i);
	return test_done();
}
