/*
 * define.h - views are made and dropped by what happens to docstore.views.
 */
#ifndef DOCSTORE_DEFINE_H
#define DOCSTORE_DEFINE_H

/* Installs hooks.  Called from _PG_init. */
extern void view_define_init(void);

#endif
