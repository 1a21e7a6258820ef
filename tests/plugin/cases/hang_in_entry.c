#define CASE_NAME "hang_in_entry"
static volatile int forever = 1;
#define CASE_ENTRY  \
  while (forever) { \
  }                 \
  return &plugin;
#include "planner.h"
