/*
 * job.c - see job.h.
 *
 * Why a merge may go by the set of files that it was picked from, though others change the set
 * meanwhile: within its claim nobody else does.  Of a key in it, versions that are older than
 * those it reads lay in deeper levels when it was picked, or nowhere; so a deletion that hid
 * nothing then hides nothing later.  Newer ones may come down to the level above.
 *
 * A claim is entered under STATE, only if the set is still the one that it was picked from.  A
 * job is over after its outcome is published, so whoever does not meet it any more sees that.
 */
#include "engine/job.h"

#include <assert.h>
#include <string.h>

#include "engine/compact.h"
#include "engine/install.h"
#include "engine/work.h"

#define STEP_MS 100

/* ---- claims ---- */

static LsmSlice
cut(LsmSlice key)
{
	return lsm_slice(key.data, key.len < LSM_KEY_HEAD ? key.len : LSM_KEY_HEAD);
}

void
lsm_key_head(LsmKeyHead *head, LsmSlice key)
{
	head->len = (uint32_t) cut(key).len;
	if (head->len > 0)
		memcpy(head->bytes, key.data, head->len);
}

static LsmSlice
head_slice(const LsmKeyHead *head)
{
	return lsm_slice(head->bytes, head->len);
}

static bool
meets(const LsmClaim *claim, int level, int output_level, LsmSlice first, LsmSlice last, bool endless)
{
	return level <= claim->output_level && output_level >= claim->level &&
		   (claim->endless || lsm_slice_compare(cut(first), head_slice(&claim->last)) <= 0) &&
		   (endless || lsm_slice_compare(cut(last), head_slice(&claim->first)) >= 0);
}

bool
lsm_busy_meets(const LsmBusy *busy, int level, int output_level, LsmSlice first, LsmSlice last)
{
	for (int i = 0; i < busy->n; i++)
	{
		if (meets(&busy->claims[i], level, output_level, first, last, false))
			return true;
	}
	return false;
}

void
lsm_claim_of(const LsmCompaction *c, LsmClaim *claim)
{
	claim->level = c->level;
	claim->output_level = c->output_level;
	claim->endless = false;
	lsm_key_head(&claim->first, c->first);
	lsm_key_head(&claim->last, c->last);
}

static LsmInputs
inputs_of(const LsmCompaction *c)
{
	LsmInputs inputs = {.level = c->level, .output_level = c->output_level, .bytes = c->bytes};

	inputs.files = c->ninputs[0] + c->ninputs[1];
	if (c->output_level == c->level)
		return inputs;
	inputs.leaving = c->ninputs[0];
	for (int i = 0; i < c->ninputs[0]; i++)
		inputs.leaving_bytes += c->inputs[0][i]->size;
	return inputs;
}

/* Makes a claim cover both: perhaps more, which then keeps others away for nothing. */
static void
join(LsmClaim *claim, const LsmClaim *more)
{
	if (more->level < claim->level)
		claim->level = more->level;
	if (more->output_level > claim->output_level)
		claim->output_level = more->output_level;
	if (lsm_slice_compare(head_slice(&more->first), head_slice(&claim->first)) < 0)
		claim->first = more->first;
	if (lsm_slice_compare(head_slice(&more->last), head_slice(&claim->last)) > 0)
		claim->last = more->last;
	claim->endless |= more->endless;
}

/* ---- jobs ---- */

/* STATE is held. */
static bool
meets_others(LsmDb *db, const LsmClaim *claim)
{
	for (int i = 0; i <= LSM_MAX_JOBS; i++)
	{
		const LsmJob *job = &db->shared->jobs[i];

		if (job->owner != 0 && job->owner != db->handle + 1 &&
			meets(&job->claim, claim->level, claim->output_level, head_slice(&claim->first), head_slice(&claim->last),
				  claim->endless))
			return true;
	}
	return false;
}

/*
 * Is the set of files still this one?  That the handle looked at the newest is not enough: a flush while it waits makes it
 * look anew.  STATE is held.
 */
static bool
set_is_current(LsmDb *db, const LsmFiles *files)
{
	return db->follow.files == files && db->follow.number == db->shared->manifest_number &&
		   db->follow.offset == db->shared->manifest_length;
}

