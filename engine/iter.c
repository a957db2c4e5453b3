/*
 * iter.c - the iterator that has nothing.
 */
#include "engine/iter.h"

#include <stdlib.h>

static void
nothing(LsmIter *it)
{
	it->valid = false;
}

static void
nothing_at(LsmIter *it, LsmSlice target)
{
	(void) target;
	it->valid = false;
}

static void
empty_close(LsmIter *it)
{
	free(it);
}

static const LsmIterOps empty_ops = {
	.seek_first = nothing,
	.seek_last = nothing,
	.seek = nothing_at,
	.next = nothing,
	.prev = nothing,
	.close = empty_close,
};

LsmIter *
lsm_iter_empty(LsmStatus status, const LsmError *err)
{
	LsmIter *it = calloc(1, sizeof(*it));

	if (it == NULL)
		return NULL;
	it->ops = &empty_ops;
	it->status = status;
	if (err != NULL)
		it->err = *err;
	return it;
}
