/*
 * repair.h - docstore.repair(): the compactor repairs the store that it cannot bring up.
 */
#ifndef DOCSTORE_REPAIR_H
#define DOCSTORE_REPAIR_H

/* For the compactor, while the store is not up.  Is it to be repaired? */
extern bool docstore_repair_asked(void);
/* Repairs it, with the slot acquired.  should_stop as for lsm_repair.  Throws; then another repair may be asked for. */
extern void docstore_repair_run(bool (*should_stop)(void *arg));

#endif
