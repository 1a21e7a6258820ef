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

// libcublasLt of CUDA 13, or of 12 (beside a PyTorch of CUDA 12: what cublaslt.cc asks for has the
// same numbers and layouts there, read in the headers of 12.8 and 13.0), opened; nullptr: nowhere.
inline void* open_cublaslt() {
  for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12"}) {
    if (void* opened = open_nvidia_library(name, {"cu13/lib", "cublas/lib"})) return opened;
  }
  return nullptr;
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
