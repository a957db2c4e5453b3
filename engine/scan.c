/*
 * scan.c - walking through a range in either direction.
 *
 * Below lies one merging iterator over the memtables, the files of level 0 and
 * one concatenation of files for each deeper level, all restricted to what
 * overlaps the range.  Forward it stands on the version that is shown; backward
 * it stands before all versions of the shown key, whose value was copied on the
 * way (versions come oldest first then, and the newest visible one is wanted).
 *
 * The current user key is always kept as a copy: to step over the key's other
 * versions, and to find the place again in a new view when the epoch has moved
 * since the last call.
 *
 * Forward most entries come in runs (run.h), which lie in memory of the scan's own: within a run nothing is asked of
 * the iterator, the view or the pin.
 */
#include "engine/handle.h"

#include <stdlib.h>
#include <string.h>

#include "engine/dead.h"
#include "engine/level_iter.h"
#include "engine/spill.h"

typedef enum Place
{
	PLACE_NONE, /* nowhere, or past an end */
	PLACE_FORWARD,
	PLACE_BACKWARD
} Place;

#define LOOK_VERSIONS 1024

typedef struct Scan
{
	LsmScan pub;
	LsmDb *db;
	LsmRead read;
	uint64_t max_seq;
	bool snapshot;  /* max_seq is registered as one of our own */
	LsmSeqs wanted; /* nobody wants what lies outside */
	LsmBuf lower;
	LsmBuf upper;

	/* the view that `it` is over */
	uint64_t epoch;
	uint64_t generation; /* of its active memtable */
	LsmFiles *files;
	LsmFileMeta **kept; /* of deeper levels, those that may hold what is wanted; NULL: all */
	LsmIter *it;

	bool pinned;
	uint64_t era; /* db->pin_era when it was pinned */
	Place place;
	LsmBuf key;    /* the user key shown, or to be passed over */
	LsmBuf value;  /* backward and spilled values */
	LsmBuf target; /* seek keys */

	LsmDeadCount passed;

	/* Forward the entries of a run are shown before the iterator, which stands at its end, is asked again. */
	LsmRun *run; /* NULL: there was none yet */
	int shown;   /* which of the run is; -1: the iterator's own entry */
} Scan;

/* Keeps a user key.  As lsm_buf_set, but inline: this is done for every row. */
static inline bool
keep_key(LsmBuf *kept, LsmSlice user)
{
	if (__builtin_expect(kept->cap < user.len || kept->data == NULL, 0))
		return lsm_buf_set(kept, user.data, user.len);
	memcpy(kept->data, user.data, user.len);
	kept->len = user.len;
	return true;
}

/* ---- ends and errors ---- */

static void
release_pin(Scan *s)
{
	if (s->pinned && s->era == s->db->pin_era)
		lsm_leave(s->db);
	s->pinned = false;
}

static void
stop(Scan *s, LsmStatus status)
{
	s->pub.valid = false;
	s->pub.status = status;
	s->place = PLACE_NONE;
	release_pin(s);
}

static void
out_of_memory(Scan *s)
{
	stop(s, lsm_no_memory(&s->pub.err));
}

/* A move may pass over any number of versions that nobody shows.  False: stopped. */
static bool
may_go_on(Scan *s, uint32_t *passed)
{
	if ((++*passed & (LOOK_VERSIONS - 1)) != 0 || !lsm_stopping(s->db))
		return true;
	stop(s, lsm_fail(&s->pub.err, LSM_INTERRUPTED, 0, NULL, 0, "scan was interrupted"));
	return false;
}

/* The iterator ended: was it an error? */
static void
at_end(Scan *s)
{
	if (s->it->status != LSM_OK)
		s->pub.err = s->it->err;
	stop(s, s->it->status);
}

/* ---- the iterator over everything ---- */

static void
drop_iterator(Scan *s)
{
	if (s->it != NULL)
		lsm_iter_close(s->it);
	lsm_files_unref(s->files);
	free(s->kept);
	s->it = NULL;
	s->files = NULL;
	s->kept = NULL;
}

/* Files [*from, *to) of a deeper level overlap the scan's range. */
static void
files_in_range(const Scan *s, const LsmLevel *level, int *from, int *to)
{
	int i = lsm_level_find_user(level, lsm_buf_slice(&s->lower));

	*from = i;
	while (i < level->n && lsm_file_overlaps(level->files[i], lsm_buf_slice(&s->lower), lsm_buf_slice(&s->upper)))
		i++;
	*to = i;
}

