/*
 * stop.h - places where a test can stop a process, to kill it there or to let others go first.
 *
 * A process that comes to the place that docstore.debug_stop names stops itself
 * with SIGSTOP.  Whoever set it sees that in the process's state, and goes on
 * with SIGKILL or SIGCONT.
 */
#ifndef DOCSTORE_STOP_H
#define DOCSTORE_STOP_H

extern char *docstore_debug_stop; /* docstore.debug_stop, "" for nowhere; superusers */

extern void docstore_stop_at(const char *place);

#define docstore_stop(place)                          \
	do                                                \
	{                                                 \
		if (unlikely(docstore_debug_stop[0] != '\0')) \
			docstore_stop_at(place);                  \
	} while (0)

#endif
