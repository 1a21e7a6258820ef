// A real trained model against golden ids and logits from an independent float64 forward pass.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "core/base/json.h"
#include "tests/support/models.h"

namespace rt::test {
namespace {

std::string folder() {
  return shared_path("models/tinystories656K");
}

struct Case {
  std::string name;
  std::vector<std::int32_t> prompt;
  std::vector<std::int32_t> answer;  // greedy
};

std::vector<Case> cases() {
  std::vector<Case> cases;
  const Json golden = read_golden(folder() + "/golden.json");
  for (const Json& item : golden.at("cases")) {
    Case c{item.at("name"), item.at("prompt_ids"), {}};
    const std::vector<std::int32_t> all = item.at("greedy_ids");
    c.answer.assign(all.begin() + static_cast<std::ptrdiff_t>(c.prompt.size()), all.end());
    cases.push_back(c);
  }
  return cases;
}

class Tinystories : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(folder())) GTEST_SKIP() << "no " << folder();
  }
  static EngineOptions options(const std::string& planner) {
    EngineOptions options = exact_options("tinyllama.yaml", folder());
    options.planner = planner;
    return options;
  }
};

TEST_P(Tinystories, ReproducesGoldenIds) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(generate_greedy(options(GetParam()), c.prompt, c.answer.size()), c.answer);
  }
}

TEST_P(Tinystories, ReproducesGoldenIdsInRaggedBatches) {
  const std::vector<Case> all = cases();
  EngineOptions two = options(GetParam());
  two.max_sequences = 2;
  for (std::size_t i = 0; i + 1 < all.size(); ++i) {
    auto session = open_session(two);
    ASSERT_TRUE(session);
    std::unique_ptr<Sequence> sequences[] = {start(*session, 512), start(*session, 512)};
    std::vector<std::int32_t> answers[2];
    for (int k = 0; k < 2; ++k) sequences[k]->push(all[i + k].prompt);
    Sequence* const batch[] = {sequences[0].get(), sequences[1].get()};
    const std::size_t count = std::min(all[i].answer.size(), all[i + 1].answer.size());
    while (answers[0].size() < count || answers[1].size() < count) {
      auto rows = session->step(batch);
      ASSERT_TRUE(rows.ok()) << rows.error().message;
      for (const StepRow& row : *rows) {
        const int k = row.sequence == batch[0] ? 0 : 1;
        answers[k].push_back(row.sampled);
        if (answers[k].size() < count) batch[k]->push(row.sampled);
      }
    }
    for (int k = 0; k < 2; ++k) {
      const auto& golden = all[i + k].answer;
      EXPECT_EQ(answers[k],
                std::vector<std::int32_t>(golden.begin(),
                                          golden.begin() + static_cast<std::ptrdiff_t>(count)))
          << all[i + k].name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Planners, Tinystories, testing::Values("static", "exact", "elastic"));

using TinystoriesLogits = Tinystories;

// The golden values are float64; the largest difference of transformers' own float32 run is
// 1.34e-5 on logits of deviation 3.5, so 1e-4 leaves room for another summation order.
TEST_P(TinystoriesLogits, MatchGoldenLogits) {
  EngineOptions all = options("elastic");
  all.all_rows = true;
  all.selection.prefer = {GetParam()};
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    const auto golden = read_floats(folder() + "/golden_logits_" + c.name + ".f32");
    auto session = open_session(all);
    ASSERT_TRUE(session);
    const std::uint64_t vocabulary = session->graph().vocabulary();
    std::vector<std::int32_t> ids = c.prompt;
    ids.insert(ids.end(), c.answer.begin(), c.answer.end());
    ids.resize(golden.size() / vocabulary);
    auto sequence = start(*session);
    sequence->all_rows = true;
    sequence->push(ids);
    Sequence* const one[] = {sequence.get()};
    auto rows = session->step(one);
    ASSERT_TRUE(rows.ok()) << rows.error().message;
    ASSERT_EQ(rows->size(), ids.size());
    for (std::size_t r = 0; r < rows->size(); ++r) {
      EXPECT_LT(max_difference((*rows)[r].logits, &golden[r * vocabulary], vocabulary), 1e-4f)
          << "position " << r;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Implementations, TinystoriesLogits,
                         testing::Values("reference", "portable", "avx2"));

}  // namespace
}  // namespace rt::test
