// Philox against its published known answers, and what sample must do with logits that are not
// numbers. The draws themselves are checked by reference_test.cc.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "plugins/sample/philox.h"
#include "tests/operators/plugin_file.h"
#include "tools/conformance/run.h"

namespace rt::test {
namespace {

using sample::philox4x32;
using sample::Words4;

// Random123, kat_vectors: "philox4x32 10".
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words4{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words4{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words4{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, UniformIsBelowOneAndSpreads) {
  double sum = 0;
  double least = 1;
  double most = 0;
  for (std::uint64_t position = 0; position < 20000; ++position) {
    const double u = sample::uniform(UINT64_MAX, position);
    sum += u;
    least = std::min(least, u);
    most = std::max(most, u);
  }
  EXPECT_NEAR(sum / 20000, 0.5, 0.01);
  EXPECT_GE(least, 0.0);
  EXPECT_LT(most, 1.0);
  EXPECT_NE(sample::uniform(1, 2), sample::uniform(2, 1));
  EXPECT_NE(sample::uniform(0, 1), sample::uniform(0, 1ull << 32));
}

Problem one_row(std::vector<float> logits, rt_sampling how) {
  Problem problem{
      .name = "one row", .op = "sample", .attrs = {}, .inputs = {}, .sequences = {{}}, .kv = {}};
  problem.inputs.push_back(
      {RT_F32, {RT_DIM_ROWS, static_cast<std::int64_t>(logits.size())}, std::move(logits)});
  problem.sampling = {how};
  return problem;
}

RunOutcome reference(const Problem& problem) {
  return run(*find_schema("sample"), *find_reference("sample"), problem, {});
}

std::int32_t id_of(const RunOutcome& outcome) {
  std::int32_t id = -2;
  EXPECT_EQ(outcome.status, RT_OK) << outcome.text;
  if (outcome.status == RT_OK) std::memcpy(&id, outcome.outputs.at(0).data(), 4);
  return id;
}

constexpr rt_sampling kGreedy = {.temperature = 0,
                                 .top_p = 1,
                                 .min_p = 0,
                                 .repeat_penalty = 1,
                                 .presence_penalty = 0,
                                 .frequency_penalty = 0,
                                 .top_k = 0,
                                 .history_offset = 0,
                                 .history_count = 0,
                                 .reserved = 0,
                                 .seed = 1,
                                 .position = 1,
                                 .reserved2 = 0};

TEST(Sample, LogitsThatAreNoNumbers) {
  rt_sampling drawn = kGreedy;
  drawn.temperature = 1;
  for (const rt_sampling& how : {kGreedy, drawn}) {
    EXPECT_EQ(id_of(reference(one_row({NAN, -3, NAN}, how))), 1);
    EXPECT_EQ(id_of(reference(one_row({-INFINITY, NAN, -1e30f}, how))), 2);
    EXPECT_EQ(id_of(reference(one_row({5, INFINITY, 7}, how))), 1);
    for (const float bad : {NAN, -INFINITY}) {
      EXPECT_EQ(id_of(reference(one_row({bad, bad}, how))), -1);
    }
  }
}

TEST(Sample, ParametersThatAreNoNumbers) {
  for (const float odd : {NAN, INFINITY, -INFINITY, 1e-45f, -1.0f, 1e38f}) {
    rt_sampling how = {.temperature = odd,
                       .top_p = odd,
                       .min_p = odd,
                       .repeat_penalty = 1,
                       .presence_penalty = 0,
                       .frequency_penalty = 0,
                       .top_k = 1 << 30,
                       .history_offset = 0,
                       .history_count = 0,
                       .reserved = 0,
                       .seed = UINT64_MAX,
                       .position = UINT64_MAX,
                       .reserved2 = 0};
    const std::int32_t id = id_of(reference(one_row({1, 2, 3}, how)));
    EXPECT_TRUE(id >= 0 && id < 3) << odd;
  }
}

TEST(Sample, TiesGoToTheLowestId) {
  EXPECT_EQ(id_of(reference(one_row({1, 4, 4, 4}, kGreedy))), 1);
}

}  // namespace
}  // namespace rt::test
