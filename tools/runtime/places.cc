#include "tools/runtime/places.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "core/base/text.h"

namespace rt {
namespace {

namespace fs = std::filesystem;

fs::path share() {
  std::error_code code;
  const fs::path executable = fs::read_symlink("/proc/self/exe", code);
  return executable.parent_path().parent_path() / "share" / "runtime";
}

std::vector<std::string> shipped_names(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator at(folder, code); !code && at != fs::directory_iterator();
       at.increment(code)) {
    if (at->path().extension() == ".yaml") names.push_back(at->path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::string> find_shipped(const std::string& what, const std::string& name) {
  std::error_code code;
  if (fs::exists(name, code)) return name;
  const fs::path folder = share() / (what + "s");
  if (name.find('/') == std::string::npos) {
    const bool full = name.ends_with(".yaml");
    const fs::path file = folder / (full ? name : name + ".yaml");
    if (fs::exists(file, code)) return file.string();
  }
  const std::vector<std::string> names = shipped_names(folder);
  const std::string stem = fs::path(name).stem().string();
  return bad_input("--" + what + ": no file " + quote(name) + " and no shipped " + what +
                   " of that name" + did_you_mean(stem, names) +
                   " (there are: " + (names.empty() ? "none" : join(names, ", ")) + ")");
}

}  // namespace

Result<std::string> find_graph(const std::string& name) {
  return find_shipped("graph", name);
}
Result<std::string> find_config(const std::string& name) {
  return find_shipped("config", name);
}

std::string find_device_file(const std::string& name) {
  std::error_code code;
  const fs::path shipped = share() / "configs" / "devices" / name;
  return !fs::exists(name, code) && fs::exists(shipped, code) ? shipped.string() : name;
}

std::string find_model_folder(const std::string& name) {
  std::error_code code;
  if (fs::exists(name, code) || name.empty() || name.find('/') != std::string::npos) return name;
  const fs::path shipped = share() / "graphs" / name;
  return fs::exists(shipped / "config.json", code) ? shipped.string() : name;
}

}  // namespace rt
