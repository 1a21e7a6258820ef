// What `runtime plan` prints: the fixed part by name, a table of planners, and why.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/base/json_fwd.h"
#include "core/engine/outlook.h"

namespace rt {

struct PlanPage {
  const Blueprint* blueprint = nullptr;
  std::vector<KvTurn> turns;
  bool declared = true;  // the user said how many tokens; false: the whole context
  std::vector<PlannerOutlook> planners;

  // In the cache after the last turn; the last token drawn is not.
  std::uint64_t length() const;
  // Prompt and new tokens of all turns.
  std::uint64_t tokens() const;
};

std::string plan_text(const PlanPage& page);
Json plan_json(const PlanPage& page);
// KV memory over tokens.
std::string plan_svg(const PlanPage& page);

}  // namespace rt
