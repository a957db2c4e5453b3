/*
 * install.c - see install.h.
 *
 * A memtable leaves the list in the same critical section of LSM_LOCK_STATE that
 * publishes the manifest with its table: a reader sees the versions in exactly
 * one of the two.
 */
#include "engine/install.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/job.h"
#include "engine/spill.h"
#include "engine/throttle.h"
#include "engine/work.h"

LsmStatus
lsm_refresh(LsmDb *db, LsmError *err)
{
	LsmStatus status = lsm_enter(db, err);

	if (status == LSM_OK)
		lsm_leave(db);
	return status;
}

/* Position of the oldest memtable that stays when `retire` goes. */
static uint64_t
position_without(LsmDb *db, int retire)
{
	LsmShared *shared = db->shared;
	uint64_t position;
	int oldest;

	lsm_lock(db->env, LSM_LOCK_STATE, LSM_SHARED);
	oldest = shared->nmems - 1;
	if (retire >= 0)
	{
		assert(shared->mems[oldest] == retire && oldest > 0);
		oldest--;
	}
	position = shared->slots[shared->mems[oldest]].position;
	lsm_unlock(db->env, LSM_LOCK_STATE);
	return position;
}

/* Opens or reuses the manifest's writer; false: a new manifest must be started. */
static bool
can_append(LsmDb *db)
{
	LsmShared *shared = db->shared;
	LsmError ignored;

	if (atomic_load(&shared->manifest_bad) || shared->manifest_length >= shared->options.manifest_size + shared->manifest_base)
		return false;
	if (db->manifest.file != NULL && db->manifest.number == shared->manifest_number &&
		lsm_manifest_length(&db->manifest) == shared->manifest_length)
		return true;
	return lsm_manifest_open(&db->manifest, db->env, shared->manifest_number, shared->manifest_length, &ignored) == LSM_OK;
}

/* What readers see changes here. */
static void
publish(LsmDb *db, const LsmEdit *edit, const LsmFiles *files, int retire, bool rolled)
{
	LsmShared *shared = db->shared;
	uint64_t epoch;

	lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
	epoch = atomic_load(&shared->epoch) + 1;
	shared->manifest_number = db->manifest.number;
	shared->manifest_length = lsm_manifest_length(&db->manifest);
	if (rolled)
		shared->manifest_base = shared->manifest_length;
	shared->manifest_position = edit->log_number;
	lsm_throttle_level0(db, files);
	if (retire >= 0)
	{
		LsmSlot *slot = &shared->slots[retire];

		assert(shared->mems[shared->nmems - 1] == retire);
		shared->nmems--;
		atomic_fetch_sub(&shared->waiting, 1);
		slot->state = LSM_SLOT_RETIRED;
		slot->retired_epoch = epoch;
		if (slot->generation >= atomic_load(&shared->bad_generation))
			atomic_store(&shared->bad_generation, 0);
	}
	atomic_store(&shared->epoch, epoch);
	lsm_unlock(db->env, LSM_LOCK_STATE);
}

LsmStatus
lsm_install_locked(LsmDb *db, LsmEdit *edit, int retire, uint64_t last_seq, LsmError *err)
{
	LsmShared *shared = db->shared;
	uint64_t old_manifest = shared->manifest_number;
	bool was_bad = atomic_load(&shared->manifest_bad);
	LsmFilesBuilder *builder = NULL;
	LsmFiles *files = NULL;
	bool rolled;
	LsmStatus status;

	assert(lsm_role_mine(db) || db->job >= 0);
	status = lsm_refresh(db, err);
	if (status != LSM_OK)
		return status;
	builder = lsm_files_builder_new(db->follow.files, NULL);
	if (builder == NULL)
		return lsm_no_memory(err);
	status = lsm_files_builder_apply(builder, edit, err);
	if (status == LSM_OK)
		status = lsm_files_builder_finish(builder, &files, err);
	lsm_files_builder_free(builder);
	if (status != LSM_OK)
		return status;

	edit->log_number = position_without(db, retire);
	edit->last_seq = atomic_load(&shared->last_seq);
	if (edit->last_seq < last_seq)
		edit->last_seq = last_seq;
	edit->prev_log_number = 0;
	edit->has_log_number = edit->has_prev_log_number = edit->has_next_file = edit->has_last_seq = true;
	rolled = !can_append(db);
	if (rolled)
	{
		uint64_t number = lsm_new_file_number(db);

		edit->next_file = lsm_next_file_to_write(db, edit->log_number);
		status = lsm_manifest_roll(&db->manifest, db->env, number, edit, files, err);
	}
	else
	{
		edit->next_file = lsm_next_file_to_write(db, edit->log_number);
		status = lsm_manifest_append(&db->manifest, edit, err);
	}
	if (status != LSM_OK)
	{
		lsm_manifest_close(&db->manifest);
		atomic_store(&shared->manifest_bad, true);
		lsm_files_unref(files);
		return status;
	}
	publish(db, edit, files, retire, rolled);
	lsm_follow_set(&db->follow, db->manifest.number, lsm_manifest_length(&db->manifest), files);
	for (int i = 0; i < edit->ndeleted; i++)
	{
		bool moved = false;

		for (int j = 0; j < edit->nadded; j++)
			moved |= edit->added[j].number == edit->deleted[i].number;
		if (!moved)
			lsm_garbage_add(db, LSM_FILE_TABLE, edit->deleted[i].number);
	}
	if (rolled)
		lsm_garbage_add(db, LSM_FILE_MANIFEST, old_manifest);
	if (was_bad)
	{
		/* what the failed attempts left is named by no manifest that a start could find now */
		lsm_sweep_ask(shared);
		atomic_store(&shared->manifest_bad, false);
	}
	lsm_files_unref(files);
	db->env->ops->wake(db->env, LSM_WAIT_ROOM);
	return LSM_OK;
}

