/*
 * pin.c - role and settings for a view's SQL (pin.h).
 *
 * Functions that are STABLE only because they read one of these settings give
 * the same result for a document at any time; that is why a map may use them.
 */
#include "postgres.h"

#include "view/pin.h"

#include "miscadmin.h"
#include "utils/guc.h"

static const char *const settings[][2] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"DateStyle", "ISO, YMD"},
	{"IntervalStyle", "postgres"},
	{"TimeZone", "UTC"},
	{"timezone_abbreviations", "Default"},
	{"bytea_output", "hex"},
	{"extra_float_digits", "1"},
	{"lc_monetary", "C"},
	{"lc_numeric", "C"},
	{"lc_time", "C"},
	{"default_text_search_config", "pg_catalog.simple"},
	{"standard_conforming_strings", "on"},
	{"backslash_quote", "safe_encoding"},
	{"transform_null_equals", "off"},
	{"array_nulls", "on"},
	{"xmlbinary", "base64"},
	{"xmloption", "content"},
	{"quote_all_identifiers", "off"},
	/* results do not depend on it, but it would compile a plan for a handful of documents */
	{"jit", "off"},
};

/* Those that have the value already are left: to set some of them, files are read. */
static bool
has_value(const char *name, const char *value)
{
	const char *now = GetConfigOption(name, false, false);

	return now != NULL && strcmp(now, value) == 0;
}

void
view_pin_process(void)
{
	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_OVERRIDE);
}

void
view_pin(ViewPin *pin, Oid role)
{
	GetUserIdAndSecContext(&pin->user, &pin->security);
	pin->nest_level = NewGUCNestLevel();
	for (int i = 0; i < lengthof(settings); i++)
		if (!has_value(settings[i][0], settings[i][1]))
			(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
									 false);
	SetUserIdAndSecContext(role, pin->security | SECURITY_RESTRICTED_OPERATION | SECURITY_LOCAL_USERID_CHANGE);
}

void
view_unpin(const ViewPin *pin)
{
	AtEOXact_GUC(false, pin->nest_level);
	SetUserIdAndSecContext(pin->user, pin->security);
}
