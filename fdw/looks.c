/*
 * looks.c - finds functions that may look for rows which the same INSERT has written (looks.h).
 *
 * A volatile function sees what the statement that calls it has done so far.  Of PostgreSQL's own functions
 * those that are volatile read clocks, random numbers or sequences, and INSERTs are full of them; so only others count.  A
 * function in FROM runs once, before the first row, unless it takes columns of others.
 */
#include "postgres.h"

#include "fdw/looks.h"

#include "access/transam.h"
#include "catalog/pg_proc.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"

static bool
function_looks(Oid function, void *context)
{
	return function >= FirstNormalObjectId && func_volatile(function) == PROVOLATILE_VOLATILE;
}

static bool
expression_looks(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return check_functions_in_node(node, function_looks, context) || expression_tree_walker(node, expression_looks, context);
}

static bool
plan_looks(PlanState *state, void *context)
{
	Plan *plan = state->plan;
	Node *more = NULL; /* what the node computes beside its columns and conditions */

	switch (nodeTag(plan))
	{
		case T_Result:
			more = ((Result *) plan)->resconstantqual;
			break;
		case T_ValuesScan:
			more = (Node *) ((ValuesScan *) plan)->values_lists;
			break;
		case T_FunctionScan:
			more = bms_is_empty(plan->allParam) ? NULL : (Node *) ((FunctionScan *) plan)->functions;
			break;
		case T_NestLoop:
		case T_MergeJoin:
		case T_HashJoin:
			more = (Node *) ((Join *) plan)->joinqual;
			break;
		default:
			break;
	}
	return expression_looks((Node *) plan->targetlist, context) || expression_looks((Node *) plan->qual, context) ||
		   expression_looks(more, context) || planstate_tree_walker(state, plan_looks, context);
}

bool
docstore_insert_looks(ModifyTableState *mtstate)
{
	PlanState *subplan = outerPlanState(mtstate);
	ListCell *lc;

	/* Subqueries and WITH: of the whole statement, for whose they are is not known yet. */
	foreach (lc, mtstate->ps.state->es_subplanstates)
		if (lfirst(lc) != NULL && plan_looks(lfirst(lc), NULL))
			return true;
	return subplan != NULL && plan_looks(subplan, NULL);
}
