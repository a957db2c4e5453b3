/*
 * read.c - looking one key up.
 *
 * From newest to oldest: memtables, level 0 (newest file first), then one file
 * a level.  The first version that the reader sees is the answer; locks and
 * versions it does not see are stepped over, through all of these places.
 */
#include "engine/handle.h"
#include "engine/seek.h"
#include "engine/spill.h"

typedef struct Lookup
{
	LsmDb *db;
	const LsmRead *read;
	LsmBuf *value;
	LsmVersion *version;
	LsmStatus status; /* the answer, LSM_NOT_FOUND until there is one */
	LsmError *err;
	bool passed; /* versions that the reader does not see, or perhaps */
} Lookup;

/* One file.  count is NULL unless lookups that search in vain are counted. */
static inline LsmStatus
visit_file(LsmDb *db, LsmSeekCount *count, int level, LsmFileMeta *file, LsmSlice key, uint64_t max_seq, LsmVisit visit,
		   void *arg, bool *stopped, LsmError *err)
{
	bool filtered;
	LsmTable *table;
	LsmStatus status = lsm_table_cache_get(&db->tables, file, &table, err);

	if (status == LSM_OK)
		status = lsm_table_get(table, key, max_seq, visit, arg, stopped, &filtered, err);
	if (__builtin_expect(count != NULL, 0) && status == LSM_OK && !filtered)
		lsm_seek_count(db, count, level, file);
	return status;
}

/*
 * Where a version comes from does not matter: takes a user key's versions, newest
 * first, and calls visit until that returns false.
 */
static LsmStatus
visit_all(LsmDb *db, LsmSlice key, uint64_t max_seq, LsmVisit visit, void *arg, LsmError *err)
{
	LsmFiles *files = db->follow.files;
	bool stopped = false;
	LsmSeekCount seeks = {NULL, 0};
	LsmSeekCount *count = db->shared->options.seek_compaction ? &seeks : NULL;
	LsmStatus status;

	for (int i = 0; i < db->nmems; i++)
	{
		if (!lsm_memtable_get(db->mems[i].memtable, &db->mems[i].finger, key, max_seq, visit, arg))
			return LSM_OK;
	}
	for (int i = 0; i < files->levels[0].n; i++)
	{
		LsmFileMeta *file = files->levels[0].files[i];

		if (lsm_slice_compare(lsm_ikey_user(file->smallest), key) > 0 ||
			lsm_slice_compare(lsm_ikey_user(file->largest), key) < 0)
			continue;
		status = visit_file(db, count, 0, file, key, max_seq, visit, arg, &stopped, err);
		if (status != LSM_OK || stopped)
			return status;
	}
	for (int level = 1; level < LSM_NUM_LEVELS; level++)
	{
		const LsmLevel *l = &files->levels[level];

		if (l->n == 0)
			continue;
		/* more than one file only where LevelDB cut between two versions */
		for (int i = lsm_level_find_user(l, key); i < l->n; i++)
		{
			if (lsm_slice_compare(lsm_ikey_user(l->files[i]->smallest), key) > 0)
				break;
			status = visit_file(db, count, level, l->files[i], key, max_seq, visit, arg, &stopped, err);
			if (status != LSM_OK || stopped)
				return status;
			if (__builtin_expect(i + 1 >= l->n, 0) ||
				__builtin_expect(lsm_slice_compare(lsm_ikey_user(l->files[i]->largest), key) != 0, 1))
				break;
		}
	}
	return LSM_OK;
}

static bool
found(Lookup *lookup, LsmSlice ikey, const LsmStamp *stamp, LsmSlice payload)
{
	if (lookup->version != NULL)
	{
		lookup->version->seq = lsm_ikey_seq(ikey);
		lookup->version->stamp = *stamp;
		lookup->version->generation = lookup->passed ? 0 : lookup->db->mems[0].generation;
	}
	if (stamp->flags & LSM_STAMP_DELETE)
		lookup->status = LSM_NOT_FOUND;
	else if (__builtin_expect((stamp->flags & LSM_STAMP_SPILLED) != 0, 0))
	{
		lookup->status = lsm_spill_read(lookup->db, payload, lookup->value, lookup->err);
		if (lookup->version != NULL)
			lookup->version->stamp.flags &= (uint8_t) ~LSM_STAMP_SPILLED;
	}
	else
		lookup->status = lsm_buf_set(lookup->value, payload.data, payload.len) ? LSM_OK : lsm_no_memory(lookup->err);
	return false;
}

