// How core/memory learns why a plugin refused: it does not know the plugin layer, so whoever makes
// a plan or opens a device gives it take_fail_text (core/plugin/host.h).
#pragma once

#include <string>

namespace rt {

// Returns and clears the text of the last host->fail on this thread; "" if there was none.
using RefusalText = std::string (*)();

}  // namespace rt
