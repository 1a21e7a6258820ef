// `exact`: room for the declared prompt + new tokens and not one more (LitGPT's generate). Under an
// open budget it plans prompt + `open_tokens` and, when that is passed, as much again: a growth is
// a new allocation and a copy, which is the price that `elastic` does not pay. Each layer is a
// class of its own, so layers move one after another and the peak is the new cache and one old
// layer.
#include "core/sdk/planner.hpp"

namespace {

using namespace rt;

// Sequences of different budgets share one layout, so stripes of 64 tokens bound what each wastes;
// a single sequence gets plain contiguous tensors and wastes nothing.
constexpr std::uint64_t kSharedStripeTokens = 64;

constexpr rt_attr_spec kOpenTokens =
    sdk::int_attr_or("open_tokens", 512, 1, 1 << 20,
                     "tokens planned beyond the present length under an open budget");
constexpr const rt_attr_spec* kOptions[] = {&kOpenTokens};

struct Exact {
  static void plan(const sdk::PlanProblem& problem, sdk::PlanSink& sink) {
    for (sdk::PlanClass& plan_class : problem.classes_by_layer()) {
      plan_class.growth = RT_GROW_MOVE;
      if (problem.c().max_sequences > 1) problem.stripe(plan_class, kSharedStripeTokens);
      sink.add(plan_class);
    }
    sink.explain("exactly the declared tokens are allocated");
  }

  static std::uint64_t capacity(const sdk::PlanProblem& problem, std::uint32_t,
                                const rt_plan_sequence& sequence) {
    if (sequence.tokens <= sequence.capacity_tokens) return sequence.capacity_tokens;
    if (sequence.tokens <= sequence.budget_tokens) return sequence.budget_tokens;
    const auto open = static_cast<std::uint64_t>(problem.options().integer("open_tokens"));
    return std::min(problem.context(), sequence.tokens + open);
  }
};

constexpr rt_planner kExact =
    sdk::planner<Exact>("exact", "declared prompt + new tokens, copied when passed", kOptions);

}  // namespace

RT_LIBRARY("planner_exact", "0.1.0", kExact)
