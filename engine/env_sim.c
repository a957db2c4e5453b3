/*
 * env_sim.c - the env over a simulated disk (env_sim_disk.c): open files, faults,
 * crashes, and locks and waits that only check.
 *
 * Every operation passes changing() or looking() first: there it is counted,
 * fails if it is its turn, and the rule that no lock but two is held over file
 * access is checked.
 */
#include "engine/env_sim.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/env_sim_disk.h"

#define MAX_HELD 16
#define MAX_IDLE_WAITS 100000

typedef struct SimFault
{
	uint64_t at; /* count of operations; 0: none */
	int os_errno;
	bool sticky;
} SimFault;

typedef struct SimFile
{
	LsmFile base;
	SimNode *node;
	LsmOpenMode mode;
	struct SimFile *next; /* open files */
} SimFile;

typedef struct SimEnv
{
	LsmEnv base;
	uint64_t random;
	SimDisk disk;
	SimFile *open;

	uint64_t ops;
	uint64_t reads;
	uint64_t crash_at; /* count of ops; 0: never */
	bool crashed;
	SimFault fault;
	SimFault read_fault;
	uint64_t faults;
	LsmSimWatch watch;
	void *watch_arg;

	int held[MAX_HELD];
	int num_held;
	int idle_waits; /* since the last file access */
	int announced;  /* 1 + the wait that was announced; 0: none */
	uint64_t clock_us;
} SimEnv;

/* What an operation needs of the disk, for faults. */
typedef enum SimNeed
{
	NEEDS_SPACE,
	NEEDS_NO_SPACE
} SimNeed;

/* A rule of the engine's own was broken: the test cannot go on. */
static void broken(const char *text, ...) __attribute__((format(printf, 1, 2), noreturn));

static void
broken(const char *text, ...)
{
	va_list args;

	va_start(args, text);
	fprintf(stderr, "env_sim: ");
	vfprintf(stderr, text, args);
	fprintf(stderr, "\n");
	va_end(args);
	abort();
}

/* ---- counting, faults, crashes ---- */

static void
check_locks(SimEnv *env, const char *name)
{
	int i;

	env->idle_waits = 0;
	for (i = 0; i < env->num_held; i++)
		if (env->held[i] != LSM_LOCK_MANIFEST && env->held[i] != LSM_LOCK_WRITE)
			broken("lock %d is held over access to file \"%s\"", env->held[i], name);
}

static bool
fault_due(SimFault *fault, uint64_t count, SimNeed need)
{
	bool space = fault->os_errno == ENOSPC || fault->os_errno == EDQUOT;

	if (fault->at == 0)
		return false;
	if (count == fault->at)
		return true;
	return fault->sticky && count > fault->at && (!space || need == NEEDS_SPACE);
}

/* At the start of every changing operation.  After an error *apply says if it reached the disk all the same. */
static LsmStatus
changing(SimEnv *env, const char *name, const char *what, SimNeed need, bool *apply, LsmError *err)
{
	check_locks(env, name);
	*apply = false;
	/* it may use the disk itself, and bring the machine down */
	if (env->watch != NULL && !env->crashed)
		env->watch(env->watch_arg, env->ops + 1);
	if (env->crashed)
		return lsm_fail_os(err, EIO, name, "could not %s: the simulated machine is down", what);
	env->ops++;
	env->clock_us += 20;
	if (env->ops == env->crash_at)
	{
		env->crashed = true;
		*apply = sim_coin(&env->random);
		return lsm_fail_os(err, EIO, name, "could not %s: the simulated machine went down", what);
	}
	if (fault_due(&env->fault, env->ops, need))
	{
		env->faults++;
		*apply = sim_coin(&env->random);
		return lsm_fail_os(err, env->fault.os_errno, name, "could not %s: simulated fault", what);
	}
	return LSM_OK;
}

static LsmStatus
looking(SimEnv *env, const char *name, const char *what, LsmError *err)
{
	check_locks(env, name);
	if (env->crashed)
		return lsm_fail_os(err, EIO, name, "could not %s: the simulated machine is down", what);
	env->reads++;
	env->clock_us += 5;
	if (fault_due(&env->read_fault, env->reads, NEEDS_NO_SPACE))
	{
		env->faults++;
		return lsm_fail_os(err, env->read_fault.os_errno, name, "could not %s: simulated fault", what);
	}
	return LSM_OK;
}
/* ---- files ---- */

