// Where plugins come from. Nothing is opened here: this is about paths, owners and permissions.
//
// Places, in order; a name found in an earlier one shadows the same name in a later one:
//   1. files named by the user (--plugin, the config), in that order;
//   2. RUNTIME_PLUGIN_PATH, absolute directories or files with ':' between; ignored when the
//      process has more rights than its user (AT_SECURE: set-uid, capabilities);
//   3. <directory of the executable>/../lib/runtime/plugins: a build tree and an installed prefix
//      have the same shape, so a prefix works when it is moved.
// Never the working directory: an empty or relative entry of the list is refused.
//
// Files are regular, end in .rtp.so, and belong with their directory to a trusted owner and to
// nobody else's pen (no write permission for others; directories further up are not looked at). A
// symbolic link inside a searched directory must stay inside it; a file named by the user may be
// one, and its target is what is checked. Directory entries are taken in byte order of their names.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace rt {

inline constexpr const char* kPluginSuffix = ".rtp.so";
inline constexpr std::size_t kDirectoryEntryLimit = 4096;

enum class PluginOrigin { kExplicit, kSearchPath, kInstalled };

// "named by the user", "RUNTIME_PLUGIN_PATH", "installed".
const char* origin_text(PluginOrigin origin);

// All that discovery depends on, so that tests need no environment.
struct PluginSources {
  std::vector<std::string> files;             // relative ones are relative to the working directory
  std::string search_path;                    // the value of RUNTIME_PLUGIN_PATH; "" for none
  std::string executable;                     // absolute; "" for no installed plugins
  std::vector<std::uint64_t> trusted_owners;  // uids; empty: any (tests)
};

// The sources of this process: environment, /proc/self/exe, and as owners root, the user and
// whoever owns the executable.
PluginSources process_sources(std::vector<std::string> files);

// Identity of a file, to notice the same one twice and a change between reading and loading.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t mtime_ns = 0;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

// Identity of a regular file; all zero if there is none.
FileIdentity file_identity(const std::string& path);

enum class FoundState { kAccepted, kShadowed, kRefused };

struct FoundPlugin {
  std::string path;  // canonical where the file exists, else as given
  PluginOrigin origin = PluginOrigin::kExplicit;
  FoundState state = FoundState::kAccepted;
  std::string reason;  // of a refusal or a shadowing: a sentence without the path
  FileIdentity identity;
};

struct Discovery {
  std::vector<FoundPlugin> plugins;  // in order of priority
  std::vector<std::string> places;   // where was looked, for "not found" errors and `plugins list`
};

Discovery discover(const PluginSources& sources);

}  // namespace rt