static bool
is_choosy(const Scan *s)
{
	return s->wanted.min > 0 || s->wanted.max < LSM_MAX_SEQUENCE;
}

/* Does a file hold none of the sequences?  (One that cannot be opened is left to the scan, which says so.) */
static bool
without(Scan *s, LsmFileMeta *file, LsmSeqs wanted)
{
	LsmTable *table;
	LsmError ignored;

	if (!is_choosy(s) || (!file->asked && lsm_table_cache_get(&s->db->tables, file, &table, &ignored) != LSM_OK))
		return false;
	return file->props.known && !lsm_seqs_meet(lsm_file_seqs(file), wanted);
}

/*
 * What is read of some files, those of a level or one of level 0, whose iterator becomes another child.
 *
 * What holds only older versions than those that are wanted can always be left out: it hides nothing newer, for what hides a
 * version is newer itself.  What holds only newer ones hides older ones, so it can be left out only if those are in no file
 * that is read; so when nothing older is, which `lowest` tells.
 */
static bool
add_files(Scan *s, LsmFileMeta **files, int n, bool *lowest, LsmIter **children, int *nchildren, int *nkept)
{
	LsmSeqs wanted = {s->wanted.min, *lowest ? s->wanted.max : LSM_MAX_SEQUENCE};

	if (s->kept != NULL)
	{
		LsmFileMeta **kept = s->kept + *nkept;
		int all = n;

		n = 0;
		for (int i = 0; i < all; i++)
			if (!without(s, files[i], wanted))
				kept[n++] = files[i];
		files = kept;
		*nkept += n;
	}
	if (n == 0)
		return true;
	*lowest = false;
	children[*nchildren] = lsm_level_iter(&s->db->tables, files, n, true, wanted);
	if (children[*nchildren] == NULL)
		return false;
	++*nchildren;
	return true;
}

/* Room for the files that are wanted; false when out of memory. */
static bool
room_for_kept(Scan *s, const LsmFiles *files)
{
	size_t n = 0;

	if (!is_choosy(s))
		return true;
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
		n += (size_t) files->levels[level].n;
	s->kept = malloc((n + 1) * sizeof(LsmFileMeta *));
	return s->kept != NULL;
}

static bool
build_iterator(Scan *s)
{
	LsmDb *db = s->db;
	const LsmFiles *files = db->follow.files;
	LsmIter **children = malloc((size_t) (db->nmems + files->levels[0].n + LSM_NUM_LEVELS) * sizeof(LsmIter *));
	bool ok = children != NULL;
	bool lowest = true;
	int nkept = 0;
	int n = 0;

	drop_iterator(s);
	ok = ok && room_for_kept(s, files);
	/* from old to new */
	for (int level = LSM_NUM_LEVELS - 1; ok && level > 0; level--)
	{
		int from;
		int to;

		files_in_range(s, &files->levels[level], &from, &to);
		ok = add_files(s, files->levels[level].files + from, to - from, &lowest, children, &n, &nkept);
	}
	for (int i = files->levels[0].n - 1; ok && i >= 0; i--)
	{
		LsmFileMeta **file = &files->levels[0].files[i];

		if (lsm_file_overlaps(*file, lsm_buf_slice(&s->lower), lsm_buf_slice(&s->upper)))
			ok = add_files(s, file, 1, &lowest, children, &n, &nkept);
	}
	for (int i = 0; ok && i < db->nmems; i++)
	{
		/* what comes into it later is not for this reader: its snapshot is older */
		if (lsm_memtable_entries(db->mems[i].memtable) == 0)
			continue;
		children[n] = lsm_memtable_iter(db->mems[i].memtable);
		ok = children[n] != NULL;
		n += ok;
	}
	if (ok)
		s->it = lsm_merge_iter(children, n);
	else
	{
		for (int i = 0; i < n; i++)
			lsm_iter_close(children[i]);
	}
	free(children);
	if (s->it == NULL)
	{
		out_of_memory(s);
		return false;
	}
	s->files = db->follow.files;
	lsm_files_ref(s->files);
	s->epoch = db->view_epoch;
	s->generation = db->mems[0].generation;
	return true;
}

