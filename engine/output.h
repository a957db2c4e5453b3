/*
 * output.h - a sorted stream of entries into as many tables as it takes.
 *
 * Tables are cut at a size, or where a later compaction of one table would
 * meet too much of the level below its own; never between two versions of one
 * user key (LevelDB's issue 320: the older one could be found again).
 */
#ifndef LSM_OUTPUT_H
#define LSM_OUTPUT_H

#include "engine/handle.h"

typedef struct LsmOutput
{
	LsmDb *db;
	LsmTableOptions options;
	uint64_t cut_size;       /* 0: one table */
	const LsmLevel *beneath; /* the level below the output's, or NULL */
	uint64_t beneath_limit;  /* bytes of it that one table may overlap */
	int beneath_at;
	uint64_t beneath_bytes;
	LsmBuf last;   /* internal key added last */
	bool has_last; /* over all tables */

	/* the table being written */
	LsmFile *file;
	LsmTableBuilder *builder;
	uint64_t number;
	LsmBuf smallest;

	/* the finished ones */
	LsmFileMeta **files;
	int nfiles, cap;
	uint64_t bytes; /* of all tables so far, the open one included */
} LsmOutput;

/* level: where the tables will lie; beneath may be NULL. */
extern void lsm_output_init(LsmOutput *output, LsmDb *db, int level, uint64_t cut_size, const LsmLevel *beneath);
/* Internal keys in ascending order (LSM_CORRUPT if they are not: some input was damaged). */
extern LsmStatus lsm_output_add(LsmOutput *output, LsmSlice ikey, LsmSlice value, LsmError *err);
/* Finishes and syncs the last table, then the directory. */
extern LsmStatus lsm_output_finish(LsmOutput *output, LsmError *err);
/* Removes all its files: nothing names them yet. */
extern void lsm_output_discard(LsmOutput *output);
extern void lsm_output_free(LsmOutput *output);

#endif
