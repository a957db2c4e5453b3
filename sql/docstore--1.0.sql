-- docstore 1.0: the extension's objects.
\echo Use "CREATE EXTENSION docstore" to load this file. \quit

-- Nothing below works without the library in shared_preload_libraries: say so at once.
CREATE FUNCTION docstore.check_preload() RETURNS void AS 'MODULE_PATHNAME', 'docstore_check_preload' LANGUAGE C;
SELECT docstore.check_preload();
DROP FUNCTION docstore.check_preload();

-- catalog

-- A collection's documents have keys that begin with its storage id.  Written by functions only; TRUNCATE gives
-- a new storage id.
CREATE TABLE docstore.collection (
	name text COLLATE "C" PRIMARY KEY,
	storage_id bigint NOT NULL UNIQUE,
	owner regrole NOT NULL,
	created timestamptz NOT NULL DEFAULT now() -- -infinity: documents were restored before this row
);
COMMENT ON TABLE docstore.collection IS 'collections, their owners and storage; written by functions only';
CREATE SEQUENCE docstore.storage_id_seq;

-- The rows go into a dump.  The numbers do not: a restored collection gets a storage of its own (see the trigger).
SELECT pg_catalog.pg_extension_config_dump('docstore.collection', '');

CREATE FUNCTION docstore.collection_trigger() RETURNS trigger
AS 'MODULE_PATHNAME', 'docstore_collection_trigger' LANGUAGE C;
COMMENT ON FUNCTION docstore.collection_trigger() IS 'internal: changes of the catalog of collections';
REVOKE ALL ON FUNCTION docstore.collection_trigger() FROM PUBLIC;

CREATE TRIGGER collection_storage BEFORE INSERT ON docstore.collection
FOR EACH ROW EXECUTE FUNCTION docstore.collection_trigger();
CREATE TRIGGER collection_changed AFTER INSERT OR UPDATE OR DELETE ON docstore.collection
FOR EACH STATEMENT EXECUTE FUNCTION docstore.collection_trigger();

-- Who consumes the changes of which collections, and how far.  Not in a dump: positions are etags of this store.
CREATE TABLE docstore.consumer (
	kind "char" NOT NULL, -- s named by a user, v view, n the next definition of a view, r replication
	name text COLLATE "C" NOT NULL,
	owner regrole NOT NULL,
	position bigint NOT NULL, -- changes up to this etag are consumed
	created timestamptz NOT NULL,
	advanced timestamptz NOT NULL, -- when the position was moved last
	rate double precision NOT NULL, -- etags a second then, in the mean of the minute before
	view text COLLATE "C", -- whose rows it reads, if not documents of collections
	PRIMARY KEY (kind, name)
);
COMMENT ON TABLE docstore.consumer IS 'who consumes the changes of collections, and how far; written by functions only';
CREATE TABLE docstore.consumer_collection (
	collection text COLLATE "C" NOT NULL,
	kind "char" NOT NULL,
	consumer text COLLATE "C" NOT NULL,
	PRIMARY KEY (collection, kind, consumer)
);
COMMENT ON TABLE docstore.consumer_collection IS 'which collections a consumer follows';
CREATE INDEX consumer_collection_consumer_idx ON docstore.consumer_collection (kind, consumer);

-- foreign data wrapper

CREATE FUNCTION docstore.fdw_handler() RETURNS fdw_handler
AS 'MODULE_PATHNAME', 'docstore_fdw_handler' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.fdw_handler() IS 'handler of the foreign data wrapper docstore';
CREATE FUNCTION docstore.fdw_validator(options text[], catalog oid) RETURNS void
AS 'MODULE_PATHNAME', 'docstore_fdw_validator' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.fdw_validator(text[], oid) IS 'checks options of the foreign data wrapper docstore';

CREATE FOREIGN DATA WRAPPER docstore HANDLER docstore.fdw_handler VALIDATOR docstore.fdw_validator;
CREATE SERVER docstore FOREIGN DATA WRAPPER docstore;
-- The results of views are on a server of their own, so that pg_dump --include-foreign-data=docstore leaves them out.
CREATE SERVER docstore_views FOREIGN DATA WRAPPER docstore;

-- Whoever has USAGE on the server may make collections, and foreign tables over collections of their own.
-- Documents are protected by the collection's owner and the foreign table's grants, not by the server.
GRANT USAGE ON FOREIGN SERVER docstore, docstore_views TO PUBLIC;
GRANT USAGE ON SCHEMA docstore TO PUBLIC;

-- collections