/*
 * Makes sure of a pin and an iterator over the current view.  *moved: the
 * iterator is a new one and stands nowhere.  false after an error.
 */
static inline bool
prepare(Scan *s, bool *moved)
{
	LsmDb *db = s->db;
	LsmStatus status;

	*moved = false;
	if (s->pinned && s->era == db->pin_era)
	{
		if (__builtin_expect(atomic_load_explicit(&db->shared->epoch, memory_order_acquire) == s->epoch, 1))
			return true;
		/* Long scans must not hold arenas and files back. */
		lsm_leave(db);
	}
	s->pinned = false;
	status = lsm_enter(db, &s->pub.err);
	if (status != LSM_OK)
	{
		stop(s, status);
		return false;
	}
	s->pinned = true;
	s->era = db->pin_era;
	if (s->it != NULL && s->epoch == db->view_epoch)
		return true;
	*moved = true;
	return build_iterator(s);
}

/* First entry with a user key >= key (after = false), or > key. */
static bool
seek_to(Scan *s, LsmSlice key, bool after)
{
	s->target.len = 0;
	if (!lsm_ikey_append(&s->target, key, after ? 0 : LSM_MAX_SEQUENCE, after ? LSM_TYPE_DELETION : LSM_TYPE_FOR_SEEK))
	{
		out_of_memory(s);
		return false;
	}
	lsm_iter_seek(s->it, lsm_buf_slice(&s->target));
	/* (key, 0, deletion) may exist itself only in foreign files; it is passed over like any other version */
	return true;
}

/* Last entry with a user key < key. */
static bool
seek_before(Scan *s, LsmSlice key)
{
	if (!seek_to(s, key, false))
		return false;
	if (s->it->valid)
		lsm_iter_prev(s->it);
	else if (s->it->status == LSM_OK)
		lsm_iter_seek_last(s->it);
	return true;
}

/* ---- what is visible ---- */

typedef enum Verdict
{
	SKIP,    /* not for this reader */
	SHOW,    /* this is the key's version */
	DELETED, /* the key is deleted for this reader */
	FAILED   /* the scan was stopped */
} Verdict;

/* Judges the entry the iterator stands on; fills stamp and payload. */
static inline Verdict
judge(Scan *s, uint64_t trailer, LsmStamp *stamp, LsmSlice *payload)
{
	*stamp = (LsmStamp){0, 0, 0};
	if ((trailer >> 8) > s->max_seq)
		return SKIP;
	if ((trailer & 0xff) == LSM_TYPE_DELETION)
		return DELETED;
	*payload = s->it->value;
	if (!lsm_stamped(s->db))
		return SHOW;
	/* Most versions are settled values, whose stamp is a zero byte. */
	if (payload->len > 0 && payload->data[0] == 0)
	{
		*payload = lsm_slice(payload->data + 1, payload->len - 1);
		return SHOW;
	}
	if (!lsm_stamp_decode(s->it->value, stamp, payload))
	{
		stop(s, lsm_fail(&s->pub.err, LSM_CORRUPT, 0, NULL, 0, "a version without a valid stamp"));
		return FAILED;
	}
	if (stamp->flags & LSM_STAMP_LOCK)
		return SKIP;
	if ((stamp->flags & LSM_STAMP_XACT) && s->read.visible != NULL)
	{
		LsmVisible visible = s->read.visible(s->read.arg, stamp, lsm_iter_hint(s->it));

		if (visible == LSM_INVISIBLE)
			return SKIP;
		if (visible == LSM_VISIBLE_ERROR)
		{
			stop(s, lsm_fail(&s->pub.err, LSM_CORRUPT, 0, NULL, 0, "transaction id %llu is too old to look up",
							 (unsigned long long) stamp->xid));
			return FAILED;
		}
	}
	return (stamp->flags & LSM_STAMP_DELETE) ? DELETED : SHOW;
}

/* Checks the entry's key; false (and stopped) if it cannot be one. */
static inline bool
sound(Scan *s)
{
	if (__builtin_expect(lsm_ikey_ok(s->it->key), 1))
		return true;
	stop(s, lsm_fail(&s->pub.err, LSM_CORRUPT, 0, NULL, 0, "a key without a valid trailer"));
	return false;
}

