// A plugin library that is loaded, entered, checked, and never unloaded.
//
// Loading: Boost.DLL with every symbol resolved at once and nothing shared (rtld_now, rtld_local).
// Unloading is never done: a static object of a template (STB_GNU_UNIQUE) or a live thread_local
// keeps the library anyway, and a string or exception of it may still be in use.
//
// Versions: the majors of plugin and host must be equal, and the plugin's min_host_minor must not
// be above the host's minor. While the major is 0 the same rule holds; a change of 0.x that breaks
// older plugins would raise the major. What minor a plugin was built with does not matter by
// itself.
//
// A stranger's library is first loaded and entered in a child process with a time limit (probe.h),
// so that a constructor that traps or hangs costs one sentence and not the process.
#pragma once

#include <string>

#include "core/base/result.h"
#include "core/plugin/discovery.h"
#include "core/plugin/host.h"
#include "core/plugin/manifest.h"
#include "core/sdk/plugin.h"

namespace rt {

// Whether a library is tried in a child process before it is loaded for good.
enum class Trial { kSkip, kInChild };

class Library {
 public:
  // Loads the library at `path` (absolute) and calls its entry function, once per process: a second
  // call returns the same Library or the same refusal. `manifest` is what was read from the file
  // when its identity was `identity`; the descriptor must say the same.
  static Result<const Library*> open(const std::string& path, const FileIdentity& identity,
                                     const Manifest& manifest, Trial trial);

  const std::string& name() const { return host_.plugin(); }
  const std::string& path() const { return path_; }
  const rt_plugin& descriptor() const { return *descriptor_; }
  const rt_host* host() const { return host_.c(); }

  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

 private:
  Library(std::string plugin, std::string path)
      : host_(std::move(plugin)), path_(std::move(path)) {}
  static Result<const Library*> load(const std::string& path, const Manifest& manifest);
  static Status try_in_child(const std::string& path, const Manifest& manifest);
  Status enter(const Manifest& manifest);

  PluginHost host_;
  std::string path_;
  const rt_plugin* descriptor_ = nullptr;
};

// What is wrong with the text of dlerror() for `path`: file missing, dependency missing (named),
// undefined symbol (named), or the loader's own words. Made public for its test.
std::string explain_load_failure(const std::string& path, std::string_view loader_text);

}  // namespace rt
