/*
 * repair_log.h - a log with the records that can be read.
 */
#ifndef LSM_REPAIR_LOG_H
#define LSM_REPAIR_LOG_H

#include "engine/table.h"

/*
 * Reads a log of batches.  If any of it is damaged, or it does not end with a
 * whole record, a new log takes its place that has the sound batches, and the old one
 * gets ".bad" added to its name.  *last_seq is raised to the highest sequence in it.
 */
extern LsmStatus lsm_repair_log(LsmEnv *env, uint64_t number, LsmDamage damage, void *arg, uint64_t *last_seq,
								LsmError *err);

#endif
