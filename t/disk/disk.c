/*
 * disk.c - what stands between a server and its disk in tests.  Loaded with LD_PRELOAD (t/lib/Disk.pm).
 *
 * Each operation on the files of docstore/ is compared with a rule, and what
 * is done to survive a loss of power is written down.  Both lie in the
 * directory $DOCSTORE_DISK:
 *
 *   rule     "OPERATION NAME WHEN NTH ACTION", empty or missing: nothing.
 *            OPERATION  create, write, sync, rename, remove, syncdir, any
 *            NAME       is in the file's name, "*" in every one (of a rename: in the new name)
 *            WHEN       before or after it
 *            NTH        the first that matches is 1; 0: every one
 *            ACTION     stop (with SIGSTOP), kill (with SIGKILL), or an errno: the operation fails with it
 *   count    matches of the rule so far
 *   stopped  process id of who was stopped or killed
 *   log      "sync INODE SIZE": so many bytes of it are durable;
 *            "dir NAME INODE NAME INODE ...": these names are
 *   kept/    a link to each file that was removed or replaced, by inode
 *
 * Nothing is really synced, because the power is not really lost: the test
 * takes away what was not.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORE "docstore/"
#define MAX_FD 4096
#define REAL(name) ((__typeof__(&name)) real(#name))

/* The store's files that this process has open: their names without the directory, "." for that itself. */
static char names[MAX_FD][64];

static void *
real(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (function == NULL)
		abort();
	return function;
}

