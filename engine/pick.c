/*
 * pick.c - see pick.h.
 *
 * Scores as LevelDB's: level 0 by the number of its files, for each of them
 * costs every reader; deeper levels by bytes against a target (shape.c).  Within a level the file is taken that meets the fewest bytes in
 * the level below in proportion to its own: that writes least for what it moves.
 *
 * Inputs are closed under overlap of user keys, level 0 transitively, so that no
 * older version stays above a newer one, and files that share a user key
 * (LevelDB cuts there) are never torn apart.
 *
 * What others are merging (job.h) counts as gone from its level, and is not met.  If
 * level 0 is due but in the others' way, nothing less urgent is begun that would be in its way when
 * they are done: or two merges in turn could keep it waiting for ever.
 */
#include "engine/pick.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/job.h"
#include "engine/shape.h"

void
lsm_compaction_free(LsmCompaction *compaction)
{
	if (compaction == NULL)
		return;
	free(compaction->inputs[0]);
	free(compaction->inputs[1]);
	lsm_files_unref(compaction->files);
	free(compaction);
}

/* ---- closing inputs under overlap ---- */

static bool
shares_user_key(const LsmFileMeta *before, const LsmFileMeta *file)
{
	return lsm_slice_compare(lsm_ikey_user(before->largest), lsm_ikey_user(file->smallest)) == 0;
}

/* In levels >= 1: takes in neighbours that hold versions of the same user key. */
static void
widen(const LsmLevel *level, int *from, int *to)
{
	if (*from == *to)
		return;
	while (*from > 0 && shares_user_key(level->files[*from - 1], level->files[*from]))
		(*from)--;
	while (*to < level->n && shares_user_key(level->files[*to - 1], level->files[*to]))
		(*to)++;
}

/* Smallest and largest user key of some files. */
static void
key_range(LsmFileMeta **files, int n, LsmSlice *first, LsmSlice *last)
{
	*first = lsm_ikey_user(files[0]->smallest);
	*last = lsm_ikey_user(files[0]->largest);
	for (int i = 1; i < n; i++)
	{
		LsmSlice small = lsm_ikey_user(files[i]->smallest);
		LsmSlice large = lsm_ikey_user(files[i]->largest);

		if (lsm_slice_compare(small, *first) < 0)
			*first = small;
		if (lsm_slice_compare(large, *last) > 0)
			*last = large;
	}
}

/* Level 0: adds to inputs what overlaps them, until nothing more does.  taken[] marks them; keeps the level's order. */
static int
close_level0(const LsmLevel *level, bool *taken, LsmFileMeta **inputs)
{
	int n = 0;
	bool grew = true;

	while (grew)
	{
		LsmSlice first;
		LsmSlice last;

		n = 0;
		for (int i = 0; i < level->n; i++)
		{
			if (taken[i])
				inputs[n++] = level->files[i];
		}
		key_range(inputs, n, &first, &last);
		grew = false;
		for (int i = 0; i < level->n; i++)
		{
			LsmFileMeta *file = level->files[i];

			if (!taken[i] && lsm_slice_compare(lsm_ikey_user(file->largest), first) >= 0 &&
				lsm_slice_compare(lsm_ikey_user(file->smallest), last) <= 0)
			{
				taken[i] = true;
				grew = true;
			}
		}
	}
	return n;
}

static uint64_t
sum_bytes(LsmFileMeta **files, int n)
{
	uint64_t bytes = 0;

	for (int i = 0; i < n; i++)
		bytes += files[i]->size;
	return bytes;
}

/* What a merge of the inputs reads and writes. */
static void
add_range(LsmCompaction *c)
{
	LsmSlice first;
	LsmSlice last;

	key_range(c->inputs[0], c->ninputs[0], &c->first, &c->last);
	if (c->ninputs[1] == 0)
		return;
	key_range(c->inputs[1], c->ninputs[1], &first, &last);
	if (lsm_slice_compare(first, c->first) < 0)
		c->first = first;
	if (lsm_slice_compare(last, c->last) > 0)
		c->last = last;
}

