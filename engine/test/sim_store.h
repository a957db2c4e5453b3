/*
 * sim_store.h - what tests of one standalone store on a simulated disk and clock share.
 */
#ifndef SIM_STORE_H
#define SIM_STORE_H

#include "engine/env_sim.h"
#include "engine/handle.h"
#include "engine/test/test.h"

static LsmEnv *env;
static LsmDb *db;

static inline void
open_sim(const LsmOptions *options)
{
	LsmError err;

	MUST(lsm_env_sim_new(1, &env), &err);
	MUST(lsm_open(env, options, &db, &err), &err);
}

static inline void
close_sim(void)
{
	lsm_close(db);
	lsm_env_sim_free(env);
}

static inline LsmSlice
key_of(char *buf, int i)
{
	return lsm_slice(buf, (size_t) snprintf(buf, 16, "key%06d", i));
}

/* A value of so many bytes for a key, or its deletion; waits for room. */
static inline void
write_key(int i, size_t size, bool delete)
{
	static const char value[2000];
	LsmBatch batch = {0};
	LsmStatus status;
	char key[16];
	LsmError err;

	CHECK(delete ? lsm_batch_delete(&batch, key_of(key, i)) : lsm_batch_put(&batch, key_of(key, i), lsm_slice(value, size)));
	while ((status = lsm_write(db, &batch, false, NULL, &err)) == LSM_BUSY)
		MUST(lsm_make_room(db, batch.memtable_cost, &err), &err);
	MUST(status, &err);
	lsm_batch_free(&batch);
}

/* Until nothing is due any more. */
static inline void
work(void)
{
	LsmError err;
	bool did = true;

	while (did)
		MUST(lsm_work(db, &did, &err), &err);
}

/* The clock goes on. */
static inline void
pass_ms(int ms)
{
	env->ops->wait_prepare(env, LSM_WAIT_WORK);
	(void) env->ops->wait(env, LSM_WAIT_WORK, ms);
	env->ops->wait_end(env, LSM_WAIT_WORK);
}

#endif
