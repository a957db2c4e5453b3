/*
 * journal.h - what makes a write durable.
 *
 * Two implementations: journal_log.c (standalone: LevelDB's log files) and
 * store/journal_wal.c (PostgreSQL's WAL).  A position is a 64-bit number that
 * only grows: a log file's number, or a WAL location.  The manifest keeps, in
 * LevelDB's log_number field, the position from which the memtables must be
 * rebuilt.
 */
#ifndef LSM_JOURNAL_H
#define LSM_JOURNAL_H

#include "engine/env.h"

typedef struct LsmJournal LsmJournal;

/* Called with each batch (batch.h) in order.  position: where a later replay would start to see this batch. */
typedef LsmStatus (*LsmReplay)(void *arg, LsmSlice batch, LsmError *err);

typedef struct LsmJournalOps
{
	/*
	 * Adds a batch.  Called with the write pin held: shared if `concurrent`
	 * (then it must not fail: PostgreSQL panics instead), else exclusive.
	 */
	LsmStatus (*append)(LsmJournal *journal, LsmSlice batch, bool sync, LsmError *err);
	/*
	 * A new memtable begins; the pin is held exclusively.  Every batch appended
	 * before lies before *position, every later one at or after it.  new_number
	 * is a fresh file number (for a log file; WAL ignores it).
	 */
	LsmStatus (*rotate)(LsmJournal *journal, uint64_t new_number, uint64_t *position, LsmError *err);
	/* Everything before position is in tables and the manifest says so durably: let go of it. */
	void (*release)(LsmJournal *journal, uint64_t position);
	/* WAL before data: before tables made from memtables or settled by outcomes enter the manifest. */
	LsmStatus (*before_install)(LsmJournal *journal, LsmError *err);
	/* Reads every batch from position to the journal's end. */
	LsmStatus (*replay)(LsmJournal *journal, uint64_t position, LsmReplay fn, void *arg, LsmError *err);
	void (*close)(LsmJournal *journal);
	/*
	 * Is somebody copying the directory right now, and the journal with it?  Then no
	 * file is removed that readers could still name (recover.c says what a copy
	 * needs).  Asked before each removal; NULL: never.
	 */
	bool (*copying)(LsmJournal *journal);
} LsmJournalOps;

struct LsmJournal
{
	const LsmJournalOps *ops;
	bool concurrent;
	bool skipped; /* set by replay: what it could not read is given up, so the position must move on */
};

static inline bool
lsm_journal_copying(LsmJournal *journal)
{
	return journal->ops->copying != NULL && journal->ops->copying(journal);
}

/* Standalone: log files in env's directory, which grow by `step` bytes at a time (0: as they are written). */
extern LsmJournal *lsm_journal_log_new(LsmEnv *env, size_t step);

#endif
