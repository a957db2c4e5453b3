/*
 * define.h - making and dropping replications.
 */
#ifndef DOCSTORE_REPL_DEFINE_H
#define DOCSTORE_REPL_DEFINE_H

/* Called from _PG_init: what dropping a collection or a role does to replications. */
extern void repl_define_init(void);

#endif
