/*
 * version.c - sets of files and how edits change them.  See version.h.
 *
 * Invariants of a finished set: level 0 by descending number without
 * duplicates; deeper levels ascending, each file's largest internal key before
 * the next one's smallest.
 */
#include "engine/version.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/table_cache.h"

/* A level while it is being changed: unsorted. */
typedef struct Bag
{
	LsmFileMeta **files;
	int n;
	int cap;
	bool changed;
} Bag;

struct LsmFilesBuilder
{
	Bag levels[LSM_NUM_LEVELS];
	LsmFileMeta **known; /* by ascending number; borrowed from known_set */
	int nknown;
	LsmFiles *known_set;
};

/* ---- files ---- */

LsmFileMeta *
lsm_file_new(uint64_t number, uint64_t size, LsmSlice smallest, LsmSlice largest)
{
	LsmFileMeta *file = calloc(1, sizeof(LsmFileMeta) + smallest.len + largest.len);
	char *bytes;

	if (file == NULL)
		return NULL;
	bytes = (char *) (file + 1);
	memcpy(bytes, smallest.data, smallest.len);
	memcpy(bytes + smallest.len, largest.data, largest.len);
	file->refs = 1;
	file->number = number;
	file->size = size;
	file->smallest = lsm_slice(bytes, smallest.len);
	file->largest = lsm_slice(bytes + smallest.len, largest.len);
	return file;
}

void
lsm_file_ref(LsmFileMeta *file)
{
	assert(file->refs > 0);
	file->refs++;
}

void
lsm_file_unref(LsmFileMeta *file)
{
	assert(file->refs > 0);
	if (--file->refs > 0)
		return;
	if (file->cache != NULL)
		lsm_table_cache_drop(file->cache, file);
	free(file);
}

bool
lsm_file_overlaps(const LsmFileMeta *file, LsmSlice lower, LsmSlice upper)
{
	if (upper.len > 0 && lsm_slice_compare(lsm_ikey_user(file->smallest), upper) >= 0)
		return false;
	return lsm_slice_compare(lsm_ikey_user(file->largest), lower) >= 0;
}

bool
lsm_file_lies_within(const LsmFileMeta *file, LsmSlice lower, LsmSlice upper)
{
	return lsm_slice_compare(lsm_ikey_user(file->smallest), lower) >= 0 &&
		   (upper.len == 0 || lsm_slice_compare(lsm_ikey_user(file->largest), upper) < 0);
}

/* ---- sets ---- */

LsmFiles *
lsm_files_new(void)
{
	LsmFiles *files = calloc(1, sizeof(LsmFiles));

	if (files != NULL)
		files->refs = 1;
	return files;
}

void
lsm_files_ref(LsmFiles *files)
{
	assert(files->refs > 0);
	files->refs++;
}

void
lsm_files_unref(LsmFiles *files)
{
	if (files == NULL || --files->refs > 0)
		return;
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
	{
		for (int i = 0; i < files->levels[level].n; i++)
			lsm_file_unref(files->levels[level].files[i]);
		free(files->levels[level].files);
	}
	free(files);
}

