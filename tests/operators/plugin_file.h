// The plugins of this build, opened for tests without the runtime's loader: dlopen and the entry
// function. All of them are opened, and their contracts learnt, before the first test runs.
#pragma once

#include <string>
#include <vector>

#include "core/sdk/plugin.h"
#include "tools/conformance/accelerator.h"
#include "tools/conformance/contract.h"
#include "tools/conformance/trial_host.h"

namespace rt::test {

using namespace conformance;

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

// The GPU for which the implementations in `file` are, emulated or real, opened at the first use,
// for good. NULL where there is none; `why` says so.
conformance::Accelerator* gpu_of(const PluginFile& file, std::string* why);

}  // namespace rt::test
