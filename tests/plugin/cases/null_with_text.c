#define CASE_NAME "null_with_text"
#define CASE_ENTRY                                                       \
  host->fail(host, RT_UNSUPPORTED, "expected a licence file beside me"); \
  return NULL;
#include "planner.h"
