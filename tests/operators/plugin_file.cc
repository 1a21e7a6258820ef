#include "tests/operators/plugin_file.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string_view>

namespace rt::test {

PluginFile open_plugin(const std::string& path) {
  PluginFile file;
  file.path = path;
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    file.why = dlerror();
    return file;
  }
  const auto entry = reinterpret_cast<rt_plugin_entry_fn>(dlsym(library, RT_PLUGIN_ENTRY_NAME));
  if (entry == nullptr) {
    file.why = path + ": no " RT_PLUGIN_ENTRY_NAME;
    return file;
  }
  last_failure().clear();
  file.plugin = entry(trial_host(), path.c_str());
  if (file.plugin == nullptr) file.why = path + ": " + last_failure();
  return file;
}

static std::vector<std::string> plugins_in(const char* folder) {
  std::vector<std::string> paths;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(folder, missing)) {
    if (entry.path().string().ends_with(".rtp.so")) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

// A program that was carried to another machine finds its plugins beside itself.
static std::string plugin_folder() {
  std::error_code missing;
  if (std::filesystem::exists(RT_PLUGIN_DIR, missing)) return RT_PLUGIN_DIR;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", missing);
  return program.parent_path().parent_path() / "lib/runtime/plugins";
}

const std::vector<PluginFile>& plugin_files() {
  static const std::vector<PluginFile> files = [] {
    const char* emulated = std::getenv("RT_TEST_CUDA_PLUGINS");
    std::vector<std::string> paths = plugins_in(plugin_folder().c_str());
    const std::size_t real = paths.size();
    for (std::string& path : plugins_in(emulated != nullptr ? emulated : RT_CUDA_PLUGIN_DIR))
      paths.push_back(std::move(path));
    const std::size_t bundled = paths.size();
    if (const char* strangers = std::getenv("RT_TEST_PLUGIN")) paths.push_back(strangers);
    std::vector<PluginFile> opened;
    for (std::size_t i = 0; i < paths.size(); ++i) {
      opened.push_back(open_plugin(paths[i]));
      opened.back().emulated = i >= real && i < bundled;
      if (opened.back().plugin != nullptr) learn(*opened.back().plugin);
    }
    return opened;
  }();
  return files;
}

static const rt_device* cuda_api(bool emulated) {
  for (const PluginFile& file : plugin_files()) {
    if (file.emulated != emulated || file.plugin == nullptr) continue;
    for (std::uint32_t i = 0; i < file.plugin->device_count; ++i) {
      if (std::string_view(file.plugin->devices[i]->kind) == "cuda") return file.plugin->devices[i];
    }
  }
  return nullptr;
}

Accelerator* gpu_of(const PluginFile& file, std::string* why) {
  struct Opened {
    explicit Opened(bool emulated) {
      const rt_device* api = cuda_api(emulated);
      if (api != nullptr) gpu = Accelerator::open(*api, &why).release();
      if (api == nullptr) why = "no device plugin of kind cuda among the plugins";
    }
    std::string why;
    Accelerator* gpu = nullptr;
  };
  static const Opened real(false);
  static const Opened emulated(true);
  const Opened& opened = file.emulated ? emulated : real;
  *why = opened.why;
  return opened.gpu;
}

// So that a test may ask for a contract without asking for the files.
class OpenPlugins : public testing::Environment {
  void SetUp() override { plugin_files(); }
};
static const testing::Environment* const opened_first =
    testing::AddGlobalTestEnvironment(new OpenPlugins);

}  // namespace rt::test
