/*
 * pin.h - the surroundings in which a view's SQL is checked and run: always the same ones.
 */
#ifndef DOCSTORE_PIN_H
#define DOCSTORE_PIN_H

#include "postgres.h"

typedef struct ViewPin
{
	int nest_level;
	Oid user;
	int security;
} ViewPin;

/*
 * Until view_unpin, or the end of the (sub)transaction by an error: the role is
 * `role` (with no way to change it), and every setting on which the result of a
 * STABLE function may depend has a fixed value.
 */
extern void view_pin(ViewPin *pin, Oid role);
extern void view_unpin(const ViewPin *pin);
/* For a background worker that has a session of its own: the settings are its from now on, so pinning has little to do. */
extern void view_pin_process(void);

#endif
