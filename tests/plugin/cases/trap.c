/* Nothing in the manifest warns of it, so the trial run in a child has to find it. */
#define CASE_NAME "trap"
#include "trap.h"
#include "planner.h"
