/*
 * spill.h - values too large for a memtable, each in a file of its own until it is flushed.
 *
 * The journal has the whole value, so spill files are never synced, and all
 * that recovery finds are leftovers.  A file lives as long as the memtable that
 * names it.
 */
#ifndef LSM_SPILL_H
#define LSM_SPILL_H

#include "engine/handle.h"

#define LSM_SPILL_REF_SIZE 16 /* payload in the memtable: fixed64 file number, fixed64 length of the value */

/* Does a value of this length go to a spill file? */
static inline bool
lsm_spill_wanted(const LsmDb *db, size_t value_len)
{
	return lsm_stamped(db) && value_len > db->shared->capacity / 8;
}

/*
 * Makes the batch that goes into the memtable out of the one that goes into the
 * journal: large payloads are written to files and replaced by references.
 * *spills tells how many; if 0, out is left alone and the batch itself is to be
 * used.  After an error the files are removed.
 */
extern LsmStatus lsm_spill_batch(LsmDb *db, const LsmBatch *batch, LsmBatch *out, int *spills, LsmError *err);
/* Removes the files that a batch made by lsm_spill_batch, or a memtable, names. */
extern void lsm_spill_forget_batch(LsmDb *db, const LsmBatch *batch);
extern void lsm_spill_forget_memtable(LsmDb *db, LsmMemtable *memtable);

/* Fetches the value that a reference (16 bytes) names. */
extern LsmStatus lsm_spill_read(LsmDb *db, LsmSlice ref, LsmBuf *value, LsmError *err);

#endif
