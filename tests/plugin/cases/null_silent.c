#define CASE_NAME "null_silent"
#define CASE_MORE_MANIFEST "implementation: blend@1 cpu never -\n"
#define CASE_ENTRY return NULL;
#include "planner.h"
