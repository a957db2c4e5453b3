/*
 * compact.c - merging tables of one level into the next.
 *
 * Several may do that at the same time, each with a job (job.h).  Between two entries a
 * merge looks around: a memtable that waits is flushed first unless somebody
 * else is at it, a request to stop is obeyed (the outputs go, nothing has changed),
 * and the rate is kept.
 */
#include "engine/compact.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/drop.h"
#include "engine/install.h"
#include "engine/level_iter.h"
#include "engine/output.h"
#include "engine/throttle.h"
#include "engine/work.h"

#define LOOK_ENTRIES 256
#define LOOK_BYTES (1 << 20) /* read, whichever comes first */

typedef struct Pace
{
	int entries;              /* since the last look around */
	size_t bytes;             /* likewise */
	double ahead;             /* bytes that are written before their time; negative: it is behind its rate */
	uint64_t reckoned_us;     /* when that was so */
	uint64_t last_bytes;      /* output.bytes when last asked */
	uint64_t flush_failed_us; /* when a flush in between failed */
} Pace;

/* One iterator per level-0 file, one per deeper level, merged. */
static LsmIter *
open_inputs(LsmDb *db, const LsmCompaction *c)
{
	LsmIter **children = calloc((size_t) c->ninputs[0] + 1, sizeof(LsmIter *));
	LsmIter *merged = NULL;
	bool ok = true;
	int n = 0;

	if (children == NULL)
		return NULL;
	if (c->level == 0)
	{
		for (int i = 0; i < c->ninputs[0] && ok; i++)
		{
			children[n] = lsm_level_iter(&db->tables, &c->inputs[0][i], 1, false, LSM_ALL_SEQS);
			ok = children[n] != NULL;
			n += ok;
		}
	}
	else
	{
		children[n] = lsm_level_iter(&db->tables, c->inputs[0], c->ninputs[0], false, LSM_ALL_SEQS);
		ok = children[n] != NULL;
		n += ok;
	}
	if (ok && c->ninputs[1] > 0)
	{
		children[n] = lsm_level_iter(&db->tables, c->inputs[1], c->ninputs[1], false, LSM_ALL_SEQS);
		ok = children[n] != NULL;
		n += ok;
	}
	if (ok)
		merged = lsm_merge_iter(children, n);
	else
	{
		for (int i = 0; i < n; i++)
			lsm_iter_close(children[i]);
	}
	free(children);
	return merged;
}

/*
 * Sleeps while the compaction is ahead of its rate; not while writers wait for it.  Its part of the rate changes as others
 * begin and end, and counts from then on only: what was written before is not reckoned anew.
 */
static LsmStatus
keep_rate(LsmDb *db, Pace *pace, uint64_t bytes, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmEnv *env = db->env;

	/* a block that was begun may get smaller when it is compressed */
	pace->ahead += (double) (int64_t) (bytes - pace->last_bytes);
	pace->last_bytes = bytes;
	for (;;)
	{
		uint64_t rate = atomic_load(&shared->rate) / (uint64_t) lsm_job_count(db);
		uint64_t now_us;
		double ahead_us;
		LsmStatus status = LSM_OK;

		if (rate == 0 || atomic_load(&shared->waiting) > 0 ||
			atomic_load(&shared->level0_files) >= shared->options.level0_slow)
			break;
		now_us = env->ops->now_us(env);
		pace->ahead -= (double) (now_us - pace->reckoned_us) * (double) rate / 1e6;
		pace->reckoned_us = now_us;
		ahead_us = pace->ahead * 1e6 / (double) rate;
		if (ahead_us <= 1000)
			return LSM_OK;
		env->ops->wait_prepare(env, LSM_WAIT_WORK);
		if (lsm_stopping(db))
			status = LSM_INTERRUPTED;
		else if (atomic_load(&shared->waiting) == 0)
			status = env->ops->wait(env, LSM_WAIT_WORK, ahead_us > 100000 ? 100 : (int) (ahead_us / 1000) + 1);
		env->ops->wait_end(env, LSM_WAIT_WORK);
		if (status != LSM_OK)
			return lsm_fail(err, status, 0, NULL, 0, "compaction was interrupted");
	}
	/* what was written in a hurry is not paid for later */
	pace->reckoned_us = env->ops->now_us(env);
	pace->ahead = 0;
	return LSM_OK;
}

/* Between two entries; the next one has so many bytes. */
static LsmStatus
look_around(LsmDb *db, Pace *pace, size_t bytes, const LsmOutput *output, LsmError *err)
{
	LsmShared *shared = db->shared;
	bool advanced;

	if (__builtin_expect(atomic_load_explicit(&shared->waiting, memory_order_relaxed) > 0, 0) &&
		(lsm_role_mine(db) || lsm_role_free(db)))
	{
		uint64_t now = db->env->ops->now_us(db->env);
		bool mine = lsm_role_mine(db);

		/* A failed flush is tried again, but not at every entry: compaction may make room on the disk. */
		if ((pace->flush_failed_us == 0 || now - pace->flush_failed_us > 1000000) && (mine || lsm_role_try(db)))
		{
			LsmError flush_err;
			bool flushed;
			LsmStatus status = lsm_flush_oldest(db, &flushed, &flush_err);

			if (!mine)
				lsm_role_give(db);
			if (status == LSM_INTERRUPTED)
			{
				if (err != NULL)
					*err = flush_err;
				return status;
			}
			pace->flush_failed_us = status == LSM_OK ? 0 : now;
		}
	}
	pace->bytes += bytes;
	if (++pace->entries < LOOK_ENTRIES && pace->bytes < LOOK_BYTES)
		return LSM_OK;
	pace->entries = 0;
	pace->bytes = 0;
	if (lsm_stopping(db))
		return lsm_fail(err, LSM_INTERRUPTED, 0, NULL, 0, "compaction was interrupted");
	/* the journal, and whoever copies the store, wait for it; what goes wrong shows when this compaction is installed */
	(void) lsm_advance_position(db, &advanced, NULL);
	return keep_rate(db, pace, output->bytes + (output->builder != NULL ? lsm_table_builder_size(output->builder) : 0),
					 err);
}

