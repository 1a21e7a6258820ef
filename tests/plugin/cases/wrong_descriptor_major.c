#define CASE_NAME "wrong_descriptor_major"
#define CASE_ABI_MAJOR 3
#include "planner.h"
