/*
 * env_sim.h - a disk in memory that loses, tears and reorders what was not synced.
 *
 * For tests, one thread only.  The same seed and the same calls give the same
 * disk, so that a failure is repeated from two numbers.  Three things can be
 * asked of it: to fail one operation (a fault), to die at one (a crash: it and
 * everything after it fail), and to show the disk that a machine would find
 * after losing power (a reboot, with one of four images).
 *
 * Operations that change the disk are counted: append, write_at, sync, rename,
 * remove, the creation or emptying of a file, sync_dir.  Those that only look
 * (opening to read, read, file_size, list) are counted apart.
 *
 * Locks and waits do nothing but check: locks are taken in order and given
 * back, none but the manifest's and the write pin is held over file access, and
 * nobody waits for ever (one thread has nobody to wait for).  A broken rule ends
 * the program with a message.
 */
#ifndef LSM_ENV_SIM_H
#define LSM_ENV_SIM_H

#include "engine/env.h"

/* What a machine finds after a crash.  Whatever was synced is always there. */
typedef enum LsmSimImage
{
	LSM_SIM_SYNCED_ONLY, /* nothing else: no unsynced byte, no directory change since sync_dir */
	LSM_SIM_TORN,        /* files end in the middle: at any byte, or zeros or garbage up to the sector's end */
	LSM_SIM_REORDERED,   /* each unsynced sector is there or not (old contents, zeros); some directory changes */
	LSM_SIM_DIR_LOST,    /* each directory change since sync_dir is there or not */
	LSM_SIM_NUM_IMAGES
} LsmSimImage;

extern LsmStatus lsm_env_sim_new(uint64_t seed, LsmEnv **env);
extern void lsm_env_sim_free(LsmEnv *env);

/* An env of its own with the same disk, unsynced state included; nothing open, no fault, counts from 0. */
extern LsmStatus lsm_env_sim_clone(LsmEnv *env, uint64_t seed, LsmEnv **copy);

/* Changing and looking operations so far. */
extern uint64_t lsm_env_sim_ops(LsmEnv *env);
extern uint64_t lsm_env_sim_reads(LsmEnv *env);

/* Dies at the nth changing operation from now (1: the next; 0: never).  Whether that one still reached the disk is
 * up to the seed. */
extern void lsm_env_sim_set_crash(LsmEnv *env, uint64_t nth_io);
extern bool lsm_env_sim_crashed(LsmEnv *env);

/* Replaces the disk by what is found after losing power now, and clears crash and faults.  All files must have been
 * closed and all locks given back. */
extern LsmStatus lsm_env_sim_reboot(LsmEnv *env, LsmSimImage image, uint64_t seed);

/*
 * The nth changing operation from now fails with os_errno (0: no fault), once or from then on.  A failed append may
 * have written a part, and what a failed sync did not write is never written by a later one.  ENOSPC stays only for
 * what takes space.
 */
extern void lsm_env_sim_set_fault(LsmEnv *env, uint64_t nth, int os_errno, bool sticky);
/* The same for the nth looking operation. */
extern void lsm_env_sim_set_read_fault(LsmEnv *env, uint64_t nth, int os_errno, bool sticky);
/* How many operations have failed because of set_fault or set_read_fault since. */
extern uint64_t lsm_env_sim_faults(LsmEnv *env);

/* Called before each changing operation, to clone the disk at every boundary of one run. */
typedef void (*LsmSimWatch)(void *arg, uint64_t op);
extern void lsm_env_sim_set_watch(LsmEnv *env, LsmSimWatch watch, void *arg);

/* Damage on the durable disk; false if there is no such byte. */
extern bool lsm_env_sim_corrupt(LsmEnv *env, const char *name, uint64_t offset, unsigned char xor_with);
extern bool lsm_env_sim_truncate(LsmEnv *env, const char *name, uint64_t len);

/* Calls fn for every file there is, by name; returns how many there are.  fn may be NULL. */
typedef void (*LsmSimFile)(void *arg, const char *name, LsmSlice contents);
extern int lsm_env_sim_files(LsmEnv *env, LsmSimFile fn, void *arg);

#endif
