/*
 * recover.c - bringing a store up.
 *
 *   read CURRENT and the manifest  (none and nothing else there: a new store)
 *   replay the journal from the manifest's position; as the memtable fills up,
 *       its contents become tables of level 0
 *   start a new manifest that names everything (always: the old one's tail may
 *       be torn)
 *   only then remove what nothing names
 *
 * A crash in between leaves the old manifest and the whole journal in place, and
 * tables that the next start sweeps away.
 *
 * Sequence numbers go on behind the highest seen.  With a concurrent journal
 * the last writes may be lost although their numbers were handed out: a gap
 * makes sure that none comes a second time.
 *
 * A copy of the directory, made file by file while the store changed, holds some
 * files as they were before a change and some as after.  Any state that the
 * manifest ever described is as good as the last one if its tables are all there,
 * and the journal from the position that it names.  While a copy is made no file
 * is removed (journal.h, copying), so the state at its beginning is whole.  So if
 * tables are missing, or shorter than the manifest says, recovery goes back to the
 * newest state that is whole; if the journal does not reach back so far, what is
 * missing is reported.  Only with somebody else's journal: log files of our own
 * are in the same directory, and whether one is missing nobody could tell.
 */
#include "engine/handle.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/coding.h"
#include "engine/compact.h"
#include "engine/install.h"
#include "engine/spill.h"
#include "engine/throttle.h"
#include "engine/work.h"
#include "engine/write.h"

typedef struct Recovery
{
	LsmDb *db;
	LsmMemtable *memtable; /* arena 0 */
	LsmFiles *files;       /* of the manifest, and the tables written since */
	LsmEdit written;       /* those tables */
	uint64_t last_seq;

	/* the directory */
	uint64_t max_number;
	bool has_data; /* tables, or logs with anything in them */
	uint64_t *tables;
	int ntables, cap_tables;
	uint64_t *manifests;
	int nmanifests, cap_manifests;
	bool failed; /* out of memory while listing */
} Recovery;

/* ---- the directory ---- */

static bool
push_number(uint64_t **numbers, int *n, int *cap, uint64_t number)
{
	if (*n == *cap)
	{
		int more = *cap > 0 ? *cap * 2 : 64;
		uint64_t *grown = realloc(*numbers, (size_t) more * sizeof(*grown));

		if (grown == NULL)
			return false;
		*numbers = grown;
		*cap = more;
	}
	(*numbers)[(*n)++] = number;
	return true;
}

static void
note_file(void *arg, const char *name)
{
	Recovery *r = arg;
	LsmError ignored;
	LsmFileKind kind;
	uint64_t number;
	uint64_t size;

	if (!lsm_parse_file_name(name, &kind, &number))
		return;
	if (number > r->max_number)
		r->max_number = number;
	/* an empty log is what is left when the making of the store was cut short */
	if (kind == LSM_FILE_TABLE ||
		(kind == LSM_FILE_LOG && (r->db->env->ops->file_size(r->db->env, name, &size, &ignored) != LSM_OK || size > 0)))
		r->has_data = true;
	if (kind == LSM_FILE_TABLE && !push_number(&r->tables, &r->ntables, &r->cap_tables, number))
		r->failed = true;
	if (kind == LSM_FILE_MANIFEST && !push_number(&r->manifests, &r->nmanifests, &r->cap_manifests, number))
		r->failed = true;
}

static int
ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *) a;
	uint64_t y = *(const uint64_t *) b;

	return x < y ? -1 : x > y;
}

/* Every table of the set must be there: better no start than answers without it. */
static LsmStatus
check_tables(Recovery *r, LsmError *err)
{
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
	{
		for (int i = 0; i < r->files->levels[level].n; i++)
		{
			uint64_t number = r->files->levels[level].files[i]->number;

			if (r->ntables == 0 ||
				bsearch(&number, r->tables, (size_t) r->ntables, sizeof(*r->tables), ascending) == NULL)
			{
				char name[64];

				lsm_file_name(name, LSM_FILE_TABLE, number);
				return lsm_fail(err, LSM_CORRUPT, 0, name, 0, "table file is missing");
			}
		}
	}
	return LSM_OK;
}

/* ---- copies ---- */

