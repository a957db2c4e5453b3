/*
 * shared.c - making LsmShared, and the small things done to it.
 *
 *     LsmShared | pin slots | arenas (memtable_slots x memtable_size) | block cache
 */
#include "engine/shared.h"

#include <assert.h>
#include <string.h>

static size_t
align64(size_t size)
{
	return (size + 63) & ~(size_t) 63;
}

void
lsm_options_init(LsmOptions *options)
{
	memset(options, 0, sizeof(*options));
	options->memtable_size = 16 << 20;
	options->memtable_slots = 3;
	options->block_cache_size = 64 << 20;
	options->max_handles = 64;
	options->file_size = 8 << 20;
	options->level1_size = 64 << 20;
	options->level_factor = 10;
	options->level0_compact = 4;
	options->level0_slow = 12;
	options->level0_stop = 24;
	options->manifest_size = 4 << 20;
	options->log_step = 1 << 20;
	options->max_compactions = 2;
	options->table_cache_size = 32 << 20;
	options->table.block_size = 16 << 10;
	options->table.restart_interval = 16;
	options->table.restart_spread = 512;
	options->table.bloom_bits = 10;
	options->table.bloom_prime = true;
	options->table.compression = LSM_COMPRESS_ZSTD;
	options->table.zstd_level = 3;
	options->level0_compression = LSM_COMPRESS_SNAPPY;
}

void
lsm_options_init_leveldb(LsmOptions *options)
{
	lsm_options_init(options);
	options->memtable_size = 4 << 20;
	options->block_cache_size = 8 << 20;
	options->file_size = 2 << 20;
	options->level1_size = 10 << 20;
	options->level0_slow = 5;
	options->level0_stop = 12;
	options->table.block_size = 4 << 10;
	options->table.restart_spread = 0;
	options->table.bloom_bits = 0;
	options->table.bloom_prime = false;
	options->table.compression = LSM_COMPRESS_SNAPPY;
	options->log_step = 0;
	options->flush_all_versions = true;
}

/* Options as they are used: what cannot work is made the nearest thing that does. */
static LsmOptions
usable(const LsmOptions *wanted)
{
	LsmOptions o = *wanted;

	if (o.memtable_size < 4 << 10)
		o.memtable_size = 4 << 10;
	if (o.memtable_size > UINT32_MAX - 63)
		o.memtable_size = (size_t) UINT32_MAX - 63;
	o.memtable_size &= ~(size_t) 63;
	if (o.memtable_slots < 2)
		o.memtable_slots = 2;
	if (o.memtable_slots > LSM_MAX_SLOTS)
		o.memtable_slots = LSM_MAX_SLOTS;
	if (o.log_step > o.memtable_size)
		o.log_step = o.memtable_size;
	if (o.max_handles < 1)
		o.max_handles = 1;
	if (o.max_compactions < 1)
		o.max_compactions = 1;
	if (o.max_compactions > LSM_MAX_JOBS)
		o.max_compactions = LSM_MAX_JOBS;
	if (o.level_factor < 2)
		o.level_factor = 2;
	if (o.level0_compact < 1)
		o.level0_compact = 1;
	if (o.level0_slow < o.level0_compact + 1)
		o.level0_slow = o.level0_compact + 1;
	if (o.level0_stop < o.level0_slow + 1)
		o.level0_stop = o.level0_slow + 1;
	return o;
}

/*
 * Blocks of a stamped store keep to block_size.  Others end as LevelDB's do, with
 * the entry that fills them.  Blocks with a large entry are not cached.
 */
static size_t
frame_size(const LsmOptions *options)
{
	size_t size = options->table.block_size;

	return align64(options->table.stamped ? size : size + (size / 8 > 512 ? size / 8 : 512));
}

