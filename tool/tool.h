/*
 * tool.h - what docstore-tool's commands share.
 */
#ifndef DOCSTORE_TOOL_H
#define DOCSTORE_TOOL_H

#include <jansson.h>

#include "engine/env.h"
#include "engine/table.h"

#define EXIT_DAMAGE 1
#define EXIT_TROUBLE 2

typedef struct Tool
{
	LsmEnv *env;
	bool json;
	bool stamped; /* a store that PostgreSQL writes */
	uint64_t damages;
} Tool;

extern _Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Ends the program if an engine's call failed. */
extern void must(LsmStatus status, const LsmError *err);
/* Counts damage and tells it on standard error; arg is the Tool. */
extern void report_damage(void *arg, const LsmError *what);
/* Prints an object as a line of JSON or of text, and frees it. */
extern void print_object(const Tool *tool, json_t *object);
/* Bytes as text: what is not printable ASCII, and the backslash, as \xHH.  limit: 0, or where to stop and say how many follow. */
extern json_t *text_of(LsmSlice bytes, size_t limit);

/* dump.c: one file, named as in the store. */
extern void dump_file(Tool *tool, const char *name);

#endif
