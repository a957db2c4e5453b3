/*
 * repair.c - see repair.h.
 *
 *   list the directory
 *   manifest    read what can be read: the files of each level, the journal's position,
 *               which tables have been deleted
 *   tables      read each one whole; of a damaged one write what can be read to new ones
 *   logs        (standalone) write damaged ones anew with the records that can be
 *               read; the next start replays them
 *   new manifest, CURRENT
 *
 * If the manifest could be read whole, tables stay in their levels, and what it does not name
 * is left out.  Otherwise, and if a table of level 0 is damaged (its number tells
 * its age), nobody knows any more which of two tables holds the newer versions: sequence
 * numbers of single entries tell, so all tables are merged into one sorted run.  The
 * tables are put together to as few runs of disjoint ones as possible first.
 *
 * Nothing is removed here.  Damaged files and old manifests are renamed, and the next start
 * removes the tables that were merged.  A crash on the way leaves files that nothing names; repair
 * may be run again.
 */
#include "engine/repair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/level_iter.h"
#include "engine/log.h"
#include "engine/output.h"
#include "engine/repair_log.h"
#include "engine/table_handle.h"

typedef struct Numbers
{
	uint64_t *numbers;
	int n, cap;
} Numbers;

typedef struct Repair
{
	LsmDb *db;
	LsmDamage damage;
	void *arg;
	LsmRepairResult *result;
	bool no_memory; /* while listing */
	Numbers tables, logs, manifests;
	uint64_t max_number;
	bool found; /* damage, in the file being read */

	Numbers bad;       /* tables that are to be set aside */
	uint32_t looked;   /* entries since the last look around, and before */
	LsmFiles *known;   /* what the manifest says; NULL if it cannot be read */
	Numbers deleted;   /* tables that some manifest says are deleted */
	bool has_position; /* some manifest told one */
	bool merge;        /* the order of the tables is not known */
	uint64_t last_seq;

	LsmEdit edit;        /* what the store will consist of */
	LsmFileMeta **files; /* to be merged */
	int nfiles, cap_files;
} Repair;

static bool
numbers_add(Numbers *list, uint64_t number)
{
	if (list->n == list->cap)
	{
		int cap = list->cap > 0 ? list->cap * 2 : 64;
		uint64_t *numbers = realloc(list->numbers, (size_t) cap * sizeof(*numbers));

		if (numbers == NULL)
			return false;
		list->numbers = numbers;
		list->cap = cap;
	}
	list->numbers[list->n++] = number;
	return true;
}

static bool
numbers_have(const Numbers *list, uint64_t number)
{
	for (int i = 0; i < list->n; i++)
	{
		if (list->numbers[i] == number)
			return true;
	}
	return false;
}

static int
ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *) a;
	uint64_t y = *(const uint64_t *) b;

	return x < y ? -1 : x > y;
}

static void
numbers_sort(Numbers *list)
{
	if (list->n > 1)
		qsort(list->numbers, (size_t) list->n, sizeof(*list->numbers), ascending);
}

static void
note_file(void *arg, const char *name)
{
	Repair *r = arg;
	LsmFileKind kind;
	uint64_t number;
	bool ok = true;

	if (!lsm_parse_file_name(name, &kind, &number))
		return;
	if (kind == LSM_FILE_TABLE)
		ok = numbers_add(&r->tables, number);
	else if (kind == LSM_FILE_LOG)
		ok = numbers_add(&r->logs, number);
	else if (kind == LSM_FILE_MANIFEST)
		ok = numbers_add(&r->manifests, number);
	if (!ok)
		r->no_memory = true;
	if (number > r->max_number)
		r->max_number = number;
}

static void
report(void *arg, const LsmError *what)
{
	Repair *r = arg;

	r->found = true;
	r->damage(r->arg, what);
}

static void
report_text(Repair *r, const char *name, uint64_t offset, const char *text)
{
	LsmError what;

	(void) lsm_fail(&what, LSM_CORRUPT, 0, name, offset, "%s", text);
	report(r, &what);
}

