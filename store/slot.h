/*
 * slot.h - the replication slot that keeps what the store needs of the server: WAL, and the commit log.
 *
 * A physical slot of our own, held by the compactor.  Checkpoints know nothing of
 * memtables, VACUUM nothing of the transaction ids in tables; both respect slots.
 * Unless they say otherwise, functions are for the process that holds it, and throw.
 */
#ifndef DOCSTORE_SLOT_H
#define DOCSTORE_SLOT_H

#include "postgres.h"

#define DOCSTORE_SLOT "docstore"

/* Acquires the slot, making it if it is missing or was invalidated: for the time being, until persist. */
extern void docstore_slot_acquire(void);
/* The store is up: from now on a slot means that there is a store. */
extern void docstore_slot_persist(void);
/* Is there a slot that this process did not make just now? */
extern bool docstore_slot_exists(void);
/*
 * For the startup process, before it redoes anything: makes the slot if the server
 * has none, so that the WAL which is about to be replayed stays until the
 * compactor has read it, too.  Throws nothing.
 */
extern void docstore_slot_make_for_redo(void);
/* For anybody: the slot's transaction id, 0 if there is no slot. */
extern TransactionId docstore_slot_peek_xid(void);
/* Is WAL from position on not kept?  So it is for a slot that was lost and made anew; then memtables must be flushed. */
extern bool docstore_slot_is_ahead(uint64 position);
/* WAL is kept from here on. */
extern uint64 docstore_slot_position(void);
/* Before WAL is read from position: it must stay until the store needs it no more.  Moves the slot back if it is ahead. */
extern void docstore_slot_hold(uint64 position);
/* Everything before position is in tables: WAL before it may go. */
extern void docstore_slot_advance(uint64 position);
/* No version carries an older transaction id than this one: the commit log before it may go. */
extern void docstore_slot_advance_xid(uint64 xid);
/* The transaction id up to which the slot says so, 64 bits wide. */
extern uint64 docstore_slot_xid(void);

#endif