/* Makes the file, or empties it. */
static LsmStatus
create_node(SimEnv *env, const char *name, SimNode **node, LsmError *err)
{
	LsmStatus status;
	bool apply;

	status = changing(env, name, "create file", NEEDS_SPACE, &apply, err);
	if (status != LSM_OK && !apply)
		return status;
	if (*node != NULL)
	{
		if (!sim_node_empty(*node))
			return lsm_fail(err, LSM_NO_MEMORY, 0, name, 0, "out of memory");
	}
	else
	{
		*node = sim_node_new(&env->disk);
		if (*node == NULL || !sim_dir_change(&env->disk, "", name, *node))
			return lsm_fail(err, LSM_NO_MEMORY, 0, name, 0, "out of memory");
	}
	return status;
}

static LsmStatus
sim_open(LsmEnv *base, const char *name, LsmOpenMode mode, LsmFile **file, LsmError *err)
{
	SimEnv *env = (SimEnv *) base;
	SimNode *node = sim_dir_get(&env->disk.now, name);
	SimFile *opened;
	LsmStatus status;

	*file = NULL;
	if (strlen(name) >= SIM_NAME_SIZE)
		return lsm_fail_os(err, ENAMETOOLONG, name, "could not open file");
	if (mode == LSM_OPEN_CREATE || (node == NULL && mode != LSM_OPEN_READ))
		status = create_node(env, name, &node, err);
	else
		status = looking(env, name, "open file", err);
	if (status != LSM_OK)
		return status;
	if (node == NULL)
		return lsm_fail_os(err, ENOENT, name, "could not open file");

	opened = calloc(1, sizeof(SimFile));
	if (opened == NULL)
		return lsm_fail(err, LSM_NO_MEMORY, 0, name, 0, "out of memory");
	opened->base.env = base;
	snprintf(opened->base.name, sizeof(opened->base.name), "%s", name);
	opened->node = node;
	opened->mode = mode;
	opened->next = env->open;
	env->open = opened;
	*file = &opened->base;
	return LSM_OK;
}

static LsmStatus
sim_read(LsmFile *base, uint64_t offset, char *buf, size_t len, size_t *nread, LsmError *err)
{
	SimFile *file = (SimFile *) base;
	LsmStatus status = looking((SimEnv *) base->env, base->name, "read file", err);
	LsmBuf *now = &file->node->now;

	*nread = 0;
	if (status != LSM_OK)
		return status;
	if (offset < now->len)
	{
		*nread = len < now->len - offset ? len : now->len - offset;
		memcpy(buf, now->data + offset, *nread);
	}
	return LSM_OK;
}

static LsmStatus
write_node(SimFile *file, uint64_t offset, const char *data, size_t len, LsmError *err)
{
	SimEnv *env = (SimEnv *) file->base.env;
	LsmStatus status;
	bool apply;

	status = changing(env, file->base.name, "write to file", NEEDS_SPACE, &apply, err);
	if (status != LSM_OK)
	{
		/* As write() may: nothing, a part, or (before a crash) all of it. */
		if (!apply)
			return status;
		len = sim_draw_below(&env->random, len + 1);
	}
	if (!sim_node_write(file->node, offset, data, len))
		return lsm_fail(err, LSM_NO_MEMORY, 0, file->base.name, 0, "out of memory");
	return status;
}

static LsmStatus
sim_append(LsmFile *base, const char *data, size_t len, LsmError *err)
{
	SimFile *file = (SimFile *) base;

	if (file->mode != LSM_OPEN_CREATE && file->mode != LSM_OPEN_APPEND)
		broken("append to file \"%s\", which was not opened for it", base->name);
	return write_node(file, file->node->now.len, data, len, err);
}

static LsmStatus
sim_write_at(LsmFile *base, uint64_t offset, const char *data, size_t len, LsmError *err)
{
	SimFile *file = (SimFile *) base;

	if (file->mode != LSM_OPEN_SHARED)
		broken("write_at to file \"%s\", which was not opened for it", base->name);
	return write_node(file, offset, data, len, err);
}