/* Out of the way of sweeps, but there for whoever wants to look. */
static LsmStatus
set_aside(Repair *r, const char *name, LsmError *err)
{
	char aside[80];

	snprintf(aside, sizeof(aside), "%s.bad", name);
	return r->db->env->ops->rename(r->db->env, name, aside, err);
}

/* ---- the manifest ---- */

typedef struct ManifestDamage
{
	Repair *r;
	const char *name;
} ManifestDamage;

static void
manifest_damage(void *arg, uint64_t offset, uint64_t bytes, const char *why)
{
	ManifestDamage *d = arg;

	(void) bytes;
	report_text(d->r, d->name, offset, why);
}

/* Position, deletions and last sequence, of every record that can be read.  Manifests come in ascending order. */
static LsmStatus
read_edits(Repair *r, uint64_t number, LsmError *err)
{
	ManifestDamage damage = {.r = r};
	LsmLogReader *reader = NULL;
	LsmFile *file;
	LsmSlice record;
	char name[64];
	LsmStatus status;

	lsm_file_name(name, LSM_FILE_MANIFEST, number);
	damage.name = name;
	status = lsm_file_open(r->db->env, name, LSM_OPEN_READ, &file, err);
	if (status != LSM_OK)
		return status;
	status = lsm_log_reader_new(file, 0, manifest_damage, &damage, &reader, err);
	while (status == LSM_OK && (status = lsm_log_read(reader, &record, err)) == LSM_OK)
	{
		LsmEdit edit = {0};
		LsmError what;

		status = lsm_edit_decode(record, &edit, name, lsm_log_record_offset(reader), &what);
		if (status == LSM_CORRUPT)
		{
			report(r, &what);
			status = LSM_OK;
		}
		else if (status == LSM_OK)
		{
			if (edit.has_log_number)
			{
				r->result->position = edit.log_number;
				r->has_position = true;
			}
			if (edit.has_last_seq && edit.last_seq > r->last_seq)
				r->last_seq = edit.last_seq;
			for (int i = 0; i < edit.ndeleted && status == LSM_OK; i++)
			{
				bool moved = false;

				for (int j = 0; j < edit.nadded; j++)
					moved |= edit.added[j].file->number == edit.deleted[i].number;
				if (!moved && !numbers_add(&r->deleted, edit.deleted[i].number))
					status = lsm_no_memory(err);
			}
		}
		else if (err != NULL)
			*err = what;
		lsm_edit_free(&edit);
	}
	if (reader != NULL)
		lsm_log_reader_free(reader);
	lsm_file_close(file);
	return status == LSM_NOT_FOUND ? LSM_OK : status;
}

/* For a start, a last record that cannot be read is what a crash left; here it may be why the store does not start. */
static LsmStatus
check_manifest_end(Repair *r, LsmError *err)
{
	const LsmFollow *follow = &r->db->follow;
	char name[64];
	uint64_t size;
	LsmStatus status;

	lsm_file_name(name, LSM_FILE_MANIFEST, follow->number);
	status = r->db->env->ops->file_size(r->db->env, name, &size, err);
	if (status == LSM_OK && follow->offset != size)
		status = lsm_fail(err, LSM_CORRUPT, 0, name, follow->offset, "manifest does not end with a whole record");
	return status;
}

static LsmStatus
read_manifests(Repair *r, LsmError *err)
{
	LsmFollow *follow = &r->db->follow;
	LsmError what;
	uint64_t current;
	LsmStatus status = lsm_current_read(r->db->env, &current, &what);

	if (status == LSM_OK)
		status = lsm_follow_recover(follow, current, &what);
	if (status == LSM_OK)
		status = check_manifest_end(r, &what);
	if (status == LSM_OK)
	{
		r->known = follow->files;
		r->result->position = follow->state.log_number;
		r->has_position = true;
		r->last_seq = follow->state.last_seq;
		return LSM_OK;
	}
	if (status != LSM_CORRUPT && status != LSM_NOT_FOUND)
	{
		if (err != NULL)
			*err = what;
		return status;
	}
	report(r, &what);
	r->merge = true;
	status = LSM_OK;
	for (int i = 0; i < r->manifests.n && status == LSM_OK; i++)
		status = read_edits(r, r->manifests.numbers[i], err);
	return status;
}

/* ---- tables ---- */

