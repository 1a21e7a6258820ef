#include "core/plugin/registry.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "core/base/assert.h"
#include "core/base/file.h"
#include "core/base/text.h"

namespace rt {
namespace {

constexpr const char* kReference = "reference";

// Two plugins of one name: is the later one an oversight (same place) rather than a replacement?
bool same_place(const PluginEntry& a, const PluginEntry& b) {
  return a.origin == b.origin && a.origin != PluginOrigin::kExplicit &&
         directory_of(a.path) == directory_of(b.path);
}

// An operator that a manifest gives a meaning to, and how.
struct Defined {
  OperatorId id;
  const char* what;
};
std::vector<Defined> defined_by(const Manifest& manifest) {
  std::vector<Defined> list;
  for (const OperatorId& id : manifest.schemas) list.push_back({id, "schema"});
  for (const ManifestFusion& fusion : manifest.fusions) list.push_back({fusion.op, "fusion"});
  return list;
}

template <class T>
void sort_unique(std::vector<T>& list) {
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
}

}  // namespace

const char* state_text(PluginState state) {
  switch (state) {
    case PluginState::kReady:
      return "ready";
    case PluginState::kOpen:
      return "open";
    case PluginState::kShadowed:
      return "shadowed";
    case PluginState::kRefused:
      return "refused";
  }
  return "";
}

std::unique_ptr<Registry> Registry::scan(const RegistryOptions& options) {
  std::unique_ptr<Registry> registry(new Registry);
  registry->stranger_trial_ = options.stranger_trial;
  const Discovery discovery = discover(options.sources);
  registry->places_ = discovery.places;
  registry->read_manifests(discovery);
  registry->shadow_names();
  registry->refuse_bare_operators();
  registry->refuse_repeated_operators();
  registry->refuse_unknown_parts();
  registry->open_reference();
  return registry;
}

void Registry::read_manifests(const Discovery& discovery) {
  for (const FoundPlugin& found : discovery.plugins) {
    PluginEntry entry{found.path, found.origin, PluginState::kReady, "", found.identity,
                      {},         nullptr};
    if (found.state == FoundState::kAccepted) {
      Result<Manifest> manifest = read_manifest(found.path);
      if (manifest.ok()) {
        entry.manifest = std::move(manifest).value();
      } else {
        refuse(entry, manifest.error().message);
      }
    } else {
      entry.state =
          found.state == FoundState::kShadowed ? PluginState::kShadowed : PluginState::kRefused;
      entry.reason = found.path + ": " + found.reason;
    }
    plugins_.push_back(std::move(entry));
  }
}

void Registry::refuse(PluginEntry& entry, std::string reason) {
  entry.state = PluginState::kRefused;
  entry.reason = std::move(reason);
}

void Registry::shadow_names() {
  std::map<std::string, const PluginEntry*> first;
  for (PluginEntry& entry : plugins_) {
    if (!entry.usable()) continue;
    const auto [it, is_first] = first.emplace(entry.name(), &entry);
    if (is_first) continue;
    const PluginEntry& winner = *it->second;
    if (same_place(winner, entry)) {
      refuse(entry, entry.path + ": a plugin named '" + entry.name() +
                        "' is in this directory twice, " + winner.path + " is used; remove one");
    } else {
      entry.state = PluginState::kShadowed;
      entry.reason = entry.path + ": shadowed by plugin '" + entry.name() + "' of " + winner.path +
                     " (" + origin_text(winner.origin) + ")";
    }
  }
}

// A bare operator name is the runtime's to give.
void Registry::refuse_bare_operators() {
  for (PluginEntry& entry : plugins_) {
    if (!entry.usable() || entry.name() == kReference) continue;
    for (const Defined& defined : defined_by(*entry.manifest)) {
      if (defined.id.op.find('.') != std::string::npos) continue;
      refuse(entry, entry.path + ": " + defined.what + " " + defined.id.text() +
                        " has no namespace; call it \"" + entry.name() + "." + defined.id.op +
                        "\"");
      break;
    }
  }
}

void Registry::refuse_repeated_operators() {
  std::map<OperatorId, std::string> owners;
  for (PluginEntry& entry : plugins_) {
    if (!entry.usable()) continue;
    const std::vector<Defined> list = defined_by(*entry.manifest);
    for (const Defined& defined : list) {
      const auto owner = owners.find(defined.id);
      if (owner == owners.end()) continue;
      refuse(entry, entry.path + ": " + defined.what + " " + defined.id.text() +
                        " is already defined by " + owner->second);
      break;
    }
    if (!entry.usable()) continue;
    for (const Defined& defined : list) owners[defined.id] = entry.path;
  }
}

void Registry::refuse_unknown_parts() {
  std::set<OperatorId> known;
  for (const PluginEntry& entry : plugins_) {
    if (!entry.usable()) continue;
    known.insert(entry.manifest->schemas.begin(), entry.manifest->schemas.end());
  }
  for (PluginEntry& entry : plugins_) {
    if (!entry.usable()) continue;
    for (const ManifestFusion& fusion : entry.manifest->fusions) {
      const auto unknown =
          std::find_if(fusion.parts.begin(), fusion.parts.end(),
                       [&](const OperatorId& part) { return !known.contains(part); });
      if (unknown == fusion.parts.end()) continue;
      refuse(entry, entry.path + ": fusion " + fusion.op.text() + " is made of " + unknown->text() +
                        ", which no plugin defines" + did_you_mean(unknown->op, operators()));
      break;
    }
  }
}

void Registry::open_reference() {
  std::string refused;
  for (std::size_t i = 0; i < plugins_.size(); ++i) {
    if (plugins_[i].usable() && plugins_[i].name() == kReference) {
      const Result<const Library*> library = open_plugin(i);
      ready_ = library.ok() ? Status() : Status(library.error());
      return;
    }
    if (plugins_[i].state == PluginState::kRefused) refused += "; refused: " + plugins_[i].reason;
  }
  ready_ =
      bad_input("plugins: found no plugin 'reference', which carries the operators; looked in " +
                (places_.empty() ? "no place" : join(places_, ", ")) + refused);
}

Status Registry::ready() const {
  return ready_;
}

Status Registry::explicit_plugins_ok() const {
  for (const PluginEntry& entry : plugins_) {
    if (entry.origin == PluginOrigin::kExplicit && entry.state == PluginState::kRefused) {
      return bad_input("plugin " + entry.reason);
    }
  }
  return {};
}

Result<const Library*> Registry::open_plugin(std::size_t index) {
  PluginEntry& entry = plugins_[index];
  if (entry.library != nullptr) return entry.library;
  if (!entry.usable()) return bad_input(entry.reason);
  const Trial trial = entry.bundled() ? Trial::kSkip : stranger_trial_;
  Result<const Library*> library =
      Library::open(entry.path, entry.identity, *entry.manifest, trial);
  if (!library.ok()) {
    refuse(entry, library.error().message);
    return library;
  }
  entry.library = library.value();
  entry.state = PluginState::kOpen;
  return library;
}

std::optional<std::size_t> Registry::definer(std::string_view op, std::uint32_t version) const {
  std::optional<std::size_t> best;
  std::uint32_t best_version = 0;
  for (std::size_t i = 0; i < plugins_.size(); ++i) {
    if (!plugins_[i].usable()) continue;
    for (const Defined& defined : defined_by(*plugins_[i].manifest)) {
      const std::uint32_t found = defined.id.version;
      const bool wanted = version == 0 ? found > best_version : found == version;
      if (defined.id.op != op || !wanted) continue;
      best = i;
      best_version = found;
    }
  }
  return best;
}

Result<Schema> Registry::schema(std::string_view op, std::uint32_t version) {
  std::vector<std::string> versions;
  std::size_t best = plugins_.size();
  std::uint32_t best_version = 0;
  for (std::size_t i = 0; i < plugins_.size(); ++i) {
    if (!plugins_[i].usable()) continue;
    for (const OperatorId& id : plugins_[i].manifest->schemas) {
      if (id.op != op) continue;
      versions.push_back(std::to_string(id.version));
      const bool wanted = version == 0 ? id.version > best_version : id.version == version;
      if (!wanted) continue;
      best = i;
      best_version = id.version;
    }
  }
  if (best == plugins_.size()) return no_schema(op, version, versions);
  RT_TRY(const Library* library, open_plugin(best));
  const rt_plugin& plugin = library->descriptor();
  for (std::uint32_t i = 0; i < plugin.schema_count; ++i) {
    const rt_schema* schema = plugin.schemas[i];
    if (schema->op == op && schema->version == best_version) {
      return Schema{schema, library->host(), library->name()};
    }
  }
  return internal("plugin " + library->name() + " lost its schema " + std::string(op));
}

Error Registry::no_schema(std::string_view op, std::uint32_t version,
                          const std::vector<std::string>& versions) const {
  const std::string name(op);
  if (!versions.empty()) {
    return bad_input("operator '" + name + "' has version " + join(versions, ", ") +
                     ", the graph wants " + std::to_string(version));
  }
  for (const PluginEntry& entry : plugins_) {
    if (entry.state != PluginState::kRefused || !entry.manifest) continue;
    for (const OperatorId& id : entry.manifest->schemas) {
      if (id.op == op) {
        return bad_input("operator '" + name +
                         "' is in a plugin that was refused: " + entry.reason);
      }
    }
  }
  const std::vector<std::string> known = operators();
  return bad_input("no plugin defines operator " + quote(op) + did_you_mean(op, known));
}

Result<SchemaSet> Registry::schemas(std::span<const std::string> ops) {
  RT_RETURN_IF_ERROR(ready_);
  SchemaSet set;
  for (std::size_t i = 0; i < plugins_.size(); ++i) {
    const PluginEntry& entry = plugins_[i];
    if (!entry.usable()) continue;
    const auto is_named = [&](const OperatorId& id) {
      return std::find(ops.begin(), ops.end(), id.op) != ops.end();
    };
    const auto& announced = entry.manifest->schemas;
    for (const OperatorId& id : announced) set.note(id.op);
    for (const ManifestFusion& fusion : entry.manifest->fusions) {
      std::vector<std::string> parts;
      for (const OperatorId& part : fusion.parts) parts.push_back(part.op);
      set.note(fusion.op.op, join(parts, ", "));
    }
    if (entry.name() != kReference && std::none_of(announced.begin(), announced.end(), is_named)) {
      continue;
    }
    RT_TRY(const Library* library, open_plugin(i));
    const rt_plugin& plugin = library->descriptor();
    for (std::uint32_t s = 0; s < plugin.schema_count; ++s) set.add(plugin.schemas[s]);
  }
  return set;
}

Result<SchemaSet> Registry::schemas(const GraphDocument& document) {
  std::vector<std::string> ops;
  const auto take = [&](const std::vector<StatementDeclaration>& statements) {
    for (const StatementDeclaration& statement : statements) {
      if (statement.node) ops.push_back(statement.node->op);
    }
  };
  take(document.graph);
  for (const BlockDeclaration& block : document.blocks) take(block.nodes);
  return schemas(ops);
}

std::vector<Fusion> Registry::fusions(const std::set<std::string>& operators,
                                      std::string_view device_kind) {
  std::vector<Fusion> found;
  for (std::size_t i = 0; i < plugins_.size(); ++i) {
    if (!plugins_[i].usable()) continue;
    for (const ManifestFusion& fusion : plugins_[i].manifest->fusions) {
      const bool there =
          std::all_of(fusion.parts.begin(), fusion.parts.end(),
                      [&](const OperatorId& part) { return operators.contains(part.text()); });
      if (!there || candidates(fusion.op.op, fusion.op.version, device_kind).empty()) continue;
      const Result<const Library*> library = open_plugin(i);
      if (!library.ok()) break;
      const rt_plugin& plugin = (*library)->descriptor();
      for (std::uint32_t f = 0; f < plugin.fusion_count; ++f) {
        const rt_fusion* c = plugin.fusions[f];
        if (c->op == fusion.op.op && c->version == fusion.op.version) {
          found.push_back({c, (*library)->name(), plugins_[i].bundled()});
        }
      }
    }
  }
  return found;
}

std::vector<std::string> Registry::operators() const {
  std::vector<std::string> names;
  for (const PluginEntry& entry : plugins_) {
    if (!entry.usable()) continue;
    for (const OperatorId& id : entry.manifest->schemas) names.push_back(id.op);
  }
  sort_unique(names);
  return names;
}

std::vector<Candidate> Registry::candidates(std::string_view op) const {
  std::vector<Candidate> found;
  for (std::size_t i = 0; i < plugins_.size(); ++i) {
    const PluginEntry& entry = plugins_[i];
    if (!entry.manifest || entry.state == PluginState::kShadowed) continue;
    for (const ManifestImplementation& item : entry.manifest->implementations) {
      if (item.op.op == op)
        found.push_back({i, &item, entry.name() + "/" + item.name, entry.bundled()});
    }
  }
  std::stable_sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) {
    return a.full_name < b.full_name;
  });
  return found;
}

