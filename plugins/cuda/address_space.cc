#include "plugins/cuda/address_space.h"

#include "plugins/cuda_operator.h"

namespace rt::cuda {
namespace {

CUdeviceptr number(void* address) {
  return reinterpret_cast<CUdeviceptr>(address);
}

void expect_driver(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  const rt_status status = status_of_error(static_cast<int>(result));
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
  const auto first = mapped_.lower_bound(number(base));
  const auto last = mapped_.lower_bound(number(base) + bytes);
  for (auto at = first; at != last; ++at) (void)virtual_memory().unmap(*at, granule_bytes_);
  mapped_.erase(first, last);
  (void)virtual_memory().unreserve(number(base), bytes);
}

// One granule of memory under `address`. The handle is released at once: from then on the memory
// belongs to the mapping.
void AddressSpace::back(CUdeviceptr address) {
  CUmemGenericAllocationHandle handle{};
  expect_driver(ready_.take(&handle), "cuMemCreate");
  const CUresult result = virtual_memory().map(address, granule_bytes_, 0, handle, 0);
  (void)virtual_memory().release(handle);
  expect_driver(result, "cuMemMap");
  mapped_.insert(address);
}

void AddressSpace::commit(void* address, std::uint64_t bytes) {
  std::uint64_t done = 0;
  try {
    for (; done < bytes; done += granule_bytes_) back(number(address) + done);
    CUmemAccessDesc access{};
    access.location = memory_of(device_).location;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    expect_driver(virtual_memory().set_access(number(address), bytes, &access, 1),
                  "cuMemSetAccess");
  } catch (...) {
    for (std::uint64_t at = 0; at < done; at += granule_bytes_) {
      (void)virtual_memory().unmap(number(address) + at, granule_bytes_);
      mapped_.erase(number(address) + at);
    }
    throw;
  }
}

void AddressSpace::decommit(void* address, std::uint64_t bytes) {
  for (std::uint64_t at = 0; at < bytes; at += granule_bytes_) {
    expect_driver(virtual_memory().unmap(number(address) + at, granule_bytes_), "cuMemUnmap");
    mapped_.erase(number(address) + at);
  }
}

}  // namespace rt::cuda