/* A table is written from its beginning to its end, so one of its full size is whole. */
static bool
is_whole(void *arg, const LsmFileMeta *file)
{
	LsmEnv *env = arg;
	LsmError ignored;
	uint64_t size;
	char name[64];
	LsmStatus status;

	lsm_file_name(name, LSM_FILE_TABLE, file->number);
	status = env->ops->file_size(env, name, &size, &ignored);
	if (status == LSM_NOT_FOUND)
	{
		strcpy(strrchr(name, '.'), ".sst"); /* as older LevelDBs call it */
		status = env->ops->file_size(env, name, &size, &ignored);
	}
	return status == LSM_OK && size >= file->size;
}

static bool
all_whole(Recovery *r)
{
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
	{
		for (int i = 0; i < r->files->levels[level].n; i++)
		{
			if (!is_whole(r->db->env, r->files->levels[level].files[i]))
				return false;
		}
	}
	return true;
}

static LsmStatus
first_batch(void *arg, LsmSlice batch, LsmError *err)
{
	(void) arg;
	(void) batch;
	return lsm_fail(err, LSM_BUSY, 0, NULL, 0, "seen");
}

/* Can the journal be read from there on? */
static bool
journal_reaches(LsmJournal *journal, uint64_t position)
{
	LsmError ignored;
	LsmStatus status = journal->ops->replay(journal, position, first_batch, NULL, &ignored);

	return status == LSM_OK || status == LSM_BUSY;
}

/* Takes the newest state of a manifest that is whole, if there is one from which the journal leads on. */
static bool
take_whole(Recovery *r, uint64_t manifest)
{
	LsmFollow *follow = &r->db->follow;
	LsmError ignored;

	if (lsm_follow_recover_whole(follow, manifest, is_whole, r->db->env, &ignored) != LSM_OK ||
		!journal_reaches(r->db->journal, follow->state.log_number))
		return false;
	lsm_files_unref(r->files);
	r->files = follow->files;
	lsm_files_ref(r->files);
	atomic_store(&r->db->shared->went_back, true);
	return true;
}

/* First in the manifest that CURRENT names, then in others, newest first. */
static bool
go_back(Recovery *r, uint64_t current)
{
	bool found = take_whole(r, current);

	for (int i = r->nmanifests - 1; !found && i >= 0; i--)
	{
		if (r->manifests[i] != current)
			found = take_whole(r, r->manifests[i]);
	}
	return found;
}

/* ---- tables written on the way ---- */

/* Takes over an output's tables. */
static LsmStatus
adopt(Recovery *r, LsmOutput *output, LsmError *err)
{
	LsmFilesBuilder *builder;
	LsmFiles *files = NULL;
	LsmEdit edit = {0};
	LsmStatus status = LSM_OK;

	for (int i = 0; status == LSM_OK && i < output->nfiles; i++)
	{
		if (!lsm_edit_add(&edit, 0, output->files[i]) || !lsm_edit_add(&r->written, 0, output->files[i]))
			status = lsm_no_memory(err);
	}
	builder = lsm_files_builder_new(r->files, NULL);
	if (status == LSM_OK && builder == NULL)
		status = lsm_no_memory(err);
	if (status == LSM_OK)
		status = lsm_files_builder_apply(builder, &edit, err);
	if (status == LSM_OK)
		status = lsm_files_builder_finish(builder, &files, err);
	lsm_files_builder_free(builder);
	lsm_edit_free(&edit);
	if (status != LSM_OK)
		return status;
	lsm_files_unref(r->files);
	r->files = files;
	return LSM_OK;
}

/* Makes the memtable's contents tables, and the memtable empty. */
static LsmStatus
flush_memtable(Recovery *r, LsmError *err)
{
	LsmShared *shared = r->db->shared;
	LsmOutput output;
	LsmStatus status;

	lsm_output_init(&output, r->db, 0, 0, NULL);
	status = lsm_write_memtable(r->db, r->memtable, r->files, &output, err);
	if (status == LSM_OK)
		status = adopt(r, &output, err);
	if (status != LSM_OK)
		lsm_output_discard(&output);
	lsm_output_free(&output);
	if (status != LSM_OK)
		return status;
	if (atomic_load(&shared->slots[0].spills) > 0)
		lsm_spill_forget_memtable(r->db, r->memtable);
	r->memtable = lsm_memtable_init(lsm_shared_arena(shared, 0), shared->options.memtable_size);
	atomic_store(&shared->slots[0].min_xid, UINT64_MAX);
	atomic_store(&shared->slots[0].spills, 0);
	return LSM_OK;
}