std::vector<Candidate> Registry::candidates(std::string_view op, std::uint32_t version,
                                            std::string_view device_kind) const {
  std::vector<Candidate> found = candidates(op);
  std::erase_if(found, [&](const Candidate& candidate) {
    return candidate.manifest->op.version != version ||
           candidate.manifest->device_kind != device_kind || !plugins_[candidate.plugin].usable();
  });
  return found;
}

Implementation Registry::peek(const Candidate& candidate) const {
  const Library* library = plugins_[candidate.plugin].library;
  if (library == nullptr) return {};
  const ManifestImplementation& wanted = *candidate.manifest;
  const rt_plugin& plugin = library->descriptor();
  for (std::uint32_t i = 0; i < plugin.implementation_count; ++i) {
    const rt_implementation* item = plugin.implementations[i];
    if (item->op == wanted.op.op && item->op_version == wanted.op.version &&
        item->name == wanted.name && item->device_kind == wanted.device_kind) {
      return {item, library->host(), candidate.full_name, candidate.bundled};
    }
  }
  return {};
}

Result<Implementation> Registry::open(const Candidate& candidate) {
  if (auto library = open_plugin(candidate.plugin); !library.ok()) return library.error();
  Implementation found = peek(candidate);
  RT_ASSERT(found.c != nullptr);  // the descriptor says what the manifest says
  return found;
}

