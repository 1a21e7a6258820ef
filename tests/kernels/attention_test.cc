// The CPU attention beyond what the schema asks: a query has the same bits in a whole prompt, in a
// piece of it, and decoded alone, for every form and stripe size of the cache, over contexts of
// several chunks.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/operators/plugin_file.h"
#include "tools/conformance/run.h"

namespace rt::test {
namespace {

struct Case {
  std::int64_t heads, kv_heads, width, window;
  double softcap;
  rt_dtype dtype;
  std::int32_t past, tokens;
};

// Past and tokens straddle tiles (64 keys) and chunks (512 keys) of the kernels.
const Case kCases[] = {
    {2, 2, 96, 0, 0, RT_BF16, 0, 130},         {8, 1, 64, 0, 0, RT_F16, 500, 30},
    {4, 2, 20, 0, 50, RT_F32, 1000, 40},       {3, 3, 8, 700, 0, RT_BF16, 1490, 80},
    {6, 2, 128, 513, 30, RT_BF16, 1020, 70},   {2, 1, 256, 64, 0, RT_F32, 1530, 20},
    {1, 1, 7, 0, 0, RT_F16, 1020, 9},          {2, 2, 64, 0, 0, RT_BF16, 8300, 3},
    {2, 2, 96, 0, 0, RT_KV_INT8, 0, 130},      {8, 1, 64, 0, 0, RT_KV_Q8_0, 500, 30},
    {4, 2, 20, 0, 50, RT_KV_Q4_0, 1000, 40},   {3, 3, 8, 700, 0, RT_KV_INT8, 1490, 80},
    {6, 2, 80, 513, 30, RT_KV_Q8_0, 1020, 70}, {2, 1, 256, 64, 0, RT_KV_Q4_0, 1530, 20},
    {1, 1, 7, 0, 0, RT_KV_Q4_0, 1020, 9},      {8, 2, 80, 0, 0, RT_BF16, 500, 40},
    {9, 3, 7, 0, 0, RT_KV_Q4_0, 1020, 9},      {10, 2, 33, 70, 20, RT_KV_INT8, 600, 30},
    {3, 1, 256, 600, 0, RT_F32, 1000, 50},     {4, 1, 96, 0, 0, RT_KV_Q8_0, 0, 70},
    {14, 2, 9, 0, 0, RT_BF16, 90, 20},
};

std::vector<float> numbers(std::size_t count, std::uint32_t seed) {
  std::vector<float> out(count);
  std::uint32_t state = seed * 2654435761u + 1;
  for (float& x : out) {
    state = state * 1664525u + 1013904223u;
    x = static_cast<float>(state >> 8) * 0x1p-22f - 2.0f;
  }
  return out;
}

std::vector<float> rows(const std::vector<float>& from, std::int64_t width, std::int64_t first,
                        std::int64_t count) {
  return {from.begin() + first * width, from.begin() + (first + count) * width};
}

// All queries, keys and values of one conversation.
struct Conversation {
  explicit Conversation(const Case& c)
      : shape(c),
        q(numbers(static_cast<std::size_t>((c.past + c.tokens) * c.heads * c.width), 1)),
        k(numbers(static_cast<std::size_t>((c.past + c.tokens) * c.kv_heads * c.width), 2)),
        v(numbers(static_cast<std::size_t>((c.past + c.tokens) * c.kv_heads * c.width), 3)) {}

  // The step that brings tokens [past, past + count).
  Problem step(const KvSpec& kv, std::int32_t past, std::int32_t count) const {
    const std::int64_t q_width = shape.heads * shape.width;
    const std::int64_t k_width = shape.kv_heads * shape.width;
    Problem p;
    p.name = p.op = "attention";
    p.attrs = {
        {"heads", shape.heads},      {"kv_heads", shape.kv_heads},
        {"head_width", shape.width}, {"scale", 1 / std::sqrt(static_cast<double>(shape.width))},
        {"softcap", shape.softcap},  {"window", shape.window}};
    p.inputs = {{RT_F32, {RT_DIM_TOKENS, q_width}, rows(q, q_width, past, count)},
                {RT_F32, {RT_DIM_TOKENS, k_width}, rows(k, k_width, past, count)},
                {RT_F32, {RT_DIM_TOKENS, k_width}, rows(v, k_width, past, count)}};
    Sequence sequence;
    sequence.past = past;
    sequence.tokens = count;
    sequence.past_k = rows(k, k_width, 0, past);
    sequence.past_v = rows(v, k_width, 0, past);
    p.sequences = {sequence};
    p.kv = kv;
    p.kv->dtype = shape.dtype;
    p.kv->row_elements = static_cast<std::uint64_t>(k_width);
    p.kv->window = shape.window;
    return p;
  }

