#pragma once

#include <string>

namespace rt {

// Returns and clears the text of a plugin's last host->fail: core/memory does not know the plugin
// layer, which gives it take_fail_text (core/plugin/host.h).
using RefusalText = std::string (*)();

}  // namespace rt
