/*
 * test_env.c - env_posix.c.
 *
 * Invariants: reads are short only at the end of a file; an append or write_at
 * is whole or an error, through interruptions and partial writes; errors carry
 * status, errno and file; LOCK excludes other opens, of this process, too;
 * locks and waits work between threads and after fork(); a wake between
 * wait_prepare and wait is not lost.
 */
#define _GNU_SOURCE
#include "engine/test/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/env.h"

static char dir[] = "/tmp/lsm-test-env-XXXXXX";
static LsmEnv *env;
static LsmError err;

static const char *
path_of(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static LsmFile *
must_open(const char *name, LsmOpenMode mode)
{
	LsmFile *file;

	MUST(lsm_file_open(env, name, mode, &file, &err), &err);
	return file;
}

static void
sleep_ms(int ms)
{
	struct timespec time = {ms / 1000, (long) (ms % 1000) * 1000000};

	nanosleep(&time, NULL);
}

/* ---- files ---- */

static bool
content_is(const char *name, const char *expected)
{
	LsmFile *file = must_open(name, LSM_OPEN_READ);
	char buf[256];
	size_t n = 0;
	uint64_t size;

	MUST(lsm_file_read(file, 0, buf, sizeof(buf), &n, &err), &err);
	lsm_file_close(file);
	MUST(env->ops->file_size(env, name, &size, &err), &err);
	return n == strlen(expected) && size == n && memcmp(buf, expected, n) == 0;
}

static void
test_reading_and_writing(void)
{
	LsmFile *file = must_open("a", LSM_OPEN_CREATE);
	char buf[16];
	size_t n;

	CHECK(file->env == env && strcmp(file->name, "a") == 0);
	MUST(lsm_file_append(file, "hello", 5, &err), &err);
	MUST(lsm_file_append(file, "", 0, &err), &err);
	MUST(lsm_file_append(file, " world", 6, &err), &err);
	MUST(lsm_file_sync(file, &err), &err);
	lsm_file_close(file);
	MUST(env->ops->sync_dir(env, &err), &err);
	CHECK(content_is("a", "hello world"));

	file = must_open("a", LSM_OPEN_READ);
	CHECK(lsm_file_read(file, 6, buf, 5, &n, &err) == LSM_OK && n == 5 && memcmp(buf, "world", 5) == 0);
	CHECK(lsm_file_read(file, 8, buf, sizeof(buf), &n, &err) == LSM_OK && n == 3 && memcmp(buf, "rld", 3) == 0);
	CHECK(lsm_file_read(file, 11, buf, sizeof(buf), &n, &err) == LSM_OK && n == 0);
	CHECK(lsm_file_read(file, 1000, buf, sizeof(buf), &n, &err) == LSM_OK && n == 0);
	lsm_file_close(file);

	file = must_open("a", LSM_OPEN_APPEND);
	MUST(lsm_file_append(file, "!", 1, &err), &err);
	lsm_file_close(file);
	CHECK(content_is("a", "hello world!"));
	file = must_open("new", LSM_OPEN_APPEND);
	MUST(lsm_file_append(file, "x", 1, &err), &err);
	lsm_file_close(file);
	CHECK(content_is("new", "x"));

	file = must_open("a", LSM_OPEN_CREATE);
	lsm_file_close(file);
	CHECK(content_is("a", ""));
}

static void
test_shared_files(void)
{
	LsmFile *one = must_open("s", LSM_OPEN_SHARED);
	LsmFile *two = must_open("s", LSM_OPEN_SHARED);
	char buf[16];
	size_t n;

	MUST(lsm_file_write_at(one, 4, "abcd", 4, &err), &err);
	MUST(lsm_file_write_at(two, 0, "wxyz", 4, &err), &err);
	MUST(lsm_file_write_at(one, 2, "..", 2, &err), &err);
	CHECK(lsm_file_read(two, 0, buf, sizeof(buf), &n, &err) == LSM_OK && n == 8 && memcmp(buf, "wx..abcd", 8) == 0);
	CHECK(lsm_file_sync(one, &err) == LSM_OK);
	lsm_file_close(one);
	lsm_file_close(two);
	one = must_open("s", LSM_OPEN_SHARED);
	CHECK(lsm_file_read(one, 0, buf, sizeof(buf), &n, &err) == LSM_OK && n == 8);
	lsm_file_close(one);
}

typedef struct Listing
{
	int count;
	bool a, b, lock, other;
} Listing;

static void
list_one(void *arg, const char *name)
{
	Listing *listing = arg;

	listing->count++;
	listing->a |= strcmp(name, "a") == 0;
	listing->b |= strcmp(name, "b") == 0;
	listing->lock |= strcmp(name, "LOCK") == 0;
	listing->other |= name[0] == '.';
}

static void
test_names(void)
{
	Listing listing = {0};
	uint64_t size;
	LsmFile *file = must_open("a", LSM_OPEN_CREATE);

	lsm_file_append(file, "abc", 3, &err);
	lsm_file_close(file);
	file = must_open("b", LSM_OPEN_CREATE);
	lsm_file_close(file);
	env->ops->remove(env, "new", &err);
	env->ops->remove(env, "s", &err);
	MUST(env->ops->list(env, list_one, &listing, &err), &err);
	CHECK(listing.count == 3 && listing.a && listing.b && listing.lock && !listing.other);

	MUST(env->ops->rename(env, "a", "b", &err), &err); /* over an existing one */
	CHECK(content_is("b", "abc"));
	CHECK(env->ops->file_size(env, "a", &size, &err) == LSM_NOT_FOUND);
	CHECK(env->ops->rename(env, "a", "c", &err) == LSM_NOT_FOUND && strcmp(err.file, "a") == 0);
	memset(&listing, 0, sizeof(listing));
	MUST(env->ops->list(env, list_one, &listing, &err), &err);
	CHECK(listing.count == 2 && !listing.a);
	MUST(env->ops->remove(env, "b", &err), &err);
	CHECK(env->ops->remove(env, "b", &err) == LSM_NOT_FOUND);
	memset(&listing, 0, sizeof(listing));
	MUST(env->ops->list(env, list_one, &listing, &err), &err);
	CHECK(listing.count == 1 && listing.lock);
}

static void
test_errors(void)
{
	LsmFile *file = (LsmFile *) &dir;
	struct rlimit limit, small = {10, 10};
	char buf[16];
	uint64_t size;
	size_t n;

	CHECK(lsm_file_open(env, "none", LSM_OPEN_READ, &file, &err) == LSM_NOT_FOUND && file == NULL);
	CHECK(err.status == LSM_NOT_FOUND && err.os_errno == ENOENT && strcmp(err.file, "none") == 0 && err.text[0] != 0);
	CHECK(lsm_file_open(env, "none", LSM_OPEN_READ, &file, NULL) == LSM_NOT_FOUND);
	CHECK(lsm_file_open(env, "none/x", LSM_OPEN_CREATE, &file, &err) == LSM_NOT_FOUND);

	/* a file of the wrong kind, and files open for something else */
	CHECK(mkdir(path_of("d"), 0700) == 0);
	CHECK(lsm_file_open(env, "d", LSM_OPEN_CREATE, &file, &err) == LSM_IO && err.os_errno == EISDIR);
	CHECK(env->ops->remove(env, "d", &err) == LSM_IO && strcmp(err.file, "d") == 0);
	file = must_open("d", LSM_OPEN_READ);
	CHECK(lsm_file_read(file, 0, buf, 1, &n, &err) == LSM_IO && err.os_errno == EISDIR);
	lsm_file_close(file);
	rmdir(path_of("d"));
	file = must_open("a", LSM_OPEN_CREATE);
	CHECK(lsm_file_read(file, 0, buf, 1, &n, &err) == LSM_IO && err.os_errno == EBADF);
	lsm_file_close(file);
	file = must_open("a", LSM_OPEN_READ);
	CHECK(lsm_file_append(file, "x", 1, &err) == LSM_IO && err.os_errno == EBADF && strcmp(err.file, "a") == 0);
	CHECK(lsm_file_write_at(file, 0, "x", 1, &err) == LSM_IO);
	lsm_file_close(file);

	/* a full disk */
	CHECK(symlink("/dev/full", path_of("full")) == 0);
	file = must_open("full", LSM_OPEN_CREATE);
	CHECK(lsm_file_append(file, "x", 1, &err) == LSM_NO_SPACE && err.os_errno == ENOSPC && strcmp(err.file, "full") == 0);
	CHECK(lsm_file_sync(file, &err) == LSM_IO && err.os_errno == EINVAL); /* a device cannot be synced */
	lsm_file_close(file);
	file = must_open("full", LSM_OPEN_SHARED);
	CHECK(lsm_file_write_at(file, 0, "x", 1, &err) == LSM_NO_SPACE);
	lsm_file_close(file);
	unlink(path_of("full"));

	/* a write that is cut short, then refused: all or an error, never "fewer" */
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &limit);
	small.rlim_max = limit.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	file = must_open("a", LSM_OPEN_CREATE);
	CHECK(lsm_file_append(file, "0123456", 7, &err) == LSM_OK);
	CHECK(lsm_file_append(file, "0123456", 7, &err) == LSM_IO && err.os_errno == EFBIG);
	lsm_file_close(file);
	MUST(env->ops->file_size(env, "a", &size, &err), &err);
	CHECK(size == 10); /* the beginning did get there */
	file = must_open("b", LSM_OPEN_SHARED);
	CHECK(lsm_file_write_at(file, 5, "0123456", 7, &err) == LSM_IO && err.os_errno == EFBIG);
	lsm_file_close(file);
	setrlimit(RLIMIT_FSIZE, &limit);

	CHECK(lsm_env_posix_open("/dev/null", &(LsmEnv *){NULL}, &err) == LSM_IO && err.os_errno == ENOTDIR);
	CHECK(lsm_env_posix_open("/nonexistent/x", &(LsmEnv *){NULL}, &err) == LSM_NOT_FOUND);
	env->ops->remove(env, "a", &err);
	env->ops->remove(env, "b", &err);
}