static bool
sim_allocate(LsmFile *base, uint64_t offset, size_t len)
{
	SimFile *file = (SimFile *) base;
	char *zeros = calloc(1, len);
	bool done;

	if (file->mode != LSM_OPEN_SHARED || offset != file->node->now.len)
		broken("file \"%s\" cannot be allocated there", base->name);
	done = zeros != NULL && write_node(file, offset, zeros, len, NULL) == LSM_OK;
	free(zeros);
	return done;
}

static LsmStatus
sim_sync(LsmFile *base, LsmError *err)
{
	SimFile *file = (SimFile *) base;
	SimEnv *env = (SimEnv *) base->env;
	LsmStatus status;
	bool apply;

	status = changing(env, base->name, "sync file", NEEDS_NO_SPACE, &apply, err);
	if (status != LSM_OK && !(env->crashed && apply))
	{
		/* The kernel reports the failure once and forgets the pages. */
		sim_node_sync_failed(file->node);
		return status;
	}
	if (!sim_node_sync(file->node))
		return lsm_fail(err, LSM_NO_MEMORY, 0, base->name, 0, "out of memory");
	return status;
}

static void
sim_close(LsmFile *base)
{
	SimEnv *env;
	SimFile **link;

	if (base == NULL)
		return;
	env = (SimEnv *) base->env;
	for (link = &env->open; *link != NULL; link = &(*link)->next)
	{
		if (&(*link)->base == base)
		{
			*link = (*link)->next;
			free(base);
			return;
		}
	}
	broken("close of a file that is not open");
}

static LsmStatus
sim_file_size(LsmEnv *base, const char *name, uint64_t *size, LsmError *err)
{
	SimEnv *env = (SimEnv *) base;
	SimNode *node = sim_dir_get(&env->disk.now, name);
	LsmStatus status = looking(env, name, "look at file", err);

	*size = 0;
	if (status != LSM_OK)
		return status;
	if (node == NULL)
		return lsm_fail_os(err, ENOENT, name, "could not look at file");
	*size = node->now.len;
	return LSM_OK;
}

static LsmStatus
sim_rename(LsmEnv *base, const char *from, const char *to, LsmError *err)
{
	SimEnv *env = (SimEnv *) base;
	SimNode *node = sim_dir_get(&env->disk.now, from);
	LsmStatus status;
	bool apply;

	status = changing(env, to, "rename to file", NEEDS_SPACE, &apply, err);
	if (status != LSM_OK && !apply)
		return status;
	if (node == NULL)
		return lsm_fail_os(err, ENOENT, from, "could not rename file");
	if (!sim_dir_change(&env->disk, from, to, node))
		return lsm_fail(err, LSM_NO_MEMORY, 0, to, 0, "out of memory");
	return status;
}

static LsmStatus
sim_remove(LsmEnv *base, const char *name, LsmError *err)
{
	SimEnv *env = (SimEnv *) base;
	LsmStatus status;
	bool apply;

	status = changing(env, name, "remove file", NEEDS_NO_SPACE, &apply, err);
	if (status != LSM_OK && !apply)
		return status;
	if (sim_dir_get(&env->disk.now, name) == NULL)
		return lsm_fail_os(err, ENOENT, name, "could not remove file");
	if (!sim_dir_change(&env->disk, name, "", NULL))
		return lsm_fail(err, LSM_NO_MEMORY, 0, name, 0, "out of memory");
	return status;
}

static LsmStatus
sim_list(LsmEnv *base, void (*fn)(void *arg, const char *name), void *arg, LsmError *err)
{
	SimEnv *env = (SimEnv *) base;
	LsmStatus status = looking(env, ".", "list directory", err);
	SimDir copy = {0};
	int i;

	if (status != LSM_OK)
		return status;
	/* A copy, because fn may change the directory. */
	if (!sim_dir_copy(&copy, &env->disk.now))
		status = lsm_fail(err, LSM_NO_MEMORY, 0, ".", 0, "out of memory");
	else
		for (i = 0; i < copy.count; i++)
			fn(arg, copy.names[i].name);
	free(copy.names);
	return status;
}

static LsmStatus
sim_sync_dir(LsmEnv *base, LsmError *err)
{
	SimEnv *env = (SimEnv *) base;
	LsmStatus status;
	bool apply;

	status = changing(env, ".", "sync directory", NEEDS_NO_SPACE, &apply, err);
	if (status != LSM_OK && !apply)
		return status;
	if (!sim_dir_sync(&env->disk))
		return lsm_fail(err, LSM_NO_MEMORY, 0, ".", 0, "out of memory");
	return status;
}
/* ---- locks, waits, clock: checks only ---- */

