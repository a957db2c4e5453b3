/*
 * replace.h - another definition for a view: built beside it, put in its place.
 */
#ifndef DOCSTORE_VIEW_REPLACE_H
#define DOCSTORE_VIEW_REPLACE_H

#include "postgres.h"

#include "view/catalog.h"

/* Ids under which nothing is stored, and the end of all that is. */
extern void view_new_storage(View *view);
extern void view_drop_storage(const View *view);
/*
 * Registers what was checked as the replacement of a view; one that was there goes.  Locks the view.  What needs no
 * replacement, comments or another finalize, is in place at once.
 */
extern void view_replace(View *next);
/* Takes away index, consumer and progress of a view or replacement that is locked. */
extern void view_drop_index(const View *view);

/* ---- the indexer ---- */

#define VIEW_TAKE_PLACE_MS 200

/*
 * Locks for view_take_place, tables before the view; gives up after VIEW_TAKE_PLACE_MS, with
 * ERRCODE_LOCK_NOT_AVAILABLE: whoever waits for such a lock holds others up.
 */
extern void view_take_place_lock(const char *name);
/* The replacement, which has caught up, becomes the view, and the tables that showed all of the old one show the new. */
extern void view_take_place(const View *next);

#endif