/* A compaction of files [from, to) of `level` (level 0: of those taken[]). */
static LsmStatus
make(const LsmOptions *options, LsmFiles *files, int level, int from, int to, bool *taken, bool rewrite,
	 LsmCompaction **result, LsmError *err)
{
	const LsmLevel *l = &files->levels[level];
	LsmCompaction *c = calloc(1, sizeof(LsmCompaction));
	int beneath_from = 0;
	int beneath_to = 0;
	LsmSlice first;
	LsmSlice last;

	if (c == NULL)
		return lsm_no_memory(err);
	c->files = files;
	lsm_files_ref(files);
	c->level = level;
	c->output_level = level + 1;
	if (level == 0)
	{
		LsmShape shape;

		lsm_shape_of(options, files, &shape);
		c->output_level = shape.base;
	}
	else if (rewrite)
		c->output_level = level;
	c->inputs[0] = malloc((size_t) l->n * sizeof(LsmFileMeta *));
	if (c->inputs[0] == NULL)
		goto no_memory;
	if (level == 0)
		c->ninputs[0] = close_level0(l, taken, c->inputs[0]);
	else
	{
		widen(l, &from, &to);
		c->ninputs[0] = to - from;
		memcpy(c->inputs[0], l->files + from, (size_t) (to - from) * sizeof(LsmFileMeta *));
	}
	c->bytes = sum_bytes(c->inputs[0], c->ninputs[0]);
	if (c->output_level > level)
	{
		const LsmLevel *beneath = &files->levels[c->output_level];

		key_range(c->inputs[0], c->ninputs[0], &first, &last);
		lsm_level_range(beneath, first, last, &beneath_from, &beneath_to);
		widen(beneath, &beneath_from, &beneath_to);
		if (beneath_to > beneath_from)
		{
			c->ninputs[1] = beneath_to - beneath_from;
			c->inputs[1] = malloc((size_t) c->ninputs[1] * sizeof(LsmFileMeta *));
			if (c->inputs[1] == NULL)
				goto no_memory;
			memcpy(c->inputs[1], beneath->files + beneath_from, (size_t) c->ninputs[1] * sizeof(LsmFileMeta *));
			c->bytes += sum_bytes(c->inputs[1], c->ninputs[1]);
		}
		/* Level 0 is written in another compression on purpose; moving it down would keep that for ever. */
		if (c->ninputs[0] == 1 && c->ninputs[1] == 0 &&
			(level > 0 || options->level0_compression == options->table.compression))
		{
			uint64_t met = 0;

			if (c->output_level + 1 < LSM_NUM_LEVELS)
			{
				const LsmLevel *further = &files->levels[c->output_level + 1];

				lsm_level_range(further, first, last, &beneath_from, &beneath_to);
				met = sum_bytes(further->files + beneath_from, beneath_to - beneath_from);
			}
			c->move = met <= 10 * (uint64_t) options->file_size;
		}
	}
	add_range(c);
	*result = c;
	return LSM_OK;

no_memory:
	lsm_compaction_free(c);
	return lsm_no_memory(err);
}

static LsmStatus
make_level0(const LsmOptions *options, LsmFiles *files, bool *taken, LsmCompaction **result, LsmError *err)
{
	return make(options, files, 0, 0, 0, taken, false, result, err);
}

/* Of one file and what has to come along. */
static LsmStatus
make_one(const LsmOptions *options, LsmFiles *files, int level, int at, LsmCompaction **result, LsmError *err)
{
	bool *taken;
	LsmStatus status;

	if (level > 0)
		return make(options, files, level, at, at + 1, NULL, false, result, err);
	taken = calloc((size_t) files->levels[0].n, sizeof(bool));
	if (taken == NULL)
		return lsm_no_memory(err);
	taken[at] = true;
	status = make_level0(options, files, taken, result, err);
	free(taken);
	return status;
}

/* ---- choosing ---- */

/* May the compaction be done now? */
static bool
is_free(const LsmBusy *busy, const LsmCompaction *c)
{
	return !lsm_busy_meets(busy, c->level, c->output_level, c->first, c->last);
}

