#include "tools/runtime/loaded_model.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <set>

#include "core/base/bytes.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/text.h"
#include "core/engine/admission.h"
#include "core/engine/outlook.h"
#include "core/graph/document.h"
#include "core/memory/config_json.h"
#include "core/memory/model_location.h"
#include "tools/runtime/deployment.h"
#include "tools/runtime/places.h"
#include "tools/runtime/progress_bar.h"

namespace rt {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code code;
  return fs::exists(path, code);
}

bool has_weights(const fs::path& folder) {
  return is_there(folder / "model.safetensors") ||
         is_there(folder / "model.safetensors.index.json");
}

bool has_tokenizer(const fs::path& folder) {
  return is_there(folder / "tokenizer.json") || is_there(folder / "tokenizer.model");
}

// "random", or "random:DIR" for the sizes and the tokenizer of DIR.
bool is_random(const std::string& weights) {
  return weights == "random" || weights.starts_with("random:");
}

Status load_model_text(LoadedModel& model) {
  const Blueprint& b = *model.blueprint;
  const Json* config = b.checkpoint ? &b.checkpoint->config() : nullptr;
  const Json* generation = b.checkpoint ? b.checkpoint->generation_config() : nullptr;
  if (model.folder.empty() || !has_tokenizer(model.folder)) {
    RT_TRY(model.end_tokens, end_token_ids(config, generation, b.graph.vocabulary()));
    return {};
  }
  RT_TRY(model.text, load_text(b.graph, model.folder, config, generation));
  model.end_tokens = model.text->end_tokens;
  return {};
}

// What was found, for -v; `runtime plugins list` says what is in each.
void tell_plugins(const Registry& registry) {
  for (const PluginEntry& entry : registry.plugins()) {
    const std::string name = entry.manifest ? entry.name() + " " + entry.manifest->version : "?";
    log_debug("plugin " + name + ", " + state_text(entry.state) + ", " + entry.path +
              (entry.reason.empty() ? "" : ": " + entry.reason));
  }
}

// What was meant to be there and is not: an operator that then is missing would not say why.
void warn_of_refused(const Registry& registry) {
  for (const PluginEntry& entry : registry.plugins()) {
    if (entry.state == PluginState::kRefused) log_warning("plugin refused: " + entry.reason);
  }
}

// Which implementations run, for -v: each operator once for each choice.
void tell_choices(const Blueprint& b) {
  std::set<std::string> told;
  for (std::uint32_t n = 0; n < b.node_count(); ++n) {
    for (const bool decode : {true, false}) {
      const Selection& selection = b.selection(n, decode);
      if (selection.decisions.empty() || selection.decisions.front().verdict != Verdict::kChosen) {
        continue;
      }
      const std::string line = b.node(n).op + (decode ? ", decode: " : ", prefill: ") +
                               selection.chosen.full_name + ", " + selection.decision().reason;
      if (told.insert(line).second) log_debug(line);
    }
  }
}

void show_notes(const Blueprint& blueprint) {
  for (const std::string& note : blueprint.notes) log_info(note);
  const Result<Demand> demand = demand_of(blueprint);
  if (!demand.ok()) return;  // the run says so where it asks
  if (const std::string note = paging_note(blueprint, demand->bytes()); !note.empty()) {
    log_warning(note);
  }
}

void tell_loaded(const LoadedModel& model) {
  const MemoryBytes fixed = model.session->blueprint().fixed_memory();
  std::string text = "loaded in " + std::to_string(std::llround(model.load_ms)) + " ms:";
  for (std::size_t i = 0; i < kMemoryKindCount; ++i) {
    const auto kind = static_cast<MemoryKind>(i);
    if (fixed[kind] == 0) continue;
    text += " " + std::string(memory_kind_name(kind)) + " " + format_bytes(fixed[kind]) + ",";
  }
  text.pop_back();
  log_debug(text);
}

