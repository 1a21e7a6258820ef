// A plugin opened by the tests' own tiny host: dlopen, the entry function, and a host that keeps
// the text of the last refusal.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/sdk/plugin.h"

namespace rt::test {

// The host that plugins are given here. `text` is what fail() was last told.
const rt_host* test_host();
std::string& last_failure();

struct PluginFile {
  std::string path;
  const rt_plugin* plugin = nullptr;  // never unloaded
  std::string why;                    // if plugin is NULL
  bool emulated = false;              // for a GPU whose memory is the host's
};
PluginFile open_plugin(const std::string& path);

// All *.rtp.so of the build's plugin folder (where that is not: of lib/runtime/plugins beside the
// program's folder), sorted, then the CUDA plugins that are built for the emulation
// (tests/cuda_emulation, or the folder $RT_TEST_CUDA_PLUGINS), then $RT_TEST_PLUGIN (a file) if it
// is set.
const std::vector<PluginFile>& plugin_files();

// By operator name, from any of the files, or NULL.
const rt_schema* find_schema(std::string_view op);
const rt_implementation* find_reference(std::string_view op);

// Described by cpu.rtp.so; its ISA decides which implementations can run here.
const rt_device_desc& cpu_device();
// True if every word of `isa` stands in cpu_device().isa.
bool machine_has(std::string_view isa);

}  // namespace rt::test