/* Of those that meet nothing busy, index of the file that meets least beneath it for its size; -1: there is none. */
static int
least_overlap(const LsmFiles *files, int level, const LsmBusy *busy)
{
	const LsmLevel *l = &files->levels[level];
	const LsmLevel *beneath = &files->levels[level + 1];
	double best_ratio = 0;
	int best = -1;
	int from = 0;

	for (int i = 0; i < l->n; i++)
	{
		LsmFileMeta *file = l->files[i];
		LsmSlice first = lsm_ikey_user(file->smallest);
		LsmSlice last = lsm_ikey_user(file->largest);
		uint64_t met = 0;
		double ratio;

		while (from < beneath->n && lsm_slice_compare(lsm_ikey_user(beneath->files[from]->largest),
													  lsm_ikey_user(file->smallest)) < 0)
			from++;
		for (int j = from; j < beneath->n && lsm_slice_compare(lsm_ikey_user(beneath->files[j]->smallest),
															   lsm_ikey_user(file->largest)) <= 0;
			 j++)
		{
			LsmSlice small = lsm_ikey_user(beneath->files[j]->smallest);
			LsmSlice large = lsm_ikey_user(beneath->files[j]->largest);

			met += beneath->files[j]->size;
			if (lsm_slice_compare(small, first) < 0)
				first = small;
			if (lsm_slice_compare(large, last) > 0)
				last = large;
		}
		ratio = (double) met / (double) (file->size > 0 ? file->size : 1);
		if ((best < 0 || ratio < best_ratio) && !lsm_busy_meets(busy, level, level + 1, first, last))
		{
			best_ratio = ratio;
			best = i;
		}
	}
	return best;
}

/* Does any deeper level hold keys of the file's range? */
static bool
lies_over_another(const LsmFiles *files, int level, const LsmFileMeta *file)
{
	for (int beneath = level + 1; beneath < LSM_NUM_LEVELS; beneath++)
	{
		int from;
		int to;

		lsm_level_range(&files->levels[beneath], lsm_ikey_user(file->smallest), lsm_ikey_user(file->largest), &from, &to);
		if (from < to)
			return true;
	}
	return false;
}

/*
 * A file of which half and more are deletions makes every scan step over them.
 * Merging it with what lies beneath frees the space of both; as it only goes down, that
 * ends.  Only files this handle wrote or opened are known.
 */
static int
dense_with_deletions(const LsmFiles *files, int level, int from)
{
	const LsmLevel *l = &files->levels[level];

	for (int i = from; i < l->n; i++)
	{
		const LsmFileMeta *file = l->files[i];

		if (!file->asked || file->props.deletions == 0 || file->props.deletions * 2 < file->props.entries)
			continue;
		if (lies_over_another(files, level, file))
			return i;
	}
	return -1;
}

/* make_one, if nothing of it is busy; else *compaction is NULL. */
static LsmStatus
make_free(const LsmOptions *options, LsmFiles *files, int level, int at, const LsmBusy *busy, LsmCompaction **compaction,
		  LsmError *err)
{
	LsmStatus status = make_one(options, files, level, at, compaction, err);

	if (status == LSM_OK && !is_free(busy, *compaction))
	{
		lsm_compaction_free(*compaction);
		*compaction = NULL;
	}
	return status;
}

static LsmStatus
pick_dense(const LsmOptions *options, LsmFiles *files, const LsmBusy *busy, LsmCompaction **compaction, LsmError *err)
{
	for (int level = 0; level < LSM_NUM_LEVELS - 1; level++)
	{
		for (int at = 0; (at = dense_with_deletions(files, level, at)) >= 0; at++)
		{
			LsmStatus status = make_free(options, files, level, at, busy, compaction, err);

			if (status != LSM_OK || *compaction != NULL)
				return status;
		}
	}
	return LSM_OK;
}

/*
 * Of level 0 the oldest, and what overlaps it; or what is not busy.  If all is, then nothing else shall begin that
 * meets the oldest.
 */
static LsmStatus
pick_level0(const LsmOptions *options, LsmFiles *files, LsmBusy *busy, LsmCompaction **compaction, LsmError *err)
{
	bool waits = false;
	LsmClaim oldest;

	for (int at = files->levels[0].n - 1; at >= 0; at--)
	{
		LsmStatus status = make_one(options, files, 0, at, compaction, err);

		if (status != LSM_OK || is_free(busy, *compaction))
			return status;
		if (!waits)
			lsm_claim_of(*compaction, &oldest);
		waits = true;
		lsm_compaction_free(*compaction);
		*compaction = NULL;
	}
	if (waits)
		busy->claims[busy->n++] = oldest;
	return LSM_OK;
}

