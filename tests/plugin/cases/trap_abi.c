/* For another ABI: refused by its manifest, so its start-up code never runs. */
#define CASE_NAME "trap_abi"
#define CASE_ABI "9.0"
#define CASE_MIN_HOST "9.0"
#define CASE_MORE_MANIFEST "a line: of another grammar\n"
#include "planner.h"
#include "trap.h"
