#define CASE_NAME "silent_in_planner"
#define CASE_PLAN return 13;
#include "planner.h"
