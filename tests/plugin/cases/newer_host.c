#define CASE_NAME "newer_host"
#define CASE_ABI "0.7"
#define CASE_MIN_HOST "0.6"
#include "planner.h"
