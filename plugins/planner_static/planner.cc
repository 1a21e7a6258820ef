// `static`: every sequence gets room for the whole context at its first token and keeps it until it
// is emptied. The fastest to reason about and the most wasteful: (N - T) tokens stand unused
// (llama.cpp's way).
#include "core/sdk/planner.hpp"

namespace {

using namespace rt;

struct Static {
  static void plan(const sdk::PlanProblem& problem, sdk::PlanSink& sink) {
    // No stripes: plain contiguous tensors [N, G, E], which every attention kernel can read.
    for (sdk::PlanClass& plan_class : problem.classes_by_window()) sink.add(plan_class);
    sink.explain("the whole context is allocated at once");
  }

  static std::uint64_t capacity(const sdk::PlanProblem& problem, std::uint32_t,
                                const rt_plan_sequence&) {
    return problem.context();
  }
};

constexpr rt_planner kStatic =
    sdk::planner<Static>("static", "whole context, allocated at the first token");

}  // namespace

RT_LIBRARY("planner_static", "0.1.0", kStatic)
