// `runtime plugins list`: what was found and what was not taken, with the reason. `check` and
// `show` have files of their own. `runtime plugins why`: for each node, every candidate's fate.
#include <fnmatch.h>

#include <algorithm>
#include <map>

#include "core/base/json.h"
#include "core/base/text.h"
#include "tools/runtime/deployment.h"
#include "tools/runtime/loaded_model.h"
#include "tools/runtime/operator_page.h"
#include "tools/runtime/output.h"
#include "tools/runtime/plugin_check.h"
#include "tools/runtime/verbs.h"

namespace rt {
namespace {

std::vector<std::string> contents(const Manifest& manifest) {
  std::vector<std::string> parts;
  for (const OperatorId& schema : manifest.schemas) parts.push_back("schema " + schema.text());
  for (const ManifestFusion& fusion : manifest.fusions) {
    std::string text = "fusion " + fusion.op.text() + " of";
    for (const OperatorId& part : fusion.parts) text += " " + part.text();
    parts.push_back(std::move(text));
  }
  for (const ManifestImplementation& one : manifest.implementations) {
    parts.push_back(one.op.text() + " " + one.device_kind + "/" + one.name +
                    (one.isa.empty() ? "" : " (" + one.isa + ")"));
  }
  for (const std::string& planner : manifest.planners) parts.push_back("planner " + planner);
  for (const std::string& device : manifest.devices) parts.push_back("device " + device);
  return parts;
}

Json entry_json(const PluginEntry& entry) {
  Json json = Json::object();
  json["name"] = entry.name();
  json["version"] = entry.manifest ? Json(entry.manifest->version) : Json(nullptr);
  json["state"] = state_text(entry.state);
  json["path"] = entry.path;
  json["origin"] = origin_text(entry.origin);
  json["contents"] = entry.manifest ? Json(contents(*entry.manifest)) : Json::array();
  json["reason"] = entry.reason;
  return json;
}

std::string entry_text(const PluginEntry& entry) {
  std::string text = entry.manifest ? entry.name() + " " + entry.manifest->version : "(unknown)";
  text += "  [" + std::string(state_text(entry.state)) + ", " + origin_text(entry.origin) + "]  " +
          entry.path + "\n";
  if (!entry.reason.empty()) text += "    " + entry.reason + "\n";
  if (!entry.manifest) return text;
  for (const std::string& part : contents(*entry.manifest)) text += "    " + part + "\n";
  return text;
}

// Opens what the user named: whether it can be used is what is asked here. True if all can.
bool open_named(Registry& registry) {
  bool usable = true;
  for (std::size_t i = 0; i < registry.plugins().size(); ++i) {
    const PluginEntry& entry = registry.plugins()[i];
    if (entry.origin != PluginOrigin::kExplicit) continue;
    if (entry.usable()) (void)registry.open_plugin(i);  // a refusal stays with the entry
    usable = usable && entry.state != PluginState::kRefused;
  }
  return usable;
}

// Lists even where a plugin that the user named was refused, and then ends with exit code 2.
Result<ExitCode> list(const Settings& settings) {
  RegistryOptions options;
  options.sources = process_sources(settings.list("plugins"));
  const std::unique_ptr<Registry> registry = Registry::scan(options);
  const ExitCode code = open_named(*registry) ? 0 : static_cast<ExitCode>(Fault::kBadInput);
  if (settings.flag("json")) {
    Json json = Json::array();
    for (const PluginEntry& entry : registry->plugins()) json.push_back(entry_json(entry));
    RT_RETURN_IF_ERROR(write_json(json));
    return code;
  }
  std::string text;
  for (const PluginEntry& entry : registry->plugins()) text += entry_text(entry);
  text += "looked in: " + join(registry->places(), ", ") + "\n";
  RT_RETURN_IF_ERROR(write_out(text));
  return code;
}

const char* mark(const Decision& decision) {
  if (decision.verdict == Verdict::kChosen) return "  * ";
  return decision.usable() ? "  + " : "  - ";
}

std::string decisions_text(const Selection& selection) {
  std::string text;
  for (const Decision& decision : selection.decisions) {
    text += "  " + std::string(mark(decision)) + decision.full_name + ": " + decision.reason + "\n";
  }
  return text;
}

Json decisions_json(const Selection& selection) {
  Json list = Json::array();
  for (const Decision& decision : selection.decisions) {
    Json json = Json::object();
    json["name"] = decision.full_name;
    json["chosen"] = decision.verdict == Verdict::kChosen;
    json["usable"] = decision.usable();
    json["tier"] = decision.tier;
    json["reason"] = decision.reason;
    list.push_back(std::move(json));
  }
  return list;
}

std::vector<std::uint32_t> matching_nodes(const Blueprint& b, const std::string& pattern) {
  std::vector<std::uint32_t> found;
  for (std::uint32_t n = 0; n < b.node_count(); ++n) {
    if (fnmatch(pattern.c_str(), b.node(n).name.c_str(), 0) == 0) found.push_back(n);
  }
  return found;
}

// What a node does in a step class beside being chosen for: where it runs instead, or why a fused
// one does not. "" for a node that runs as itself.
std::string fate(const Blueprint& b, std::uint32_t n, bool decode) {
  const auto choice = [&](const FusedNode& fused) {
    return decode ? &fused.decode : &fused.prefill;
  };
  if (n >= b.graph.nodes.size()) return choice(b.fused[n - b.graph.nodes.size()])->reason;
  for (const FusedNode& fused : b.fused) {
    const std::vector<std::uint32_t>& parts = fused.match.parts;
    if (!choice(fused)->taken || std::find(parts.begin(), parts.end(), n) == parts.end()) continue;
    return "runs in " + fused.match.node.op + " (" + choice(fused)->selection.chosen.full_name +
           ")";
  }
  return "";
}

std::string class_text(const Blueprint& b, std::uint32_t n, bool decode) {
  const std::string said = fate(b, n, decode);
  return std::string(decode ? "  decode" : "  prefill") + (said.empty() ? "" : ": " + said) + "\n" +
         decisions_text(b.selection(n, decode));
}

// "norm_add@1", and for a fused node what it is made of.
std::string kind_text(const Blueprint& b, std::uint32_t n) {
  std::string text = b.node(n).op + "@" + std::to_string(b.node(n).op_version);
  if (n < b.graph.nodes.size()) return text;
  std::vector<std::string> ops;
  for (const std::uint32_t part : b.fused[n - b.graph.nodes.size()].match.parts) {
    ops.push_back(b.graph.nodes[part].op);
  }
  return text + " of " + join(ops, ", ");
}

// Nodes whose story is the same are told once.
std::string why_text(const Blueprint& b, const std::vector<std::uint32_t>& nodes) {
  std::vector<std::string> order;
  std::map<std::string, std::vector<std::string>> names;
  for (const std::uint32_t n : nodes) {
    const std::string story =
        kind_text(b, n) + "\n" + class_text(b, n, true) + class_text(b, n, false);
    auto& list = names[story];
    if (list.empty()) order.push_back(story);
    list.push_back(b.node(n).name);
  }
  std::string text;
  for (const std::string& story : order) {
    const std::vector<std::string>& list = names[story];
    text += list.front();
    if (list.size() > 1) text += " and " + std::to_string(list.size() - 1) + " more like it";
    text += ": " + story;
  }
  return text;
}

Result<ExitCode> why(Settings& settings) {
  RT_TRY(const LoadedModel model, draw_model(settings, Need::kPlan));
  const Blueprint& b = *model.blueprint;
  const std::vector<std::uint32_t> nodes = matching_nodes(b, settings.text("node"));
  if (nodes.empty()) {
    return bad_input("--node: no node of " + b.graph.name + " is called " +
                     quote(settings.text("node")) + "; `runtime graph expand` lists them");
  }
  if (!settings.flag("json")) {
    RT_RETURN_IF_ERROR(write_out(why_text(b, nodes)));
    return 0;
  }
  Json json = Json::array();
  for (const std::uint32_t n : nodes) {
    Json node = Json::object();
    node["node"] = b.node(n).name;
    node["op"] = b.node(n).op;
    node["decode"] = decisions_json(b.selection(n, true));
    node["prefill"] = decisions_json(b.selection(n, false));
    if (const std::string said = fate(b, n, true); !said.empty()) node["decode_fusion"] = said;
    if (const std::string said = fate(b, n, false); !said.empty()) node["prefill_fusion"] = said;
    json.push_back(std::move(node));
  }
  RT_RETURN_IF_ERROR(write_json(json));
  return 0;
}

}  // namespace

Result<ExitCode> run_plugins(const Arguments& arguments, Settings& settings) {
  const std::vector<std::string> actions{"list", "why", "check", "show"};
  const std::vector<std::string>& words = arguments.words;
  if (!words.empty() && words[0] == "check") {
    return check_plugins({words.begin() + 1, words.end()}, settings);
  }
  if (!words.empty() && words[0] == "show") {
    return show_operators({words.begin() + 1, words.end()}, settings);
  }
  if (words.size() == 1 && words[0] == "list") return list(settings);
  if (words.size() == 1 && words[0] == "why") return why(settings);
  const std::string word = join(words, " ");
  return bad_input("plugins: expected list, why, check or show, found " + quote(word) +
                   did_you_mean(word, actions));
}

}  // namespace rt
