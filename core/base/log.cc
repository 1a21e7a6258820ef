#include "core/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

namespace rt {

void start_log(Verbosity verbosity, bool color) {
  auto logger = spdlog::get("runtime");
  if (!logger) {
    logger = spdlog::stderr_color_mt(
        "runtime", color ? spdlog::color_mode::automatic : spdlog::color_mode::never);
  }
  logger->set_pattern("runtime: %^%l%$: %v");
  switch (verbosity) {
    case Verbosity::kQuiet:
      logger->set_level(spdlog::level::err);
      break;
    case Verbosity::kNormal:
      logger->set_level(spdlog::level::info);
      break;
    case Verbosity::kVerbose:
      logger->set_level(spdlog::level::debug);
      break;
  }
  spdlog::set_default_logger(logger);
}

}  // namespace rt
