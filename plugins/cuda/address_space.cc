#include "plugins/cuda/address_space.h"

namespace rt::cuda {
namespace {

CUdeviceptr number(void* address) {
  return reinterpret_cast<CUdeviceptr>(address);
}

void expect_driver(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  rt_status status = RT_DEVICE_FAULT;
  if (result == CUDA_ERROR_OUT_OF_MEMORY) status = RT_NO_MEMORY;
  if (result == CUDA_ERROR_INVALID_VALUE) status = RT_INTERNAL;
  throw sdk::Refusal(
      sdk::format("%s: %s (CUDA driver error %d)", what,
                  status == RT_NO_MEMORY ? "out of memory" : "refused", static_cast<int>(result)),
      status);
}

}  // namespace

void* AddressSpace::reserve(std::uint64_t bytes) {
  CUdeviceptr base = 0;
  expect_driver(virtual_memory().reserve(&base, bytes, granule_bytes_, 0, 0),
                "cuMemAddressReserve");
  return reinterpret_cast<void*>(base);
}

// What is still committed goes with it.
void AddressSpace::unreserve(void* base, std::uint64_t bytes) {
  for (std::uint64_t at = 0; at < bytes; at += granule_bytes_) {
    (void)virtual_memory().unmap(number(base) + at, granule_bytes_);  // refused where nothing is
  }
  (void)virtual_memory().unreserve(number(base), bytes);
}

// One granule of memory under `address`. The handle is released at once: from then on the memory
// belongs to the mapping.
CUresult AddressSpace::back(CUdeviceptr address) {
  CUmemGenericAllocationHandle handle{};
  CUresult result = ready_.take(&handle);
  if (result != CUDA_SUCCESS) return result;
  result = virtual_memory().map(address, granule_bytes_, 0, handle, 0);
  (void)virtual_memory().release(handle);
  return result;
}

void AddressSpace::commit(void* address, std::uint64_t bytes) {
  std::uint64_t done = 0;
  CUresult result = CUDA_SUCCESS;
  while (done < bytes && (result = back(number(address) + done)) == CUDA_SUCCESS) {
    done += granule_bytes_;
  }
  if (result == CUDA_SUCCESS) {
    CUmemAccessDesc access{};
    access.location = memory_of(device_).location;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    result = virtual_memory().set_access(number(address), bytes, &access, 1);
  }
  if (result == CUDA_SUCCESS) return;
  for (std::uint64_t at = 0; at < done; at += granule_bytes_) {
    (void)virtual_memory().unmap(number(address) + at, granule_bytes_);
  }
  expect_driver(result, "cuMemCreate");
}

void AddressSpace::decommit(void* address, std::uint64_t bytes) {
  for (std::uint64_t at = 0; at < bytes; at += granule_bytes_) {
    expect_driver(virtual_memory().unmap(number(address) + at, granule_bytes_), "cuMemUnmap");
  }
}

}  // namespace rt::cuda
