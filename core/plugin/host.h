// The host's side of the boundary: the rt_host object that a plugin is given, and the one way to
// call into a plugin.
//
//   call_plugin({"rms_norm_cpu/avx2", "create", node.name}, [&] {
//     return impl.c->create(impl.host, &node, &self); });
//
// A refusal becomes an rt::Error that names plugin, implementation, node and function; a plugin
// that refuses without text gets a sentence of ours; an exception that leaves a plugin against the
// rules is stopped here, and a crash is told by name (call_site.h). Success allocates nothing and
// costs a few stores.
#pragma once

#include <string>
#include <string_view>

#include "core/base/call_site.h"
#include "core/base/result.h"
#include "core/sdk/abi.h"

namespace rt {

inline constexpr std::size_t kFailTextLimitBytes = 2048;

// One per loaded plugin; lives as long as the process, like the plugin.
class PluginHost {
 public:
  explicit PluginHost(std::string plugin);
  PluginHost(const PluginHost&) = delete;
  PluginHost& operator=(const PluginHost&) = delete;

  const rt_host* c() const { return &api_; }
  const std::string& plugin() const { return plugin_; }

 private:
  rt_host api_;  // first, so that the pointer a plugin hands back finds this object
  std::string plugin_;
};

// The last text given to host->fail on this thread, cut at kFailTextLimitBytes; "" after clear.
std::string_view last_fail_text();
void clear_fail_text();
// Returns the text and clears it: what core/memory asks for after a refusal.
std::string take_fail_text();

// "RT_UNSUPPORTED", or "status 13, which does not exist".
std::string status_text(rt_status status);

// Turns a status and the last text into an Error. RT_NO_MEMORY is the environment's fault,
// RT_INVALID and RT_UNSUPPORTED the input's, everything else internal.
Status plugin_status(const CallSite& site, rt_status status);

// The Error for a function of a plugin that let an exception out; call inside catch.
Error plugin_threw(const CallSite& site);

template <class Function>
Status call_plugin(const CallSite& site, Function&& function) {
  clear_fail_text();
  const RunningCall running(site);
  rt_status status = RT_OK;
  try {
    status = function();
  } catch (...) {
    return plugin_threw(site);
  }
  if (status == RT_OK) [[likely]] {
    return {};
  }
  return plugin_status(site, status);
}

}  // namespace rt