static void
show(Scan *s, uint64_t seq, const LsmStamp *stamp, LsmSlice payload, bool steady)
{
	s->pub.valid = true;
	s->pub.steady = steady;
	s->pub.status = LSM_OK;
	s->pub.key = lsm_buf_slice(&s->key);
	s->pub.value = payload;
	s->pub.version.seq = seq;
	s->pub.version.stamp = *stamp;
	s->pub.version.generation = 0;
	if (__builtin_expect((stamp->flags & LSM_STAMP_SPILLED) != 0, 0))
	{
		LsmStatus status = lsm_spill_read(s->db, payload, &s->db->spill, &s->pub.err);

		if (status == LSM_OK && !lsm_buf_set(&s->value, s->db->spill.data, s->db->spill.len))
			status = lsm_no_memory(&s->pub.err);
		if (status != LSM_OK)
		{
			stop(s, status);
			return;
		}
		s->pub.value = lsm_buf_slice(&s->value);
		s->pub.steady = true;
		s->pub.version.stamp.flags &= (uint8_t) ~LSM_STAMP_SPILLED;
	}
}

static inline bool
is_wanted(const Scan *s, uint64_t seq)
{
	return seq >= s->wanted.min && seq <= s->wanted.max;
}

/*
 * From where the iterator stands to the next entry to show.  Versions of the
 * user key in s->key are passed over if `passing`.
 */
static void
find_forward(Scan *s, bool passing)
{
	LsmSlice upper = lsm_buf_slice(&s->upper);
	bool skipped = false;
	uint64_t dead = 0;
	uint32_t passed = 0;

	for (; s->it->valid; lsm_iter_next(s->it))
	{
		LsmSlice payload;
		LsmSlice user;
		LsmStamp stamp;
		uint64_t trailer;

		if (!sound(s) || !may_go_on(s, &passed))
			return;
		user = lsm_ikey_user(s->it->key);
		if (passing && lsm_same_key(lsm_buf_slice(&s->key), user))
		{
			lsm_dead_pass(&s->passed, dead++, lsm_buf_slice(&s->key));
			continue;
		}
		if (lsm_behind(user, upper))
		{
			lsm_dead_count(s->db, &s->passed, dead, lsm_buf_slice(&s->key));
			stop(s, LSM_OK);
			return;
		}
		trailer = lsm_ikey_trailer(s->it->key);
		switch (judge(s, trailer, &stamp, &payload))
		{
			case SKIP:
				skipped = true;
				break;
			case FAILED:
				return;
			case SHOW:
			case DELETED:
				if (!keep_key(&s->key, user))
				{
					out_of_memory(s);
					return;
				}
				passing = true;
				s->place = PLACE_FORWARD;
				if ((trailer & 0xff) == LSM_TYPE_DELETION || (stamp.flags & LSM_STAMP_DELETE))
				{
					lsm_dead_pass(&s->passed, dead++, lsm_buf_slice(&s->key));
					break;
				}
				lsm_dead_count(s->db, &s->passed, dead, lsm_buf_slice(&s->key));
				show(s, trailer >> 8, &stamp, payload, s->it->steady);
				/* (skipped: perhaps of another key, that does not matter much; what is not wanted may have a newer one in a file left out) */
				s->pub.version.generation = skipped || !is_wanted(s, trailer >> 8) ? 0 : s->generation;
				return;
		}
	}
	lsm_dead_count(s->db, &s->passed, dead, lsm_buf_slice(&s->key));
	at_end(s);
}

/*
 * From where the iterator stands (on the oldest version of some key, or
 * nowhere) back to the next key to show; ends before that key's versions.
 */