CREATE FUNCTION docstore.create_collection(name text, create_table boolean DEFAULT true) RETURNS void
AS 'MODULE_PATHNAME', 'docstore_create_collection' LANGUAGE C;
COMMENT ON FUNCTION docstore.create_collection(text, boolean) IS 'makes a collection that the caller owns and, unless told otherwise, a foreign table of its name in the current schema';

CREATE FUNCTION docstore.drop_collection(name text, cascade boolean DEFAULT false) RETURNS void
AS 'MODULE_PATHNAME', 'docstore_drop_collection' LANGUAGE C;
COMMENT ON FUNCTION docstore.drop_collection(text, boolean) IS 'drops a collection with its documents and foreign tables; with cascade, also what depends on those';

CREATE FUNCTION docstore.set_owner(collection text, new_owner regrole) RETURNS void
AS 'MODULE_PATHNAME', 'docstore_set_owner' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.set_owner(text, regrole) IS 'gives a collection to another role, which the caller must be a member of; foreign tables keep their owners';

CREATE FUNCTION docstore.put(collection text, id text, doc jsonb, expected_etag bigint DEFAULT NULL) RETURNS bigint
AS 'MODULE_PATHNAME', 'docstore_put' LANGUAGE C;
COMMENT ON FUNCTION docstore.put(text, text, jsonb, bigint) IS 'inserts or replaces a document and returns its etag; with an expected etag (0: no such document) raises 40001 if the document has another; for members of the role that owns the collection';

CREATE FUNCTION docstore.export(collection text) RETURNS SETOF json
AS 'MODULE_PATHNAME', 'docstore_export' LANGUAGE C ROWS 100000;
COMMENT ON FUNCTION docstore.export(text) IS 'a collection as JSON Lines, {"id": ..., "doc": ...}, in the order of ids; for members of the role that owns it';
CREATE FUNCTION docstore.export(collection text, file text) RETURNS bigint
AS 'MODULE_PATHNAME', 'docstore_export_file' LANGUAGE C;
COMMENT ON FUNCTION docstore.export(text, text) IS 'writes a collection to a file of the server as JSON Lines, with the rights that COPY needs; returns the number of documents';
CREATE FUNCTION docstore.import(collection text, file text, id_path text DEFAULT NULL) RETURNS bigint
AS 'MODULE_PATHNAME', 'docstore_import_file' LANGUAGE C;
COMMENT ON FUNCTION docstore.import(text, text, text) IS 'loads JSON Lines from a file of the server, with the rights that COPY needs; with id_path each line is a document itself, and its id lies there; returns the number of documents';

CREATE FUNCTION docstore.collection_size(storage_id bigint, OUT bytes bigint, OUT documents bigint)
AS 'MODULE_PATHNAME', 'docstore_collection_size' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.collection_size(bigint) IS 'estimated size of a storage id: bytes in files, documents';

-- Sizes are estimates from the files alone: what is still in memory only does not count, old versions do.
CREATE VIEW docstore.collections AS
SELECT c.name, c.owner, c.storage_id, s.documents AS estimated_documents, s.bytes AS estimated_bytes, c.created
FROM docstore.collection AS c, LATERAL docstore.collection_size(c.storage_id) AS s;
COMMENT ON VIEW docstore.collections IS 'collections with estimates of their size, from the files alone: what is in memory only does not count, old versions do';
GRANT SELECT ON docstore.collections TO PUBLIC;

-- consumers of changes

CREATE FUNCTION docstore.create_consumer(name text, collections text[]) RETURNS void
AS 'MODULE_PATHNAME', 'docstore_create_consumer' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.create_consumer(text, text[]) IS 'records the changes of collections for a consumer of that name, from now on; for the owner of the collections';
CREATE FUNCTION docstore.drop_consumer(name text) RETURNS void
AS 'MODULE_PATHNAME', 'docstore_drop_consumer' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.drop_consumer(text) IS 'ends a consumer; what only it held back may be purged';

CREATE FUNCTION docstore.changes(consumer text, max_changes integer DEFAULT 1000)
RETURNS TABLE (etag bigint, collection text, id text, deleted boolean, doc jsonb, modified timestamptz)
AS 'MODULE_PATHNAME', 'docstore_changes' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.changes(text, integer) IS 'documents that were changed since the consumer''s position, each in its newest version, in the order of etags; a null id: the collection was truncated';

CREATE FUNCTION docstore.advance_consumer(consumer text, etag bigint) RETURNS bigint
AS 'MODULE_PATHNAME', 'docstore_advance_consumer' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.advance_consumer(text, bigint) IS 'says that all changes up to an etag are done with; returns the position, which never goes back';