LsmStatus
lsm_install(LsmDb *db, LsmEdit *edit, int retire, uint64_t last_seq, LsmError *err)
{
	LsmStatus status = LSM_OK;

	/* may wait for the disk: not under the lock */
	if (db->journal->ops->before_install != NULL)
		status = db->journal->ops->before_install(db->journal, err);
	if (status == LSM_OK)
	{
		lsm_lock(db->env, LSM_LOCK_MANIFEST, LSM_EXCLUSIVE);
		status = lsm_install_locked(db, edit, retire, last_seq, err);
		lsm_unlock(db->env, LSM_LOCK_MANIFEST);
	}
	/* the caller cannot tell whether a manifest on disk names its tables, so it leaves them */
	if (status != LSM_OK)
		lsm_sweep_ask(db->shared);
	return status;
}

/* ---- files that are not needed any more ---- */

void
lsm_garbage_add(LsmDb *db, LsmFileKind kind, uint64_t number)
{
	if (db->ngarbage == db->cap_garbage)
	{
		int cap = db->cap_garbage > 0 ? db->cap_garbage * 2 : 32;
		LsmGarbage *garbage = realloc(db->garbage, (size_t) cap * sizeof(*garbage));

		if (garbage == NULL)
		{
			lsm_sweep_ask(db->shared);
			return;
		}
		db->garbage = garbage;
		db->cap_garbage = cap;
	}
	db->garbage[db->ngarbage++] = (LsmGarbage){kind, number, atomic_load(&db->shared->epoch)};
}

static LsmStatus
remove_file(LsmDb *db, const char *name, LsmFileKind kind, uint64_t number)
{
	LsmError err;

	if (kind == LSM_FILE_TABLE && db->tables.blocks != NULL)
		lsm_cache_forget(db->tables.blocks, db->env, number);
	return db->env->ops->remove(db->env, name, &err);
}

/* A table of LevelDB's may be called .sst. */
static void
remove_garbage(LsmDb *db, const LsmGarbage *garbage)
{
	char name[64];
	LsmStatus status;

	lsm_file_name(name, garbage->kind, garbage->number);
	status = remove_file(db, name, garbage->kind, garbage->number);
	if (status == LSM_NOT_FOUND && garbage->kind == LSM_FILE_TABLE)
	{
		char *dot = strrchr(name, '.');

		if (dot != NULL)
		{
			memcpy(dot, ".sst", 5);
			status = remove_file(db, name, garbage->kind, garbage->number);
		}
	}
	if (status != LSM_OK && status != LSM_NOT_FOUND)
		lsm_sweep_ask(db->shared);
}

void
lsm_collect(LsmDb *db)
{
	uint64_t min_pin;
	int left = 0;

	if (db->ngarbage == 0 || atomic_load(&db->shared->manifest_bad) || lsm_journal_copying(db->journal))
		return;
	min_pin = lsm_shared_min_pin(db->shared);
	for (int i = 0; i < db->ngarbage; i++)
	{
		if (db->garbage[i].epoch <= min_pin)
			remove_garbage(db, &db->garbage[i]);
		else
			db->garbage[left++] = db->garbage[i];
	}
	db->ngarbage = left;
}

void
lsm_garbage_leave(LsmDb *db)
{
	if (db->ngarbage > 0)
		lsm_sweep_ask(db->shared);
	db->ngarbage = 0;
}

/* ---- sweeping ---- */

typedef struct Listed
{
	char name[64];
	LsmFileKind kind;
	uint64_t number;
} Listed;

typedef struct Listing
{
	Listed *files;
	int n, cap;
	bool failed;
} Listing;

