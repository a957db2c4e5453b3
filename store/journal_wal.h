/*
 * journal_wal.h - the engine's journal over PostgreSQL's WAL.
 */
#ifndef DOCSTORE_JOURNAL_WAL_H
#define DOCSTORE_JOURNAL_WAL_H

#include "postgres.h"

#include "engine/journal.h"

#define DOCSTORE_RMGR_ID 178

/* Registers the resource manager; only while shared_preload_libraries load. */
extern void docstore_rmgr_init(void);

extern LsmJournal *docstore_journal(void);

#endif
