/*
 * driver.c - runs a fuzzing target without libFuzzer: on its corpus, then on random changes of it.
 *
 *     build/test/fuzz_<name> [file ...]
 *
 * With files: on these only.  Without: on engine/fuzz/corpus/<name>, then on
 * FUZZ_RUNS (200,000) changed inputs; FUZZ_SEED gives the same ones again.  The input
 * at hand lies in fuzz_<name>.input when the target ends the program.
 */
#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include "engine/fuzz/fuzz.h"
#include "engine/test/test.h"

#define MAX_INPUTS 256
#define MAX_SIZE 20000
#define MAX_CHANGES 6

typedef struct Input
{
	uint8_t *data;
	size_t size;
} Input;

static Input inputs[MAX_INPUTS];
static int ninputs;
static uint64_t rnd;
static char name[64];
static uint8_t at_hand[MAX_SIZE];
static size_t at_hand_size;

static size_t
below(size_t limit)
{
	return limit == 0 ? 0 : (size_t) (test_random(&rnd) % limit);
}

/* So that a find is not lost. */
static void
keep_input(int signal_number)
{
	char path[80];
	FILE *file;

	snprintf(path, sizeof(path), "%s.input", name);
	file = fopen(path, "w");
	if (file != NULL)
	{
		fwrite(at_hand, 1, at_hand_size, file);
		fclose(file);
		fprintf(stderr, "the input is in %s\n", path);
	}
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

/* The sanitizers call it before they end the program. */
extern void __asan_on_error(void);
void
__asan_on_error(void)
{
	keep_input(SIGABRT);
}

static void
run(void)
{
	/* of exactly that size, so that the sanitizer sees every step beyond */
	uint8_t *copy = malloc(at_hand_size > 0 ? at_hand_size : 1);

	memcpy(copy, at_hand, at_hand_size);
	CHECK(LLVMFuzzerTestOneInput(copy, at_hand_size) == 0);
	free(copy);
}

static bool
load(const char *path)
{
	FILE *file = fopen(path, "r");

	if (file == NULL)
		return false;
	at_hand_size = fread(at_hand, 1, sizeof(at_hand), file);
	fclose(file);
	if (ninputs < MAX_INPUTS)
	{
		inputs[ninputs].data = malloc(at_hand_size + 1);
		memcpy(inputs[ninputs].data, at_hand, at_hand_size);
		inputs[ninputs++].size = at_hand_size;
	}
	return true;
}

/* ---- changes ---- */

static void
insert(size_t at, const uint8_t *bytes, size_t n)
{
	uint8_t held[64];

	if (n > sizeof(held))
		n = sizeof(held);
	if (at_hand_size + n > MAX_SIZE)
		return;
	memcpy(held, bytes, n);
	memmove(at_hand + at + n, at_hand + at, at_hand_size - at);
	memcpy(at_hand + at, held, n);
	at_hand_size += n;
}

static void
cut(size_t at, size_t n)
{
	if (n > at_hand_size - at)
		n = at_hand_size - at;
	memmove(at_hand + at, at_hand + at + n, at_hand_size - at - n);
	at_hand_size -= n;
}

static void
change(void)
{
	static const uint8_t telling[] = {0, 1, 2, 3, 4, 7, 0x10, 0x7f, 0x80, 0x81, 0xfe, 0xff};
	size_t at = below(at_hand_size);
	const Input *other = &inputs[below((size_t) ninputs)];
	size_t from = below(other->size);
	size_t n = 1 + below(16);

	if (at_hand_size == 0)
		return;
	switch (below(9))
	{
		case 0:
			at_hand[at] ^= (uint8_t) (1 << below(8));
			break;
		case 1:
			at_hand[at] = telling[below(sizeof(telling))];
			break;
		case 2:
			at_hand[at] = (uint8_t) below(256);
			break;
		case 3:
			at_hand[at] = (uint8_t) (at_hand[at] + 1 + 254 * below(2));
			break;
		case 4:
			cut(at, below(4) == 0 ? n * 16 : n);
			break;
		case 5:
			insert(at, at_hand + at, n < at_hand_size - at ? n : at_hand_size - at);
			break;
		case 6:
			insert(at, other->data + from, n < other->size - from ? n : other->size - from);
			break;
		case 7:
			/* one number more at the end of a varint, or 4 telling bytes in a row */
			memset(at_hand + at, telling[below(sizeof(telling))], at_hand_size - at < 4 ? at_hand_size - at : 4);
			break;
		default:
			if (below(8) == 0)
				at_hand_size = at;
			else
				at_hand[at] = at_hand[below(at_hand_size)];
			break;
	}
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* By name, because the seed counts on the order. */
static void
load_corpus(void)
{
	char dir[96];
	struct dirent **entries;
	int n;

	snprintf(dir, sizeof(dir), "engine/fuzz/corpus/%s", name + strlen("fuzz_"));
	n = scandir(dir, &entries, NULL, by_name);
	for (int i = 0; i < n; i++)
	{
		char path[400];

		snprintf(path, sizeof(path), "%s/%s", dir, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.' && load(path))
			run();
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	if (ninputs == 0)
	{
		fprintf(stderr, "%s has no input\n", dir);
		exit(1);
	}
}

int
main(int argc, char **argv)
{
	const char *base = strrchr(argv[0], '/');
	const char *seed_text = getenv("FUZZ_SEED");
	const char *runs_text = getenv("FUZZ_RUNS");
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : 1;
	uint64_t runs = runs_text ? strtoull(runs_text, NULL, 10) : 200000;

	snprintf(name, sizeof(name), "%.60s", base != NULL ? base + 1 : argv[0]);
	signal(SIGABRT, keep_input);
	for (int i = 1; i < argc; i++)
	{
		if (!load(argv[i]))
		{
			fprintf(stderr, "could not read %s\n", argv[i]);
			return 1;
		}
		run();
	}
	if (argc > 1)
		return test_done();

	load_corpus();
	printf("%d inputs, seed %llu\n", ninputs, (unsigned long long) seed);
	rnd = seed * 2654435761 + 1;
	for (uint64_t i = 0; i < runs; i++)
	{
		const Input *input = &inputs[below((size_t) ninputs)];
		size_t changes = 1 + below(MAX_CHANGES);

		memcpy(at_hand, input->data, input->size);
		at_hand_size = input->size;
		while (changes-- > 0)
			change();
		run();
	}
	for (int i = 0; i < ninputs; i++)
		free(inputs[i].data);
	return test_done();
}
