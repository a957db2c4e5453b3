/*
 * merge.c - many iterators as one, in the order of internal keys.
 *
 * A binary heap of the children that stand on an entry; its root is the current
 * one.  A step of the root can only put the root out of place, and it is in place
 * as long as it is ahead of the better of its two children, who is second of all.
 * Which of the two that is gets remembered, so that a long stretch out of one
 * child costs one comparison an entry.
 *
 * Equal keys come in the order of the children, so no two entries are equal, and
 * going backward is the same with the order turned round.  While there is a
 * current entry, every other child stands on its first entry beyond it in the
 * direction we go; a change of direction puts it there anew.  A child that a
 * memtable backs may have grown meanwhile: a search finds what is there now.
 */
#include "engine/iter.h"

#include <stdlib.h>
#include <string.h>

#include "engine/keys.h"

typedef struct MergeIter
{
	LsmIter base;
	bool backward;
	int n;
	int nheap;          /* children that are valid */
	int second;         /* place in the heap (1 or 2) of the one that comes after the root; 0: not known */
	LsmIter **children; /* in the order given: earlier ones win on equal keys */
	int *heap;          /* indexes into children */
} MergeIter;

/* The order of all entries: by key, then by child. */
static inline bool
before(LsmSlice a_key, int a, LsmSlice b_key, int b)
{
	int c = lsm_ikey_compare(a_key, b_key);

	return c != 0 ? c < 0 : a < b;
}

/* Does child a come before child b in the direction we go? */
static inline bool
ahead(const MergeIter *m, int a, int b)
{
	return before(m->children[a]->key, a, m->children[b]->key, b) != m->backward;
}

static void
sift_down(MergeIter *m, int i)
{
	int item = m->heap[i];

	for (;;)
	{
		int child = 2 * i + 1;

		if (child >= m->nheap)
			break;
		if (child + 1 < m->nheap && ahead(m, m->heap[child + 1], m->heap[child]))
			child++;
		if (!ahead(m, m->heap[child], item))
			break;
		m->heap[i] = m->heap[child];
		i = child;
	}
	m->heap[i] = item;
}

/* Shows the root's entry, or the end, or a child's error. */
static void
show(MergeIter *m)
{
	LsmIter *root;

	if (m->base.status != LSM_OK || m->nheap == 0)
	{
		m->base.valid = false;
		return;
	}
	root = m->children[m->heap[0]];
	m->base.valid = true;
	m->base.steady = root->steady;
	m->base.key = root->key;
	m->base.value = root->value;
}

static bool
failed(MergeIter *m, LsmIter *child)
{
	if (child->status == LSM_OK)
		return false;
	m->base.status = child->status;
	m->base.err = child->err;
	m->base.valid = false;
	return true;
}

/* All children are positioned: makes the heap. */
static void
build(MergeIter *m)
{
	m->nheap = 0;
	for (int i = 0; i < m->n; i++)
	{
		if (failed(m, m->children[i]))
			return;
		if (m->children[i]->valid)
			m->heap[m->nheap++] = i;
	}
	for (int i = m->nheap / 2 - 1; i >= 0; i--)
		sift_down(m, i);
	m->second = 0;
	show(m);
}

static void
restart(MergeIter *m, bool backward)
{
	m->base.status = LSM_OK;
	m->backward = backward;
}

static void
merge_seek_first(LsmIter *base)
{
	MergeIter *m = (MergeIter *) base;

	restart(m, false);
	for (int i = 0; i < m->n; i++)
		lsm_iter_seek_first(m->children[i]);
	build(m);
}

static void
merge_seek_last(LsmIter *base)
{
	MergeIter *m = (MergeIter *) base;

	restart(m, true);
	for (int i = 0; i < m->n; i++)
		lsm_iter_seek_last(m->children[i]);
	build(m);
}

static void
merge_seek(LsmIter *base, LsmSlice target)
{
	MergeIter *m = (MergeIter *) base;

	restart(m, false);
	for (int i = 0; i < m->n; i++)
		lsm_iter_seek(m->children[i], target);
	build(m);
}

/* Finds out which one comes after the root, of two or more. */
static inline void
find_second(MergeIter *m)
{
	if (m->second == 0)
		m->second = m->nheap > 2 && ahead(m, m->heap[2], m->heap[1]) ? 2 : 1;
}