static LsmStatus
pick_level(const LsmOptions *options, LsmFiles *files, int level, LsmBusy *busy, LsmCompaction **compaction, LsmError *err)
{
	int at;

	if (level == 0)
		return pick_level0(options, files, busy, compaction, err);
	at = least_overlap(files, level, busy);
	return at < 0 ? LSM_OK : make_free(options, files, level, at, busy, compaction, err);
}

LsmStatus
lsm_pick(const LsmOptions *options, LsmFiles *files, const LsmBusy *others, LsmCompaction **compaction, LsmError *err)
{
	double scores[LSM_NUM_LEVELS - 1];
	LsmBusy busy = {0};
	LsmShape shape;

	*compaction = NULL;
	if (others != NULL)
		busy = *others;
	lsm_shape_of(options, files, &shape);
	for (int level = 0; level < LSM_NUM_LEVELS - 1; level++)
	{
		int n = files->levels[level].n - busy.leaving[level];
		uint64_t bytes = files->levels[level].bytes;

		/* what was claimed since, or is over, the set need not know of */
		bytes -= busy.leaving_bytes[level] < bytes ? busy.leaving_bytes[level] : bytes;
		scores[level] = lsm_shape_score(options, &shape, level, n, bytes);
		/* only for level 0 do writers wait */
		if (level == 0 && n * 2 >= options->level0_slow + options->level0_stop)
			scores[level] = HUGE_VAL;
	}
	for (;;)
	{
		int best = -1;
		LsmStatus status;

		for (int level = 0; level < LSM_NUM_LEVELS - 1; level++)
		{
			if (scores[level] >= 1 && (best < 0 || scores[level] > scores[best]))
				best = level;
		}
		if (best < 0)
			return pick_dense(options, files, &busy, compaction, err);
		status = pick_level(options, files, best, &busy, compaction, err);
		if (status != LSM_OK || *compaction != NULL)
			return status;
		scores[best] = 0;
	}
}

LsmStatus
lsm_pick_range(const LsmOptions *options, LsmFiles *files, int level, LsmSlice lower, LsmSlice upper, uint64_t bytes,
			   LsmCompaction **compaction, LsmError *err)
{
	const LsmLevel *l = &files->levels[level];
	uint64_t sum = 0;
	LsmStatus status;
	int from;
	int to;

	*compaction = NULL;
	if (level == 0)
	{
		bool *taken = calloc((size_t) l->n + 1, sizeof(bool));
		bool any = false;

		if (taken == NULL)
			return lsm_no_memory(err);
		for (int i = 0; i < l->n; i++)
		{
			taken[i] = lsm_file_overlaps(l->files[i], lower, upper);
			any |= taken[i];
		}
		status = any ? make_level0(options, files, taken, compaction, err) : LSM_OK;
		free(taken);
		return status;
	}
	from = lsm_level_find_user(l, lower);
	for (to = from; to < l->n && sum < bytes && lsm_file_overlaps(l->files[to], lower, upper); to++)
		sum += l->files[to]->size;
	if (from == to)
		return LSM_OK;
	status = make(options, files, level, from, to, NULL, false, compaction, err);
	return status;
}

LsmStatus
lsm_pick_file(const LsmOptions *options, LsmFiles *files, uint64_t number, LsmCompaction **compaction, LsmError *err)
{
	*compaction = NULL;
	for (int level = 0; level < LSM_NUM_LEVELS - 1; level++)
	{
		const LsmLevel *l = &files->levels[level];

		for (int i = 0; i < l->n; i++)
		{
			if (l->files[i]->number != number)
				continue;
			if (level > 0 && !lies_over_another(files, level, l->files[i]))
				return LSM_OK;
			return make_one(options, files, level, i, compaction, err);
		}
	}
	return LSM_OK;
}

LsmStatus
lsm_pick_rewrite(const LsmOptions *options, LsmFiles *files, int level, uint64_t number, LsmCompaction **compaction,
				 LsmError *err)
{
	const LsmLevel *l = &files->levels[level];

	*compaction = NULL;
	for (int i = 0; i < l->n; i++)
	{
		LsmStatus status;

		if (l->files[i]->number != number)
			continue;
		if (level > 0)
			return make(options, files, level, i, i + 1, NULL, true, compaction, err);
		status = make_one(options, files, 0, i, compaction, err);
		if (status == LSM_OK)
			(*compaction)->move = false;
		return status;
	}
	return LSM_OK;
}
