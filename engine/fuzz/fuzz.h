/*
 * fuzz.h - what the fuzzing targets share.
 *
 * A target is a file fuzz_<name>.c with LLVMFuzzerTestOneInput: it lets one of the engine's
 * readers loose on any bytes and checks what must hold whatever they are.  The
 * sanitizers watch the rest.  Two programs can be made of it (Makefile): with libFuzzer, and with driver.c,
 * which needs no clang, changes the corpus at random from a seed, and is a test
 * like any other.
 *
 * Checksums would keep most changes from getting any further.  So the first byte of
 * most inputs tells whether the target puts them right before it reads.
 */
#ifndef LSM_FUZZ_H
#define LSM_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/env_sim.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold; an input for which it does not is a find. */
#define FUZZ_CHECK(cond)                                                       \
	do                                                                         \
	{                                                                          \
		if (!(cond))                                                           \
		{                                                                      \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                           \
		}                                                                      \
	} while (0)

/* A file with these contents on a simulated disk. */
static inline void
fuzz_put_file(LsmEnv *env, const char *name, const void *data, size_t len)
{
	LsmFile *file;

	FUZZ_CHECK(lsm_file_open(env, name, LSM_OPEN_CREATE, &file, NULL) == LSM_OK);
	FUZZ_CHECK(lsm_file_append(file, data, len, NULL) == LSM_OK);
	lsm_file_close(file);
}

static inline bool
fuzz_same(LsmSlice a, LsmSlice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

#endif
