// What a step must do at least, against sums made by hand from the published sizes; and the
// observer of nodes: every node once, in order, on a CPU and on a device that records.
#include "core/engine/step_work.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/support/models.h"

namespace rt::test {
namespace {

std::unique_ptr<Blueprint> on_paper(const std::string& graph, rt_dtype kv_dtype = RT_BF16) {
  EngineOptions options;
  options.graph = source_path("graphs/" + graph);
  options.source = WeightSource::kNoWeights;
  options.kv_dtype = kv_dtype;
  auto blueprint = draw(registry(), options);
  if (!blueprint.ok()) {
    ADD_FAILURE() << blueprint.error().message;
    return nullptr;
  }
  return std::move(blueprint).value();
}

// TinyLlama 1.1B: L 22, D 2048, F 5632, V 32000, H 32, G 4, E 64, all bf16, head not tied.
constexpr std::uint64_t kParameters = 1'100'048'384;
constexpr std::uint64_t kEmbedding = 32'000 * 2048;
constexpr std::uint64_t kNorms = (2 * 22 + 1) * 2048;

TEST(StepWork, ATokenReadsEveryWeightButTheEmbeddingOnce) {
  const auto b = on_paper("tinyllama.yaml");
  ASSERT_TRUE(b);
  EXPECT_EQ(placed_weight_bytes(*b), 2 * kParameters);
  const StepWork first = step_work(*b, 1, 1, 1);
  EXPECT_EQ(first.weight_bytes, 2 * (kParameters - kEmbedding) + 2 * 2048);
  EXPECT_EQ(first.kv_bytes, 22 * 2 * (4 * 64) * 2);
  const double products = 2.0 * static_cast<double>(kParameters - kEmbedding - kNorms);
  EXPECT_DOUBLE_EQ(first.flops, products + 22 * 4.0 * 32 * 64);

  const StepWork deep = step_work(*b, 1, 2000, 1);
  EXPECT_EQ(deep.weight_bytes, first.weight_bytes);
  EXPECT_EQ(deep.kv_bytes, 2000 * first.kv_bytes);
  EXPECT_DOUBLE_EQ(deep.flops, products + 2000 * 22 * 4.0 * 32 * 64);
}

TEST(StepWork, APromptReadsWeightsOnceAndMultipliesForEveryToken) {
  const auto b = on_paper("tinyllama.yaml");
  ASSERT_TRUE(b);
  const StepWork work = step_work(*b, 512, 612, 1);
  EXPECT_EQ(work.weight_bytes, 2 * (kParameters - kEmbedding) + 512 * 2 * 2048);
  EXPECT_EQ(work.kv_bytes, std::uint64_t{612} * 22 * 2 * (4 * 64) * 2);
  std::uint64_t pairs = 0;
  for (std::uint64_t p = 100; p < 612; ++p) pairs += p + 1;
  const double layers = 512 * 2.0 * static_cast<double>(kParameters - 2 * kEmbedding - kNorms);
  EXPECT_DOUBLE_EQ(work.flops, layers + 2.0 * static_cast<double>(kEmbedding) +
                                   static_cast<double>(pairs) * 22 * 4.0 * 32 * 64);
  // Without a row of logits the head is not read.
  EXPECT_EQ(step_work(*b, 512, 612, 0).weight_bytes,
            2 * (kParameters - 2 * kEmbedding - 2048) + 512 * 2 * 2048);
}

// Gemma 2 9B: 42 layers, every other one sees 4096 keys; 8 kv heads of 256; the head is tied.
TEST(StepWork, AWindowHidesOldKeys) {
  const auto b = on_paper("gemma2.yaml");
  ASSERT_TRUE(b);
  constexpr std::uint64_t kRow = 2 * (8 * 256) * 2;
  EXPECT_EQ(step_work(*b, 1, 4096, 1).kv_bytes, 42 * 4096 * kRow);
  EXPECT_EQ(step_work(*b, 1, 5000, 1).kv_bytes, 21 * 5000 * kRow + 21 * 4096 * kRow);
  // The first of 100 tokens sees from 805 on.
  EXPECT_EQ(step_work(*b, 100, 5000, 1).kv_bytes, 21 * 5000 * kRow + 21 * (4096 + 99) * kRow);
  EXPECT_EQ(step_work(*b, 1, 1, 1).weight_bytes, placed_weight_bytes(*b) + 2 * 3584);
}

TEST(StepWork, AQuantizedCacheHasFewerBytes) {
  const auto b = on_paper("phi3.yaml", RT_KV_INT8);
  ASSERT_TRUE(b);
  EXPECT_EQ(step_work(*b, 1, 10, 1).kv_bytes, std::uint64_t{10} * 32 * 2 * 3200);
}

std::vector<std::uint32_t> nodes_of(const std::vector<NodeReport>& reports) {
  std::vector<std::uint32_t> nodes;
  for (const NodeReport& report : reports) nodes.push_back(report.node);
  return nodes;
}

TEST(NodeObserver, IsToldEveryNodeInOrder) {
  EngineOptions options = exact_options("tinyllama.yaml", source_path("tests/fixtures/tinyllama"));
  auto session = open_session(options);
  ASSERT_TRUE(session);
  auto sequence = start(*session);
  std::vector<NodeReport> reports;
  std::uint32_t tokens = 0;
  session->observe_nodes([&](const NodeReport& report) {
    EXPECT_LE(report.begin, report.end);
    EXPECT_EQ(report.step->lengths[0], static_cast<std::int32_t>(sequence->ids().size()));
    tokens = report.step->tokens;
    reports.push_back(report);
  });
  std::vector<std::uint32_t> all(session->graph().nodes.size());
  std::iota(all.begin(), all.end(), 0u);

  sequence->push(std::vector<std::int32_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  ASSERT_TRUE(session->run(*sequence).ok());
  EXPECT_EQ(nodes_of(reports), all);
  EXPECT_EQ(tokens, 10u);
  EXPECT_FALSE(reports.front().decode);

  reports.clear();
  sequence->push(11);
  ASSERT_TRUE(session->run(*sequence).ok());
  EXPECT_EQ(nodes_of(reports), all);
  EXPECT_TRUE(reports.front().decode);

  reports.clear();
  session->observe_nodes({});
  sequence->push(12);
  ASSERT_TRUE(session->run(*sequence).ok());
  EXPECT_TRUE(reports.empty());
}

// Each node alone is what takes time: nothing is recorded while somebody listens.
TEST(NodeObserver, RecordsNothingMeanwhile) {
  static const std::unique_ptr<Registry> plugins =
      bundled_registry({built_path("tests/plugins/toy.rtp.so")});
  EngineOptions options = exact_options("tinyllama.yaml", source_path("tests/fixtures/tinyllama"));
  options.device = "toy";
  options.device_options = {};
  options.memory_limit_bytes = std::uint64_t{256} << 20;
  options.step_tokens = 16;
  auto session = open_session(options, *plugins);
  ASSERT_TRUE(session);
  auto sequence = start(*session);
  const std::vector<std::int32_t> prompt = {1, 2, 3, 4, 5};
  const std::vector<std::int32_t> alone = continue_greedy(*session, *sequence, prompt, 6);
  const std::uint64_t captures = session->captures();
  EXPECT_EQ(captures, 1u);
  ASSERT_TRUE(sequence->truncate(0).ok());
  std::size_t calls = 0;
  session->observe_nodes([&](const NodeReport&) { ++calls; });
  EXPECT_EQ(continue_greedy(*session, *sequence, prompt, 6), alone);
  EXPECT_EQ(calls, 6 * session->graph().nodes.size());
  EXPECT_EQ(session->captures(), captures);
}

}  // namespace
}  // namespace rt::test
