// NVIDIA's libraries that are opened at run time: cuBLASLt, cuDNN.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace rt::cuda {

// The usual way first, then where toolkits and Python's wheels (folders below nvidia/) put it: of
// an active environment, the user, the system. nullptr: nowhere.
void* open_nvidia_library(const std::string& name, const std::vector<std::string>& wheels);
void* library_function(void* library, const char* name);

// libcublasLt of the major version that cublaslt.cc speaks, opened; nullptr: nowhere.
inline void* open_cublaslt() {
  return open_nvidia_library("libcublasLt.so.13", {"cu13/lib", "cublas/lib"});
}

// What T holds of a library for device `index`, made at the first call and kept as long as somebody
// holds it. From any thread.
template <class T>
std::shared_ptr<T> one_of_device(std::uint32_t index) {
  static std::mutex mutex;
  static std::map<std::uint32_t, std::weak_ptr<T>> known;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<T> one = known[index].lock();
  if (one == nullptr) known[index] = one = std::make_shared<T>();
  return one;
}

}  // namespace rt::cuda
