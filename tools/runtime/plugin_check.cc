#include "tools/runtime/plugin_check.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "core/base/json.h"
#include "core/base/text.h"
#include "core/engine/planner_choice.h"
#include "core/plugin/registry.h"
#include "tools/conformance/cases.h"
#include "tools/conformance/device_report.h"
#include "tools/conformance/planner_report.h"
#include "tools/conformance/report.h"
#include "tools/runtime/output.h"
#include "tools/runtime/plugin_trial.h"

namespace rt {
namespace {

using conformance::Contract;
using conformance::Report;

// Of address space, beyond what the process has. A GPU's driver takes it by the terabyte.
constexpr std::uint64_t kCpuMemoryBytes = std::uint64_t{64} << 30;
constexpr std::uint64_t kDeviceMemoryBytes = std::uint64_t{1} << 46;

constexpr const char* kNoTable = "no table of cases: checked only that it opens and is sound";

// One line of the report: something in a file, and what became of it.
struct CheckedPart {
  const char* kind;     // "implementation"
  std::string subject;  // "rms_norm"
  std::string name;     // "acme_norm/avx2"
  std::string device;   // "cpu"
  std::string unit;     // what a trial's cases are
  PluginTrial trial{};
  std::string text{};  // where there was no trial
  bool unsound = false;

  bool tried() const { return !unit.empty(); }
  bool failed() const { return tried() ? trial_failed(trial) : unsound; }
  std::string said() const { return tried() ? trial_text(trial, unit) : text; }
};

class PluginCheck {
 public:
  PluginCheck(Registry& registry, const rt_plugin& plugin) : registry_(registry), plugin_(plugin) {}

  std::vector<CheckedPart> run() {
    conformance::learn(plugin_);
    for (std::uint32_t i = 0; i < plugin_.schema_count; ++i) check(*plugin_.schemas[i]);
    for (std::uint32_t i = 0; RT_HAS(&plugin_, fusions) && i < plugin_.fusion_count; ++i) {
      check(*plugin_.fusions[i]);
    }
    for (std::uint32_t i = 0; i < plugin_.implementation_count; ++i) {
      check(*plugin_.implementations[i]);
    }
    for (std::uint32_t i = 0; i < plugin_.planner_count; ++i) check(*plugin_.planners[i]);
    for (std::uint32_t i = 0; i < plugin_.device_count; ++i) check(*plugin_.devices[i]);
    return std::move(parts_);
  }

 private:
  void check(const rt_schema& schema);
  void check(const rt_fusion& fusion);
  void check(const rt_implementation& item);
  void check(const rt_planner& planner);
  void check(const rt_device& device);

  // Learns what defines an operator, and its parts.
  void learn_operator(std::string_view op, std::uint32_t version);
  std::string unknown_text(const rt_implementation& item, const std::string& why) const;
  Result<Report> hold(const rt_implementation& item, const Contract& contract,
                      const Begins& begins);
  std::string full_name(const char* name) const { return std::string(plugin_.name) + "/" + name; }

