/*
 * test.h - the little that every engine test needs.
 */
#ifndef LSM_TEST_H
#define LSM_TEST_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/status.h"

static int test_passed;
static int test_failed;

#define CHECK(cond)                                                            \
	do                                                                         \
	{                                                                          \
		if (cond)                                                              \
			test_passed++;                                                     \
		else                                                                   \
		{                                                                      \
			test_failed++;                                                     \
			fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #cond); \
		}                                                                      \
	} while (0)

/* For what later checks build on: prints the error and ends the program. */
#define MUST(status_expr, err)                                                               \
	do                                                                                       \
	{                                                                                        \
		LsmStatus must_status_ = (status_expr);                                              \
		if (must_status_ != LSM_OK)                                                          \
		{                                                                                    \
			fprintf(stderr, "%s:%d: %s: %s: %s %s@%llu\n", __FILE__, __LINE__, #status_expr, \
					lsm_status_name(must_status_), (err)->text, (err)->file,                 \
					(unsigned long long) (err)->offset);                                     \
			exit(1);                                                                         \
		}                                                                                    \
	} while (0)

static inline int
test_done(void)
{
	printf("%d passed, %d failed\n", test_passed, test_failed);
	return test_failed ? 1 : 0;
}

/* xorshift64*: repeatable from a printed seed. */
static inline uint64_t
test_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

#endif
