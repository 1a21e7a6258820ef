#include "core/plugin/discovery.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/base/file.h"
#include "core/base/text.h"

namespace rt {
namespace {

constexpr std::size_t kLinkLimitBytes = 4096;

bool ends_with_suffix(std::string_view name) {
  const std::string_view suffix = kPluginSuffix;
  return name.size() > suffix.size() && name.ends_with(suffix);
}

std::string canonical(const std::string& path) {
  char* real = ::realpath(path.c_str(), nullptr);
  if (real == nullptr) return "";
  std::string out(real);
  std::free(real);
  return out;
}

FileIdentity identity_of(const struct stat& status) {
  return {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
          static_cast<std::uint64_t>(status.st_size),
          status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec};
}

class Search {
 public:
  explicit Search(const PluginSources& sources) : sources_(sources) {}

  void run() {
    for (const std::string& file : sources_.files) add_file(file, PluginOrigin::kExplicit, false);
    search_path();
    if (!sources_.executable.empty()) {
      add_directory(directory_of(sources_.executable) + "/../lib/runtime/plugins",
                    PluginOrigin::kInstalled);
    }
  }
  Discovery take() { return std::move(found_); }

 private:
  void search_path();
  void add_directory(const std::string& directory, PluginOrigin origin);
  void add_file(const std::string& path, PluginOrigin origin, bool stay_in_directory);
  std::string refusal(const std::string& given, FoundPlugin& plugin, bool stay_in_directory) const;
  std::string unsafe(const struct stat& status, const char* what) const;
  void shadow_same_file(FoundPlugin& plugin) const;
  void refuse(const std::string& path, PluginOrigin origin, std::string reason) {
    found_.plugins.push_back({path, origin, FoundState::kRefused, std::move(reason), {}});
  }

  const PluginSources& sources_;
  Discovery found_;
};

void Search::search_path() {
  std::string_view rest = sources_.search_path;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    const std::string entry(rest.substr(0, end));
    const bool last = end == rest.size();
    rest.remove_prefix(last ? end : end + 1);
    if (entry.empty() || entry[0] != '/') {
      refuse(entry, PluginOrigin::kSearchPath,
             "RUNTIME_PLUGIN_PATH holds " + quote(entry) +
                 ", expected absolute paths: the working directory is never searched");
    } else if (ends_with_suffix(entry)) {
      add_file(entry, PluginOrigin::kSearchPath, false);
    } else {
      add_directory(entry, PluginOrigin::kSearchPath);
    }
  }
}

void Search::add_directory(const std::string& given, PluginOrigin origin) {
  const std::string real = canonical(given);
  const std::string& directory = real.empty() ? given : real;
  found_.places.push_back(directory);
  struct stat status {};
  if (real.empty() || ::stat(real.c_str(), &status) != 0) {
    const std::string why = std::strerror(errno);
    found_.places.back() += " (" + why + ")";
    if (origin == PluginOrigin::kSearchPath) {
      refuse(directory, origin, "RUNTIME_PLUGIN_PATH names this folder: " + why);
    }
    return;
  }
  if (!S_ISDIR(status.st_mode)) {
    return refuse(directory, origin,
                  std::string("expected a directory or a file *") + kPluginSuffix);
  }
  if (std::string why = unsafe(status, "the directory"); !why.empty()) {
    return refuse(directory, origin, why);
  }
  DIR* listing = ::opendir(real.c_str());
  if (listing == nullptr) return refuse(directory, origin, std::strerror(errno));
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(listing)) {
    if (names.size() < kDirectoryEntryLimit && ends_with_suffix(entry->d_name)) {
      names.emplace_back(entry->d_name);
    }
  }
  ::closedir(listing);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) add_file(directory + "/" + name, origin, true);
}

