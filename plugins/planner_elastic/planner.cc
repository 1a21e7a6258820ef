// `elastic`, the default: address space for the whole context is reserved once, memory is committed
// stripe by stripe as the conversation grows and given back when it shrinks. No copy, no address
// change, and what stands exceeds the need by less than one quantum per class and sequence:
//
//   quantum = round_up(S * R, granule)     R = bytes of one token in the class
//
// S starts at 64 tokens, which cost nothing measurable on the CPU (0.99-1.02 of contiguous; 16 cost
// up to 13 %, since the walk restarts once per stripe and layer). Then, within [16, 1024]:
//
//   doubled while 2 S R <= granule        such a stripe is committed with the granule anyway
//   halved  while S R > waste             the option: what a sequence may waste per class
//   halved  while S > (W - 1 + U) / 8     a ring is whole stripes: at most an eighth over
#include "core/sdk/planner.hpp"

namespace {

using namespace rt;

constexpr std::uint64_t kUsualStripe = 64;
constexpr std::uint64_t kLeastStripe = 16;
constexpr std::uint64_t kMostStripe = 1024;

constexpr rt_attr_spec kStripe =
    sdk::int_attr_or("stripe", 0, 0, 1 << 20, "tokens per stripe; 0: chosen for each class");
constexpr rt_attr_spec kWaste = sdk::int_attr_or(
    "waste", 16 << 20, 0, std::int64_t{1} << 40,
    "bytes that a sequence may waste in each class; stripes get shorter to stay below");
constexpr const rt_attr_spec* kOptions[] = {&kStripe, &kWaste};

std::uint64_t stripe_tokens(const sdk::PlanProblem& problem, const sdk::PlanClass& plan_class) {
  const std::int64_t given = problem.options().integer("stripe");
  if (given > 0) return static_cast<std::uint64_t>(given);
  const auto waste = static_cast<std::uint64_t>(problem.options().integer("waste"));
  const std::uint64_t row = problem.token_bytes(plan_class);
  std::uint64_t tokens = kUsualStripe;
  while (tokens < kMostStripe && 2 * tokens * row <= problem.c().granule_bytes) tokens *= 2;
  while (tokens > kLeastStripe && tokens * row > waste) tokens /= 2;
  if (plan_class.form == RT_KV_RING) {
    const std::uint64_t ring = std::uint64_t{plan_class.window} - 1 + problem.c().step_tokens;
    while (tokens > kLeastStripe && tokens > ring / 8) tokens /= 2;
  }
  return tokens;
}

struct Elastic {
  static void plan(const sdk::PlanProblem& problem, sdk::PlanSink& sink) {
    if (problem.c().can_reserve == 0) {
      throw sdk::Refusal(
          "expected a device that can reserve address space; use `grow`, `exact` or `static`");
    }
    std::string sizes;
    for (sdk::PlanClass& plan_class : problem.classes_by_window()) {
      plan_class.growth = RT_GROW_COMMIT;
      plan_class.reserve_tokens = problem.context();
      problem.stripe(plan_class, stripe_tokens(problem, plan_class));
      sink.add(plan_class);
      sizes += (sizes.empty() ? "" : " and ") + std::to_string(plan_class.stripe_tokens);
    }
    sink.explain("address space for the context is reserved, memory is committed in stripes of " +
                 sizes + " tokens");
  }

  static std::uint64_t capacity(const sdk::PlanProblem& problem, std::uint32_t class_index,
                                const rt_plan_sequence& sequence) {
    const std::uint64_t stripe = stripe_tokens(problem, problem.classes_by_window()[class_index]);
    return std::min(problem.context(), sdk::round_up(sequence.tokens, stripe));
  }
};

constexpr rt_planner kElastic = sdk::planner<Elastic>(
    "elastic", "reserves addresses once, commits memory as the conversation grows", kOptions);

}  // namespace

RT_LIBRARY("planner_elastic", "0.1.0", kElastic)
