// The plugins of this build with the emulated GPU's (tests/cuda_emulation) in place of the real
// ones.
#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/models.h"

namespace rt::test {

inline Registry& cuda_registry() {
  static std::unique_ptr<Registry> one = [] {
    std::vector<std::string> files;
    for (const auto& entry :
         std::filesystem::directory_iterator(RT_BINARY_DIR "/tests/cuda_plugins")) {
      if (entry.path().string().ends_with(".rtp.so")) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    return bundled_registry(files);
  }();
  return *one;
}

}  // namespace rt::test
