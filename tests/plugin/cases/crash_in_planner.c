#define CASE_NAME "crash_in_planner"
static int* volatile nowhere;
#define CASE_PLAN *nowhere = 1;
#include "planner.h"
