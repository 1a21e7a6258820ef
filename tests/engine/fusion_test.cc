// Fused operators in a session: what runs, that it changes no bit, and what is said where it does
// not. The GPU is the emulated one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "core/base/json.h"
#include "core/engine/step_work.h"
#include "tests/cuda_emulation/control.h"
#include "tests/support/cuda_models.h"
#include "tests/support/models.h"

namespace rt::test {
namespace {

EngineOptions on_cuda(const std::string& fixture, const std::string& values, bool fuse) {
  const Json golden = read_golden(source_path("tests/fixtures/" + fixture + "/golden.json"));
  const std::string graph = golden.at("graph");
  EngineOptions options =
      exact_options(graph.substr(graph.find('/') + 1), source_path("tests/fixtures/" + fixture));
  options.device = "cuda";
  options.device_options = {{"values", values}};
  options.exact = values == "f32";
  options.fuse = fuse;
  options.step_tokens = 16;
  return options;
}

// Logits of every step of a batch: a prompt that decode takes, one that prefill takes, then tokens.
std::vector<std::vector<float>> logits_of(const EngineOptions& options, std::size_t sequences) {
  std::vector<std::vector<float>> out;
  auto session = open_session(options, cuda_registry());
  if (!session) return out;
  session->keep_logits(true);
  const std::size_t vocabulary = session->graph().vocabulary();
  std::vector<std::unique_ptr<Sequence>> all;
  std::vector<Sequence*> batch;
  for (std::size_t s = 0; s < sequences; ++s) {
    all.push_back(start(*session));
    batch.push_back(all.back().get());
    const std::size_t prompt = s % 2 == 0 ? 5 : 20;
    for (std::size_t i = 0; i < prompt; ++i) {
      batch[s]->push(static_cast<std::int32_t>(3 + (s + i * 7) % 40));
    }
  }
  for (int step = 0; step < 8; ++step) {
    auto rows = session->step(batch);
    if (!rows.ok()) {
      ADD_FAILURE() << rows.error().message;
      return out;
    }
    for (const StepRow& row : *rows) {
      out.emplace_back(row.logits, row.logits + vocabulary);
      if (row.sequence->pending() == 0) row.sequence->push(row.sampled);
    }
  }
  return out;
}

class Fusion : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { cuda_emulation_reset(); }
};

TEST_P(Fusion, ChangesNoBit) {
  struct Types {
    const char* values;
    rt_dtype cache;
  };
  for (const Types types : {Types{"f32", RT_F32}, Types{"f32", RT_KV_Q8_0}, Types{"bf16", RT_BF16},
                            Types{"f16", RT_BF16}}) {
    for (const std::size_t sequences : {1u, 3u}) {
      SCOPED_TRACE(std::string(types.values) + ", cache " + std::to_string(types.cache) + ", " +
                   std::to_string(sequences) + " sequences");
      std::vector<std::vector<float>> logits[2];
      for (const bool fuse : {false, true}) {
        EngineOptions options = on_cuda(GetParam(), types.values, fuse);
        options.kv_dtype = types.cache;
        options.max_sequences = static_cast<std::uint32_t>(sequences);
        logits[fuse ? 1 : 0] = logits_of(options, sequences);
      }
      ASSERT_FALSE(logits[0].empty());
      EXPECT_TRUE(logits[0] == logits[1]);
    }
  }
}

TEST_P(Fusion, ChangesNoBitOfQuantizedWeights) {
  for (const rt_dtype weights : {RT_W_INT8, RT_W_NF4, RT_W_NF4_DQ}) {
    for (const char* values : {"f32", "bf16"}) {
      for (const std::size_t sequences : {1u, 3u}) {
        SCOPED_TRACE(std::string(values) + ", weights " + std::to_string(weights) + ", " +
                     std::to_string(sequences) + " sequences");
        std::vector<std::vector<float>> logits[2];
        for (const bool fuse : {false, true}) {
          EngineOptions options = on_cuda(GetParam(), values, fuse);
          options.weight_formats.all = weights;
          options.max_sequences = static_cast<std::uint32_t>(sequences);
          logits[fuse ? 1 : 0] = logits_of(options, sequences);
        }
        ASSERT_FALSE(logits[0].empty());
        EXPECT_TRUE(logits[0] == logits[1]);
      }
    }
  }
}

// Kernels of a decode step that is replayed.
std::uint64_t kernels_per_step(const EngineOptions& options) {
  auto session = open_session(options, cuda_registry());
  if (!session) return 0;
  auto sequence = start(*session);
  continue_greedy(*session, *sequence, {1, 2, 3}, 3);
  const std::uint64_t before = cuda_emulation_kernels();
  continue_greedy(*session, *sequence, {}, 4);
  EXPECT_EQ(session->captures(), 1u);
  return (cuda_emulation_kernels() - before) / 4;
}

// A layer is five kernels: norm to cache, attention, the output's product with the residual, norm
// to hidden, down with the residual. Gemma 2's norms behind the products are done by the products'
// last blocks.
TEST_P(Fusion, FiveKernelsALayer) {
  const bool post_norms = GetParam() == "gemma2";
  auto blueprint = draw(cuda_registry(), on_cuda(GetParam(), "f32", true));
  ASSERT_TRUE(blueprint.ok()) << blueprint.error().message;
  const std::uint64_t layers = (*blueprint)->graph.kv_layers.size();
  const std::uint64_t others =
      post_norms ? 8 : 7;  // embedding, angles, rows, norm, head, sampler: 2
  EXPECT_EQ(kernels_per_step(on_cuda(GetParam(), "f32", true)), others + layers * 5);
  EXPECT_EQ(kernels_per_step(on_cuda(GetParam(), "f32", false)),
            others + layers * (post_norms ? 16 : 14));
  EngineOptions quantized = on_cuda(GetParam(), "bf16", true);
  quantized.weight_formats.all = RT_W_NF4;
  EXPECT_EQ(kernels_per_step(quantized), others + layers * 5);
}

TEST_P(Fusion, PlanIsTheLedger) {
  auto session = open_session(on_cuda(GetParam(), "bf16", true), cuda_registry());
  ASSERT_TRUE(session);
  const auto plan = session->blueprint().fixed_memory();
  const auto now = session->ledger().now();
  for (const MemoryKind kind : {MemoryKind::kActivations, MemoryKind::kWorkspace, MemoryKind::kStep,
                                MemoryKind::kWeightsOwned}) {
    EXPECT_EQ(plan[kind], now[kind]);
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, Fusion,
                         testing::Values("gemma", "gemma2", "llama3", "phi3", "phi3_longrope",
                                         "tinyllama"),
                         [](const auto& fixture) { return fixture.param; });

const FusedNode* fused_of(const Blueprint& b, const std::string& op) {
  for (const FusedNode& fused : b.fused) {
    if (fused.match.node.op == op) return &fused;
  }
  return nullptr;
}

class FusionPlan : public testing::Test {
 protected:
  void SetUp() override { cuda_emulation_reset(); }
};

TEST_F(FusionPlan, NamesEveryPlaceAndItsFate) {
  auto blueprint = draw(cuda_registry(), on_cuda("tinyllama", "f32", true));
  ASSERT_TRUE(blueprint.ok()) << blueprint.error().message;
  const Blueprint& b = **blueprint;
  const FusedNode* attention = fused_of(b, "norm_qkv_attention");
  ASSERT_NE(attention, nullptr);
  EXPECT_EQ(attention->match.node.name, "layer.0.norm_qkv_attention.a");
  EXPECT_EQ(attention->match.parts.size(), 7u);
  EXPECT_TRUE(attention->decode.taken);
  EXPECT_FALSE(attention->prefill.taken);
  EXPECT_EQ(attention->prefill.reason, "no implementation fits; its parts run");
  ASSERT_FALSE(attention->prefill.selection.decisions.empty());
  EXPECT_EQ(attention->prefill.selection.decisions.front().reason, "does not serve prefill steps");
  const FusedNode* smaller = fused_of(b, "norm_mlp");
  ASSERT_NE(smaller, nullptr);
  EXPECT_FALSE(smaller->decode.taken);
  EXPECT_EQ(smaller->decode.reason, "its rms_norm runs in norm_mlp_add");
}

TEST_F(FusionPlan, TheConfigsWordAboutAPartCountsMore) {
  EngineOptions options = on_cuda("tinyllama", "f32", true);
  options.selection.pins = {{"layer.1.mlp", "mlp_cuda/vector"}};
  auto blueprint = draw(cuda_registry(), options);
  // Pinned for decode, `vector` serves no prefill.
  ASSERT_FALSE(blueprint.ok());
  options.selection.pins.clear();
  options.selection.prefer = {"mlp_cuda/vector"};
  blueprint = draw(cuda_registry(), options);
  ASSERT_TRUE(blueprint.ok()) << blueprint.error().message;
  const FusedNode* mlp = fused_of(**blueprint, "norm_mlp_add");
  ASSERT_NE(mlp, nullptr);
  EXPECT_FALSE(mlp->decode.taken);
  EXPECT_EQ(mlp->decode.reason, "the config asks for mlp_cuda/vector at its mlp");
  options.selection.prefer = {"mlp_cuda/vector", "norm_mlp_cuda"};
  blueprint = draw(cuda_registry(), options);
  ASSERT_TRUE(blueprint.ok()) << blueprint.error().message;
  EXPECT_TRUE(fused_of(**blueprint, "norm_mlp_add")->decode.taken);
}

TEST_F(FusionPlan, WhatNobodyServesRunsByParts) {
  EngineOptions options = on_cuda("tinyllama", "f32", true);
  options.weight_formats.rules = {{"layer.0.linear.k", RT_W_INT8}};
  auto blueprint = draw(cuda_registry(), options);
  ASSERT_TRUE(blueprint.ok()) << blueprint.error().message;
  const FusedNode* first = fused_of(**blueprint, "norm_qkv_attention");
  ASSERT_NE(first, nullptr);
  EXPECT_FALSE(first->decode.taken);
  EXPECT_EQ(first->decode.reason, "no implementation fits; its parts run");
  EXPECT_EQ(first->decode.selection.decisions.front().reason,
            "expected weights of one type, found f16 and int8");
  EXPECT_TRUE((first + 1)->decode.taken) << "layer 1 is as it was";
  auto session = open_session(options, cuda_registry());
  ASSERT_TRUE(session);
  auto sequence = start(*session);
  EXPECT_EQ(continue_greedy(*session, *sequence, {1, 2, 3}, 4).size(), 4u);
}

TEST_F(FusionPlan, AFusedNodeDoesTheWorkOfItsParts) {
  auto blueprint = draw(cuda_registry(), on_cuda("gemma2", "bf16", true));
  ASSERT_TRUE(blueprint.ok()) << blueprint.error().message;
  const Blueprint& b = **blueprint;
  const std::int32_t offsets[] = {0, 1};
  const std::int32_t length = 9;
  rt_step step{};
  step.struct_size = sizeof step;
  step.tokens = step.sequences = step.rows = 1;
  step.token_offsets = offsets;
  step.lengths = &length;
  const StepWork all = step_work(b, step);
  for (const bool decode : {true, false}) {
    StepWork sum;
    for (const std::uint32_t n : b.order(decode)) sum += node_work(b, n, step);
    EXPECT_EQ(sum.weight_bytes, all.weight_bytes);
    EXPECT_EQ(sum.kv_bytes, all.kv_bytes);
    EXPECT_EQ(sum.flops, all.flops);
  }
  EXPECT_LT(b.decode_order.size(), b.prefill_order.size());
}

// A third party's fused operator, on the CPU: its tier is below our kernels', so it runs where the
// config prefers it, in both step classes, and gives transformers' tokens.
TEST_F(FusionPlan, AStrangersRunsWhereItIsPreferred) {
  auto plugins = bundled_registry({built_path("tests/strangers/acme_fused.rtp.so")});
  const Json golden = read_golden(source_path("tests/fixtures/tinyllama/golden.json"));
  EngineOptions options = exact_options("tinyllama.yaml", source_path("tests/fixtures/tinyllama"));
  auto blueprint = draw(*plugins, options);
  ASSERT_TRUE(blueprint.ok()) << blueprint.error().message;
  const FusedNode* fused = fused_of(**blueprint, "acme.linear_add");
  ASSERT_NE(fused, nullptr);
  options.selection.prefer = {"acme_fused"};
  blueprint = draw(*plugins, options);
  ASSERT_TRUE(blueprint.ok()) << blueprint.error().message;
  fused = fused_of(**blueprint, "acme.linear_add");
  ASSERT_NE(fused, nullptr);
  EXPECT_TRUE(fused->decode.taken) << fused->decode.reason;
  EXPECT_TRUE(fused->prefill.taken) << fused->prefill.reason;
  EXPECT_EQ(fused->match.node.name, "layer.0.acme.linear_add.m");
  auto session = open_session(options, *plugins);
  ASSERT_TRUE(session);
  std::vector<std::string> ran;
  session->observe_nodes([&](const NodeReport& report) {
    ran.push_back(session->blueprint().node(report.node).name);
  });
  for (const Json& c : golden.at("cases")) {
    auto sequence = start(*session);
    const std::vector<std::int32_t> answer = c.at("greedy_ids");
    EXPECT_EQ(continue_greedy(*session, *sequence, c.at("prompt_ids"), answer.size()), answer);
  }
  EXPECT_NE(std::find(ran.begin(), ran.end(), "layer.0.acme.linear_add.m"), ran.end());
  EXPECT_EQ(std::find(ran.begin(), ran.end(), "layer.0.add.m"), ran.end());
}

TEST_F(FusionPlan, ACrookedPatternIsANoteAndNothingElse) {
  auto plugins = bundled_registry({built_path("tests/strangers/acme_crooked.rtp.so")});
  auto blueprint =
      draw(*plugins, exact_options("tinyllama.yaml", source_path("tests/fixtures/tinyllama")));
  ASSERT_TRUE(blueprint.ok()) << blueprint.error().message;
  EXPECT_TRUE((*blueprint)->fused.empty());
  EXPECT_EQ((*blueprint)->notes.front(),
            "plugin acme_crooked: pattern of acme.linear_add@1:5:5: linear has 2 inputs and 1 "
            "outputs, found 3 inputs and 1 outputs");
}

TEST_F(FusionPlan, ACpuPlansNone) {
  auto blueprint =
      draw(registry(), exact_options("tinyllama.yaml", source_path("tests/fixtures/tinyllama")));
  ASSERT_TRUE(blueprint.ok()) << blueprint.error().message;
  EXPECT_TRUE((*blueprint)->fused.empty());
  EXPECT_EQ((*blueprint)->decode_order.size(), (*blueprint)->graph.nodes.size());
}

}  // namespace
}  // namespace rt::test
