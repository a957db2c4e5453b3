/*
 * verify.c - lsm_verify: reads every live file, and compares the manifest with what it finds.
 *
 * A file may be compacted away while it is read.  No pin is held that long
 * (arenas and files would pile up), so damage counts only if the file still is
 * live when it is found.
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/handle.h"

typedef struct Verify
{
	LsmDb *db;
	LsmDamage damage;
	void *arg;
	uint64_t number; /* the file being read */
	bool gone;       /* it left the set meanwhile */
	bool found;      /* damage in it */
} Verify;

static LsmFileMeta *
find_live(LsmDb *db, uint64_t number)
{
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
	{
		const LsmLevel *l = &db->follow.files->levels[level];

		for (int i = 0; i < l->n; i++)
		{
			if (l->files[i]->number == number)
				return l->files[i];
		}
	}
	return NULL;
}

static void
report(void *arg, const LsmError *what)
{
	Verify *v = arg;
	LsmError ignored;

	if (!v->gone && lsm_enter(v->db, &ignored) == LSM_OK)
	{
		v->gone = find_live(v->db, v->number) == NULL;
		lsm_leave(v->db);
	}
	v->found = true;
	if (!v->gone && v->damage != NULL)
		v->damage(v->arg, what);
}

static void
report_text(Verify *v, const LsmFileMeta *file, const char *text)
{
	LsmError what;
	char name[64];

	lsm_file_name(name, LSM_FILE_TABLE, file->number);
	(void) lsm_fail(&what, LSM_CORRUPT, 0, name, 0, "%s", text);
	report(v, &what);
}

/* Does the table begin and end where the manifest says? */
static LsmStatus
check_ends(Verify *v, LsmFileMeta *file, LsmTable *table, LsmError *err)
{
	LsmIter *it = lsm_table_iter(table, false, LSM_ALL_SEQS);

	if (it == NULL)
		return lsm_no_memory(err);
	lsm_iter_seek_first(it);
	if (it->status == LSM_OK && (!it->valid || lsm_slice_compare(it->key, file->smallest) != 0))
		report_text(v, file, "first key differs from the manifest's");
	lsm_iter_seek_last(it);
	if (it->status == LSM_OK && (!it->valid || lsm_slice_compare(it->key, file->largest) != 0))
		report_text(v, file, "last key differs from the manifest's");
	lsm_iter_close(it);
	return LSM_OK;
}

/*
 * Reads the file itself, not through the table cache, so that what is checked is
 * what the disk holds now.
 */
static LsmStatus
verify_file(Verify *v, LsmFileMeta *file, uint64_t *entries, LsmError *err)
{
	LsmDb *db = v->db;
	uint64_t n = 0;
	LsmTable *table;
	LsmError ignored;
	LsmStatus status;

	v->found = false;
	status = lsm_table_verify_file(db->env, file->number, file->size, report, v, &n, err);
	*entries += n;
	if (status == LSM_IO)
	{
		/* a bad sector is damage like any other; the rest is still worth reading */
		LsmError what = *err;

		report(v, &what);
		return LSM_OK;
	}
	if (status != LSM_OK || v->found || v->gone)
		return status;
	if (lsm_table_open(db->env, NULL, file->number, file->size, &table, &ignored) != LSM_OK)
		return LSM_OK; /* it was sound a moment ago: it is gone, or the next run finds out */
	status = check_ends(v, file, table, err);
	lsm_table_unref(table);
	return status;
}

typedef struct Live
{
	uint64_t number;
	uint64_t size;
} Live;

/* All live files, and their bytes. */
static LsmStatus
list_live(LsmDb *db, Live **live, int *n, uint64_t *bytes, LsmError *err)
{
	int total = 0;

	for (int level = 0; level < LSM_NUM_LEVELS; level++)
		total += db->follow.files->levels[level].n;
	*live = malloc(((size_t) total + 1) * sizeof(**live));
	if (*live == NULL)
		return lsm_no_memory(err);
	*n = 0;
	*bytes = 0;
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
	{
		const LsmLevel *l = &db->follow.files->levels[level];

		for (int i = 0; i < l->n; i++)
			(*live)[(*n)++] = (Live){l->files[i]->number, l->files[i]->size};
		*bytes += l->bytes;
	}
	return LSM_OK;
}

/*
 * The manifest as it lies on the disk, read again from its beginning.  Order and overlap of levels are checked
 * while the set is built.
 */
static LsmStatus
verify_manifest(Verify *v, LsmError *err)
{
	LsmDb *db = v->db;
	LsmFollow fresh;
	LsmError what;
	LsmStatus status = lsm_enter(db, err);

	if (status != LSM_OK)
		return status;
	lsm_follow_init(&fresh, db->env);
	status = lsm_follow_to(&fresh, db->follow.number, db->follow.offset, &what);
	lsm_follow_free(&fresh);
	lsm_leave(db);
	if (status != LSM_OK && v->damage != NULL)
		v->damage(v->arg, &what);
	return LSM_OK;
}

LsmStatus
lsm_verify(LsmDb *db, LsmDamage damage, LsmProgress progress, void *arg, uint64_t *files, uint64_t *entries, LsmError *err)
{
	Verify v = {.db = db, .damage = damage, .arg = arg};
	Live *live = NULL;
	uint64_t total = 0;
	uint64_t done = 0;
	uint64_t nfiles = 0;
	uint64_t nentries = 0;
	LsmError local;
	LsmStatus status;
	int n = 0;

	if (err == NULL)
		err = &local;
	status = verify_manifest(&v, err);
	if (status == LSM_OK)
		status = lsm_enter(db, err);
	if (status != LSM_OK)
		return status;
	status = list_live(db, &live, &n, &total, err);
	lsm_leave(db);
	if (status == LSM_OK && progress != NULL)
		progress(arg, 0, total);
	for (int i = 0; i < n && status == LSM_OK; i++)
	{
		LsmFileMeta *file;

		if (lsm_stopping(db))
		{
			status = lsm_fail(err, LSM_INTERRUPTED, 0, NULL, 0, "verification was interrupted");
			break;
		}
		status = lsm_enter(db, err);
		if (status != LSM_OK)
			break;
		file = find_live(db, live[i].number);
		if (file != NULL)
			lsm_file_ref(file);
		lsm_leave(db);
		if (file != NULL)
		{
			v.number = live[i].number;
			v.gone = false;
			status = verify_file(&v, file, &nentries, err);
			nfiles += !v.gone;
			lsm_file_unref(file);
		}
		done += live[i].size;
		if (status == LSM_OK && progress != NULL)
			progress(arg, done, total);
	}
	free(live);
	if (files != NULL)
		*files = nfiles;
	if (entries != NULL)
		*entries = nentries;
	return status;
}