CREATE FUNCTION docstore.wait_for_changes(consumer text, timeout interval DEFAULT '1 minute') RETURNS boolean
AS 'MODULE_PATHNAME', 'docstore_wait_for_changes' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.wait_for_changes(text, interval) IS 'sleeps until there are changes for a consumer; false if there were none in time';

CREATE FUNCTION docstore.changes(collection text, since_etag bigint, "limit" integer)
RETURNS TABLE (etag bigint, id text, deleted boolean, doc jsonb, modified timestamptz)
AS 'MODULE_PATHNAME', 'docstore_changes_since' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.changes(text, bigint, integer) IS 'changes of one collection after an etag, without a consumer; an error if they may have been purged';

CREATE FUNCTION docstore.consumer_lag(kind "char", name text, OUT changes bigint, OUT since timestamptz, OUT bytes bigint)
AS 'MODULE_PATHNAME', 'docstore_consumer_lag' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.consumer_lag("char", text) IS 'changes that a consumer has not passed (at most 10000 are counted), since when, and their bytes';

-- Who holds changes back, and how many.
CREATE VIEW docstore.consumers AS
SELECT c.name,
	CASE c.kind WHEN 's' THEN 'consumer' WHEN 'v' THEN 'view' WHEN 'n' THEN 'view replacement' ELSE 'replication' END AS kind,
	c.owner, c.position, c.created, c.advanced,
	ARRAY(SELECT l.collection FROM docstore.consumer_collection AS l
		  WHERE l.kind = c.kind AND l.consumer = c.name ORDER BY l.collection) AS collections,
	b.changes AS changes_behind,                   -- at most 10000 are counted
	clock_timestamp() - b.since AS time_behind,    -- of the first document, or row of a view, that it has not seen
	c.rate * exp(extract(epoch FROM c.advanced - clock_timestamp())::double precision / 60) AS etags_per_second, -- of the whole store
	b.bytes AS estimated_bytes,                    -- on disk, of the changes that it has not passed
	c.view                                         -- that a replication reads instead of collections
FROM docstore.consumer AS c CROSS JOIN LATERAL docstore.consumer_lag(c.kind, c.name) AS b;
COMMENT ON VIEW docstore.consumers IS 'who holds changes back: consumers, views and replications, with their lag';
GRANT SELECT ON docstore.consumers TO PUBLIC;

-- views

-- A view is a JSON document: {"collections": [...], "map": "SELECT ...", "key": "column, ..."}.  Storing one makes the
-- view, with a foreign table of its results in the current schema; deleting it drops both.
CREATE TABLE docstore.views (
	name text COLLATE "C" PRIMARY KEY,
	definition json NOT NULL,
	owner regrole NOT NULL DEFAULT quote_ident(current_user)::regrole -- the map runs with that role's rights
);
COMMENT ON TABLE docstore.views IS 'definitions of views, as JSON documents; storing, changing and deleting one makes, replaces and drops the view';
GRANT SELECT, INSERT, UPDATE, DELETE ON docstore.views TO PUBLIC; -- the trigger checks who may do what
SELECT pg_catalog.pg_extension_config_dump('docstore.views', '');

-- What is made of a definition.  Written by the trigger on docstore.views only.
CREATE TABLE docstore.view_index (
	view text COLLATE "C" NOT NULL,
	storage_id bigint NOT NULL UNIQUE,
	owner regrole NOT NULL,
	map text NOT NULL,
	collections text[] NOT NULL,
	shape text NOT NULL, -- columns and key
	replacing boolean NOT NULL, -- it is built beside the view, whose place it takes when it has caught up
	reduce text,
	finalize text,
	rows text, -- with a reduce: columns and key of the map's rows
	block_rows integer NOT NULL, -- groups of more rows than that have a tree of partial results
	paused boolean NOT NULL, -- by docstore.pause_view
	results_id bigint NOT NULL, -- storage of the results of a reduce; else storage_id
	PRIMARY KEY (view, replacing)
);
COMMENT ON TABLE docstore.view_index IS 'what is made of the definitions of views';

