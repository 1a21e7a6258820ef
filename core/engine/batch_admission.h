// A batch as a whole: how many of its requests run at once, on which shared prefix, and whether
// that fits, by the forecast that the plan prints (admission.h). A prefix is shared where the
// planner uses tables, in whole stripes of every class.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "core/base/result.h"
#include "core/engine/blueprint.h"
#include "core/engine/generate.h"

namespace rt {

// Tokens that all prompts begin with, each left with at least one of its own; 0 for a single one.
std::uint64_t common_tokens(std::span<const GenerateRequest> requests);

// Of `common` tokens those that can be shared under this plan: whole stripes; 0 without tables.
std::uint64_t shared_stripes(const Blueprint& blueprint, std::uint64_t common);

// A blueprint for options.batch, `requests` of them at once: with as much of `common` shared as
// this planner can, in a sequence of its own, or with nothing shared.
Result<std::unique_ptr<Blueprint>> draw_sharing(Registry& registry, EngineOptions options,
                                                std::uint32_t requests, std::uint64_t common);

// redraw() of blueprint.h for a batch with `common` tokens: drawn afresh, since one sequence more
// is a row of logits and a table more.
Result<std::unique_ptr<Blueprint>> redraw_sharing(Registry& registry, const Blueprint& base,
                                                  const KvChoice& choice, std::uint64_t common);

// The blueprint of a session for `requests`; at_once(its options) of them run at once, at most
// options.max_sequences. Where so many do not fit, open budgets are run fewer at a time, with a
// note; if any request declares its tokens it is refused (kEnvironment), and what would fit is
// said: fewer at once, fewer tokens, another KV dtype or planner.
Result<std::unique_ptr<Blueprint>> admit_batch(Registry& registry, EngineOptions options,
                                               std::span<const GenerateRequest> requests);

}  // namespace rt
