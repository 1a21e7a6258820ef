// Random models and conversations under every planner: what was planned, what the ledger holds and
// what the system calls resident are one number after every call, and every row that a query could
// look at holds what was written.
#include "core/memory/kv_store.h"

#include "core/base/bytes.h"
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

Option option(const std::string& name, std::uint64_t value) {
  return {name, static_cast<std::int64_t>(value)};
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

KvProblem two_layers(std::uint32_t window) {
  KvProblem problem;
  problem.layers = {{"kv.0", 0, window, 2, 64, 4, 0}, {"kv.1", 1, window, 2, 64, 4, 1}};
  problem.context_tokens = 400;
  problem.step_tokens = 8;
  problem.max_sequences = 4;
  return problem;
}

// Of each class that grows by commits one stripe, while there is one to come.
TEST(Ready, IsWhatTheNextGrowthTakes) {
  KvProblem problem;
  for (std::uint32_t i = 0; i < 4; ++i) {
    problem.layers.push_back({"", i, i < 2 ? 0u : 40u, 2, 64, 4, i});
  }
  problem.context_tokens = 320;
  problem.step_tokens = 8;
  problem.can_make_ready = true;
  auto plan = plan_with({"elastic", {option("stripe", 16)}}, problem);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  const std::uint64_t stripe = 2u * 16 * 2 * (2 * 64 * 4);  // 2 layers, K and V: whole granules
  KvWorld world(std::move(plan).value());
  const KvWorld::Slot slot = world.add(0);
  EXPECT_EQ(world.ready_bytes(), 0u) << "not before something stands";
  const auto grow_to = [&](std::uint64_t tokens) {
    while (world.length(slot) < tokens) world.step({slot}, 1);
    world.check();
    const KvNeed need{tokens, 0, 0, 0};
    EXPECT_EQ(world.plan().standing_bytes({&need, 1}).value(),
              world.kv_bytes() + world.ready_bytes());
  };
  grow_to(1);
  EXPECT_EQ(world.ready_bytes(), 2 * stripe);
  grow_to(48);  // the ring of W - 1 + U = 47 tokens is whole
  EXPECT_EQ(world.ready_bytes(), stripe);
  grow_to(305);  // the last stripe of the context
  EXPECT_EQ(world.ready_bytes(), 0u);
  world.truncate(slot, 0);
  world.trim();
  EXPECT_EQ(world.ready_bytes(), 0u);
  EXPECT_EQ(world.kv_bytes(), 0u);
  grow_to(1);
  EXPECT_EQ(world.ready_bytes(), 2 * stripe);
}

TEST(Ready, NobodyIsAskedWhoCannot) {
  KvProblem problem = two_layers(0);
  problem.can_make_ready = true;
  for (const char* planner : {"static", "exact", "grow"}) {
    auto plan = plan_with({planner, {}}, problem);
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    KvWorld world(std::move(plan).value());
    world.step({world.add(20)}, 8);
    EXPECT_EQ(world.ready_bytes(), 0u) << planner;
  }
  const rt_device silent{};
  rt_device_desc desc{};
  desc.kind = "acme";
  desc.can_make_ready = 1;
  auto opened = OpenDevice::open(silent, desc, {}, nullptr, take_fail_text, UINT64_MAX);
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.error().message.find("device acme: says that it can make memory ready"),
            std::string::npos);
}

