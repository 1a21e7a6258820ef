#define CASE_NAME "small_struct"
#define CASE_STRUCT_SIZE 16
#include "planner.h"
