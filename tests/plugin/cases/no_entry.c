/* A manifest and nothing else. */
#include "core/sdk/plugin.h"
RT_MANIFEST(
    "plugin: no_entry\n"
    "version: 1.0\n"
    "abi: 0.1\n"
    "min_host: 0.1\n"
    "planner: roomy\n");