// Values that the checkpoint's authors recommend are taken visibly.
void show_generation_config(const Settings& settings) {
  std::string values;
  for (const Setting& setting : all_settings()) {
    if (settings.level(setting.key) != Level::kGenerationConfig) continue;
    const std::string key = setting.key;
    values +=
        (values.empty() ? "" : ", ") + key.substr(key.rfind('.') + 1) + " " + settings.text(key);
  }
  if (!values.empty()) log_info("sampling as generation_config.json says: " + values);
}

// What runs without a download: the small model that is shipped, which has the graph of one.
Error with_demo(Error error, const std::string& graph_name) {
  const Result<std::string> demo = find_model_folder("demo");
  if (graph_name != "phi3" || !demo.ok() || !is_there(*demo)) return error;
  error.message += "\n  or try the small model that is shipped:  --weights demo";
  return error;
}

// A plan of one prompt and a stated context is of a run that has them: its budget is the context.
void declare_context(const Settings& settings, std::uint64_t context, EngineOptions& options) {
  const bool stated = settings.count("context").value_or(0) > 0;
  if (!stated || options.prompt_tokens == 0 || options.new_tokens > 0) return;
  options.new_tokens = context - std::min(context, options.prompt_tokens);
  options.hard_budget = options.new_tokens > 0;
}

// The shipped graphs that serve a checkpoint of this folder's architecture; none if it has no
// config.json.
std::vector<std::string> fitting_graphs(const std::string& folder) {
  std::vector<std::string> fitting;
  const Result<Json> config = read_json(folder + "/config.json", kConfigLimitBytes);
  if (!config.ok() || !config->is_object() || !config->contains("architectures")) return fitting;
  for (const std::string& name : shipped_graphs()) {
    const Result<std::string> path = find_graph(name);
    if (!path.ok()) continue;
    const Result<GraphDocument> graph = read_graph(*path);
    if (!graph.ok()) continue;
    for (const std::string& served : graph->architectures) {
      const Json& there = (*config)["architectures"];
      if (std::find(there.begin(), there.end(), Json(served)) != there.end()) {
        fitting.push_back(name);
      }
    }
  }
  return fitting;
}

}  // namespace

Status check_graph_given(const Settings& settings) {
  if (!settings.text("graph").empty()) return {};
  const std::string weights = settings.text("weights");
  if (weights.empty()) {
    return bad_input("which model? give its graph with --graph FILE or --graph NAME (phi3)");
  }
  const Result<std::string> graph = find_graph(weights);
  if (graph.ok() && graph->ends_with(".yaml")) {
    return bad_input("which model? " + quote(weights) + " is a graph: --graph " + weights +
                     " (--model and --weights name the folder of the weights)");
  }
  if (const Result<std::string> folder = find_model_folder(weights); folder.ok()) {
    const std::vector<std::string> fitting = fitting_graphs(*folder);
    if (!fitting.empty()) {
      return bad_input("which model? " + quote(weights) +
                       " has the weights; its graph is --graph " + join(fitting, " or --graph "));
    }
  }
  return bad_input("which model? " + quote(weights) +
                   " names the weights; give the graph too, with --graph FILE or --graph NAME (" +
                   join(shipped_graphs(), ", ") + ")");
}

Result<ModelPlace> find_model(const Settings& settings, Need need) {
  RT_RETURN_IF_ERROR(check_graph_given(settings));
  ModelPlace place;
  RT_TRY(place.graph, find_graph(settings.text("graph")));
  RT_TRY(const GraphDocument document, read_graph(place.graph));
  const std::string weights = settings.text("weights");
  if (is_random(weights)) {
    place.source = WeightSource::kRandom;
    if (weights.size() > 7) {
      RT_TRY(place.folder, find_model_folder(weights.substr(7)));
    }
    return place;
  }
  ModelQuery query{std::nullopt, document.name, document.source, ModelEnvironment::of_process()};
  if (!weights.empty()) {
    RT_TRY(query.weights, find_model_folder(weights));
  }
  Result<std::string> folder = locate_model(query);
  if (!folder.ok()) {
    if (need == Need::kPlan && weights.empty()) return place;
    if (!weights.empty()) return std::move(folder).error();
    return with_demo(std::move(folder).error(), document.name);
  }
  place.folder = *folder;
  if (need == Need::kWeights || has_weights(place.folder)) place.source = WeightSource::kCheckpoint;
  return place;
}

