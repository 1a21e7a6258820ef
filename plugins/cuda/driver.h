// What is known about this machine's GPUs before one is opened, and the driver's functions that the
// runtime API has no name for.
//
// The runtime (cudart) is linked statically and looks for the driver when it is first called, so a
// build with CUDA starts on a machine without one; what it finds missing is said in a sentence
// here.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "core/sdk/sdk.hpp"

namespace rt::cuda {

// Throws sdk::Refusal (RT_UNSUPPORTED) unless there is a driver of CUDA 13 and at least one GPU.
std::uint32_t device_count();

// Compute capability 8.0 (A100) is the oldest that the kernels are compiled for.
constexpr int kOldestMajor = 8;

struct Gpu {
  char name[256];
  std::uint64_t total_bytes;
  std::uint64_t available_bytes;  // less what a context takes, if this process has none yet
  std::uint64_t granule_bytes;
  bool can_reserve;  // has virtual memory; some virtual GPUs have not
};

// Throws unless device `index` exists and is young enough. Opens no context.
Gpu describe_gpu(std::uint32_t index);

// Throws sdk::Refusal if a call failed: RT_NO_MEMORY, RT_INTERNAL for a call that was wrong, and
// RT_DEVICE_FAULT for all that a context does not survive.
void expect(cudaError_t error, const char* what);

// Virtual memory, CUDA 10.2 and later.
struct VirtualMemory {
  CUresult (*reserve)(CUdeviceptr*, size_t, size_t, CUdeviceptr, unsigned long long);
  CUresult (*unreserve)(CUdeviceptr, size_t);
  CUresult (*create)(CUmemGenericAllocationHandle*, size_t, const CUmemAllocationProp*,
                     unsigned long long);
  CUresult (*release)(CUmemGenericAllocationHandle);
  CUresult (*map)(CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long);
  CUresult (*unmap)(CUdeviceptr, size_t);
  CUresult (*set_access)(CUdeviceptr, size_t, const CUmemAccessDesc*, size_t);
  CUresult (*granularity)(size_t*, const CUmemAllocationProp*, CUmemAllocationGranularity_flags);
  CUresult (*device)(CUdevice*, int);
  CUresult (*attribute)(int*, CUdevice_attribute, CUdevice);
};
const VirtualMemory& virtual_memory();

CUmemAllocationProp memory_of(std::uint32_t device);

}  // namespace rt::cuda