// The plugin that provides `name` ("elastic", "planners/elastic").
Result<Registry::Named> Registry::find_named(std::string_view what, std::string_view name,
                                             NameList list) const {
  std::vector<Named> found;
  std::string refused;
  for (std::size_t i = 0; i < plugins_.size(); ++i) {
    const PluginEntry& entry = plugins_[i];
    if (!entry.manifest || entry.state == PluginState::kShadowed) continue;
    for (const std::string& item : (*entry.manifest).*list) {
      if (item != name && entry.name() + "/" + item != name) continue;
      if (entry.usable()) found.push_back({i, item});
      if (!entry.usable()) refused = entry.reason;
    }
  }
  // A bare name means the installed one; "plugin/name" is the way to name another.
  const auto bundled = std::find_if(found.begin(), found.end(), [&](const Named& item) {
    return plugins_[item.plugin].bundled();
  });
  if (bundled != found.end()) return *bundled;
  if (found.size() == 1) return found[0];
  const std::string subject = "no " + std::string(what) + " is called " + quote(name);
  if (!found.empty()) {
    return bad_input(std::string(what) + " " + quote(name) + " is ambiguous: write " +
                     plugins_[found[0].plugin].name() + "/" + found[0].name + " or " +
                     plugins_[found[1].plugin].name() + "/" + found[1].name);
  }
  if (!refused.empty()) return bad_input(subject + " in a usable plugin; refused: " + refused);
  std::vector<std::string> known = full_names(list);
  const std::string all = join(known, ", ");
  for (const std::string& full : full_names(list)) known.push_back(full.substr(full.find('/') + 1));
  return bad_input(subject + did_you_mean(name, known) +
                   (all.empty() ? "; there are none" : "; there are: " + all));
}

