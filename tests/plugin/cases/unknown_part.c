/* A fused operator of an operator that nobody defines. */
#define CASE_NAME "unknown_part"
#define CASE_MORE_MANIFEST "fusion: unknown_part.twice@1 nrom@1\n"
#include "planner.h"
