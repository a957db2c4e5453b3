/*
 * stop.c - see stop.h.
 *
 * The places of a write, in order:
 *
 *   write             room is reserved, nothing is in WAL
 *   write logged      its WAL record is inserted
 *   write done        its versions are in the memtable, the stripe locks still held
 *   commit            before the commit record
 *   commit done       the commit record is written (by an asynchronous commit: inserted), others see it
 *
 * and of the compactor and whoever flushes:
 *
 *   rotate            the write pin is held exclusively
 *   install           a table is complete, WAL not yet flushed
 *   install logged    WAL is flushed, the manifest does not name the table yet
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"

#include "store/stop.h"

void
docstore_stop_at(const char *place)
{
	if (strcmp(docstore_debug_stop, place) == 0)
		kill(MyProcPid, SIGSTOP);
}
