#include "tools/conformance/trial_host.h"

#include <cstdio>

namespace rt::conformance {
namespace {

rt_status fail(const rt_host*, rt_status code, const char* message) {
  last_failure() = message == nullptr ? "" : message;
  return code;
}

void log(const rt_host*, rt_log_level, const char* message) {
  std::fprintf(stderr, "plugin: %s\n", message);
}

const void* extension(const rt_host*, const char*) {
  return nullptr;
}

constexpr rt_host kHost = {.struct_size = sizeof(rt_host),
                           .abi_major = RT_ABI_MAJOR,
                           .abi_minor = RT_ABI_MINOR,
                           .reserved = 0,
                           .fail = fail,
                           .log = log,
                           .extension = extension};

}  // namespace

std::string& last_failure() {
  static std::string text;
  return text;
}

const rt_host* trial_host() {
  return &kHost;
}

}  // namespace rt::conformance
