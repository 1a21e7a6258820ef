// What the chosen planner answers for a blueprint whose readable forms are known.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/engine/blueprint.h"

namespace rt {

// Of the limit, what is left for the KV cache: all of it if there is no limit.
std::uint64_t left_bytes(const Blueprint& b);

struct PlannerAnswer {
  std::optional<KvPlan> plan;
  std::vector<std::string> choice;  // why this planner, if another one picked it
};

// Bad input if the planner is unknown or refuses. trial: a stranger's planner is first asked in a
// child process, where a crash or an endless loop costs one sentence.
Result<PlannerAnswer> ask_planner(Registry& registry, const Blueprint& b, const KvChoice& choice,
                                  bool trial);

}  // namespace rt
