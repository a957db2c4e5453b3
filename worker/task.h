/*
 * task.h - a piece of background work that is done again and again, and may fail.
 *
 * What it throws is caught: the log tells of it once and not at every try, and
 * the next tries come after growing pauses.  So one task that keeps failing, for
 * want of disk space say, neither ends the process nor keeps the others waiting.
 */
#ifndef DOCSTORE_TASK_H
#define DOCSTORE_TASK_H

#include "postgres.h"

#include "datatype/timestamp.h"

typedef struct DocstoreTask
{
	/* set by the process */
	const char *failed;                    /* for the log: "could not ..." */
	bool (*run)(void *arg);                /* throws; returns whether there may be more to do at once */
	void (*note)(void *arg, ErrorData *e); /* told of a failure, outside any transaction, and (NULL) of its end */
	void *arg;
	int every_ms; /* between two runs that found no more to do */

	/* kept by task.c */
	TimestampTz due_at;
	int pause_ms;   /* 0: the last run went well */
	char told[256]; /* what the log was told last */
} DocstoreTask;

/* Runs it if it is due; true if it should be asked again at once. */
extern bool docstore_task_run(DocstoreTask *task);
/* Runs it in the middle of a pause, for a part of it that did not fail; the pause goes on. */
extern bool docstore_task_run_early(DocstoreTask *task);
/* Makes it due: what made it fail may be mended. */
extern void docstore_task_hurry(DocstoreTask *task);
/* Milliseconds until it is due, at most `most`. */
extern long docstore_task_due_in(const DocstoreTask *task, long most);

#endif
