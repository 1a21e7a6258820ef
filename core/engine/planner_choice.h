// A planner that picks among the others (`auto`): what each of them costs is found here, by the
// same forecast that `plan` prints, and the pick is the plugin's.
#pragma once

#include <string>
#include <vector>

#include "core/base/options.h"
#include "core/base/result.h"
#include "core/memory/kv_plan.h"
#include "core/plugin/registry.h"

namespace rt {

// How many conversations like the problem's run at once, and what they begin with.
struct Together {
  std::uint32_t requests = 1;
  std::uint64_t common_tokens = 0;  // held once where stripes can be shared
  std::uint64_t rope_switch_tokens = 0;
};

struct PlannerChoice {
  Planner planner;
  std::vector<std::string> explanation;  // the chooser's sentences, and who could not be asked
};

// Asks every other planner for `problem` with its default options; one that refuses is left out
// and named in the explanation. Bad input if the chooser refuses or nobody answers. trial:
// strangers are first asked in a child process; otherwise they have been, for a problem like this
// one, and who did not come back then is left out again.
Result<PlannerChoice> choose_planner(Registry& registry, const Planner& chooser,
                                     const KvProblem& problem, const std::vector<Option>& options,
                                     bool trial, const Together& together = {});

// What a planner costs in the problem's conversation: the declared tokens, or the whole context.
// The peak is of all that run at once.
struct PlannerCost {
  std::string name;
  bool fits = false;
  std::uint64_t reserved_bytes = 0;
  std::uint64_t standing_bytes = 0;  // half way
  std::uint64_t peak_bytes = 0;
  std::uint64_t copied_bytes = 0;
  std::uint64_t address_changes = 0;
  std::uint64_t largest_tokens = 0;  // that fit the problem's limit
};
Result<PlannerCost> planner_cost(const KvPlan& plan, const Together& together = {});

}  // namespace rt
