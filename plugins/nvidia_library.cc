#include "plugins/nvidia_library.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <utility>

namespace rt::cuda {
namespace {

// Folders that hold python3.*/site-packages or dist-packages: of an active environment (also one
// that is only in the PATH), the user, the system.
std::vector<std::string> python_roots() {
  std::vector<std::string> roots;
  for (const auto& [variable, below] :
       {std::pair{"VIRTUAL_ENV", "/lib"}, {"CONDA_PREFIX", "/lib"}, {"HOME", "/.local/lib"}}) {
    const char* folder = std::getenv(variable);
    if (folder != nullptr) roots.push_back(std::string(folder) + below);
  }
  std::error_code missing;
  const char* path = std::getenv("PATH");
  for (std::string_view rest = path == nullptr ? "" : path; !rest.empty();) {
    const std::string_view folder = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(rest.size(), folder.size() + 1));
    const std::filesystem::path home = std::filesystem::path(folder).parent_path();
    if (std::filesystem::exists(home / "pyvenv.cfg", missing)) roots.push_back(home / "lib");
  }
  for (const char* root : {"/usr/local/lib", "/usr/lib", "/opt/conda/lib"}) roots.push_back(root);
  return roots;
}

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
  for (const std::string& root : python_roots()) {
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
