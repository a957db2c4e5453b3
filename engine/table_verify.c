/*
 * table_verify.c - reads all of a table and checks what can be checked.
 *
 * Everything is read from the file again, past the block cache and past what the
 * handle holds in memory.  Blocks are checked one by one, so that damage in one
 * does not hide what is wrong with the others; the properties are compared with
 * what was counted only if all blocks could be read.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/table_handle.h"

typedef struct Verify
{
	LsmTable table; /* a fresh look at the file */
	LsmDamage damage;
	void *arg;
	LsmError *err;
	bool complete; /* every block could be read so far */
	uint64_t at;   /* the block that is being checked */

	LsmBlockIter index;
	LsmBlockIter block;
	LsmBuf stored;
	LsmBuf plain;
	LsmBuf last_key; /* of the entries, or of the index: whatever must be below the next key */
	bool has_last;
	LsmTableProps counted;
} Verify;

static void
report(Verify *v, const char *text)
{
	LsmError what;

	lsm_table_corrupt(&v->table, v->at, text, &what);
	v->damage(v->arg, &what);
	v->complete = false;
}

/* Damage is reported and forgotten; anything else is returned. */
static LsmStatus
forgive(Verify *v, LsmStatus status)
{
	if (status != LSM_CORRUPT)
		return status;
	v->damage(v->arg, v->err);
	v->complete = false;
	return LSM_OK;
}

/* A footer can be read in spite of bits that differ from what was written: in its padding, or in a number's length. */
static LsmStatus
check_footer(Verify *v)
{
	LsmTable *table = &v->table;
	char found[LSM_FOOTER_SIZE];
	char expected[LSM_FOOTER_SIZE];
	size_t got;
	LsmStatus status;

	status = lsm_file_read(table->file, table->end, found, sizeof(found), &got, v->err);
	if (status != LSM_OK)
		return status;
	lsm_footer_encode(expected, table->metaindex_handle, table->index_handle);
	v->at = table->end;
	if (got < sizeof(found) || memcmp(found, expected, sizeof(found)) != 0)
		report(v, "footer holds bytes that were not written");
	return LSM_OK;
}

/* One entry of a data block. */
static LsmStatus
check_entry(Verify *v)
{
	LsmTable *table = &v->table;
	LsmTableProps *counted = &v->counted;
	LsmSlice key = v->block.key;
	LsmStamp stamp;
	LsmSlice payload;

	if (v->has_last && lsm_ikey_compare(lsm_buf_slice(&v->last_key), key) >= 0)
		report(v, "keys are not in order");
	if (lsm_ikey_compare(key, v->index.key) > 0)
		report(v, "key lies behind its block's index entry");
	if (!lsm_seqs_meet(lsm_index_seqs(v->index.value), (LsmSeqs){lsm_ikey_seq(key), lsm_ikey_seq(key)}))
		report(v, "index denies a sequence that is in its block");
	if (table->filter_contents.data != NULL && !lsm_filter_may_match(&table->filter, v->at, lsm_ikey_user(key)))
		report(v, "filter denies a key that is there");
	if (lsm_ikey_type(key) == LSM_TYPE_DELETION)
		counted->deletions++;
	else if (table->props.known)
	{
		if (!lsm_stamp_decode(v->block.value, &stamp, &payload) || (stamp.flags & LSM_STAMP_SPILLED))
			report(v, "value has no valid stamp");
		else
		{
			if (stamp.flags & LSM_STAMP_DELETE)
				counted->deletions++;
			if ((stamp.flags & LSM_STAMP_XACT) && (counted->min_xid == 0 || stamp.xid < counted->min_xid))
				counted->min_xid = stamp.xid;
		}
	}
	if (counted->entries == 0 || lsm_ikey_seq(key) < counted->min_seq)
		counted->min_seq = lsm_ikey_seq(key);
	counted->entries++;
	counted->raw_bytes += key.len + v->block.value.len;
	if (lsm_ikey_seq(key) > counted->max_seq)
		counted->max_seq = lsm_ikey_seq(key);
	if (!lsm_buf_set(&v->last_key, key.data, key.len))
		return lsm_table_no_memory(table, v->err);
	v->has_last = true;
	return LSM_OK;
}

/* The data block of the current index entry. */
static LsmStatus
check_block(Verify *v, LsmBlockHandle handle)
{
	LsmSlice contents;
	LsmStatus status;

	status = lsm_block_read(v->table.file, v->table.end, handle, &v->stored, &v->plain, &contents, v->err);
	if (status != LSM_OK)
		return forgive(v, status);
	if (!lsm_block_iter_set(&v->block, contents))
	{
		report(v, "block is malformed");
		return LSM_OK;
	}
	for (lsm_block_iter_first(&v->block); v->block.valid; lsm_block_iter_next(&v->block))
	{
		status = check_entry(v);
		if (status != LSM_OK)
			return status;
	}
	status = lsm_table_block_status(&v->table, &v->block, handle.offset, v->err);
	if (status != LSM_OK)
		return forgive(v, status);
	if (!lsm_block_restarts_ok(&v->block))
		report(v, "restart points of a block are wrong");
	return LSM_OK;
}

