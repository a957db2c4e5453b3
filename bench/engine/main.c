/*
 * main.c - bench/engine: what an engine does in a second, and how long its slowest write takes.
 *
 *     bench/engine/run [--rounds n] [--small n] [--large n] [--workers n] [--only "name;name"] [--list]
 *
 * --workers says how many threads (or processes) of ours work in the background: 1, if it is not given.
 *
 * Each round (one, unless asked for more; it takes five minutes) runs every engine once, so that they meet the same machine; shown
 * are the medians over the rounds.  Every run of an engine is a process of its own.  Keys
 * have 16 bytes and even numbers (so that odd ones are missing within their
 * range), values do not compress.  Every put goes through the clock; "p99.9" and
 * "longest" are of single puts (or batches) in a sustained load.  "settled" means: no
 * background work is due, and nothing was written for half a second.  Write
 * amplification is what the process handed to write() and the like, the log
 * included, per byte of keys and values.  "open after a crash" begins when the log, all
 * of it in one memtable of 160 MB, is in the system's cache.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/engine/store.h"

#define KEY_LEN 16
#define BATCH 1000
#define MAX_ROUNDS 99
#define MAX_ROWS 40
#define SYNC_SECONDS 1.5
#define CRASH_LOG (64 << 20) /* bytes of log, of which each pair has about CRASH_OVERHEAD besides key and value */
#define CRASH_OVERHEAD 23
#define CRASH_MEMTABLE (160 << 20)
#define LONGEST_BIN 200000 /* microseconds that the histogram tells apart */

static const StoreOps *const engines[] = {
	&ours_threads,
	&ours_processes,
	&leveldb_store,
#ifdef HAVE_ROCKSDB
	&rocksdb_store,
#endif
#ifdef HAVE_LMDB
	&lmdb_store,
#endif
};
#define ENGINES ((int) (sizeof(engines) / sizeof(engines[0])))

typedef struct Row
{
	char name[64];
	double values[ENGINES][MAX_ROUNDS];
	int n[ENGINES];
} Row;

/* One engine's run. */
typedef struct Run
{
	const StoreOps *ops;
	Store *store;
	StoreHandle *handle;
	const char *dir;
	uint32_t count;
	size_t value_len;
	uint32_t *order; /* a permutation of 0 .. count - 1 */
	char *values;    /* value_len + count bytes that do not repeat */
	uint64_t random;
	uint64_t peak_memory;
	FILE *out; /* rows, to the parent */
} Run;

typedef struct Latencies
{
	uint32_t *bins; /* one a microsecond */
	uint64_t n;
	double longest;
} Latencies;

int background_workers = 1;
size_t memtable_size = 4 << 20;

void
die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void
make_key(char *key, uint64_t number)
{
	for (int i = KEY_LEN - 1; i >= 0; i--, number /= 10)
		key[i] = (char) ('0' + number % 10);
}

static const char *
some_value(const Run *run, uint32_t i)
{
	return run->values + i % run->count;
}

static void
report(Run *run, const char *name, double value)
{
	fprintf(run->out, "%s\t%.9g\n", name, value);
}

/* ---- what the system says ---- */

/* A number behind `name` in /proc/pid/file. */
static uint64_t
proc_number(pid_t pid, const char *file, const char *name)
{
	char path[64];
	char line[256];
	uint64_t value = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int) pid, file);
	f = fopen(path, "r");
	if (f == NULL)
		die("could not read %s", path);
	while (fgets(line, sizeof(line), f) != NULL)
	{
		if (strncmp(line, name, strlen(name)) == 0)
			value = strtoull(line + strlen(name), NULL, 10);
	}
	fclose(f);
	return value;
}

static uint64_t
bytes_written(Run *run)
{
	uint64_t bytes = proc_number(getpid(), "io", "wchar:");
	pid_t worker;

	for (int i = 0; run->ops->worker != NULL && (worker = run->ops->worker(run->store, i)) != 0; i++)
		bytes += proc_number(worker, "io", "wchar:");
	return bytes;
}

