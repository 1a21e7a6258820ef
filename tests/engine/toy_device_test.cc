// The same graphs on a device that is nothing like a CPU (tests/devices): memory the host cannot
// read, asynchronous streams, 2 MiB granules, steps recorded once and replayed.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "core/base/json.h"
#include "tests/support/models.h"

namespace rt::test {
namespace {

Registry& toy_registry() {
  static std::unique_ptr<Registry> one = bundled_registry({built_path("tests/plugins/toy.rtp.so")});
  return *one;
}

EngineOptions on_toy(const std::string& fixture, const Json& golden) {
  const std::string graph = golden.at("graph");
  EngineOptions options =
      exact_options(graph.substr(graph.find('/') + 1), source_path("tests/fixtures/" + fixture));
  options.device = "toy";
  options.device_options = {};
  options.memory_limit_bytes = std::uint64_t{256} << 20;
  options.step_tokens = 16;
  return options;
}

// Before anything is divided by it.
TEST(ToyDescription, OneThatNobodyCanPlanWithIsRefused) {
  const std::string fixture = source_path("tests/fixtures/tinyllama");
  EngineOptions options = on_toy("tinyllama", read_golden(fixture + "/golden.json"));
  options.device_options = {{"granule", std::int64_t{0}}};
  auto blueprint = draw(toy_registry(), options);
  ASSERT_FALSE(blueprint.ok());
  EXPECT_EQ(blueprint.error().fault, Fault::kBadInput);
  EXPECT_EQ(blueprint.error().message,
            "device toy: describe: granule: expected a power of two of at most 1.00 GiB, found 0");
}

class ToyDevice : public testing::TestWithParam<std::string> {};

TEST_P(ToyDevice, RunsTheSameGraph) {
  const Json golden = read_golden(source_path("tests/fixtures/" + GetParam() + "/golden.json"));
  for (const char* planner : {"elastic", "static", "exact", "grow", "paged"}) {
    SCOPED_TRACE(planner);
    EngineOptions options = on_toy(GetParam(), golden);
    options.planner = planner;
    auto session = open_session(options, toy_registry());
    ASSERT_TRUE(session);
    session->keep_logits(true);
    for (const Json& c : golden.at("cases")) {
      SCOPED_TRACE(c.at("name").get<std::string>());
      auto sequence = start(*session);
      const std::vector<std::int32_t> answer = c.at("greedy_ids");
      EXPECT_EQ(continue_greedy(*session, *sequence, c.at("prompt_ids"), answer.size()), answer);
    }
    auto plan = session->blueprint().memory(0, 0, false);
    ASSERT_TRUE(plan.ok());
    EXPECT_EQ(plan->owned() - (*plan)[MemoryKind::kKv],
              session->ledger().now().owned() - session->ledger().now()[MemoryKind::kKv]);
  }
}

// One recording serves every token of a growing conversation; growth by commit changes nothing
// that was recorded.
TEST_P(ToyDevice, GrowthNeedsNoNewRecording) {
  const Json golden = read_golden(source_path("tests/fixtures/" + GetParam() + "/golden.json"));
  EngineOptions options = on_toy(GetParam(), golden);
  for (const char* planner : {"elastic", "paged"}) {
    SCOPED_TRACE(planner);
    options.planner = planner;
    options.planner_options = {{options.planner == "paged" ? "page" : "stripe", std::int64_t{4}}};
    auto session = open_session(options, toy_registry());
    ASSERT_TRUE(session);
    auto sequence = start(*session);
    continue_greedy(*session, *sequence, {1, 2, 3}, 100);
    EXPECT_EQ(session->captures(), 1u);
    EXPECT_EQ(session->ledger().events.copied_bytes, 0u);
    EXPECT_EQ(session->ledger().events.address_changes, 0u);
  }
}

TEST_P(ToyDevice, RaggedBatchesOfTwo) {
  const Json golden = read_golden(source_path("tests/fixtures/" + GetParam() + "/golden.json"));
  EngineOptions options = on_toy(GetParam(), golden);
  options.max_sequences = 2;
  auto session = open_session(options, toy_registry());
  ASSERT_TRUE(session);
  const Json& a = golden.at("cases").front();
  const Json& b = golden.at("cases").back();
  std::unique_ptr<Sequence> sequences[] = {start(*session), start(*session)};
  Sequence* const batch[] = {sequences[0].get(), sequences[1].get()};
  batch[0]->push(a.at("prompt_ids").get<std::vector<std::int32_t>>());
  batch[1]->push(b.at("prompt_ids").get<std::vector<std::int32_t>>());
  std::vector<std::int32_t> answers[2];
  while (answers[0].size() < 64 || answers[1].size() < 64) {
    auto rows = session->step(batch);
    ASSERT_TRUE(rows.ok()) << rows.error().message;
    for (const StepRow& row : *rows) {
      const int k = row.sequence == batch[0] ? 0 : 1;
      answers[k].push_back(row.sampled);
      if (answers[k].size() < 64) batch[k]->push(row.sampled);
    }
  }
  EXPECT_EQ(answers[0], a.at("greedy_ids").get<std::vector<std::int32_t>>());
  EXPECT_EQ(answers[1], b.at("greedy_ids").get<std::vector<std::int32_t>>());
}

// Calls in any order, with steps begun ahead and without, on a device that runs beside the host:
// the same tokens.
class Calls {
 public:
  Calls(Session& session, bool goes_on, std::uint32_t seed)
      : session_(session), goes_on_(goes_on), random_(seed) {
    begin();
  }
  std::vector<std::int32_t> make(int count) {
    for (int i = 0; i < count && !testing::Test::HasFailure(); ++i) call();
    return std::move(drawn_);
  }

