/*
 * env_sim_disk.h - what env_sim stores, and what of it outlives a crash.
 *
 * A disk is owned by one LsmEnv of env_sim.c; only that file includes this.
 * Functions that return bool return false when out of memory.
 */
#ifndef LSM_ENV_SIM_DISK_H
#define LSM_ENV_SIM_DISK_H

#include "engine/env_sim.h"

#define SIM_NAME_SIZE 64

/* One write since the last sync, or an emptying of the file. */
typedef struct SimWrite
{
	struct SimWrite *next;
	uint64_t offset;
	size_t len;
	bool empties; /* the file was emptied; no bytes */
	bool lost;    /* a sync that covered it failed: later ones do not write it */
	char data[];
} SimWrite;

/* A file, whatever its name. */
typedef struct SimNode
{
	struct SimNode *next; /* all nodes of the disk */
	struct SimNode *copy; /* while cloning */
	LsmBuf now;           /* as the process sees it */
	LsmBuf durable;       /* on the platter */
	SimWrite *first;      /* what makes the difference, in order */
	SimWrite *last;
} SimNode;

typedef struct SimName
{
	char name[SIM_NAME_SIZE];
	SimNode *node;
} SimName;

typedef struct SimDir
{
	SimName *names; /* sorted, so that listing is repeatable */
	int count;
	int cap;
} SimDir;

/* One change of the directory: creation (set), removal (unset), renaming (both). */
typedef struct SimChange
{
	char unset[SIM_NAME_SIZE];
	char set[SIM_NAME_SIZE];
	SimNode *node;
} SimChange;

typedef struct SimDisk
{
	SimNode *nodes; /* also those without a name: they may be open, or come back */
	SimDir now;
	SimDir durable;
	SimChange *changes; /* since sync_dir */
	int num_changes;
	int cap_changes;
} SimDisk;

/* splitmix64: any seed will do. */
extern uint64_t sim_draw(uint64_t *state);
extern uint64_t sim_draw_below(uint64_t *state, uint64_t limit);
extern bool sim_coin(uint64_t *state);

/* NULL when out of memory. */
extern SimNode *sim_node_new(SimDisk *disk);
extern bool sim_node_write(SimNode *node, uint64_t offset, const char *data, size_t len);
extern bool sim_node_empty(SimNode *node);
extern bool sim_node_sync(SimNode *node);
/* A sync failed: what it should have written will not be written by a later one either. */
extern void sim_node_sync_failed(SimNode *node);
/* Makes the present contents durable and forgets how the file came to them (damage from outside). */
extern bool sim_node_settle(SimNode *node);

/* NULL if there is none of that name. */
extern SimNode *sim_dir_get(const SimDir *dir, const char *name);
extern bool sim_dir_copy(SimDir *to, const SimDir *from);
/* Changes the directory as the process sees it; "" for no name. */
extern bool sim_dir_change(SimDisk *disk, const char *unset, const char *set, SimNode *node);
extern bool sim_dir_sync(SimDisk *disk);

extern bool sim_disk_clone(SimDisk *to, SimDisk *from);
/* Keeps what is durable and what image and seed grant of the rest. */
extern bool sim_disk_lose_power(SimDisk *disk, LsmSimImage image, uint64_t seed);
extern void sim_disk_free(SimDisk *disk);

#endif
