// Does it fit? Asked before a weight is read or a byte committed, by the computation that the run
// will follow (blueprint.h). A refusal says what would fit instead, and that is true: every number
// and every name in it has been planned.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/engine/blueprint.h"

namespace rt {

// What must fit: a hard budget whole, of an open one the prompt and one growth step; of a batch as
// many requests as run at once, those that take the most.
struct Demand {
  std::uint64_t tokens = 0;   // of the longest
  std::uint64_t at_once = 1;  // requests
  MemoryBytes peak;           // on the way to `tokens`
  std::uint64_t charged = 0;  // by the planner, beside the cache
  std::uint64_t limit_bytes = 0;

  // What is compared with the limit; mapped weights are the file's pages and are not in it.
  std::uint64_t bytes() const { return peak.owned() + charged; }
  bool fits() const { return bytes() <= limit_bytes; }
};

// How many requests run at once: the sequences, without the one that holds a shared prefix.
std::uint32_t at_once(const EngineOptions& options);

// " or raise --ctx-size (the model's is 4096)"; "" where that is the context already.
std::string larger_context(const Blueprint& blueprint);

// Refuses (kBadInput) a prompt that leaves no room in the context for an answer.
Result<Demand> demand_of(const Blueprint& blueprint);

// Refuses (kEnvironment) what does not fit.
Status admit(const Blueprint& blueprint);

// The same, and the refusal says what would fit: fewer tokens, another KV dtype, another planner of
// those that are loaded, shorter steps. `offers` of the caller's come first. `common`: what the
// prompts of a batch begin with.
Status admit_or_offer(Registry& registry, const Blueprint& blueprint,
                      std::vector<std::string> offers = {}, std::uint64_t common = 0);

// The most tokens, prompt and new ones together, that a hard budget may have: that many fit and one
// more does not, or it is the context. 0: not even a prompt of one token and its answer. The prompt
// is options.prompt_tokens, or what there is room for. Of a batch: the most that every request may
// have. `guess` is tried first: for a planner that picks among others, whose every answer costs
// theirs.
Result<std::uint64_t> largest_budget(Registry& registry, const Blueprint& blueprint,
                                     std::uint64_t guess = 0);

}  // namespace rt
