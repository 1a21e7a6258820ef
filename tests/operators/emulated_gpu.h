// The emulated GPU (tests/cuda_emulation) through its device plugin: one stream. Its kernels read
// any address of the host, so operators are given the guarded memory of the other tests.
#pragma once

#include "core/sdk/device.h"

namespace rt::test {

class EmulatedGpu {
 public:
  // Opened at the first use, for good. Aborts the test program if it cannot be opened.
  static EmulatedGpu& one();

  const rt_exec& exec() const { return exec_; }
  rt_status synchronize();

 private:
  EmulatedGpu();

  const rt_device* api_ = nullptr;
  void* device_ = nullptr;
  rt_exec exec_{};
};

}  // namespace rt::test
