// One conversation each: what a growth, a rewind, a fork or a refusal does to what stands, in
// numbers. Random ones are in kv_store_test.cc.
#include "core/memory/kv_store.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/base/bytes.h"
#include "core/memory/kv_forecast.h"
#include "tests/support/kv_world.h"

namespace rt::test {
namespace {

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
  rt_device silent{};
  silent.kind = "acme";
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
