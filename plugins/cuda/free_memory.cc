#include "plugins/cuda/free_memory.h"

#include <dlfcn.h>

#include <cstdio>

namespace rt::cuda {
namespace {

struct NvmlMemory {
  unsigned long long total, free, used;
};

// The functions of libnvidia-ml that are used; 0 is success in all of them.
struct Nvml {
  int (*init)() = nullptr;
  int (*handle)(const char*, void**) = nullptr;
  int (*memory)(void*, NvmlMemory*) = nullptr;
};

const Nvml& nvml() {
  static const Nvml functions = [] {
    Nvml found;
    void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return found;
    found.init = reinterpret_cast<int (*)()>(dlsym(library, "nvmlInit_v2"));
    found.handle = reinterpret_cast<int (*)(const char*, void**)>(
        dlsym(library, "nvmlDeviceGetHandleByPciBusId_v2"));
    found.memory =
        reinterpret_cast<int (*)(void*, NvmlMemory*)>(dlsym(library, "nvmlDeviceGetMemoryInfo"));
    if (found.init == nullptr || found.handle == nullptr || found.memory == nullptr ||
        found.init() != 0) {
      return Nvml{};
    }
    return found;
  }();
  return functions;
}

}  // namespace

std::uint64_t free_memory(int pci_domain, int pci_bus, int pci_device, std::uint64_t otherwise) {
  if (nvml().init == nullptr) return otherwise;
  char place[32];
  std::snprintf(place, sizeof place, "%08x:%02x:%02x.0", static_cast<unsigned>(pci_domain),
                static_cast<unsigned>(pci_bus), static_cast<unsigned>(pci_device));
  void* device = nullptr;
  NvmlMemory memory{};
  if (nvml().handle(place, &device) != 0 || nvml().memory(device, &memory) != 0) return otherwise;
  return memory.free;
}

}  // namespace rt::cuda