// The formula that counts a shared prefix once says what the ledger says.
TEST(Paged, SharedPrefixesAreCountedOnce) {
  auto plan = plan_with({"paged", {option("page", 16)}}, two_layers(0));
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  const std::uint64_t page = plan->page_bytes(0);
  KvWorld world(std::move(plan).value());
  const KvWorld::Slot root = world.add(0);
  for (int i = 0; i < 100; ++i) world.step({root}, 1);
  EXPECT_EQ(world.kv_bytes(), 7 * page);
  world.fork(root, 0);
  world.fork(root, 0);
  const auto planned = [&] { return world.plan().standing_bytes(world.store().needs(0)).value(); };
  EXPECT_EQ(world.kv_bytes(), 7 * page);  // nothing was written: nothing was copied
  EXPECT_EQ(planned(), world.kv_bytes());
  world.step({1}, 1);  // 4 of the 7th page's 16 rows are copied: 2 layers, K and V
  EXPECT_EQ(world.kv_bytes(), 8 * page);
  EXPECT_EQ(world.ledger().events.copied_bytes, 4u * 2 * 2 * (2 * 64 * 4));
  EXPECT_EQ(planned(), world.kv_bytes());
  world.step({0, 2}, 8);  // one of the two copies, the other is then alone
  EXPECT_EQ(world.kv_bytes(), 9 * page);
  EXPECT_EQ(planned(), world.kv_bytes());
  world.check();
  world.truncate(1, 40);
  world.trim();
  EXPECT_EQ(world.kv_bytes(), 8 * page);
  EXPECT_EQ(planned(), world.kv_bytes());
  world.step({1}, 1);  // into the middle of a page that three hold
  EXPECT_EQ(world.kv_bytes(), 9 * page);
  world.check();
  world.remove(0);
  EXPECT_EQ(planned(), world.kv_bytes());
  world.check();
}

// A device that does not take a page back keeps it charged; the next one to be taken is that.
TEST(Paged, APageThatIsNotTakenBackIsUsedAgain) {
  auto plan = plan_with({"paged", {option("page", 16)}}, two_layers(0));
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  const std::uint64_t page = plan->page_bytes(0);
  KvWorld world(std::move(plan).value(), UINT64_MAX, true);
  const KvWorld::Slot slot = world.add(0);
  for (int i = 0; i < 6; ++i) world.step({slot}, 8);
  EXPECT_EQ(world.kv_bytes(), 3 * page);
  world.truncate(slot, 0);
  failing_in = 2;
  world.trim();
  EXPECT_EQ(failing_in, 0u);
  EXPECT_EQ(world.kv_bytes(), page);
  world.trim();
  world.check();
  const std::uint64_t commits = world.ledger().events.commits;
  for (int i = 0; i < 6; ++i) world.step({slot}, 8);
  EXPECT_EQ(world.kv_bytes(), 3 * page);
  EXPECT_EQ(world.ledger().events.commits, commits + 2);
  world.check();
}

// A windowed sequence holds ceil((W + U - 2) / S) + 1 pages at most and gives back the others.
TEST(Paged, PagesThatLeftTheWindowAreGivenBack) {
  auto plan = plan_with({"paged", {option("page", 16)}}, two_layers(50));
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  const std::uint64_t page = plan->page_bytes(0);
  KvWorld world(std::move(plan).value());
  const KvWorld::Slot slot = world.add(0);
  std::uint64_t most = 0;
  while (world.length(slot) < 400) {
    world.step({slot}, 3);
    most = std::max(most, world.kv_bytes());
    world.check();
  }
  EXPECT_EQ(most, ((50 + 8 - 2 + 15) / 16 + 1) * page);
  EXPECT_EQ(world.ledger().events.copied_bytes, 0u);
}

// New and one old layer, not new and old.
TEST(Grow, MovesLayerByLayer) {
  KvProblem problem = two_layers(0);
  problem.max_sequences = 1;
  for (std::uint32_t i = 2; i < 8; ++i) problem.layers.push_back({"", i, 0, 2, 64, 4, i});
  auto plan = plan_with({"grow", {option("first", 100)}}, problem);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  const std::uint64_t row = 2 * 2 * 64 * 4;  // K and V of one layer
  const auto pages = [](std::uint64_t bytes) { return round_up(bytes, kAllocationBytes); };
  EXPECT_EQ(peak_bytes(*plan, 1, 100, 0).value(), 8 * pages(100 * row));
  EXPECT_EQ(peak_bytes(*plan, 1, 101, 0).value(), 8 * pages(200 * row) + pages(100 * row));
  const KvTurn turn{1, 400, false};
  auto cost = forecast(*plan, {&turn, 1});
  ASSERT_FALSE(cost.ok());  // 401 tokens
  const KvTurn fits{1, 399, false};
  cost = forecast(*plan, {&fits, 1});
  ASSERT_TRUE(cost.ok()) << cost.error().message;
  EXPECT_EQ(cost->copied_bytes, 8 * (100 + 200) * row);
  EXPECT_EQ(cost->address_changes, 8u * 2);
}

