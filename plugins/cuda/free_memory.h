// How much of a GPU's memory nobody has taken, asked of the driver's management library: the
// runtime API would open a context for the answer, and take half a gigabyte itself.
#pragma once

#include <cstdint>

namespace rt::cuda {

// `otherwise` where the library is not there or does not say.
std::uint64_t free_memory(int pci_domain, int pci_bus, int pci_device, std::uint64_t otherwise);

}  // namespace rt::cuda
