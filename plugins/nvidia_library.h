// NVIDIA's libraries that are opened at run time: cuBLASLt, cuDNN.
#pragma once

#include <string>
#include <vector>

namespace rt::cuda {

// The usual way first, then where toolkits and Python's wheels (folders below nvidia/) put it: of
// an active environment, the user, the system. nullptr: nowhere.
void* open_nvidia_library(const std::string& name, const std::vector<std::string>& wheels);
void* library_function(void* library, const char* name);

}  // namespace rt::cuda