static void
find_backward(Scan *s)
{
	LsmSlice lower = lsm_buf_slice(&s->lower);
	bool have_key = false; /* s->key is the key whose versions are being read */
	bool visible = false;  /* its newest visible version so far is a value, in s->value */
	LsmStamp best = {0, 0, 0};
	uint64_t best_seq = 0;
	uint64_t dead = 0;
	uint32_t passed = 0;

	for (; s->it->valid; lsm_iter_prev(s->it))
	{
		LsmSlice payload;
		LsmSlice user;
		LsmStamp stamp;
		uint64_t trailer;

		if (!sound(s) || !may_go_on(s, &passed))
			return;
		user = lsm_ikey_user(s->it->key);
		if (!have_key || !lsm_same_key(lsm_buf_slice(&s->key), user))
		{
			if (visible)
				break;
			if (lsm_slice_compare(user, lower) < 0)
			{
				lsm_dead_count(s->db, &s->passed, dead, lsm_buf_slice(&s->key));
				stop(s, LSM_OK);
				return;
			}
			if (!keep_key(&s->key, user))
			{
				out_of_memory(s);
				return;
			}
			have_key = true;
			s->place = PLACE_BACKWARD;
		}
		trailer = lsm_ikey_trailer(s->it->key);
		switch (judge(s, trailer, &stamp, &payload))
		{
			case SKIP:
				break;
			case FAILED:
				return;
			case DELETED:
				visible = false;
				lsm_dead_pass(&s->passed, dead++, lsm_buf_slice(&s->key));
				break;
			case SHOW:
				if (visible)
					lsm_dead_pass(&s->passed, dead++, lsm_buf_slice(&s->key));
				visible = true;
				best = stamp;
				best_seq = trailer >> 8;
				if (!lsm_buf_set(&s->value, payload.data, payload.len))
				{
					out_of_memory(s);
					return;
				}
				break;
		}
	}
	lsm_dead_count(s->db, &s->passed, dead, lsm_buf_slice(&s->key));
	if (!visible || s->it->status != LSM_OK)
	{
		at_end(s);
		return;
	}
	show(s, best_seq, &best, lsm_buf_slice(&s->value), true);
}

/* ---- runs ---- */

/* The run behind the shown entry, on which the iterator stands; false if there is none. */
static bool
find_run(Scan *s)
{
	LsmRun *run = s->run;

	if (is_choosy(s))
		return false;
	if (run == NULL)
	{
		/* Room for any key of it, so that leave_run cannot fail. */
		if (!lsm_buf_reserve(&s->key, LSM_RUN_KEYS) || (run = malloc(sizeof(LsmRun))) == NULL)
			return false;
		s->run = run;
		run->max_seq = s->max_seq;
		run->stamped = lsm_stamped(s->db);
		run->max = 1;
	}
	/* Who wants only a few need not read more than twice that. */
	if (run->max < LSM_RUN_MAX)
		run->max *= 2;
	lsm_iter_run(s->it, run, lsm_buf_slice(&s->upper));
	if (run->n == 0)
		return false;
	lsm_dead_shown(&s->passed, run->n);
	s->pub.steady = true;
	s->pub.version.stamp = (LsmStamp){0, 0, 0};
	s->pub.version.generation = s->generation;
	return true;
}

static inline void
show_of_run(Scan *s, int i)
{
	const LsmRunEntry *entry = &s->run->entries[i];

	s->pub.key = entry->user;
	s->pub.value = entry->value;
	s->pub.version.seq = entry->seq;
	s->shown = i;
}

/* What is left of the run is not wanted.  The iterator stands at its end. */
static inline void
leave_run(Scan *s)
{
	if (s->shown < 0)
		return;
	(void) keep_key(&s->key, s->pub.key);
	if (s->shown + 1 < s->run->n)
		s->place = PLACE_NONE;
	s->shown = -1;
}

/* ---- moves ---- */

void
lsm_scan_first(LsmScan *scan)
{
	Scan *s = (Scan *) scan;
	bool moved;

	leave_run(s);
	if (!prepare(s, &moved))
		return;
	if (s->lower.len == 0)
		lsm_iter_seek_first(s->it);
	else if (!seek_to(s, lsm_buf_slice(&s->lower), false))
		return;
	find_forward(s, false);
}

void
lsm_scan_seek(LsmScan *scan, LsmSlice key)
{
	Scan *s = (Scan *) scan;
	bool moved;

	leave_run(s);
	if (lsm_slice_compare(key, lsm_buf_slice(&s->lower)) < 0)
		key = lsm_buf_slice(&s->lower);
	if (!prepare(s, &moved) || !seek_to(s, key, false))
		return;
	find_forward(s, false);
}

void
lsm_scan_last(LsmScan *scan)
{
	Scan *s = (Scan *) scan;
	bool moved;

	leave_run(s);
	if (!prepare(s, &moved))
		return;
	if (s->upper.len == 0)
		lsm_iter_seek_last(s->it);
	else if (!seek_before(s, lsm_buf_slice(&s->upper)))
		return;
	find_backward(s);
}