static bool
get_visit(void *arg, LsmSlice ikey, LsmSlice value, volatile uint8_t *hint)
{
	Lookup *lookup = arg;
	LsmStamp stamp = {0, 0, 0};
	LsmSlice payload = value;

	if (lsm_ikey_type(ikey) == LSM_TYPE_DELETION)
		stamp.flags = LSM_STAMP_DELETE;
	else if (lsm_stamped(lookup->db))
	{
		if (!lsm_stamp_decode(value, &stamp, &payload))
		{
			lookup->status = lsm_fail(lookup->err, LSM_CORRUPT, 0, NULL, 0, "a version without a valid stamp");
			return false;
		}
		if (stamp.flags & LSM_STAMP_LOCK)
		{
			lookup->passed = true;
			return true;
		}
		if ((stamp.flags & LSM_STAMP_XACT) && lookup->read->visible != NULL)
		{
			LsmVisible visible = lookup->read->visible(lookup->read->arg, &stamp, hint);

			if (visible == LSM_INVISIBLE)
			{
				lookup->passed = true;
				return true;
			}
			if (visible == LSM_VISIBLE_ERROR)
			{
				lookup->status = lsm_fail(lookup->err, LSM_CORRUPT, 0, NULL, 0,
										  "transaction id %llu is too old to look up", (unsigned long long) stamp.xid);
				return false;
			}
		}
	}
	return found(lookup, ikey, &stamp, payload);
}

LsmStatus
lsm_get(LsmDb *db, const LsmRead *read, LsmSlice key, LsmBuf *value, LsmVersion *version, LsmError *err)
{
	/* above a limit nobody looks */
	Lookup lookup = {db, read, value, version, LSM_NOT_FOUND, err, read->max_seq != LSM_MAX_SEQUENCE};
	uint64_t max_seq = read->max_seq;
	LsmStatus status = lsm_enter(db, err);

	if (status != LSM_OK)
		return status;
	/* After the view: whatever was acknowledged before this call is in it, and no compaction hides what we look for. */
	if (max_seq == LSM_MAX_SEQUENCE && !lsm_stamped(db))
		max_seq = atomic_load_explicit(&db->shared->last_seq, memory_order_acquire);
	status = visit_all(db, key, max_seq, get_visit, &lookup, err);
	lsm_leave(db);
	return status == LSM_OK ? lookup.status : status;
}

/* ---- for writers ---- */

typedef struct VersionWalk
{
	LsmDb *db;
	LsmVersionVisit visit;
	void *arg;
	LsmMark *mark;
	LsmStatus status;
	LsmError *err;
} VersionWalk;

static bool
versions_visit(void *arg, LsmSlice ikey, LsmSlice value, volatile uint8_t *hint)
{
	VersionWalk *walk = arg;
	LsmVersion version = {lsm_ikey_seq(ikey), {0, 0, 0}, 0};
	LsmSlice payload = value;

	if (walk->mark->newest_seq == 0)
		walk->mark->newest_seq = version.seq;
	if (lsm_ikey_type(ikey) == LSM_TYPE_DELETION)
		version.stamp.flags = LSM_STAMP_DELETE;
	else if (lsm_stamped(walk->db))
	{
		if (!lsm_stamp_decode(value, &version.stamp, &payload))
		{
			walk->status = lsm_fail(walk->err, LSM_CORRUPT, 0, NULL, 0, "a version without a valid stamp");
			return false;
		}
		if (version.stamp.flags & LSM_STAMP_SPILLED)
		{
			walk->status = lsm_spill_read(walk->db, payload, &walk->db->spill, walk->err);
			if (walk->status != LSM_OK)
				return false;
			payload = lsm_buf_slice(&walk->db->spill);
			version.stamp.flags &= (uint8_t) ~LSM_STAMP_SPILLED;
		}
	}
	return walk->visit(walk->arg, &version, payload, hint);
}

LsmStatus
lsm_versions(LsmDb *db, LsmSlice key, LsmVersionVisit visit, void *arg, LsmMark *mark, LsmError *err)
{
	LsmMark local;
	VersionWalk walk = {db, visit, arg, mark != NULL ? mark : &local, LSM_OK, err};
	uint64_t max_seq = LSM_MAX_SEQUENCE;
	LsmStatus status = lsm_enter(db, err);

	if (status != LSM_OK)
		return status;
	if (!lsm_stamped(db))
		max_seq = atomic_load_explicit(&db->shared->last_seq, memory_order_acquire);
	walk.mark->generation = db->mems[0].generation;
	walk.mark->newest_seq = 0;
	walk.mark->entries = lsm_memtable_entries(db->mems[0].memtable);
	status = visit_all(db, key, max_seq, versions_visit, &walk, err);
	lsm_leave(db);
	return status == LSM_OK ? walk.status : status;
}

