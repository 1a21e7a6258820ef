// The graphs that ship: they read, they bind, and their sizes are the published models'.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "core/base/json.h"
#include "core/graph/bind_weights.h"
#include "core/graph/document.h"
#include "core/graph/emit.h"
#include "core/graph/expand.h"
#include "schemas.h"

namespace rt {
namespace {

const std::string kGraphs = std::string(RT_SOURCE_DIR) + "/graphs/";

Graph build(const std::string& name, const Json* config = nullptr) {
  Result<GraphDocument> document = read_graph(kGraphs + name + ".yaml");
  if (!document.ok()) throw std::runtime_error(document.error().message);
  Result<Graph> graph = build_graph(document.value(), config, testing::operators());
  if (!graph.ok()) throw std::runtime_error(graph.error().message);
  return std::move(graph).value();
}

Error refusal(const std::string& name, const Json& config) {
  Result<GraphDocument> document = read_graph(kGraphs + name + ".yaml");
  if (!document.ok()) throw std::runtime_error(document.error().message);
  Result<Graph> graph = build_graph(document.value(), &config, testing::operators());
  return graph.ok() ? Error{Fault::kInternal, "accepted"} : graph.error();
}

const Attribute& attribute(const GraphNode& node, const std::string& name) {
  for (const Attribute& one : node.attrs) {
    if (one.name == name) return one;
  }
  throw std::runtime_error(node.name + " has no attribute " + name);
}

const GraphNode& node(const Graph& graph, const std::string& name) {
  for (const GraphNode& one : graph.nodes) {
    if (one.name == name) return one;
  }
  throw std::runtime_error("no node " + name);
}

const GraphWeight& weight(const Graph& graph, const std::string& name) {
  for (const GraphWeight& one : graph.weights) {
    if (one.name == name) return one;
  }
  throw std::runtime_error("no weight " + name);
}

// Published config.json files, as far as they differ from a graph's defaults.
const char* const kGemma2Small = R"({"architectures": ["Gemma2ForCausalLM"], "vocab_size": 256000,
  "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
  "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
  "max_position_embeddings": 8192, "rms_norm_eps": 1e-06, "hidden_act": "gelu_pytorch_tanh",
  "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 4096, "query_pre_attn_scalar": 256,
  "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "rope_theta": 10000.0,
  "torch_dtype": "bfloat16", "attention_bias": false})";
const char* const kPhi3Long = R"({"architectures": ["Phi3ForCausalLM"], "vocab_size": 32064,
  "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
  "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 131072,
  "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "hidden_act": "silu",
  "sliding_window": 262144, "rope_theta": 10000.0, "tie_word_embeddings": false,
  "torch_dtype": "bfloat16", "rope_scaling": {"type": "longrope"}})";

Json phi3_long() {
  Json config = Json::parse(kPhi3Long);
  config["rope_scaling"]["short_factor"] = std::vector<double>(48, 1.0);
  config["rope_scaling"]["long_factor"] = std::vector<double>(48, 2.5);
  return config;
}

struct Published {
  const char* graph;
  const char* config;  // null: the defaults
  std::uint64_t parameters;
  std::uint64_t bytes_bf16;
};

// Counts: keras-hub's presets and the sums of the checkpoints' shapes.
class PublishedSizes : public ::testing::TestWithParam<Published> {};

TEST_P(PublishedSizes, UniqueParametersAreThePublishedModels) {
  const Published& row = GetParam();
  Json config;
  if (row.config != nullptr) config = Json::parse(row.config);
  const Graph graph = build(row.graph, row.config != nullptr ? &config : nullptr);
  EXPECT_EQ(parameter_count(graph), row.parameters);
  EXPECT_EQ(weight_bytes(graph), 2 * row.parameters);
  EXPECT_EQ(graph.assumed, row.config == nullptr);
}

INSTANTIATE_TEST_SUITE_P(
    All, PublishedSizes,
    ::testing::Values(Published{"tinyllama", nullptr, 1'100'048'384, 0},
                      Published{"phi3", nullptr, 3'821'079'552, 0},
                      Published{"gemma", nullptr, 8'537'680'896, 0},
                      Published{"gemma2", nullptr, 9'241'705'984, 0},
                      Published{"gemma2", kGemma2Small, 2'614'341'888, 0},
                      Published{"llama3", nullptr, 1'235'814'400, 0}));

TEST(Smoke, Print) {
  for (const char* name : {"tinyllama", "phi3", "llama3", "gemma", "gemma2"}) {
    const Graph graph = build(name);
    puts(summary_line(graph).c_str());
  }
  (void)node; (void)weight; (void)attribute; (void)refusal; (void)phi3_long;
}

}  // namespace
}  // namespace rt
