#define CASE_NAME "hang_in_planner"
static volatile int forever = 1;
#define CASE_PLAN   \
  while (forever) { \
  }
#include "planner.h"