static bool
newest_visit(void *arg, LsmSlice ikey, LsmSlice value, volatile uint8_t *hint)
{
	(void) value;
	(void) hint;
	*(uint64_t *) arg = lsm_ikey_seq(ikey);
	return false;
}

/*
 * The active memtable if it still is the mark's, else NULL.  A pin without a
 * view: the caller holds a lock, so no file may be read.  If the generation is
 * the mark's while the pin is in place, the arena stays.
 */
static LsmMemtable *
pin_active(LsmDb *db, const LsmMark *mark)
{
	LsmShared *shared = db->shared;
	int slot;

	if (db->pin_depth == 0)
	{
		uint64_t epoch;

		do
		{
			epoch = atomic_load(&shared->epoch);
			atomic_exchange(db->pin, epoch);
		} while (atomic_load(&shared->epoch) != epoch);
	}
	if (atomic_load(&shared->active_generation) != mark->generation)
		return NULL;
	slot = atomic_load(&shared->active);
	/* a rotation between the two loads shows in the generation */
	if (atomic_load(&shared->active_generation) != mark->generation)
		return NULL;
	return lsm_shared_arena(shared, slot);
}

static void
unpin_active(LsmDb *db)
{
	if (db->pin_depth == 0)
		atomic_store_explicit(db->pin, 0, memory_order_release);
}

/*
 * `known` was the first of the key's versions in a view.  What was in the view's other
 * memtables and tables then is all that is there now, as long as the active
 * memtable is the same: later writes went into that.
 */
LsmStatus
lsm_versions_known(LsmDb *db, LsmSlice key, const LsmVersion *known, LsmVersionVisit visit, void *arg, LsmMark *mark,
				   LsmError *err)
{
	VersionWalk walk = {db, visit, arg, mark, LSM_OK, err};
	LsmMemtable *memtable = NULL;

	mark->generation = known->generation;
	if (known->generation != 0 && lsm_stamped(db))
	{
		memtable = pin_active(db, mark);
		if (memtable == NULL)
			unpin_active(db);
	}
	if (memtable == NULL)
		return lsm_versions(db, key, visit, arg, mark, err);
	mark->newest_seq = 0;
	mark->entries = lsm_memtable_entries(memtable);
	if (lsm_memtable_get(memtable, lsm_finger(db, known->generation), key, LSM_MAX_SEQUENCE, versions_visit, &walk))
	{
		if (mark->newest_seq == 0)
			mark->newest_seq = known->seq;
		(void) visit(arg, known, lsm_slice(NULL, 0), NULL);
	}
	unpin_active(db);
	return walk.status;
}

LsmStatus
lsm_recheck(LsmDb *db, LsmSlice key, const LsmMark *mark, LsmError *err)
{
	LsmMemtable *memtable = pin_active(db, mark);
	uint64_t newest = 0;

	/* Who writes to the key has counted that before it lets go of the stripe. */
	if (memtable != NULL && lsm_memtable_entries(memtable) != mark->entries)
		(void) lsm_memtable_get(memtable, lsm_finger(db, mark->generation), key, LSM_MAX_SEQUENCE, newest_visit, &newest);
	unpin_active(db);
	if (memtable == NULL)
		return lsm_fail(err, LSM_BUSY, 0, NULL, 0, "the memtable was rotated");
	if (newest > mark->newest_seq)
		return lsm_fail(err, LSM_BUSY, 0, NULL, 0, "the key was written");
	return LSM_OK;
}

typedef struct StepOver
{
	bool (*dead)(const LsmStamp *stamp, uint8_t hint);
} StepOver;

static bool
dead_visit(void *arg, LsmSlice value, volatile uint8_t *hint)
{
	StepOver *step = arg;
	LsmSlice payload;
	LsmStamp stamp;

	/* Spill files of a memtable are found by walking through it. */
	return lsm_stamp_decode(value, &stamp, &payload) && (stamp.flags & LSM_STAMP_SPILLED) == 0 &&
		   (stamp.flags & LSM_STAMP_XACT) && step->dead(&stamp, *hint);
}

void
lsm_step_over(LsmDb *db, LsmSlice key, const LsmMark *mark, bool (*dead)(const LsmStamp *stamp, uint8_t hint))
{
	LsmMemtable *memtable = pin_active(db, mark);
	StepOver step = {dead};

	if (memtable != NULL && lsm_stamped(db))
		lsm_memtable_step_over(memtable, key, dead_visit, &step);
	unpin_active(db);
}

int
lsm_stripe(LsmSlice key)
{
	return LSM_LOCK_STRIPE + (int) (lsm_key_hash(key) % LSM_NUM_STRIPES);
}
