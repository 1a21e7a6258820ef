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

// What is beside `path` and called nearly the same, of what `accept` takes: "graphs/demo" for
// "graphs/dem". "" if nothing is.
std::string neighbour(const fs::path& path, bool (*accept)(const fs::path&)) {
  const fs::path named = path.has_filename() ? path : path.parent_path();
  const fs::path folder = named.parent_path();
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator at(folder.empty() ? "." : folder, code);
       !code && at != fs::directory_iterator(); at.increment(code)) {
    if (accept(at->path())) names.push_back(at->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  const std::string near = nearest(named.filename().string(), names);
  return near.empty() ? "" : (folder / near).string();
}

bool is_yaml(const fs::path& path) {
  return path.extension() == ".yaml";
}
bool is_model(const fs::path& path) {
  std::error_code code;
  return fs::exists(path / "config.json", code);
}

fs::path shipped_folder(const std::string& what) {
  return share() / (what == "device" ? fs::path("configs") / "devices" : fs::path(what + "s"));
}

Result<std::string> find_shipped(const std::string& what, const std::string& name) {
  std::error_code code;
  if (fs::exists(name, code)) return name;
  const fs::path folder = shipped_folder(what);
  if (name.find('/') == std::string::npos) {
    const bool full = name.ends_with(".yaml");
    const fs::path file = folder / (full ? name : name + ".yaml");
    if (fs::exists(file, code)) return file.string();
  }
  const std::vector<std::string> names = shipped_names(folder);
  std::string near = neighbour(name, is_yaml);
  if (near.empty()) near = nearest(fs::path(name).stem().string(), names);
  return bad_input("--" + what + ": no file " + quote(name) + " and no shipped " + what +
                   " of that name" + (near.empty() ? "" : "; did you mean " + quote(near) + "?") +
                   " (there are: " + (names.empty() ? "none" : join(names, ", ")) + ")");
}

}  // namespace

Result<std::string> find_graph(const std::string& name) {
  std::error_code code;
  if (fs::is_directory(name, code)) {
    return bad_input("--graph: " + quote(name) +
                     " is a folder, a graph is a file; --weights names the folder of the weights");
  }
  return find_shipped("graph", name);
}
std::vector<std::string> shipped_graphs() {
  return shipped_names(shipped_folder("graph"));
}
Result<std::string> find_config(const std::string& name) {
  return find_shipped("config", name);
}

Result<std::string> find_device_file(const std::string& name) {
  return find_shipped("device", name);
}

bool resembles_device_file(const std::string& name) {
  return !nearest(fs::path(name).stem().string(), shipped_names(shipped_folder("device"))).empty();
}

Result<std::string> find_model_folder(const std::string& name) {
  std::error_code code;
  if (fs::exists(name, code) || name.empty()) return name;
  const bool bare = name.find('/') == std::string::npos;
  const fs::path shipped = share() / "graphs" / name;
  if (bare && is_model(shipped)) return shipped.string();
  std::string near = neighbour(name, is_model);
  if (near.empty() && bare) near = fs::path(neighbour(shipped, is_model)).filename().string();
  if (near.empty() && bare) near = nearest(name, std::vector<std::string>{"random"});
  if (near.empty()) return name;
  return bad_input("--weights: no folder " + quote(name) + "; did you mean " + quote(near) + "?");
}

}  // namespace rt