static LsmStatus
replay_large(Recovery *r, const LsmBatch *batch, uint64_t seq, LsmError *err)
{
	LsmOutput output;
	LsmStatus status = LSM_OK;

	if (lsm_memtable_entries(r->memtable) > 0)
		status = flush_memtable(r, err);
	if (status != LSM_OK)
		return status;
	lsm_output_init(&output, r->db, 0, 0, NULL);
	status = lsm_sort_large(r->db, batch, seq, &output, err);
	if (status == LSM_OK)
		status = lsm_output_finish(&output, err);
	if (status == LSM_OK)
		status = adopt(r, &output, err);
	if (status != LSM_OK)
		lsm_output_discard(&output);
	lsm_output_free(&output);
	return status;
}

/* ---- replay ---- */

/* Looks through a batch before anything of it is used. */
static LsmStatus
measure(LsmSlice rep, LsmBatch *batch, uint64_t *seq, LsmError *err)
{
	LsmBatchReader reader;
	LsmStatus status;

	memset(batch, 0, sizeof(*batch));
	if (!lsm_batch_reader_init(&reader, rep))
		return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "a batch in the journal is too short");
	while ((status = lsm_batch_next(&reader, err)) == LSM_OK)
	{
		if (batch->count++ == 0)
			*seq = reader.seq;
		batch->memtable_cost += lsm_memtable_cost(reader.key.len, reader.value.len);
	}
	if (status != LSM_NOT_FOUND)
		return status;
	/* borrowed, and read only */
	batch->rep = (LsmBuf){(char *) rep.data, rep.len, rep.len};
	return LSM_OK;
}

static LsmStatus
replay_batch(void *arg, LsmSlice rep, LsmError *err)
{
	Recovery *r = arg;
	LsmDb *db = r->db;
	LsmBatch spilled = {0};
	const LsmBatch *insert;
	LsmStatus status;
	LsmMemRoom room;
	LsmBatch batch;
	uint64_t seq = 0;
	int spills;

	if (lsm_stopping(db))
		return lsm_fail(err, LSM_INTERRUPTED, 0, NULL, 0, "recovery was interrupted");
	status = measure(rep, &batch, &seq, err);
	if (status != LSM_OK)
		return status;
	if (batch.count == 0)
	{
		/* only says how far numbers are given out (write.c) */
		seq = lsm_get_fixed64(rep.data);
		if (seq <= LSM_MAX_SEQUENCE && seq > r->last_seq)
			r->last_seq = seq;
		return LSM_OK;
	}
	if (seq + batch.count - 1 > LSM_MAX_SEQUENCE)
		return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "a batch in the journal has a sequence number that is too large");
	if (seq + batch.count - 1 > r->last_seq)
		r->last_seq = seq + batch.count - 1;
	status = lsm_spill_batch(db, &batch, &spilled, &spills, err);
	if (status != LSM_OK)
		goto done;
	insert = spills > 0 ? &spilled : &batch;
	if (insert->memtable_cost > db->shared->capacity)
	{
		if (lsm_stamped(db))
			status = lsm_fail(err, LSM_INVALID, 0, NULL, 0, "a batch of %zu bytes does not fit into a memtable of %zu",
							  insert->memtable_cost, db->shared->options.memtable_size);
		else
			status = replay_large(r, insert, seq, err);
		goto done;
	}
	if (!lsm_memtable_reserve(r->memtable, insert->memtable_cost, insert->count, &room))
	{
		status = flush_memtable(r, err);
		if (status == LSM_OK && !lsm_memtable_reserve(r->memtable, insert->memtable_cost, insert->count, &room))
			status = lsm_no_memory(err);
		if (status != LSM_OK)
			goto done;
	}
	lsm_insert_batch(db, r->memtable, &db->shared->slots[0], &room, seq, insert);

done:
	lsm_batch_free(&spilled);
	return status;
}

/* ---- the whole ---- */

