// What a conversation will cost under each planner: the KV forecast (core/memory/kv_forecast.h),
// what stands beside the cache, and the largest budget that fits. Reads no weight.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/engine/blueprint.h"
#include "core/memory/kv_forecast.h"

namespace rt {

struct PlannerOutlook {
  std::string planner;  // its bare name, or the full one where the bare one is another's
  bool configured = false;
  std::string refusal;  // not empty: why it cannot serve here, and nothing below is set
  std::vector<std::string> explanation;
  std::vector<KvCharge> charges;
  KvForecast kv;
  MemoryBytes standing;  // after the last turn
  MemoryBytes peak;
  MemoryBytes load_peak;             // while loading, before the first token
  std::uint64_t charged = 0;         // sum of charges
  std::uint64_t largest_tokens = 0;  // largest_budget() of admission.h
  std::uint64_t shared_tokens = 0;   // of a batch's prompts, in pages that stand once
  bool fits = false;

  std::uint64_t total_standing() const;  // with mapped weights and charges
  std::uint64_t total_peak() const;
};

// `planners`: names; an empty list means all that are loaded. The one in base.options comes first
// and is marked. A planner that refuses is in the answer with its reason. With base.options.batch
// that many requests at once are looked at in place of the turns; `common`: tokens that their
// prompts begin with.
Result<std::vector<PlannerOutlook>> look_ahead(Registry& registry, const Blueprint& base,
                                               std::span<const KvTurn> turns,
                                               std::vector<std::string> planners,
                                               std::uint64_t common = 0);

// A sentence where the mapped weights and `owned_bytes` beside them pass the machine's memory, so
// that weights are read from the file again for every token; "" where they do not. No limit has
// mapped weights in it: the machine can drop their pages, and what that costs is time.
std::string paging_note(const Blueprint& blueprint, std::uint64_t owned_bytes);

}  // namespace rt
