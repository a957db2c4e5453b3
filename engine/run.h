/*
 * run.h - what comes next in a block, read at once.
 *
 * A step from one entry to the next goes through a scan, a merge, a level, a table and a block, and most of what they do is to
 * find out that the entry is like the one before: a settled value of another key.  A run is the next entries of one block
 * up to the first that is not like that.  Who asks for a run stands at its last entry then.
 */
#ifndef LSM_RUN_H
#define LSM_RUN_H

#include "engine/keys.h"

/* More gain nothing (bench/notes.md), and who wants few would pay for more. */
#define LSM_RUN_MAX 16
#define LSM_RUN_KEYS 1024

typedef struct LsmRunEntry
{
	LsmSlice user;  /* in the run's keys */
	LsmSlice value; /* without its stamp; in the memory of whose entries they are */
	uint64_t seq;
} LsmRunEntry;

typedef struct LsmRun
{
	/* what is asked for */
	int max;          /* entries */
	uint64_t max_seq; /* none is newer */
	bool stamped;     /* values have stamps; they must be empty ones */

	/* what there is */
	int n;
	LsmRunEntry entries[LSM_RUN_MAX];
	char keys[LSM_RUN_KEYS];
} LsmRun;

#endif
