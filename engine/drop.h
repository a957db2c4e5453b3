/*
 * drop.h - which versions survive a flush or a compaction, and in what form.
 *
 * Asked for every entry of a merge in its order: user keys ascending, each
 * one's versions from newest to oldest.
 */
#ifndef LSM_DROP_H
#define LSM_DROP_H

#include "engine/handle.h"

typedef enum LsmVerdict
{
	LSM_DROP,
	LSM_KEEP,   /* as it is */
	LSM_REPLACE /* by drop->ikey and drop->value */
} LsmVerdict;

typedef struct LsmDrop
{
	LsmDb *db;
	LsmFiles *files;          /* what may hold older versions */
	int older_level;          /* files of this level and deeper ones count; 0 for flushes */
	uint64_t oldest_snapshot; /* standalone */
	int at[LSM_NUM_LEVELS];   /* files before this index end before the current key */

	/* the current user key */
	LsmBuf user;
	bool has_user;
	bool hidden; /* every older version is hidden from everybody */
	bool dead;   /* all of it may go */

	LsmBuf ikey_buf;
	LsmBuf value_buf;
	LsmSlice ikey;
	LsmSlice value;
} LsmDrop;

/* files is borrowed and must outlive the LsmDrop. */
extern void lsm_drop_init(LsmDrop *drop, LsmDb *db, LsmFiles *files, int older_level);
extern LsmStatus lsm_drop_ask(LsmDrop *drop, LsmSlice ikey, LsmSlice value, LsmVerdict *verdict, LsmError *err);
extern void lsm_drop_free(LsmDrop *drop);

#endif