/* Of all inputs; 0 if not known of all. */
static uint64_t
count_entries(const LsmCompaction *c)
{
	uint64_t entries = 0;

	for (int which = 0; which < 2; which++)
	{
		for (int i = 0; i < c->ninputs[which]; i++)
		{
			if (!c->inputs[which][i]->props.known)
				return 0;
			entries += c->inputs[which][i]->props.entries;
		}
	}
	return entries;
}

static LsmStatus
merge(LsmDb *db, const LsmCompaction *c, LsmOutput *output, LsmError *err)
{
	LsmIter *it = open_inputs(db, c);
	LsmStatus status = LSM_OK;
	Pace pace = {.reckoned_us = db->env->ops->now_us(db->env)};
	uint64_t entries;
	uint32_t n = 0;
	LsmDrop drop;

	if (it == NULL)
		return lsm_no_memory(err);
	entries = count_entries(c);
	lsm_drop_init(&drop, db, c->files, c->output_level + 1);
	for (lsm_iter_seek_first(it); it->valid; lsm_iter_next(it))
	{
		LsmVerdict verdict;

		status = look_around(db, &pace, it->key.len + it->value.len, output, err);
		if ((++n & 1023) == 0 && entries != 0)
			lsm_throttle_merge_is_at(db, (double) n / (double) entries);
		if (status == LSM_OK)
			status = lsm_drop_ask(&drop, it->key, it->value, &verdict, err);
		if (status == LSM_OK && verdict == LSM_KEEP)
			status = lsm_output_add(output, it->key, it->value, err);
		else if (status == LSM_OK && verdict == LSM_REPLACE)
			status = lsm_output_add(output, drop.ikey, drop.value, err);
		if (status != LSM_OK)
			break;
	}
	if (status == LSM_OK && it->status != LSM_OK)
	{
		status = it->status;
		if (err != NULL)
			*err = it->err;
	}
	lsm_drop_free(&drop);
	lsm_iter_close(it);
	if (status == LSM_OK)
		status = lsm_output_finish(output, err);
	return status;
}

/* The edit that replaces the inputs by the outputs. */
static LsmStatus
make_edit(const LsmCompaction *c, const LsmOutput *output, LsmEdit *edit, LsmError *err)
{
	for (int which = 0; which < 2; which++)
	{
		for (int i = 0; i < c->ninputs[which]; i++)
		{
			if (!lsm_edit_delete(edit, which == 0 ? c->level : c->output_level, c->inputs[which][i]->number))
				return lsm_no_memory(err);
		}
	}
	if (output == NULL)
		return lsm_edit_add(edit, c->output_level, c->inputs[0][0]) ? LSM_OK : lsm_no_memory(err);
	for (int i = 0; i < output->nfiles; i++)
	{
		if (!lsm_edit_add(edit, c->output_level, output->files[i]))
			return lsm_no_memory(err);
	}
	return LSM_OK;
}

static LsmStatus
run(LsmDb *db, LsmCompaction *c, LsmError *err)
{
	const LsmOptions *options = &db->shared->options;
	const LsmLevel *beneath = c->output_level + 1 < LSM_NUM_LEVELS ? &c->files->levels[c->output_level + 1] : NULL;
	LsmEdit edit = {0};
	LsmOutput output;
	LsmStatus status;

	if (c->move)
	{
		status = make_edit(c, NULL, &edit, err);
		if (status == LSM_OK)
			status = lsm_install(db, &edit, -1, 0, err);
		lsm_edit_free(&edit);
		return status;
	}
	lsm_output_init(&output, db, c->output_level, options->file_size, beneath);
	status = merge(db, c, &output, err);
	if (status == LSM_OK)
		status = make_edit(c, &output, &edit, err);
	if (status != LSM_OK)
		lsm_output_discard(&output);
	else
		status = lsm_install(db, &edit, -1, 0, err);
	if (status == LSM_OK)
		atomic_fetch_add(&db->shared->bytes_compacted, output.bytes);
	lsm_output_free(&output);
	lsm_edit_free(&edit);
	return status;
}

LsmStatus
lsm_compaction_do(LsmDb *db, LsmCompaction *compaction, LsmPatience patience, bool *did, LsmError *err)
{
	LsmError local;
	LsmStatus status;
	bool taken;

	if (err == NULL)
		err = &local;
	*did = false;
	status = lsm_job_take(db, compaction, patience, &taken, err);
	if (status != LSM_OK || !taken)
	{
		lsm_compaction_free(compaction);
		return status;
	}
	lsm_throttle_merge_begins(db, compaction->level == 0, compaction->bytes);
	status = run(db, compaction, err);
	lsm_throttle_merge_ends(db, status == LSM_OK && !compaction->move ? compaction->bytes : 0);
	lsm_job_end(db);
	lsm_note_compaction(db, status, err);
	lsm_compaction_free(compaction);
	if (status == LSM_OK)
	{
		atomic_fetch_add(&db->shared->compactions, 1);
		lsm_collect(db);
		*did = true;
	}
	return status;
}
