/*
 * table_handle.h - what table.c, table_iter.c and table_verify.c know of an open table.
 */
#ifndef LSM_TABLE_HANDLE_H
#define LSM_TABLE_HANDLE_H

#include "engine/block.h"
#include "engine/bloom.h"
#include "engine/format.h"
#include "engine/table.h"

struct LsmTable
{
	_Atomic int refs;
	LsmEnv *env;
	LsmCache *cache; /* may be NULL */
	LsmFile *file;
	uint64_t number;
	uint64_t end; /* of the blocks: where the footer begins */
	LsmBlockHandle metaindex_handle;
	LsmBlockHandle index_handle;
	LsmBlockHandle filter_handle;
	LsmSlice index; /* private memory, as are the filter's contents */
	LsmSlice filter_contents;
	LsmFilter filter; /* when filter_contents.data is not NULL */
	LsmTableProps props;
};

/* Opens the file of a table: .ldb, or .sst as old LevelDBs named them. */
extern LsmStatus lsm_table_open_file(LsmEnv *env, uint64_t number, LsmFile **file, LsmError *err);

/*
 * Reads footer, index, filter and properties of table->file.  Without `damage`
 * any damage is an error.  With it, damage is reported and only that of footer
 * and index is an error, which is reported, too.  What was read is freed by
 * lsm_table_unload, also after an error.
 */
extern LsmStatus lsm_table_load(LsmTable *table, uint64_t file_size, LsmDamage damage, void *arg, LsmError *err);
extern void lsm_table_unload(LsmTable *table);

/* Errors with the table's name. */
extern LsmStatus lsm_table_corrupt(const LsmTable *table, uint64_t offset, const char *text, LsmError *err);
extern LsmStatus lsm_table_no_memory(const LsmTable *table, LsmError *err);
/* What ended an iterator over the block at this offset: LSM_OK if merely its end. */
extern LsmStatus lsm_table_block_status(const LsmTable *table, const LsmBlockIter *it, uint64_t offset, LsmError *err);

/* The handle in the index entry that the iterator is at; it fits the file. */
extern LsmStatus lsm_table_index_handle(const LsmTable *table, const LsmBlockIter *index, LsmBlockHandle *handle,
										LsmError *err);

#endif
