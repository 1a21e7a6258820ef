#include "plugins/cuda/driver.h"

#include <algorithm>
#include <cstring>

#include "plugins/cuda/free_memory.h"
#include "plugins/cuda_operator.h"

namespace rt::cuda {
namespace {

// What the driver takes beside what we ask for: a context, some 500 MB on recent ones, our kernels,
// recordings. An estimate, as in configs/devices: it keeps a plan from promising what is not there.
constexpr std::uint64_t kContextBytes = 1ull << 30;

constexpr int kNewestCompiledMajor = 9;  // of the code for one architecture in the plugins

constexpr std::uint64_t kUsualGranuleBytes = 2 << 20;

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

template <class Function>
void find_function(const char* name, Function& function) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result{};
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result);
  if (error != cudaSuccess || result != cudaDriverEntryPointSuccess || found == nullptr) {
    throw sdk::Refusal(sdk::format("the NVIDIA driver has no function %s", name));
  }
  function = reinterpret_cast<Function>(found);
}

std::uint64_t granule_of(std::uint32_t device) {
  size_t bytes = 0;
  const CUmemAllocationProp memory = memory_of(device);
  const CUresult result =
      virtual_memory().granularity(&bytes, &memory, CU_MEM_ALLOC_GRANULARITY_MINIMUM);
  return result == CUDA_SUCCESS && bytes > 0 ? bytes : kUsualGranuleBytes;
}

bool has_virtual_memory(std::uint32_t index) {
  CUdevice device = 0;
  int has = 0;
  return virtual_memory().device(&device, static_cast<int>(index)) == CUDA_SUCCESS &&
         virtual_memory().attribute(&has, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
                                    device) == CUDA_SUCCESS &&
         has != 0;
}

}  // namespace

std::uint32_t device_count() {
  int version = 0;
  // 0 without an error where no driver is installed.
  if (cudaDriverGetVersion(&version) != cudaSuccess || version == 0) {
    throw sdk::Refusal("no NVIDIA driver found (libcuda.so.1); install one, or use --device cpu");
  }
  if (version < 13000) {
    throw sdk::Refusal(
        "the NVIDIA driver is too old: expected one for CUDA 13.0 (580 or later), "
        "found one for CUDA " +
        version_text(version) +
        "; on data-centre GPUs NVIDIA's package cuda-compat-13-0 does beside an older one");
  }
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) {
    throw sdk::Refusal("the NVIDIA driver finds no GPU (is CUDA_VISIBLE_DEVICES set?)");
  }
  if (error != cudaSuccess) {
    throw sdk::Refusal(std::string("the NVIDIA driver does not start: ") +
                       cudaGetErrorString(error));
  }
  return static_cast<std::uint32_t>(count);
}

Gpu describe_gpu(std::uint32_t index) {
  const std::uint32_t count = device_count();
  if (index >= count) {
    throw sdk::Refusal(sdk::format("expected a GPU below %u, found cuda:%u", count, index),
                       RT_INVALID);
  }
  cudaDeviceProp properties{};
  expect(cudaGetDeviceProperties(&properties, static_cast<int>(index)), "read a GPU's properties");
  if (properties.major < kOldestMajor) {
    throw sdk::Refusal(
        sdk::format("%s is too old: expected compute capability 8.0 (A100, RTX 30) "
                    "or later, found %d.%d",
                    properties.name, properties.major, properties.minor));
  }
  // Newer GPUs take the kernels as PTX, which a driver older than this build's compiler cannot
  // read.
  int version = 0;
  expect(cudaDriverGetVersion(&version), "read the driver's version");
  if (properties.major > kNewestCompiledMajor && version < CUDART_VERSION) {
    throw sdk::Refusal("the NVIDIA driver is too old for " + std::string(properties.name) +
                       ": expected one for CUDA " + version_text(CUDART_VERSION) +
                       ", which this build was made with, found one for CUDA " +
                       version_text(version));
  }
  Gpu gpu{};
  std::memcpy(gpu.name, properties.name, sizeof gpu.name - 1);
  gpu.total_bytes = properties.totalGlobalMem;
  const std::uint64_t free_bytes =
      std::min(gpu.total_bytes, free_memory(properties.pciDomainID, properties.pciBusID,
                                            properties.pciDeviceID, gpu.total_bytes));
  gpu.available_bytes = free_bytes - std::min(free_bytes, kContextBytes);
  gpu.granule_bytes = granule_of(index);
  gpu.can_reserve = has_virtual_memory(index);
  return gpu;
}

void expect(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // or the next call that succeeds would be blamed for it
  throw sdk::Refusal(sdk::format("%s: %s (CUDA error %d)", what, cudaGetErrorString(error),
                                 static_cast<int>(error)),
                     status_of_error(error));
}

const VirtualMemory& virtual_memory() {
  static const VirtualMemory functions = [] {
    VirtualMemory found{};
    find_function("cuMemAddressReserve", found.reserve);
    find_function("cuMemAddressFree", found.unreserve);
    find_function("cuMemCreate", found.create);
    find_function("cuMemRelease", found.release);
    find_function("cuMemMap", found.map);
    find_function("cuMemUnmap", found.unmap);
    find_function("cuMemSetAccess", found.set_access);
    find_function("cuMemGetAllocationGranularity", found.granularity);
    find_function("cuDeviceGet", found.device);
    find_function("cuDeviceGetAttribute", found.attribute);
    return found;
  }();
  return functions;
}

CUmemAllocationProp memory_of(std::uint32_t device) {
  CUmemAllocationProp memory{};
  memory.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  memory.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  memory.location.id = static_cast<int>(device);
  return memory;
}

}  // namespace rt::cuda
