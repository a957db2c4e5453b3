/*
 * journal_wal.h - the engine's journal over PostgreSQL's WAL.
 */
#ifndef DOCSTORE_JOURNAL_WAL_H
#define DOCSTORE_JOURNAL_WAL_H

#include "postgres.h"

#include "engine/journal.h"

#define DOCSTORE_RMGR_ID 178
#define DOCSTORE_SLOT "docstore"

/* Registers the resource manager; only while shared_preload_libraries load. */
extern void docstore_rmgr_init(void);

extern LsmJournal *docstore_journal(void);

/* For the compactor: acquires the slot that keeps WAL, making it if it is missing.  Throws. */
extern void docstore_slot_acquire(void);
/* With the slot acquired: WAL before position may go. */
extern void docstore_slot_advance(uint64 position);

#endif