  Registry& registry_;
  const rt_plugin& plugin_;
  std::vector<CheckedPart> parts_;
};

std::string id_text(const char* op, std::uint32_t version) {
  return OperatorId{op, version}.text();
}

std::string table_text(const char* op) {
  const std::size_t count = conformance::cases(op).size();
  return count == 0 ? "no table of cases" : "a table of " + std::to_string(count) + " cases";
}

void PluginCheck::check(const rt_schema& schema) {
  const Contract* contract = conformance::find_contract(schema.op, schema.version);
  const bool has_reference = contract != nullptr && contract->reference != nullptr;
  CheckedPart part{"schema", id_text(schema.op, schema.version), "", "", ""};
  part.text = has_reference ? "ok, schema with a reference, "
                            : "ok, schema without a reference (tier 0, for cpu), ";
  part.text += table_text(schema.op);
  parts_.push_back(std::move(part));
}

void PluginCheck::check(const rt_fusion& fusion) {
  learn_operator(fusion.op, fusion.version);
  std::string why;
  const bool sound = conformance::find_contract(fusion.op, fusion.version, &why) != nullptr;
  CheckedPart part{"fusion", id_text(fusion.op, fusion.version), "", "", ""};
  part.text = sound ? "ok, its pattern fits the operators' schemas, " + table_text(fusion.op)
                    : "failed: " + why;
  part.unsound = !sound;
  parts_.push_back(std::move(part));
}

void PluginCheck::learn_operator(std::string_view op, std::uint32_t version) {
  const std::optional<std::size_t> at = registry_.definer(op, version);
  if (!at) return;
  const Result<const Library*> library = registry_.open_plugin(*at);
  if (!library.ok()) return;
  conformance::learn((*library)->descriptor());
  for (const ManifestFusion& fusion : registry_.plugins()[*at].manifest->fusions) {
    if (fusion.op.op != op) continue;
    for (const OperatorId& part : fusion.parts) learn_operator(part.op, part.version);
  }
}

std::string PluginCheck::unknown_text(const rt_implementation& item, const std::string& why) const {
  if (!why.empty()) return "failed: " + why;
  const std::optional<std::size_t> other = registry_.definer(item.op, 0);
  if (other) {
    return "failed: computes version " + std::to_string(item.op_version) + " of " + item.op +
           ", which plugin " + registry_.plugins()[*other].name() + " defines in another one";
  }
  return "failed: no plugin defines operator " + quote(item.op) +
         did_you_mean(item.op, registry_.operators());
}

void PluginCheck::check(const rt_implementation& item) {
  CheckedPart part{"implementation", item.op, full_name(item.name), item.device_kind, ""};
  learn_operator(item.op, item.op_version);
  std::string why;
  const Contract* contract = conformance::find_contract(item.op, item.op_version, &why);
  const bool cpu = part.device == "cpu";
  if (contract == nullptr) {
    part.unsound = true;
    part.text = unknown_text(item, why);
  } else if (contract->reference == nullptr || conformance::cases(item.op).empty()) {
    part.text = kNoTable;
  } else if (cpu && !conformance::machine_has(item.isa)) {
    part.text = std::string("not run: needs ") + item.isa + ", this machine has " +
                conformance::cpu_device().isa;
  } else {
    part.unit = "case";
    part.trial = try_plugin([&](const Begins& begins) { return hold(item, *contract, begins); },
                            cpu ? kCpuMemoryBytes : kDeviceMemoryBytes);
  }
  parts_.push_back(std::move(part));
}

// In the child.
Result<Report> PluginCheck::hold(const rt_implementation& item, const Contract& contract,
                                 const Begins& begins) {
  if (std::string_view(item.device_kind) == "cpu") {
    return conformance::hold_to_contract(contract, item, nullptr, begins);
  }
  RT_TRY(const Device device, registry_.device(item.device_kind));
  std::string why;
  const auto opened = conformance::Accelerator::open(*device.c, &why);
  if (opened == nullptr) return environment("device " + device.full_name + ": " + why);
  const char* has = opened->described().isa;
  if (!conformance::has_words(item.isa, has == nullptr ? "" : has)) {
    return environment(std::string("needs ") + item.isa + ", which the device lacks");
  }
  return conformance::hold_to_contract(contract, item, opened.get(), begins);
}

void PluginCheck::check(const rt_planner& planner) {
  CheckedPart part{"planner", "planner", full_name(planner.name), "", "problem"};
  // A pick that is none of the candidates is the planner's mistake; what it refuses is not.
  const auto choose = [&](const KvProblem& problem) -> Status {
    RT_TRY(const Planner chooser, registry_.planner(full_name(planner.name)));
    const auto pick = choose_planner(registry_, chooser, problem, {}, false);
    if (pick.ok()) return {};
    const bool wrong = pick.error().message.find(": chose candidate ") != std::string::npos;
    return wrong ? internal(pick.error().message) : pick.error();
  };
  part.trial = try_plugin(
      [&](const Begins& begins) -> Result<Report> {
        return conformance::hold_planner(planner, choose, begins);
      },
      kCpuMemoryBytes);
  parts_.push_back(std::move(part));
}

void PluginCheck::check(const rt_device& device) {
  CheckedPart part{"device", "device", full_name(device.kind), "", "device"};
  part.trial = try_plugin(
      [&](const Begins& begins) -> Result<Report> {
        Report report = conformance::hold_device(device, begins);
        if (report.failure || report.served_count > 0) return report;
        return environment(report.refusals.empty() ? "" : report.refusals.begin()->first);
      },
      kDeviceMemoryBytes);
  parts_.push_back(std::move(part));
}

// One file of the command line.
struct CheckedFile {
  std::string path;
  std::string plugin;   // "acme 1.0.0"; "" if its manifest could not be read
  std::string refusal;  // "" if it was opened
  std::vector<CheckedPart> parts;

