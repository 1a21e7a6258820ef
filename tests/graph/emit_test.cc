// The graph for people: what is printed can be read again and shows what was decided.
#include "core/graph/emit.h"

#include <gtest/gtest.h>

#include "core/base/json.h"
#include "tiny_graph.h"

namespace rt {
namespace {

TEST(Emit, YamlReadsBackAndHoldsEverything) {
  const Json config = Json::parse(
      R"({"architectures": ["TinyForCausalLM"], "vocab_size": 32, "hidden_size": 8, "layers": 2, "heads": 2,
      "eps": 1e-6, "tied": true, "rope": {"factors": [1, 2]}})");
  const Graph graph = testing::tiny_graph(&config);
  const Result<YamlNode> root = parse_yaml(to_yaml(graph), "out.yaml");
  ASSERT_TRUE(root.ok()) << root.error().message << "\n" << to_yaml(graph);
  EXPECT_EQ(root->find("expanded")->scalar, "tiny");
  EXPECT_EQ(root->find("context")->as_int().value(), 64);
  EXPECT_EQ(root->find("rope_switch")->as_int().value(), 32);
  EXPECT_EQ(root->find("config")->find("eps")->find("value")->scalar, "1e-06");
  ASSERT_EQ(root->find("kv_layers")->items.size(), 2u);
  EXPECT_EQ(root->find("kv_layers")->items[0].find("name")->scalar, "kv.0");
  ASSERT_EQ(root->find("weights")->items.size(), graph.weights.size());
  const YamlNode& head = root->find("weights")->items[1];
  EXPECT_EQ(head.find("shares")->scalar, "embed");
  EXPECT_EQ(head.find("type")->scalar, "bf16[32, 8]");
  EXPECT_EQ(root->find("weights")->items[4].find("rows")->items[0].as_int().value(), 16);
  ASSERT_EQ(root->find("nodes")->items.size(), graph.nodes.size());
  const YamlNode& attention = root->find("nodes")->items[4];
  EXPECT_EQ(attention.find("op")->scalar, "attention@1");
  EXPECT_EQ(attention.find("state")->scalar, "kv.0");
  EXPECT_EQ(attention.find("attrs")->find("scale")->as_real().value(), 1.0);
  EXPECT_EQ(attention.find("out")->find("layer.0.a")->scalar, "f32[T, 8]");
}

TEST(Emit, OddTextsAreQuoted) {
  Graph graph = testing::tiny_graph();
  graph.source = "a \"b\" \\ c\n: [x]";
  const Result<YamlNode> root = parse_yaml(to_yaml(graph), "out.yaml");
  ASSERT_TRUE(root.ok()) << root.error().message;
  EXPECT_EQ(root->find("source")->scalar, graph.source);
}

TEST(Emit, DotHasANodePerNodeAndAnEdgePerValueRead) {
  const Graph graph = testing::tiny_graph();
  const std::string dot = to_dot(graph);
  EXPECT_NE(dot.find("n4 [label=\"layer.0.attention\\nattention (kv.0)\"]"), std::string::npos)
      << dot;
  EXPECT_NE(dot.find("n0 -> n1 [label=\"f32[T, 8]\"]"), std::string::npos);
  EXPECT_EQ(dot.back(), '\n');
}

TEST(Emit, TheSummaryIsOneLine) {
  EXPECT_EQ(summary_line(testing::tiny_graph()),
            "tiny: 14 nodes, 8 weights (0.000 G parameters, 1.75 KiB), 2 KV layers, context 64 "
            "(sizes assumed: no config.json)");
}

TEST(Types, HaveNamesAndSizes) {
  EXPECT_EQ(dtype_name(RT_BF16), "bf16");
  EXPECT_EQ(dtype_name(77), "dtype 77");
  EXPECT_EQ(dtype_bytes(RT_F16), 2u);
  EXPECT_EQ(dtype_bytes(77), 0u);
  EXPECT_EQ(parse_dtype("bfloat16"), static_cast<rt_dtype>(RT_BF16));
  EXPECT_EQ(parse_dtype("f32"), static_cast<rt_dtype>(RT_F32));
  EXPECT_EQ(parse_dtype("int4"), 0u);
  EXPECT_EQ(describe({RT_F32, 2, {RT_DIM_ROWS, 4}}), "f32[R, 4]");
  EXPECT_EQ(element_count({RT_F32, 3, {2, 3, 4}}), 24u);
}

}  // namespace
}  // namespace rt
