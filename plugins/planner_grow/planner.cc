// `grow`: capacity rises geometrically (or by a step) and the rows are copied each time, the way
// of a growing vector. For devices that cannot reserve address space, and to compare with.
//
//   capacities: first, first * factor, first * factor^2, ...    copied in all <= last / (factor-1)
//               first, first + step, first + 2 step, ...        copied in all ~ last^2 / (2 step)
//
// Every layer is a class of its own, so the host moves them one after another and the peak is the
// new cache and one old layer, not the new and the old cache.
#include <cmath>

#include "core/sdk/planner.hpp"

namespace {

using namespace rt;

// Several sequences share one layout; stripes let each have its own capacity.
constexpr std::uint64_t kSharedStripeTokens = 64;

constexpr rt_attr_spec kFactor =
    sdk::real_attr_or("factor", 2.0, 1.05, 16, "each capacity is so many times the one before");
constexpr rt_attr_spec kStep = sdk::int_attr_or(
    "step", 0, 0, 1 << 24, "tokens added each time instead; 0: multiply by factor");
constexpr rt_attr_spec kFirst = sdk::int_attr_or("first", 256, 1, 1 << 24, "the first capacity");
constexpr const rt_attr_spec* kOptions[] = {&kFactor, &kStep, &kFirst};

struct Grow {
  static void plan(const sdk::PlanProblem& problem, sdk::PlanSink& sink) {
    for (sdk::PlanClass& plan_class : problem.classes_by_layer()) {
      plan_class.growth = RT_GROW_MOVE;
      if (problem.c().max_sequences > 1) problem.stripe(plan_class, kSharedStripeTokens);
      sink.add(plan_class);
    }
    sink.explain("capacity grows in steps and is copied layer by layer");
  }

  static std::uint64_t capacity(const sdk::PlanProblem& problem, std::uint32_t,
                                const rt_plan_sequence& sequence) {
    const auto first = static_cast<std::uint64_t>(problem.options().integer("first"));
    const auto step = static_cast<std::uint64_t>(problem.options().integer("step"));
    const double factor = problem.options().real("factor");
    std::uint64_t capacity = first;
    if (step > 0 && sequence.tokens > first) {
      capacity = first + sdk::round_up(sequence.tokens - first, step);
    }
    while (capacity < sequence.tokens) {
      capacity = static_cast<std::uint64_t>(std::ceil(static_cast<double>(capacity) * factor));
    }
    return std::min(problem.context(), capacity);
  }
};

constexpr rt_planner kGrow = sdk::planner<Grow>(
    "grow", "capacity grows geometrically or in steps, copied layer by layer", kOptions);

}  // namespace

RT_LIBRARY("planner_grow", "0.1.0", kGrow)
