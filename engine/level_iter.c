/*
 * level_iter.c - see level_iter.h.
 */
#include "engine/level_iter.h"

#include <stdlib.h>

typedef struct LevelIter
{
	LsmIter pub;
	LsmTableCache *cache;
	LsmFileMeta **files;
	int n;
	bool fill_cache;
	LsmSeqs wanted;
	int at;      /* the open file */
	LsmIter *it; /* its iterator, or NULL */
} LevelIter;

/* Shows the table's entry as ours. */
static inline void
show(LevelIter *self)
{
	self->pub.valid = self->it->valid;
	self->pub.key = self->it->key;
	self->pub.value = self->it->value;
}

static void
fail(LevelIter *self, LsmStatus status)
{
	self->pub.valid = false;
	self->pub.status = status;
}

/* Opens files[at] unless it is open; false on errors. */
static bool
open_at(LevelIter *self, int at)
{
	LsmTable *table;
	LsmStatus status;

	self->pub.status = LSM_OK;
	if (self->it != NULL && self->at == at && self->it->status == LSM_OK)
		return true;
	if (self->it != NULL)
		lsm_iter_close(self->it);
	self->it = NULL;
	status = lsm_table_cache_get(self->cache, self->files[at], &table, &self->pub.err);
	if (status != LSM_OK)
	{
		fail(self, status);
		return false;
	}
	self->it = lsm_table_iter(table, self->fill_cache, self->wanted);
	if (self->it == NULL)
	{
		fail(self, lsm_fail(&self->pub.err, LSM_NO_MEMORY, 0, NULL, 0, "out of memory"));
		return false;
	}
	self->at = at;
	return true;
}

/* If the table ended, goes on with the next one that has an entry. */
static void
settle_forward(LevelIter *self)
{
	while (!self->it->valid)
	{
		if (self->it->status != LSM_OK)
		{
			self->pub.err = self->it->err;
			fail(self, self->it->status);
			return;
		}
		if (self->at + 1 >= self->n)
		{
			self->pub.valid = false;
			return;
		}
		if (!open_at(self, self->at + 1))
			return;
		lsm_iter_seek_first(self->it);
	}
	show(self);
}

static void
settle_backward(LevelIter *self)
{
	while (!self->it->valid)
	{
		if (self->it->status != LSM_OK)
		{
			self->pub.err = self->it->err;
			fail(self, self->it->status);
			return;
		}
		if (self->at == 0)
		{
			self->pub.valid = false;
			return;
		}
		if (!open_at(self, self->at - 1))
			return;
		lsm_iter_seek_last(self->it);
	}
	show(self);
}

static void
level_seek_first(LsmIter *it)
{
	LevelIter *self = (LevelIter *) it;

	if (!open_at(self, 0))
		return;
	lsm_iter_seek_first(self->it);
	settle_forward(self);
}

static void
level_seek_last(LsmIter *it)
{
	LevelIter *self = (LevelIter *) it;

	if (!open_at(self, self->n - 1))
		return;
	lsm_iter_seek_last(self->it);
	settle_backward(self);
}

static void
level_seek(LsmIter *it, LsmSlice target)
{
	LevelIter *self = (LevelIter *) it;
	LsmLevel level = {self->files, self->n, 0};
	int at = lsm_level_find(&level, target);

	if (at == self->n)
	{
		self->pub.valid = false;
		self->pub.status = LSM_OK;
		return;
	}
	if (!open_at(self, at))
		return;
	lsm_iter_seek(self->it, target);
	settle_forward(self);
}

static void
level_next(LsmIter *it)
{
	LevelIter *self = (LevelIter *) it;

	lsm_iter_next(self->it);
	if (__builtin_expect(self->it->valid, 1))
		show(self);
	else
		settle_forward(self);
}

static void
level_run(LsmIter *it, LsmRun *run, LsmSlice upper)
{
	LevelIter *self = (LevelIter *) it;

	lsm_iter_run(self->it, run, upper);
	show(self);
}

static void
level_prev(LsmIter *it)
{
	LevelIter *self = (LevelIter *) it;

	lsm_iter_prev(self->it);
	if (__builtin_expect(self->it->valid, 1))
		show(self);
	else
		settle_backward(self);
}

static void
level_close(LsmIter *it)
{
	LevelIter *self = (LevelIter *) it;

	if (self->it != NULL)
		lsm_iter_close(self->it);
	free(self);
}

static const LsmIterOps level_ops = {
	.seek_first = level_seek_first,
	.seek_last = level_seek_last,
	.seek = level_seek,
	.next = level_next,
	.prev = level_prev,
	.close = level_close,
	.run = level_run,
};

LsmIter *
lsm_level_iter(LsmTableCache *cache, LsmFileMeta **files, int n, bool fill_cache, LsmSeqs wanted)
{
	LevelIter *self;

	if (n == 0)
		return lsm_iter_empty(LSM_OK, NULL);
	if (n == 1)
	{
		LsmTable *table;
		LsmError err;
		LsmStatus status = lsm_table_cache_get(cache, files[0], &table, &err);

		return status == LSM_OK ? lsm_table_iter(table, fill_cache, wanted) : lsm_iter_empty(status, &err);
	}
	self = calloc(1, sizeof(LevelIter));
	if (self == NULL)
		return NULL;
	self->pub.ops = &level_ops;
	self->pub.steady = true;
	self->cache = cache;
	self->files = files;
	self->n = n;
	self->fill_cache = fill_cache;
	self->wanted = wanted;
	return &self->pub;
}