typedef struct Reading
{
	Repair *r;
	LsmBuf smallest, largest;
	uint64_t entries;
	uint64_t max_seq;
	LsmOutput *output; /* gets the entries, or NULL */
} Reading;

/* After every so many entries. */
static LsmStatus
look_around(Repair *r, LsmError *err)
{
	if ((++r->looked & 1023) == 0 && lsm_stopping(r->db))
		return lsm_fail(err, LSM_INTERRUPTED, 0, NULL, 0, "repair was interrupted");
	return LSM_OK;
}

static LsmStatus
read_entry(void *arg, LsmSlice ikey, LsmSlice value, LsmError *err)
{
	Reading *reading = arg;
	LsmStatus status = look_around(reading->r, err);

	if (status != LSM_OK)
		return status;
	if (reading->output != NULL)
		return lsm_output_add(reading->output, ikey, value, err);
	if ((reading->entries == 0 && !lsm_buf_set(&reading->smallest, ikey.data, ikey.len)) ||
		!lsm_buf_set(&reading->largest, ikey.data, ikey.len))
		return lsm_no_memory(err);
	reading->entries++;
	if (lsm_ikey_seq(ikey) > reading->max_seq)
		reading->max_seq = lsm_ikey_seq(ikey);
	return LSM_OK;
}

static LsmStatus
keep_file(Repair *r, int level, LsmFileMeta *file, LsmError *err)
{
	if (!r->merge)
		return lsm_edit_add(&r->edit, level, file) ? LSM_OK : lsm_no_memory(err);
	if (r->nfiles == r->cap_files)
	{
		int cap = r->cap_files > 0 ? r->cap_files * 2 : 64;
		LsmFileMeta **files = realloc(r->files, (size_t) cap * sizeof(*files));

		if (files == NULL)
			return lsm_no_memory(err);
		r->files = files;
		r->cap_files = cap;
	}
	lsm_file_ref(file);
	r->files[r->nfiles++] = file;
	return LSM_OK;
}

static void
ignore_damage(void *arg, const LsmError *what)
{
	(void) arg;
	(void) what;
}

static LsmStatus
rewrite_table(Repair *r, int level, uint64_t number, LsmError *err)
{
	Reading again = {.r = r};
	LsmOutput output;
	LsmStatus status;

	lsm_output_init(&output, r->db, level, 0, NULL);
	again.output = &output;
	status = lsm_table_salvage(r->db->env, number, ignore_damage, NULL, read_entry, &again, err);
	if (status == LSM_OK)
		status = lsm_output_finish(&output, err);
	for (int i = 0; i < output.nfiles && status == LSM_OK; i++)
		status = keep_file(r, level, output.files[i], err);
	if (status == LSM_OK && !numbers_add(&r->bad, number))
		status = lsm_no_memory(err);
	lsm_output_free(&output);
	return status;
}

/* The name that the table has: .ldb or .sst. */
static LsmStatus
find_table(Repair *r, uint64_t number, char *name, uint64_t *size, LsmError *err)
{
	LsmFile *file;
	LsmStatus status = lsm_table_open_file(r->db->env, number, &file, err);

	if (status != LSM_OK)
		return status;
	snprintf(name, 64, "%s", file->name);
	lsm_file_close(file);
	return r->db->env->ops->file_size(r->db->env, name, size, err);
}

