/*
 * purge.h - changes that every consumer has passed, and getting their space back.
 */
#ifndef DOCSTORE_PURGE_H
#define DOCSTORE_PURGE_H

#include "postgres.h"

#include "engine/status.h"

/* Is this key a change that every consumer has passed?  Asked by flushes and compactions. */
extern bool docstore_is_purged(LsmSlice user_key);

/* Reads how far changes may go, as every snapshot sees it, and remembers that for this process.  Throws. */
extern void docstore_find_purges(void);
/* Takes the changes that may go out of the tables, where they fill enough of them; likewise another time.  Throws. */
extern void docstore_finish_purges(void);

#endif
