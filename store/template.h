/*
 * template.h - CREATE DATABASE ... TEMPLATE: the documents of the template go along.
 */
#ifndef DOCSTORE_TEMPLATE_H
#define DOCSTORE_TEMPLATE_H

/* Installs the hook.  Called from _PG_init. */
extern void docstore_template_init(void);

#endif
