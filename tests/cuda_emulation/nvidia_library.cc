// NVIDIA's libraries on the emulated GPU: those that lie beside the emulated plugins and no others.
// A real one, which a machine may have, knows nothing of an emulated driver.
#include "plugins/nvidia_library.h"

#include <dlfcn.h>

namespace rt::cuda {

void* open_nvidia_library(const std::string& name, const std::vector<std::string>&) {
  return dlopen((RT_EMULATED_LIBRARIES "/" + name).c_str(), RTLD_NOW | RTLD_LOCAL);
}

void* library_function(void* library, const char* name) {
  return dlsym(library, name);
}

}  // namespace rt::cuda
