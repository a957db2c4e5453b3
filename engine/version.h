/*
 * version.h - which tables exist (in one process's memory), and the manifest that makes it durable.
 *
 * The manifest is LevelDB's: a log of version edits.  The process that holds
 * LSM_LOCK_MANIFEST appends; every process follows by reading on from where it
 * stopped, up to the length that LsmShared says is durable.
 */
#ifndef LSM_VERSION_H
#define LSM_VERSION_H

#include "engine/env.h"
#include "engine/keys.h"

#endif