/* A pipe and a timer make what a file on disk rarely shows: interrupted calls and partial writes. */

#define PIPE_BYTES ((size_t) 1 << 20)

static _Atomic int interruptions;

static void
on_alarm(int signo)
{
	(void) signo;
	atomic_fetch_add(&interruptions, 1);
}

typedef struct SlowReader
{
	char path[256];
	uint64_t sum; /* of the bytes, weighted with their places */
} SlowReader;

static void *
read_slowly(void *arg)
{
	SlowReader *reader = arg;
	int fd = open(reader->path, O_RDONLY);
	unsigned char buf[3000];
	size_t at = 0;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
	{
		for (ssize_t i = 0; i < n; i++)
			reader->sum += buf[i] * (uint64_t) ++at;
		sleep_ms(1);
	}
	close(fd);
	return NULL;
}

static void
test_interruptions(void)
{
	struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART: calls do return EINTR */
	struct itimerval every = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
	SlowReader slow = {.sum = 0};
	uint64_t expected = 0;
	char *data = malloc(PIPE_BYTES);
	sigset_t alarm_only;
	pthread_t reader;
	LsmFile *file;

	for (size_t i = 0; i < PIPE_BYTES; i++)
	{
		data[i] = (char) (i * 31 + i / 4096);
		expected += (unsigned char) data[i] * (uint64_t) (i + 1);
	}
	snprintf(slow.path, sizeof(slow.path), "%s", path_of("fifo"));
	CHECK(mkfifo(slow.path, 0600) == 0);
	sigaction(SIGALRM, &action, NULL);
	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarm_only, NULL); /* inherited by the reader: only the writer is interrupted */
	pthread_create(&reader, NULL, read_slowly, &slow);
	pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	file = must_open("fifo", LSM_OPEN_CREATE);
	CHECK(lsm_file_append(file, data, PIPE_BYTES, &err) == LSM_OK);
	lsm_file_close(file);
	setitimer(ITIMER_REAL, &never, NULL);
	pthread_join(reader, NULL);
	CHECK(atomic_load(&interruptions) > 0);
	CHECK(slow.sum == expected);
	unlink(path_of("fifo"));
	free(data);
}