/* What lies between the data blocks: nothing.  And the index: in order. */
static LsmStatus
check_index(Verify *v)
{
	LsmBuf last_index_key = {0};
	uint64_t expected = 0;
	LsmStatus status = LSM_OK;

	(void) lsm_block_iter_set(&v->index, v->table.index);
	v->at = v->table.index_handle.offset;
	if (!lsm_block_restarts_ok(&v->index))
		report(v, "restart points of the index block are wrong");
	for (lsm_block_iter_first(&v->index); v->index.valid; lsm_block_iter_next(&v->index))
	{
		LsmBlockHandle handle;

		v->at = v->table.index_handle.offset;
		if (last_index_key.len > 0 && lsm_ikey_compare(lsm_buf_slice(&last_index_key), v->index.key) >= 0)
			report(v, "index is not in order");
		/* Keys of this block must be above the index entry before, also if that one's block was not readable. */
		if (last_index_key.len > 0)
		{
			v->has_last = true;
			if (!lsm_buf_set(&v->last_key, last_index_key.data, last_index_key.len))
				status = lsm_table_no_memory(&v->table, v->err);
		}
		if (!lsm_buf_set(&last_index_key, v->index.key.data, v->index.key.len))
			status = lsm_table_no_memory(&v->table, v->err);
		if (status != LSM_OK)
			break;
		status = lsm_table_index_handle(&v->table, &v->index, &handle, v->err);
		if (status == LSM_OK)
		{
			if (handle.offset != expected)
				report(v, "index leaves out a part of the file");
			expected = handle.offset + handle.size + LSM_BLOCK_TRAILER;
			v->at = handle.offset;
			status = check_block(v, handle);
		}
		else
			status = forgive(v, status);
		if (status != LSM_OK)
			break;
	}
	lsm_buf_free(&last_index_key);
	if (status == LSM_OK)
		status = forgive(v, lsm_table_block_status(&v->table, &v->index, v->table.index_handle.offset, v->err));
	return status;
}

static void
check_props(Verify *v)
{
	const LsmTableProps *props = &v->table.props;
	const LsmTableProps *counted = &v->counted;

	v->at = v->table.metaindex_handle.offset;
	if (props->known && v->complete &&
		(props->entries != counted->entries || props->deletions != counted->deletions ||
		 props->raw_bytes != counted->raw_bytes || props->min_xid != counted->min_xid ||
		 props->max_seq != counted->max_seq || (props->min_seq != 0 && props->min_seq != counted->min_seq)))
		report(v, "properties do not agree with the entries");
}

static LsmStatus
verify(LsmFile *file, LsmEnv *env, uint64_t number, uint64_t file_size, LsmDamage damage, void *arg, uint64_t *entries,
	   LsmError *err)
{
	LsmError unwanted;
	LsmStatus status;
	Verify v;

	memset(&v, 0, sizeof(v));
	v.table.file = file;
	v.table.env = env;
	v.table.number = number;
	v.damage = damage;
	v.arg = arg;
	v.err = err != NULL ? err : &unwanted;
	v.complete = true;
	lsm_block_iter_init(&v.index, LSM_KEYS_INTERNAL);
	lsm_block_iter_init(&v.block, LSM_KEYS_INTERNAL);
	status = lsm_table_load(&v.table, file_size, damage, arg, v.err);
	if (status == LSM_OK)
		status = check_footer(&v);
	if (status == LSM_OK)
		status = check_index(&v);
	if (status == LSM_OK)
		check_props(&v);
	lsm_block_iter_free(&v.index);
	lsm_block_iter_free(&v.block);
	lsm_buf_free(&v.stored);
	lsm_buf_free(&v.plain);
	lsm_buf_free(&v.last_key);
	lsm_table_unload(&v.table);
	*entries = v.counted.entries;
	/* Damage of footer or index was reported by the load. */
	return status == LSM_CORRUPT ? LSM_OK : status;
}

LsmStatus
lsm_table_verify(LsmTable *table, LsmDamage damage, void *arg, uint64_t *entries, LsmError *err)
{
	return verify(table->file, table->env, table->number, table->end + LSM_FOOTER_SIZE, damage, arg, entries, err);
}

LsmStatus
lsm_table_verify_file(LsmEnv *env, uint64_t number, uint64_t file_size, LsmDamage damage, void *arg, uint64_t *entries,
					  LsmError *err)
{
	LsmError unwanted;
	LsmFile *file;
	LsmStatus status;

	*entries = 0;
	if (err == NULL)
		err = &unwanted;
	status = lsm_table_open_file(env, number, &file, err);
	if (status == LSM_NOT_FOUND)
	{
		(void) lsm_fail(err, LSM_CORRUPT, 0, err->file, 0, "table file is missing");
		damage(arg, err);
		return LSM_OK;
	}
	if (status != LSM_OK)
		return status;
	status = verify(file, env, number, file_size, damage, arg, entries, err);
	lsm_file_close(file);
	return status;
}
