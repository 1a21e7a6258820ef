#include "tools/runtime/deployment.h"

#include <algorithm>
#include <filesystem>
#include <random>
#include <set>

#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/text.h"
#include "core/graph/graph.h"
#include "core/memory/config_json.h"
#include "tools/runtime/config_file.h"
#include "tools/runtime/places.h"

namespace rt {
namespace {

// --config or RUNTIME_CONFIG, before anything else is known.
Result<std::string> config_path(const Settings& early) {
  if (early.text("config").empty()) return std::string();
  return find_config(early.text("config"));
}

Status assign_command_line(const Arguments& arguments, Settings& settings) {
  for (const Arguments::Assignment& assignment : arguments.assignments) {
    RT_RETURN_IF_ERROR(settings.assign(*assignment.setting, assignment.values, assignment.flag,
                                       Level::kCommandLine));
  }
  return {};
}

Status assign_sets(const std::vector<std::string>& sets, Settings& settings) {
  for (const std::string& set : sets) {
    const std::size_t equals = set.find('=');
    if (equals == std::string::npos) {
      return bad_input("--set: expected KEY=VALUE, found " + quote(set));
    }
    const std::string path = set.substr(0, equals);
    RT_RETURN_IF_ERROR(
        settings.assign_path(path, set.substr(equals + 1), "--set " + path, Level::kSet));
  }
  return {};
}

std::vector<Option> options_of(const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::vector<Option> options;
  for (const auto& [name, value] : pairs) options.push_back({name, parse_option_value(value)});
  return options;
}

// Of a plugin that is loaded: "cuda", "cuda/cuda".
bool is_device(const Registry& registry, const std::string& kind) {
  for (const std::string& name : registry.device_names()) {
    if (name == kind || name.ends_with("/" + kind)) return true;
  }
  return false;
}

bool is_file_name(const std::string& text) {
  return text.find('/') != std::string::npos || text.ends_with(".yaml") || text.ends_with(".yml") ||
         text.ends_with(".json");
}

// "cuda:1" is device cuda, number 1; a file describes a device that is not here.
Status read_device(const std::string& text, const Registry& registry, EngineOptions& options) {
  const std::size_t colon = text.find(':');
  const bool here = is_device(registry, text.substr(0, colon));
  if (!here && (is_file_name(text) || resembles_device_file(text))) {
    RT_TRY(const std::string path, find_device_file(text));
    RT_TRY(options.described_device, DescribedDevice::read(path));
    options.device = options.described_device->kind();
    return {};
  }
  options.device = text.substr(0, colon);
  if (colon == std::string::npos) return {};
  const std::string number = text.substr(colon + 1);
  const bool digits = !number.empty() && number.size() < 4 &&
                      number.find_first_not_of("0123456789") == std::string::npos;
  if (!digits) return bad_input("--device: expected NAME or NAME:NUMBER, found " + quote(text));
  options.device_index = static_cast<std::uint32_t>(integer_value(number));
  return {};
}

}  // namespace

Result<Settings> load_settings(const Arguments& arguments) {
  Settings early;
  RT_RETURN_IF_ERROR(early.assign_environment(arguments.verbs()));
  RT_RETURN_IF_ERROR(assign_command_line(arguments, early));
  RT_TRY(const std::string path, config_path(early));

  Settings settings;
  if (!path.empty()) RT_RETURN_IF_ERROR(read_config(path, settings));
  RT_RETURN_IF_ERROR(assign_sets(early.list("set"), settings));
  RT_RETURN_IF_ERROR(settings.assign_environment(arguments.verbs()));
  RT_RETURN_IF_ERROR(assign_command_line(arguments, settings));
  return settings;
}

namespace {

// What else follows from a generation_config.json where Hugging Face reads it: without sampling the
// likeliest token, and a penalty on everything that stands there.
Status as_hugging_face(const Json& json, const std::string& path, Settings& settings) {
  const auto assign = [&](const char* key, const char* value, const char* why) {
    return settings.assign(*find_setting(key), {value}, path + ": " + why,
                           Level::kGenerationConfig);
  };
  if (const auto found = json.find("do_sample"); found != json.end() && *found == false) {
    RT_RETURN_IF_ERROR(assign("sampling.temperature", "0", "do_sample"));
  }
  const auto penalty = json.find("repetition_penalty");
  if (penalty != json.end() && penalty->is_number() && *penalty != 1) {
    RT_RETURN_IF_ERROR(assign("sampling.repeat_last_n", "-1", "repetition_penalty"));
  }
  for (const char* key : {"no_repeat_ngram_size", "suppress_tokens", "bad_words_ids"}) {
    const auto found = json.find(key);
    if (found == json.end() || found->is_null() || *found == 0) continue;
    log_info(path + ": " + key + " is there and is not done");
  }
  return {};
}

}  // namespace

Status add_generation_config(const std::string& folder, Settings& settings) {
  const std::string path = folder + "/generation_config.json";
  std::error_code code;
  if (!std::filesystem::exists(path, code)) return {};
  RT_TRY(const Json json, read_json(path, kConfigLimitBytes));
  if (!json.is_object()) return bad_input(path + ": expected an object");
  constexpr std::pair<const char*, const char*> kNames[] = {
      {"temperature", "sampling.temperature"},
      {"top_k", "sampling.top_k"},
      {"top_p", "sampling.top_p"},
      {"min_p", "sampling.min_p"},
      {"repetition_penalty", "sampling.repeat_penalty"}};
  for (const auto& [name, key] : kNames) {
    const auto found = json.find(name);
    if (found == json.end() || found->is_null()) continue;
    RT_RETURN_IF_ERROR(settings.assign(*find_setting(key), {found->dump()}, path + ": " + name,
                                       Level::kGenerationConfig));
  }
  return as_hugging_face(json, path, settings);
}

Result<std::unique_ptr<Registry>> scan_plugins(const Settings& settings) {
  RegistryOptions options;
  options.sources = process_sources(settings.list("plugins"));
  std::unique_ptr<Registry> registry = Registry::scan(options);
  RT_RETURN_IF_ERROR(registry->explicit_plugins_ok());
  return registry;
}

namespace {

constexpr std::string_view kProducts = "linear";  // all of them: torch's nn.Linear but the head

// "nf4" and "linear=nf4" are every matrix product but the head; other names are nodes or operators.
Result<WeightFormats> weight_formats(const Settings& settings) {
  WeightFormats formats;
  std::set<std::string> named;
  for (const std::string& value : settings.list("weights_format")) {
    const std::size_t equals = value.find('=');
    const std::string target =
        equals == std::string::npos ? std::string(kProducts) : value.substr(0, equals);
    if (!named.insert(target).second) {
      return bad_input(settings.origin("weights_format") + ": " + quote(value) +
                       " is a second format of " + (target == kProducts ? "all products" : target) +
                       "; expected one, and NAME=FORMAT for others, e.g. lm_head=int8");
    }
    const rt_dtype dtype = parse_weight_dtype(value.substr(equals + 1));  // npos + 1 is 0
    if (target == kProducts) {
      formats.all = dtype;
    } else {
      formats.rules.push_back({target, dtype});
    }
  }
  return formats;
}

bool is_cpu(const std::string& device) {
  return device == "cpu" || device.ends_with("/cpu");
}

// --threads is for the processor: one config may serve it and a GPU, whose device has no threads.
// Another plugin's device that has the option gets it under device_options.
void set_threads(const Settings& settings, EngineOptions& options) {
  const std::int64_t threads = settings.integer("threads");
  if (threads == 0) return;
  if (!is_cpu(options.device)) {
    log_info(settings.origin("threads") + ": threads are the cpu device's; " + options.device +
             " is given none");
    return;
  }
  options.device_options.push_back({"threads", threads});
  if (options.described_device == nullptr) return;
  options.described_device =
      options.described_device->with_threads(static_cast<std::uint32_t>(threads));
}

}  // namespace

Result<EngineOptions> engine_options(const Settings& settings, const std::string& graph,
                                     const Registry& registry) {
  EngineOptions options;
  options.graph = graph;
  RT_RETURN_IF_ERROR(read_device(settings.text("device"), registry, options));
  options.device_options = options_of(settings.pairs("device_options"));
  set_threads(settings, options);
  if (const std::string isa = settings.text("isa"); isa != "all") {
    if (options.described_device != nullptr) {
      return bad_input("--isa: " + settings.text("device") +
                       " says which instruction sets that device has; leave --isa out");
    }
    options.device_options.push_back({"isa", isa});
  }
  for (const auto& [target, use] : settings.pairs("operators.pin")) {
    options.selection.pins.push_back({target, use});
  }
  options.selection.prefer = settings.list("operators.prefer");
  options.exact = settings.flag("operators.exact");
  options.fuse = settings.flag("operators.fuse");
  options.blocking = settings.flag("operators.blocking");
  RT_TRY(options.weight_formats, weight_formats(settings));
  options.planner = settings.text("planner.name");
  options.planner_options = options_of(settings.pairs("planner.options"));
  const std::string kv_dtype = settings.text("kv.dtype");
  options.kv_dtype = kv_dtype == "auto" ? 0 : parse_kv_dtype(kv_dtype);
  options.context_tokens = settings.count("context").value_or(0);
  options.step_tokens = static_cast<std::uint32_t>(settings.count("step_tokens").value_or(512));
  options.memory_limit_bytes = settings.bytes("memory_limit");
  const std::int64_t history = settings.integer("sampling.repeat_last_n");
  options.history_tokens = static_cast<std::uint32_t>(std::max<std::int64_t>(history, 64));
  return options;
}

Sampling sampling_of(const Settings& settings) {
  Sampling sampling;
  sampling.temperature = static_cast<float>(settings.real("sampling.temperature"));
  sampling.top_k = static_cast<std::int32_t>(settings.integer("sampling.top_k"));
  sampling.top_p = static_cast<float>(settings.real("sampling.top_p"));
  sampling.min_p = static_cast<float>(settings.real("sampling.min_p"));
  sampling.repeat_penalty = static_cast<float>(settings.real("sampling.repeat_penalty"));
  sampling.presence_penalty = static_cast<float>(settings.real("sampling.presence_penalty"));
  sampling.frequency_penalty = static_cast<float>(settings.real("sampling.frequency_penalty"));
  sampling.repeat_last_n = static_cast<std::int32_t>(settings.integer("sampling.repeat_last_n"));
  // 32 bits: a number a person can type again.
  sampling.seed = settings.seed() ? *settings.seed() : std::random_device()();
  return sampling;
}

}  // namespace rt
