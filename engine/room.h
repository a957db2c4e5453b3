/*
 * room.h - a fresh memtable when the active one is full.
 */
#ifndef LSM_ROOM_H
#define LSM_ROOM_H

#include "engine/handle.h"

typedef enum LsmRotate
{
	LSM_ROTATE_FOR_COST,  /* only if the cost does not fit (another writer may have rotated meanwhile) */
	LSM_ROTATE_NONEMPTY,  /* if the active memtable holds anything */
	LSM_ROTATE_OR_ADVANCE /* likewise; an empty one moves to the journal's end instead */
} LsmRotate;

/* LSM_BUSY if no arena is free.  No lock held. */
extern LsmStatus lsm_rotate(LsmDb *db, LsmRotate how, LsmError *err);

/*
 * Rotates if the active memtable holds anything, waiting for an arena;
 * *generation is that of the newest memtable that is to be flushed then.
 */
extern LsmStatus lsm_rotate_wait(LsmDb *db, uint64_t *generation, LsmError *err);

/* Do writers have to wait until what a failed journal left is flushed? */
extern bool lsm_journal_blocked(LsmDb *db);

#endif