static LsmStatus
read_table(Repair *r, int level, uint64_t number, LsmError *err)
{
	Reading reading = {.r = r};
	char name[64];
	uint64_t ignored;
	uint64_t size;
	LsmStatus status = find_table(r, number, name, &size, err);

	if (status == LSM_NOT_FOUND)
	{
		lsm_file_name(name, LSM_FILE_TABLE, number);
		report_text(r, name, 0, "table file is missing");
		r->result->lost_tables++;
		return LSM_OK;
	}
	if (status != LSM_OK)
		return status;
	r->found = false;
	status = lsm_table_verify_file(r->db->env, number, size, report, r, &ignored, err);
	if (status == LSM_OK)
		status = lsm_table_salvage(r->db->env, number, ignore_damage, NULL, read_entry, &reading, err);
	if (status != LSM_OK)
		goto done;
	if (reading.max_seq > r->last_seq)
		r->last_seq = reading.max_seq;
	r->result->entries += reading.entries;
	if (reading.entries == 0)
	{
		if (!r->found)
			report_text(r, name, 0, "table is empty");
		r->result->lost_tables++;
		if (!numbers_add(&r->bad, number))
			status = lsm_no_memory(err);
	}
	else if (r->found)
	{
		r->result->damaged_tables++;
		status = rewrite_table(r, level, number, err);
	}
	else
	{
		LsmFileMeta *file = lsm_file_new(number, size, lsm_buf_slice(&reading.smallest), lsm_buf_slice(&reading.largest));

		r->result->tables++;
		status = file == NULL ? lsm_no_memory(err) : keep_file(r, level, file, err);
		if (file != NULL)
			lsm_file_unref(file);
	}

done:
	lsm_buf_free(&reading.smallest);
	lsm_buf_free(&reading.largest);
	return status;
}

static void
note_found(void *arg, const LsmError *what)
{
	(void) what;
	*(bool *) arg = true;
}

/* Is a table of level 0 not whole?  Then its number would no longer tell its age.  Damage is told when its turn comes. */
static LsmStatus
check_level0(Repair *r, LsmError *err)
{
	const LsmLevel *l = &r->known->levels[0];
	LsmStatus status = LSM_OK;

	for (int i = 0; i < l->n && status == LSM_OK && !r->merge; i++)
	{
		uint64_t ignored;

		status = lsm_table_verify_file(r->db->env, l->files[i]->number, l->files[i]->size, note_found, &r->merge, &ignored, err);
	}
	return status;
}

static LsmStatus
read_tables(Repair *r, LsmError *err)
{
	LsmStatus status = LSM_OK;

	if (r->known != NULL)
	{
		status = check_level0(r, err);
		for (int level = 0; level < LSM_NUM_LEVELS; level++)
			for (int i = 0; i < r->known->levels[level].n && status == LSM_OK; i++)
				status = read_table(r, level, r->known->levels[level].files[i]->number, err);
		return status;
	}
	for (int i = 0; i < r->tables.n && status == LSM_OK; i++)
	{
		if (!numbers_have(&r->deleted, r->tables.numbers[i]))
			status = read_table(r, 1, r->tables.numbers[i], err);
	}
	return status;
}

/* ---- merging everything ---- */

/* Tables that do not share a user key, in ascending order. */
typedef struct Run
{
	LsmFileMeta **files;
	int n;
} Run;

static int
by_smallest(const void *a, const void *b)
{
	const LsmFileMeta *x = *(LsmFileMeta *const *) a;
	const LsmFileMeta *y = *(LsmFileMeta *const *) b;

	return lsm_ikey_compare(x->smallest, y->smallest);
}

/* Each file goes to the first run that ends before it.  The runs' arrays are the caller's to free. */
static LsmStatus
make_runs(Repair *r, Run **runs, int *nruns, LsmError *err)
{
	*nruns = 0;
	*runs = NULL;
	qsort(r->files, (size_t) r->nfiles, sizeof(*r->files), by_smallest);
	for (int i = 0; i < r->nfiles; i++)
	{
		LsmFileMeta *file = r->files[i];
		LsmFileMeta **files;
		int at = 0;

		while (at < *nruns && lsm_slice_compare(lsm_ikey_user((*runs)[at].files[(*runs)[at].n - 1]->largest),
												lsm_ikey_user(file->smallest)) >= 0)
			at++;
		if (at == *nruns)
		{
			Run *more = realloc(*runs, (size_t) (*nruns + 1) * sizeof(Run));

			if (more == NULL)
				return lsm_no_memory(err);
			*runs = more;
			more[(*nruns)++] = (Run){NULL, 0};
		}
		files = realloc((*runs)[at].files, (size_t) ((*runs)[at].n + 1) * sizeof(*files));
		if (files == NULL)
			return lsm_no_memory(err);
		(*runs)[at].files = files;
		files[(*runs)[at].n++] = file;
	}
	return LSM_OK;
}

