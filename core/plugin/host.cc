#include "core/plugin/host.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>

#include "core/base/log.h"
#include "core/base/text.h"
#include "core/plugin/probe.h"

namespace rt {
namespace {

// Plain bytes: no constructor, no destructor, no allocation, so that fail() works on any thread at
// any time, in a plugin that has just run out of memory too.
struct FailText {
  std::size_t size;
  char bytes[kFailTextLimitBytes];
};
thread_local FailText fail_text;

rt_status fail(const rt_host*, rt_status code, const char* message) {
  fail_text.size = message == nullptr ? 0 : ::strnlen(message, kFailTextLimitBytes);
  for (std::size_t i = 0; i < fail_text.size; ++i) fail_text.bytes[i] = printable(message[i]);
  // RT_OK from a call of fail() is a slip of the plugin; the refusal must not become a success.
  return code == RT_OK ? rt_status{RT_INTERNAL} : code;
}

void log(const rt_host* host, rt_log_level level, const char* message) {
  if (message == nullptr || in_probe()) return;
  const std::string_view text(message, ::strnlen(message, kFailTextLimitBytes));
  const char* plugin =
      host == nullptr ? "plugin" : reinterpret_cast<const PluginHost*>(host)->plugin().c_str();
  try {
    rt::log(level, std::string(plugin) + ": " + printable(text));
  } catch (const std::exception&) {
    // A line of log is not worth the process, and nothing may be thrown into a plugin.
  }
}

// No abilities yet; plugins must live with NULL.
const void* extension(const rt_host*, const char*) {
  return nullptr;
}

}  // namespace

PluginHost::PluginHost(std::string plugin)
    : api_{sizeof(rt_host), RT_ABI_MAJOR, RT_ABI_MINOR, 0, fail, log, extension},
      plugin_(std::move(plugin)) {
  static_assert(offsetof(PluginHost, api_) == 0);
}

std::string_view last_fail_text() {
  return {fail_text.bytes, fail_text.size};
}
void clear_fail_text() {
  fail_text.size = 0;
}

std::string take_fail_text() {
  std::string text(last_fail_text());
  clear_fail_text();
  return text;
}

std::string status_text(rt_status status) {
  switch (status) {
    case RT_OK:
      return "RT_OK";
    case RT_INVALID:
      return "RT_INVALID";
    case RT_UNSUPPORTED:
      return "RT_UNSUPPORTED";
    case RT_NO_MEMORY:
      return "RT_NO_MEMORY";
    case RT_DEVICE_FAULT:
      return "RT_DEVICE_FAULT";
    case RT_INTERNAL:
      return "RT_INTERNAL";
    default:
      return "status " + std::to_string(status) + ", which does not exist,";
  }
}

Status plugin_status(const CallSite& site, rt_status status) {
  if (status == RT_OK) return {};
  const std::string text(last_fail_text());
  const std::string message =
      text.empty() ? site.text() + " returned " + status_text(status) + " without saying why"
                   : site.text() + ": " + text;
  switch (status) {
    case RT_INVALID:
    case RT_UNSUPPORTED:
      return bad_input(message);
    case RT_NO_MEMORY:
      return environment(message);
    default:
      return internal(message);
  }
}

Error plugin_threw(const CallSite& site) {
  const std::string begin = site.text() + " let an exception out, which no plugin may do";
  try {
    throw;
  } catch (const std::exception& failure) {
    return internal(begin + ": " + failure.what());
  } catch (...) {
    return internal(begin);
  }
}

}  // namespace rt
