/*
 * log_format.h - the fragment types that log writer and reader share (grammar: log_writer.c).
 */
#ifndef LSM_LOG_FORMAT_H
#define LSM_LOG_FORMAT_H

enum
{
	LSM_LOG_ZERO = 0, /* preallocated, never written */
	LSM_LOG_FULL = 1,
	LSM_LOG_FIRST = 2,
	LSM_LOG_MIDDLE = 3,
	LSM_LOG_LAST = 4
};

#endif
