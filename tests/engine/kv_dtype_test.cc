// KV element types as an axis of every planner: what is planned is what stands, rows are charged
// with their scales, and one type gives one sequence of bits whoever laid the cache out.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/sdk/kv_row.hpp"
#include "tests/support/models.h"

namespace rt::test {
namespace {

constexpr rt_dtype kTypes[] = {RT_F32, RT_BF16, RT_F16, RT_KV_INT8, RT_KV_Q8_0, RT_KV_Q4_0};

// Sliding windows (rings) beside full layers.
EngineOptions options_of(rt_dtype dtype, const std::string& planner) {
  EngineOptions options = exact_options("gemma2.yaml", source_path("tests/fixtures/gemma2"));
  options.kv_dtype = dtype;
  options.planner = planner;
  return options;
}

std::vector<std::int32_t> prompt_of(const Session& session) {
  std::vector<std::int32_t> ids;
  for (std::int32_t i = 0; i < 40; ++i) {
    ids.push_back(3 + i * 7 % static_cast<std::int32_t>(session.graph().vocabulary() - 3));
  }
  return ids;
}

// Logits of a prompt and 24 greedy tokens.
std::vector<float> logits_of(const EngineOptions& options) {
  std::vector<float> logits;
  auto session = open_session(options);
  if (!session) return logits;
  auto sequence = start(*session);
  sequence->push(prompt_of(*session));
  for (int step = 0; step < 24; ++step) {
    auto row = session->run(*sequence);
    if (!row.ok()) {
      ADD_FAILURE() << row.error().message;
      return logits;
    }
    logits.insert(logits.end(), row->logits, row->logits + session->graph().vocabulary());
    sequence->push(row->sampled);
  }
  return logits;
}

class KvTypes : public testing::TestWithParam<rt_dtype> {};

TEST_P(KvTypes, BitsDoNotDependOnPlannerStripesThreadsOrChunks) {
  const std::vector<float> first = logits_of(options_of(GetParam(), "static"));
  ASSERT_FALSE(first.empty());
  for (const char* planner : {"elastic", "exact", "grow", "paged"}) {
    for (const std::int64_t threads : {1, 3}) {
      EngineOptions options = options_of(GetParam(), planner);
      options.device_options = {{"threads", threads}};
      EXPECT_EQ(logits_of(options), first) << planner << ", " << threads << " threads";
    }
  }
  for (const std::int64_t stripe : {1, 5, 16, 128}) {
    EngineOptions options = options_of(GetParam(), "elastic");
    options.planner_options = {{"stripe", stripe}};
    EXPECT_EQ(logits_of(options), first) << "stripes of " << stripe;
  }
  for (const std::uint32_t step : {1u, 7u}) {
    EngineOptions options = options_of(GetParam(), "elastic");
    options.step_tokens = step;
    EXPECT_EQ(logits_of(options), first) << "chunks of " << step;
  }
}

TEST_P(KvTypes, PlanEqualsLedger) {
  for (const char* planner : {"elastic", "exact", "static", "grow", "paged"}) {
    auto session = open_session(options_of(GetParam(), planner));
    ASSERT_TRUE(session);
    auto sequence = start(*session, 70);
    sequence->push(prompt_of(*session));
    for (std::uint64_t length = 40; length < 70; ++length) {
      auto row = session->run(*sequence);
      ASSERT_TRUE(row.ok()) << row.error().message;
      auto plan = session->blueprint().memory(length, 70, false);
      ASSERT_TRUE(plan.ok());
      EXPECT_EQ(plan->by_kind, session->ledger().now().by_kind) << planner << ", " << length;
      sequence->push(row->sampled);
    }
  }
}

TEST_P(KvTypes, RowsAreChargedWithTheirScales) {
  auto session = open_session(options_of(GetParam(), "elastic"));
  ASSERT_TRUE(session);
  const Blueprint& blueprint = session->blueprint();
  for (std::uint32_t layer = 0; layer < blueprint.graph.kv_layers.size(); ++layer) {
    const KvLayer& kv = blueprint.graph.kv_layers[layer];
    const rt_kv_layout layout = blueprint.kv->layout(layer, 64);
    EXPECT_EQ(layout.k_row_bytes, sdk::kv_row_bytes(GetParam(), kv.kv_heads, kv.head_width));
    EXPECT_EQ(layout.dtype, GetParam());
  }
}

// Rounding moves the logits, and the finer type moves them less: int8 and q8_0 keep 8 bits.
TEST_P(KvTypes, StayNearTheUnroundedCache) {
  const std::vector<float> truth = logits_of(options_of(RT_F32, "elastic"));
  auto session = open_session(options_of(GetParam(), "elastic"));
  ASSERT_TRUE(session);
  const std::vector<float> found = logits_of(options_of(GetParam(), "elastic"));
  const std::size_t row = session->graph().vocabulary();  // of the prompt's last token
  float scale = 0;
  for (std::size_t i = 0; i < row; ++i) scale = std::max(scale, std::abs(truth[i]));
  const float allowed = GetParam() == RT_F32 ? 0.0f : GetParam() == RT_KV_Q4_0 ? 0.5f : 0.05f;
  EXPECT_LE(max_difference(truth.data(), found.data(), row), allowed * scale);
  if (GetParam() != RT_F32) {
    EXPECT_NE(found, truth) << "the cache was not rounded";
  }
}

INSTANTIATE_TEST_SUITE_P(All, KvTypes, testing::ValuesIn(kTypes),
                         [](const auto& type) { return dtype_name(type.param); });

TEST(KvTypeNames, AreThoseOfCaches) {
  for (const rt_dtype dtype : kTypes) EXPECT_EQ(parse_kv_dtype(dtype_name(dtype)), dtype);
  EXPECT_EQ(parse_kv_dtype("float16"), static_cast<rt_dtype>(RT_F16));
  EXPECT_EQ(parse_kv_dtype("i64"), 0u);
  EXPECT_EQ(parse_kv_dtype("q5_0"), 0u);
  EXPECT_EQ(parse_dtype("q8_0"), 0u) << "no type of weights";
}

}  // namespace
}  // namespace rt::test
