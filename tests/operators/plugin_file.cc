#include "tests/operators/plugin_file.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace rt::test {

std::string& last_failure() {
  static std::string text;
  return text;
}

const rt_host* test_host() {
  static const rt_host host = {
      .struct_size = sizeof(rt_host),
      .abi_major = RT_ABI_MAJOR,
      .abi_minor = RT_ABI_MINOR,
      .reserved = 0,
      .fail =
          [](const rt_host*, rt_status code, const char* message) {
            last_failure() = message;
            return code;
          },
      .log = [](const rt_host*, rt_log_level,
                const char* message) { std::fprintf(stderr, "plugin: %s\n", message); },
      .extension = [](const rt_host*, const char*) -> const void* { return nullptr; },
  };
  return &host;
}

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
  file.plugin = entry(test_host(), path.c_str());
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
    }
    return opened;
  }();
  return files;
}

const rt_schema* find_schema(std::string_view op) {
  for (const PluginFile& file : plugin_files()) {
    for (std::uint32_t i = 0; file.plugin != nullptr && i < file.plugin->schema_count; ++i) {
      if (op == file.plugin->schemas[i]->op) return file.plugin->schemas[i];
    }
  }
  return nullptr;
}

const rt_implementation* find_reference(std::string_view op) {
  for (const PluginFile& file : plugin_files()) {
    if (file.plugin == nullptr || std::string_view(file.plugin->name) != "reference") continue;
    for (std::uint32_t i = 0; i < file.plugin->implementation_count; ++i) {
      if (op == file.plugin->implementations[i]->op) return file.plugin->implementations[i];
    }
  }
  return nullptr;
}

const rt_device_desc& cpu_device() {
  static const rt_device_desc desc = [] {
    rt_device_desc out{};
    out.kind = "cpu";
    out.isa = "";
    out.threads = 1;
    out.value_dtype = RT_F32;
    for (const PluginFile& file : plugin_files()) {
      for (std::uint32_t i = 0; file.plugin != nullptr && i < file.plugin->device_count; ++i) {
        const rt_device& device = *file.plugin->devices[i];
        if (std::string_view(device.kind) != "cpu") continue;
        if (device.describe(test_host(), 0, 0, nullptr, &out) != RT_OK) {
          std::fprintf(stderr, "cpu device: %s\n", last_failure().c_str());
        }
        return out;
      }
    }
    return out;
  }();
  return desc;
}

bool machine_has(std::string_view isa) {
  const std::string have = "," + std::string(cpu_device().isa) + ",";
  while (!isa.empty()) {
    const std::size_t comma = std::min(isa.find(','), isa.size());
    if (have.find("," + std::string(isa.substr(0, comma)) + ",") == std::string::npos) return false;
    isa.remove_prefix(std::min(comma + 1, isa.size()));
  }
  return true;
}

}  // namespace rt::test