static LsmStatus
merge_runs(Repair *r, Run *runs, int nruns, LsmOutput *output, LsmError *err)
{
	LsmIter **children = calloc((size_t) nruns, sizeof(LsmIter *));
	LsmStatus status = children != NULL ? LSM_OK : lsm_no_memory(err);
	LsmIter *it = NULL;
	int n = 0;

	while (status == LSM_OK && n < nruns)
	{
		children[n] = lsm_level_iter(&r->db->tables, runs[n].files, runs[n].n, false, LSM_ALL_SEQS);
		if (children[n] == NULL)
			status = lsm_no_memory(err);
		else
			n++;
	}
	if (status == LSM_OK && (it = lsm_merge_iter(children, n)) == NULL)
		status = lsm_no_memory(err);
	else
	{
		for (int i = 0; it == NULL && i < n; i++)
			lsm_iter_close(children[i]);
	}
	free(children);
	if (it == NULL)
		return status;
	for (lsm_iter_seek_first(it); it->valid && status == LSM_OK; lsm_iter_next(it))
	{
		status = look_around(r, err);
		/* a version may be in a compaction's input and in its output: the second one is passed over */
		if (status == LSM_OK)
			status = lsm_output_add(output, it->key, it->value, err);
	}
	if (status == LSM_OK && it->status != LSM_OK)
	{
		status = it->status;
		if (err != NULL)
			*err = it->err;
	}
	lsm_iter_close(it);
	if (status == LSM_OK)
		status = lsm_output_finish(output, err);
	return status;
}

/* The level that may be the deepest with so many bytes. */
static int
level_for(const LsmOptions *options, uint64_t bytes)
{
	uint64_t full = options->level1_size > 0 ? options->level1_size : 1;
	int level = 1;

	for (; level < LSM_NUM_LEVELS - 1 && full < bytes; level++)
		full *= (uint64_t) options->level_factor;
	return level;
}

static LsmStatus
merge_all(Repair *r, LsmError *err)
{
	const LsmOptions *options = &r->db->shared->options;
	LsmFileMeta **files = r->files;
	uint64_t bytes = 0;
	int n = r->nfiles;
	LsmOutput output;
	Run *runs = NULL;
	int nruns = 0;
	LsmStatus status;

	if (n == 0)
		return LSM_OK;
	for (int i = 0; i < n; i++)
		bytes += files[i]->size;
	lsm_output_init(&output, r->db, 1, options->file_size, NULL);
	status = make_runs(r, &runs, &nruns, err);
	if (status == LSM_OK && nruns > 1)
	{
		status = merge_runs(r, runs, nruns, &output, err);
		files = output.files;
		n = output.nfiles;
		r->result->rewritten = true;
	}
	for (int i = 0; i < n && status == LSM_OK; i++)
	{
		if (!lsm_edit_add(&r->edit, level_for(options, bytes), files[i]))
			status = lsm_no_memory(err);
	}
	for (int i = 0; i < nruns; i++)
		free(runs[i].files);
	free(runs);
	lsm_output_free(&output);
	return status;
}

/* ---- all of it ---- */

static LsmStatus
repair_logs(Repair *r, LsmError *err)
{
	uint64_t first = 0;
	LsmStatus status = LSM_OK;

	for (int i = 0; i < r->logs.n && status == LSM_OK; i++)
	{
		uint64_t number = r->logs.numbers[i];

		/* what is in tables already need not be read again */
		if (r->has_position && number < r->result->position)
			continue;
		if (first == 0)
			first = number;
		r->found = false;
		status = lsm_repair_log(r->db->env, number, report, r, &r->last_seq, err);
		r->result->logs += !r->found;
		r->result->damaged_logs += r->found;
	}
	r->result->position = first;
	return status;
}

