// Where NVIDIA's libraries are looked for.
#include "plugins/nvidia_library.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

namespace rt::cuda {
namespace {

// Any library will do for one of theirs.
TEST(NvidiaLibrary, IsFoundAmongTheWheelsOfAnActiveEnvironment) {
  std::string pattern = testing::TempDir() + "venv_XXXXXX";
  const std::filesystem::path root = mkdtemp(pattern.data());
  const auto wheel = root / "lib/python3.11/site-packages/nvidia/cu13/lib";
  std::filesystem::create_directories(wheel);
  std::filesystem::copy_file(RT_PLUGIN_DIR "/reference.rtp.so", wheel / "libonlyhere.so.13");
  EXPECT_EQ(open_nvidia_library("libonlyhere.so.13", {"cudnn/lib", "cu13/lib"}), nullptr);
  for (const char* variable : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
    setenv(variable, root.c_str(), 1);
    void* library = open_nvidia_library("libonlyhere.so.13", {"cudnn/lib", "cu13/lib"});
    unsetenv(variable);
    ASSERT_NE(library, nullptr) << variable;
    EXPECT_NE(library_function(library, "rt_plugin_entry_v1"), nullptr);
  }
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace rt::cuda
