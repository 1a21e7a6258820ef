// The log: spdlog on stderr (answers go to stdout). One logger named "runtime"; plugins reach it
// through the host. Levels as spdlog's: -v shows debug, -q only errors.
#pragma once

#include <spdlog/spdlog.h>

namespace rt {

enum class Verbosity { kQuiet, kNormal, kVerbose };

// Installs the stderr logger as spdlog's default. Called once by a program's main and by tests.
// color: false for --no-color and NO_COLOR; a stderr that is no terminal has none anyway.
void start_log(Verbosity verbosity, bool color = true);

}  // namespace rt
