/*
 * errors.h - docstore.view_error: documents that a view's map fails for, and groups that its reduce fails for.
 *
 * Part of the transaction that writes the rows without those documents, or the groups' errors in place of results.
 */
#ifndef DOCSTORE_VIEW_ERRORS_H
#define DOCSTORE_VIEW_ERRORS_H

#include "postgres.h"

#include "view/map.h"

/* Of documents that were mapped: those that were mended, or deleted, leave the list; those that fail come onto it. */
extern void view_errors_note(const View *view, const ViewDocument *docs, int n);
/* All of a collection's; NULL: of the whole view. */
extern void view_errors_forget(const View *view, const char *collection);

/* In place of a collection's name: the error is a group's. */
#define VIEW_ERRORS_GROUPS ""
/* A group, which is known by its key: the value (entry.h) says what is wrong; columns: what users shall see of it, JSON. */
extern void view_errors_note_group(const View *view, LsmSlice group, const char *columns, LsmSlice error);
extern void view_errors_forget_group(const View *view, LsmSlice group);

#endif
