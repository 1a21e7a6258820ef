/* A good planner in plain C. */
#define CASE_NAME "roomy"
#include "planner.h"