/* The root has moved: restores the heap. */
static void
settle(MergeIter *m)
{
	int *heap = m->heap;
	LsmIter *root = m->children[heap[0]];

	if (!root->valid)
	{
		if (failed(m, root))
			return;
		heap[0] = heap[--m->nheap];
		m->second = 0;
		if (m->nheap > 0)
			sift_down(m, 0);
	}
	else if (m->nheap > 1)
	{
		find_second(m);
		if (ahead(m, heap[m->second], heap[0]))
		{
			int item = heap[0];

			heap[0] = heap[m->second];
			heap[m->second] = item;
			sift_down(m, m->second);
			m->second = 0;
		}
	}
	show(m);
}

/*
 * Changes direction: puts every child but the current one beyond the current
 * entry.  That one does not move, so its key may be borrowed all the while.
 */
static void
turn(MergeIter *m, bool backward)
{
	int current = m->heap[0];
	LsmSlice key = m->base.key;

	m->backward = backward;
	for (int i = 0; i < m->n; i++)
	{
		LsmIter *child = m->children[i];

		if (i == current)
			continue;
		lsm_iter_seek(child, key);
		if (!backward)
		{
			if (child->valid && i < current && lsm_ikey_compare(child->key, key) == 0)
				lsm_iter_next(child);
			continue;
		}
		if (!child->valid && child->status == LSM_OK)
			lsm_iter_seek_last(child);
		/* Mostly one step; more if a writer has just put something between. */
		while (child->valid && !before(child->key, i, key, current))
			lsm_iter_prev(child);
	}
	build(m);
}

static void
merge_next(LsmIter *base)
{
	MergeIter *m = (MergeIter *) base;

	if (m->backward)
	{
		turn(m, false);
		if (!m->base.valid)
			return;
	}
	lsm_iter_next(m->children[m->heap[0]]);
	settle(m);
}

/* The root's entries before the first of the others. */
static void
merge_run(LsmIter *base, LsmRun *run, LsmSlice upper)
{
	MergeIter *m = (MergeIter *) base;

	if (m->backward)
		return;
	if (m->nheap > 1)
	{
		LsmSlice other;

		find_second(m);
		other = lsm_ikey_user(m->children[m->heap[m->second]]->key);
		/* Nothing comes before the empty key; as a bound it would be none. */
		if (other.len == 0)
			return;
		if (upper.len == 0 || lsm_slice_compare(other, upper) < 0)
			upper = other;
	}
	lsm_iter_run(m->children[m->heap[0]], run, upper);
	show(m);
}

static void
merge_prev(LsmIter *base)
{
	MergeIter *m = (MergeIter *) base;

	if (!m->backward)
	{
		turn(m, true);
		if (!m->base.valid)
			return;
	}
	lsm_iter_prev(m->children[m->heap[0]]);
	settle(m);
}

static void
merge_close(LsmIter *base)
{
	MergeIter *m = (MergeIter *) base;

	for (int i = 0; i < m->n; i++)
		lsm_iter_close(m->children[i]);
	free(m->children);
	free(m->heap);
	free(m);
}

static volatile uint8_t *
merge_hint(LsmIter *base)
{
	MergeIter *m = (MergeIter *) base;

	return base->valid ? lsm_iter_hint(m->children[m->heap[0]]) : NULL;
}

static const LsmIterOps merge_ops = {
	.seek_first = merge_seek_first,
	.seek_last = merge_seek_last,
	.seek = merge_seek,
	.next = merge_next,
	.prev = merge_prev,
	.close = merge_close,
	.hint = merge_hint,
	.run = merge_run,
};

LsmIter *
lsm_merge_iter(LsmIter **children, int n)
{
	MergeIter *m;

	if (n == 0)
		return lsm_iter_empty(LSM_OK, NULL);
	if (n == 1)
		return children[0];
	m = calloc(1, sizeof(*m));
	if (m != NULL)
	{
		m->children = malloc((size_t) n * sizeof(LsmIter *));
		m->heap = malloc((size_t) n * sizeof(int));
	}
	if (m == NULL || m->children == NULL || m->heap == NULL)
	{
		for (int i = 0; i < n; i++)
			lsm_iter_close(children[i]);
		if (m != NULL)
		{
			free(m->children);
			free(m->heap);
			free(m);
		}
		return NULL;
	}
	m->base.ops = &merge_ops;
	memcpy(m->children, children, (size_t) n * sizeof(LsmIter *));
	m->n = n;
	return &m->base;
}