static bool
is_held(SimEnv *env, int lock)
{
	int i;

	for (i = 0; i < env->num_held; i++)
		if (env->held[i] == lock)
			return true;
	return false;
}

static void
sim_lock(LsmEnv *base, int lock, LsmLockMode mode)
{
	SimEnv *env = (SimEnv *) base;
	int i;

	(void) mode;
	if (lock < 0 || lock >= LSM_NUM_LOCKS)
		broken("there is no lock %d", lock);
	for (i = 0; i < env->num_held; i++)
		if (env->held[i] >= lock)
			broken("lock %d is asked for while %d is held", lock, env->held[i]);
	if (env->num_held == MAX_HELD)
		broken("too many locks are held");
	env->held[env->num_held++] = lock;
}

static bool
sim_try_lock(LsmEnv *base, int lock, LsmLockMode mode)
{
	SimEnv *env = (SimEnv *) base;

	(void) mode;
	if (lock < 0 || lock >= LSM_NUM_LOCKS)
		broken("there is no lock %d", lock);
	if (is_held(env, lock))
		return false;
	if (env->num_held == MAX_HELD)
		broken("too many locks are held");
	env->held[env->num_held++] = lock; /* whatever the order: who does not wait cannot deadlock */
	return true;
}

static void
sim_unlock(LsmEnv *base, int lock)
{
	SimEnv *env = (SimEnv *) base;
	int i;

	for (i = env->num_held - 1; i >= 0; i--)
	{
		if (env->held[i] == lock)
		{
			env->num_held--;
			memmove(env->held + i, env->held + i + 1, (env->num_held - i) * sizeof(int));
			return;
		}
	}
	broken("lock %d is given back but not held", lock);
}

static void
sim_wait_prepare(LsmEnv *base, LsmWaitId what)
{
	((SimEnv *) base)->announced = (int) what + 1;
}

static LsmStatus
sim_wait(LsmEnv *base, LsmWaitId what, int timeout_ms)
{
	SimEnv *env = (SimEnv *) base;

	if (env->num_held > 0)
		broken("a wait for %d with lock %d held", what, env->held[0]);
	if (env->announced != (int) what + 1)
		broken("a wait for %d that was not announced, or whose announcement a wake has undone", what);
	if (++env->idle_waits > MAX_IDLE_WAITS)
		broken("a wait for %d that nobody will end", what);
	env->clock_us += (uint64_t) (timeout_ms > 0 ? timeout_ms : 1) * 1000;
	return LSM_OK;
}

static void
sim_wait_end(LsmEnv *base, LsmWaitId what)
{
	((SimEnv *) base)->announced = 0;
	(void) what;
}

static void
sim_wake(LsmEnv *base, LsmWaitId what)
{
	((SimEnv *) base)->announced = 0;
	(void) what;
}

static uint64_t
sim_now_us(LsmEnv *base)
{
	return ((SimEnv *) base)->clock_us++;
}

static const LsmEnvOps sim_ops = {
	.open = sim_open,
	.read = sim_read,
	.append = sim_append,
	.write_at = sim_write_at,
	.allocate = sim_allocate,
	.sync = sim_sync,
	.close = sim_close,
	.file_size = sim_file_size,
	.rename = sim_rename,
	.remove = sim_remove,
	.list = sim_list,
	.sync_dir = sim_sync_dir,
	.lock = sim_lock,
	.try_lock = sim_try_lock,
	.unlock = sim_unlock,
	.wait_prepare = sim_wait_prepare,
	.wait = sim_wait,
	.wait_end = sim_wait_end,
	.wake = sim_wake,
	.now_us = sim_now_us,
};
/* ---- life ---- */

LsmStatus
lsm_env_sim_new(uint64_t seed, LsmEnv **env)
{
	SimEnv *made = calloc(1, sizeof(SimEnv));

	*env = NULL;
	if (made == NULL)
		return LSM_NO_MEMORY;
	made->base.ops = &sim_ops;
	made->random = seed;
	made->clock_us = 1000000;
	*env = &made->base;
	return LSM_OK;
}

