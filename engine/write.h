/*
 * write.h - putting batches into the active memtable.
 */
#ifndef LSM_WRITE_H
#define LSM_WRITE_H

#include "engine/output.h"

/* With a concurrent journal the last writes may be lost in a crash: how far recovery moves the numbers on. */
#define LSM_SEQUENCE_GAP (UINT64_C(1) << 20)

/* Inserts a batch's records with sequences from seq on, into a room that was reserved for it. */
extern void lsm_insert_batch(LsmDb *db, LsmMemtable *memtable, LsmSlot *slot, LsmMemRoom *room, uint64_t seq,
							 const LsmBatch *batch);

/*
 * With a journal that takes one writer at a time.  mem_batch is what the
 * memtable gets.  LSM_BUSY if there is no room.
 */
extern LsmStatus lsm_write_exclusive(LsmDb *db, LsmBatch *batch, LsmBatch *mem_batch, bool sync,
									 uint64_t *first_seq, LsmError *err);

/* Appends to the journal under sequence seq; a failure poisons it.  WRITE is held exclusively. */
extern LsmStatus lsm_log_batch(LsmDb *db, LsmBatch *batch, uint64_t seq, bool sync, LsmError *err);

/*
 * Several threads' batches as one record of the journal, for handles of lsm_open
 * (db->write_grouped).  As lsm_write; LSM_BUSY if there is no room.
 */
extern LsmStatus lsm_write_grouped(LsmDb *db, LsmBatch *batch, bool sync, uint64_t *first_seq, LsmError *err);

/* Standalone: a batch larger than a memtable goes straight into a table (write_large.c). */
extern LsmStatus lsm_write_large(LsmDb *db, LsmBatch *batch, uint64_t *first_seq, LsmError *err);
/* Sorts such a batch into output's tables, with sequences from seq on. */
extern LsmStatus lsm_sort_large(LsmDb *db, const LsmBatch *batch, uint64_t seq, LsmOutput *output, LsmError *err);

#endif
