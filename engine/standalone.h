/*
 * standalone.h - what the threads of one process share beside LsmShared when they opened a store by lsm_open.
 */
#ifndef LSM_STANDALONE_H
#define LSM_STANDALONE_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/handle.h"

/* A batch that waits to be written (write_group.c); lives on its writer's stack. */
typedef struct LsmWriteRequest LsmWriteRequest;

struct LsmStandalone
{
	void *memory; /* LsmShared */
	size_t memory_size;
	LsmJournal *journal;
	bool *used;   /* pin slots; STATE */
	LsmDb *first; /* lsm_open's handle: closing it closes the store */

	/* writers in the order in which they came; the head leads */
	pthread_mutex_t queue_mutex;
	LsmWriteRequest *head;
	LsmWriteRequest *tail;
	LsmBatch joined; /* the leader's */
	_Atomic int queued;
	int company;      /* so many were there when the last synced group was written */
	uint64_t sync_us; /* what that took */
};

#endif