Result<LoadedModel> draw_model(Settings& settings, Need need) {
  LoadedModel model;
  RT_TRY(const ModelPlace place, find_model(settings, need));
  if (!place.folder.empty()) RT_RETURN_IF_ERROR(add_generation_config(place.folder, settings));
  RT_TRY(model.registry, scan_plugins(settings));
  tell_plugins(*model.registry);
  warn_of_refused(*model.registry);
  RT_TRY(model.options, engine_options(settings, place.graph, *model.registry));
  model.folder = place.folder;
  model.options.weights = place.folder;
  model.options.source = place.source;
  if (need == Need::kPlan) {
    if (model.options.planner == kAllPlanners) {
      model.options.planner = find_setting("planner.name")->value;
    }
    model.options.prompt_tokens = settings.count("prompt_tokens").value_or(0);
    model.options.new_tokens = settings.count("new_tokens").value_or(0);
    model.options.hard_budget = model.options.new_tokens > 0;
    if (settings.level("parallel") >= Level::kEnvironment) {
      model.options.max_sequences = static_cast<std::uint32_t>(settings.integer("parallel"));
    }
  }
  if (need == Need::kWeights && model.options.described_device != nullptr) {
    return bad_input("--device " + settings.text("device") +
                     " describes a machine to plan for; a run needs a device of this one");
  }
  RT_TRY(model.blueprint, draw(*model.registry, model.options));
  const std::uint64_t context = model.blueprint->bounds.context_tokens;
  if (settings.integer("sampling.repeat_last_n") < 0) {
    model.options.history_tokens = static_cast<std::uint32_t>(context);
  }
  if (need == Need::kPlan) {
    declare_context(settings, context, model.options);
    RT_TRY(model.blueprint, draw(*model.registry, model.options));
    return model;
  }
  show_generation_config(settings);
  RT_RETURN_IF_ERROR(load_model_text(model));
  return model;
}

Budget budget_of(const Settings& settings, const LoadedModel& model, std::uint64_t prompt_tokens) {
  Budget budget;
  budget.prompt_tokens = prompt_tokens;
  const std::uint64_t context = model.blueprint->bounds.context_tokens;
  if (const auto wanted = settings.count("max_new_tokens")) {
    budget.new_tokens = std::min(*wanted, context);
    budget.hard = true;
  } else if (settings.count("context").value_or(0) > 0) {
    budget.new_tokens = context - std::min(context, prompt_tokens);
    budget.hard = true;
  }
  return budget;
}

Status open_model(LoadedModel& model, const Settings& settings, const Budget& budget) {
  model.options.prompt_tokens = budget.prompt_tokens;
  model.options.new_tokens = budget.new_tokens;
  model.options.hard_budget = budget.hard;
  RT_TRY(model.blueprint, draw(*model.registry, model.options));
  RT_RETURN_IF_ERROR(admit_or_offer(*model.registry, *model.blueprint));
  return load_model(model, settings);
}

Status load_model(LoadedModel& model, const Settings& settings) {
  const auto start = std::chrono::steady_clock::now();
  show_notes(*model.blueprint);
  tell_choices(*model.blueprint);
  ProgressBar bar(settings);
  const auto shown = [&bar](std::uint64_t done, std::uint64_t all) { bar.show(done, all); };
  RT_TRY(model.session, Session::open(std::move(model.blueprint), shown));
  const auto elapsed = std::chrono::steady_clock::now() - start;
  model.load_ms = std::chrono::duration<double, std::milli>(elapsed).count();
  tell_loaded(model);
  return {};
}

}  // namespace rt
