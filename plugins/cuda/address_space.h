// Reserved addresses of one GPU, and the memory behind them: one handle of the driver per granule,
// so that any range of granules can be given back.
#pragma once

#include <cstdint>

#include "plugins/cuda/driver.h"

namespace rt::cuda {

class AddressSpace {
 public:
  AddressSpace(std::uint32_t device, std::uint64_t granule_bytes)
      : device_(device), granule_bytes_(granule_bytes) {}

  void* reserve(std::uint64_t bytes);
  void unreserve(void* base, std::uint64_t bytes);

  // All of it or, with the refusal, nothing.
  void commit(void* address, std::uint64_t bytes);
  void decommit(void* address, std::uint64_t bytes);

 private:
  CUresult back(CUdeviceptr address);

  const std::uint32_t device_;
  const std::uint64_t granule_bytes_;
};

}  // namespace rt::cuda
