/*
 * trial.h - a reduce tried on documents before it is believed.
 */
#ifndef DOCSTORE_VIEW_TRIAL_H
#define DOCSTORE_VIEW_TRIAL_H

#include "postgres.h"

#include "view/catalog.h"

/*
 * Throws if the view's owner cannot run the reduce at all, or (on_documents) if for some documents that are there
 * it gives something else over its own results for parts of the rows than over the rows.  The view has no storage yet.
 */
extern void view_reduce_try(const View *view, bool on_documents);

#endif
