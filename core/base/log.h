// The log, on stderr (answers go to stdout). spdlog writes it; only log.cc knows, because its
// headers take longer to compile than most of this project's files. Plugins reach the log through
// the host.
#pragma once

#include <string_view>

#include "core/sdk/abi.h"

namespace rt {

enum class Verbosity { kQuiet, kNormal, kVerbose };  // errors only; notes too (info); debug too

// Installs the stderr logger. Called once by a program's main and by tests.
// color: false for --no-color and NO_COLOR; a stderr that is no terminal has none anyway.
void start_log(Verbosity verbosity, bool color = true);

// Any thread.
void log(rt_log_level level, std::string_view message);
inline void log_debug(std::string_view message) {
  log(RT_LOG_DEBUG, message);
}
inline void log_info(std::string_view message) {
  log(RT_LOG_INFO, message);
}
inline void log_warning(std::string_view message) {
  log(RT_LOG_WARN, message);
}

}  // namespace rt
