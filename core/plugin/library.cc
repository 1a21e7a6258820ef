#include "core/plugin/library.h"

#include <boost/dll/shared_library.hpp>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/plugin/descriptor.h"
#include "core/plugin/probe.h"

namespace rt {
namespace {

// Loading may map and relocate a gigabyte of vendor libraries from a cold disk.
constexpr ProbeLimits kLoadLimits{std::chrono::milliseconds(5000), std::uint64_t{64} << 30};

// What was loaded, and used or refused after its code had run, stays so for the life of the
// process. A loaded file is mapped, so its inode is not given to another one.
struct Opened {
  std::string path;
  FileIdentity identity;
  Result<const Library*> outcome;
};

// Never destroyed: libraries outlive everything, static destructors too.
struct Table {
  std::mutex mutex;
  std::vector<boost::dll::shared_library> handles;
  std::vector<std::unique_ptr<Library>> libraries;  // refused ones too: their code has run
  std::vector<Opened> opened;
};
Table& table() {
  static Table& never_destroyed = *new Table;
  return never_destroyed;
}

// Boost's message ends in "(dlerror system message: ...)".
std::string loader_text(const std::string& message) {
  const std::string_view mark = "dlerror system message: ";
  const std::size_t at = message.find(mark);
  if (at == std::string::npos) return message;
  const std::size_t begin = at + mark.size();
  const std::size_t end = message.rfind(')');
  return message.substr(begin, end == std::string::npos || end < begin ? end : end - begin);
}

Result<boost::dll::shared_library> load_file(const std::string& path) {
  try {
    boost::dll::shared_library library;
    library.load(path, boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local);
    return library;
  } catch (const std::exception& failure) {
    return bad_input(explain_load_failure(path, loader_text(failure.what())));
  } catch (...) {
    return bad_input(path + ": its start-up code threw an exception");
  }
}

Error changed(const std::string& path) {
  return environment(path + ": the file has changed since it was read; start again");
}

}  // namespace

std::string explain_load_failure(const std::string& path, std::string_view text) {
  const std::string_view missing_file = ": cannot open shared object file: No such file";
  const std::string_view undefined = "undefined symbol: ";
  if (const std::size_t at = text.find(missing_file); at != std::string_view::npos) {
    const std::string_view name = text.substr(0, at);
    if (name == path) return path + ": no such file";
    return path + ": it needs the library " + std::string(name) +
           ", which is not on this machine; install it or link it statically";
  }
  if (const std::size_t at = text.find(undefined); at != std::string_view::npos) {
    std::string_view symbol = text.substr(at + undefined.size());
    symbol = symbol.substr(0, symbol.find_first_of(" ,\t"));
    return path + ": it uses the symbol " + std::string(symbol) +
           ", which nothing defines; link it with -Wl,-z,defs to see this when it is built";
  }
  return path + ": the system's loader refuses it: " + std::string(text);
}

Status Library::enter(const Manifest& manifest) {
  const auto& handle = table().handles.back();
  if (!handle.has(RT_PLUGIN_ENTRY_NAME)) {
    return bad_input(path_ + ": it does not export " + RT_PLUGIN_ENTRY_NAME +
                     "; define it as plugin.h declares it");
  }
  const rt_plugin_entry_fn entry =
      &handle.get<const rt_plugin*(const rt_host*, const char*)>(RT_PLUGIN_ENTRY_NAME);
  const rt_plugin* plugin = nullptr;
  const Status called = call_plugin({path_, RT_PLUGIN_ENTRY_NAME, ""}, [&] {
    plugin = entry(host_.c(), path_.c_str());
    return rt_status{RT_OK};
  });
  if (!called.ok()) return bad_input(called.error().message);
  if (plugin == nullptr) {
    const std::string text(last_fail_text());
    return bad_input(path_ + ": " + RT_PLUGIN_ENTRY_NAME +
                     (text.empty() ? " returned NULL without saying why" : ": " + text));
  }
  if (Status checked = check_descriptor(*plugin, manifest); !checked.ok()) {
    return in(path_, std::move(checked).error());
  }
  descriptor_ = plugin;
  return {};
}

Result<const Library*> Library::load(const std::string& path, const Manifest& manifest) {
  RT_TRY(auto handle, load_file(path));
  table().handles.push_back(std::move(handle));
  auto& libraries = table().libraries;
  libraries.emplace_back(new Library(manifest.plugin, path));
  RT_RETURN_IF_ERROR(libraries.back()->enter(manifest));
  return static_cast<const Library*>(libraries.back().get());
}

Status Library::try_in_child(const std::string& path, const Manifest& manifest) {
  const auto body = [&]() -> Status {
    Result<const Library*> library = load(path, manifest);
    return library.ok() ? Status() : Status(std::move(library).error());
  };
  return probe(path, body, kLoadLimits);
}

Result<const Library*> Library::open(const std::string& path, const FileIdentity& identity,
                                     const Manifest& manifest, Trial trial) {
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  for (const Opened& opened : all.opened) {
    if (opened.identity == identity) return opened.outcome;
    if (opened.path == path ||
        (opened.identity.device == identity.device && opened.identity.inode == identity.inode)) {
      return changed(path);
    }
  }
  if (file_identity(path) != identity) return changed(path);
  if (trial == Trial::kInChild) RT_RETURN_IF_ERROR(try_in_child(path, manifest));
  const std::size_t loaded = all.handles.size();
  Result<const Library*> outcome = load(path, manifest);
  if (all.handles.size() > loaded) all.opened.push_back({path, identity, outcome});
  return outcome;
}

}  // namespace rt
