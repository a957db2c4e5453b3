/*
 * wait.h - waiting until a view has everything that was committed before.
 */
#ifndef DOCSTORE_VIEW_WAIT_H
#define DOCSTORE_VIEW_WAIT_H

#include "postgres.h"

#include "datatype/timestamp.h"

/*
 * Returns when the view has all that was committed before the call.  Throws when
 * the time is over, when the view is paused, and if this transaction itself
 * stands in the way.  With replaced: also until a new definition is in force.
 */
extern void view_wait(const char *name, TimestampTz until, bool replaced);

/* Installs the hook behind the setting docstore.view_wait.  Called from _PG_init. */
extern void view_wait_init(void);

#endif
