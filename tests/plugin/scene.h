// A scene for tests of discovery and loading: a temporary tree with an installed prefix (bin/,
// lib/runtime/plugins/) and other directories, filled with copies of the built case plugins.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/plugin/registry.h"

namespace rt::test {

class Scene {
 public:
  Scene() {
    std::string pattern = std::filesystem::temp_directory_path() / "rt_plugin_test.XXXXXX";
    root_ = std::filesystem::canonical(::mkdtemp(pattern.data())).string();
    std::filesystem::create_directories(installed());
    std::filesystem::create_directories(root_ + "/prefix/bin");
    std::filesystem::create_directories(extra());
  }
  ~Scene() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  const std::string& root() const { return root_; }
  std::string installed() const { return root_ + "/prefix/lib/runtime/plugins"; }
  std::string extra() const { return root_ + "/extra"; }  // what RUNTIME_PLUGIN_PATH names
  std::string executable() const { return root_ + "/prefix/bin/runtime"; }

  static std::string built(const std::string& name) {
    return std::string(RT_PLUGIN_CASES) + "/" + name + ".rtp.so";
  }
  // Copies a built case plugin to `to` (a directory, or a file that ends in .rtp.so).
  std::string copy(const std::string& name, const std::string& to) const {
    const std::string path = to.ends_with(".rtp.so") ? to : to + "/" + name + ".rtp.so";
    std::filesystem::copy_file(built(name), path);
    ::chmod(path.c_str(), 0644);
    return path;
  }
  void install_reference() const { copy("menu_reference", installed()); }

  RegistryOptions options() const {
    RegistryOptions options;
    options.sources.executable = executable();
    options.sources.search_path = extra();
    return options;
  }
  std::unique_ptr<Registry> scan() const { return Registry::scan(options()); }

  // `text` with this scene's temporary directory written as $ROOT.
  std::string plain(std::string text) const {
    for (std::size_t at = 0; (at = text.find(root_, at)) != std::string::npos;) {
      text.replace(at, root_.size(), "$ROOT");
    }
    return text;
  }

 private:
  std::string root_;
};

inline std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
  ::chmod(path.c_str(), 0644);
}

// The entry for the file `name` of a registry; fails the test if there is none.
inline const PluginEntry* entry_of(const Registry& registry, const std::string& name) {
  for (const PluginEntry& entry : registry.plugins()) {
    if (entry.path.ends_with("/" + name)) return &entry;
  }
  ADD_FAILURE() << "no entry for " << name;
  return nullptr;
}

}  // namespace rt::test
