// Binding weights to a checkpoint: exact names both ways, shapes, slices, tied heads, dtypes.
#include "core/graph/bind_weights.h"

#include <gtest/gtest.h>

#include "core/base/json.h"
#include "tiny_graph.h"

namespace rt {
namespace {

using testing::tiny_graph;

NamedTensor tensor(std::string name, std::vector<std::uint64_t> shape, rt_dtype dtype = RT_F32) {
  return {std::move(name), dtype, dtype_name(dtype), std::move(shape)};
}

std::vector<NamedTensor> whole() {
  return {tensor("embed.weight", {32, 8}), tensor("head.weight", {32, 8}),
          tensor("layers.0.qkv", {24, 8}), tensor("layers.1.qkv", {24, 8}, RT_F16)};
}

Graph tied_graph() {
  const Json config = Json::parse(
      R"({"architectures": ["TinyForCausalLM"], "vocab_size": 32, "hidden_size": 8, "layers": 2, "heads": 2,
                                      "eps": 0, "tied": true})");
  return tiny_graph(&config);
}

std::string refusal(const std::vector<NamedTensor>& tensors) {
  Graph graph = tiny_graph();
  const Status status = bind_checkpoint(graph, tensors, "weights");
  if (status.ok()) return "accepted";
  EXPECT_EQ(status.error().fault, Fault::kBadInput);
  EXPECT_EQ(graph.weights[0].checkpoint_index, kNone);  // unchanged
  return status.error().message;
}

TEST(BindWeights, TakesEachTensorsElementTypeAndPlace) {
  Graph graph = tiny_graph();
  const Status status = bind_checkpoint(graph, whole());
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_EQ(graph.weights[0].checkpoint_index, 0u);
  EXPECT_EQ(describe(graph.weights[0].type), "f32[32, 8]");
  EXPECT_EQ(graph.weights[7].checkpoint_index, 3u);
  EXPECT_EQ(describe(graph.weights[7].type), "f16[8, 8]");
  EXPECT_EQ(graph.weights[7].first_row, 16);
  EXPECT_EQ(weight_bytes(graph), 4u * 2 * 32 * 8 + 4 * 24 * 8 + 2 * 24 * 8);
}

TEST(BindWeights, IgnoresWhatTheGraphIgnores) {
  std::vector<NamedTensor> tensors = whole();
  tensors.push_back(tensor("old.7.x.bias", {1}));
  tensors.push_back(tensor("junk", {1}));
  Graph graph = tiny_graph();
  EXPECT_TRUE(bind_checkpoint(graph, tensors).ok());
  for (const char* name : {"junk.x", "xjunk", "old.bias", "old.1.biased"}) {
    tensors.back().name = name;
    EXPECT_NE(refusal(tensors).find(std::string("1 tensor are neither read by the graph nor under "
                                                "its 'ignore': '") +
                                    name),
              std::string::npos);
  }
}

struct Tie {
  bool embed;
  bool head;
  const char* head_reads;
  const char* embed_reads;
  bool shared;
};

TEST(BindWeights, ATiedHeadSharesWhicheverTensorIsThere) {
  for (const Tie& row : {Tie{true, false, "embed.weight", "embed.weight", true},
                         Tie{false, true, "head.weight", "head.weight", true},
                         Tie{true, true, "head.weight", "embed.weight", false}}) {
    std::vector<NamedTensor> tensors = whole();
    if (!row.head) tensors.erase(tensors.begin() + 1);
    if (!row.embed) tensors.erase(tensors.begin());
    Graph graph = tied_graph();
    EXPECT_EQ(graph.weights[1].alias_of, 0u);
    const Status status = bind_checkpoint(graph, tensors);
    ASSERT_TRUE(status.ok()) << status.error().message;
    const auto read = [&](std::size_t w) {
      return tensors[graph.weights[w].checkpoint_index].name;
    };
    EXPECT_EQ(read(0), row.embed_reads);
    EXPECT_EQ(read(1), row.head_reads);
    EXPECT_EQ(graph.weights[1].alias_of, row.shared ? 0u : kNone);
    EXPECT_EQ(graph.weights[1].type, graph.weights[0].type);
  }
}

TEST(BindWeights, AnUntiedHeadIsItsOwn) {
  std::vector<NamedTensor> tensors = whole();
  tensors.erase(tensors.begin() + 1);
  EXPECT_NE(refusal(tensors).find("1 tensor that the graph reads are not there: 'head.weight'"),
            std::string::npos);
}

TEST(BindWeights, NamesBothSidesAndTheNearest) {
  std::vector<NamedTensor> tensors = whole();
  tensors[2].name = "layer.0.qkv";
  EXPECT_EQ(refusal(tensors),
            "weights: 1 tensor that the graph reads are not there: 'layers.0.qkv' (nearest: "
            "'layer.0.qkv'); 1 tensor are neither read by the graph nor under its 'ignore': "
            "'layer.0.qkv' (nearest: 'layers.0.qkv'); was the checkpoint made for another graph or "
            "config?");
}

TEST(BindWeights, ALongListIsCut) {
  std::vector<NamedTensor> tensors = whole();
  for (int i = 0; i < 20; ++i) tensors.push_back(tensor("extra." + std::to_string(i), {1}));
  const std::string message = refusal(tensors);
  EXPECT_NE(message.find("20 tensors are neither"), std::string::npos);
  EXPECT_NE(message.find("'extra.7', ..."), std::string::npos);
  EXPECT_EQ(message.find("'extra.8'"), std::string::npos);
}

TEST(BindWeights, FewerLayersInTheFileAreMissingTensors) {
  std::vector<NamedTensor> tensors = whole();
  tensors.pop_back();
  EXPECT_NE(refusal(tensors).find("not there: 'layers.1.qkv'"), std::string::npos);
}

TEST(BindWeights, ShapesAreTheGraphs) {
  std::vector<NamedTensor> tensors = whole();
  tensors[1].shape = {8, 32};
  EXPECT_EQ(refusal(tensors),
            "weights: tensor 'head.weight' is f32[8, 32], the graph wants f32[32, 8]; was the "
            "checkpoint made for another config?");
  tensors = whole();
  tensors[2].shape = {32, 8};
  EXPECT_NE(refusal(tensors).find("tensor 'layers.0.qkv' is f32[32, 8], the graph wants f32[24, 8] "
                                  "(several weights fused)"),
            std::string::npos);
  for (const std::vector<std::uint64_t>& odd :
       {std::vector<std::uint64_t>{}, {256}, {32, 8, 1}, {0, 8}, {UINT64_MAX, 8}}) {
    tensors = whole();
    tensors[0].shape = odd;
    EXPECT_NE(refusal(tensors).find("tensor 'embed.weight' is f32["), std::string::npos);
  }
}

TEST(BindWeights, ElementTypesAreThoseOfTheReaders) {
  std::vector<NamedTensor> tensors = whole();
  tensors[0].dtype = RT_I8;
  EXPECT_NE(
      refusal(tensors).find("weights: t.yaml:50:5: node 'embedding': input 0 (table, [V, D]) "
                            "expects f32 or bf16 or f16, found the weight 'embed', i8[32, 8]"),
      std::string::npos)
      << refusal(tensors);
  tensors = whole();
  tensors[0].dtype = 0;
  tensors[0].dtype_name = "F8_E4M3";
  EXPECT_EQ(refusal(tensors),
            "weights: tensor 'embed.weight' is F8_E4M3[32, 8]; this program reads no F8_E4M3 "
            "(weight 'embed')");
}

TEST(BindWeights, ANameStandsOnce) {
  std::vector<NamedTensor> tensors = whole();
  tensors.push_back(tensors[0]);
  EXPECT_EQ(refusal(tensors), "weights: two tensors are named 'embed.weight'");
}

TEST(BindWeights, NothingAtAllIsAMissingCheckpoint) {
  EXPECT_NE(refusal({}).find("4 tensors that the graph reads are not there"), std::string::npos);
}

// A schema whose output depends on the weights' element type cannot be planned without the file.
TEST(BindWeights, AnOutputThatChangesIsRefused) {
  testing::SchemaShelf shelf;
  testing::add_operators(shelf);
  shelf.add("odd", {testing::weight("w", 2, "[V, D]")}, {testing::value("out", 2, "[T, D]")}, {},
            [](const rt_host* host, const rt_node* node, rt_tensor* const* out) -> rt_status {
              if (node->inputs[0]->dtype == RT_F16) return testing::refuse(host, "no f16 today");
              testing::set(out[0], node->inputs[0]->dtype, {RT_DIM_TOKENS, 8});
              return RT_OK;
            });
  const std::string text =
      testing::edited("{op: embedding, in: embed, out: x0}", "{op: odd, in: embed, out: x0}");
  Result<Graph> graph = testing::build_text(text, nullptr, shelf.set());
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  EXPECT_NE(bind_checkpoint(*graph, whole())
                .error()
                .message.find("its output was planned as bf16[T, 8] and is f32[T, 8]"),
            std::string::npos);
  std::vector<NamedTensor> tensors = whole();
  tensors[0].dtype = RT_F16;
  EXPECT_NE(bind_checkpoint(*graph, tensors).error().message.find("no f16 today"),
            std::string::npos);
}

}  // namespace
}  // namespace rt
