/*
 * env_sim_disk.c - the simulated disk.
 *
 * A file is a node: its bytes as the process sees them (now), its bytes on the
 * platter (durable), and the writes since the last sync in order.  The directory
 * is the same twice, with a list of changes since sync_dir.  Losing power builds
 * a new "durable" from the old one and a part of the pending writes and changes,
 * chosen by the image and a seed, and forgets the rest.
 *
 * Rules modelled on what POSIX leaves open (see Pillai et al., "All File Systems
 * Are Not Created Equal", and Rebello et al., "Can Applications Recover from
 * fsync Failures?"):
 *
 * - Syncing a file does not make its name durable; only sync_dir does.
 * - A rename is atomic, but changes of the directory may become durable in any
 *   order until sync_dir.
 * - Unsynced bytes may become durable in any order, sector by sector.
 * - After a failed sync the unwritten bytes stay readable until the reboot, and
 *   no later sync writes them.
 */
#include "engine/env_sim_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- chance ---- */

uint64_t
sim_draw(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64: any seed will do */

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t
sim_draw_below(uint64_t *state, uint64_t limit)
{
	return limit ? sim_draw(state) % limit : 0;
}

bool
sim_coin(uint64_t *state)
{
	return sim_draw(state) >> 63;
}
/* ---- bytes ---- */

/* Writes at offset, with zeros in between if that is behind the end. */
static bool
put_bytes(LsmBuf *buf, uint64_t offset, const char *data, size_t len)
{
	if (offset + len > buf->len)
	{
		if (!lsm_buf_reserve(buf, offset + len - buf->len))
			return false;
		memset(buf->data + buf->len, 0, offset + len - buf->len);
		buf->len = offset + len;
	}
	if (len > 0 && data != NULL)
		memcpy(buf->data + offset, data, len);
	return true;
}

SimNode *
sim_node_new(SimDisk *disk)
{
	SimNode *node = calloc(1, sizeof(SimNode));

	if (node != NULL)
	{
		node->next = disk->nodes;
		disk->nodes = node;
	}
	return node;
}

static void
node_forget_writes(SimNode *node)
{
	while (node->first != NULL)
	{
		SimWrite *write = node->first;

		node->first = write->next;
		free(write);
	}
	node->last = NULL;
}

static bool
node_add_write(SimNode *node, uint64_t offset, const char *data, size_t len, bool empties, bool lost)
{
	SimWrite *write = malloc(sizeof(SimWrite) + len);

	if (write == NULL)
		return false;
	write->next = NULL;
	write->offset = offset;
	write->len = len;
	write->empties = empties;
	write->lost = lost;
	if (len > 0)
		memcpy(write->data, data, len);
	if (node->last != NULL)
		node->last->next = write;
	else
		node->first = write;
	node->last = write;
	return true;
}

bool
sim_node_write(SimNode *node, uint64_t offset, const char *data, size_t len)
{
	return put_bytes(&node->now, offset, data, len) &&
		   node_add_write(node, offset, data, len, false, false);
}

bool
sim_node_sync(SimNode *node)
{
	SimWrite *write;

	for (write = node->first; write != NULL; write = write->next)
	{
		if (write->empties)
			node->durable.len = 0;
		else if (!put_bytes(&node->durable, write->offset, write->lost ? NULL : write->data,
							write->lost && write->offset + write->len <= node->durable.len ? 0 : write->len))
			return false;
	}
	node_forget_writes(node);
	return true;
}

bool
sim_node_empty(SimNode *node)
{
	node->now.len = 0;
	return node_add_write(node, 0, NULL, 0, true, false);
}

void
sim_node_sync_failed(SimNode *node)
{
	SimWrite *write;

	for (write = node->first; write != NULL; write = write->next)
		write->lost = true;
}

bool
sim_node_settle(SimNode *node)
{
	node_forget_writes(node);
	return lsm_buf_set(&node->durable, node->now.data, node->now.len);
}

static void
node_free(SimNode *node)
{
	node_forget_writes(node);
	lsm_buf_free(&node->now);
	lsm_buf_free(&node->durable);
	free(node);
}
/* ---- the directory ---- */

static int
dir_find(const SimDir *dir, const char *name, bool *found)
{
	int low = 0;
	int high = dir->count;

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (strcmp(dir->names[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*found = low < dir->count && strcmp(dir->names[low].name, name) == 0;
	return low;
}

SimNode *
sim_dir_get(const SimDir *dir, const char *name)
{
	bool found;
	int i = dir_find(dir, name, &found);

	return found ? dir->names[i].node : NULL;
}

static bool
dir_set(SimDir *dir, const char *name, SimNode *node)
{
	bool found;
	int i = dir_find(dir, name, &found);

	if (!found)
	{
		if (dir->count == dir->cap)
		{
			int cap = dir->cap ? dir->cap * 2 : 16;
			SimName *names = realloc(dir->names, cap * sizeof(SimName));

			if (names == NULL)
				return false;
			dir->names = names;
			dir->cap = cap;
		}
		memmove(dir->names + i + 1, dir->names + i, (dir->count - i) * sizeof(SimName));
		dir->count++;
		snprintf(dir->names[i].name, SIM_NAME_SIZE, "%s", name);
	}
	dir->names[i].node = node;
	return true;
}

static void
dir_unset(SimDir *dir, const char *name)
{
	bool found;
	int i = dir_find(dir, name, &found);

	if (found)
	{
		dir->count--;
		memmove(dir->names + i, dir->names + i + 1, (dir->count - i) * sizeof(SimName));
	}
}

static bool
dir_apply(SimDir *dir, const SimChange *change)
{
	if (change->unset[0])
		dir_unset(dir, change->unset);
	return change->set[0] == 0 || dir_set(dir, change->set, change->node);
}

bool
sim_dir_copy(SimDir *to, const SimDir *from)
{
	int i;

	to->count = 0;
	for (i = 0; i < from->count; i++)
		if (!dir_set(to, from->names[i].name, from->names[i].node))
			return false;
	return true;
}

/* Changes the directory as the process sees it, and remembers the change. */
bool
sim_dir_change(SimDisk *disk, const char *unset, const char *set, SimNode *node)
{
	SimChange *change;

	if (disk->num_changes == disk->cap_changes)
	{
		int cap = disk->cap_changes ? disk->cap_changes * 2 : 16;
		SimChange *changes = realloc(disk->changes, cap * sizeof(SimChange));

		if (changes == NULL)
			return false;
		disk->changes = changes;
		disk->cap_changes = cap;
	}
	change = &disk->changes[disk->num_changes];
	snprintf(change->unset, SIM_NAME_SIZE, "%s", unset);
	snprintf(change->set, SIM_NAME_SIZE, "%s", set);
	change->node = node;
	if (!dir_apply(&disk->now, change))
		return false;
	disk->num_changes++;
	return true;
}
bool
sim_dir_sync(SimDisk *disk)
{
	disk->num_changes = 0;
	return sim_dir_copy(&disk->durable, &disk->now);
}

/* ---- losing power ---- */

/*
 * The unsynced writes up to a random byte.  What follows in the sector where it
 * stops may be zeros or garbage, but never over bytes that were synced.
 */
static bool
tear(SimNode *node, uint64_t *random)
{
	uint64_t total = 0;
	uint64_t keep;
	SimWrite *write;

	for (write = node->first; write != NULL; write = write->next)
		total += write->len;
	keep = sim_draw_below(random, total + 1);
	for (write = node->first; write != NULL; write = write->next)
	{
		uint64_t sector = sim_coin(random) ? 512 : 4096;
		uint64_t at = write->offset + keep;
		uint64_t end = (at + sector - 1) / sector * sector;
		uint64_t limit = write->offset + write->len;

		if (write->empties)
		{
			node->durable.len = 0;
			continue;
		}
		if (write->len <= keep)
		{
			if (!put_bytes(&node->durable, write->offset, write->data, write->len))
				return false;
			keep -= write->len;
			continue;
		}
		if (!put_bytes(&node->durable, write->offset, write->data, keep))
			return false;
		if (limit >= node->durable.len && limit < node->now.len)
			limit = node->now.len;
		if (end > limit)
			end = limit;
		if (end > at && sim_coin(random))
		{
			bool garbage = sim_coin(random);

			if (!put_bytes(&node->durable, at, NULL, end - at))
				return false;
			for (; at < end; at++)
				node->durable.data[at] = garbage ? (char) sim_draw(random) : 0;
		}
		return true;
	}
	return true;
}

/*
 * Each sector as some unsynced write left it, or as it was before; the new length
 * or as far as bytes are there.  A sector goes to the platter as a whole: if a
 * later write of it is there, the earlier ones are, too.
 */
static bool
reorder(SimNode *node, uint64_t *random)
{
	uint64_t sector = sim_coin(random) ? 512 : 4096;
	uint64_t odds = sim_coin(random) ? 2 : 8; /* one in two is lost, or one in eight */
	uint64_t sectors = 1;
	bool *lost;
	bool ok = true;
	SimWrite *write;

	for (write = node->first; write != NULL; write = write->next)
		if ((write->offset + write->len) / sector >= sectors)
			sectors = (write->offset + write->len) / sector + 1;
	lost = calloc(sectors, sizeof(*lost));
	if (lost == NULL)
		return false;
	for (write = node->first; write != NULL && ok; write = write->next)
	{
		uint64_t done = 0;

		if (write->empties && sim_coin(random))
			node->durable.len = 0;
		while (done < write->len && ok)
		{
			uint64_t at = write->offset + done;
			size_t piece = sector - at % sector;

			if (piece > write->len - done)
				piece = write->len - done;
			if (sim_draw_below(random, odds) == 0)
				lost[at / sector] = true;
			if (!lost[at / sector])
				ok = put_bytes(&node->durable, at, write->data + done, piece);
			done += piece;
		}
	}
	free(lost);
	if (ok && node->now.len > node->durable.len && sim_coin(random))
		return put_bytes(&node->durable, node->now.len, NULL, 0);
	return ok;
}

static bool
lose_bytes(SimNode *node, LsmSimImage image, uint64_t *random)
{
	bool ok = true;

	if (image == LSM_SIM_TORN)
		ok = tear(node, random);
	else if (image == LSM_SIM_REORDERED)
		ok = reorder(node, random);
	else if (image == LSM_SIM_DIR_LOST && sim_coin(random))
		ok = lsm_buf_set(&node->durable, node->now.data, node->now.len);
	node_forget_writes(node);
	return ok && lsm_buf_set(&node->now, node->durable.data, node->durable.len);
}

static bool
lose_names(SimDisk *disk, LsmSimImage image, uint64_t *random)
{
	int prefix = image == LSM_SIM_REORDERED ? (int) sim_draw_below(random, disk->num_changes + 1) : disk->num_changes;
	int i;

	if (image == LSM_SIM_SYNCED_ONLY)
		prefix = 0;
	for (i = 0; i < prefix; i++)
	{
		if (image == LSM_SIM_DIR_LOST && sim_coin(random))
			continue;
		if (!dir_apply(&disk->durable, &disk->changes[i]))
			return false;
	}
	disk->num_changes = 0;
	return sim_dir_copy(&disk->now, &disk->durable);
}

/* Nodes that no name leads to any more. */
static void
drop_nodes(SimDisk *disk)
{
	SimNode **link = &disk->nodes;

	while (*link != NULL)
	{
		SimNode *node = *link;
		bool named = false;
		int i;

		for (i = 0; i < disk->now.count && !named; i++)
			named = disk->now.names[i].node == node;
		if (named)
			link = &node->next;
		else
		{
			*link = node->next;
			node_free(node);
		}
	}
}

bool
sim_disk_lose_power(SimDisk *disk, LsmSimImage image, uint64_t seed)
{
	uint64_t random = seed;
	SimNode *node;

	if (!lose_names(disk, image, &random))
		return false;
	drop_nodes(disk);
	for (node = disk->nodes; node != NULL; node = node->next)
		if (!lose_bytes(node, image, &random))
			return false;
	return true;
}

/* ---- the whole disk ---- */

static SimNode *
node_clone(SimDisk *disk, const SimNode *from)
{
	SimNode *node = sim_node_new(disk);
	SimWrite *write;

	if (node == NULL || !lsm_buf_set(&node->now, from->now.data, from->now.len) ||
		!lsm_buf_set(&node->durable, from->durable.data, from->durable.len))
		return NULL;
	for (write = from->first; write != NULL; write = write->next)
		if (!node_add_write(node, write->offset, write->data, write->len, write->empties, write->lost))
			return NULL;
	return node;
}

bool
sim_disk_clone(SimDisk *to, SimDisk *from)
{
	SimNode *node;
	int i;

	memset(to, 0, sizeof(*to));
	for (node = from->nodes; node != NULL; node = node->next)
	{
		node->copy = node_clone(to, node);
		if (node->copy == NULL)
			return false;
	}
	if (!sim_dir_copy(&to->now, &from->now) || !sim_dir_copy(&to->durable, &from->durable))
		return false;
	for (i = 0; i < to->now.count; i++)
		to->now.names[i].node = to->now.names[i].node->copy;
	for (i = 0; i < to->durable.count; i++)
		to->durable.names[i].node = to->durable.names[i].node->copy;
	to->changes = calloc(from->num_changes + 1, sizeof(SimChange));
	if (to->changes == NULL)
		return false;
	to->cap_changes = from->num_changes + 1;
	to->num_changes = from->num_changes;
	for (i = 0; i < from->num_changes; i++)
	{
		to->changes[i] = from->changes[i];
		if (to->changes[i].node != NULL)
			to->changes[i].node = to->changes[i].node->copy;
	}
	return true;
}

void
sim_disk_free(SimDisk *disk)
{
	while (disk->nodes != NULL)
	{
		SimNode *node = disk->nodes;

		disk->nodes = node->next;
		node_free(node);
	}
	free(disk->now.names);
	free(disk->durable.names);
	free(disk->changes);
}
