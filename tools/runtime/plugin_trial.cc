#include "tools/runtime/plugin_trial.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "core/base/text.h"
#include "core/plugin/probe.h"

namespace rt {
namespace {

using conformance::Failure;
using conformance::Report;

// The longest case of ours takes a fifth of a second on one core, and the machine may be busy.
constexpr std::chrono::seconds kCaseLimit{10};

Json refusals_json(const Report& report) {
  Json list = Json::array();
  for (const auto& [why, count] : report.refusals) {
    list.push_back({{"reason", why}, {"cases", count}});
  }
  return list;
}

Json failure_json(const Report& report) {
  if (!report.failure) return nullptr;
  return {{"case", report.failure->at}, {"complaints", report.failure->complaints}};
}

// What the child sends. Plugins' texts may be no UTF-8.
std::string packed(const Report& report) {
  const Json json = {{"cases", report.served_count},
                     {"refused", refusals_json(report)},
                     {"failure", failure_json(report)}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Report unpacked(const Json& json) {
  Report report;
  report.served_count = json.at("cases").get<std::size_t>();
  for (const Json& refusal : json.at("refused")) {
    report.refusals[refusal.at("reason").get<std::string>()] =
        refusal.at("cases").get<std::size_t>();
  }
  const Json& failure = json.at("failure");
  if (!failure.is_null()) {
    report.failure = Failure{failure.at("case").get<std::string>(),
                             failure.at("complaints").get<std::vector<std::string>>()};
  }
  return report;
}

std::string counted(std::size_t count, const std::string& unit) {
  return std::to_string(count) + " " + unit + (count == 1 ? "" : "s");
}

// "3 refused: reason", of several reasons the one that is given most.
std::string refusals_text(const Report& report) {
  std::size_t sum = 0;
  const std::pair<const std::string, std::size_t>* most = nullptr;
  for (const auto& refusal : report.refusals) {
    sum += refusal.second;
    if (most == nullptr || refusal.second > most->second) most = &refusal;
  }
  if (most == nullptr) return "";
  const std::size_t others = report.refusals.size() - 1;
  return std::to_string(sum) + " refused: " + most->first +
         (others == 0 ? "" : " (and " + counted(others, "other reason") + ")");
}

const char* state_of(const PluginTrial& trial) {
  if (!trial.not_run.empty()) return "not_run";
  return trial_failed(trial) ? "failed" : "ok";
}

}  // namespace

PluginTrial try_plugin(const std::function<Result<Report>(const Begins&)>& body,
                       std::uint64_t memory_bytes) {
  ProbeNote note;
  const auto in_child = [&]() -> Result<std::string> {
    RT_TRY(const Report report, body([&](const std::string& at) { note.write(at); }));
    return packed(report);
  };
  const ProbeEnd end = run_in_child(in_child, {kCaseLimit, memory_bytes, &note});
  PluginTrial trial;
  trial.died = !end.died.empty();
  if (trial.died) {
    trial.report.failure = Failure{note.text(), {end.died + end.last_words}};
  } else if (!end.answer.ok()) {
    trial.not_run = end.answer.error().message;
  } else {
    const Result<Json> json = parse_json(*end.answer, "the trial's answer");
    if (json.ok()) trial.report = unpacked(*json);
    if (!json.ok()) trial.report.failure = Failure{note.text(), {json.error().message}};
  }
  return trial;
}

bool trial_failed(const PluginTrial& trial) {
  if (!trial.not_run.empty()) return false;
  return trial.report.failure || trial.report.served_count == 0;
}

std::string trial_text(const PluginTrial& trial, const std::string& unit) {
  const Report& report = trial.report;
  if (!trial.not_run.empty()) return "not run: " + trial.not_run;
  const std::string refused = refusals_text(report);
  if (!report.failure) {
    if (report.served_count == 0) return "failed: serves no " + unit + "; " + refused;
    return "ok, " + counted(report.served_count, unit) + (refused.empty() ? "" : ", " + refused);
  }
  const Failure& failure = *report.failure;
  const std::string where =
      failure.at.empty() ? " before its first " + unit : " in " + unit + " " + failure.at;
  const std::string what = join(failure.complaints, "; ");
  return trial.died ? what + where : "failed" + where + ": " + what;
}

void add_trial(const PluginTrial& trial, Json& json) {
  json["state"] = state_of(trial);
  json["cases"] = trial.report.served_count;
  json["refused"] = refusals_json(trial.report);
  json["failure"] = failure_json(trial.report);
  json["reason"] = trial.not_run;
}

}  // namespace rt
