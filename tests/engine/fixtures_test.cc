// Tiny models of all five families against transformers (eager, float32): every logit of every
// prompt position, and 64 greedy tokens with margins of at least ten times the tolerance.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "core/base/json.h"
#include "tests/support/models.h"

namespace rt::test {
namespace {

struct Fixture {
  std::string name;
  std::string folder;
  Json golden;
};

std::vector<std::string> fixture_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(source_path("tests/fixtures"))) {
    if (entry.is_directory()) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class Fixtures : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ = source_path("tests/fixtures/" + GetParam());
    golden_ = read_golden(folder_ + "/golden.json");
    tolerance_ = golden_.at("tolerance");
  }
  EngineOptions options() const {
    const std::string graph = golden_.at("graph");
    return exact_options(graph.substr(graph.find('/') + 1), folder_);
  }
  const Json& find_case(const std::string& name) const {
    for (const Json& c : golden_.at("cases")) {
      if (c.at("name") == name) return c;
    }
    ADD_FAILURE() << "no case " << name;
    return golden_.at("cases").at(0);
  }

  std::string folder_;
  Json golden_;
  float tolerance_ = 0;
};

TEST_P(Fixtures, LogitsOfEveryPosition) {
  EngineOptions all = options();
  all.all_rows = true;
  all.step_tokens = 512;
  auto session = open_session(all);
  ASSERT_TRUE(session);
  const std::uint64_t vocabulary = session->graph().vocabulary();
  for (const Json& c : golden_.at("cases")) {
    SCOPED_TRACE(c.at("name").get<std::string>());
    const auto golden = read_floats(folder_ + "/" + c.at("logits_file").get<std::string>());
    auto sequence = start(*session);
    sequence->all_rows = true;
    sequence->push(c.at("prompt_ids").get<std::vector<std::int32_t>>());
    Sequence* const one[] = {sequence.get()};
    auto rows = session->step(one);
    ASSERT_TRUE(rows.ok()) << rows.error().message;
    ASSERT_EQ(rows->size() * vocabulary, golden.size());
    for (std::size_t r = 0; r < rows->size(); ++r) {
      EXPECT_LT(max_difference((*rows)[r].logits, &golden[r * vocabulary], vocabulary), tolerance_)
          << "position " << r;
    }
  }
}

// U = 7 puts chunk borders inside windows and prompts; 1 is one-by-one decode from the start.
TEST_P(Fixtures, GreedyTokensForEveryChunkSize) {
  for (const std::uint32_t step_tokens : {512u, 7u, 1u}) {
    SCOPED_TRACE(step_tokens);
    EngineOptions chunked = options();
    chunked.step_tokens = step_tokens;
    auto session = open_session(chunked);
    ASSERT_TRUE(session);
    for (const Json& c : golden_.at("cases")) {
      SCOPED_TRACE(c.at("name").get<std::string>());
      auto sequence = start(*session);
      const std::vector<std::int32_t> golden = c.at("greedy_ids");
      EXPECT_EQ(continue_greedy(*session, *sequence, c.at("prompt_ids"), golden.size()), golden);
    }
  }
}

TEST_P(Fixtures, LogitsWhileDecoding) {
  auto session = open_session(options());
  ASSERT_TRUE(session);
  const std::uint64_t vocabulary = session->graph().vocabulary();
  for (const Json& c : golden_.at("cases")) {
    if (!c.contains("greedy_logits_file")) continue;
    const auto golden = read_floats(folder_ + "/" + c.at("greedy_logits_file").get<std::string>());
    auto sequence = start(*session);
    sequence->push(c.at("prompt_ids").get<std::vector<std::int32_t>>());
    for (std::size_t r = 0; r < golden.size() / vocabulary; ++r) {
      auto row = session->run(*sequence);
      ASSERT_TRUE(row.ok()) << row.error().message;
      EXPECT_LT(max_difference(row->logits, &golden[r * vocabulary], vocabulary), tolerance_)
          << "token " << r;
      sequence->push(row->sampled);
    }
  }
}