  Case shape;
  std::vector<float> q, k, v;  // f32[past + tokens, width]
};

const rt_implementation* implementation(std::string_view name) {
  for (const PluginFile& file : plugin_files()) {
    for (std::uint32_t i = 0; file.plugin != nullptr && i < file.plugin->implementation_count;
         ++i) {
      const rt_implementation* candidate = file.plugin->implementations[i];
      if (std::string_view(file.plugin->name) == "attention_cpu" && candidate->name == name) {
        return candidate;
      }
    }
  }
  return nullptr;
}

class AttentionBits : public testing::TestWithParam<std::tuple<const char*, Case>> {};

TEST_P(AttentionBits, DependOnTheKeysAlone) {
  const auto& [name, shape] = GetParam();
  const rt_implementation* subject = implementation(name);
  if (subject == nullptr) GTEST_SKIP() << "attention_cpu is not built";
  if (!machine_has(subject->isa)) GTEST_SKIP() << "needs " << subject->isa;
  const rt_schema& schema = *find_schema("attention");
  const Conversation all(shape);
  const KvSpec plain;
  const RunOutcome expected =
      run(schema, *find_reference("attention"), all.step(plain, shape.past, shape.tokens), {});
  const RunOutcome whole = run(schema, *subject, all.step(plain, shape.past, shape.tokens), {});
  if (whole.stage == "supports") GTEST_SKIP() << whole.text;
  ASSERT_EQ(whole.status, RT_OK) << whole.text;
  // fast_bf16: a query errs by 2^-9 of itself, so scores of up to 6 do by 0.01 and weights by 1 %,
  // in either direction, of values of at most 2 that cancel.
  const bool rounds = (subject->traits & RT_TRAIT_EXACT) == 0;
  EXPECT_EQ(difference(whole, expected, rounds ? 0.01 : schema.tolerance_absolute,
                       schema.tolerance_relative),
            "");

  const std::size_t row = whole.outputs[0].size() / static_cast<std::size_t>(shape.tokens);
  const auto expect_same = [&](const KvSpec& kv, std::int32_t first, std::int32_t count,
                               std::uint32_t threads) {
    const RunOutcome part = run(schema, *subject, all.step(kv, shape.past + first, count),
                                {threads, threads > 1 ? Split::kShuffled : Split::kWhole});
    ASSERT_EQ(part.status, RT_OK) << part.text;
    EXPECT_EQ(std::memcmp(part.outputs[0].data(),
                          whole.outputs[0].data() + static_cast<std::size_t>(first) * row,
                          static_cast<std::size_t>(count) * row),
              0)
        << "tokens [" << first << ", " << first + count << ") differ, form " << kv.form
        << ", stripes of " << kv.stripe_tokens << ", threads " << threads;
  };
  for (const std::uint64_t stripe : {0, 16, 64, 100}) {
    for (const rt_kv_form form : {RT_KV_AFFINE, RT_KV_RING, RT_KV_TABLE}) {
      if (form == RT_KV_RING && shape.window == 0) continue;
      KvSpec kv;
      kv.form = static_cast<rt_kv_form>(form);
      kv.stripe_tokens = stripe;
      expect_same(kv, 0, shape.tokens, 3);
      expect_same(kv, shape.tokens / 3, shape.tokens - shape.tokens / 3, 1);
      expect_same(kv, shape.tokens - 1, 1, 3);
    }
  }
  for (std::int32_t t = 0; t < shape.tokens; t += std::max(1, shape.tokens / 13)) {
    expect_same(plain, t, 1, 1);
  }
}

// Scores of 1e30: the largest of a row has the weight 1 still, so no sum is 0 or infinite.
TEST(AttentionSizes, TheLargestScoreMayBeHuge) {
  Conversation all({8, 2, 64, 0, 0, RT_BF16, 100, 30});
  for (float& q : all.q) q *= 1e30f;
  for (const char* name : {"portable", "avx2", "avx512", "fast_bf16"}) {
    const rt_implementation* subject = implementation(name);
    if (subject == nullptr || !machine_has(subject->isa)) continue;
    const RunOutcome out = run(*find_schema("attention"), *subject, all.step({}, 100, 30), {});
    ASSERT_EQ(out.status, RT_OK) << name << ": " << out.text;
    std::vector<float> values(out.outputs[0].size() / sizeof(float));
    std::memcpy(values.data(), out.outputs[0].data(), out.outputs[0].size());
    // Values are of at most 2; fast_bf16 rounds weights by 2^-9, their sum not.
    EXPECT_TRUE(std::all_of(values.begin(), values.end(), [](float x) {
      return std::abs(x) <= 2.01f;
    })) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(, AttentionBits,
                         testing::Combine(testing::Values("portable", "avx2", "avx512",
                                                          "fast_bf16"),
                                          testing::ValuesIn(kCases)),
                         [](const auto& row) {
                           return std::string(std::get<0>(row.param)) + "_" +
                                  std::to_string(row.index);
                         });

}  // namespace
}  // namespace rt::test
