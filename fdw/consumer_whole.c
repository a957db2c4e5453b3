/*
 * consumer_whole.c - consumers with all that belongs to them: views and replications are more than a registration (consumer.h).
 */
#include "postgres.h"

#include "fdw/consumer.h"

const char *
docstore_consumer_kind_name(DocConsumerKind kind)
{
	switch (kind)
	{
		case DOC_CONSUMER_NAMED:
			return "consumer";
		case DOC_CONSUMER_VIEW:
		case DOC_CONSUMER_NEXT_VIEW:
			return "view";
		case DOC_CONSUMER_REPLICATION:
			break;
	}
	return "replication";
}

typedef struct Whole
{
	void (*drop)(const char *name);
	void (*give)(const char *name, Oid owner);
} Whole;

static Whole view_functions;
static Whole replication_functions;

/* NULL: there is no more to it. */
static Whole *
whole(DocConsumerKind kind)
{
	switch (kind)
	{
		case DOC_CONSUMER_VIEW:
		case DOC_CONSUMER_NEXT_VIEW:
			return &view_functions;
		case DOC_CONSUMER_REPLICATION:
			return &replication_functions;
		case DOC_CONSUMER_NAMED:
			break;
	}
	return NULL;
}

void
docstore_consumer_set_functions(DocConsumerKind kind, void (*drop)(const char *name), void (*give)(const char *name, Oid owner))
{
	whole(kind)->drop = drop;
	whole(kind)->give = give;
}

void
docstore_consumer_drop_whole(DocConsumerKind kind, const char *name)
{
	if (whole(kind) != NULL)
		whole(kind)->drop(name);
	else
		(void) docstore_consumer_drop(kind, name);
}

void
docstore_consumer_drop_cascade(DocConsumerKind kind, const char *name)
{
	ListCell *lc;

	if (kind == DOC_CONSUMER_VIEW)
		foreach (lc, docstore_consumers_of_view(name))
			docstore_consumer_drop_whole(((DocConsumer *) lfirst(lc))->kind, ((DocConsumer *) lfirst(lc))->name);
	docstore_consumer_drop_whole(kind, name);
}

void
docstore_consumer_give_whole(DocConsumerKind kind, const char *name, Oid owner)
{
	if (whole(kind) != NULL)
		whole(kind)->give(name, owner);
	else
		docstore_consumer_set_owner(kind, name, owner);
}