size_t
lsm_shared_size(const LsmOptions *options)
{
	LsmOptions o = usable(options);
	size_t size = align64(sizeof(LsmShared)) + (size_t) o.max_handles * sizeof(LsmPin) +
				  (size_t) o.memtable_slots * o.memtable_size;

	if (o.block_cache_size > 0)
		size += lsm_cache_footprint(o.block_cache_size, frame_size(&o));
	return size;
}

LsmShared *
lsm_shared_init(void *mem, const LsmOptions *options)
{
	LsmShared *shared = mem;
	LsmMemtable *memtable;

	assert(((uintptr_t) mem & 63) == 0);
	memset(shared, 0, sizeof(*shared));
	shared->options = usable(options);
	shared->pins_offset = align64(sizeof(LsmShared));
	shared->arenas_offset = shared->pins_offset + (size_t) shared->options.max_handles * sizeof(LsmPin);
	memset((char *) mem + shared->pins_offset, 0, (size_t) shared->options.max_handles * sizeof(LsmPin));
	if (shared->options.block_cache_size > 0)
	{
		shared->cache_offset =
			shared->arenas_offset + (size_t) shared->options.memtable_slots * shared->options.memtable_size;
		lsm_cache_init((char *) mem + shared->cache_offset, shared->options.block_cache_size,
					   frame_size(&shared->options));
	}
	memtable = lsm_memtable_init(lsm_shared_arena(shared, 0), shared->options.memtable_size);
	shared->capacity = lsm_memtable_size(memtable) - lsm_memtable_used(memtable);
	atomic_store(&shared->next_file, 1);
	return shared;
}

uint64_t
lsm_shared_min_pin(LsmShared *shared)
{
	LsmPin *pins = lsm_shared_pins(shared);
	uint64_t min = UINT64_MAX;

	/*
	 * The caller has raised the epoch before.  A reader writes its pin, then
	 * reads the epoch again, both sequentially consistent: either we see its
	 * pin, or it sees the new epoch and starts over (handle.h).
	 */
	atomic_thread_fence(memory_order_seq_cst);
	for (int i = 0; i < shared->options.max_handles; i++)
	{
		uint64_t epoch = atomic_load(&pins[i].epoch);

		if (epoch != 0 && epoch < min)
			min = epoch;
	}
	return min;
}

uint64_t
lsm_shared_oldest_snapshot(LsmShared *shared, LsmEnv *env)
{
	uint64_t seq;

	lsm_lock(env, LSM_LOCK_STATE, LSM_SHARED);
	seq = shared->nsnapshots > 0 ? shared->snapshots[0].seq : atomic_load(&shared->last_seq);
	lsm_unlock(env, LSM_LOCK_STATE);
	return seq;
}

int
lsm_shared_take_slot(LsmShared *shared)
{
	for (int i = 0; i < shared->options.memtable_slots; i++)
	{
		if (shared->slots[i].state == LSM_SLOT_FREE)
		{
			shared->slots[i].state = LSM_SLOT_TAKEN;
			return i;
		}
	}
	return -1;
}

void
lsm_shared_push(LsmShared *shared, int slot, uint64_t position)
{
	LsmSlot *s = &shared->slots[slot];

	assert(s->state == LSM_SLOT_TAKEN);
	assert(shared->nmems < shared->options.memtable_slots);
	if (shared->nmems > 0)
	{
		shared->slots[shared->mems[0]].state = LSM_SLOT_IMMUTABLE;
		memmove(&shared->mems[1], &shared->mems[0], (size_t) shared->nmems * sizeof(shared->mems[0]));
		atomic_fetch_add(&shared->waiting, 1);
	}
	s->state = LSM_SLOT_ACTIVE;
	s->generation = ++shared->generation;
	s->position = position;
	atomic_store(&s->min_xid, UINT64_MAX);
	atomic_store(&s->spills, 0);
	shared->mems[0] = slot;
	shared->nmems++;
	/* in this order: who sees the new slot sees the new generation (lsm_recheck) */
	atomic_store(&shared->active_generation, s->generation);
	atomic_store(&shared->active, slot);
}
