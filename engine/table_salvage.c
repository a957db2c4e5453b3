/*
 * table_salvage.c - the entries of a table that can still be read; for repair and for looking at files.
 *
 * Blocks are found through the index, so a table whose footer or index is damaged
 * gives nothing: a block does not say where it begins.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/table_handle.h"

typedef struct Salvage
{
	LsmTable table;
	LsmDamage damage;
	void *damage_arg;
	LsmTableVisit visit;
	void *arg;
	LsmError *err;

	LsmBlockIter index;
	LsmBlockIter block;
	LsmBuf stored;
	LsmBuf plain;
	LsmBuf last_key;
	bool has_last;
} Salvage;

/* Damage is reported and passed by; anything else is returned. */
static LsmStatus
pass_by(Salvage *s, LsmStatus status)
{
	if (status != LSM_CORRUPT)
		return status;
	s->damage(s->damage_arg, s->err);
	return LSM_OK;
}

static LsmStatus
visit_entry(Salvage *s, uint64_t offset)
{
	LsmSlice key = s->block.key;

	if (!lsm_ikey_ok(key))
		return pass_by(s, lsm_table_corrupt(&s->table, offset, "a key without a valid trailer", s->err));
	if (s->has_last && lsm_ikey_compare(lsm_buf_slice(&s->last_key), key) >= 0)
		return pass_by(s, lsm_table_corrupt(&s->table, offset, "keys are not in order", s->err));
	if (!lsm_buf_set(&s->last_key, key.data, key.len))
		return lsm_table_no_memory(&s->table, s->err);
	s->has_last = true;
	return s->visit(s->arg, key, s->block.value, s->err);
}

static LsmStatus
visit_block(Salvage *s, LsmBlockHandle handle)
{
	LsmSlice contents;
	LsmStatus status =
		lsm_block_read(s->table.file, s->table.end, handle, &s->stored, &s->plain, &contents, s->err);

	if (status != LSM_OK)
		return pass_by(s, status);
	if (!lsm_block_iter_set(&s->block, contents))
		return pass_by(s, lsm_table_corrupt(&s->table, handle.offset, "block is malformed", s->err));
	for (lsm_block_iter_first(&s->block); s->block.valid; lsm_block_iter_next(&s->block))
	{
		status = visit_entry(s, handle.offset);
		if (status != LSM_OK)
			return status;
	}
	return pass_by(s, lsm_table_block_status(&s->table, &s->block, handle.offset, s->err));
}

static LsmStatus
visit_all(Salvage *s)
{
	LsmStatus status = LSM_OK;

	(void) lsm_block_iter_set(&s->index, s->table.index);
	for (lsm_block_iter_first(&s->index); s->index.valid && status == LSM_OK; lsm_block_iter_next(&s->index))
	{
		LsmBlockHandle handle;

		status = lsm_table_index_handle(&s->table, &s->index, &handle, s->err);
		status = status == LSM_OK ? visit_block(s, handle) : pass_by(s, status);
	}
	if (status == LSM_OK)
		status = pass_by(s, lsm_table_block_status(&s->table, &s->index, s->table.index_handle.offset, s->err));
	return status;
}

LsmStatus
lsm_table_salvage(LsmEnv *env, uint64_t number, LsmDamage damage, void *damage_arg, LsmTableVisit visit, void *arg,
				  LsmError *err)
{
	LsmError unwanted;
	LsmStatus status;
	uint64_t size;
	Salvage s;

	memset(&s, 0, sizeof(s));
	s.damage = damage;
	s.damage_arg = damage_arg;
	s.visit = visit;
	s.arg = arg;
	s.err = err != NULL ? err : &unwanted;
	s.table.env = env;
	s.table.number = number;
	status = lsm_table_open_file(env, number, &s.table.file, s.err);
	if (status != LSM_OK)
		return status;
	status = env->ops->file_size(env, s.table.file->name, &size, s.err);
	lsm_block_iter_init(&s.index, LSM_KEYS_INTERNAL);
	lsm_block_iter_init(&s.block, LSM_KEYS_INTERNAL);
	if (status == LSM_OK)
	{
		status = lsm_table_load(&s.table, size, damage, damage_arg, s.err);
		if (status == LSM_OK)
			status = visit_all(&s);
		else if (status == LSM_CORRUPT)
			status = LSM_OK; /* reported by the load */
	}
	lsm_block_iter_free(&s.index);
	lsm_block_iter_free(&s.block);
	lsm_buf_free(&s.stored);
	lsm_buf_free(&s.plain);
	lsm_buf_free(&s.last_key);
	lsm_table_unload(&s.table);
	lsm_file_close(s.table.file);
	return status;
}
