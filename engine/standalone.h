/*
 * standalone.h - what the threads of one process share beside LsmShared when they opened a store by lsm_open.
 */
#ifndef LSM_STANDALONE_H
#define LSM_STANDALONE_H

#include "engine/handle.h"

/* A batch that waits to be written (write_group.c); lives on its writer's stack. */
typedef struct LsmWriteRequest
{
	struct LsmWriteRequest *next;
	LsmBatch *batch;
	bool sync;
	bool done;
	LsmMemRoom room;
	uint64_t seq;
	LsmStatus status;
	LsmError err;
} LsmWriteRequest;

struct LsmStandalone
{
	void *memory; /* LsmShared */
	size_t memory_size;
	LsmJournal *journal;
	bool *used;   /* pin slots; STATE */
	LsmDb *first; /* lsm_open's handle: closing it closes the store */

	_Atomic(LsmWriteRequest *) arrivals; /* newest first */
	LsmWriteRequest *head;               /* oldest first; WRITE */
	LsmWriteRequest *tail;               /* WRITE */
	LsmBatch joined;                     /* WRITE */
};

#endif