/* The state that the store was in last; if tables are missing, as in a copy, an earlier one. */
static LsmStatus
read_current(Recovery *r, uint64_t number, LsmError *err)
{
	LsmFollow *follow = &r->db->follow;
	bool listed = r->nmanifests > 0 &&
				  bsearch(&number, r->manifests, (size_t) r->nmanifests, sizeof(number), ascending) != NULL;
	LsmStatus status = lsm_follow_recover(follow, number, err);

	/* one that is there and damaged is no copy's fault */
	if (status != LSM_OK && listed)
		return status;
	if (status == LSM_OK)
	{
		lsm_files_unref(r->files);
		r->files = follow->files;
		lsm_files_ref(r->files);
		status = check_tables(r, err);
	}
	if (status != LSM_OK && r->db->journal->concurrent && go_back(r, number))
		status = LSM_OK;
	return status;
}

static LsmStatus
read_manifest(Recovery *r, bool *existed, LsmError *err)
{
	LsmDb *db = r->db;
	uint64_t number;
	LsmStatus status = db->env->ops->list(db->env, note_file, r, err);

	if (status == LSM_OK && r->failed)
		status = lsm_no_memory(err);
	if (status != LSM_OK)
		return status;
	if (r->ntables > 0)
		qsort(r->tables, (size_t) r->ntables, sizeof(*r->tables), ascending);
	if (r->nmanifests > 0)
		qsort(r->manifests, (size_t) r->nmanifests, sizeof(*r->manifests), ascending);
	status = lsm_current_read(db->env, &number, err);
	*existed = status == LSM_OK;
	if (status == LSM_NOT_FOUND)
	{
		if (r->has_data)
			return lsm_fail(err, LSM_CORRUPT, 0, "CURRENT", 0, "CURRENT is missing, but there are logs or tables");
		r->files = lsm_files_new();
		return r->files != NULL ? LSM_OK : lsm_no_memory(err);
	}
	if (status != LSM_OK)
		return status;
	status = read_current(r, number, err);
	if (status != LSM_OK || !db->journal->concurrent || all_whole(r))
		return status;
	/* A table that is short is reported when it is read, and does not keep the rest from being read. */
	return go_back(r, number) ? LSM_OK : read_current(r, number, err);
}

/* File numbers go on behind everything that was ever used. */
static void
set_next_file(Recovery *r, const LsmManifestState *state)
{
	uint64_t next = r->max_number + 1;

	if (next < state->next_file)
		next = state->next_file;
	/* in a stamped store the position is no file number */
	if (!lsm_stamped(r->db) && next <= state->log_number)
		next = state->log_number + 1;
	/* an attempt before this one may have used some, and readers have cached what they were */
	if (next < atomic_load(&r->db->shared->next_file))
		next = atomic_load(&r->db->shared->next_file);
	atomic_store(&r->db->shared->next_file, next);
}

/* Starts the first manifest of this run. */
static LsmStatus
write_manifest(Recovery *r, uint64_t position, LsmError *err)
{
	LsmDb *db = r->db;
	uint64_t number = lsm_new_file_number(db);
	LsmEdit edit = {0};
	LsmStatus status = LSM_OK;

	/* also without new tables: a position must not be named before the journal is durable up to there */
	if (db->journal->ops->before_install != NULL)
		status = db->journal->ops->before_install(db->journal, err);
	if (status != LSM_OK)
		return status;
	edit.log_number = position;
	edit.next_file = lsm_next_file_to_write(db, position);
	edit.last_seq = r->last_seq;
	return lsm_manifest_roll(&db->manifest, db->env, number, &edit, r->files, err);
}

