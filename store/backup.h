/*
 * backup.h - what a base backup needs of the store.
 */
#ifndef DOCSTORE_BACKUP_H
#define DOCSTORE_BACKUP_H

#include "postgres.h"

#include "engine/db.h"

/* Called from _PG_init. */
extern void docstore_backup_init(void);
/* Is a base backup being taken?  Then no file may be removed. */
extern bool docstore_backup_running(void);

/*
 * For the compactor.  Between begin and end no checkpoint completes without it;
 * each look lets those pass that may, so it must be called often.  While a
 * backup is being taken, a checkpoint waits until the memtables from before it
 * are in tables: look asks for their rotation, and the caller has to flush.
 */
extern void docstore_checkpoints_begin(void);
extern void docstore_checkpoints_end(void);
extern void docstore_checkpoints_look(LsmDb *db);

#endif