void
lsm_scan_seek_last(LsmScan *scan, LsmSlice key)
{
	Scan *s = (Scan *) scan;
	bool moved;

	leave_run(s);
	if (s->upper.len > 0 && lsm_slice_compare(key, lsm_buf_slice(&s->upper)) >= 0)
	{
		lsm_scan_last(scan);
		return;
	}
	if (!prepare(s, &moved) || !seek_to(s, key, true))
		return;
	/* now behind all of key's versions, or past the end */
	while (s->it->valid && lsm_ikey_ok(s->it->key) && lsm_slice_compare(lsm_ikey_user(s->it->key), key) <= 0)
		lsm_iter_next(s->it);
	if (s->it->valid)
		lsm_iter_prev(s->it);
	else if (s->it->status == LSM_OK)
		lsm_iter_seek_last(s->it);
	find_backward(s);
}

void
lsm_scan_next(LsmScan *scan)
{
	Scan *s = (Scan *) scan;
	bool moved;

	if (!scan->valid)
		return;
	if (s->shown >= 0)
	{
		if (s->shown + 1 < s->run->n)
		{
			show_of_run(s, s->shown + 1);
			return;
		}
		leave_run(s);
	}
	if (!prepare(s, &moved))
		return;
	if (!moved && s->place == PLACE_FORWARD)
	{
		if (find_run(s))
		{
			show_of_run(s, 0);
			return;
		}
		lsm_iter_next(s->it);
	}
	else if (!seek_to(s, lsm_buf_slice(&s->key), true))
		return;
	find_forward(s, true);
}

void
lsm_scan_prev(LsmScan *scan)
{
	Scan *s = (Scan *) scan;
	bool moved;

	if (!scan->valid)
		return;
	leave_run(s);
	if (!prepare(s, &moved))
		return;
	if ((moved || s->place != PLACE_BACKWARD) && !seek_before(s, lsm_buf_slice(&s->key)))
		return;
	find_backward(s);
}

int
lsm_scan_take_run(LsmScan *scan, const LsmRunEntry **entries)
{
	Scan *s = (Scan *) scan;
	int n;

	if (!scan->valid || s->shown < 0)
		return 0;
	*entries = &s->run->entries[s->shown];
	n = s->run->n - s->shown;
	show_of_run(s, s->run->n - 1);
	return n;
}

void
lsm_scan_release(LsmScan *scan)
{
	release_pin((Scan *) scan);
}

/* ---- life ---- */

LsmStatus
lsm_scan_open(LsmDb *db, const LsmRead *read, LsmSlice lower, LsmSlice upper, LsmScan **scan, LsmError *err)
{
	LsmStatus status = lsm_ready(db, err);
	Scan *s;

	if (status != LSM_OK)
		return status;
	s = calloc(1, sizeof(Scan));
	if (s == NULL)
		return lsm_no_memory(err);
	s->db = db;
	s->read = *read;
	if (!lsm_buf_set(&s->lower, lower.data, lower.len) || !lsm_buf_set(&s->upper, upper.data, upper.len))
	{
		lsm_buf_free(&s->lower);
		lsm_buf_free(&s->upper);
		free(s);
		return lsm_no_memory(err);
	}
	s->shown = -1;
	s->max_seq = read->max_seq;
	s->wanted = LSM_ALL_SEQS;
	if (s->max_seq == LSM_MAX_SEQUENCE && !lsm_stamped(db))
	{
		/* A scan lives over many views: compaction must keep what it has yet to come to. */
		s->max_seq = lsm_snapshot_take(db);
		s->snapshot = true;
	}
	*scan = &s->pub;
	return LSM_OK;
}

void
lsm_scan_want(LsmScan *scan, LsmSeqs wanted)
{
	((Scan *) scan)->wanted = wanted;
}

void
lsm_scan_close(LsmScan *scan)
{
	Scan *s = (Scan *) scan;

	if (s == NULL)
		return;
	release_pin(s);
	drop_iterator(s);
	if (s->snapshot)
		lsm_snapshot_release(s->db, s->max_seq);
	lsm_buf_free(&s->lower);
	lsm_buf_free(&s->upper);
	lsm_buf_free(&s->key);
	lsm_buf_free(&s->value);
	lsm_buf_free(&s->target);
	lsm_buf_free(&s->passed.from);
	free(s->run);
	free(s);
}
