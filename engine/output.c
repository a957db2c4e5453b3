/*
 * output.c - see output.h.
 */
#include "engine/output.h"

#include <stdlib.h>
#include <string.h>

void
lsm_output_init(LsmOutput *output, LsmDb *db, int level, uint64_t cut_size, const LsmLevel *beneath)
{
	const LsmOptions *o = &db->shared->options;

	memset(output, 0, sizeof(*output));
	output->db = db;
	output->options = o->table;
	output->options.stamped = lsm_stamped(db);
	if (level == 0)
		output->options.compression = o->level0_compression;
	output->cut_size = cut_size;
	output->beneath = beneath;
	output->beneath_limit = 10 * (uint64_t) o->file_size;
}

static LsmStatus
begin_table(LsmOutput *output, LsmSlice ikey, LsmError *err)
{
	char name[64];
	LsmStatus status;

	output->number = lsm_new_file_number(output->db);
	lsm_file_name(name, LSM_FILE_TABLE, output->number);
	status = lsm_file_open(output->db->env, name, LSM_OPEN_CREATE, &output->file, err);
	if (status != LSM_OK)
	{
		output->file = NULL;
		return status;
	}
	status = lsm_table_builder_new(output->file, &output->options, &output->builder, err);
	if (status != LSM_OK)
	{
		output->builder = NULL;
		return status;
	}
	if (!lsm_buf_set(&output->smallest, ikey.data, ikey.len))
		return lsm_no_memory(err);
	output->beneath_bytes = 0;
	return LSM_OK;
}

static LsmStatus
end_table(LsmOutput *output, LsmError *err)
{
	LsmFileMeta *meta;
	uint64_t size;
	LsmStatus status = lsm_table_builder_finish(output->builder, &size, err);

	if (status != LSM_OK)
		return status;
	meta = lsm_file_new(output->number, size, lsm_buf_slice(&output->smallest), lsm_buf_slice(&output->last));
	if (meta == NULL)
		return lsm_no_memory(err);
	meta->props = *lsm_table_builder_props(output->builder);
	meta->props.known = true; /* to us, whether the file says it or not */
	meta->asked = true;
	if (output->nfiles == output->cap)
	{
		int cap = output->cap > 0 ? output->cap * 2 : 8;
		LsmFileMeta **files = realloc(output->files, (size_t) cap * sizeof(*files));

		if (files == NULL)
		{
			lsm_file_unref(meta);
			return lsm_no_memory(err);
		}
		output->files = files;
		output->cap = cap;
	}
	output->files[output->nfiles++] = meta;
	output->bytes += size;
	lsm_table_builder_free(output->builder);
	output->builder = NULL;
	lsm_file_close(output->file);
	output->file = NULL;
	return LSM_OK;
}

/* Counts what lies beneath up to ikey; true if the open table meets too much of it. */
static bool
too_much_beneath(LsmOutput *output, LsmSlice ikey)
{
	const LsmLevel *level = output->beneath;

	if (level == NULL)
		return false;
	while (output->beneath_at < level->n && lsm_ikey_compare(level->files[output->beneath_at]->largest, ikey) < 0)
	{
		if (output->builder != NULL)
			output->beneath_bytes += level->files[output->beneath_at]->size;
		output->beneath_at++;
	}
	return output->beneath_bytes > output->beneath_limit;
}

LsmStatus
lsm_output_add(LsmOutput *output, LsmSlice ikey, LsmSlice value, LsmError *err)
{
	LsmStatus status;

	if (output->has_last)
	{
		LsmSlice last = lsm_buf_slice(&output->last);
		int order = lsm_slice_compare(lsm_ikey_user(last), lsm_ikey_user(ikey));

		/* The very same version: after a repair a journal may be replayed from further back than need be. */
		if (order == 0 && lsm_ikey_trailer(last) == lsm_ikey_trailer(ikey))
			return LSM_OK;
		if (order > 0 || (order == 0 && lsm_ikey_trailer(last) < lsm_ikey_trailer(ikey)))
			return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "keys out of order in the tables being merged");
		if (order != 0)
		{
			bool cut = too_much_beneath(output, ikey);

			if (output->cut_size > 0 && output->builder != NULL &&
				lsm_table_builder_size(output->builder) >= output->cut_size)
				cut = true;
			if (cut && output->builder != NULL)
			{
				status = end_table(output, err);
				if (status != LSM_OK)
					return status;
			}
		}
	}
	if (output->builder == NULL)
	{
		status = begin_table(output, ikey, err);
		if (status != LSM_OK)
			return status;
	}
	if (!lsm_buf_set(&output->last, ikey.data, ikey.len))
		return lsm_no_memory(err);
	output->has_last = true;
	return lsm_table_builder_add(output->builder, ikey, value, err);
}

LsmStatus
lsm_output_finish(LsmOutput *output, LsmError *err)
{
	LsmStatus status = LSM_OK;

	if (output->builder != NULL)
		status = end_table(output, err);
	if (status == LSM_OK && output->nfiles > 0)
		status = output->db->env->ops->sync_dir(output->db->env, err);
	return status;
}

static void
close_table(LsmOutput *output)
{
	if (output->builder != NULL)
		lsm_table_builder_free(output->builder);
	if (output->file != NULL)
		lsm_file_close(output->file);
	output->builder = NULL;
	output->file = NULL;
}

void
lsm_output_discard(LsmOutput *output)
{
	char name[64];
	LsmError ignored; /* a file that stays is swept at the next start */

	if (output->file != NULL)
	{
		close_table(output);
		lsm_file_name(name, LSM_FILE_TABLE, output->number);
		(void) output->db->env->ops->remove(output->db->env, name, &ignored);
	}
	for (int i = 0; i < output->nfiles; i++)
	{
		lsm_file_name(name, LSM_FILE_TABLE, output->files[i]->number);
		(void) output->db->env->ops->remove(output->db->env, name, &ignored);
	}
}

void
lsm_output_free(LsmOutput *output)
{
	close_table(output);
	for (int i = 0; i < output->nfiles; i++)
		lsm_file_unref(output->files[i]);
	free(output->files);
	lsm_buf_free(&output->last);
	lsm_buf_free(&output->smallest);
	memset(output, 0, sizeof(*output));
}
