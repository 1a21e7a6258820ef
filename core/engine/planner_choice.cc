#include "core/engine/planner_choice.h"

#include <algorithm>
#include <functional>

#include "core/memory/kv_forecast.h"
#include "core/plugin/host.h"
#include "core/plugin/probe.h"

namespace rt {
namespace {

// A trial only shows whether a planner comes back: what it answers or refuses is asked again here.
Status try_in_child(Registry& registry, const Planner& planner, const std::function<void()>& ask) {
  Status survived = probe("planner " + planner.full_name, [&]() -> Status {
    ask();
    return {};
  });
  if (!survived.ok())
    registry.failed_trials().insert_or_assign(planner.full_name, survived.error());
  return survived;
}

Result<PlannerCost> cost_of(Registry& registry, const Planner& planner, const KvProblem& problem,
                            bool trial, const Together& together) {
  const auto ask = [&]() -> Result<PlannerCost> {
    RT_TRY(const KvPlan plan, KvPlan::make(*planner.c, planner.host, take_fail_text, problem, {}));
    return planner_cost(plan, together);
  };
  const auto failed = registry.failed_trials().find(planner.full_name);
  if (failed != registry.failed_trials().end()) return failed->second;
  if (!planner.bundled && trial) {
    RT_RETURN_IF_ERROR(try_in_child(registry, planner, [&] { (void)ask(); }));
  }
  return ask();
}

rt_plan_candidate to_candidate(const PlannerCost& cost) {
  rt_plan_candidate c{};
  c.struct_size = sizeof c;
  c.fits = cost.fits ? 1 : 0;
  c.name = cost.name.c_str();
  c.reserved_bytes = cost.reserved_bytes;
  c.standing_bytes = cost.standing_bytes;
  c.peak_bytes = cost.peak_bytes;
  c.copied_bytes = cost.copied_bytes;
  c.address_changes = cost.address_changes;
  c.largest_tokens = cost.largest_tokens;
  return c;
}

// rt_plan_sink that keeps sentences and takes no layout.
struct Sentences {
  rt_plan_sink c{};  // first
  std::vector<std::string> list;
};
rt_status no_class(rt_plan_sink*, const rt_plan_class*) {
  return RT_INVALID;
}
rt_status no_charge(rt_plan_sink*, const char*, std::uint64_t) {
  return RT_INVALID;
}
void keep_sentence(rt_plan_sink* sink, const char* sentence) {
  auto& list = reinterpret_cast<Sentences*>(sink)->list;
  if (sentence != nullptr && list.size() < 8) list.push_back(sentence);
}

Result<std::uint32_t> ask_chooser(const Planner& chooser, const KvProblem& problem,
                                  const std::vector<Option>& options,
                                  const std::vector<PlannerCost>& costs,
                                  std::vector<std::string>* explanation) {
  RT_TRY(const auto complete, complete_options("planner " + chooser.full_name, options,
                                               {chooser.c->options, chooser.c->option_count}));
  const KvQuestion question(problem, complete);
  std::vector<rt_plan_candidate> candidates;
  for (const PlannerCost& cost : costs) candidates.push_back(to_candidate(cost));
  std::vector<const rt_plan_candidate*> pointers;
  for (const rt_plan_candidate& candidate : candidates) pointers.push_back(&candidate);
  Sentences sink{{sizeof(rt_plan_sink), 0, no_class, no_charge, keep_sentence}, {}};
  std::uint32_t chosen = UINT32_MAX;
  RT_RETURN_IF_ERROR(call_plugin({chooser.full_name, "choose", ""}, [&] {
    return question.with([&](const rt_plan_problem* c) {
      return chooser.c->choose(chooser.host, c, static_cast<std::uint32_t>(pointers.size()),
                               pointers.data(), &sink.c, &chosen);
    });
  }));
  if (chosen >= costs.size()) {
    return bad_input("planner " + chooser.full_name + ": chose candidate " +
                     std::to_string(chosen) + " of " + std::to_string(costs.size()));
  }
  explanation->insert(explanation->begin(), sink.list.begin(), sink.list.end());
  return chosen;
}

Result<std::uint64_t> peak_together(const KvPlan& plan, const KvRequest& request,
                                    const Together& together) {
  const std::vector<KvRequest> requests(together.requests, request);
  const std::uint64_t at = together.rope_switch_tokens;
  const std::uint64_t common = std::min(together.common_tokens, request.prompt_tokens - 1);
  const std::uint64_t shared = plan.shareable_tokens(at > 0 ? std::min(common, at) : common);
  RT_TRY(const KvForecast cost, forecast_together(plan, requests, shared, at));
  return cost.peak_bytes;
}

}  // namespace

Result<PlannerCost> planner_cost(const KvPlan& plan, const Together& together) {
  const KvProblem& problem = plan.problem();
  const std::uint64_t declared = problem.prompt_tokens + problem.new_tokens;
  const std::uint64_t tokens =
      problem.new_tokens == 0 ? problem.context_tokens : std::min(declared, problem.context_tokens);
  const std::uint64_t prompt = std::clamp<std::uint64_t>(problem.prompt_tokens, 1, tokens);
  const KvTurn turn{prompt, tokens - prompt, problem.new_tokens > 0};
  RT_TRY(const KvForecast cost, forecast(plan, {&turn, 1}));
  PlannerCost out;
  out.name = plan.planner_name();
  out.reserved_bytes = cost.reserved_bytes;
  out.peak_bytes = cost.peak_bytes;
  out.copied_bytes = cost.copied_bytes;
  out.address_changes = cost.address_changes;
  if (together.requests > 1) {
    const KvRequest request{prompt, tokens, problem.new_tokens > 0};
    RT_TRY(out.peak_bytes, peak_together(plan, request, together));
  }
  out.fits = out.peak_bytes <= problem.limit_bytes;
  for (const KvPoint& point : cost.curve) {
    if (point.computed_tokens <= tokens / 2 || out.standing_bytes == 0) {
      out.standing_bytes = point.standing_bytes;
    }
  }
  RT_TRY(out.largest_tokens, largest_tokens(plan, problem.limit_bytes, prompt));
  return out;
}

Result<PlannerChoice> choose_planner(Registry& registry, const Planner& chooser,
                                     const KvProblem& problem, const std::vector<Option>& options,
                                     bool trial, const Together& together) {
  std::vector<Planner> planners;
  std::vector<PlannerCost> costs;
  PlannerChoice choice;
  for (const std::string& name : registry.planner_names()) {
    auto planner = registry.planner(name);
    if (planner.ok() && (planner->c == chooser.c || planner_chooses(*planner->c))) continue;
    auto cost = planner.ok() ? cost_of(registry, *planner, problem, trial, together)
                             : Result<PlannerCost>(std::move(planner).error());
    if (!cost.ok()) {
      choice.explanation.push_back("not considered: " + cost.error().message);
      continue;
    }
    planners.push_back(*planner);
    costs.push_back(std::move(cost).value());
  }
  if (costs.empty()) {
    return bad_input("planner " + chooser.full_name + ": no other planner answered for this model");
  }
  const auto ask = [&] {
    return ask_chooser(chooser, problem, options, costs, &choice.explanation);
  };
  if (!chooser.bundled && trial) {
    RT_RETURN_IF_ERROR(try_in_child(registry, chooser, [&] { (void)ask(); }));
  }
  RT_TRY(const std::uint32_t chosen, ask());
  choice.planner = planners[chosen];
  return choice;
}

}  // namespace rt
