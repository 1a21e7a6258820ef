// Quantized weights on an emulated GPU (tests/cuda_emulation), through the engine: the demo model
// against what bitsandbytes and transformers make of it (tools/make_quantized_fixtures.py) and
// against the CPU; what is placed on the device, and plans for a GPU that is not here.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/json.h"
#include "core/sdk/weight_format.hpp"
#include "tests/cuda_emulation/control.h"
#include "tests/support/cuda_models.h"
#include "tests/support/models.h"

namespace rt::test {
namespace {

struct Format {
  const char* name;
  rt_dtype dtype;
  float tolerance;  // of a logit (they reach 20): tests/tools/quantize_test.cc has the reasons
};
constexpr Format kFormats[] = {
    {"nf4", RT_W_NF4, 2e-5f}, {"nf4-dq", RT_W_NF4_DQ, 2e-3f}, {"int8", RT_W_INT8, 1e-2f}};

WeightFormats all_of(const Format& format) {
  return {format.dtype, {}};
}

EngineOptions demo(const WeightFormats& formats, const char* device, const std::string& values) {
  EngineOptions options = exact_options("phi3.yaml", source_path("graphs/demo"));
  options.weight_formats = formats;
  options.device = device;
  options.exact = values == "f32";
  if (options.device == "cuda") options.device_options = {{"values", values}};
  return options;
}

std::vector<float> logits_of(const StepRow& row, const Session& session) {
  return {row.logits, row.logits + session.graph().vocabulary()};
}

float largest(const std::vector<float>& logits) {
  float out = 0;
  for (const float logit : logits) out = std::max(out, std::abs(logit));
  return out;
}

// The logits behind a prompt that prefill takes whole, then behind one more token.
std::vector<std::vector<float>> logits_along(const EngineOptions& options, Registry& plugins,
                                             std::vector<std::string>* chosen = nullptr) {
  auto session = open_session(options, plugins);
  if (!session) return {};
  if (chosen != nullptr) {
    for (const auto& node : session->blueprint().nodes) {
      chosen->push_back(node.prefill.chosen.full_name);
      chosen->push_back(node.decode.chosen.full_name);
    }
  }
  session->keep_logits(true);
  auto sequence = start(*session);
  std::vector<std::int32_t> tokens;
  for (std::int32_t i = 0; i < 40; ++i) tokens.push_back(3 + i * 37 % 900);
  std::vector<std::vector<float>> logits;
  for (int step = 0; step < 2; ++step) {
    sequence->push(tokens);
    auto row = session->run(*sequence);
    if (!row.ok()) {
      ADD_FAILURE() << row.error().message;
      return {};
    }
    logits.push_back(logits_of(*row, *session));
    tokens = {11};
  }
  return logits;
}

class CudaQuantized : public testing::TestWithParam<Format> {
 protected:
  void SetUp() override { cuda_emulation_reset(); }
};

TEST_P(CudaQuantized, TokensAndLogitsAreThoseOfTransformers) {
  const Json cases = read_golden(source_path("tests/tools/data/demo_quantized.json"))
                         .at("formats")
                         .at(GetParam().name)
                         .at("cases");
  ASSERT_FALSE(cases.empty());
  auto session = open_session(demo(all_of(GetParam()), "cuda", "f32"), cuda_registry());
  ASSERT_TRUE(session);
  session->keep_logits(true);
  for (const Json& one : cases) {
    auto sequence = start(*session);
    std::vector<std::int32_t> next = one.at("prompt_ids");
    std::vector<std::int32_t> found;
    const std::vector<std::int32_t> expected = one.at("greedy_ids");
    std::vector<float> logits;
    while (found.size() < expected.size()) {
      sequence->push(next);
      auto row = session->run(*sequence);
      ASSERT_TRUE(row.ok()) << row.error().message;
      logits.insert(logits.end(), row->logits, row->logits + session->graph().vocabulary());
      found.push_back(row->sampled);
      next = {row->sampled};
    }
    EXPECT_EQ(found, expected);
    const std::vector<float> golden = one.at("logits");
    ASSERT_LE(golden.size(), logits.size());
    EXPECT_LT(max_difference(logits.data(), golden.data(), golden.size()), GetParam().tolerance);
  }
  auto plan = session->blueprint().memory(0, 0, false);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ((*plan)[MemoryKind::kWeightsOwned], session->ledger().now()[MemoryKind::kWeightsOwned]);
  EXPECT_EQ(session->ledger().now()[MemoryKind::kWeightsMapped], 0u) << "a GPU reads no files";
}

// Values of 16 bits: prompts go through the tensor cores, with nf4's weights rounded to bf16.
TEST_P(CudaQuantized, TensorCoresStayNearTheCpu) {
  const WeightFormats formats = all_of(GetParam());
  const auto expected = logits_along(demo(formats, "cpu", "f32"), registry());
  ASSERT_EQ(expected.size(), 2u);
  for (const auto& [values, tolerance] : {std::pair{"bf16", 0.03f}, std::pair{"f16", 0.01f}}) {
    SCOPED_TRACE(values);
    std::vector<std::string> chosen;
    const auto found = logits_along(demo(formats, "cuda", values), cuda_registry(), &chosen);
    ASSERT_EQ(found.size(), 2u);
    for (const char* name : {"quantized_linear_cuda/mma", "quantized_linear_cuda/vector"}) {
      EXPECT_GT(std::count(chosen.begin(), chosen.end(), name), 4) << name;
    }
    for (std::size_t step = 0; step < 2; ++step) {
      EXPECT_LT(max_difference(found[step].data(), expected[step].data(), found[step].size()),
                tolerance * largest(expected[step]));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, CudaQuantized, testing::ValuesIn(kFormats), [](const auto& parameter) {
  std::string name = parameter.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

class CudaQuantizedGpu : public testing::Test {
 protected:
  void SetUp() override { cuda_emulation_reset(); }
};

TEST_F(CudaQuantizedGpu, AHeadOfItsOwnAsOnTheCpu) {
  WeightFormats formats;
  formats.rules = {{"lm_head", RT_W_INT8}, {"linear", RT_W_NF4}};
  std::vector<std::vector<float>> logits[2] = {
      logits_along(demo(formats, "cpu", "f32"), registry()),
      logits_along(demo(formats, "cuda", "f32"), cuda_registry())};
  ASSERT_EQ(logits[0].size(), 2u);
  ASSERT_EQ(logits[1].size(), 2u);
  for (std::size_t step = 0; step < 2; ++step) {
    EXPECT_LT(
        max_difference(logits[0][step].data(), logits[1][step].data(), logits[0][step].size()),
        1e-4f);
  }
}

// Gemma's head is its embedding: both read the same codes.
TEST_F(CudaQuantizedGpu, ATiedHeadAsOnTheCpu) {
  std::vector<std::int32_t> tokens[2];
  for (int side = 0; side < 2; ++side) {
    EngineOptions options = exact_options("gemma.yaml", source_path("tests/fixtures/gemma"));
    options.weight_formats.rules = {{"lm_head", RT_W_INT8}, {"linear", RT_W_NF4}};
    options.device = side == 0 ? "cpu" : "cuda";
    if (side == 1) options.device_options = {{"values", std::string("f32")}};
    auto session = open_session(options, side == 0 ? registry() : cuda_registry());
    ASSERT_TRUE(session);
    auto sequence = start(*session);
    tokens[side] = continue_greedy(*session, *sequence, {2, 5, 9}, 8);
  }
  EXPECT_EQ(tokens[0], tokens[1]);
}

// A plan for an H100 needs neither driver nor checkpoint, and counts codes and scales to the byte.
TEST_F(CudaQuantizedGpu, PlansExactBytes) {
  cuda_emulation_set_driver(0);
  auto described = DescribedDevice::read(source_path("configs/devices/h100.yaml"));
  ASSERT_TRUE(described.ok()) << described.error().message;
  for (const Format& format : kFormats) {
    SCOPED_TRACE(format.name);
    EngineOptions options;
    options.graph = source_path("graphs/phi3.yaml");
    options.source = WeightSource::kNoWeights;
    options.weight_formats.all = format.dtype;
    options.described_device = *described;
    options.device = options.described_device->kind();
    auto blueprint = draw(cuda_registry(), options);
    ASSERT_TRUE(blueprint.ok()) << blueprint.error().message;
    const Blueprint& b = **blueprint;
    std::uint64_t bytes = 0;
    const auto add = [&](std::uint64_t size) { bytes += (size + 255) / 256 * 256; };
    for (int layer = 0; layer < 32; ++layer) {
      for (int square = 0; square < 4; ++square) {  // q, k, v and o
        add(sdk::weight_bytes(format.dtype, 3072, 3072));
      }
      add(sdk::weight_bytes(format.dtype, 8192, 3072));  // gate
      add(sdk::weight_bytes(format.dtype, 8192, 3072));  // up
      add(sdk::weight_bytes(format.dtype, 3072, 8192));
      for (int norm = 0; norm < 2; ++norm) add(3072 * 2);
    }
    add(3072 * 2);
    for (int table = 0; table < 2; ++table) add(sdk::weight_bytes(RT_BF16, 32064, 3072));
    EXPECT_EQ(b.owned_weight_bytes, bytes);
    EXPECT_EQ(b.mapped_weight_bytes, 0u);
  }
}

}  // namespace
}  // namespace rt::test