  std::size_t failed_count() const {
    const auto failed = [](const CheckedPart& part) { return part.failed(); };
    return static_cast<std::size_t>(std::count_if(parts.begin(), parts.end(), failed));
  }
  bool failed() const { return !refusal.empty() || failed_count() > 0; }
};

CheckedFile check_file(Registry& registry, std::size_t index) {
  const Result<const Library*> library = registry.open_plugin(index);
  const PluginEntry& entry = registry.plugins()[index];
  CheckedFile file{entry.path, "", "", {}};
  if (entry.manifest) file.plugin = entry.name() + " " + entry.manifest->version;
  if (!library.ok()) file.refusal = library.error().message;
  if (library.ok()) file.parts = PluginCheck(registry, (*library)->descriptor()).run();
  return file;
}

std::string file_text(const CheckedFile& file) {
  std::string text = file.path + (file.plugin.empty() ? "" : ": " + file.plugin) + "\n";
  if (!file.refusal.empty()) return text + "  refused: " + file.refusal + "\n";
  std::size_t widths[3] = {};
  for (const CheckedPart& part : file.parts) {
    const std::string* cells[] = {&part.subject, &part.name, &part.device};
    for (int c = 0; c < 3; ++c) widths[c] = std::max(widths[c], cells[c]->size());
  }
  for (const CheckedPart& part : file.parts) {
    const std::string* cells[] = {&part.subject, &part.name, &part.device};
    for (int c = 0; c < 3; ++c) {
      if (widths[c] == 0) continue;
      text += "  " + *cells[c] + std::string(widths[c] - cells[c]->size(), ' ');
    }
    text += "  " + part.said() + "\n";
  }
  const std::size_t failed = file.failed_count();
  return text + "  " + std::to_string(file.parts.size()) + " checked, " +
         (failed == 0 ? "none" : std::to_string(failed)) + " failed\n";
}

Json part_json(const CheckedPart& part) {
  Json json = {
      {"kind", part.kind}, {"subject", part.subject}, {"name", part.name}, {"device", part.device}};
  if (part.tried()) add_trial(part.trial, json);
  if (!part.tried()) json["state"] = part.unsound ? "failed" : "not_tried";
  json["text"] = part.said();
  return json;
}

Json file_json(const CheckedFile& file) {
  Json json = {{"file", file.path}, {"plugin", file.plugin}};
  json["state"] = !file.refusal.empty() ? "refused" : file.failed() ? "failed" : "ok";
  json["reason"] = file.refusal;
  json["parts"] = Json::array();
  for (const CheckedPart& part : file.parts) json["parts"].push_back(part_json(part));
  return json;
}

// The processor of this machine: the installed device says what it has, and lends its threads.
Status learn_processor(Registry& registry) {
  RT_TRY(const Device device, registry.device("cpu"));
  for (const PluginEntry& entry : registry.plugins()) {
    if (entry.library == nullptr || !device.full_name.starts_with(entry.name() + "/")) continue;
    conformance::learn(entry.library->descriptor());
  }
  return {};
}

}  // namespace

Result<ExitCode> check_plugins(const std::vector<std::string>& files, const Settings& settings) {
  if (files.empty()) return bad_input("plugins check: expected the name of a plugin's file");
  std::vector<std::string> named = files;
  const std::vector<std::string>& beside = settings.list("plugins");
  named.insert(named.end(), beside.begin(), beside.end());
  RegistryOptions options;
  options.sources = process_sources(std::move(named));
  const std::unique_ptr<Registry> registry = Registry::scan(options);
  RT_RETURN_IF_ERROR(registry->ready());
  RT_RETURN_IF_ERROR(learn_processor(*registry));
  Json json = Json::array();
  bool failed = false;
  // The files of the command line come first among what was found, in their order.
  for (std::size_t i = 0; i < files.size(); ++i) {
    const CheckedFile file = check_file(*registry, i);
    failed = failed || file.failed();
    if (settings.flag("json")) json.push_back(file_json(file));
    if (!settings.flag("json")) RT_RETURN_IF_ERROR(write_out(file_text(file)));
  }
  if (settings.flag("json")) RT_RETURN_IF_ERROR(write_json(json));
  return failed ? static_cast<ExitCode>(Fault::kBadInput) : 0;
}

}  // namespace rt
