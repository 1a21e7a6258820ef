// A third party's planner whose capacity falls at one length, far from those that are looked at
// before a run begins.
#include <algorithm>

#include "core/sdk/planner.hpp"

namespace sdk = rt::sdk;

namespace {

struct Falling {
  static void plan(const sdk::PlanProblem& problem, sdk::PlanSink& sink) {
    for (sdk::PlanClass c : problem.classes_by_window()) {
      c.form = RT_KV_AFFINE;
      c.growth = RT_GROW_MOVE;
      sink.add(c);
    }
  }
  static std::uint64_t capacity(const sdk::PlanProblem& problem, std::uint32_t,
                                const rt_plan_sequence& sequence) {
    const std::uint64_t room = sequence.tokens == 301 ? 301 : sdk::round_up(sequence.tokens, 64);
    return std::min(problem.context(), room);
  }
};

constexpr rt_planner kFalling = sdk::planner<Falling>("falling", "in steps of 64 tokens");

}  // namespace

RT_LIBRARY("zed_falling", "1.0.0", kFalling)
