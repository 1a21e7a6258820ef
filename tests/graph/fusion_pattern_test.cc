// Patterns of fused operators: each way of breaking one, and where they fit in graphs.
#include "core/graph/fusion_pattern.h"

#include <gtest/gtest.h>

#include "core/graph/fused_operator.h"
#include "tiny_graph.h"

namespace rt {
namespace {

using testing::build_text;
using testing::edited;
using testing::kTinyGraph;
using testing::operators;

rt_fusion fusion_of(const char* pattern) {
  return {sizeof(rt_fusion), 1, "acme.fused", "", pattern};
}

struct BadPattern {
  const char* name;
  const char* text;
  const char* message;  // a part of it
};

// A chain of `count` sums: of x with itself, or each with an input of its own.
std::string chain(int count, bool own_inputs) {
  std::string in = "in: [x";
  std::string nodes = "nodes:\n";
  for (int i = 0; i < count; ++i) {
    const std::string n = std::to_string(i);
    if (own_inputs) in += ", i" + n;
    nodes += "  - {op: add, in: [" + (i == 0 ? std::string("x") : "a" + std::to_string(i - 1)) +
             ", " + (own_inputs ? "i" + n : "x") + "], out: a" + n + "}\n";
  }
  return in + "]\nout: a" + std::to_string(count - 1) + "\n" + nodes;
}
const std::string kManyNodes = chain(33, false);
const std::string kManyInputs = chain(16, true);

class Patterns : public ::testing::TestWithParam<BadPattern> {};

TEST_P(Patterns, AreRefusedWithPlaceAndReason) {
  const rt_fusion fusion = fusion_of(GetParam().text);
  const auto made = FusedOperator::make(fusion, operators());
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().fault, Fault::kBadInput);
  EXPECT_NE(made.error().message.find(GetParam().message), std::string::npos)
      << made.error().message;
  EXPECT_EQ(made.error().message.substr(0, 10), "pattern of");
}

INSTANTIATE_TEST_SUITE_P(
    All, Patterns,
    ::testing::Values(
        BadPattern{"no_yaml", "in: [", "pattern of acme.fused@1:1"},
        BadPattern{"no_nodes", "in: x\nout: y\n", "a pattern needs the key 'nodes'"},
        BadPattern{"unknown_key",
                   "in: x\nout: y\nnode: []\nnodes:\n  - {op: add, in: [x, x], out: y}\n",
                   "a pattern has no key 'node'; did you mean 'nodes'?"},
        BadPattern{
            "unknown_operator",
            "in: [x, w]\nout: y\nnodes:\n  - {op: linaer, in: [x, w], out: y}\n",
            ":4:5: no loaded plugin declares the operator 'linaer@1'; did you mean 'linear'?"},
        BadPattern{"unknown_version",
                   "in: [x, w]\nout: y\nnodes:\n  - {op: linear@7, in: [x, w], out: y}\n",
                   "no loaded plugin declares the operator 'linear@7'"},
        BadPattern{"cycle",
                   "in: x\nout: y\nnodes:\n  - {op: add, in: [x, b], out: a}\n"
                   "  - {op: add, in: [x, a], out: b}\n  - {op: add, in: [a, b], out: y}\n",
                   ":4:5: a cycle: this node waits for what it makes itself"},
        BadPattern{"no_producer", "in: x\nout: y\nnodes:\n  - {op: add, in: [x, z], out: y}\n",
                   ":4:23: nothing makes 'z', and it is no input of the pattern"},
        BadPattern{"unused_input",
                   "in: [x, z]\nout: y\nnodes:\n  - {op: add, in: [x, x], out: y}\n",
                   "no node reads the input 'z'"},
        BadPattern{"unused_value",
                   "in: x\nout: y\nnodes:\n  - {op: add, in: [x, x], out: y}\n"
                   "  - {op: add, in: [x, x], out: z}\n",
                   "no node reads 'z', and it is no output of the pattern"},
        BadPattern{"no_output", "in: x\nout: z\nnodes:\n  - {op: add, in: [x, x], out: y}\n",
                   "nothing makes the output 'z'"},
        BadPattern{"input_is_output",
                   "in: x\nout: [x, y]\nnodes:\n  - {op: add, in: [x, x], out: y}\n",
                   "'x' is an input and an output"},
        BadPattern{"made_twice",
                   "in: x\nout: y\nnodes:\n  - {op: add, in: [x, x], out: y}\n"
                   "  - {op: add, in: [x, y], out: y}\n",
                   "'y' is made twice"},
        BadPattern{"input_twice", "in: [x, x]\nout: y\nnodes:\n  - {op: add, in: [x, x], out: y}\n",
                   "'x' stands twice"},
        BadPattern{"apart",
                   "in: [x, z]\nout: [y, w]\nnodes:\n  - {op: add, in: [x, x], out: y}\n"
                   "  - {op: add, in: [z, z], out: w}\n",
                   ":5:5: this node shares no value with the others"},
        BadPattern{"makes_nothing", "in: x\nout: y\nnodes:\n  - {op: add, in: [x, x], out: []}\n",
                   ":4:5: this node makes nothing"},
        BadPattern{"many_nodes", kManyNodes.c_str(), "expected at most 32 nodes"},
        BadPattern{"many_inputs", kManyInputs.c_str(),
                   "expected at most 16 inputs and outputs, found 17 inputs and 1 outputs"},
        BadPattern{"repeat", "in: x\nout: y\nnodes:\n  - {repeat: layer, in: {x: x}, out: y}\n",
                   "a pattern has no repeats"},
        BadPattern{"state",
                   "in: [q, k, v]\nout: a\nnodes:\n"
                   "  - {op: attention, in: [q, k, v], out: a, state: kv.0}\n",
                   "a pattern's node has no 'state' and no 'name'"},
        BadPattern{"two_states",
                   "in: [q, k, v]\nout: b\nnodes:\n  - {op: attention, in: [q, k, v], out: a}\n"
                   "  - {op: attention, in: [a, k, v], out: b}\n",
                   "expected one node with KV state, found another"},
        BadPattern{"wrong_count",
                   "in: [x, w]\nout: y\nnodes:\n  - {op: add, in: [x, w, x], out: y}\n",
                   "add has 2 inputs and 1 outputs, found 3 inputs and 1 outputs"},
        BadPattern{"unknown_attribute",
                   "in: [x, w]\nout: y\nnodes:\n"
                   "  - {op: rms_norm, in: [x, w], out: y, attrs: {epsilon: 1}}\n",
                   "rms_norm has no attribute 'epsilon'"},
        BadPattern{"value_and_weight",
                   "in: [x, w]\nout: y\nnodes:\n  - {op: linear, in: [x, w], out: o}\n"
                   "  - {op: add, in: [w, o], out: y}\n",
                   "nothing fits all readers of 'w'"}),
    [](const auto& row) { return std::string(row.param.name); });

// The places of `pattern` in a graph, as "node: parts".
std::vector<std::string> places(const std::string& graph_text, const char* pattern) {
  const rt_fusion fusion = fusion_of(pattern);
  auto graph = build_text(graph_text);
  auto fused = FusedOperator::make(fusion, operators());
  if (!graph.ok() || !fused.ok()) {
    return {graph.ok() ? fused.error().message : graph.error().message};
  }
  std::vector<std::string> out;
  for (const FusionMatch& match : find_matches(*graph, *fused)) {
    out.push_back(match.node.name + ":");
    for (const std::uint32_t part : match.parts) out.back() += " " + graph->nodes[part].name;
  }
  return out;
}

using Places = std::vector<std::string>;

constexpr const char* kAttentionAdd =
    "in: [q, k, v, x]\nout: y\nnodes:\n  - {op: attention, in: [q, k, v], out: a}\n"
    "  - {op: add, in: [x, a], out: y}\n";

TEST(Match, FindsEveryLayer) {
  EXPECT_EQ(places(kTinyGraph, kAttentionAdd),
            (Places{"layer.0.acme.fused.y: layer.0.attention layer.0.residual",
                    "layer.1.acme.fused.y: layer.1.attention layer.1.residual"}));
}

TEST(Match, InputsStandInTheirOrder) {
  EXPECT_EQ(places(kTinyGraph,
                   "in: [q, k, v, x]\nout: y\nnodes:\n  - {op: attention, in: [q, k, v], out: a}\n"
                   "  - {op: add, in: [a, x], out: y}\n"),
            Places{});
}

// Three products of one value look alike; what reads them tells which is which.
TEST(Match, TellsAlikeNodesByTheirReaders) {
  const rt_fusion fusion = fusion_of(
      "in: [x, wq, wk, wv]\nout: a\nnodes:\n  - {op: linear, in: [x, wv], out: v}\n"
      "  - {op: linear, in: [x, wk], out: k}\n  - {op: linear, in: [x, wq], out: q}\n"
      "  - {op: attention, in: [q, k, v], out: a}\n");
  const Graph graph = testing::tiny_graph();
  const auto fused = FusedOperator::make(fusion, operators());
  ASSERT_TRUE(fused.ok()) << fused.error().message;
  EXPECT_EQ((*fused)->schema().has_kv_state, 1u);
  const auto matches = find_matches(graph, *fused);
  ASSERT_EQ(matches.size(), 2u);
  const GraphNode& node = matches[0].node;
  ASSERT_EQ(node.inputs.size(), 4u);
  EXPECT_EQ(graph.weights[node.inputs[1].index].name, "layer.0.wq");
  EXPECT_EQ(graph.weights[node.inputs[2].index].name, "layer.0.wk");
  EXPECT_EQ(graph.weights[node.inputs[3].index].name, "layer.0.wv");
  EXPECT_EQ(node.kv_layer, 0u);
  const auto scale = std::find_if(node.attrs.begin(), node.attrs.end(),
                                  [](const Attribute& a) { return a.name == "a.scale"; });
  ASSERT_NE(scale, node.attrs.end());
  EXPECT_EQ(scale->f, 1.0);
}

TEST(Match, AttributesMayBeAskedFor) {
  constexpr const char* kScaled =
      "in: [q, k, v, x]\nout: y\nnodes:\n"
      "  - {op: attention, in: [q, k, v], out: a, attrs: {scale: 3.0}}\n"
      "  - {op: add, in: [x, a], out: y}\n";
  EXPECT_EQ(places(kTinyGraph, kScaled),
            Places{"layer.1.acme.fused.y: layer.1.attention layer.1.residual"});
}

// a is read once more: it must be made.
TEST(Match, WhatIsInsideHasNoOtherReader) {
  const std::string text = edited("{op: add, name: residual, in: [x, a], out: y}",
                                  "{op: add, name: residual, in: [x, a], out: b}\n"
                                  "      - {op: add, name: again, in: [b, a], out: y}");
  EXPECT_EQ(places(text, kAttentionAdd), Places{});
}

// k is made by a node between the parts, from what the first part makes.
TEST(Match, NothingReadsAnOutputBeforeTheLastPart) {
  const std::string text =
      edited("{op: linear, in: [x, wk], out: k}", "{op: linear, in: [q, wk], out: k}");
  constexpr const char* kTwo =
      "in: [x, wq, wv]\nout: [q, v]\nnodes:\n  - {op: linear, in: [x, wq], out: q}\n"
      "  - {op: linear, in: [x, wv], out: v}\n";
  EXPECT_EQ(places(text, kTwo), Places{});
}

TEST(Match, LogitsAndIdsAreTheHosts) {
  EXPECT_EQ(places(kTinyGraph,
                   "in: [x, w]\nout: ids\nnodes:\n  - {op: linear, in: [x, w], out: l}\n"
                   "  - {op: sample, in: l, out: ids}\n"),
            Places{});
}

}  // namespace
}  // namespace rt
