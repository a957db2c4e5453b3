/*
 * block.h - reading the entries of one block (data, index, metaindex).
 *
 * The iterator works on bytes that somebody else holds, and allocates only for
 * keys longer than its own little buffer.  It trusts nothing: whatever the
 * bytes are, it stays within them, always ends, and says LSM_CORRUPT where they
 * cannot be a block.
 */
#ifndef LSM_BLOCK_H
#define LSM_BLOCK_H

#include "engine/run.h"

#define LSM_BLOCK_KEY_SPACE 208 /* longer keys go to the heap */

typedef enum LsmBlockKeys
{
	LSM_KEYS_INTERNAL, /* data and index blocks: internal keys, in their order */
	LSM_KEYS_PLAIN     /* metaindex block: bytes */
} LsmBlockKeys;

/*
 * Fields may be read, and are set by every move.  key and value are borrowed
 * until the next move; value, and a key that was stored whole, point into the
 * block.  status tells an end (LSM_OK) from damage.
 */
typedef struct LsmBlockIter
{
	bool valid;
	LsmStatus status; /* LSM_OK, LSM_CORRUPT or LSM_NO_MEMORY */
	LsmSlice key;
	LsmSlice value;

	/* the rest is private */
	LsmBlockKeys keys;
	size_t trailer;    /* bytes of a key behind the user key */
	const char *data;  /* entries */
	const char *limit; /* their end: the restart array */
	uint32_t num_restarts;
	const char *current; /* the entry that key and value come from */
	char *key_buf;       /* space, or from malloc */
	size_t key_cap;
	char space[LSM_BLOCK_KEY_SPACE];
} LsmBlockIter;

/*
 * Before the first use, and to go on with another block: once lsm_block_iter_init,
 * then lsm_block_iter_set for every block.  contents must outlive its use.  Set
 * returns false, and leaves an iterator with status LSM_CORRUPT, if the contents'
 * frame is wrong.  An iterator must not be copied.
 */
extern void lsm_block_iter_init(LsmBlockIter *it, LsmBlockKeys keys);
extern bool lsm_block_iter_set(LsmBlockIter *it, LsmSlice contents);
extern void lsm_block_iter_free(LsmBlockIter *it);

extern void lsm_block_iter_first(LsmBlockIter *it);
extern void lsm_block_iter_last(LsmBlockIter *it);
/* First entry >= target (an internal key, with LSM_KEYS_INTERNAL; not this iterator's own key). */
extern void lsm_block_iter_seek(LsmBlockIter *it, LsmSlice target);
/* With LSM_KEYS_INTERNAL, only when valid: moves on over the run behind the current entry, up to a user key, if `upper` is not empty. */
extern void lsm_block_iter_run(LsmBlockIter *it, LsmRun *run, LsmSlice upper);
extern void lsm_block_iter_next(LsmBlockIter *it); /* only when valid */
extern void lsm_block_iter_prev(LsmBlockIter *it); /* only when valid */

/* For verify: every restart point is the start of an entry that is stored whole, in ascending order. */
extern bool lsm_block_restarts_ok(LsmBlockIter *it);

#endif
