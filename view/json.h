/*
 * json.h - what the JSON documents that define views and replications have in common.
 *
 * Beware: the server exports a function json_object of its own, which a call from here would reach instead of
 * jansson's.  Nothing here makes JSON objects; jansson's calls among its own functions do not leave it.
 */
#ifndef DOCSTORE_JSON_H
#define DOCSTORE_JSON_H

#include "postgres.h"

#include <jansson.h>

#include "nodes/pg_list.h"

#include "store/compat.h"

/* Messages say what is defined: "view".  All of them throw; what they return lies in the current context. */

/* What `copy` makes of the document, which is freed then. */
extern void *view_json_parse(const char *what, const char *text, void *(*copy)(json_t *root));
/* Throws: `member` must be `wanted`. */
extern pg_noreturn void view_json_bad(const char *what, const char *member, const char *wanted);
/* Throws: there is no such member. */
extern pg_noreturn void view_json_unknown(const char *what, const char *member, const char *members);
/* Throws unless it is an object. */
extern void view_json_check_object(const char *what, json_t *value, const char *members);
/* Neither empty nor with a zero byte. */
extern char *view_json_string(const char *what, const char *member, json_t *value, const char *wanted);
/* Names, without doubles. */
extern List *view_json_names(const char *what, const char *member, json_t *value, const char *wanted);

#endif
