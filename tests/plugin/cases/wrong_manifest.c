/* Announces a device that it does not have. */
#define CASE_NAME "wrong_manifest"
#define CASE_MORE_MANIFEST "device: toy\n"
#include "planner.h"
