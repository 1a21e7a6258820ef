/* Claims an operator name that is the runtime's to give. */
#define CASE_NAME "bare_schema"
#define CASE_MORE_MANIFEST "schema: rms_norm@1\n"
#include "planner.h"