-- How far each view is.  Written by its indexer.
CREATE TABLE docstore.view_progress (
	storage_id bigint PRIMARY KEY,
	built boolean NOT NULL,
	position bigint NOT NULL,
	rows bigint NOT NULL,
	documents bigint NOT NULL,
	storages bigint[] NOT NULL,
	next_collection integer NOT NULL,
	next_id text COLLATE "C",
	sqlstate text,
	reason text,
	updated timestamptz NOT NULL,
	scanned bigint NOT NULL,
	database oid NOT NULL, -- a copy of a database builds its views anew
	groups bigint NOT NULL,
	reduced boolean NOT NULL, -- with a reduce: what the scan found is reduced
	next_group bytea, -- until then: what comes next
	reductions bigint NOT NULL,
	results_id bigint NOT NULL,
	changes bigint NOT NULL,
	changes_read bigint NOT NULL,
	rows_reduced bigint NOT NULL,
	rate double precision NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE docstore.view_progress IS 'how far each view is; written by its indexer';

-- Documents that are not in a view because its map fails for them; with an empty collection, groups that its reduce fails for.
CREATE TABLE docstore.view_error (
	storage_id bigint NOT NULL,
	collection text COLLATE "C" NOT NULL,
	id text COLLATE "C" NOT NULL,
	etag bigint NOT NULL,
	sqlstate text NOT NULL,
	message text NOT NULL,
	noticed timestamptz NOT NULL DEFAULT clock_timestamp(),
	columns jsonb, -- of a group
	PRIMARY KEY (storage_id, collection, id)
);
COMMENT ON TABLE docstore.view_error IS 'documents and groups that are not in a view because its map or reduce fails for them';
-- Messages may quote documents: they are for the view's owner.
CREATE VIEW docstore.view_errors WITH (security_barrier) AS
SELECT i.view, i.replacing, nullif(e.collection, '') AS collection, CASE WHEN e.collection <> '' THEN e.id END AS id, nullif(e.etag, 0) AS etag,
	e.columns AS "group", e.sqlstate, e.message, e.noticed
FROM docstore.view_error e JOIN docstore.view_index i USING (storage_id) WHERE pg_has_role(i.owner, 'USAGE');
COMMENT ON VIEW docstore.view_errors IS 'documents that are not in a view, and groups that cannot be read, with the reason; of views of your own';
GRANT SELECT ON docstore.view_errors TO PUBLIC;

CREATE FUNCTION docstore.view_trigger() RETURNS trigger
AS 'MODULE_PATHNAME', 'docstore_view_trigger' LANGUAGE C;
COMMENT ON FUNCTION docstore.view_trigger() IS 'internal: changes of definitions of views';
REVOKE ALL ON FUNCTION docstore.view_trigger() FROM PUBLIC;
CREATE TRIGGER view_changed AFTER INSERT OR UPDATE OR DELETE ON docstore.views
FOR EACH ROW EXECUTE FUNCTION docstore.view_trigger();
CREATE TRIGGER view_truncated BEFORE TRUNCATE ON docstore.views
FOR EACH STATEMENT EXECUTE FUNCTION docstore.view_trigger();

CREATE FUNCTION docstore.create_view(name text, map text, collections text[], key text DEFAULT NULL,
	reduce text DEFAULT NULL, finalize text DEFAULT NULL) RETURNS void
LANGUAGE sql BEGIN ATOMIC
	INSERT INTO docstore.views (name, definition)
	VALUES ($1, json_strip_nulls(json_build_object('collections', $3, 'map', $2, 'key', $4, 'reduce', $5, 'finalize', $6)));
END;
COMMENT ON FUNCTION docstore.create_view(text, text, text[], text, text, text) IS 'makes a view over the documents of collections, and a foreign table of its results in the current schema';

CREATE FUNCTION docstore.replace_view(name text, map text, collections text[], key text DEFAULT NULL,
	reduce text DEFAULT NULL, finalize text DEFAULT NULL) RETURNS void
AS 'MODULE_PATHNAME', 'docstore_replace_view' LANGUAGE C;
COMMENT ON FUNCTION docstore.replace_view(text, text, text[], text, text, text) IS 'gives a view another definition; the view stays as it is until the rows of the new one have caught up';

CREATE FUNCTION docstore.drop_view(name text) RETURNS void
AS 'MODULE_PATHNAME', 'docstore_drop_view' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.drop_view(text) IS 'drops a view with its rows and foreign tables';

CREATE FUNCTION docstore.pause_view(name text) RETURNS void
AS 'MODULE_PATHNAME', 'docstore_pause_view' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.pause_view(text) IS 'leaves a view as it is until it is resumed; its changes are kept meanwhile';
CREATE FUNCTION docstore.resume_view(name text) RETURNS void
AS 'MODULE_PATHNAME', 'docstore_resume_view' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.resume_view(text) IS 'lets a paused view go on';

CREATE FUNCTION docstore.view_behind(name text, OUT changes bigint, OUT since timestamptz)
AS 'MODULE_PATHNAME', 'docstore_view_behind' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.view_behind(text) IS 'changes that a view does not have yet (at most 10000 are counted), and when the first of them that is no deletion was made';

CREATE FUNCTION docstore.wait_for_view(name text, timeout interval DEFAULT '1 min') RETURNS void
AS 'MODULE_PATHNAME', 'docstore_wait_for_view' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.wait_for_view(text, interval) IS 'waits until a view has everything that was committed before the call; an error after the timeout, or if that cannot be';

CREATE FUNCTION docstore.view_size(storage_id bigint, results_id bigint) RETURNS bigint
AS 'MODULE_PATHNAME', 'docstore_view_size' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.view_size(bigint, bigint) IS 'estimated bytes of a view in files';

CREATE VIEW docstore.view_status AS
SELECT i.view AS name,
	i.owner,
	CASE WHEN p.reason IS NOT NULL OR i.paused THEN 'paused' WHEN p.built THEN 'ready' ELSE 'building' END AS state,
	p.position,                        -- every change up to this etag is in the rows
	p.documents AS documents_scanned,  -- while building
	CASE WHEN NOT p.built THEN (SELECT sum(c.estimated_documents)::bigint FROM docstore.collections c WHERE c.name = ANY (i.collections)) END
		AS estimated_documents,        -- the same: of how many
	round(p.rate) AS rate,             -- documents a second, lately, while there was work; when they are scanned, rows until those are reduced
	CASE WHEN NOT p.built AND p.rate > 0 THEN clock_timestamp() + make_interval(secs => greatest(0,
		CASE WHEN p.scanned > 0 THEN p.rows - p.rows_reduced
			ELSE (SELECT sum(c.estimated_documents) FROM docstore.collections c WHERE c.name = ANY (i.collections)) - p.documents END / p.rate))
		END AS estimated_end,          -- of scanning, then of reducing
	b.changes AS changes_behind,       -- when built; at most 10000 are counted
	clock_timestamp() - b.since AS time_behind,
	p.changes AS changes_indexed,      -- changed documents that were mapped since it is built ...
	p.changes_read,                    -- ... and those of them that were read for it: views that keep up with the same collections share
	p.rows,                            -- that the map returned
	CASE WHEN i.reduce IS NOT NULL THEN p.groups END AS groups,
	CASE WHEN i.reduce IS NOT NULL THEN p.reductions END AS reductions, -- blocks and levels that were computed so far
	(SELECT count(*) FROM docstore.view_error e WHERE e.storage_id = i.storage_id) AS errors, -- of documents and groups
	CASE WHEN pg_has_role(i.owner, 'USAGE') THEN
		(SELECT e.message FROM docstore.view_error e WHERE e.storage_id = i.storage_id ORDER BY e.noticed DESC LIMIT 1) END AS last_error,
	docstore.view_size(i.storage_id, i.results_id) AS estimated_bytes,
	p.updated,                         -- when the position was moved last
	CASE WHEN i.paused THEN 'docstore.pause_view' ELSE coalesce(p.reason, rp.reason) END AS reason, -- why it, or its replacement, is paused
	CASE WHEN rp.reason IS NOT NULL THEN 'paused' WHEN rp.built THEN 'ready' WHEN rp.built IS NOT NULL THEN 'building' END AS replacement,
	rp.documents AS replacement_documents_scanned
FROM docstore.view_index i JOIN docstore.view_progress p USING (storage_id)
	CROSS JOIN LATERAL docstore.view_behind(i.view) AS b
	LEFT JOIN (docstore.view_index r JOIN docstore.view_progress rp USING (storage_id)) ON r.view = i.view AND r.replacing
WHERE NOT i.replacing;
COMMENT ON VIEW docstore.view_status IS 'a row for each view: state, position, lag, progress, size, errors';
GRANT SELECT ON docstore.view_status TO PUBLIC;

-- replications

-- A replication is a JSON document: {"collections": [...], "tables": [{"table": ..., "key": ..., "select": ...}, ...]}.
-- Storing one begins it; deleting it ends it, and leaves the rows.
CREATE TABLE docstore.replications (
	name text COLLATE "C" PRIMARY KEY,
	definition json NOT NULL,
	owner regrole NOT NULL DEFAULT quote_ident(current_user)::regrole -- the tables are written with that role's rights
);
COMMENT ON TABLE docstore.replications IS 'definitions of SQL replications, as JSON documents; storing, changing and deleting one makes, replaces and ends the replication';
GRANT SELECT, INSERT, UPDATE, DELETE ON docstore.replications TO PUBLIC; -- the trigger checks who may do what
SELECT pg_catalog.pg_extension_config_dump('docstore.replications', '');

-- Where each is.  Written by the replicator, and by the functions below.
CREATE TABLE docstore.replication_state (
	replication text COLLATE "C" PRIMARY KEY,
	paused boolean NOT NULL,
	emptying boolean NOT NULL DEFAULT false,
	to_scan text[] NOT NULL,  -- collections whose documents are to be read; the first one
	next_id text COLLATE "C", -- behind this id
	scan_to bigint NOT NULL,  -- ... up to this etag, once the position is not before it
	documents bigint NOT NULL DEFAULT 0,
	source bigint NOT NULL DEFAULT 0, -- of a view: storage id of the rows that the tables are made of; 0: none yet
	source_database oid NOT NULL DEFAULT 0, -- ... and the database: a copy's view has others
	sqlstate text,
	reason text,
	updated timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
COMMENT ON TABLE docstore.replication_state IS 'where each replication is; written by the replicator';
CREATE TABLE docstore.replication_count (
	replication text COLLATE "C" REFERENCES docstore.replication_state ON DELETE CASCADE,
	target text COLLATE "C",
	written bigint NOT NULL,
	deleted bigint NOT NULL,
	PRIMARY KEY (replication, target)
) WITH (fillfactor = 50);
COMMENT ON TABLE docstore.replication_count IS 'rows that each replication wrote and deleted, by table';

-- Documents whose rows a table refuses.  Written by the replicator.
CREATE TABLE docstore.replication_error (
	replication text COLLATE "C" NOT NULL,
	collection text COLLATE "C" NOT NULL,
	id text COLLATE "C" NOT NULL,
	etag bigint NOT NULL,
	deleted boolean NOT NULL,
	target text,
	sqlstate text NOT NULL,
	message text NOT NULL,
	tries integer NOT NULL,
	next_try timestamptz NOT NULL,
	noticed timestamptz NOT NULL DEFAULT clock_timestamp(),
	PRIMARY KEY (replication, collection, id)
);
COMMENT ON TABLE docstore.replication_error IS 'documents whose rows a table refused; written by the replicator';
CREATE INDEX replication_error_next_try_idx ON docstore.replication_error (replication, next_try);
-- Messages may quote documents: they are for the replication's owner.
CREATE VIEW docstore.replication_errors WITH (security_barrier) AS
SELECT e.replication, e.collection, e.id, e.etag, e.deleted, e.target AS "table", e.sqlstate, e.message, e.tries, e.next_try, e.noticed
FROM docstore.replication_error e JOIN docstore.replications r ON r.name = e.replication WHERE pg_has_role(r.owner, 'USAGE');
COMMENT ON VIEW docstore.replication_errors IS 'documents whose rows a table refused, with the reason and the next try; of replications of your own';
GRANT SELECT ON docstore.replication_errors TO PUBLIC;

CREATE FUNCTION docstore.replication_trigger() RETURNS trigger
AS 'MODULE_PATHNAME', 'docstore_replication_trigger' LANGUAGE C;
COMMENT ON FUNCTION docstore.replication_trigger() IS 'internal: changes of definitions of replications';
REVOKE ALL ON FUNCTION docstore.replication_trigger() FROM PUBLIC;
CREATE TRIGGER replication_changed AFTER INSERT OR UPDATE OR DELETE ON docstore.replications
FOR EACH ROW EXECUTE FUNCTION docstore.replication_trigger();
CREATE TRIGGER replication_truncated BEFORE TRUNCATE ON docstore.replications
FOR EACH STATEMENT EXECUTE FUNCTION docstore.replication_trigger();

CREATE FUNCTION docstore.create_replication(name text, collections text[], tables json, on_error text DEFAULT 'skip') RETURNS void
LANGUAGE sql BEGIN ATOMIC
	INSERT INTO docstore.replications (name, definition)
	VALUES ($1, json_build_object('collections', $2, 'tables', $3, 'on_error', $4));
END;
COMMENT ON FUNCTION docstore.create_replication(text, text[], json, text) IS 'keeps tables in step with the documents of collections';

CREATE FUNCTION docstore.create_view_replication(name text, "view" text, tables json, on_error text DEFAULT 'skip') RETURNS void
LANGUAGE sql BEGIN ATOMIC
	INSERT INTO docstore.replications (name, definition)
	VALUES ($1, json_build_object('view', $2, 'tables', $3, 'on_error', $4));
END;
COMMENT ON FUNCTION docstore.create_view_replication(text, text, json, text) IS 'keeps tables in step with the rows of a view';

CREATE FUNCTION docstore.replace_replication(name text, collections text[], tables json, on_error text DEFAULT 'skip') RETURNS void
AS 'MODULE_PATHNAME', 'docstore_replace_replication' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.replace_replication(text, text[], json, text) IS 'gives a replication another definition, from the next change on; the position stays, collections that come to it are read whole, rows of those that leave it are deleted';

CREATE FUNCTION docstore.drop_replication(name text, remove_rows boolean DEFAULT false) RETURNS void
AS 'MODULE_PATHNAME', 'docstore_drop_replication' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.drop_replication(text, boolean) IS 'ends a replication, and leaves its rows or removes them';

CREATE FUNCTION docstore.set_replication_paused(name text, paused boolean) RETURNS void
AS 'MODULE_PATHNAME', 'docstore_pause_replication' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.set_replication_paused(text, boolean) IS 'pauses or resumes a replication';
CREATE FUNCTION docstore.pause_replication(name text) RETURNS void
LANGUAGE sql STRICT BEGIN ATOMIC SELECT docstore.set_replication_paused($1, true); END;
COMMENT ON FUNCTION docstore.pause_replication(text) IS 'leaves the tables of a replication as they are until it is resumed; its changes are kept meanwhile';
CREATE FUNCTION docstore.resume_replication(name text) RETURNS void
LANGUAGE sql STRICT BEGIN ATOMIC SELECT docstore.set_replication_paused($1, false); END;
COMMENT ON FUNCTION docstore.resume_replication(text) IS 'lets a paused replication go on';

CREATE FUNCTION docstore.reset_replication(name text, remove_rows boolean DEFAULT true) RETURNS void
AS 'MODULE_PATHNAME', 'docstore_reset_replication' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.reset_replication(text, boolean) IS 'replicates all documents anew, after taking all rows of its tables away, or not';

CREATE FUNCTION docstore.retry_replication(name text, id text DEFAULT NULL) RETURNS bigint
AS 'MODULE_PATHNAME', 'docstore_retry_replication' LANGUAGE C;
COMMENT ON FUNCTION docstore.retry_replication(text, text) IS 'tries documents that failed again now; returns how many';

CREATE FUNCTION docstore.wait_for_replication(name text, timeout interval DEFAULT '1 min') RETURNS void
AS 'MODULE_PATHNAME', 'docstore_wait_for_replication' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.wait_for_replication(text, interval) IS 'waits until everything that was committed before the call is in the tables, or listed as failed';

CREATE FUNCTION docstore.preview_replication(definition json, id text)
RETURNS TABLE ("table" text, change text, "row" jsonb, error text)
AS 'MODULE_PATHNAME', 'docstore_preview_replication' LANGUAGE C STRICT;
COMMENT ON FUNCTION docstore.preview_replication(json, text) IS 'rows that each table would lose and gain for a document under a definition, or why not; changes nothing';

CREATE VIEW docstore.replication_status AS
SELECT r.name, r.owner,
	CASE WHEN s.paused THEN 'paused' WHEN s.reason IS NOT NULL THEN 'stopped'
		WHEN s.emptying OR s.to_scan <> '{}' THEN 'starting' ELSE 'following' END AS state,
	c.position,                        -- every change up to this etag is in the tables, or failed
	s.documents AS documents_scanned,  -- while starting
	n.changes_behind, n.time_behind, n.etags_per_second, -- as docstore.consumers has them
	(SELECT count(*) FROM docstore.replication_error e WHERE e.replication = r.name) AS errors,
	(SELECT json_object_agg(n.target, json_build_object('written', n.written, 'deleted', n.deleted) ORDER BY n.target)
		FROM docstore.replication_count n WHERE n.replication = r.name) AS rows,
	s.updated,                         -- when the position was moved last
	s.sqlstate, s.reason               -- why it is stopped
FROM docstore.replications r JOIN docstore.replication_state s ON s.replication = r.name
JOIN docstore.consumer c ON c.kind = 'r' AND c.name = r.name
JOIN docstore.consumers n ON n.kind = 'replication' AND n.name = r.name;
COMMENT ON VIEW docstore.replication_status IS 'a row for each replication: state, position, lag, rows written and deleted, errors';
GRANT SELECT ON docstore.replication_status TO PUBLIC;

-- status and maintenance

CREATE FUNCTION docstore.store_status(
	OUT state text,                -- recovering, running, failed
	OUT compactor_pid integer,
	OUT files integer,
	OUT bytes bigint,              -- of tables on disk
	OUT entries bigint,            -- versions in tables
	OUT last_sequence bigint,      -- highest etag given out
	OUT memtable_used bigint,      -- bytes in the memtable that takes writes
	OUT memtable_size bigint,      -- bytes
	OUT memtables_waiting integer, -- to be flushed
	OUT compaction_debt bigint,    -- bytes that levels hold above their targets
	OUT flushes bigint,
	OUT compactions bigint,
	OUT bytes_flushed bigint,
	OUT bytes_compacted bigint,
	OUT write_stalls bigint,       -- writers that waited for room
	OUT write_stall_ms double precision,
	OUT cache_hits bigint,
	OUT cache_misses bigint,
	OUT redo_lsn pg_lsn,           -- WAL position from which the memtables would be rebuilt
	OUT wal_retained bigint,       -- bytes of WAL behind it
	OUT xids_retained bigint,      -- transaction ids whose outcome the store may still look up
	OUT last_error text,           -- of background work
	OUT last_error_file text
) AS 'MODULE_PATHNAME', 'docstore_status' LANGUAGE C;
COMMENT ON FUNCTION docstore.store_status() IS 'what docstore.status shows';
CREATE VIEW docstore.status AS SELECT * FROM docstore.store_status();
COMMENT ON VIEW docstore.status IS 'one row about the store, which all databases share: sizes, memtables, compaction, stalls, WAL and transaction ids retained, last error';
GRANT SELECT ON docstore.status TO PUBLIC;

CREATE FUNCTION docstore.store_levels(OUT level integer, OUT files integer, OUT bytes bigint, OUT entries bigint)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'docstore_levels' LANGUAGE C;
COMMENT ON FUNCTION docstore.store_levels() IS 'what docstore.levels shows';
CREATE VIEW docstore.levels AS SELECT * FROM docstore.store_levels();
COMMENT ON VIEW docstore.levels IS 'a row for each level of the store';
GRANT SELECT ON docstore.levels TO PUBLIC;

CREATE FUNCTION docstore.store_compactions(
	OUT pid integer,
	OUT level integer,
	OUT output_level integer,
	OUT files integer,             -- that it reads
	OUT bytes bigint,              -- of those
	OUT running_ms double precision,
	OUT done double precision      -- from 0 to 1, an estimate
) RETURNS SETOF record AS 'MODULE_PATHNAME', 'docstore_compactions' LANGUAGE C;
COMMENT ON FUNCTION docstore.store_compactions() IS 'what docstore.compactions shows';
CREATE VIEW docstore.compactions AS SELECT * FROM docstore.store_compactions();
COMMENT ON VIEW docstore.compactions IS 'a row for each compaction that runs now, by which process, from which level into which';
GRANT SELECT ON docstore.compactions TO PUBLIC;

CREATE FUNCTION docstore.flush() RETURNS void AS 'MODULE_PATHNAME', 'docstore_flush' LANGUAGE C;
COMMENT ON FUNCTION docstore.flush() IS 'writes everything that is in memory into tables';
CREATE FUNCTION docstore.compact(collection text DEFAULT NULL) RETURNS void AS 'MODULE_PATHNAME', 'docstore_compact' LANGUAGE C;
COMMENT ON FUNCTION docstore.compact(text) IS 'flushes, then compacts a collection of this database, or the whole store';
CREATE FUNCTION docstore.verify(OUT file text, OUT "offset" bigint, OUT problem text)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'docstore_verify' LANGUAGE C;
COMMENT ON FUNCTION docstore.verify() IS 'reads every file of the store and returns a row for each damage';
CREATE FUNCTION docstore.repair(
	OUT tables bigint,          -- sound ones
	OUT damaged_tables bigint,  -- of which what could be read was written to new ones
	OUT lost_tables bigint,     -- of which nothing could be read, or missing
	OUT entries bigint,         -- in tables
	OUT rewritten boolean,      -- the order of the tables was lost with the manifest: all were merged
	OUT wal_position pg_lsn     -- from where WAL is read now
) RETURNS record AS 'MODULE_PATHNAME', 'docstore_repair' LANGUAGE C;
COMMENT ON FUNCTION docstore.repair() IS 'makes a store that does not come up usable again, from the files that are there';
REVOKE ALL ON FUNCTION docstore.flush(), docstore.compact(text), docstore.verify(), docstore.repair() FROM PUBLIC;