int
lsm_level_find(const LsmLevel *level, LsmSlice ikey)
{
	int lo = 0;
	int hi = level->n;

	while (lo < hi)
	{
		int mid = lo + (hi - lo) / 2;

		if (lsm_ikey_compare(level->files[mid]->largest, ikey) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int
lsm_level_find_user(const LsmLevel *level, LsmSlice key)
{
	int lo = 0;
	int hi = level->n;

	while (lo < hi)
	{
		int mid = lo + (hi - lo) / 2;

		if (lsm_slice_compare(lsm_ikey_user(level->files[mid]->largest), key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void
lsm_level_range(const LsmLevel *level, LsmSlice first, LsmSlice last, int *from, int *to)
{
	int i = lsm_level_find_user(level, first);

	*from = i;
	while (i < level->n && lsm_slice_compare(lsm_ikey_user(level->files[i]->smallest), last) <= 0)
		i++;
	*to = i;
}

/* ---- building ---- */

static bool
bag_add(Bag *bag, LsmFileMeta *file)
{
	if (bag->n == bag->cap)
	{
		int cap = bag->cap > 0 ? bag->cap * 2 : 16;
		LsmFileMeta **files = realloc(bag->files, (size_t) cap * sizeof(*files));

		if (files == NULL)
			return false;
		bag->files = files;
		bag->cap = cap;
	}
	lsm_file_ref(file);
	bag->files[bag->n++] = file;
	return true;
}

/* Index of the file with this number, -1 if there is none. */
static int
bag_find(const Bag *bag, uint64_t number)
{
	for (int i = 0; i < bag->n; i++)
	{
		if (bag->files[i]->number == number)
			return i;
	}
	return -1;
}

static int
by_number(const void *a, const void *b)
{
	uint64_t x = (*(LsmFileMeta *const *) a)->number;
	uint64_t y = (*(LsmFileMeta *const *) b)->number;

	return x < y ? -1 : x > y;
}

static int
by_number_descending(const void *a, const void *b)
{
	return -by_number(a, b);
}

static int
by_smallest(const void *a, const void *b)
{
	const LsmFileMeta *x = *(LsmFileMeta *const *) a;
	const LsmFileMeta *y = *(LsmFileMeta *const *) b;
	int order = lsm_ikey_compare(x->smallest, y->smallest);

	return order != 0 ? order : by_number(a, b);
}

static bool
index_known(LsmFilesBuilder *builder, LsmFiles *known)
{
	int n = 0;

	for (int level = 0; level < LSM_NUM_LEVELS; level++)
		n += known->levels[level].n;
	if (n == 0)
		return true;
	builder->known = malloc((size_t) n * sizeof(*builder->known));
	if (builder->known == NULL)
		return false;
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
	{
		for (int i = 0; i < known->levels[level].n; i++)
			builder->known[builder->nknown++] = known->levels[level].files[i];
	}
	qsort(builder->known, (size_t) n, sizeof(*builder->known), by_number);
	builder->known_set = known;
	lsm_files_ref(known);
	return true;
}

LsmFilesBuilder *
lsm_files_builder_new(LsmFiles *base, LsmFiles *known)
{
	LsmFilesBuilder *builder = calloc(1, sizeof(LsmFilesBuilder));

	if (builder == NULL)
		return NULL;
	if (known != NULL && !index_known(builder, known))
		goto no_memory;
	for (int level = 0; base != NULL && level < LSM_NUM_LEVELS; level++)
	{
		for (int i = 0; i < base->levels[level].n; i++)
		{
			if (!bag_add(&builder->levels[level], base->levels[level].files[i]))
				goto no_memory;
		}
	}
	return builder;

no_memory:
	lsm_files_builder_free(builder);
	return NULL;
}

/* The description to use for an added file: the known one if it describes the same table. */
static LsmFileMeta *
same_or_known(const LsmFilesBuilder *builder, LsmFileMeta *file)
{
	int lo = 0;
	int hi = builder->nknown;

	while (lo < hi)
	{
		int mid = lo + (hi - lo) / 2;

		if (builder->known[mid]->number < file->number)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < builder->nknown && builder->known[lo]->number == file->number &&
		builder->known[lo]->size == file->size &&
		lsm_slice_compare(builder->known[lo]->smallest, file->smallest) == 0 &&
		lsm_slice_compare(builder->known[lo]->largest, file->largest) == 0)
		return builder->known[lo];
	return file;
}

LsmStatus
lsm_files_builder_apply(LsmFilesBuilder *builder, const LsmEdit *edit, LsmError *err)
{
	for (int i = 0; i < edit->ndeleted; i++)
	{
		Bag *bag = &builder->levels[edit->deleted[i].level];
		int at = bag_find(bag, edit->deleted[i].number);

		if (at < 0)
			return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "manifest deletes table %llu, which level %d does not hold",
							(unsigned long long) edit->deleted[i].number, edit->deleted[i].level);
		lsm_file_unref(bag->files[at]);
		bag->files[at] = bag->files[--bag->n];
		bag->changed = true;
	}
	for (int i = 0; i < edit->nadded; i++)
	{
		Bag *bag = &builder->levels[edit->added[i].level];
		LsmFileMeta *file = same_or_known(builder, edit->added[i].file);

		if (!bag_add(bag, file))
			return lsm_fail(err, LSM_NO_MEMORY, 0, NULL, 0, "out of memory");
		bag->changed = true;
	}
	return LSM_OK;
}

/* A level's order, checked: what overlaps would give wrong answers for ever after. */
static LsmStatus
check_level(const Bag *bag, int level, LsmError *err)
{
	for (int i = 1; i < bag->n; i++)
	{
		const LsmFileMeta *before = bag->files[i - 1];
		const LsmFileMeta *file = bag->files[i];

		if (before->number == file->number)
			return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "manifest adds table %llu to level %d twice",
							(unsigned long long) file->number, level);
		if (level > 0 && lsm_ikey_compare(before->largest, file->smallest) >= 0)
			return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "tables %llu and %llu of level %d overlap",
							(unsigned long long) before->number, (unsigned long long) file->number, level);
	}
	return LSM_OK;
}

LsmStatus
lsm_files_builder_finish(LsmFilesBuilder *builder, LsmFiles **files, LsmError *err)
{
	LsmFiles *set;

	for (int level = 0; level < LSM_NUM_LEVELS; level++)
	{
		Bag *bag = &builder->levels[level];
		LsmStatus status;

		if (!bag->changed || bag->n == 0)
			continue;
		qsort(bag->files, (size_t) bag->n, sizeof(*bag->files), level == 0 ? by_number_descending : by_smallest);
		status = check_level(bag, level, err);
		if (status != LSM_OK)
			return status;
	}
	set = lsm_files_new();
	if (set == NULL)
		return lsm_fail(err, LSM_NO_MEMORY, 0, NULL, 0, "out of memory");
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
	{
		Bag *bag = &builder->levels[level];

		/* the references move from the bag to the set */
		set->levels[level].files = bag->files;
		set->levels[level].n = bag->n;
		for (int i = 0; i < bag->n; i++)
			set->levels[level].bytes += bag->files[i]->size;
		memset(bag, 0, sizeof(*bag));
	}
	*files = set;
	return LSM_OK;
}

void
lsm_files_builder_free(LsmFilesBuilder *builder)
{
	if (builder == NULL)
		return;
	for (int level = 0; level < LSM_NUM_LEVELS; level++)
	{
		for (int i = 0; i < builder->levels[level].n; i++)
			lsm_file_unref(builder->levels[level].files[i]);
		free(builder->levels[level].files);
	}
	free(builder->known);
	lsm_files_unref(builder->known_set);
	free(builder);
}
