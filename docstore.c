/*
 * docstore.c - the module's entry: settings, shared memory, the resource manager, background workers.
 *
 * Alone it knows all rooms: engine <- store <- fdw <- view <- repl <- worker <- here.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "fdw/collection.h"
#include "fdw/owner.h"
#include "repl/define.h"
#include "store/backup.h"
#include "store/feed.h"
#include "store/journal_wal.h"
#include "store/store.h"
#include "store/template.h"
#include "view/define.h"
#include "view/wait.h"
#include "worker/compactor.h"
#include "worker/databases.h"
#include "worker/launcher.h"
#include "worker/merger.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

/*
 * Loaded later than shared_preload_libraries, by CREATE EXTENSION say, there is
 * no shared memory to be had; whatever needs it says so (docstore_require_preload).
 */
void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	docstore_define_settings();
	docstore_shmem_init();
	docstore_feed_init();
	docstore_rmgr_init();
	docstore_backup_init();
	docstore_launcher_register();
	docstore_compactor_register();
	docstore_mergers_register();
	docstore_collection_init();
	docstore_owner_init();
	docstore_template_init();
	view_define_init();
	view_wait_init();
	repl_define_init();
	docstore_databases_init();
}