static void
publish(Recovery *r, uint64_t position)
{
	LsmDb *db = r->db;
	LsmShared *shared = db->shared;
	uint64_t min_xid = atomic_load(&shared->slots[0].min_xid);
	uint32_t spills = atomic_load(&shared->slots[0].spills);

	atomic_store(&shared->last_seq, r->last_seq);
	lsm_lock(db->env, LSM_LOCK_WRITE, LSM_EXCLUSIVE);
	lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
	shared->slots[0].state = LSM_SLOT_TAKEN;
	lsm_shared_push(shared, 0, position);
	atomic_store(&shared->slots[0].min_xid, min_xid);
	atomic_store(&shared->slots[0].spills, spills);
	shared->manifest_number = db->manifest.number;
	shared->manifest_length = lsm_manifest_length(&db->manifest);
	shared->manifest_base = shared->manifest_length;
	shared->manifest_position = position;
	lsm_throttle_level0(db, r->files);
	atomic_store(&shared->epoch, 1);
	atomic_store(&shared->phase, LSM_PHASE_READY);
	lsm_unlock(db->env, LSM_LOCK_STATE);
	lsm_unlock(db->env, LSM_LOCK_WRITE);
	lsm_follow_set(&db->follow, db->manifest.number, lsm_manifest_length(&db->manifest), r->files);
}

static LsmStatus
recover(Recovery *r, LsmError *err)
{
	LsmDb *db = r->db;
	LsmShared *shared = db->shared;
	LsmManifestState state;
	uint64_t first_number;
	uint64_t position;
	uint64_t below;
	LsmError ignored;
	bool existed;
	LsmStatus status = read_manifest(r, &existed, err);

	if (status != LSM_OK)
		return status;
	state = db->follow.state;
	set_next_file(r, &state);
	first_number = atomic_load(&shared->next_file);
	r->last_seq = state.last_seq;
	position = state.log_number;
	r->memtable = lsm_memtable_init(lsm_shared_arena(shared, 0), shared->options.memtable_size);
	atomic_store(&shared->slots[0].min_xid, UINT64_MAX);
	atomic_store(&shared->slots[0].spills, 0);
	if (existed)
	{
		uint64_t from = position;

		if (state.prev_log_number != 0 && state.prev_log_number < from)
			from = state.prev_log_number;
		status = db->journal->ops->replay(db->journal, from, replay_batch, r, err);
		if (status != LSM_OK)
			return status;
	}
	if (existed && db->journal->concurrent)
		r->last_seq += LSM_SEQUENCE_GAP;
	/*
	 * What was replayed stays in the memtable, unless part of it is in tables
	 * already (then the position must move on), or a torn log would have to be read
	 * again after a second crash.
	 */
	if (r->written.nadded > 0 || db->journal->skipped || !db->journal->concurrent || !existed)
	{
		if (lsm_memtable_entries(r->memtable) > 0)
			status = flush_memtable(r, err);
		if (status == LSM_OK)
			status = db->journal->ops->rotate(db->journal, lsm_new_file_number(db), &position, err);
		if (status != LSM_OK)
			return status;
	}
	status = write_manifest(r, position, err);
	if (status != LSM_OK)
		return status;
	/* others may merge as soon as it is published */
	below = atomic_load(&shared->next_file);
	publish(r, position);
	db->journal->ops->release(db->journal, position);
	/* leftovers that cannot be removed do no harm */
	if (lsm_journal_copying(db->journal) || lsm_sweep_all(db, r->files, db->manifest.number, below, first_number, &ignored) != LSM_OK)
		lsm_sweep_ask(shared);
	return LSM_OK;
}

LsmStatus
lsm_recover(LsmDb *db, LsmError *err)
{
	LsmShared *shared = db->shared;
	Recovery r = {.db = db};
	LsmError local;
	LsmStatus status;

	if (err == NULL)
		err = &local;
	if (atomic_load(&shared->phase) == LSM_PHASE_READY)
		return lsm_fail(err, LSM_INVALID, 0, NULL, 0, "the store is recovered already");
	/* others may write as soon as it is published, but must not flush while we sweep */
	if (!lsm_role_try(db))
		return lsm_fail(err, LSM_INVALID, 0, NULL, 0, "somebody else recovers the store");
	status = recover(&r, err);
	if (status != LSM_OK)
	{
		lsm_manifest_close(&db->manifest);
		lsm_lock(db->env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
		/* who is told to stop has not failed: the next process starts over, and the others go on waiting */
		if (status != LSM_INTERRUPTED)
		{
			shared->kept_error = *err;
			atomic_store(&shared->phase, LSM_PHASE_FAILED);
		}
		lsm_unlock(db->env, LSM_LOCK_STATE);
	}
	lsm_role_give(db);
	lsm_edit_free(&r.written);
	lsm_files_unref(r.files);
	free(r.tables);
	free(r.manifests);
	return status;
}
