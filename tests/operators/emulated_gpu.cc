#include "tests/operators/emulated_gpu.h"

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "tests/operators/plugin_file.h"

namespace rt::test {

EmulatedGpu& EmulatedGpu::one() {
  static EmulatedGpu gpu;
  return gpu;
}

EmulatedGpu::EmulatedGpu() {
  for (const PluginFile& file : plugin_files()) {
    if (file.emulated && file.plugin != nullptr && file.plugin->device_count > 0) {
      api_ = file.plugin->devices[0];
    }
  }
  void* stream = nullptr;
  if (api_ == nullptr || api_->open(test_host(), 0, 0, nullptr, &device_) != RT_OK ||
      api_->stream_create(device_, &stream) != RT_OK) {
    std::fprintf(stderr, "the emulated GPU does not open: %s\n", last_failure().c_str());
    std::abort();
  }
  exec_ = {sizeof(rt_exec), 0, device_, stream, nullptr};
}

rt_status EmulatedGpu::synchronize() {
  return api_->synchronize(device_, exec_.stream);
}

}  // namespace rt::test
