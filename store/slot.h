/*
 * slot.h - the replication slot that keeps what the store needs of the server: WAL, and the commit log.
 *
 * A physical slot of our own, held by the compactor.  Checkpoints know nothing of
 * memtables, VACUUM nothing of the transaction ids in tables; both respect slots.
 * All functions are for the process that holds it, and throw.
 */
#ifndef DOCSTORE_SLOT_H
#define DOCSTORE_SLOT_H

#include "postgres.h"

#define DOCSTORE_SLOT "docstore"

/* Acquires the slot, making it if it is missing or was invalidated. */
extern void docstore_slot_acquire(void);
/* Is WAL from position on not kept?  So it is for a slot that was lost and made anew; then memtables must be flushed. */
extern bool docstore_slot_is_ahead(uint64 position);
/* Before WAL is read from position: it must stay until the store needs it no more.  Moves the slot back if it is ahead. */
extern void docstore_slot_hold(uint64 position);
/* Everything before position is in tables: WAL before it may go. */
extern void docstore_slot_advance(uint64 position);
/* No version carries an older transaction id than this one: the commit log before it may go. */
extern void docstore_slot_advance_xid(uint64 xid);
/* The transaction id up to which the slot says so, 64 bits wide. */
extern uint64 docstore_slot_xid(void);

#endif
