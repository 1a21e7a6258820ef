// Reserved addresses of one GPU, and the memory behind them: one handle of the driver per granule,
// so that any range of granules can be given back. Handles come from ready_memory.h.
#pragma once

#include <cstdint>
#include <set>

#include "plugins/cuda/driver.h"
#include "plugins/cuda/ready_memory.h"

namespace rt::cuda {

class AddressSpace {
 public:
  AddressSpace(std::uint32_t device, std::uint64_t granule_bytes)
      : device_(device), granule_bytes_(granule_bytes), ready_(device, granule_bytes) {}

  void* reserve(std::uint64_t bytes);
  void unreserve(void* base, std::uint64_t bytes);

  // All of it or, with the refusal, nothing.
  void commit(void* address, std::uint64_t bytes);
  void decommit(void* address, std::uint64_t bytes);

  // Of rt_device.
  void make_ready(std::uint64_t bytes) { ready_.keep(bytes / granule_bytes_); }

 private:
  void back(CUdeviceptr address);

  const std::uint32_t device_;
  const std::uint64_t granule_bytes_;
  ReadyMemory ready_;
  std::set<CUdeviceptr> mapped_;  // granules
};

}  // namespace rt::cuda
