#define CASE_NAME "refuse_in_planner"
#define CASE_PLAN return host->fail(host, RT_UNSUPPORTED, "expected one sequence, found 4");
#include "planner.h"