static LsmStatus
write_manifest(Repair *r, LsmError *err)
{
	LsmDb *db = r->db;
	uint64_t number = lsm_new_file_number(db);
	LsmFilesBuilder *builder = lsm_files_builder_new(NULL, NULL);
	LsmFiles *files = NULL;
	LsmStatus status;

	if (builder == NULL)
		return lsm_no_memory(err);
	status = lsm_files_builder_apply(builder, &r->edit, err);
	if (status == LSM_OK)
		status = lsm_files_builder_finish(builder, &files, err);
	lsm_files_builder_free(builder);
	if (status != LSM_OK)
		return status;
	r->edit.log_number = r->result->position;
	r->edit.last_seq = r->last_seq;
	r->edit.next_file = atomic_load(&db->shared->next_file);
	if (r->edit.next_file <= r->edit.log_number)
		r->edit.next_file = r->edit.log_number + 1;
	status = lsm_manifest_roll(&db->manifest, db->env, number, &r->edit, files, err);
	lsm_manifest_close(&db->manifest);
	lsm_files_unref(files);
	for (int i = 0; i < r->manifests.n && status == LSM_OK && r->known == NULL; i++)
	{
		char name[64];

		lsm_file_name(name, LSM_FILE_MANIFEST, r->manifests.numbers[i]);
		status = set_aside(r, name, err);
	}
	/* Not before: who repairs again after a crash must find what this repair has read. */
	for (int i = 0; i < r->bad.n && status == LSM_OK; i++)
	{
		char name[64];
		uint64_t size;

		status = find_table(r, r->bad.numbers[i], name, &size, err);
		if (status == LSM_OK)
			status = set_aside(r, name, err);
	}
	if (status == LSM_OK)
		status = db->env->ops->sync_dir(db->env, err);
	return status;
}

static LsmStatus
repair(Repair *r, uint64_t position, LsmError *err)
{
	LsmDb *db = r->db;
	LsmStatus status = db->env->ops->list(db->env, note_file, r, err);

	if (status == LSM_OK && r->no_memory)
		status = lsm_no_memory(err);
	if (status != LSM_OK)
		return status;
	numbers_sort(&r->tables);
	numbers_sort(&r->logs);
	numbers_sort(&r->manifests);
	atomic_store(&db->shared->next_file, r->max_number + 1);
	status = read_manifests(r, err);
	if (status != LSM_OK)
		return status;
	if (lsm_stamped(db))
	{
		if (position != 0)
			r->result->position = position;
		else if (!r->has_position)
			return lsm_fail(err, LSM_NOT_FOUND, 0, NULL, 0, "no manifest tells the position in the journal");
	}
	status = read_tables(r, err);
	if (status == LSM_OK && r->merge)
		status = merge_all(r, err);
	if (status == LSM_OK && !lsm_stamped(db))
		status = repair_logs(r, err);
	if (status == LSM_OK)
		status = write_manifest(r, err);
	return status;
}

/* What makes a handle's output stamped; nobody is asked for an outcome. */
static const LsmTxnOps no_transactions = {NULL, NULL, NULL};

static LsmStatus
repair_with(LsmDb *db, uint64_t position, LsmDamage damage, void *arg, LsmRepairResult *result, LsmError *err)
{
	Repair r = {.db = db, .damage = damage, .arg = arg, .result = result};
	LsmStatus status = repair(&r, position, err);

	for (int i = 0; i < r.nfiles; i++)
		lsm_file_unref(r.files[i]);
	free(r.files);
	lsm_edit_free(&r.edit);
	free(r.tables.numbers);
	free(r.logs.numbers);
	free(r.manifests.numbers);
	free(r.deleted.numbers);
	free(r.bad.numbers);
	return status;
}

LsmStatus
lsm_repair(LsmEnv *env, const LsmOptions *options, bool stamped, uint64_t position, LsmDamage damage, void *arg,
		   bool (*should_stop)(void *arg), LsmRepairResult *result, LsmError *err)
{
	LsmAttach attach = {.env = env, .txn = stamped ? &no_transactions : NULL, .handle = 0, .should_stop = should_stop};
	LsmError local;
	LsmStatus status;
	LsmDb *db;
	void *mem;

	if (err == NULL)
		err = &local;
	memset(result, 0, sizeof(*result));
	mem = aligned_alloc(64, (lsm_shared_size(options) + 63) & ~(size_t) 63);
	if (mem == NULL)
		return lsm_no_memory(err);
	attach.shared = lsm_shared_init(mem, options);
	status = lsm_attach(&attach, &db, err);
	if (status == LSM_OK)
	{
		status = repair_with(db, position, damage, arg, result, err);
		lsm_detach(db);
	}
	free(mem);
	return status;
}
