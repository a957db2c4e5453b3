/*
 * pass.c - changes that were read once, for several views (pass.h).
 */
#include "postgres.h"

#include "worker/pass.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

#include "fdw/document.h"

#define PASS_BYTES (8 * 1024 * 1024)

typedef struct Gone
{
	char key[17 + DOCSTORE_MAX_ID];
	int doc;
} Gone;

static ViewPass *last;

void
docstore_pass_forget(void)
{
	ViewPass *pass = last;

	last = NULL;
	if (pass != NULL)
		MemoryContextDelete(pass->context);
}

static bool
has_storage(const ViewPass *pass, uint64 storage)
{
	for (int i = 0; i < pass->nstorages; i++)
		if (pass->storages[i] == storage)
			return true;
	return false;
}

ViewPass *
docstore_pass_find(const uint64 *storages, int nstorages, uint64 position)
{
	if (last == NULL || position < last->from || position >= last->to)
		return NULL;
	for (int i = 0; i < nstorages; i++)
		if (!has_storage(last, storages[i]))
			return NULL;
	return last;
}

ViewPass *
docstore_pass_begin(const uint64 *storages, int nstorages, uint64 from, int max_docs, bool shared)
{
	MemoryContext context;
	MemoryContext old;
	ViewPass *pass;

	if (shared)
		docstore_pass_forget();
	context = AllocSetContextCreate(shared ? TopMemoryContext : CurrentMemoryContext, "docstore pass", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	pass = palloc0(sizeof(ViewPass));
	pass->context = context;
	pass->nstorages = nstorages;
	pass->storages = palloc(Max(nstorages, 1) * sizeof(uint64));
	memcpy(pass->storages, storages, nstorages * sizeof(uint64));
	pass->from = from;
	pass->max_docs = max_docs;
	MemoryContextSwitchTo(old);
	/* Until its end it covers nothing, but is not lost after an error. */
	if (shared)
		last = pass;
	return pass;
}

/* The document's deletion that the pass has; NULL if this is the first. */
static ViewDocument *
find_deletion(ViewPass *pass, int source, LsmSlice id)
{
	char key[sizeof(((Gone *) NULL)->key)];
	bool found;
	Gone *gone;

	if (pass->gone == NULL)
	{
		HASHCTL ctl = {0};

		ctl.keysize = sizeof(key);
		ctl.entrysize = sizeof(Gone);
		ctl.hcxt = pass->context;
		pass->gone = hash_create("deletions", 256, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	snprintf(key, sizeof(key), "%08x %.*s", source, (int) id.len, id.data);
	gone = hash_search(pass->gone, key, HASH_ENTER, &found);
	if (found)
		return &pass->docs[gone->doc];
	gone->doc = pass->ndocs;
	return NULL;
}

void
docstore_pass_add(ViewPass *pass, int source, LsmSlice id, uint64 etag, LsmSlice value)
{
	MemoryContext old = MemoryContextSwitchTo(pass->context);
	ViewDocument *doc = value.len == 0 ? find_deletion(pass, source, id) : NULL;

	if (doc != NULL)
	{
		/* A view that is between both must hear of the later one. */
		doc->etag = etag;
		MemoryContextSwitchTo(old);
		return;
	}
	if (pass->docs == NULL)
		pass->docs = palloc(pass->max_docs * sizeof(ViewDocument));
	doc = &pass->docs[pass->ndocs++];
	memset(doc, 0, sizeof(*doc));
	doc->storage = pass->storages[source];
	doc->id = cstring_to_text_with_len(id.data, (int) id.len);
	doc->etag = etag;
	if (value.len > 0)
	{
		LsmSlice body;

		document_decode(value, &doc->modified, &body);
		doc->doc = palloc(VARHDRSZ + body.len);
		SET_VARSIZE(doc->doc, VARHDRSZ + body.len);
		memcpy(VARDATA(doc->doc), body.data, body.len);
	}
	pass->bytes += sizeof(ViewDocument) + id.len + value.len;
	MemoryContextSwitchTo(old);
}

bool
docstore_pass_is_full(const ViewPass *pass)
{
	return pass->ndocs >= pass->max_docs || pass->bytes >= PASS_BYTES;
}

void
docstore_pass_end(ViewPass *pass, uint64 to, bool more)
{
	pass->to = to;
	pass->more = more;
}