/* ---- LOCK ---- */

static int
child_status(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
test_lock_file(void)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	LsmEnv *second;
	pid_t pid;
	int fd;

	CHECK(lsm_env_posix_open(dir, &second, &err) == LSM_IO && second == NULL && strcmp(err.file, "LOCK") == 0);
	/* that the failed attempt closed its descriptor of LOCK must not have let go of ours */
	CHECK(lsm_env_posix_open(dir, &second, &err) == LSM_IO);
	pid = fork();
	if (pid == 0)
	{
		fd = open(path_of("LOCK"), O_RDWR);
		/* LevelDB's way of asking */
		_exit(lsm_env_posix_open(dir, &second, &err) == LSM_IO && fcntl(fd, F_SETLK, &whole) == -1 ? 0 : 1);
	}
	CHECK(child_status(pid) == 0);

	lsm_env_posix_close(env);
	fd = open(path_of("LOCK"), O_RDWR);
	CHECK(fcntl(fd, F_SETLK, &whole) == 0); /* now this process holds it as LevelDB does */
	CHECK(lsm_env_posix_open(dir, &env, &err) == LSM_IO);
	close(fd);
	MUST(lsm_env_posix_open(dir, &env, &err), &err);
	lsm_env_posix_close(NULL);
}

/* ---- locks ---- */

