// The calls of the runtime and driver API that give and take memory and addresses.
#include <map>
#include <mutex>
#include <string_view>

#include "tests/cuda_emulation/driver.h"

using namespace cuda_emulation;

extern "C" {

cudaError_t cudaMalloc(void** address, std::size_t bytes) {
  if (driver().sticky != cudaSuccess) return driver().sticky;
  if (const cudaError_t error = forbid_while_capturing(); error != cudaSuccess) return error;
  if (counted_allocation_fails()) return cudaErrorMemoryAllocation;
  *address = driver().memory.allocate(bytes);
  return *address == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaFree(void* address) {
  drain();
  return driver().memory.release(address) ? driver().sticky.load() : cudaErrorInvalidValue;
}
cudaError_t cudaHostAlloc(void** address, std::size_t bytes, unsigned) {
  if (driver().sticky != cudaSuccess) return driver().sticky;
  if (counted_allocation_fails()) return cudaErrorMemoryAllocation;
  *address = ::operator new(bytes);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* address) {
  drain();
  ::operator delete(address);
  return cudaSuccess;
}

static CUresult reserve(CUdeviceptr* base, std::size_t bytes, std::size_t, CUdeviceptr,
                        unsigned long long) {
  void* address = driver().memory.reserve(bytes);
  *base = reinterpret_cast<CUdeviceptr>(address);
  return address == nullptr ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}
static CUresult unreserve(CUdeviceptr base, std::size_t bytes) {
  return driver().memory.unreserve(reinterpret_cast<void*>(base), bytes) ? CUDA_SUCCESS
                                                                         : CUDA_ERROR_INVALID_VALUE;
}
static CUresult create(CUmemGenericAllocationHandle* handle, std::size_t bytes,
                       const CUmemAllocationProp*, unsigned long long) {
  if (bytes % cuda_emulation::kGranuleBytes != 0) return CUDA_ERROR_INVALID_VALUE;
  if (counted_creation_fails() || !driver().memory.take(bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  const std::lock_guard lock(driver().handles_mutex);
  *handle = driver().next_handle++;
  driver().handles[*handle] = {bytes, false};
  return CUDA_SUCCESS;
}
static CUresult release(CUmemGenericAllocationHandle handle) {
  const std::lock_guard lock(driver().handles_mutex);
  auto& handles = driver().handles;
  const auto found = handles.find(handle);
  if (found == handles.end()) return CUDA_ERROR_INVALID_VALUE;
  if (!found->second.mapped) driver().memory.give_back(found->second.bytes);
  handles.erase(found);
  return CUDA_SUCCESS;
}
static CUresult map(CUdeviceptr address, std::size_t bytes, std::size_t,
                    CUmemGenericAllocationHandle handle, unsigned long long) {
  const std::lock_guard lock(driver().handles_mutex);
  const auto found = driver().handles.find(handle);
  if (found == driver().handles.end() || found->second.bytes != bytes || found->second.mapped) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (!driver().memory.map(reinterpret_cast<void*>(address), bytes))
    return CUDA_ERROR_INVALID_VALUE;
  found->second.mapped = true;
  return CUDA_SUCCESS;
}
static CUresult unmap(CUdeviceptr address, std::size_t bytes) {
  drain();
  return driver().memory.unmap(reinterpret_cast<void*>(address), bytes) ? CUDA_SUCCESS
                                                                        : CUDA_ERROR_INVALID_VALUE;
}
static CUresult set_access(CUdeviceptr, std::size_t, const CUmemAccessDesc*, std::size_t) {
  return CUDA_SUCCESS;
}
static CUresult granularity(std::size_t* bytes, const CUmemAllocationProp*,
                            CUmemAllocationGranularity_flags) {
  *bytes = cuda_emulation::kGranuleBytes;
  return CUDA_SUCCESS;
}
static CUresult device_of(CUdevice* device, int ordinal) {
  *device = ordinal;
  return CUDA_SUCCESS;
}
static CUresult attribute_of(int* value, CUdevice_attribute, CUdevice) {
  *value = driver().has_virtual_memory ? 1 : 0;
  return CUDA_SUCCESS;
}
static CUresult error_string(CUresult error, const char** text) {
  *text = error == CUDA_ERROR_OUT_OF_MEMORY ? "out of memory" : "invalid argument";
  return CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  static const std::map<std::string_view, void*> kFunctions = {
      {"cuMemAddressReserve", reinterpret_cast<void*>(reserve)},
      {"cuMemAddressFree", reinterpret_cast<void*>(unreserve)},
      {"cuMemCreate", reinterpret_cast<void*>(create)},
      {"cuMemRelease", reinterpret_cast<void*>(release)},
      {"cuMemMap", reinterpret_cast<void*>(map)},
      {"cuMemUnmap", reinterpret_cast<void*>(unmap)},
      {"cuMemSetAccess", reinterpret_cast<void*>(set_access)},
      {"cuMemGetAllocationGranularity", reinterpret_cast<void*>(granularity)},
      {"cuDeviceGet", reinterpret_cast<void*>(device_of)},
      {"cuDeviceGetAttribute", reinterpret_cast<void*>(attribute_of)},
      {"cuGetErrorString", reinterpret_cast<void*>(error_string)},
  };
  const auto found = kFunctions.find(name);
  *function = found == kFunctions.end() ? nullptr : found->second;
  *result = *function == nullptr ? cudaDriverEntryPointSymbolNotFound : cudaDriverEntryPointSuccess;
  return cudaSuccess;
}

}  // extern "C"
