/*
 * owner.h - who owns collections and their consumers: changing it, and what DROP ROLE, DROP OWNED and REASSIGN OWNED make of it.
 */
#ifndef DOCSTORE_OWNER_H
#define DOCSTORE_OWNER_H

#include "postgres.h"

/* Installs the hooks.  Called from _PG_init. */
extern void docstore_owner_init(void);

/* A role owns a collection or a consumer now, that may not have owned one before. */
extern void docstore_owner_added(Oid role);
/* Owners may have changed, or collections or consumers gone. */
extern void docstore_owners_changed(void);

#endif