enum
{
	THREADS = 4,
	ROUNDS = 2000
};

/* In memory that children of fork() share: broken invariants show in `torn`. */
typedef struct Guarded
{
	uint64_t a, b; /* equal whenever the lock is free or shared */
	_Atomic int torn;
	_Atomic int readers;
	_Atomic int most_readers;
} Guarded;

static void
lock_rounds(Guarded *g, uint64_t seed)
{
	for (int i = 0; i < ROUNDS; i++)
	{
		if (test_random(&seed) % 2 == 0)
		{
			lsm_lock(env, LSM_LOCK_STATE, LSM_EXCLUSIVE);
			g->a++;
			if (i % 64 == 0)
				sched_yield();
			g->b++;
			if (atomic_load(&g->readers) != 0)
				atomic_fetch_add(&g->torn, 1);
		}
		else
		{
			int readers;

			lsm_lock(env, LSM_LOCK_STATE, LSM_SHARED);
			readers = atomic_fetch_add(&g->readers, 1) + 1;
			if (readers > atomic_load(&g->most_readers))
				atomic_store(&g->most_readers, readers);
			if (i % 64 == 1)
				sleep_ms(1);
			if (g->a != g->b)
				atomic_fetch_add(&g->torn, 1);
			atomic_fetch_sub(&g->readers, 1);
		}
		lsm_unlock(env, LSM_LOCK_STATE);
	}
}

static void *
lock_thread(void *arg)
{
	lock_rounds(arg, (uint64_t) pthread_self() | 1);
	return NULL;
}