static void
list_file(void *arg, const char *name)
{
	Listing *listing = arg;
	LsmFileKind kind;
	uint64_t number;

	if (listing->failed || strlen(name) >= 64 || !lsm_parse_file_name(name, &kind, &number))
		return;
	if (kind != LSM_FILE_TABLE && kind != LSM_FILE_MANIFEST && kind != LSM_FILE_TEMP && kind != LSM_FILE_SPILL)
		return;
	if (listing->n == listing->cap)
	{
		int cap = listing->cap > 0 ? listing->cap * 2 : 128;
		Listed *files = realloc(listing->files, (size_t) cap * sizeof(*files));

		if (files == NULL)
		{
			listing->failed = true;
			return;
		}
		listing->files = files;
		listing->cap = cap;
	}
	strcpy(listing->files[listing->n].name, name);
	listing->files[listing->n].kind = kind;
	listing->files[listing->n].number = number;
	listing->n++;
}

static int
by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *) a;
	uint64_t y = *(const uint64_t *) b;

	return x < y ? -1 : x > y;
}

LsmStatus
lsm_sweep_all(LsmDb *db, const LsmFiles *files, uint64_t manifest, uint64_t below, uint64_t spills_below, LsmError *err)
{
	Listing listing = {0};
	uint64_t *live = NULL;
	int nlive = 0;
	LsmStatus status;

	for (int level = 0; level < LSM_NUM_LEVELS; level++)
		nlive += files->levels[level].n;
	live = malloc(((size_t) nlive + 1) * sizeof(*live));
	if (live == NULL)
		return lsm_no_memory(err);
	nlive = 0;
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
	{
		for (int i = 0; i < files->levels[level].n; i++)
			live[nlive++] = files->levels[level].files[i]->number;
	}
	qsort(live, (size_t) nlive, sizeof(*live), by_number);
	status = db->env->ops->list(db->env, list_file, &listing, err);
	if (status == LSM_OK && listing.failed)
		status = lsm_no_memory(err);
	for (int i = 0; status == LSM_OK && i < listing.n; i++)
	{
		Listed *file = &listing.files[i];

		if (file->kind != LSM_FILE_SPILL && file->number >= below)
			continue;
		if (file->kind == LSM_FILE_TABLE &&
			bsearch(&file->number, live, (size_t) nlive, sizeof(*live), by_number) != NULL)
			continue;
		if ((file->kind == LSM_FILE_MANIFEST && file->number == manifest) || (file->kind == LSM_FILE_SPILL && file->number >= spills_below))
			continue;
		(void) remove_file(db, file->name, file->kind, file->number);
	}
	free(listing.files);
	free(live);
	return status;
}

void
lsm_sweep_ask(LsmShared *shared)
{
	uint64_t below = atomic_load(&shared->next_file);
	uint64_t before = atomic_load(&shared->sweep_below);

	while (before < below && !atomic_compare_exchange_weak(&shared->sweep_below, &before, below))
		;
}

void
lsm_sweep(LsmDb *db)
{
	LsmShared *shared = db->shared;
	uint64_t wanted = atomic_load(&shared->sweep_below);
	uint64_t below;
	LsmError ignored;

	if (wanted == 0 || atomic_load(&shared->manifest_bad) || lsm_journal_copying(db->journal))
		return;
	/* Before the set is looked at: what has a lower number then is in it by now, or in nothing. */
	below = lsm_job_lowest_number(db);
	if (below < wanted)
		return;
	if (lsm_refresh(db, &ignored) != LSM_OK || lsm_shared_min_pin(shared) < atomic_load(&shared->epoch))
		return;
	/* whoever fails from here on asks again */
	(void) atomic_compare_exchange_strong(&shared->sweep_below, &wanted, 0);
	if (lsm_sweep_all(db, db->follow.files, db->follow.number, below, 0, &ignored) != LSM_OK)
		lsm_sweep_ask(shared);
}

/* ---- arenas ---- */

void
lsm_reclaim(LsmDb *db)
{
	LsmShared *shared = db->shared;
	bool freed = false;

	for (int i = 0; i < shared->options.memtable_slots; i++)
	{
		LsmSlot *slot = &shared->slots[i];
		bool mine = false;

		lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
		if (slot->state == LSM_SLOT_RETIRED && lsm_shared_min_pin(shared) >= slot->retired_epoch)
		{
			slot->state = LSM_SLOT_TAKEN;
			mine = true;
		}
		lsm_unlock(db->env, LSM_LOCK_STATE);
		if (!mine)
			continue;
		if (atomic_load(&slot->spills) > 0)
			lsm_spill_forget_memtable(db, lsm_shared_arena(shared, i));
		lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
		slot->state = LSM_SLOT_FREE;
		lsm_unlock(db->env, LSM_LOCK_STATE);
		freed = true;
	}
	if (freed)
		db->env->ops->wake(db->env, LSM_WAIT_ROOM);
}
