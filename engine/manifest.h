/*
 * manifest.h - making a set of files durable, and following it from other processes.
 *
 * CURRENT names the manifest in use ("MANIFEST-000002\n").  One process at a time
 * appends (LSM_LOCK_MANIFEST); a record counts once its length is published in
 * LsmShared, which happens after it was synced.
 */
#ifndef LSM_MANIFEST_H
#define LSM_MANIFEST_H

#include "engine/log.h"
#include "engine/version.h"

/* Counters as the last records say. */
typedef struct LsmManifestState
{
	bool has_log_number, has_next_file, has_last_seq;
	uint64_t log_number;
	uint64_t prev_log_number;
	uint64_t next_file;
	uint64_t last_seq;
} LsmManifestState;

/* One handle's place in the manifest, and the set of files up to there. */
typedef struct LsmFollow
{
	LsmEnv *env;
	uint64_t number; /* 0: none yet */
	uint64_t offset; /* read up to here */
	LsmFile *file;   /* the manifest, open, or NULL */
	LsmFiles *files;
	LsmManifestState state;
} LsmFollow;

extern void lsm_follow_init(LsmFollow *follow, LsmEnv *env);
extern void lsm_follow_free(LsmFollow *follow);
/*
 * Catches up with manifest `number` as far as `length` bytes.  After an error
 * nothing has changed.
 */
extern LsmStatus lsm_follow_to(LsmFollow *follow, uint64_t number, uint64_t length, LsmError *err);
/* At recovery: reads all of manifest `number`; a tail torn by a crash is its end. */
extern LsmStatus lsm_follow_recover(LsmFollow *follow, uint64_t number, LsmError *err);
/*
 * The same for a copy made while the store changed: reads up to the last record that names only files of which
 * `have` is true.  LSM_NOT_FOUND if there is no such record, or no such manifest.
 */
extern LsmStatus lsm_follow_recover_whole(LsmFollow *follow, uint64_t number, bool (*have)(void *arg, const LsmFileMeta *file),
										  void *arg, LsmError *err);
/* For the process that appended itself: takes over the set that resulted. */
extern void lsm_follow_set(LsmFollow *follow, uint64_t number, uint64_t length, LsmFiles *files);

/* The manifest's number as CURRENT says; LSM_NOT_FOUND if there is no CURRENT. */
extern LsmStatus lsm_current_read(LsmEnv *env, uint64_t *number, LsmError *err);

/* The open manifest of the process that changes the set. */
typedef struct LsmManifestWriter
{
	uint64_t number;
	LsmFile *file; /* NULL: not open */
	LsmLogWriter *log;
} LsmManifestWriter;

/* Opens manifest `number` at its durable length; LSM_INVALID if the file has another length. */
extern LsmStatus lsm_manifest_open(LsmManifestWriter *writer, LsmEnv *env, uint64_t number, uint64_t length,
								   LsmError *err);
/* Appends one edit and syncs.  After an error the tail is unknown: roll. */
extern LsmStatus lsm_manifest_append(LsmManifestWriter *writer, const LsmEdit *edit, LsmError *err);
/*
 * Starts manifest `number` with one record that describes `files` with the
 * counters of `edit`, then makes CURRENT name it.  After an error CURRENT may
 * name the old or the new one.
 */
extern LsmStatus lsm_manifest_roll(LsmManifestWriter *writer, LsmEnv *env, uint64_t number, const LsmEdit *edit,
								   const LsmFiles *files, LsmError *err);
extern uint64_t lsm_manifest_length(const LsmManifestWriter *writer);
extern void lsm_manifest_close(LsmManifestWriter *writer);

#endif
