// Random conversations in which launches and allocations are refused at random, on the emulated
// GPU: every token is the one that a session on the CPU draws which sees the same ids for the first
// time, and no refusal costs more than itself.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "core/base/json.h"
#include "tests/support/cuda_models.h"

namespace rt::test {
namespace {

constexpr float kTie = 1e-3f;  // between logits of two devices in f32; greater than any tolerance

// Draws from ids that it has never seen.
class Oracle {
 public:
  explicit Oracle(const std::string& fixture) {
    const std::string graph = golden_of(fixture).at("graph");
    session_ = open_session(
        exact_options(graph.substr(graph.find('/') + 1), source_path("tests/fixtures/" + fixture)));
    if (session_) sequence_ = start(*session_);
  }

  // Whether `token` may follow `ids`.
  bool draws(const std::vector<std::int32_t>& ids, std::int32_t token) {
    EXPECT_TRUE(sequence_->truncate(0).ok());
    sequence_->push(ids);
    auto row = session_->run(*sequence_);
    EXPECT_TRUE(row.ok());
    return row.ok() && row->logits[token] >= row->logits[row->sampled] - kTie;
  }

 private:
  std::unique_ptr<Session> session_;
  std::unique_ptr<Sequence> sequence_;
};

class Conversations {
 public:
  Conversations(Session& session, Oracle& oracle, std::uint64_t seed)
      : session_(session), oracle_(oracle), random_(seed) {
    sequences_.push_back(start(session));
  }

  void go_on(int calls) {
    for (int i = 0; i < calls && !testing::Test::HasFailure(); ++i) {
      SCOPED_TRACE(i);
      refuse_something();
      call();
      cuda_emulation_refuse_launch(0);
      cuda_emulation_fail_allocation(0);
    }
  }
  int refusals() const { return refusals_; }
  int rows() const { return rows_; }

 private:
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  Sequence& any() { return *sequences_[below(sequences_.size())]; }

  void refuse_something() {
    if (below(3) == 0) cuda_emulation_refuse_launch(1 + below(70));
    if (below(8) == 0) cuda_emulation_fail_allocation(1 + below(3));
  }

  void call() {
    switch (below(12)) {
      case 0:
        return fork();
      case 1:
        if (sequences_.size() > 1) sequences_.erase(sequences_.begin());
        return;
      case 2:
        return told(session_.trim());
      case 3:
      case 4:
      case 5:
        return rewind(any());
      default:
        return talk();
    }
  }

  void told(const Status& status) {
    if (status.ok()) return;
    ++refusals_;
    EXPECT_NE(status.error().message.find("memory"), std::string::npos) << status.error().message;
    EXPECT_TRUE(session_.healthy());
  }

  void fork() {
    if (sequences_.size() == session_.blueprint().options.max_sequences) return;
    auto made = session_.fork(any());
    if (!made.ok()) return told(std::move(made).error());
    (*made)->sampling = greedy();
    sequences_.push_back(std::move(made).value());
  }

  // Mostly by less than a step behind what is cached: rings lose what is further back.
  void rewind(Sequence& sequence) {
    const std::uint64_t from = below(4) == 0 ? sequence.ids().size() : sequence.cached();
    const std::uint64_t most = below(5) == 0 ? from : session_.blueprint().bounds.tokens + 1;
    told(sequence.truncate(from - std::min(from, below(most + 1))));
  }

  // New ids for one sequence or all, and some tokens; after a refusal the conversation is
  // somewhere else as likely as not.
  void talk() {
    std::vector<Sequence*> batch;
    for (const auto& sequence : sequences_) {
      if (batch.empty() || below(3) == 0) batch.push_back(sequence.get());
    }
    for (Sequence* sequence : batch) {
      const std::uint64_t count = sequence->pending() > 0 ? below(3) : 1 + below(40);
      if (sequence->ids().size() + count > 150) told(sequence->truncate(0));
      for (std::uint64_t i = 0; i < count || sequence->ids().empty(); ++i) {
        sequence->push(static_cast<std::int32_t>(below(100)));
      }
    }
    for (std::uint64_t i = 0, tokens = 1 + below(5); i < tokens; ++i) {
      if (!step(batch)) return;
    }
  }

  bool step(const std::vector<Sequence*>& batch) {
    const bool goes_on = below(4) != 0;
    std::vector<std::pair<Sequence*, std::int32_t>> drawn;
    const auto pending = [](const Sequence* sequence) { return sequence->pending() > 0; };
    while (std::any_of(batch.begin(), batch.end(), pending)) {
      auto rows = session_.step(batch, goes_on);
      if (!rows.ok()) {
        told(std::move(rows).error());
        return false;
      }
      for (const StepRow& row : *rows) {
        ++rows_;
        EXPECT_TRUE(oracle_.draws(row.sequence->ids(), row.sampled)) << row.sampled;
        drawn.push_back({row.sequence, row.sampled});
      }
    }
    for (const auto& [sequence, token] : drawn) sequence->push(token);
    return true;
  }

  Session& session_;
  Oracle& oracle_;
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<Sequence>> sequences_;
  int refusals_ = 0;
  int rows_ = 0;
};

// In stripes and pages of four tokens, so that there is much to refuse.
EngineOptions of_three(EngineOptions options, const std::string& planner) {
  options.planner = planner;
  options.max_sequences = 3;
  if (planner == "elastic") options.planner_options = {{"stripe", std::int64_t{4}}};
  if (planner == "paged") options.planner_options = {{"page", std::int64_t{4}}};
  return options;
}

class Refusals : public CudaGpu, public testing::WithParamInterface<const char*> {};

int calls() {
  const char* wanted = ::getenv("RUNTIME_CALLS");
  return wanted != nullptr ? std::stoi(wanted) : 60;
}

TEST_P(Refusals, ChangeNoToken) {
  Oracle oracle(GetParam());
  std::uint64_t seed = 1;
  for (const char* planner : {"elastic", "static", "grow", "paged"}) {
    SCOPED_TRACE(planner);
    cuda_emulation_reset();
    auto session = open_session(of_three(on_cuda(GetParam()), planner), cuda_registry());
    ASSERT_TRUE(session);
    cuda_emulation_fail_creations_beside(true);
    Conversations conversations(*session, oracle, seed++);
    conversations.go_on(calls());
    EXPECT_GT(conversations.rows(), 40);
    EXPECT_GT(conversations.refusals(), 3);
  }
}

// On a processor, where three conversations meet the limit of one.
TEST_P(Refusals, OfTheMemoryLimitChangeNoToken) {
  Oracle oracle(GetParam());
  std::uint64_t seed = 1;
  for (const char* planner : {"elastic", "grow", "paged"}) {
    SCOPED_TRACE(planner);
    const std::string graph = golden_of(GetParam()).at("graph");
    EngineOptions options =
        of_three(exact_options(graph.substr(graph.find('/') + 1),
                               source_path(std::string("tests/fixtures/") + GetParam())),
                 planner);
    options.step_tokens = 16;
    auto blueprint = draw(registry(), options);
    ASSERT_TRUE(blueprint.ok());
    options.memory_limit_bytes = (*blueprint)->memory(150, 0, true)->owned();
    auto session = open_session(options);
    ASSERT_TRUE(session);
    Conversations conversations(*session, oracle, seed++);
    conversations.go_on(4 * calls());
    EXPECT_GT(conversations.rows(), 100);
    EXPECT_GT(conversations.refusals(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, Refusals,
                         testing::Values("gemma2", "phi3", "phi3_longrope_window", "tinyllama"));

}  // namespace
}  // namespace rt::test
