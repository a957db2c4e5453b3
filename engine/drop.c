/*
 * drop.c - see drop.h.
 *
 * Standalone (LevelDB's rule): of the versions that the oldest snapshot sees,
 * only the newest is needed; if that is a deletion and nothing older lies in
 * deeper levels, not even that.
 *
 * Stamped, newest to oldest:
 *
 *   lock        kept while its transaction runs
 *   aborted     dropped
 *   running, committed   kept as they are: some snapshot may or may not see them
 *   settled     every snapshot sees it: it becomes frozen (or LevelDB's
 *               deletion), and everything older is dropped
 *   frozen      kept, everything older is dropped
 *
 * A deletion that everybody sees vanishes if nothing older lies in deeper levels
 * (older ones in the same merge are dropped after it).
 */
#include "engine/drop.h"

#include <string.h>

#include "engine/spill.h"

void
lsm_drop_init(LsmDrop *drop, LsmDb *db, LsmFiles *files, int older_level)
{
	memset(drop, 0, sizeof(*drop));
	drop->db = db;
	drop->files = files;
	drop->older_level = older_level;
	if (lsm_stamped(db))
		db->txn->begin(db->txn_ctx);
	else
		drop->oldest_snapshot = lsm_shared_oldest_snapshot(db->shared, db->env);
}

void
lsm_drop_free(LsmDrop *drop)
{
	lsm_buf_free(&drop->user);
	lsm_buf_free(&drop->ikey_buf);
	lsm_buf_free(&drop->value_buf);
}

/* May any file of the deeper levels hold this key?  Keys are asked in ascending order. */
static bool
may_be_deeper(LsmDrop *drop, LsmSlice user)
{
	for (int level = drop->older_level; level < LSM_NUM_LEVELS; level++)
	{
		const LsmLevel *l = &drop->files->levels[level];
		int *at = &drop->at[level];

		if (level == 0)
		{
			for (int i = 0; i < l->n; i++)
			{
				if (lsm_slice_compare(lsm_ikey_user(l->files[i]->largest), user) >= 0 &&
					lsm_slice_compare(lsm_ikey_user(l->files[i]->smallest), user) <= 0)
					return true;
			}
			continue;
		}
		while (*at < l->n && lsm_slice_compare(lsm_ikey_user(l->files[*at]->largest), user) < 0)
			(*at)++;
		if (*at < l->n && lsm_slice_compare(lsm_ikey_user(l->files[*at]->smallest), user) <= 0)
			return true;
	}
	return false;
}

/* A deletion that everybody sees: LevelDB's kind, or nothing at all. */
static LsmStatus
settle_deletion(LsmDrop *drop, LsmSlice ikey, LsmVerdict *verdict, LsmError *err)
{
	LsmSlice user = lsm_ikey_user(ikey);

	drop->hidden = true;
	if (!may_be_deeper(drop, user))
	{
		*verdict = LSM_DROP;
		return LSM_OK;
	}
	drop->ikey_buf.len = 0;
	if (!lsm_ikey_append(&drop->ikey_buf, user, lsm_ikey_seq(ikey), LSM_TYPE_DELETION))
		return lsm_no_memory(err);
	drop->ikey = lsm_buf_slice(&drop->ikey_buf);
	drop->value = lsm_slice("", 0);
	*verdict = LSM_REPLACE;
	return LSM_OK;
}

/* A value under a new stamp, fetched from its spill file if it lies in one. */
static LsmStatus
replace_value(LsmDrop *drop, LsmSlice ikey, LsmStamp stamp, LsmSlice payload, LsmVerdict *verdict, LsmError *err)
{
	char head[LSM_STAMP_MAX_SIZE];
	size_t head_len;

	if (stamp.flags & LSM_STAMP_SPILLED)
	{
		LsmStatus status = lsm_spill_read(drop->db, payload, &drop->db->spill, err);

		if (status != LSM_OK)
			return status;
		payload = lsm_buf_slice(&drop->db->spill);
		stamp.flags &= (uint8_t) ~LSM_STAMP_SPILLED;
	}
	head_len = lsm_stamp_encode(head, &stamp);
	if (!lsm_buf_set(&drop->value_buf, head, head_len) || !lsm_buf_append(&drop->value_buf, payload.data, payload.len))
		return lsm_no_memory(err);
	drop->ikey = ikey;
	drop->value = lsm_buf_slice(&drop->value_buf);
	*verdict = LSM_REPLACE;
	return LSM_OK;
}