static void
test_lock_modes(void)
{
	for (int lock = 0; lock < LSM_NUM_LOCKS; lock++)
	{
		lsm_lock(env, lock, LSM_SHARED);
		if (!lsm_try_lock(env, lock, LSM_SHARED) || lsm_try_lock(env, lock, LSM_EXCLUSIVE))
			CHECK(!"shared with itself, not exclusive");
		lsm_unlock(env, lock);
		lsm_unlock(env, lock);
		lsm_lock(env, lock, LSM_EXCLUSIVE);
		if (lsm_try_lock(env, lock, LSM_SHARED) || lsm_try_lock(env, lock, LSM_EXCLUSIVE))
			CHECK(!"exclusive");
	}
	/* all held at once: they are different locks */
	for (int lock = 0; lock < LSM_NUM_LOCKS; lock++)
		lsm_unlock(env, lock);
	CHECK(lsm_try_lock(env, 0, LSM_EXCLUSIVE));
	lsm_unlock(env, 0);
	CHECK(lsm_try_lock(env, LSM_NUM_LOCKS - 1, LSM_SHARED));
	lsm_unlock(env, LSM_NUM_LOCKS - 1);
}

static void
test_locks(void)
{
	Guarded *g = mmap(NULL, sizeof(*g), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_t threads[THREADS];
	pid_t pids[THREADS];

	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, lock_thread, g);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK(atomic_load(&g->torn) == 0 && g->a == g->b && g->a > 0);
	CHECK(atomic_load(&g->most_readers) > 1);

	memset(g, 0, sizeof(*g));
	for (int i = 0; i < THREADS; i++)
	{
		pids[i] = fork();
		if (pids[i] == 0)
		{
			lock_rounds(g, (uint64_t) getpid());
			_exit(0);
		}
	}
	for (int i = 0; i < THREADS; i++)
		CHECK(child_status(pids[i]) == 0);
	CHECK(atomic_load(&g->torn) == 0 && g->a == g->b && g->a > 0);
	CHECK(atomic_load(&g->most_readers) > 1);

	/* a lock that the parent holds is held for the child */
	lsm_lock(env, LSM_LOCK_WRITE, LSM_EXCLUSIVE);
	pids[0] = fork();
	if (pids[0] == 0)
		_exit(lsm_try_lock(env, LSM_LOCK_WRITE, LSM_SHARED) ? 1 : 0);
	CHECK(child_status(pids[0]) == 0);
	lsm_unlock(env, LSM_LOCK_WRITE);
	munmap(g, sizeof(*g));
}

/* ---- waits ---- */

enum
{
	LONG_MS = 20000,
	TURNS = 500
};

static uint64_t
passed_ms(uint64_t since_us)
{
	return (env->ops->now_us(env) - since_us) / 1000;
}

static void
test_timeouts(void)
{
	uint64_t since = env->ops->now_us(env);

	env->ops->wait_prepare(env, LSM_WAIT_ROOM);
	CHECK(env->ops->wait(env, LSM_WAIT_ROOM, 30) == LSM_OK);
	CHECK(passed_ms(since) >= 29 && passed_ms(since) < LONG_MS);
	CHECK(env->ops->wait(env, LSM_WAIT_ROOM, 0) == LSM_OK);
	CHECK(env->ops->wait(env, LSM_WAIT_ROOM, -1) == LSM_OK);
	env->ops->wait_end(env, LSM_WAIT_ROOM);
	CHECK(passed_ms(since) < LONG_MS);

	/* woken between prepare and wait: wait returns at once, and only once */
	since = env->ops->now_us(env);
	env->ops->wait_prepare(env, LSM_WAIT_ROOM);
	env->ops->wake(env, LSM_WAIT_ROOM);
	CHECK(env->ops->wait(env, LSM_WAIT_ROOM, LONG_MS) == LSM_OK);
	CHECK(passed_ms(since) < LONG_MS);
	since = env->ops->now_us(env);
	CHECK(env->ops->wait(env, LSM_WAIT_ROOM, 30) == LSM_OK);
	CHECK(passed_ms(since) >= 29);
	env->ops->wait_end(env, LSM_WAIT_ROOM);

	/* a wake from before, or for something else, is none */
	env->ops->wake(env, LSM_WAIT_ROOM);
	since = env->ops->now_us(env);
	env->ops->wait_prepare(env, LSM_WAIT_ROOM);
	env->ops->wake(env, LSM_WAIT_WORK);
	CHECK(env->ops->wait(env, LSM_WAIT_ROOM, 30) == LSM_OK);
	CHECK(passed_ms(since) >= 29);
	env->ops->wait_end(env, LSM_WAIT_ROOM);
}

