/*
 * install.h - making a change of the set of files durable and visible, and removing what it leaves behind.
 *
 * Done by whoever has the work role (work.h) or a job (job.h), one after the other.
 */
#ifndef LSM_INSTALL_H
#define LSM_INSTALL_H

#include "engine/handle.h"

/*
 * Writes the edit to the manifest and publishes the result with a new epoch.
 * retire: slot of the memtable whose contents the edit adds, or -1; the
 * journal position in the manifest becomes that of the oldest memtable left.
 * last_seq: at least this one is recorded (0: shared->last_seq suffices).
 *
 * After an error the record may or may not survive a crash: the new files must
 * stay, and a new manifest comes first next time (shared->manifest_bad).
 */
extern LsmStatus lsm_install(LsmDb *db, LsmEdit *edit, int retire, uint64_t last_seq, LsmError *err);
/* As lsm_install, for who holds LSM_LOCK_MANIFEST already. */
extern LsmStatus lsm_install_locked(LsmDb *db, LsmEdit *edit, int retire, uint64_t last_seq, LsmError *err);

/* Makes the view current; what work starts from. */
extern LsmStatus lsm_refresh(LsmDb *db, LsmError *err);

/* Removes files that no reader can need any more; `number` of `kind` left the set with the current epoch. */
extern void lsm_garbage_add(LsmDb *db, LsmFileKind kind, uint64_t number);
extern void lsm_collect(LsmDb *db);
/* What this handle has yet to remove is left to sweeps: who was only asked for some work may not come back to it for days. */
extern void lsm_garbage_leave(LsmDb *db);
/* There may be files that nobody remembers. */
extern void lsm_sweep_ask(LsmShared *shared);
/* With the role: removes the files that nothing names, if asked for, once nobody reads an older set or does a job that began before. */
extern void lsm_sweep(LsmDb *db);
/* All files below a number that are not in `files` or the manifest in use, and spill files of earlier runs. */
extern LsmStatus lsm_sweep_all(LsmDb *db, const LsmFiles *files, uint64_t manifest, uint64_t below, uint64_t spills_below,
							   LsmError *err);

/* Makes arenas of flushed memtables free again that no reader can be looking at.  Any process, no lock held. */
extern void lsm_reclaim(LsmDb *db);

/*
 * The next file number as the manifest is to tell it.  LevelDB wants it above
 * the log number, which in a stamped store is a position in another journal.
 */
static inline uint64_t
lsm_next_file_to_write(LsmDb *db, uint64_t log_number)
{
	uint64_t next = atomic_load(&db->shared->next_file);

	return next > log_number ? next : log_number + 1;
}

#endif