/* Memory without mapped files, which are the page cache's. */
static void
note_memory(Run *run)
{
	uint64_t kb = proc_number(getpid(), "status", "RssAnon:") + proc_number(getpid(), "status", "RssShmem:");
	pid_t worker;

	for (int i = 0; run->ops->worker != NULL && (worker = run->ops->worker(run->store, i)) != 0; i++)
		kb += proc_number(worker, "status", "RssAnon:");
	if (kb > run->peak_memory)
		run->peak_memory = kb;
}

static uint64_t
bytes_on_disk(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	uint64_t bytes = 0;

	if (d == NULL)
		die("could not open %s", dir);
	while ((entry = readdir(d)) != NULL)
	{
		struct stat st;

		if (fstatat(dirfd(d), entry->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
			bytes += (uint64_t) st.st_blocks * 512;
	}
	closedir(d);
	return bytes;
}

static void
remove_dir(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;

	if (d == NULL)
		return;
	while ((entry = readdir(d)) != NULL)
		(void) unlinkat(dirfd(d), entry->d_name, 0);
	closedir(d);
	(void) rmdir(dir);
}

static void
nap(double seconds)
{
	struct timespec t = {(time_t) seconds, (long) ((seconds - (double) (time_t) seconds) * 1e9)};

	nanosleep(&t, NULL);
}

/* Seconds until the background work was over. */
static double
settle(Run *run)
{
	double since = now();
	double quiet = since;
	uint64_t written = bytes_written(run);

	while (now() - quiet < 0.5)
	{
		uint64_t more;

		nap(0.02);
		more = bytes_written(run);
		/* reading /proc writes nothing, so a settled store stands still */
		if (more != written || (run->ops->busy != NULL && run->ops->busy(run->handle)))
			quiet = now();
		written = more;
		if (now() - since > 300)
			die("%s does not settle", run->ops->name);
	}
	note_memory(run);
	return quiet - since;
}

/* ---- latencies ---- */

static void
latencies_init(Latencies *l)
{
	l->bins = calloc(LONGEST_BIN, sizeof(*l->bins));
	l->n = 0;
	l->longest = 0;
}

static void
latencies_add(Latencies *l, double seconds)
{
	uint64_t us = (uint64_t) (seconds * 1e6);

	l->bins[us < LONGEST_BIN ? us : LONGEST_BIN - 1]++;
	l->n++;
	if (seconds > l->longest)
		l->longest = seconds;
}

static double
latencies_percentile(const Latencies *l, double percent)
{
	uint64_t left = (uint64_t) ((double) l->n * (100 - percent) / 100);

	for (int us = LONGEST_BIN - 1; us > 0; us--)
	{
		if (l->bins[us] > left)
			return us;
		left -= l->bins[us];
	}
	return 0;
}

static void
report_latencies(Run *run, const char *what, Latencies *l)
{
	char name[64];

	snprintf(name, sizeof(name), "%s, p99.9, us", what);
	report(run, name, latencies_percentile(l, 99.9));
	snprintf(name, sizeof(name), "%s, longest, ms", what);
	report(run, name, l->longest * 1e3);
	free(l->bins);
}

/* ---- the kinds of work ---- */

static void
open_store(Run *run)
{
	remove_dir(run->dir);
	run->store = run->ops->create(run->dir);
	run->handle = run->ops->attach(run->store, 0, false);
}

static void
close_store(Run *run)
{
	note_memory(run);
	run->ops->detach(run->handle);
	run->ops->close(run->store);
	remove_dir(run->dir);
}

/* Writes (or deletes) everything once, `batch` at a time; microseconds a key. */
static double
fill(Run *run, const uint32_t *order, int batch, bool delete, Latencies *l)
{
	char keys[BATCH][KEY_LEN];
	const char *pointers[BATCH];
	double since = now();
	double last = since;

	for (uint32_t i = 0; i < run->count; i += (uint32_t) batch)
	{
		int n = run->count - i < (uint32_t) batch ? (int) (run->count - i) : batch;
		double then;

		for (int j = 0; j < n; j++)
		{
			make_key(keys[j], (uint64_t) (order != NULL ? order[i + (uint32_t) j] : i + (uint32_t) j) * 2);
			pointers[j] = keys[j];
		}
		run->ops->write(run->handle, pointers, KEY_LEN, delete ? NULL : some_value(run, i), run->value_len, n, false);
		then = now();
		if (l != NULL)
			latencies_add(l, then - last);
		last = then;
	}
	note_memory(run);
	return (now() - since) * 1e6 / run->count;
}

static double
read_random(Run *run, uint32_t n, bool missing)
{
	double since = now();
	char key[KEY_LEN];

	for (uint32_t i = 0; i < n; i++)
	{
		make_key(key, next_random(&run->random) % run->count * 2 + missing);
		if (run->ops->get(run->handle, key, KEY_LEN) == missing)
			die("%s: a key is %s", run->ops->name, missing ? "there that was never written" : "missing");
	}
	return (now() - since) * 1e6 / n;
}

static double
read_all(Run *run)
{
	double since = now();

	if (run->ops->walk(run->handle, NULL, 0, UINT64_MAX) != run->count)
		die("%s: a walk does not see everything", run->ops->name);
	return (now() - since) * 1e6 / run->count;
}

static double
seek_and_next(Run *run, uint32_t n)
{
	double since = now();
	char key[KEY_LEN];

	for (uint32_t i = 0; i < n; i++)
	{
		make_key(key, next_random(&run->random) % (run->count - 10) * 2);
		if (run->ops->walk(run->handle, key, KEY_LEN, 10) != 10)
			die("%s: a walk does not see ten", run->ops->name);
	}
	return (now() - since) * 1e6 / n;
}

/* Shared with the reader, which may be a process. */
typedef struct Beside
{
	Run *run;
	uint32_t n;
	atomic_bool ready;
	atomic_bool go;
	atomic_bool done;
	double us;
} Beside;

static void
read_beside(Beside *beside, bool child)
{
	Run own = *beside->run;

	own.handle = own.ops->attach(own.store, 1, child);
	atomic_store(&beside->ready, true);
	while (!atomic_load(&beside->go))
		;
	beside->us = read_random(&own, beside->n, false);
	atomic_store(&beside->done, true);
	own.ops->detach(own.handle);
}

static void *
read_thread(void *arg)
{
	read_beside(arg, false);
	return NULL;
}

static void
read_while_writing(Run *run, double alone)
{
	Beside *beside = mmap(NULL, sizeof(*beside), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint32_t written = 0;
	pthread_t thread;
	pid_t child = 0;
	double since;

	beside->run = run;
	beside->n = run->count / 4;
	if (run->ops->processes)
	{
		child = fork();
		if (child == 0)
		{
			read_beside(beside, true);
			_exit(0);
		}
	}
	else if (pthread_create(&thread, NULL, read_thread, beside) != 0)
		die("could not start a thread");
	while (!atomic_load(&beside->ready))
		nap(0.001);
	since = now();
	atomic_store(&beside->go, true);
	for (; !atomic_load(&beside->done); written++)
	{
		char key[KEY_LEN];
		const char *pointer = key;

		make_key(key, (uint64_t) run->order[written % run->count] * 2);
		run->ops->write(run->handle, &pointer, KEY_LEN, some_value(run, written), run->value_len, 1, false);
		if ((written & 1023) == 0 && child != 0 && waitpid(child, NULL, WNOHANG) == child && !atomic_load(&beside->done))
			die("%s: the reader has died", run->ops->name);
	}
	report(run, "read while writing: read, us", beside->us);
	report(run, "read while writing: write, us", (now() - since) * 1e6 / written);
	report(run, "read while writing: reads, times as long", beside->us / alone);
	if (child == 0)
		pthread_join(thread, NULL);
	else
		waitpid(child, NULL, 0);
	munmap(beside, sizeof(*beside));
}

typedef struct Syncer
{
	Run *run;
	int number;
	double until;
	uint64_t n;
} Syncer;

static void *
sync_writes(void *arg)
{
	Syncer *syncer = arg;
	Run *run = syncer->run;
	StoreHandle *handle = run->ops->attach(run->store, syncer->number + 1, false);
	char key[KEY_LEN];
	const char *pointer = key;

	while (now() < syncer->until)
	{
		make_key(key, ((uint64_t) syncer->number * 100000000 + run->order[syncer->n % run->count]) * 2);
		run->ops->write(handle, &pointer, KEY_LEN, some_value(run, (uint32_t) syncer->n), run->value_len, 1, true);
		syncer->n++;
	}
	run->ops->detach(handle);
	return NULL;
}

/* Synced writes a second. */
static double
fill_sync(Run *run, int writers)
{
	Syncer syncers[8];
	pthread_t threads[8];
	double since = now();
	uint64_t n = 0;

	for (int i = 0; i < writers; i++)
	{
		syncers[i] = (Syncer){run, i, since + SYNC_SECONDS, 0};
		if (pthread_create(&threads[i], NULL, sync_writes, &syncers[i]) != 0)
			die("could not start a thread");
	}
	for (int i = 0; i < writers; i++)
	{
		pthread_join(threads[i], NULL);
		n += syncers[i].n;
	}
	return (double) n / (now() - since);
}

/* Fills one memtable, with a log of 64 MB, and is killed. */
static _Noreturn void
crash(Run *run, uint32_t n)
{
	char key[KEY_LEN];
	const char *pointer = key;
	pid_t worker;

	run->store = run->ops->create(run->dir);
	run->handle = run->ops->attach(run->store, 0, false);
	for (uint32_t i = 0; i < n; i++)
	{
		/* in no order: the factor is a prime that does not divide n */
		make_key(key, (uint64_t) i * 2654435761 % n * 2);
		run->ops->write(run->handle, &pointer, KEY_LEN, some_value(run, i), run->value_len, 1, false);
	}
	for (int i = 0; run->ops->worker != NULL && (worker = run->ops->worker(run->store, i)) != 0; i++)
	{
		kill(worker, SIGKILL);
		waitpid(worker, NULL, 0);
	}
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

/* Seconds until what was left behind is open. */
static double
open_after_crash(Run *run)
{
	uint32_t n = (uint32_t) (CRASH_LOG / (KEY_LEN + run->value_len + CRASH_OVERHEAD));
	double since;
	double took;
	int status;
	pid_t pid;

	remove_dir(run->dir);
	memtable_size = CRASH_MEMTABLE;
	pid = fork();
	if (pid == 0)
		crash(run, n);
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
		die("%s did not crash", run->ops->name);
	since = now();
	run->store = run->ops->create(run->dir);
	took = now() - since;
	run->handle = run->ops->attach(run->store, 0, false);
	if (run->ops->walk(run->handle, NULL, 0, UINT64_MAX) != n)
		die("%s: not everything is there after a crash", run->ops->name);
	run->ops->detach(run->handle);
	run->ops->close(run->store);
	remove_dir(run->dir);
	memtable_size = 4 << 20;
	return took;
}

/* ---- a run ---- */

static void
run_fills(Run *run)
{
	double payload = (double) run->count * (double) (KEY_LEN + run->value_len);
	Latencies l;
	double one;
	uint64_t before;

	open_store(run);
	report(run, "fillseq, us", fill(run, NULL, 1, false, NULL));
	settle(run);
	close_store(run);

	open_store(run);
	latencies_init(&l);
	report(run, "batches of 1,000, us a key", fill(run, run->order, BATCH, false, &l));
	report_latencies(run, "batches of 1,000", &l);
	close_store(run);

	open_store(run);
	one = fill_sync(run, 1);
	close_store(run);
	open_store(run);
	report(run, "synced, 1 writer, /s", one);
	report(run, "synced, 8 writers, /s", fill_sync(run, 8));
	close_store(run);

	open_store(run);
	before = bytes_written(run);
	latencies_init(&l);
	report(run, "fillrandom, us", fill(run, run->order, 1, false, &l));
	report_latencies(run, "fillrandom", &l);
	report(run, "fillrandom, s until settled", settle(run));
	report(run, "write amplification, fillrandom settled", (double) (bytes_written(run) - before) / payload);
	latencies_init(&l);
	report(run, "overwrite, us", fill(run, run->order + run->count, 1, false, &l));
	report_latencies(run, "overwrite", &l);
	settle(run);
	report(run, "space / data, overwrite settled", (double) bytes_on_disk(run->dir) / payload);
}

static void
run_reads(Run *run)
{
	double alone;

	(void) read_random(run, run->count / 10, false); /* warm */
	report(run, "readrandom, us", alone = read_random(run, run->count / 2, false));
	report(run, "readmissing, us", read_random(run, run->count / 2, true));
	report(run, "readseq, us", read_all(run));
	report(run, "seek + 10 next, us", seek_and_next(run, run->count / 10));
	read_while_writing(run, alone);
	settle(run);
	if (run->ops->compact != NULL)
		run->ops->compact(run->handle);
	settle(run);
	report(run, "readrandom, compacted, us", read_random(run, run->count / 2, false));
	report(run, "readmissing, compacted, us", read_random(run, run->count / 2, true));
	report(run, "seek + 10 next, compacted, us", seek_and_next(run, run->count / 10));
	report(run, "delete everything, us", fill(run, run->order, 1, true, NULL));
	settle(run);
	report(run, "space, everything deleted and settled, MB", (double) bytes_on_disk(run->dir) / 1e6);
	close_store(run);
	report(run, "memory without mapped files, peak, MB", (double) run->peak_memory / 1e3);
}

static void
shuffle(uint32_t *order, uint32_t n, uint64_t *random)
{
	for (uint32_t i = 0; i < n; i++)
		order[i] = i;
	for (uint32_t i = n - 1; i > 0; i--)
	{
		uint32_t j = (uint32_t) (next_random(random) % (i + 1));
		uint32_t t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
}

static void
run_engine(const StoreOps *ops, const char *dir, uint32_t count, size_t value_len, FILE *out)
{
	Run run = {.ops = ops, .dir = dir, .count = count, .value_len = value_len, .random = UINT64_C(88172645463325252), .out = out};

	run.order = malloc((size_t) count * 2 * sizeof(*run.order));
	run.values = malloc(value_len + count);
	for (size_t i = 0; i < value_len + count; i++)
		run.values[i] = (char) next_random(&run.random);
	shuffle(run.order, count, &run.random);
	shuffle(run.order + count, count, &run.random);
	report(&run, "open after a crash, 64 MB of log, s", open_after_crash(&run));
	run_fills(&run);
	run_reads(&run);
	fclose(out);
}

/* ---- rounds, medians, tables ---- */

static Row rows[MAX_ROWS];
static int nrows;

static void
note(const char *name, int engine, double value)
{
	Row *row = NULL;

	for (int i = 0; i < nrows; i++)
	{
		if (strcmp(rows[i].name, name) == 0)
			row = &rows[i];
	}
	if (row == NULL)
	{
		if (nrows == MAX_ROWS)
			die("too many rows");
		row = &rows[nrows++];
		snprintf(row->name, sizeof(row->name), "%.63s", name);
	}
	row->values[engine][row->n[engine]++] = value;
}

static void
run_in_child(int engine, const char *dir, uint32_t count, size_t value_len)
{
	char line[256];
	int fds[2];
	int status;
	FILE *in;
	pid_t pid;

	if (pipe(fds) != 0)
		die("could not make a pipe");
	fflush(stdout);
	pid = fork();
	if (pid == 0)
	{
		close(fds[0]);
		run_engine(engines[engine], dir, count, value_len, fdopen(fds[1], "w"));
		exit(0);
	}
	close(fds[1]);
	in = fdopen(fds[0], "r");
	while (fgets(line, sizeof(line), in) != NULL)
	{
		char *tab = strchr(line, '\t');

		if (tab == NULL)
			die("%s: unexpected output", engines[engine]->name);
		*tab = '\0';
		note(line, engine, strtod(tab + 1, NULL));
	}
	fclose(in);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		die("%s ended with status %d", engines[engine]->name, status);
}

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *) a;
	double y = *(const double *) b;

	return x < y ? -1 : x > y;
}

static double
median(double *values, int n)
{
	qsort(values, (size_t) n, sizeof(*values), compare_doubles);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static void
print_table(const bool *chosen)
{
	printf("| |");
	for (int e = 0; e < ENGINES; e++)
	{
		if (chosen[e])
			printf(" %s |", engines[e]->name);
	}
	printf("\n|---|");
	for (int e = 0; e < ENGINES; e++)
	{
		if (chosen[e])
			printf("---:|");
	}
	printf("\n");
	for (int i = 0; i < nrows; i++)
	{
		printf("| %s |", rows[i].name);
		for (int e = 0; e < ENGINES; e++)
		{
			double m;

			if (!chosen[e])
				continue;
			m = rows[i].n[e] > 0 ? median(rows[i].values[e], rows[i].n[e]) : 0;
			printf(m < 10 ? " %.2f |" : m < 100 ? " %.1f |"
												: " %.0f |",
				   m);
		}
		printf("\n");
	}
}

int
main(int argc, char **argv)
{
	uint32_t counts[2] = {1000000, 200000};
	size_t lens[2] = {100, 1000};
	bool chosen[ENGINES];
	const char *dir = "bench-engine.data";
	int rounds = 1;

	for (int e = 0; e < ENGINES; e++)
		chosen[e] = true;
	for (int i = 1; i < argc; i++)
	{
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--list") == 0)
		{
			for (int e = 0; e < ENGINES; e++)
				printf("%s\n", engines[e]->name);
			return 0;
		}
		if (strcmp(argv[i], "--rounds") == 0)
			rounds = atoi(value);
		else if (strcmp(argv[i], "--small") == 0)
			counts[0] = (uint32_t) atoi(value);
		else if (strcmp(argv[i], "--large") == 0)
			counts[1] = (uint32_t) atoi(value);
		else if (strcmp(argv[i], "--workers") == 0)
			background_workers = atoi(value);
		else if (strcmp(argv[i], "--dir") == 0)
			dir = value;
		else if (strcmp(argv[i], "--only") == 0)
		{
			/* names with semicolons between them */
			for (int e = 0; e < ENGINES; e++)
			{
				size_t len = strlen(engines[e]->name);
				const char *at = value;

				chosen[e] = false;
				while (at != NULL && *at != '\0')
				{
					const char *comma = strchr(at, ';');
					size_t part = comma != NULL ? (size_t) (comma - at) : strlen(at);

					chosen[e] |= part == len && strncmp(at, engines[e]->name, len) == 0;
					at = comma != NULL ? comma + 1 : NULL;
				}
			}
		}
		else
			die("unknown argument %s", argv[i]);
		i++;
	}
	if (rounds < 1 || rounds > MAX_ROUNDS)
		die("rounds must be from 1 to %d", MAX_ROUNDS);
	if (background_workers < 1 || background_workers > MAX_WORKERS)
		die("workers must be from 1 to %d", MAX_WORKERS);
	for (int size = 0; size < 2; size++)
	{
		if (counts[size] == 0)
			continue;
		if (counts[size] < 1000)
			die("at least 1000 keys");
		memset(rows, 0, sizeof(rows));
		nrows = 0;
		for (int round = 0; round < rounds; round++)
		{
			for (int e = 0; e < ENGINES; e++)
			{
				if (!chosen[e])
					continue;
				fprintf(stderr, "values of %zu bytes, round %d: %s\n", lens[size], round + 1, engines[e]->name);
				run_in_child(e, dir, counts[size], lens[size]);
			}
		}
		printf("\n%u keys of %d bytes, values of %zu bytes; medians of %d\n\n", counts[size], KEY_LEN, lens[size], rounds);
		print_table(chosen);
	}
	remove_dir(dir);
	return 0;
}
