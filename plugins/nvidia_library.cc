#include "plugins/nvidia_library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

namespace rt::cuda {
namespace {

std::vector<std::string> places(const std::string& name, const std::vector<std::string>& wheels) {
  namespace fs = std::filesystem;
  std::vector<std::string> out = {name};
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"}) {
    const char* home = std::getenv(variable);
    if (home != nullptr) out.push_back(std::string(home) + "/lib64/" + name);
  }
  out.push_back("/usr/local/cuda/lib64/" + name);
  out.push_back("/usr/local/cuda/lib/" + name);
  std::error_code missing;
  for (const char* root : {"/usr/local/lib", "/usr/lib", "/opt/conda/lib"}) {
    for (const auto& entry : fs::directory_iterator(root, missing)) {
      if (!entry.path().filename().string().starts_with("python3")) continue;
      for (const char* packages : {"site-packages", "dist-packages"}) {
        for (const std::string& wheel : wheels) {
          out.push_back((entry.path() / packages / "nvidia" / wheel / name).string());
        }
      }
    }
  }
  return out;
}

}  // namespace

void* open_nvidia_library(const std::string& name, const std::vector<std::string>& wheels) {
  for (const std::string& place : places(name, wheels)) {
    if (void* opened = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL)) return opened;
  }
  return nullptr;
}

void* library_function(void* library, const char* name) {
  return dlsym(library, name);
}

}  // namespace rt::cuda