 private:
  std::uint32_t below(std::size_t n) { return static_cast<std::uint32_t>(random_() % n); }
  std::int32_t any_id() { return static_cast<std::int32_t>(3 + below(50)); }
  void begin() {
    sequences_.push_back(start(session_));
    sequences_.back()->push(any_id());
  }

  void call() {
    Sequence& one = *sequences_[below(sequences_.size())];
    switch (below(12)) {
      case 0:
        if (sequences_.size() < 3) begin();
        break;
      case 1:
        if (sequences_.size() < 3) {
          auto fork = session_.fork(one);
          ASSERT_TRUE(fork.ok()) << fork.error().message;
          sequences_.push_back(std::move(fork).value());
          sequences_.back()->push(any_id());
        }
        break;
      case 2:
        if (sequences_.size() > 1) sequences_.erase(sequences_.begin());
        break;
      case 3:
        ASSERT_TRUE(one.truncate(below(one.ids().size() + 1)).ok());
        one.push(any_id());
        break;
      case 4:
        ASSERT_TRUE(session_.trim().ok());
        break;
      case 5:
        one.sampling.temperature = below(2) == 0 ? 0.0f : 0.9f;
        one.sampling.repeat_penalty = below(2) == 0 ? 1.0f : 1.3f;
        break;
      case 6:
        session_.keep_logits(below(2) == 0);
        break;
      default:
        for (std::uint32_t n = below(6); n > 0; --n) step();
    }
  }

  void step() {
    std::vector<Sequence*> all;
    for (const auto& sequence : sequences_) all.push_back(sequence.get());
    auto rows = session_.step(all, goes_on_);
    ASSERT_TRUE(rows.ok()) << rows.error().message;
    for (const StepRow& row : *rows) {
      drawn_.push_back(row.sampled);
      row.sequence->push(row.sampled);
    }
  }

  Session& session_;
  const bool goes_on_;
  std::mt19937 random_;
  std::vector<std::unique_ptr<Sequence>> sequences_;
  std::vector<std::int32_t> drawn_;
};

TEST_P(ToyDevice, AStepBegunAheadChangesNoToken) {
  const Json golden = read_golden(source_path("tests/fixtures/" + GetParam() + "/golden.json"));
  EngineOptions options = on_toy(GetParam(), golden);
  options.max_sequences = 3;
  std::uint32_t seed = 1;
  for (const char* planner : {"elastic", "exact", "grow", "paged"}) {
    SCOPED_TRACE(planner);
    options.planner = planner;
    std::vector<std::int32_t> drawn[2];
    for (const bool goes_on : {false, true}) {
      auto session = open_session(options, toy_registry());
      ASSERT_TRUE(session);
      drawn[goes_on ? 1 : 0] = Calls(*session, goes_on, seed).make(60);
    }
    EXPECT_EQ(drawn[0], drawn[1]);
    ++seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, ToyDevice,
                         testing::Values("gemma2", "phi3", "tinyllama", "phi3_longrope"),
                         [](const auto& fixture) { return fixture.param; });

TEST(ToyDeviceModel, ReproducesTinystories) {
  const std::string folder = shared_path("models/tinystories656K");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder;
  const Json golden = read_golden(folder + "/golden.json");
  EngineOptions options = exact_options("tinyllama.yaml", folder);
  options.device = "toy";
  options.device_options = {};
  auto session = open_session(options, toy_registry());
  ASSERT_TRUE(session);
  for (const Json& c : golden.at("cases")) {
    const std::vector<std::int32_t> prompt = c.at("prompt_ids");
    std::vector<std::int32_t> all = c.at("greedy_ids");
    all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(prompt.size()));
    auto sequence = start(*session);
    EXPECT_EQ(continue_greedy(*session, *sequence, prompt, all.size()), all);
  }
}

}  // namespace
}  // namespace rt::test