TEST_P(Fixtures, BatchRowsEqualTheSamePromptAlone) {
  EngineOptions two = options();
  two.max_sequences = 2;
  two.step_tokens = 16;
  auto session = open_session(two);
  ASSERT_TRUE(session);
  for (const Json& pair : golden_.at("batches")) {
    std::unique_ptr<Sequence> sequences[2];
    std::vector<std::int32_t> golden[2];
    std::vector<std::int32_t> answers[2];
    for (std::size_t k = 0; k < 2; ++k) {
      const Json& c = find_case(pair.at(k));
      golden[k] = c.at("greedy_ids").get<std::vector<std::int32_t>>();
      sequences[k] = start(*session);
      sequences[k]->push(c.at("prompt_ids").get<std::vector<std::int32_t>>());
    }
    Sequence* const batch[] = {sequences[0].get(), sequences[1].get()};
    while (batch[0]->pending() + batch[1]->pending() > 0) {
      auto rows = session->step(batch);
      ASSERT_TRUE(rows.ok()) << rows.error().message;
      for (const StepRow& row : *rows) {
        const std::size_t k = row.sequence == batch[0] ? 0 : 1;
        answers[k].push_back(row.sampled);
        if (answers[k].size() < golden[k].size()) batch[k]->push(row.sampled);
      }
    }
    for (std::size_t k = 0; k < 2; ++k) EXPECT_EQ(answers[k], golden[k]) << pair;
  }
}

// Undo: run one case for some steps, cut back, go on as another; equals a fresh start.
TEST_P(Fixtures, UndoEqualsAFreshStart) {
  for (const Json& c : golden_.at("cases")) {
    if (!c.contains("undo")) continue;
    const Json& undo = c.at("undo");
    auto session = open_session(options());
    ASSERT_TRUE(session);
    auto sequence = start(*session);
    const Json& before = find_case(undo.at("of"));
    continue_greedy(*session, *sequence, before.at("prompt_ids"), undo.at("after_steps"));
    const std::vector<std::int32_t> prompt = c.at("prompt_ids");
    const std::size_t keep = undo.at("keep");
    ASSERT_TRUE(sequence->truncate(keep).ok());
    const std::vector<std::int32_t> rest(prompt.begin() + static_cast<std::ptrdiff_t>(keep),
                                         prompt.end());
    const std::vector<std::int32_t> golden = c.at("greedy_ids");
    EXPECT_EQ(continue_greedy(*session, *sequence, rest, golden.size()), golden);
  }
}

// The same implementations give the same bits whatever the planner and the number of threads.
TEST_P(Fixtures, PlannersAndThreadsAreBitIdentical) {
  const Json& c = golden_.at("cases").back();
  std::vector<float> first;
  for (const char* planner : {"elastic", "static", "exact"}) {
    for (const std::int64_t threads : {1, 2, 3}) {
      EngineOptions varied = options();
      varied.planner = planner;
      varied.device_options = {{"threads", threads}};
      auto session = open_session(varied);
      ASSERT_TRUE(session);
      auto sequence = start(*session);
      sequence->push(c.at("prompt_ids").get<std::vector<std::int32_t>>());
      std::vector<float> logits;
      for (int step = 0; step < 24; ++step) {
        auto row = session->run(*sequence);
        ASSERT_TRUE(row.ok()) << row.error().message;
        logits.insert(logits.end(), row->logits, row->logits + session->graph().vocabulary());
        sequence->push(row->sampled);
      }
      if (first.empty()) first = logits;
      EXPECT_EQ(logits, first) << planner << " with " << threads << " threads";
    }
  }
}

// The double-precision references alone compute the whole model.
TEST_P(Fixtures, ReferencesAlone) {
  EngineOptions reference = options();
  reference.selection.prefer = {"reference"};
  auto session = open_session(reference);
  ASSERT_TRUE(session);
  for (const NodeChoice& choice : session->blueprint().nodes) {
    EXPECT_EQ(choice.decode.chosen.full_name, "reference/reference");
  }
  const Json& c = golden_.at("cases").back();
  auto sequence = start(*session);
  const std::vector<std::int32_t> golden = c.at("greedy_ids");
  EXPECT_EQ(continue_greedy(*session, *sequence, c.at("prompt_ids"), golden.size()), golden);
}

INSTANTIATE_TEST_SUITE_P(All, Fixtures, testing::ValuesIn(fixture_names()),
                         [](const auto& fixture) { return fixture.param; });

}  // namespace
}  // namespace rt::test
