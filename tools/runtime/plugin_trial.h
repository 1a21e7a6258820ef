// A plugin's code held to its contract in a child process, so that what crashes or hangs there is a
// line of a report.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/base/json_fwd.h"
#include "core/base/result.h"
#include "tools/conformance/report.h"

namespace rt {

// Told of each case before it runs.
using Begins = std::function<void(const std::string&)>;

struct PluginTrial {
  conformance::Report report;  // a crash is its failure
  bool died = false;           // complaints then hold how, the case where
  std::string not_run;         // not "": what is missing here to run it
};

// Each case of `body` has ten seconds. An Error of it says why nothing was run.
PluginTrial try_plugin(const std::function<Result<conformance::Report>(const Begins&)>& body,
                       std::uint64_t memory_bytes);

// "ok, 84 cases, 3 refused: ...", "crashed with SIGSEGV in case ...". `unit`: "case", "problem".
std::string trial_text(const PluginTrial& trial, const std::string& unit);
bool trial_failed(const PluginTrial& trial);
// Members state, cases, refused, failure, reason.
void add_trial(const PluginTrial& trial, Json& json);

}  // namespace rt
