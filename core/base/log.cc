#include "core/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace rt {
namespace {

spdlog::level::level_enum spdlog_level(rt_log_level level) {
  switch (level) {
    case RT_LOG_DEBUG:
      return spdlog::level::debug;
    case RT_LOG_INFO:
      return spdlog::level::info;
    case RT_LOG_WARN:
      return spdlog::level::warn;
    default:
      return spdlog::level::err;
  }
}

}  // namespace

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

void log(rt_log_level level, std::string_view message) {
  spdlog::log(spdlog_level(level), spdlog::string_view_t(message.data(), message.size()));
}

}  // namespace rt
