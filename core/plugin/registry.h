// All plugins of this run: found, their manifests read, opened only when something in them is
// needed. The plugin `reference`, which carries the schemas of our operators, is always opened.
//
// Names that clash:
//  - two plugins of one name: the earlier place wins, the later one is listed as shadowed; in the
//    same directory the later file is refused;
//  - two plugins with one schema or fusion: the later one is refused; so is one without a namespace
//    outside `reference`, and a fusion of operators that no plugin has a schema for;
//  - planners and devices: a bare name means the installed plugin's; two strangers with one name
//    must be told apart as "plugin/name".
//
// A plugin that is refused keeps its reason and costs nobody else anything. Used from one thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/graph/expand.h"
#include "core/plugin/discovery.h"
#include "core/plugin/library.h"
#include "core/plugin/manifest.h"
#include "core/sdk/plugin.h"

namespace rt {

enum class PluginState { kReady, kOpen, kShadowed, kRefused };
const char* state_text(PluginState state);  // "ready", "open", "shadowed", "refused"

// One line of `plugins list`.
struct PluginEntry {
  std::string path;
  PluginOrigin origin = PluginOrigin::kExplicit;
  PluginState state = PluginState::kReady;
  std::string reason;  // of kShadowed and kRefused: one sentence with the path or plugin in it
  FileIdentity identity;
  std::optional<Manifest> manifest;  // absent if it could not be read
  const Library* library = nullptr;  // once open

  // Found in the install prefix: trusted to run in-process and to reach tier 300 unasked.
  bool bundled() const { return origin == PluginOrigin::kInstalled; }
  bool usable() const { return state == PluginState::kReady || state == PluginState::kOpen; }
  std::string name() const { return manifest ? manifest->plugin : std::string(); }
};

// Handles to what is inside an open plugin. `host` goes with every call of its functions; all
// pointers live as long as the process.
struct Schema {
  const rt_schema* c = nullptr;
  const rt_host* host = nullptr;
  std::string plugin;
};

struct Fusion {
  const rt_fusion* c = nullptr;
  std::string plugin;
  bool bundled = false;
};

struct Implementation {
  const rt_implementation* c = nullptr;
  const rt_host* host = nullptr;
  std::string full_name;  // "rms_norm_cpu/avx2"
  bool bundled = false;
};

struct Planner {
  const rt_planner* c = nullptr;
  const rt_host* host = nullptr;
  std::string full_name;  // "planners/elastic"
  bool bundled = false;   // false: first asked in a child process (probe.h)
};

struct Device {
  const rt_device* c = nullptr;
  const rt_host* host = nullptr;
  std::string full_name;  // "cpu/cpu"
  bool bundled = false;
};

// An implementation that a manifest announces; its plugin may not be open yet.
struct Candidate {
  std::size_t plugin = 0;  // index into Registry::plugins()
  const ManifestImplementation* manifest = nullptr;
  std::string full_name;
  bool bundled = false;
};

struct RegistryOptions {
  PluginSources sources;
  Trial stranger_trial = Trial::kInChild;  // for libraries outside the install prefix
};

class Registry {
 public:
  // Never fails as a whole: see plugins() for what was refused, and ready().
  static std::unique_ptr<Registry> scan(const RegistryOptions& options);

  // An Error unless `reference` is open; says where was looked.
  Status ready() const;
  // An Error if a file that the user named (--plugin) was refused, with its reason.
  Status explicit_plugins_ok() const;

  std::span<const PluginEntry> plugins() const { return plugins_; }
  const std::vector<std::string>& places() const { return places_; }

  // Opens plugins()[index], or says again why it is refused.
  Result<const Library*> open_plugin(std::size_t index);
  // Which of plugins() gives an operator its meaning, by a schema or a fusion; the newest version
  // for 0. Usable ones alone.
  std::optional<std::size_t> definer(std::string_view op, std::uint32_t version) const;

  // The schema of an operator; version 0 means the newest. Opens its plugin.
  Result<Schema> schema(std::string_view op, std::uint32_t version);
  // Schemas for a graph that names `ops`: all of `reference`, and a stranger's where named.
  Result<SchemaSet> schemas(std::span<const std::string> ops);
  Result<SchemaSet> schemas(const GraphDocument& document);
  // The fused operators that could stand in a graph of these operators ("rms_norm@1") on this kind
  // of device: those whose parts are all there and that somebody implements. Opens their plugins,
  // and passes over one that cannot be opened: its entry has the reason.
  std::vector<Fusion> fusions(const std::set<std::string>& operators, std::string_view device_kind);
  // Every operator that some usable plugin has a schema for, sorted, without versions.
  std::vector<std::string> operators() const;

  // Every implementation of `op` that a manifest announces, of any version and device kind and of
  // plugins that were refused later too, ordered by full name. Opens nothing.
  std::vector<Candidate> candidates(std::string_view op) const;
  // Those for one version and one device kind.
  std::vector<Candidate> candidates(std::string_view op, std::uint32_t version,
                                    std::string_view device_kind) const;
  // Opens the candidate's plugin and finds the implementation in it.
  Result<Implementation> open(const Candidate& candidate);
  // The implementation if its plugin is open already, else one with .c == NULL.
  Implementation peek(const Candidate& candidate) const;

  // By bare or full name ("elastic", "planners/elastic").
  Result<Planner> planner(std::string_view name);
  // Planners whose trial run (probe.h) has crashed or hung, by full name, with what was said of
  // them: they are not asked in this process.
  std::map<std::string, Error>& failed_trials() { return failed_trials_; }
  Result<Device> device(std::string_view kind);
  // Full names of all usable ones, sorted.
  std::vector<std::string> planner_names() const;
  std::vector<std::string> device_names() const;

 private:
  Registry() = default;
  void read_manifests(const Discovery& discovery);
  void refuse(PluginEntry& entry, std::string reason);
  void shadow_names();
  void refuse_bare_operators();
  void refuse_repeated_operators();
  void refuse_unknown_parts();
  void open_reference();
  Error no_schema(std::string_view op, std::uint32_t version,
                  const std::vector<std::string>& versions) const;

  struct Named {  // a planner or device of a manifest
    std::size_t plugin;
    std::string name;
  };
  using NameList = std::vector<std::string> Manifest::*;
  Result<Named> find_named(std::string_view what, std::string_view name, NameList list) const;
  std::vector<std::string> full_names(NameList list) const;

  std::vector<PluginEntry> plugins_;
  std::vector<std::string> places_;
  Trial stranger_trial_ = Trial::kInChild;
  Status ready_;
  std::map<std::string, Error> failed_trials_;
};

}  // namespace rt
