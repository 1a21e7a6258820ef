// Breaks the rule that nothing is thrown across the boundary.
#include <stdexcept>

#include "core/sdk/plugin.h"

RT_MANIFEST(
    "plugin: throws\n"
    "version: 1.0\n"
    "abi: 0.1\n"
    "min_host: 0.1\n"
    "planner: roomy\n");

const rt_plugin* rt_plugin_entry_v1(const rt_host*, const char*) {
  throw std::runtime_error("licence server is asleep");
}