std::vector<std::string> Registry::full_names(NameList list) const {
  std::vector<std::string> names;
  for (const PluginEntry& entry : plugins_) {
    if (!entry.usable()) continue;
    for (const std::string& item : (*entry.manifest).*list)
      names.push_back(entry.name() + "/" + item);
  }
  sort_unique(names);
  return names;
}

Result<Planner> Registry::planner(std::string_view name) {
  RT_TRY(const Named found, find_named("planner", name, &Manifest::planners));
  RT_TRY(const Library* library, open_plugin(found.plugin));
  const rt_plugin& plugin = library->descriptor();
  for (std::uint32_t i = 0; i < plugin.planner_count; ++i) {
    if (plugin.planners[i]->name != found.name) continue;
    return Planner{plugin.planners[i], library->host(), library->name() + "/" + found.name,
                   plugins_[found.plugin].bundled()};
  }
  return internal("plugin " + library->name() + " lost its planner " + found.name);
}

Result<Device> Registry::device(std::string_view kind) {
  RT_TRY(const Named found, find_named("device", kind, &Manifest::devices));
  RT_TRY(const Library* library, open_plugin(found.plugin));
  const rt_plugin& plugin = library->descriptor();
  for (std::uint32_t i = 0; i < plugin.device_count; ++i) {
    if (plugin.devices[i]->kind != found.name) continue;
    return Device{plugin.devices[i], library->host(), library->name() + "/" + found.name,
                  plugins_[found.plugin].bundled()};
  }
  return internal("plugin " + library->name() + " lost its device " + found.name);
}

std::vector<std::string> Registry::planner_names() const {
  return full_names(&Manifest::planners);
}
std::vector<std::string> Registry::device_names() const {
  return full_names(&Manifest::devices);
}

}  // namespace rt