/* Two sides take turns; a single lost wakeup would cost LONG_MS. */
typedef struct Turns
{
	_Atomic int turn;
	_Atomic uint64_t slowest_ms;
} Turns;

static void
take_turns(Turns *t, int side)
{
	LsmWaitId mine = side == 0 ? LSM_WAIT_ROOM : LSM_WAIT_WORK;
	LsmWaitId other = side == 0 ? LSM_WAIT_WORK : LSM_WAIT_ROOM;

	for (int i = 0; i < TURNS; i++)
	{
		uint64_t since = env->ops->now_us(env);

		env->ops->wait_prepare(env, mine);
		while (atomic_load(&t->turn) != 2 * i + side)
			env->ops->wait(env, mine, LONG_MS);
		env->ops->wait_end(env, mine);
		if (passed_ms(since) > atomic_load(&t->slowest_ms))
			atomic_store(&t->slowest_ms, passed_ms(since));
		atomic_fetch_add(&t->turn, 1);
		env->ops->wake(env, other);
	}
}

static void *
turns_thread(void *arg)
{
	take_turns(arg, 1);
	return NULL;
}

static void
test_wakes(void)
{
	Turns *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_t thread;
	pid_t pid;

	pthread_create(&thread, NULL, turns_thread, t);
	take_turns(t, 0);
	pthread_join(thread, NULL);
	CHECK(atomic_load(&t->turn) == 2 * TURNS && atomic_load(&t->slowest_ms) < LONG_MS);

	memset(t, 0, sizeof(*t));
	pid = fork();
	if (pid == 0)
	{
		take_turns(t, 1);
		_exit(0);
	}
	take_turns(t, 0);
	CHECK(child_status(pid) == 0);
	CHECK(atomic_load(&t->turn) == 2 * TURNS && atomic_load(&t->slowest_ms) < LONG_MS);
	munmap(t, sizeof(*t));
}

static _Atomic int sleepers_done;

static void *
sleeper(void *arg)
{
	_Atomic bool *go = arg;

	env->ops->wait_prepare(env, LSM_WAIT_WORK);
	while (!atomic_load(go))
		env->ops->wait(env, LSM_WAIT_WORK, LONG_MS);
	env->ops->wait_end(env, LSM_WAIT_WORK);
	atomic_fetch_add(&sleepers_done, 1);
	return NULL;
}

static void
test_wake_wakes_all(void)
{
	_Atomic bool go = false;
	uint64_t since = env->ops->now_us(env);
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, sleeper, &go);
	sleep_ms(20);
	CHECK(atomic_load(&sleepers_done) == 0);
	atomic_store(&go, true);
	env->ops->wake(env, LSM_WAIT_WORK);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK(atomic_load(&sleepers_done) == THREADS && passed_ms(since) < LONG_MS);
}

static void
test_clock(void)
{
	uint64_t before = env->ops->now_us(env), after;

	sleep_ms(5);
	after = env->ops->now_us(env);
	CHECK(after - before >= 5000 && after - before < UINT64_C(1000) * LONG_MS);
}

int
main(void)
{
	if (mkdtemp(dir) == NULL)
	{
		perror(dir);
		return 1;
	}
	rmdir(dir); /* made by the env */
	MUST(lsm_env_posix_open(dir, &env, &err), &err);
	test_reading_and_writing();
	test_shared_files();
	test_names();
	test_errors();
	test_interruptions();
	test_lock_file();
	test_lock_modes();
	test_locks();
	test_timeouts();
	test_wakes();
	test_wake_wakes_all();
	test_clock();
	lsm_env_posix_close(env);
	unlink(path_of("LOCK"));
	CHECK(rmdir(dir) == 0); /* nothing left behind */
	return test_done();
}
