/*
 * seek.c - see seek.h.
 *
 * As with dead stretches (dead.c) the reader is who notices, and whoever has the work role merges when nothing else
 * is due.  The file only goes down, and is never asked for where nothing lies beneath it, so that ends.
 *
 * It takes a tenth of the time at most: lookups can ask for more than they gain.
 */
#include "engine/seek.h"

#include "engine/compact.h"
#include "engine/install.h"
#include "engine/job.h"

#define PAUSE 10                 /* times what the last one took */
#define FAILED_PAUSE_US 60000000 /* after an error */

void
lsm_seek_note(LsmDb *db, uint64_t number)
{
	LsmShared *shared = db->shared;
	uint64_t none = 0;

	if (atomic_load(&shared->seek_file) != 0 || db->env->ops->now_us(db->env) < atomic_load(&shared->seek_pause_us))
		return;
	if (atomic_compare_exchange_strong(&shared->seek_file, &none, number))
		db->env->ops->wake(db->env, LSM_WAIT_WORK);
}

/* *later: others merge there, or just did. */
static LsmStatus
merge_file(LsmDb *db, uint64_t number, bool *did, bool *later, LsmError *err)
{
	LsmCompaction *compaction;
	LsmStatus status = lsm_refresh(db, err);

	if (status == LSM_OK)
		status = lsm_pick_file(&db->shared->options, db->follow.files, number, &compaction, err);
	if (status != LSM_OK || compaction == NULL)
		return status;
	status = lsm_compaction_do(db, compaction, LSM_JOB_TRY, did, err);
	if (*did)
		atomic_fetch_add(&db->shared->seek_compactions, 1);
	*later = status == LSM_OK && !*did;
	return status;
}

LsmStatus
lsm_seek_work(LsmDb *db, bool *did, LsmError *err)
{
	LsmShared *shared = db->shared;
	uint64_t number = atomic_load(&shared->seek_file);
	uint64_t since_us;
	uint64_t now_us;
	bool later = false;
	LsmStatus status;

	*did = false;
	if (number == 0)
		return LSM_OK;
	since_us = db->env->ops->now_us(db->env);
	status = merge_file(db, number, did, &later, err);
	if (status == LSM_INTERRUPTED || later)
		return status; /* another time */
	now_us = db->env->ops->now_us(db->env);
	atomic_store(&shared->seek_pause_us, now_us + (status == LSM_OK ? PAUSE * (now_us - since_us) : FAILED_PAUSE_US));
	atomic_store(&shared->seek_file, 0);
	return status;
}
