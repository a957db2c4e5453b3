/*
 * moment.h - literals that mean another date or time whenever they are read.
 */
#ifndef DOCSTORE_VIEW_MOMENT_H
#define DOCSTORE_VIEW_MOMENT_H

#include "nodes/parsenodes.h"

/* Has the parser made dates or times of this moment out of the statement's literal, as of 'now' or '[today,)'? */
extern bool view_names_a_moment(const RawStmt *raw, const Const *constant);

#endif
