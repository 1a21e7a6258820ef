// Random models and conversations under every planner: what was planned, what the ledger holds and
// what the system calls resident are one number after every call, and every row that a query could
// look at holds what was written.
#include "core/memory/kv_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "core/memory/kv_forecast.h"
#include "tests/support/kv_world.h"

namespace rt::test {
namespace {

using Random = std::mt19937_64;

std::uint64_t pick(Random& random, std::uint64_t low, std::uint64_t high) {
  return std::uniform_int_distribution<std::uint64_t>(low, high)(random);
}

KvProblem random_problem(Random& random) {
  KvProblem problem;
  const std::uint32_t windows[] = {0, static_cast<std::uint32_t>(pick(random, 1, 40)),
                                   static_cast<std::uint32_t>(pick(random, 20, 300))};
  const auto layers = static_cast<std::uint32_t>(pick(random, 1, 5));
  for (std::uint32_t i = 0; i < layers; ++i) {
    const auto kv_heads = static_cast<std::uint32_t>(pick(random, 1, 3));
    problem.layers.push_back({"kv." + std::to_string(i), i, windows[pick(random, 0, 2)], kv_heads,
                              static_cast<std::uint32_t>(8 * pick(random, 1, 4)), 6, i});
  }
  constexpr rt_dtype kTypes[] = {RT_F32, RT_BF16, RT_F16, RT_KV_INT8, RT_KV_Q8_0, RT_KV_Q4_0};
  problem.dtype = kTypes[pick(random, 0, 5)];
  problem.context_tokens = pick(random, 20, 260);
  problem.step_tokens = static_cast<std::uint32_t>(pick(random, 1, 40));
  problem.max_sequences = static_cast<std::uint32_t>(pick(random, 1, 4));
  problem.granule_bytes = std::uint64_t{4096} << pick(random, 0, 3);
  problem.alignment_bytes = std::uint64_t{64} << pick(random, 0, 2);
  problem.can_reserve = pick(random, 0, 3) > 0;
  problem.can_make_ready = problem.can_reserve && pick(random, 0, 1) > 0;
  return problem;
}

std::vector<PlannerCase> planner_cases(Random& random) {
  return {{"static", {}},
          {"exact", {option("open_tokens", pick(random, 1, 60))}},
          {"elastic", {}},
          {"elastic", {option("stripe", pick(random, 1, 50))}},
          {"grow", {option("first", pick(random, 1, 30)), {"factor", 1.5}}},
          {"grow", {option("first", pick(random, 1, 30)), option("step", pick(random, 1, 40))}},
          {"paged", {option("page", pick(random, 1, 40))}},
          {"doubling", {option("first", pick(random, 1, 30))}}};
}

// One random call.
void act(KvWorld& world, Random& random) {
  const std::uint64_t context = world.plan().problem().context_tokens;
  const std::uint64_t room = world.plan().problem().max_sequences - world.sequences().size();
  std::vector<KvWorld::Slot> slots;
  for (const auto& [slot, tokens] : world.sequences()) slots.push_back(slot);
  const std::uint64_t action = pick(random, 0, 19);
  const std::uint64_t budget = pick(random, 0, 2) == 0 ? 0 : pick(random, 1, context);
  if (slots.empty() || (action == 0 && room > 0)) {
    world.add(budget);
    return;
  }
  const KvWorld::Slot slot = slots[pick(random, 0, slots.size() - 1)];
  if (action <= 2 && room > 0) return world.fork(slot, budget);
  if (action == 3) return world.remove(slot);
  if (action == 4) return world.truncate(slot, pick(random, 0, world.length(slot)));
  if (action == 5) {
    return world.truncate(
        slot, world.length(slot) - std::min<std::uint64_t>(world.length(slot), pick(random, 0, 9)));
  }
  if (action == 6) return world.set_budget(slot, budget);
  if (action == 7) return world.trim();
  if (action == 8) {
    world.truncate(slot, 0);
    return world.trim();
  }
  std::shuffle(slots.begin(), slots.end(), random);
  slots.resize(pick(random, 1, slots.size()));
  world.step(slots, action < 14 ? 1 : pick(random, 1, world.plan().problem().step_tokens));
}

class KvProperties : public testing::TestWithParam<std::uint64_t> {};

TEST_P(KvProperties, PlanLedgerAndPagesAgreeAfterEveryCall) {
  Random random(GetParam());
  const KvProblem problem = random_problem(random);
  for (const PlannerCase& planner : planner_cases(random)) {
    SCOPED_TRACE(planner.name);
    auto plan = plan_with(planner, problem);
    if (!problem.can_reserve && planner.name == "elastic") {
      EXPECT_FALSE(plan.ok());
      continue;
    }
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    KvWorld world(std::move(plan).value());
    for (int i = 0; i < 60 && !testing::Test::HasFailure(); ++i) {
      act(world, random);
      world.check();
    }
    while (!world.sequences().empty()) world.remove(world.sequences().begin()->first);
    EXPECT_EQ(world.kv_bytes(), 0u);
    EXPECT_EQ(world.ready_bytes(), 0u);
  }
}

// Under a limit a call is carried out whole or refused whole.
TEST_P(KvProperties, ALimitIsKeptAndARefusalChangesNothing) {
  Random random(GetParam() + 1000);
  const KvProblem problem = random_problem(random);
  for (const PlannerCase& planner : planner_cases(random)) {
    SCOPED_TRACE(planner.name);
    auto plan = plan_with(planner, problem);
    if (!plan.ok()) continue;
    auto whole = peak_bytes(*plan, 1, problem.context_tokens, 0);
    ASSERT_TRUE(whole.ok());
    const std::uint64_t limit = plan->table_bytes() + pick(random, 1, 2 * *whole);
    KvWorld world(std::move(plan).value(), limit);
    for (int i = 0; i < 60 && !testing::Test::HasFailure(); ++i) {
      act(world, random);
      world.check();
    }
    EXPECT_LE(world.ledger().peak_owned(), limit);
  }
}

// A device that refuses memory half way through a call loses nobody's rows.
TEST_P(KvProperties, ARefusingDeviceCorruptsNothing) {
  Random random(GetParam() + 4000);
  const KvProblem problem = random_problem(random);
  for (const PlannerCase& planner : planner_cases(random)) {
    SCOPED_TRACE(planner.name);
    auto plan = plan_with(planner, problem);
    if (!plan.ok()) continue;
    KvWorld world(std::move(plan).value(), UINT64_MAX, true);
    for (int i = 0; i < 60 && !testing::Test::HasFailure(); ++i) {
      failing_in = pick(random, 0, 6);
      act(world, random);
      failing_in = 0;
      world.check();
    }
  }
}

// What stands exceeds the need by less than a stripe and a granule per class and sequence.
TEST_P(KvProperties, ElasticStaysWithinItsBound) {
  Random random(GetParam() + 2000);
  KvProblem problem = random_problem(random);
  problem.can_reserve = true;
  auto plan = plan_with({"elastic", {option("stripe", pick(random, 1, 64))}}, problem);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  KvWorld world(std::move(plan).value());
  std::vector<KvWorld::Slot> slots;
  for (std::uint32_t b = 0; b < problem.max_sequences; ++b) slots.push_back(world.add(0));
  while (world.length(slots[0]) < problem.context_tokens) {
    world.step({slots[pick(random, 0, slots.size() - 1)]}, pick(random, 1, problem.step_tokens));
    std::uint64_t bound = 0;
    for (const KvWorld::Slot slot : slots) {
      for (const KvClass& c : world.plan().classes()) {
        const std::uint64_t tokens = std::min(world.length(slot), c.live_tokens);
        bound += tokens * c.stripe_bytes / c.stripe_tokens + c.stripe_bytes + problem.granule_bytes;
      }
    }
    ASSERT_LT(world.kv_bytes(), bound);
  }
  EXPECT_EQ(world.ledger().events.copied_bytes, 0u);
  EXPECT_EQ(world.ledger().events.address_changes, 0u);
}

// What is ready never costs a token: under a limit the plan keeps to, the same conversation fits
// that fits on a device that makes nothing ready.
TEST_P(KvProperties, WhatIsReadyMakesWayAtTheLimit) {
  Random random(GetParam() + 5000);
  KvProblem problem = random_problem(random);
  problem.can_reserve = true;
  for (const PlannerCase& planner : planner_cases(random)) {
    SCOPED_TRACE(planner.name);
    problem.can_make_ready = false;
    auto bare = plan_with(planner, problem);
    ASSERT_TRUE(bare.ok()) << bare.error().message;
    problem.can_make_ready = true;
    auto plan = plan_with(planner, problem);
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    const std::uint64_t prompt = pick(random, 1, problem.context_tokens);
    const std::uint64_t tokens = pick(random, 1, problem.context_tokens);
    const std::uint64_t least = peak_bytes(*bare, prompt, tokens, tokens).value();
    EXPECT_GE(peak_bytes(*plan, prompt, tokens, tokens).value(), least);
    plan->limit_ready(least);
    EXPECT_EQ(peak_bytes(*plan, prompt, tokens, tokens).value(), least);
    const std::uint64_t between = least + pick(random, 0, least);
    plan->limit_ready(between);
    EXPECT_LE(peak_bytes(*plan, prompt, tokens, tokens).value(), between);
  }
}

// N* fits and N* + 1 does not, or N* is the context.
TEST_P(KvProperties, TheLargestBudgetIsExact) {
  Random random(GetParam() + 3000);
  const KvProblem problem = random_problem(random);
  for (const PlannerCase& planner : planner_cases(random)) {
    SCOPED_TRACE(planner.name);
    auto plan = plan_with(planner, problem);
    if (!plan.ok()) continue;
    const std::uint64_t prompt = pick(random, 1, problem.context_tokens);
    const auto peak = [&](std::uint64_t tokens) {
      return peak_bytes(*plan, prompt, tokens, tokens).value();
    };
    const std::uint64_t limit = pick(random, 0, peak(problem.context_tokens) * 5 / 4);
    const std::uint64_t most = largest_tokens(*plan, limit, prompt).value();
    EXPECT_LE(peak(most), limit);
    if (most < problem.context_tokens) {
      EXPECT_GT(peak(most + 1), limit);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, KvProperties, testing::Range<std::uint64_t>(0, 24));

}  // namespace
}  // namespace rt::test
