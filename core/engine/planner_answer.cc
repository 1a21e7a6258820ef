#include "core/engine/planner_answer.h"

#include <algorithm>

#include "core/engine/planner_choice.h"
#include "core/plugin/host.h"
#include "core/plugin/probe.h"

namespace rt {
namespace {

KvProblem kv_problem(const Blueprint& b, const KvChoice& choice) {
  KvProblem problem;
  problem.layers = b.graph.kv_layers;
  problem.dtype = b.kv_dtype;
  problem.forms = b.readable_forms;
  problem.context_tokens = b.bounds.context_tokens;
  problem.prompt_tokens = choice.prompt_tokens;
  problem.new_tokens = choice.new_tokens;
  problem.hard_budget = choice.hard_budget;
  problem.step_tokens = b.bounds.tokens;
  problem.max_sequences = b.bounds.sequences;
  problem.can_reserve = b.desc.can_reserve != 0;
  problem.can_make_ready = b.desc.can_make_ready != 0;
  problem.granule_bytes = b.desc.granule_bytes;
  problem.alignment_bytes = b.desc.alignment_bytes;
  problem.limit_bytes = left_bytes(b);
  return problem;
}

}  // namespace

std::uint64_t left_bytes(const Blueprint& b) {
  if (b.limit_bytes == UINT64_MAX) return UINT64_MAX;
  return b.limit_bytes - std::min(b.fixed_memory().owned(), b.limit_bytes);
}

Result<PlannerAnswer> ask_planner(Registry& registry, const Blueprint& b, const KvChoice& choice,
                                  bool trial) {
  PlannerAnswer out;
  RT_TRY(Planner planner, registry.planner(choice.planner));
  std::vector<Option> options = choice.planner_options;
  const KvProblem problem = kv_problem(b, choice);
  if (planner_chooses(*planner.c)) {
    const std::uint64_t common = b.options.common_tokens;
    const Together together{b.bounds.sequences - (common > 0 ? 1 : 0), common,
                            b.graph.rope_switch_tokens};
    RT_TRY(PlannerChoice pick,
           choose_planner(registry, planner, problem, options, trial, together));
    planner = pick.planner;
    options.clear();
    out.choice = std::move(pick.explanation);
  }
  const auto make = [&] {
    return KvPlan::make(*planner.c, planner.host, take_fail_text, problem, options);
  };
  if (trial && !planner.bundled) {
    RT_RETURN_IF_ERROR(probe("planner " + planner.full_name, [&]() -> Status {
      RT_TRY([[maybe_unused]] const KvPlan plan, make());
      return {};
    }));
  }
  RT_TRY(out.plan, make());
  return out;
}

}  // namespace rt
