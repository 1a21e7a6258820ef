// Planners that lie: each mistake is refused with its reason, before a byte is taken.
#include "core/memory/kv_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <stdexcept>

#include "core/sdk/planner.hpp"

namespace rt {
namespace {

std::string no_text() {
  return "";
}

rt_status silent_fail(const rt_host*, rt_status code, const char*) {
  return code;
}
constexpr rt_host kHost{sizeof(rt_host), 0, 1, 0, silent_fail, nullptr, nullptr};

KvProblem problem() {
  KvProblem problem;
  problem.layers = {{"kv.0", 0, 0, 2, 8, 4, 0}, {"kv.1", 1, 6, 2, 8, 4, 1}};
  problem.context_tokens = 100;
  problem.step_tokens = 4;
  return problem;
}

// What a planner answers, changed by each test through this hook.
std::function<void(std::vector<sdk::PlanClass>&)> change_layout;
std::function<std::uint64_t(const rt_plan_sequence&)> change_capacity;

struct Changed {
  static void plan(const sdk::PlanProblem& p, sdk::PlanSink& sink) {
    std::vector<sdk::PlanClass> classes = p.classes_by_window();
    for (sdk::PlanClass& c : classes) {
      c.growth = RT_GROW_COMMIT;
      c.reserve_tokens = p.context();
      p.stripe(c, 16);
    }
    if (change_layout) change_layout(classes);
    for (const sdk::PlanClass& c : classes) sink.add(c);
  }
  static std::uint64_t capacity(const sdk::PlanProblem& p, std::uint32_t,
                                const rt_plan_sequence& sequence) {
    if (change_capacity) return change_capacity(sequence);
    return std::min(p.context(), sdk::round_up(sequence.tokens, 16));
  }
};

constexpr rt_planner kChanged = sdk::planner<Changed>("changed", "");

Result<KvPlan> make() {
  return KvPlan::make(kChanged, &kHost, no_text, problem(), {});
}

class LyingPlanner : public testing::Test {
 protected:
  void TearDown() override {
    change_layout = nullptr;
    change_capacity = nullptr;
  }
  void expect_refused(const std::string& reason) {
    auto plan = make();
    ASSERT_FALSE(plan.ok());
    EXPECT_NE(plan.error().message.find(reason), std::string::npos) << plan.error().message;
  }
};

TEST_F(LyingPlanner, AnHonestOneIsAccepted) {
  auto plan = make();
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_EQ(plan->classes().size(), 2u);
}

TEST_F(LyingPlanner, Overlap) {
  change_layout = [](auto& classes) { classes[0].v_offsets[0] = classes[0].k_offsets[0]; };
  expect_refused("overlap");
}

TEST_F(LyingPlanner, BeyondTheStripe) {
  change_layout = [](auto& classes) { classes[0].stripe_bytes = 64; };
  expect_refused("beyond the stripe");
}

TEST_F(LyingPlanner, Misaligned) {
  change_layout = [](auto& classes) {
    classes[0].v_offsets[0] += 4;
    classes[0].stripe_bytes += 64;
  };
  expect_refused("not a multiple of the alignment");
}

TEST_F(LyingPlanner, ForgetsALayer) {
  change_layout = [](auto& classes) { classes.pop_back(); };
  expect_refused("forgets layer 1");
}

TEST_F(LyingPlanner, NamesALayerTwice) {
  change_layout = [](auto& classes) { classes[1].layers[0] = 0; };
  expect_refused("puts layer 0 in two places");
}

TEST_F(LyingPlanner, AnswersWithoutEnd) {
  change_layout = [](auto& classes) { classes.resize(100'000, classes[0]); };
  expect_refused("more classes or layers than the model has");
}

TEST_F(LyingPlanner, NamesALayerThatIsNotThere) {
  change_layout = [](auto& classes) { classes[1].layers[0] = 7; };
  expect_refused("names layer 7");
}

TEST_F(LyingPlanner, RingForLayersWithoutAWindow) {
  change_layout = [](auto& classes) { classes[0].form = RT_KV_RING; };
  expect_refused("a ring for layers that see every key");
}

TEST_F(LyingPlanner, TooSmallACapacity) {
  change_capacity = [](const rt_plan_sequence& s) { return s.tokens - 1; };
  expect_refused("gives room for 0 tokens where 1 must fit");
}

TEST_F(LyingPlanner, TooLargeACapacity) {
  change_capacity = [](const rt_plan_sequence&) { return std::uint64_t{101}; };
  expect_refused("100 is the context");
}

TEST_F(LyingPlanner, FallingCapacity) {
  change_capacity = [](const rt_plan_sequence& s) {
    return s.tokens < 10 ? std::uint64_t{90} : std::max<std::uint64_t>(s.tokens, 60);
  };
  expect_refused("capacity falls");
}

TEST_F(LyingPlanner, StripeThatOverflows) {
  change_layout = [](auto& classes) { classes[0].stripe_tokens = UINT64_MAX; };
  expect_refused("more than 2^32 tokens");
}

TEST_F(LyingPlanner, CommitWithoutAddressSpace) {
  change_layout = [](auto& classes) { classes[0].reserve_tokens = 0; };
  expect_refused("growth by commit needs");
}

TEST_F(LyingPlanner, ReservesMoreThanTheContext) {
  change_layout = [](auto& classes) { classes[0].reserve_tokens = 101; };
  expect_refused("growth by commit needs");
}

TEST_F(LyingPlanner, MoreRoomThanAddressSpace) {
  change_layout = [](auto& classes) { classes[0].reserve_tokens = 50; };
  expect_refused("gives room for 64 tokens in address space for 50");
}

TEST_F(LyingPlanner, ExceedsEveryAddressSpace) {
  change_layout = [](auto& classes) { classes[0].stripe_bytes = std::uint64_t{1} << 60; };
  expect_refused("exceed every address space");
}

TEST_F(LyingPlanner, SectionBeyondTheEndOfNumbers) {
  change_layout = [](auto& classes) { classes[0].k_offsets[0] = UINT64_MAX - 63; };
  expect_refused("beyond the stripe");
}

TEST_F(LyingPlanner, MixesWindows) {
  change_layout = [](auto& classes) {
    classes[0].layers = {0, 1};
    classes[0].k_offsets.push_back(0);
    classes[0].v_offsets.push_back(0);
    classes.pop_back();
  };
  expect_refused("mixes layers with different windows");
}

TEST_F(LyingPlanner, AnUnknownForm) {
  change_layout = [](auto& classes) { classes[0].form = 7; };
  expect_refused("answers with KV form 7");
}

TEST_F(LyingPlanner, AnUnknownGrowth) {
  change_layout = [](auto& classes) { classes[0].growth = 7; };
  expect_refused("an unknown kind of growth");
}

TEST_F(LyingPlanner, ATableWithoutStripes) {
  change_layout = [](auto& classes) {
    classes[0].form = RT_KV_TABLE;
    classes[0].growth = RT_GROW_NEVER;
    classes[0].stripe_tokens = 0;
  };
  expect_refused("a table of stripes without stripe_tokens");
}

TEST_F(LyingPlanner, ATableThatMoves) {
  change_layout = [](auto& classes) {
    classes[0].form = RT_KV_TABLE;
    classes[0].growth = RT_GROW_MOVE;
  };
  expect_refused("a table whose stripes move");
}

TEST_F(LyingPlanner, PagesThatShareAGranule) {
  change_layout = [](auto& classes) { classes[0].form = RT_KV_TABLE; };
  expect_refused("is not a multiple of the granule 4096");
}

TEST_F(LyingPlanner, Throws) {
  change_capacity = [](const rt_plan_sequence&) -> std::uint64_t { throw std::runtime_error(""); };
  expect_refused("refused a capacity without a reason");
  change_layout = [](auto&) { throw std::runtime_error(""); };
  expect_refused("refused without a reason");
}

// Planners in C have nobody to catch for them.
rt_planner raw_planner() {
  rt_planner raw = kChanged;
  raw.name = "raw";
  return raw;
}

std::string refusal_of(const rt_planner& planner) {
  auto plan = KvPlan::make(planner, &kHost, no_text, problem(), {});
  return plan.ok() ? "" : plan.error().message;
}

TEST_F(LyingPlanner, LetsExceptionsOut) {
  rt_planner raw = raw_planner();
  raw.capacity = [](const rt_host*, const rt_plan_problem*, std::uint32_t, std::uint32_t,
                    const rt_plan_sequence* const*, std::uint64_t*) -> rt_status { throw 1; };
  EXPECT_EQ(refusal_of(raw), "planner raw: let an exception out of capacity");
  raw.plan = [](const rt_host*, const rt_plan_problem*, rt_plan_sink*) -> rt_status { throw 1; };
  EXPECT_EQ(refusal_of(raw), "planner raw: let an exception out of plan");
}

TEST_F(LyingPlanner, Garbage) {
  rt_planner raw = raw_planner();
  raw.plan = [](const rt_host*, const rt_plan_problem*, rt_plan_sink* sink) {
    rt_plan_class garbage{};
    (void)sink->add_class(sink, &garbage);
    return rt_status{RT_OK};
  };
  EXPECT_EQ(refusal_of(raw),
            "planner raw: answered with a class with a struct_size that is too small");
  raw.plan = [](const rt_host*, const rt_plan_problem*, rt_plan_sink* sink) {
    rt_plan_class garbage{};
    garbage.struct_size = sizeof garbage;
    garbage.layer_count = UINT32_MAX;
    (void)sink->add_class(sink, &garbage);
    return rt_status{RT_OK};
  };
  EXPECT_NE(refusal_of(raw).find("a class without layers"), std::string::npos);
  raw.plan = [](const rt_host*, const rt_plan_problem*, rt_plan_sink* sink) {
    const std::uint32_t layers[] = {0, 1};
    rt_plan_class garbage{};
    garbage.struct_size = sizeof garbage;
    garbage.layer_count = 2;
    garbage.layers = layers;
    garbage.stripe_tokens = 16;
    (void)sink->add_class(sink, &garbage);
    return rt_status{RT_OK};
  };
  EXPECT_NE(refusal_of(raw).find("without k_offsets or v_offsets"), std::string::npos);
  raw.plan = [](const rt_host*, const rt_plan_problem*, rt_plan_sink* sink) {
    (void)sink->add_charge(sink, nullptr, 1);
    return rt_status{RT_OK};
  };
  EXPECT_NE(refusal_of(raw).find("a charge without a name"), std::string::npos);
  raw.plan = [](const rt_host*, const rt_plan_problem*, rt_plan_sink* sink) {
    (void)sink->add_charge(sink, "", 1);
    return rt_status{RT_OK};
  };
  EXPECT_NE(refusal_of(raw).find("a charge without a name"), std::string::npos);
  raw.plan = [](const rt_host*, const rt_plan_problem*, rt_plan_sink* sink) {
    (void)sink->add_charge(sink, "half", std::uint64_t{1} << 60);
    (void)sink->add_charge(sink, "one more", 1);
    return rt_status{RT_OK};
  };
  EXPECT_NE(refusal_of(raw).find("charges of more than 2^60 bytes"), std::string::npos);
  raw.plan = [](const rt_host*, const rt_plan_problem*, rt_plan_sink*) { return rt_status{13}; };
  EXPECT_EQ(refusal_of(raw), "planner raw: refused without a reason");
}

// Plain tensors of more bytes than 64 bits count: 2^30 tokens, rows of 2^42 bytes.
TEST_F(LyingPlanner, PlainTensorsMayNotOverflow) {
  change_layout = [](std::vector<sdk::PlanClass>& classes) {
    sdk::PlanClass plain;
    plain.layers = {0};
    classes = {plain};
  };
  KvProblem large = problem();
  large.layers = {{"kv.0", 0, 0, 1 << 20, 1 << 20, 4, 0}};
  large.context_tokens = std::uint64_t{1} << 30;
  const auto plan = KvPlan::make(kChanged, &kHost, no_text, large, {});
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.error().message.find("exceed every address space"), std::string::npos)
      << plan.error().message;
}

// The ring holds W - 1 + U tokens and no more, in whole stripes, whatever the sequence's length.
TEST_F(LyingPlanner, RingBytesStopAtTheWindow) {
  auto plan = make();
  ASSERT_TRUE(plan.ok());
  const std::uint64_t row = 2 * 8 * 4;  // G * E * f32
  const std::uint64_t stripe = 16 * 2 * row;
  EXPECT_EQ(plan->span_bytes(0, 100), 7 * stripe);  // ceil(100 / 16)
  EXPECT_EQ(plan->span_bytes(1, 100), 1 * stripe);  // ceil((6 - 1 + 4) / 16)
}

}  // namespace
}  // namespace rt