// Why nobody else may have written to this, "" if so.
std::string Search::unsafe(const struct stat& status, const char* what) const {
  if ((status.st_mode & S_IWOTH) != 0) {
    // A sticky one, as /tmp, is meant to be like that.
    return std::string(what) + " may be written by everybody; " +
           ((status.st_mode & S_ISVTX) != 0 ? "move the plugin to a directory of your own"
                                            : "chmod o-w it first");
  }
  const auto& trusted = sources_.trusted_owners;
  if (!trusted.empty() &&
      std::find(trusted.begin(), trusted.end(), status.st_uid) == trusted.end()) {
    return std::string(what) + " belongs to user " + std::to_string(status.st_uid) +
           ", expected root, the user who runs this, or the owner of the program";
  }
  return "";
}

// Fills in path and identity, and returns why the file is not taken, "" if it is.
std::string Search::refusal(const std::string& given, FoundPlugin& plugin,
                            bool stay_in_directory) const {
  if (given.empty()) return "an empty path";
  if (given.find('\0') != std::string::npos) return "a path with a NUL in it";
  const std::string real = canonical(given);
  if (real.empty()) return std::strerror(errno);
  plugin.path = real;
  if (!ends_with_suffix(real)) {
    return std::string("expected a name that ends in ") + kPluginSuffix;
  }
  if (stay_in_directory && directory_of(real) != directory_of(given)) {
    plugin.path = given;
    return "a symbolic link to " + real + ", outside its directory; name that file with --plugin";
  }
  struct stat status {};
  if (::stat(real.c_str(), &status) != 0) return std::strerror(errno);
  if (!S_ISREG(status.st_mode)) {
    return S_ISDIR(status.st_mode) ? "expected a file, found a directory"
                                   : "expected a regular file, found a pipe, socket or device";
  }
  if (std::string why = unsafe(status, "the file"); !why.empty()) return why;
  struct stat parent {};
  if (::stat(directory_of(real).c_str(), &parent) != 0) return std::strerror(errno);
  plugin.identity = identity_of(status);
  return unsafe(parent, "its directory");
}

void Search::add_file(const std::string& path, PluginOrigin origin, bool stay_in_directory) {
  FoundPlugin plugin{path, origin, FoundState::kAccepted, "", {}};
  plugin.reason = refusal(path, plugin, stay_in_directory);
  if (!plugin.reason.empty()) {
    plugin.state = FoundState::kRefused;
  } else {
    shadow_same_file(plugin);
  }
  found_.plugins.push_back(std::move(plugin));
}

void Search::shadow_same_file(FoundPlugin& plugin) const {
  for (const FoundPlugin& other : found_.plugins) {
    if (other.state != FoundState::kAccepted || other.identity.inode != plugin.identity.inode ||
        other.identity.device != plugin.identity.device) {
      continue;
    }
    plugin.state = FoundState::kShadowed;
    plugin.reason = "the same file as " + other.path + " (" + origin_text(other.origin) + ")";
    return;
  }
}

}  // namespace

const char* origin_text(PluginOrigin origin) {
  switch (origin) {
    case PluginOrigin::kExplicit:
      return "named by the user";
    case PluginOrigin::kSearchPath:
      return "RUNTIME_PLUGIN_PATH";
    case PluginOrigin::kInstalled:
      return "installed";
  }
  return "";
}

PluginSources process_sources(std::vector<std::string> files) {
  PluginSources sources;
  sources.files = std::move(files);
  if (const char* path = ::secure_getenv("RUNTIME_PLUGIN_PATH")) sources.search_path = path;
  char link[kLinkLimitBytes];
  const ssize_t length = ::readlink("/proc/self/exe", link, sizeof link);
  if (length > 0 && length < static_cast<ssize_t>(sizeof link)) {
    sources.executable.assign(link, static_cast<std::size_t>(length));
  }
  sources.trusted_owners = {0, ::geteuid()};
  struct stat status {};
  if (::stat("/proc/self/exe", &status) == 0) sources.trusted_owners.push_back(status.st_uid);
  return sources;
}

FileIdentity file_identity(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
  return identity_of(status);
}

Discovery discover(const PluginSources& sources) {
  Search search(sources);
  search.run();
  return search.take();
}

}  // namespace rt