void
lsm_job_busy(LsmDb *db, LsmBusy *busy)
{
	LsmShared *shared = db->shared;

	*busy = (LsmBusy){.full = true};
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
	for (int i = 0; i <= LSM_MAX_JOBS; i++)
	{
		const LsmJob *job = &shared->jobs[i];

		if (job->owner != 0 && job->owner != db->handle + 1)
		{
			busy->claims[busy->n++] = job->claim;
			busy->leaving[job->inputs.level] += job->inputs.leaving;
			busy->leaving_bytes[job->inputs.level] += job->inputs.leaving_bytes;
		}
		if (job->owner == 0 && i < shared->options.max_compactions)
			busy->full = false;
	}
	lsm_unlock(db->env, LSM_LOCK_STATE);
}

/* A job of background work.  STATE is held exclusively. */
static int
free_job(LsmShared *shared)
{
	for (int i = 0; i < shared->options.max_compactions; i++)
	{
		if (shared->jobs[i].owner == 0)
			return i;
	}
	return -1;
}

/* STATE is held exclusively. */
static void
enter(LsmDb *db, int at, const LsmClaim *claim, bool reserve)
{
	LsmJob *job = &db->shared->jobs[at];

	if (job->owner != 0)
		join(&job->claim, claim);
	else
	{
		job->claim = *claim;
		job->reserved = false;
		job->inputs = (LsmInputs){0};
		job->first_number = atomic_load(&db->shared->next_file);
		job->owner = db->handle + 1;
	}
	job->reserved |= reserve;
}

/*
 * The role's job claims this, too; *alone once no other claim meets it, which with LSM_JOB_TRY is at once or not at
 * all.  *current: `files` is still the set of files at that moment.
 */
