// Why a kernel could not be started; apart from launch.h for files that no CUDA compiler sees.
#pragma once

#include <stdexcept>
#include <string>

namespace rt::cuda {

// `code` is a cudaError_t. Launches report what earlier work did wrong too: an illegal address that
// a kernel touched is told to whoever calls next, and to all after him.
class LaunchError : public std::runtime_error {
 public:
  LaunchError(int error, const std::string& text) : std::runtime_error(text), code(error) {}
  const int code;
};

}  // namespace rt::cuda
