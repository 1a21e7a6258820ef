/* Claims the name of a fused operator that is the runtime's to give. */
#define CASE_NAME "bare_fusion"
#define CASE_MORE_MANIFEST "fusion: norm_add@1 norm@1\n"
#include "planner.h"