static LsmStatus
claim_with_role(LsmDb *db, const LsmClaim *claim, bool reserve, LsmPatience patience, const LsmFiles *files, bool *alone,
				bool *current, LsmError *err)
{
	LsmEnv *env = db->env;

	assert(lsm_role_mine(db));
	for (;;)
	{
		LsmStatus status = LSM_OK;
		LsmError ignored;

		env->ops->wait_prepare(env, LSM_WAIT_ROOM);
		lsm_lock(env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
		*alone = !meets_others(db, claim);
		*current = set_is_current(db, files);
		/* what it had before stays alone, for nobody claims what is claimed */
		if (*alone || patience == LSM_JOB_WAIT)
			enter(db, LSM_MAX_JOBS, claim, reserve);
		lsm_unlock(env, LSM_LOCK_STATE);
		if (!*alone && patience == LSM_JOB_WAIT)
			status = lsm_stopping(db) ? LSM_INTERRUPTED : env->ops->wait(env, LSM_WAIT_ROOM, STEP_MS);
		env->ops->wait_end(env, LSM_WAIT_ROOM);
		if (status != LSM_OK)
			return lsm_fail(err, status, 0, NULL, 0, "waiting for a compaction was interrupted");
		if (*alone || patience == LSM_JOB_TRY)
			return LSM_OK;
		/* flushes do not wait for merges; an error is kept for those whom it concerns */
		(void) lsm_flush_all(db, &ignored);
	}
}

LsmStatus
lsm_job_take(LsmDb *db, const LsmCompaction *compaction, LsmPatience patience, bool *taken, LsmError *err)
{
	LsmShared *shared = db->shared;
	LsmStatus status = LSM_OK;
	LsmClaim claim;
	bool current;
	int at = LSM_MAX_JOBS;

	assert(db->job < 0);
	lsm_claim_of(compaction, &claim);
	if (lsm_role_mine(db))
	{
		bool alone;

		status = claim_with_role(db, &claim, false, patience, compaction->files, &alone, &current, err);
		*taken = status == LSM_OK && alone && current;
	}
	else
	{
		assert(patience == LSM_JOB_TRY);
		lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
		at = free_job(shared);
		*taken = at >= 0 && set_is_current(db, compaction->files) && !meets_others(db, &claim);
		if (*taken)
			enter(db, at, &claim, false);
		lsm_unlock(db->env, LSM_LOCK_STATE);
	}
	if (!*taken)
		return status;
	db->job = at;
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
	shared->jobs[at].inputs = inputs_of(compaction);
	lsm_unlock(db->env, LSM_LOCK_STATE);
	return LSM_OK;
}

LsmStatus
lsm_job_reserve(LsmDb *db, LsmSlice lower, LsmSlice upper, LsmPatience patience, bool *reserved, LsmError *err)
{
	LsmClaim claim = {.level = 0, .output_level = LSM_NUM_LEVELS - 1, .endless = upper.len == 0};
	bool current;

	lsm_key_head(&claim.first, lower);
	lsm_key_head(&claim.last, upper);
	return claim_with_role(db, &claim, true, patience, NULL, reserved, &current, err);
}

bool
lsm_job_reserved(LsmDb *db)
{
	LsmJob *job = &db->shared->jobs[LSM_MAX_JOBS];
	bool reserved;

	lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
	reserved = job->owner != 0 && job->owner != db->handle + 1 && job->reserved;
	lsm_unlock(db->env, LSM_LOCK_STATE);
	return reserved;
}

/* Those who found everything claimed look again. */
static void
wake(LsmDb *db)
{
	db->env->ops->wake(db->env, LSM_WAIT_WORK);
	db->env->ops->wake(db->env, LSM_WAIT_ROOM);
}

void
lsm_job_end(LsmDb *db)
{
	LsmJob *job;

	if (db->job < 0)
		return;
	job = &db->shared->jobs[db->job];
	db->job = -1;
	atomic_store(&job->since_us, 0);
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
	job->inputs = (LsmInputs){0};
	if (!job->reserved)
		job->owner = 0;
	lsm_unlock(db->env, LSM_LOCK_STATE);
	wake(db);
}

void
lsm_job_unreserve(LsmDb *db)
{
	LsmJob *job = &db->shared->jobs[LSM_MAX_JOBS];
	bool mine;

	lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
	mine = job->owner == db->handle + 1;
	if (mine)
		job->owner = 0;
	lsm_unlock(db->env, LSM_LOCK_STATE);
	if (mine)
		wake(db);
}

void
lsm_job_abandon(LsmDb *db)
{
	bool any = lsm_role_mine(db);

	lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
	for (int i = 0; i < LSM_MAX_JOBS; i++)
	{
		LsmJob *job = &db->shared->jobs[i];

		if (job->owner != db->handle + 1)
			continue;
		any = true;
		atomic_store(&job->since_us, 0);
		job->owner = 0;
	}
	lsm_unlock(db->env, LSM_LOCK_STATE);
	db->job = -1;
	if (!any)
		return;
	/* tables that were being written */
	lsm_sweep_ask(db->shared);
	if (lsm_role_mine(db))
	{
		atomic_store(&db->shared->jobs[LSM_MAX_JOBS].since_us, 0);
		atomic_store(&db->shared->flush_since_us, 0);
		lsm_role_give(db);
	}
	wake(db);
}

uint64_t
lsm_job_lowest_number(LsmDb *db)
{
	LsmShared *shared = db->shared;
	uint64_t lowest;

	lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
	lowest = atomic_load(&shared->next_file);
	for (int i = 0; i < LSM_MAX_JOBS; i++)
	{
		if (shared->jobs[i].owner != 0 && shared->jobs[i].first_number < lowest)
			lowest = shared->jobs[i].first_number;
	}
	lsm_unlock(db->env, LSM_LOCK_STATE);
	return lowest;
}

int
lsm_job_count(LsmDb *db)
{
	int n = 0;

	for (int i = 0; i <= LSM_MAX_JOBS; i++)
		n += atomic_load(&db->shared->jobs[i].since_us) != 0;
	return n > 0 ? n : 1;
}

int
lsm_merges(LsmDb *db, LsmMerge merges[LSM_MAX_MERGES])
{
	uint64_t now_us = db->env->ops->now_us(db->env);
	int n = 0;

	lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
	for (int i = 0; i <= LSM_MAX_JOBS; i++)
	{
		LsmJob *job = &db->shared->jobs[i];
		uint64_t since_us = atomic_load(&job->since_us);

		if (job->owner == 0 || since_us == 0)
			continue;
		merges[n++] = (LsmMerge){.handle = job->owner - 1,
								 .level = job->inputs.level,
								 .output_level = job->inputs.output_level,
								 .files = job->inputs.files,
								 .bytes = job->inputs.bytes,
								 .passed_us = now_us > since_us ? now_us - since_us : 0,
								 .takes_us = atomic_load(&job->takes_us)};
	}
	lsm_unlock(db->env, LSM_LOCK_STATE);
	return n;
}

_Static_assert(LSM_MAX_MERGES == LSM_MAX_JOBS + 1, "every job may be a merge");