// Without stripes the layout depends on the capacity, and all sequences share it.
TEST(SharedLayout, ASequenceThatWasEmptiedFollowsTheOthers) {
  auto plan = plan_with({"doubling", {option("first", 100)}}, two_layers(0));
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  const std::uint64_t layer = 2 * (2 * 64 * 4);  // bytes of a token, K and V
  const auto room = [&](std::uint64_t tokens) { return round_up(2 * tokens * layer, 4096); };
  KvWorld world(std::move(plan).value());
  const KvWorld::Slot x = world.add(0);
  const KvWorld::Slot y = world.add(0);
  world.step({x, y}, 90);
  world.truncate(x, 0);
  EXPECT_EQ(world.kv_bytes(), 2 * room(100));
  world.step({y}, 20);
  EXPECT_EQ(world.kv_bytes(), room(200)) << "the emptied one holds nothing that could move";
  world.check();
  world.step({x}, 90);
  EXPECT_EQ(world.kv_bytes(), 2 * room(200));
  world.check();
}

TEST(SharedLayout, ARefusalHalfWayMovesNobody) {
  auto plan = plan_with({"doubling", {option("first", 100)}}, two_layers(0));
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  KvWorld world(std::move(plan).value(), UINT64_MAX, true);
  const KvWorld::Slot x = world.add(0);
  const KvWorld::Slot y = world.add(0);
  world.step({x, y}, 90);
  const std::uint64_t before = world.kv_bytes();
  failing_in = 2;  // x has its new place, y is refused one
  world.step({x, y}, 20);
  EXPECT_EQ(failing_in, 0u);
  EXPECT_EQ(world.kv_bytes(), before);
  world.check();
  world.step({y}, 10);
  world.check();
  world.step({x}, 20);
  EXPECT_EQ(world.length(x), 110u);
  world.check();
}

// "The context at the first token": not before it, and not after the last was taken back.
TEST(Static, StandsWhileThereAreTokens) {
  auto plan = plan_with({"static", {}}, two_layers(0));
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  const std::uint64_t whole = plan->bytes(0, 400);
  KvWorld world(std::move(plan).value());
  const KvWorld::Slot x = world.add(0);
  const KvWorld::Slot y = world.add(0);
  const auto planned = [&] { return world.plan().standing_bytes(world.store().needs(0)).value(); };
  for (const std::uint64_t tokens : {8, 8, 0}) {
    if (tokens > 0) world.step({x}, tokens);
    if (tokens == 0) world.truncate(x, 0);
    world.trim();
    EXPECT_EQ(world.kv_bytes(), tokens > 0 ? whole : 0u);
    EXPECT_EQ(planned(), world.kv_bytes());
    world.check();
  }
  world.step({x, y}, 1);
  EXPECT_EQ(world.kv_bytes(), 2 * whole);
}

TEST(Events, AddUpToTheLedger) {
  for (const char* planner : {"elastic", "paged", "grow"}) {
    SCOPED_TRACE(planner);
    auto plan = plan_with({planner, {}}, two_layers(50));
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    KvWorld world(std::move(plan).value());
    std::uint64_t taken = 0;
    std::uint64_t given_back = 0;
    std::uint64_t copied = 0;
    std::uint64_t moved = 0;
    std::uint64_t again = 0;
    world.store().observe([&](const KvEvent& event) {
      if (event.kind == KvEventKind::kCommit) taken += event.bytes;
      if (event.kind == KvEventKind::kDecommit) given_back += event.bytes;
      if (event.kind == KvEventKind::kCopy) copied += event.bytes;
      if (event.kind == KvEventKind::kAddressChange) ++moved;
      if (event.kind == KvEventKind::kReprefill) again += event.tokens;
    });
    const KvWorld::Slot slot = world.add(0);
    for (int i = 0; i < 45; ++i) world.step({slot}, 8);
    world.fork(slot, 0);
    world.step({0, 1}, 1);
    world.store().note_reprefill(slot, 5);
    world.truncate(slot, 0);
    world.trim();
    EXPECT_EQ(taken - given_back, world.kv_bytes());
    EXPECT_EQ(copied, world.ledger().events.copied_bytes);
    EXPECT_EQ(moved, world.ledger().events.address_changes);
    EXPECT_EQ(again, 5u);
  }
}

}  // namespace
}  // namespace rt::test
