/*
 * dropped.h - storage ids whose collections are gone for everybody (set by the compactor, asked by compaction).
 */
#ifndef DOCSTORE_DROPPED_H
#define DOCSTORE_DROPPED_H

#include "postgres.h"

#include "engine/status.h"

/* Does this key belong to a dropped storage id or database?  Asked by flushes and compactions. */
extern bool docstore_is_dropped(LsmSlice user_key);

/*
 * Reads the drop records and remembers those that every snapshot sees.  Throws.
 * Returns how many there are; each is then removed by docstore_finish_drops.
 */
extern int docstore_find_drops(void);
/* Compacts the ranges of the remembered drops away, then the records themselves; the rest another time if somebody else works on a range.  Throws. */
extern void docstore_finish_drops(void);

#endif
