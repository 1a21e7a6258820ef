// A step begun before the host has seen the token of the one in front
// (core/engine/session_ahead.cc), on the emulated GPU: the same tokens whatever the caller does
// next, memory as planned, and a GPU that does not wait for the host.
#include <gtest/gtest.h>

#include <cstring>

#include "core/memory/kv_forecast.h"
#include "tests/support/cuda_models.h"

namespace rt::test {
namespace {

constexpr std::uint64_t kTokens = 24;
const std::vector<std::int32_t> kPrompt = {1, 2, 3};

// As continue_greedy, with the sequence's own sampling, and the host's word that it goes on or not.
std::vector<std::int32_t> continue_as(bool goes_on, Session& session, Sequence& sequence,
                                      const std::vector<std::int32_t>& prompt, std::size_t count) {
  std::vector<std::int32_t> ids;
  sequence.push(prompt);
  while (ids.size() < count) {
    auto row = session.run(sequence, goes_on);
    EXPECT_TRUE(row.ok()) << row.error().message;
    if (!row.ok()) return ids;
    ids.push_back(row->sampled);
    sequence.push(row->sampled);
  }
  return ids;
}

EngineOptions with(const std::string& fixture, const std::string& planner) {
  EngineOptions options = on_cuda(fixture);
  options.planner = planner;
  return options;
}

TEST_F(CudaGpu, DoesNotWaitForTheHostBetweenTokens) {
  std::uint64_t waits[2];
  for (const bool goes_on : {false, true}) {
    auto session = open_session(with("tinyllama", "static"), cuda_registry());
    ASSERT_TRUE(session);
    auto sequence = start(*session);
    const std::uint64_t before = cuda_emulation_idle_waits();
    continue_as(goes_on, *session, *sequence, kPrompt, kTokens);
    waits[goes_on ? 1 : 0] = cuda_emulation_idle_waits() - before;
    EXPECT_EQ(session->captures(), 1u);
  }
  EXPECT_EQ(waits[0], kTokens);
  EXPECT_EQ(waits[1], 0u) << "the last step behind runs still";
}

// One stripe in four tokens is new, and only then is the host waited for.
TEST_F(CudaGpu, MemoryIsThatOfThePlanAtEveryLength) {
  EngineOptions options = with("tinyllama", "elastic");
  options.planner_options = {{"stripe", std::int64_t{4}}};
  auto session = open_session(options, cuda_registry());
  ASSERT_TRUE(session);
  auto sequence = start(*session);
  sequence->push(kPrompt);
  const std::uint64_t before = cuda_emulation_idle_waits();
  for (std::uint64_t token = 1; token <= kTokens; ++token) {
    auto row = session->run(*sequence, true);
    ASSERT_TRUE(row.ok()) << row.error().message;
    const KvTurn turn{kPrompt.size(), token, false};
    const auto planned = forecast(*session->blueprint().kv, {&turn, 1});
    ASSERT_TRUE(planned.ok());
    ASSERT_EQ(planned->standing_bytes, session->ledger().now()[MemoryKind::kKv]) << token;
    sequence->push(row->sampled);
  }
  EXPECT_LE(cuda_emulation_idle_waits() - before, kTokens / 4 + 1);
}

// What was begun is forgotten when something else comes: rings that have wrapped, pages, copies.
TEST_F(CudaGpu, AnythingMayComeInstead) {
  for (const char* fixture : {"gemma2", "phi3"}) {
    for (const char* planner : {"elastic", "static", "grow", "paged"}) {
      SCOPED_TRACE(std::string(fixture) + " " + planner);
      EngineOptions options = with(fixture, planner);
      options.max_sequences = 2;
      auto session = open_session(options, cuda_registry());
      ASSERT_TRUE(session);
      std::vector<std::int32_t> answers[2];
      for (const bool goes_on : {false, true}) {
        std::vector<std::int32_t>& answer = answers[goes_on ? 1 : 0];
        const auto more = [&](Sequence& sequence, const std::vector<std::int32_t>& ids) {
          const auto drawn = continue_as(goes_on, *session, sequence, ids, 7);
          answer.insert(answer.end(), drawn.begin(), drawn.end());
        };
        auto sequence = start(*session);
        more(*sequence, std::vector<std::int32_t>(30, 5));
        more(*sequence, {9});  // another token behind the drawn one
        ASSERT_TRUE(sequence->truncate(sequence->ids().size() - 2).ok());
        more(*sequence, {4});  // another token in its place
        auto fork = session->fork(*sequence);
        ASSERT_TRUE(fork.ok()) << fork.error().message;
        more(**fork, {3});
        more(*sequence, {3});
        fork->reset();
        sequence->sampling.temperature = 1.5f;
        more(*sequence, {2});
        sequence->sampling = greedy();
        session->keep_logits(true);
        more(*sequence, {2});
        session->keep_logits(false);
        ASSERT_TRUE(session->trim().ok());
        more(*sequence, {2});
      }
      EXPECT_EQ(answers[0], answers[1]);
    }
  }
}

// The drawn token is put where the penalties look for it too.
TEST_F(CudaGpu, PenaltiesSeeTheTokenThatTheHostHasNotSeen) {
  std::vector<std::int32_t> answers[2];
  for (const bool goes_on : {false, true}) {
    auto session = open_session(with("tinyllama", "static"), cuda_registry());
    ASSERT_TRUE(session);
    auto sequence = start(*session);
    sequence->sampling = Sampling();
    sequence->sampling.temperature = 0.3f;
    sequence->sampling.repeat_penalty = 1.7f;
    sequence->sampling.frequency_penalty = 0.5f;
    sequence->sampling.repeat_last_n = 3;
    sequence->sampling.seed = 11;
    answers[goes_on ? 1 : 0] = continue_as(goes_on, *session, *sequence, kPrompt, 40);
  }
  EXPECT_EQ(answers[0], answers[1]);
}

TEST_F(CudaGpu, SeveralSequencesGoOnTogether) {
  std::vector<std::int32_t> answers[2];
  for (const bool goes_on : {false, true}) {
    EngineOptions options = with("gemma2", "static");
    options.max_sequences = 3;
    auto session = open_session(options, cuda_registry());
    ASSERT_TRUE(session);
    std::unique_ptr<Sequence> sequences[] = {start(*session), start(*session), start(*session)};
    Sequence* const batch[] = {sequences[0].get(), sequences[1].get(), sequences[2].get()};
    for (std::size_t k = 0; k < 3; ++k) batch[k]->push(std::vector<std::int32_t>(k + 1, 7));
    const std::uint64_t before = cuda_emulation_idle_waits();
    for (std::uint64_t i = 0; i < kTokens; ++i) {
      auto rows = session->step(batch, goes_on);
      ASSERT_TRUE(rows.ok()) << rows.error().message;
      for (const StepRow& row : *rows) {
        answers[goes_on ? 1 : 0].push_back(row.sampled);
        row.sequence->push(row.sampled);
      }
    }
    EXPECT_EQ(cuda_emulation_idle_waits() - before, goes_on ? 0 : kTokens);
  }
  EXPECT_EQ(answers[0], answers[1]);
}

// A step whose ids are refused: neither it nor the one behind it has been. The id makes its row of
// logits no numbers; two forks then write the same row of a page that they share.
TEST_F(CudaGpu, ARefusedStepLeavesNothingBehind) {
  std::vector<std::int32_t> answers[2];
  for (const bool goes_on : {false, true}) {
    EngineOptions options = with_pages_of_four();
    options.max_sequences = 2;
    auto session = open_session(options, cuda_registry());
    ASSERT_TRUE(session);
    auto sequence = start(*session);
    continue_as(goes_on, *session, *sequence, {1, 2}, 4);
    ASSERT_TRUE(sequence->truncate(5).ok());
    sequence->push(1 << 20);
    EXPECT_FALSE(session->run(*sequence, goes_on).ok());
    EXPECT_TRUE(session->healthy());
    ASSERT_TRUE(sequence->truncate(5).ok());
    auto fork = session->fork(*sequence);
    ASSERT_TRUE(fork.ok()) << fork.error().message;
    sequence->push(7);
    ASSERT_TRUE(session->run(*sequence, goes_on).ok());
    (*fork)->push(9);
    ASSERT_TRUE(session->run(**fork, goes_on).ok());
    answers[goes_on ? 1 : 0] = continue_as(goes_on, *session, *sequence, {8}, 9);
  }
  EXPECT_EQ(answers[0], answers[1]);
}

TEST_F(CudaGpu, AFaultInAStepBegunAheadIsTold) {
  auto session = open_session(with("tinyllama", "static"), cuda_registry());
  ASSERT_TRUE(session);
  auto sequence = start(*session);
  continue_as(true, *session, *sequence, kPrompt, 4);
  cuda_emulation_fail_kernel(1);
  auto row = session->run(*sequence, true);
  ASSERT_FALSE(row.ok());
  EXPECT_FALSE(session->healthy());
  EXPECT_NE(row.error().message.find("illegal memory access"), std::string::npos)
      << row.error().message;
  EXPECT_NE(row.error().message.find("(step 5,"), std::string::npos) << row.error().message;
  EXPECT_FALSE(session->run(*sequence, true).ok());
}

}  // namespace
}  // namespace rt::test