static LsmStatus
unknown_id(uint64_t xid, LsmError *err)
{
	return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "transaction id %llu is too old to look up", (unsigned long long) xid);
}

static LsmStatus
ask_stamped(LsmDrop *drop, LsmSlice ikey, LsmSlice value, LsmVerdict *verdict, LsmError *err)
{
	const LsmTxnOps *txn = drop->db->txn;
	LsmOutcome outcome = LSM_XACT_SETTLED;
	LsmSlice payload;
	LsmStamp stamp;

	if (lsm_ikey_type(ikey) == LSM_TYPE_DELETION)
		return settle_deletion(drop, ikey, verdict, err);
	if (!lsm_stamp_decode(value, &stamp, &payload))
		return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "a version without a valid stamp");
	if (stamp.flags & LSM_STAMP_XACT)
		outcome = txn->outcome(drop->db->txn_ctx, stamp.xid);
	if (stamp.flags & LSM_STAMP_LOCK)
	{
		/* a transaction too old to look up does not run either */
		*verdict = (stamp.flags & LSM_STAMP_XACT) && outcome == LSM_XACT_RUNNING ? LSM_KEEP : LSM_DROP;
		return LSM_OK;
	}
	switch (outcome)
	{
		case LSM_XACT_UNKNOWN:
			return unknown_id(stamp.xid, err);
		case LSM_XACT_ABORTED:
			*verdict = LSM_DROP;
			return LSM_OK;
		case LSM_XACT_RUNNING:
		case LSM_XACT_COMMITTED:
			if (stamp.flags & LSM_STAMP_SPILLED)
				return replace_value(drop, ikey, stamp, payload, verdict, err);
			*verdict = LSM_KEEP;
			return LSM_OK;
		case LSM_XACT_SETTLED:
			break;
	}
	if (stamp.flags & LSM_STAMP_DELETE)
		return settle_deletion(drop, ikey, verdict, err);
	drop->hidden = true;
	if (stamp.flags == 0)
	{
		*verdict = LSM_KEEP;
		return LSM_OK;
	}
	stamp.flags &= (uint8_t) ~LSM_STAMP_XACT;
	stamp.xid = 0;
	stamp.cid = 0;
	return replace_value(drop, ikey, stamp, payload, verdict, err);
}

/* Locks count whatever was written after them. */
static bool
is_held_lock(LsmDrop *drop, LsmSlice ikey, LsmSlice value)
{
	LsmSlice payload;
	LsmStamp stamp;

	return lsm_stamped(drop->db) && lsm_ikey_type(ikey) == LSM_TYPE_VALUE &&
		   lsm_stamp_decode(value, &stamp, &payload) && (stamp.flags & LSM_STAMP_LOCK) &&
		   (stamp.flags & LSM_STAMP_XACT) &&
		   drop->db->txn->outcome(drop->db->txn_ctx, stamp.xid) == LSM_XACT_RUNNING;
}

LsmStatus
lsm_drop_ask(LsmDrop *drop, LsmSlice ikey, LsmSlice value, LsmVerdict *verdict, LsmError *err)
{
	LsmSlice user;
	uint64_t seq;

	if (!lsm_ikey_ok(ikey))
		return lsm_fail(err, LSM_CORRUPT, 0, NULL, 0, "a key without a valid trailer");
	user = lsm_ikey_user(ikey);
	if (!drop->has_user || lsm_slice_compare(user, lsm_buf_slice(&drop->user)) != 0)
	{
		if (!lsm_buf_set(&drop->user, user.data, user.len))
			return lsm_no_memory(err);
		drop->has_user = true;
		drop->hidden = false;
		drop->dead = lsm_stamped(drop->db) && drop->db->txn->dead != NULL &&
					 drop->db->txn->dead(drop->db->txn_ctx, user);
	}
	if (drop->hidden || drop->dead)
	{
		*verdict = drop->dead || !is_held_lock(drop, ikey, value) ? LSM_DROP : LSM_KEEP;
		return LSM_OK;
	}
	if (lsm_stamped(drop->db))
		return ask_stamped(drop, ikey, value, verdict, err);

	seq = lsm_ikey_seq(ikey);
	drop->hidden = seq <= drop->oldest_snapshot;
	if (drop->hidden && lsm_ikey_type(ikey) == LSM_TYPE_DELETION && !may_be_deeper(drop, user))
		*verdict = LSM_DROP;
	else
		*verdict = LSM_KEEP;
	return LSM_OK;
}