void
lsm_env_sim_free(LsmEnv *base)
{
	SimEnv *env = (SimEnv *) base;

	if (env == NULL)
		return;
	if (env->open != NULL)
		broken("file \"%s\" was never closed", env->open->base.name);
	if (env->num_held > 0)
		broken("lock %d was never given back", env->held[0]);
	sim_disk_free(&env->disk);
	free(env);
}

LsmStatus
lsm_env_sim_clone(LsmEnv *env, uint64_t seed, LsmEnv **copy)
{
	if (lsm_env_sim_new(seed, copy) != LSM_OK)
		return LSM_NO_MEMORY;
	if (sim_disk_clone(&((SimEnv *) *copy)->disk, &((SimEnv *) env)->disk))
		return LSM_OK;
	lsm_env_sim_free(*copy);
	*copy = NULL;
	return LSM_NO_MEMORY;
}

uint64_t
lsm_env_sim_ops(LsmEnv *env)
{
	return ((SimEnv *) env)->ops;
}

uint64_t
lsm_env_sim_reads(LsmEnv *env)
{
	return ((SimEnv *) env)->reads;
}

void
lsm_env_sim_set_crash(LsmEnv *base, uint64_t nth_io)
{
	SimEnv *env = (SimEnv *) base;

	env->crash_at = nth_io ? env->ops + nth_io : 0;
}

bool
lsm_env_sim_crashed(LsmEnv *env)
{
	return ((SimEnv *) env)->crashed;
}

void
lsm_env_sim_set_fault(LsmEnv *base, uint64_t nth, int os_errno, bool sticky)
{
	SimEnv *env = (SimEnv *) base;

	env->fault.at = nth ? env->ops + nth : 0;
	env->fault.os_errno = os_errno;
	env->fault.sticky = sticky;
	env->faults = 0;
}

void
lsm_env_sim_set_read_fault(LsmEnv *base, uint64_t nth, int os_errno, bool sticky)
{
	SimEnv *env = (SimEnv *) base;

	env->read_fault.at = nth ? env->reads + nth : 0;
	env->read_fault.os_errno = os_errno;
	env->read_fault.sticky = sticky;
	env->faults = 0;
}

uint64_t
lsm_env_sim_faults(LsmEnv *env)
{
	return ((SimEnv *) env)->faults;
}

void
lsm_env_sim_set_watch(LsmEnv *base, LsmSimWatch watch, void *arg)
{
	SimEnv *env = (SimEnv *) base;

	env->watch = watch;
	env->watch_arg = arg;
}
LsmStatus
lsm_env_sim_reboot(LsmEnv *base, LsmSimImage image, uint64_t seed)
{
	SimEnv *env = (SimEnv *) base;

	if (env->open != NULL)
		broken("file \"%s\" is still open at the reboot", env->open->base.name);
	if (env->num_held > 0)
		broken("lock %d is still held at the reboot", env->held[0]);
	env->crashed = false;
	env->crash_at = 0;
	env->fault.at = 0;
	env->read_fault.at = 0;
	return sim_disk_lose_power(&env->disk, image, seed) ? LSM_OK : LSM_NO_MEMORY;
}

/* ---- damage, and looking from outside ---- */

bool
lsm_env_sim_corrupt(LsmEnv *base, const char *name, uint64_t offset, unsigned char xor_with)
{
	SimNode *node = sim_dir_get(&((SimEnv *) base)->disk.now, name);

	if (node == NULL || offset >= node->now.len)
		return false;
	node->now.data[offset] ^= (char) xor_with;
	return sim_node_settle(node);
}

bool
lsm_env_sim_truncate(LsmEnv *base, const char *name, uint64_t len)
{
	SimNode *node = sim_dir_get(&((SimEnv *) base)->disk.now, name);

	if (node == NULL || len > node->now.len)
		return false;
	node->now.len = len;
	return sim_node_settle(node);
}

int
lsm_env_sim_files(LsmEnv *base, LsmSimFile fn, void *arg)
{
	SimEnv *env = (SimEnv *) base;
	int i;

	for (i = 0; i < env->disk.now.count && fn != NULL; i++)
		fn(arg, env->disk.now.names[i].name, lsm_buf_slice(&env->disk.now.names[i].node->now));
	return env->disk.now.count;
}