static int
at_disk(const char *name, int flags)
{
	char path[1024];
	const char *disk = getenv("DOCSTORE_DISK");

	if (disk == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/%s", disk, name);
	return REAL(open)(path, flags | O_CLOEXEC, 0600);
}

static const char *
name_of(int fd)
{
	return fd >= 0 && fd < MAX_FD && names[fd][0] != '\0' ? names[fd] : NULL;
}

static const char *
name_in_store(const char *path)
{
	if (strcmp(path, "docstore") == 0)
		return ".";
	return strncmp(path, STORE, strlen(STORE)) == 0 ? path + strlen(STORE) : NULL;
}

static void
write_file(const char *name, int flags, const char *text, size_t len)
{
	int fd = at_disk(name, O_WRONLY | O_CREAT | flags);

	if (fd < 0 || REAL(write)(fd, text, len) != (ssize_t) len)
		abort();
	REAL(close)
	(fd);
}

/* ---- the rule ---- */

/* Returns the errno that the operation should fail with, 0 if none. */
static int
meet(const char *operation, const char *name, const char *when)
{
	char text[128] = "";
	char rule_op[16], part[64], rule_when[16], action[16];
	int nth;
	int count = 0;
	int fd = at_disk("rule", O_RDONLY);
	int saved_errno = errno;

	if (fd < 0)
		return 0;
	if (REAL(read)(fd, text, sizeof(text) - 1) <= 0)
		text[0] = '\0';
	REAL(close)
	(fd);
	errno = saved_errno;
	if (sscanf(text, "%15s %63s %15s %d %15s", rule_op, part, rule_when, &nth, action) != 5)
		return 0;
	if ((strcmp(rule_op, "any") != 0 && strcmp(rule_op, operation) != 0) || strcmp(rule_when, when) != 0 ||
		(strcmp(part, "*") != 0 && strstr(name, part) == NULL))
		return 0;
	fd = at_disk("count", O_RDWR | O_CREAT);
	if (fd < 0 || flock(fd, LOCK_EX) != 0)
		abort();
	if (pread(fd, &count, sizeof(count), 0) != sizeof(count))
		count = 0;
	count++;
	if (REAL(pwrite)(fd, &count, sizeof(count), 0) != sizeof(count))
		abort();
	REAL(close)
	(fd);
	errno = saved_errno;
	if (nth != 0 && count != nth)
		return 0;
	if (strcmp(action, "stop") == 0 || strcmp(action, "kill") == 0)
	{
		char pid[32];

		snprintf(pid, sizeof(pid), "%d %s %s\n", (int) getpid(), operation, name);
		write_file("stopped.new", O_TRUNC, pid, strlen(pid));
		{
			char from[1024], to[1024];
			const char *disk = getenv("DOCSTORE_DISK");

			snprintf(from, sizeof(from), "%s/stopped.new", disk);
			snprintf(to, sizeof(to), "%s/stopped", disk);
			REAL(rename)
			(from, to);
		}
		kill(getpid(), strcmp(action, "stop") == 0 ? SIGSTOP : SIGKILL);
		errno = saved_errno;
		return 0;
	}
	return atoi(action);
}

/* ---- what is durable ---- */

static char *
describe(int fd)
{
	char *line = malloc(64);
	struct stat st;

	if (line == NULL || fstat(fd, &st) != 0)
		abort();
	snprintf(line, 64, "sync %llu %lld\n", (unsigned long long) st.st_ino, (long long) st.st_size);
	return line;
}

static char *
list_directory(void)
{
	size_t cap = 1 << 20;
	size_t len = 3;
	char *line = malloc(cap);
	DIR *dir = opendir("docstore");
	struct dirent *entry;

	if (line == NULL || dir == NULL)
		abort();
	strcpy(line, "dir");
	while ((entry = readdir(dir)) != NULL)
	{
		if (entry->d_name[0] == '.')
			continue;
		if (len + 300 > cap)
			abort();
		len += (size_t) sprintf(line + len, " %s %llu", entry->d_name, (unsigned long long) entry->d_ino);
	}
	strcpy(line + len, "\n");
	closedir(dir);
	return line;
}

static void
keep(const char *path)
{
	char kept[1024];
	struct stat st;
	int saved_errno = errno;

	if (getenv("DOCSTORE_DISK") != NULL && stat(path, &st) == 0)
	{
		snprintf(kept, sizeof(kept), "%s/kept/%llu", getenv("DOCSTORE_DISK"), (unsigned long long) st.st_ino);
		if (link(path, kept) != 0 && errno != EEXIST && errno != ENOENT)
			abort();
	}
	errno = saved_errno;
}

/* ---- what the server calls ---- */

#define FAIL(failure)      \
	do                     \
	{                      \
		errno = (failure); \
		return -1;         \
	} while (0)

static int
open_any(const char *path, int flags, mode_t mode)
{
	const char *name = name_in_store(path);
	bool creates = name != NULL && (flags & O_CREAT) != 0;
	int failure = creates ? meet("create", name, "before") : 0;
	int fd;

	if (failure != 0)
		FAIL(failure);
	fd = REAL(open)(path, flags & ~O_SYNC, mode); /* O_DSYNC is a part of it */
	if (fd >= 0 && fd < MAX_FD)
		snprintf(names[fd], sizeof(names[fd]), "%s", name != NULL ? name : "");
	if (fd >= 0 && creates)
		(void) meet("create", name, "after");
	return fd;
}

#define OPEN(symbol)                              \
	int symbol(const char *path, int flags, ...)  \
	{                                             \
		mode_t mode = 0;                          \
		va_list ap;                               \
                                                  \
		va_start(ap, flags);                      \
		if ((flags & (O_CREAT | O_TMPFILE)) != 0) \
			mode = va_arg(ap, mode_t);            \
		va_end(ap);                               \
		return open_any(path, flags, mode);       \
	}
OPEN(open)
OPEN(open64)

int
close(int fd)
{
	if (fd >= 0 && fd < MAX_FD)
		names[fd][0] = '\0';
	return REAL(close)(fd);
}

static ssize_t
pwrite_any(int fd, const void *data, size_t len, off_t offset)
{
	const char *name = name_of(fd);
	int failure = name != NULL ? meet("write", name, "before") : 0;
	ssize_t written;

	if (failure != 0)
		FAIL(failure);
	written = REAL(pwrite)(fd, data, len, offset);
	if (name != NULL)
		(void) meet("write", name, "after");
	return written;
}

ssize_t
pwrite(int fd, const void *data, size_t len, off_t offset)
{
	return pwrite_any(fd, data, len, offset);
}

ssize_t
pwrite64(int fd, const void *data, size_t len, off_t offset)
{
	return pwrite_any(fd, data, len, offset);
}

int
fsync(int fd)
{
	const char *name = name_of(fd);
	bool directory = name != NULL && strcmp(name, ".") == 0;
	char *entries = NULL;
	int failure;

	if (name == NULL)
		return 0;
	failure = meet(directory ? "syncdir" : "sync", name, "before");
	if (failure != 0)
		FAIL(failure);
	entries = directory ? list_directory() : describe(fd);
	write_file("log", O_APPEND, entries, strlen(entries));
	free(entries);
	(void) meet(directory ? "syncdir" : "sync", name, "after");
	return 0;
}

int
fdatasync(int fd)
{
	return fsync(fd);
}

int
rename(const char *from, const char *to)
{
	const char *name = name_in_store(to);
	int failure = name != NULL ? meet("rename", name, "before") : 0;
	int result;

	if (failure != 0)
		FAIL(failure);
	if (name != NULL)
		keep(to);
	result = REAL(rename)(from, to);
	if (name != NULL)
		(void) meet("rename", name, "after");
	return result;
}

int
unlink(const char *path)
{
	const char *name = name_in_store(path);
	int failure = name != NULL ? meet("remove", name, "before") : 0;
	int result;

	if (failure != 0)
		FAIL(failure);
	if (name != NULL)
		keep(path);
	result = REAL(unlink)(path);
	if (name != NULL)
		(void) meet("remove", name, "after");
	return result;
}
