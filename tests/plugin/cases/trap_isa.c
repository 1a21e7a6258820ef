/* For a processor that nobody has: never opened, so its start-up code never runs. */
#define CASE_NAME "trap_isa"
#define CASE_MORE_MANIFEST "implementation: acme.scale@1 cpu trap avx9000\n"
#include "planner.h"
#include "trap.h"
