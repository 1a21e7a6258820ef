// Plan, ledger and what the operating system says are the same number; growth costs no copy; a
// decode step allocates nothing.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "core/engine/admission.h"
#include "tests/support/models.h"

namespace {
std::atomic<bool> counting{false};
std::atomic<std::uint64_t> allocations{0};
}  // namespace

__attribute__((noinline)) void* operator new(std::size_t size) {
  if (counting.load(std::memory_order_relaxed)) ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
// Under AddressSanitizer this one does not call the one above by itself.
__attribute__((noinline)) void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  if (counting.load(std::memory_order_relaxed)) ++allocations;
  return std::malloc(size);
}
__attribute__((noinline)) void operator delete(void* memory) noexcept {
  std::free(memory);
}
__attribute__((noinline)) void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace rt::test {
namespace {

EngineOptions demo(const std::string& planner) {
  EngineOptions options = exact_options("gemma2.yaml", source_path("tests/fixtures/gemma2"));
  options.planner = planner;
  return options;
}

std::uint64_t resident_kv(const Session& session) {
  std::uint64_t sum = 0;
  for (const auto& [address, bytes] : session.kv()->ranges()) {
    auto resident = session.device().resident(address, bytes);
    EXPECT_TRUE(resident.ok()) << resident.error().message;
    sum += *resident;
  }
  return sum;
}

class Planners : public testing::TestWithParam<std::string> {};

TEST_P(Planners, PlanEqualsLedgerEqualsResidentPages) {
  auto session = open_session(demo(GetParam()));
  ASSERT_TRUE(session);
  const std::uint64_t budget = 100;
  auto sequence = start(*session, budget);
  sequence->push(5);
  for (std::uint64_t length = 1; length < budget; ++length) {
    auto row = session->run(*sequence);
    ASSERT_TRUE(row.ok()) << row.error().message;
    auto plan = session->blueprint().memory(length, budget, false);
    ASSERT_TRUE(plan.ok());
    EXPECT_EQ(plan->by_kind, session->ledger().now().by_kind) << length << " tokens";
    EXPECT_EQ(resident_kv(*session), session->ledger().now()[MemoryKind::kKv])
        << length << " tokens";
    sequence->push(row->sampled);
  }
  auto peak = session->blueprint().memory(budget - 1, budget, true);
  ASSERT_TRUE(peak.ok());
  EXPECT_EQ(peak->owned(), session->ledger().peak_owned());
}

TEST_P(Planners, ClearGivesEverythingBackThatIsNotPlannedForNothing) {
  auto session = open_session(demo(GetParam()));
  ASSERT_TRUE(session);
  auto sequence = start(*session, 120);
  continue_greedy(*session, *sequence, {1, 2, 3}, 100);
  ASSERT_TRUE(sequence->truncate(0).ok());
  sequence->set_budget(0);
  ASSERT_TRUE(session->trim().ok());
  auto plan = session->blueprint().memory(0, 0, false);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->by_kind, session->ledger().now().by_kind);
}

INSTANTIATE_TEST_SUITE_P(All, Planners,
                         testing::Values("static", "exact", "elastic", "grow", "paged"));

TEST(Elastic, GrowthCopiesNothingAndMovesNothing) {
  EngineOptions options = demo("elastic");
  options.planner_options = {{"stripe", std::int64_t{4}}};
  auto session = open_session(options);
  ASSERT_TRUE(session);
  auto sequence = start(*session);
  continue_greedy(*session, *sequence, {1, 2, 3}, 120);
  EXPECT_EQ(session->ledger().events.copied_bytes, 0u);
  EXPECT_EQ(session->ledger().events.address_changes, 0u);
}

TEST(Exact, CopiesWhenTheBudgetIsPassed) {
  EngineOptions options = demo("exact");
  options.planner_options = {{"open_tokens", std::int64_t{10}}};
  auto session = open_session(options);
  ASSERT_TRUE(session);
  auto sequence = start(*session);
  continue_greedy(*session, *sequence, {1, 2, 3}, 40);
  EXPECT_GT(session->ledger().events.copied_bytes, 0u);
  EXPECT_GT(session->ledger().events.address_changes, 0u);
}

TEST(Step, AllocatesNothingBetweenGrowths) {
  EngineOptions options = demo("elastic");
  options.planner_options = {{"stripe", std::int64_t{64}}};
  auto session = open_session(options);
  ASSERT_TRUE(session);
  auto sequence = start(*session);
  sequence->reserve(200);
  auto row = continue_greedy(*session, *sequence, {1, 2, 3}, 8);
  Sequence* const one[] = {sequence.get()};
  counting = true;
  std::uint64_t steps = 0;
  for (; steps < 40; ++steps) {
    auto rows = session->step(one);
    if (!rows.ok()) break;
    sequence->push((*rows)[0].sampled);
  }
  counting = false;
  EXPECT_EQ(steps, 40u);
  EXPECT_EQ(allocations.load(), 0u);
}

TEST(Limit, RefusesBeforeAnythingIsTaken) {
  EngineOptions options = demo("static");
  options.prompt_tokens = 10;
  options.new_tokens = 100;
  options.hard_budget = true;
  auto blueprint = draw(registry(), options);
  ASSERT_TRUE(blueprint.ok()) << blueprint.error().message;
  auto need = (*blueprint)->memory(110, 110, true);
  ASSERT_TRUE(need.ok());
  (*blueprint)->limit_bytes = need->owned();
  EXPECT_TRUE(admit(**blueprint).ok());
  (*blueprint)->limit_bytes = need->owned() - 1;
  const Status refused = admit(**blueprint);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().fault, Fault::kEnvironment);
  EXPECT_NE(refused.error().message.find("110 tokens need"), std::string::npos);
}

}  // namespace
}  // namespace rt::test
