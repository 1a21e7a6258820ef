// From file to graph: what the tiny graph becomes. What each way of breaking it says is in
// broken_graph_test.cc.
#include "core/graph/expand.h"

#include <gtest/gtest.h>

#include <set>

#include "core/base/json.h"
#include "core/graph/node_view.h"
#include "tiny_graph.h"

namespace rt {
namespace {

using testing::build_text;
using testing::edited;
using testing::kTinyGraph;
using testing::tiny_graph;

std::vector<std::string> node_names(const Graph& graph) {
  std::vector<std::string> names;
  for (const GraphNode& node : graph.nodes) names.push_back(node.name);
  return names;
}

TEST(Expand, NamesNodesByBlockAndOperator) {
  EXPECT_EQ(node_names(tiny_graph()),
            (std::vector<std::string>{"embedding", "layer.0.linear.q", "layer.0.linear.k",
                                      "layer.0.linear.v", "layer.0.attention", "layer.0.residual",
                                      "layer.1.linear.q", "layer.1.linear.k", "layer.1.linear.v",
                                      "layer.1.attention", "layer.1.residual", "select_rows",
                                      "linear", "sample"}));
}

TEST(Expand, CarriesAValueFromCopyToCopy) {
  const Graph graph = tiny_graph();
  const auto made_by = [&](std::uint32_t value) {
    return graph.nodes[graph.values[value].producer].name;
  };
  EXPECT_EQ(made_by(graph.nodes[1].inputs[0].index), "embedding");
  EXPECT_EQ(made_by(graph.nodes[6].inputs[0].index), "layer.0.residual");
  EXPECT_EQ(made_by(graph.nodes[11].inputs[0].index), "layer.1.residual");
  EXPECT_EQ(graph.values[graph.nodes[6].outputs[0]].name, "layer.1.q");
}

TEST(Expand, InfersTypes) {
  const Graph graph = tiny_graph();
  EXPECT_EQ(describe(graph.values[graph.nodes[0].outputs[0]].type), "f32[T, 8]");
  EXPECT_EQ(describe(graph.values[graph.logits()].type), "f32[R, 32]");
  EXPECT_EQ(describe(graph.values[graph.sampler().outputs[0]].type), "i32[R]");
  EXPECT_EQ(graph.vocabulary(), 32u);
}

TEST(Expand, ValuesHaveTheDevicesType) {
  Result<GraphDocument> document = testing::parse_document(kTinyGraph);
  GraphOptions options;
  options.value_dtype = RT_BF16;
  const Result<Graph> graph = build_graph(document.value(), nullptr, testing::operators(), options);
  EXPECT_EQ(describe(graph->values[0].type), "bf16[T, 8]");
}

TEST(Expand, KvLayersAlternateByPattern) {
  const Graph graph = tiny_graph();
  ASSERT_EQ(graph.kv_layers.size(), 2u);
  EXPECT_EQ(graph.kv_layers[0].window, 3u);
  EXPECT_EQ(graph.kv_layers[1].window, 0u);
  EXPECT_EQ(graph.kv_layers[1].name, "kv.1");
  EXPECT_EQ(graph.kv_layers[1].kv_heads, 2u);
  EXPECT_EQ(graph.kv_layers[1].head_width, 4u);
  EXPECT_EQ(graph.kv_layers[1].query_heads, 2u);
  EXPECT_EQ(graph.nodes[graph.kv_layers[1].node].name, "layer.1.attention");
  EXPECT_EQ(graph.nodes[4].kv_layer, 0u);
  EXPECT_EQ(graph.nodes[3].kv_layer, kNone);
}

TEST(Expand, AttributesAreCompleteAndTyped) {
  const Graph graph = tiny_graph();
  const GraphNode& node = graph.nodes[9];
  const auto attr = [&](const std::string& name) -> const Attribute& {
    for (const Attribute& one : node.attrs) {
      if (one.name == name) return one;
    }
    throw std::runtime_error("no attribute " + name);
  };
  EXPECT_EQ(node.attrs.size(), node.schema->attr_count);
  EXPECT_EQ(attr("heads").i, 2);  // from its KV layer
  EXPECT_EQ(attr("head_width").i, 4);
  EXPECT_EQ(attr("window").i, 0);
  EXPECT_EQ(attr("scale").f, 3.0);    // from the file, a block's let in it
  EXPECT_EQ(attr("softcap").f, 0.0);  // the schema's default
}

TEST(Expand, WeightsKnowTheirTensorsAndRows) {
  const Graph graph = tiny_graph();
  ASSERT_EQ(graph.weights.size(), 8u);
  const GraphWeight& wv = graph.weights[7];
  EXPECT_EQ(wv.name, "layer.1.wv");
  EXPECT_EQ(wv.tensor, "layers.1.qkv");
  EXPECT_EQ(wv.first_row, 16);
  EXPECT_EQ(wv.tensor_rows, 24);
  EXPECT_EQ(describe(wv.type), "bf16[8, 8]");
  EXPECT_EQ(graph.weights[1].alias_of, kNone);
}

TEST(Expand, ConfigDecides) {
  const Json config = Json::parse(R"({"vocab_size": 40, "width": {"model": 16}, "layers": 3,
    "heads": 4, "kv_heads": 2, "sliding_window": null, "eps": 0, "tied": true, "act": "gelu",
    "rope": {"factors": [1, 2.5]}, "kinds": ["near", "far"], "architectures": ["TinyForCausalLM"],
    "hidden_size": null})");
  const Graph graph = tiny_graph(&config);
  EXPECT_FALSE(graph.assumed);
  EXPECT_EQ(graph.kv_layers.size(), 3u);
  EXPECT_EQ(graph.kv_layers[0].window, 0u);
  EXPECT_EQ(graph.kv_layers[0].kv_heads, 2u);
  EXPECT_EQ(graph.weights[1].alias_of, 0u);
  EXPECT_EQ(graph.rope_switch_tokens, 32u);
  std::map<std::string, std::string> origin;
  for (const ConfigValue& value : graph.config)
    origin[value.name] = value.text + " " + value.origin;
  EXPECT_EQ(origin["D"], "16 config.json: width.model");
  EXPECT_EQ(origin["window"], "0 absent from config.json");
  EXPECT_EQ(origin["eps"], "0.0 config.json: eps");
  EXPECT_EQ(origin["factors"], "[1.0, 2.5] config.json: rope.factors");
}

TEST(Expand, WithoutAConfigTheSizesAreAssumed) {
  const Graph graph = tiny_graph();
  EXPECT_TRUE(graph.assumed);
  EXPECT_EQ(graph.context_tokens, 64u);
  EXPECT_EQ(graph.rope_switch_tokens, 0u);
  EXPECT_EQ(graph.config[0].origin, "assumed");
  EXPECT_EQ(parameter_count(graph), 2u * 32 * 8 + 2 * 3 * 64);
  EXPECT_EQ(weight_bytes(graph), 2 * parameter_count(graph));
}

TEST(Expand, TheChatFormatIsHandedOn) {
  const Graph graph = tiny_graph();
  ASSERT_TRUE(graph.chat.has_value());
  EXPECT_EQ(graph.chat->bos, "<s>");
  EXPECT_FALSE(graph.chat->system.has_value());
  EXPECT_TRUE(graph.chat->drop_system);
  EXPECT_EQ(graph.chat->user.prefix, "U\n");
  EXPECT_EQ(graph.chat->assistant.suffix, "");
  EXPECT_EQ(graph.chat->end_tokens, std::vector<std::string>{"</s>"});
  EXPECT_TRUE(graph.chat->trim && graph.chat->must_alternate);
}

TEST(Expand, BlocksMayTakeTurnsAndParameters) {
  std::string text = edited("  layer:\n    params: [i]\n",
                            "  other:\n    params: [j, i]\n    in: [z]\n"
                            "    out: w\n    nodes:\n      - {op: add, in: [z, z], out: w}\n"
                            "  layer:\n    params: [i]\n");
  text.replace(text.find("carry: {x: y}, out: x}"), 22,
               "carry: {x: y}, out: x1}\n"
               "  - {repeat: other, in: {z: x1}, params: {j: 2 * L, i: 1}, out: x2}\n"
               "  - {repeat: [other, other], name: pair, index: i, count: 3, in: {z: x2},"
               " carry: {z: w}, params: {j: i}, out: x}");
  const Result<Graph> graph = build_text(text);
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  const std::vector<std::string> names = node_names(graph.value());
  EXPECT_EQ(names[11], "other.add");
  EXPECT_EQ(names[12], "pair.0.add");
  EXPECT_EQ(names[14], "pair.2.add");
}

// A schema is a plugin's: what it answers is checked.
TEST(Expand, ABrokenSchemaIsNamed) {
  struct Row {
    testing::SchemaShelf::Infer infer;
    const char* message;
  };
  const std::vector<Row> rows = {
      {[](const rt_host*, const rt_node*, rt_tensor* const*) -> rt_status { return RT_OK; },
       "gave output 'out' no sound type: "},
      {[](const rt_host*, const rt_node*, rt_tensor* const* out) -> rt_status {
         testing::set(out[0], RT_F32, {RT_DIM_TOKENS, 0});
         return RT_OK;
       },
       "no sound type"},
      {[](const rt_host*, const rt_node*, rt_tensor* const* out) -> rt_status {
         testing::set(out[0], RT_F32, {5, RT_DIM_TOKENS});
         return RT_OK;
       },
       "no sound type"},
      {[](const rt_host*, const rt_node*, rt_tensor* const* out) -> rt_status {
         testing::set(out[0], 99, {RT_DIM_TOKENS, 4});
         return RT_OK;
       },
       "no sound type"},
      {[](const rt_host*, const rt_node*, rt_tensor* const* out) -> rt_status {
         out[0]->dtype = RT_F32;
         out[0]->rank = 77;
         return RT_OK;
       },
       "no sound type"},
      {[](const rt_host*, const rt_node*, rt_tensor* const*) -> rt_status { return RT_INTERNAL; },
       "refuses it with status 5 and no reason"},
      {[](const rt_host* host, const rt_node*, rt_tensor* const*) -> rt_status {
         host->log(host, RT_LOG_DEBUG, "a word");
         EXPECT_EQ(host->extension(host, "rt.none/1"), nullptr);
         return host->fail(host, RT_INVALID, nullptr);
       },
       "no reason"},
  };
  for (const Row& row : rows) {
    testing::SchemaShelf shelf;
    testing::add_operators(shelf);
    shelf.add("odd", {testing::value("x", 2, nullptr)}, {testing::value("out", 2, "[T, D]")}, {},
              row.infer);
    const Result<Graph> graph =
        build_text(edited("{op: select_rows, in: x,", "{op: odd, in: x,"), nullptr, shelf.set());
    ASSERT_FALSE(graph.ok());
    EXPECT_NE(graph.error().message.find(row.message), std::string::npos) << graph.error().message;
  }
}

TEST(Schemas, AnOperatorIsDeclaredOnce) {
  SchemaSet set;
  rt_schema one{};
  one.op = "a";
  one.version = 1;
  EXPECT_TRUE(set.add(&one));
  EXPECT_FALSE(set.add(&one));
  EXPECT_EQ(set.find("a", 1), &one);
  EXPECT_EQ(set.find("a", 2), nullptr);
  EXPECT_EQ(set.find("b", 1), nullptr);
  EXPECT_TRUE(set.versions("b").empty());
}

TEST(NodeViewTest, ShowsANodeAsTheCStruct) {
  const Graph graph = tiny_graph();
  rt_device_desc device{};
  rt_bounds bounds{};
  NodeBinding binding;
  binding.device = &device;
  binding.bounds = &bounds;
  binding.kv_dtype = RT_F16;
  binding.step_class = RT_STEP_PREFILL;
  binding.exact = true;
  NodeView made(graph, graph.nodes[4], binding);
  const NodeView view = std::move(made);
  const rt_node& node = *view.get();
  EXPECT_EQ(node.struct_size, sizeof(rt_node));
  EXPECT_STREQ(node.name, "layer.0.attention");
  EXPECT_STREQ(node.op, "attention");
  EXPECT_EQ(node.op_version, 1u);
  ASSERT_EQ(node.input_count, 3u);
  EXPECT_EQ(node.inputs[1]->rank, 2u);
  EXPECT_EQ(node.inputs[1]->shape[0], RT_DIM_TOKENS);
  EXPECT_EQ(node.inputs[1]->shape[1], 8);
  EXPECT_EQ(node.inputs[1]->data, nullptr);
  ASSERT_EQ(node.output_count, 1u);
  EXPECT_EQ(node.outputs[0]->dtype, static_cast<rt_dtype>(RT_F32));
  EXPECT_EQ(node.attr_count, 6u);
  EXPECT_STREQ(node.attrs[5]->name, "window");
  EXPECT_EQ(node.attrs[5]->i, 3);
  EXPECT_EQ(node.kv_dtype, static_cast<rt_dtype>(RT_F16));
  EXPECT_EQ(node.step_class, static_cast<rt_step_class>(RT_STEP_PREFILL));
  EXPECT_EQ(node.exact, 1u);
  EXPECT_EQ(node.device, &device);
  EXPECT_EQ(node.bounds, &bounds);
  const NodeView stateless(graph, graph.nodes[1], binding);
  EXPECT_EQ(stateless.get()->kv_dtype, 0u);
  EXPECT_EQ(stateless.get()->inputs[1]->dtype, static_cast<rt_dtype>(RT_BF16));
  binding.with_outputs = false;
  EXPECT_EQ(NodeView(graph, graph.nodes[1], binding).get()->outputs, nullptr);
}

}  // namespace
}  // namespace rt
