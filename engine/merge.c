/*
 * merge.c - many iterators as one, in the order of internal keys.
 *
 * A binary heap of the children that stand on an entry; its root is the current
 * one.  After a step of the root only it can be out of place: while it stays
 * ahead of the better of its two children in the heap (one of them is the
 * runner-up of all), nothing moves.  That runner-up is remembered, so a long
 * stretch out of one child costs one comparison an entry.
 *
 * Going backward the order is turned round.  A change of direction repositions
 * all other children just behind (or before) the current key.
 */
#include "engine/iter.h"

#include <stdlib.h>
#include <string.h>

#include "engine/keys.h"

typedef struct MergeIter
{
	LsmIter base;
	bool backward;
	int n;              /* children */
	int nheap;          /* those that are valid */
	LsmIter *runner_up; /* second best, NULL: not known */
	LsmBuf key;         /* copy of the current key while directions change */
	LsmIter **children; /* in the order given: earlier ones win on equal keys */
	int *heap;          /* indexes into children */
} MergeIter;

/* Does child a come before child b in the direction we go? */
static inline bool
ahead(const MergeIter *m, int a, int b)
{
	int c = lsm_ikey_compare(m->children[a]->key, m->children[b]->key);

	if (c == 0)
		return m->backward ? a > b : a < b;
	return m->backward ? c > 0 : c < 0;
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
	if (m->base.status != LSM_OK || m->nheap == 0)
	{
		m->base.valid = false;
		return;
	}
	m->base.valid = true;
	m->base.key = m->children[m->heap[0]]->key;
	m->base.value = m->children[m->heap[0]]->value;
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
	m->runner_up = NULL;
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

/* The root has moved: restores the heap. */
static void
settle(MergeIter *m)
{
	LsmIter *root = m->children[m->heap[0]];

	if (!root->valid)
	{
		if (failed(m, root))
			return;
		m->heap[0] = m->heap[--m->nheap];
		m->runner_up = NULL;
		if (m->nheap > 0)
			sift_down(m, 0);
	}
	else if (m->nheap > 1)
	{
		int second = 1;

		if (m->runner_up == NULL)
		{
			if (m->nheap > 2 && ahead(m, m->heap[2], m->heap[1]))
			{
				/* keep the better one in the left place, so that it need not be looked for again */
				int item = m->heap[1];

				m->heap[1] = m->heap[2];
				sift_down(m, 1);
				m->heap[2] = item;
				sift_down(m, 2);
			}
			m->runner_up = m->children[m->heap[1]];
		}
		if (ahead(m, m->heap[second], m->heap[0]))
		{
			m->runner_up = NULL;
			sift_down(m, 0);
		}
	}
	show(m);
}

/* Puts every child but the current one on the far side of the current key. */
static void
turn(MergeIter *m, bool backward)
{
	int current = m->heap[0];

	if (!lsm_buf_set(&m->key, m->base.key.data, m->base.key.len))
	{
		m->base.valid = false;
		m->base.status = lsm_fail(&m->base.err, LSM_NO_MEMORY, 0, NULL, 0, "out of memory for merge");
		return;
	}
	m->backward = backward;
	for (int i = 0; i < m->n; i++)
	{
		LsmIter *child = m->children[i];
		LsmSlice key = lsm_buf_slice(&m->key);

		if (i == current)
			continue;
		lsm_iter_seek(child, key);
		if (child->status != LSM_OK)
			continue;
		if (backward)
		{
			if (child->valid)
				lsm_iter_prev(child);
			else
				lsm_iter_seek_last(child);
		}
		else if (child->valid && i < current && lsm_ikey_compare(child->key, key) == 0)
			lsm_iter_next(child); /* an equal entry of an earlier child was returned before the current one */
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
	lsm_buf_free(&m->key);
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
