// The graphs that ship: they read, they bind, and their sizes are the published models'.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "core/base/file.h"
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

INSTANTIATE_TEST_SUITE_P(All, PublishedSizes,
                         ::testing::Values(Published{"tinyllama", nullptr, 1'100'048'384},
                                           Published{"phi3", nullptr, 3'821'079'552},
                                           Published{"gemma", nullptr, 8'537'680'896},
                                           Published{"gemma2", nullptr, 9'241'705'984},
                                           Published{"gemma2", kGemma2Small, 2'614'341'888},
                                           Published{"llama3", nullptr, 1'235'814'400}));

struct KvRow {
  const char* graph;
  std::uint64_t context;
  std::size_t layers;
  std::uint32_t heads, kv_heads, head_width;
  std::uint32_t even_window, odd_window;
};

TEST(Models, CachesAreThePublishedModels) {
  for (const KvRow& row :
       {KvRow{"tinyllama", 2048, 22, 32, 4, 64, 0, 0},
        KvRow{"phi3", 4096, 32, 32, 32, 96, 2047, 2047},
        KvRow{"llama3", 131072, 16, 32, 8, 64, 0, 0}, KvRow{"gemma", 8192, 28, 16, 16, 256, 0, 0},
        KvRow{"gemma2", 8192, 42, 16, 8, 256, 4096, 0}}) {
    const Graph graph = build(row.graph);
    EXPECT_EQ(graph.context_tokens, row.context) << row.graph;
    ASSERT_EQ(graph.kv_layers.size(), row.layers) << row.graph;
    for (const KvLayer& layer : graph.kv_layers) {
      EXPECT_EQ(layer.window, layer.index % 2 == 0 ? row.even_window : row.odd_window);
      EXPECT_EQ(layer.query_heads, row.heads);
      EXPECT_EQ(layer.kv_heads, row.kv_heads);
      EXPECT_EQ(layer.head_width, row.head_width);
    }
  }
}

TEST(Models, TheirNumbersAreHuggingFaces) {
  const Graph phi3 = build("phi3");
  EXPECT_EQ(attribute(node(phi3, "layer.0.attention"), "scale").f, 1 / std::sqrt(96.0));
  EXPECT_EQ(attribute(node(phi3, "layer.0.rms_norm.h"), "eps").f, 1e-5);
  EXPECT_EQ(attribute(node(phi3, "rope_angles"), "scaling").s, "none");
  const Graph gemma = build("gemma");
  EXPECT_EQ(attribute(node(gemma, "embedding"), "scale").f, 55.5);
  EXPECT_EQ(attribute(node(gemma, "rms_norm"), "eps").f, 1e-6);
  EXPECT_EQ(attribute(node(gemma, "rms_norm"), "plus_one").i, 1);
  EXPECT_EQ(attribute(node(gemma, "layer.0.mlp"), "activation").s, "gelu_tanh");
  EXPECT_EQ(attribute(node(gemma, "layer.0.attention"), "scale").f, 1.0 / 16);
  const Graph gemma2 = build("gemma2");
  EXPECT_EQ(attribute(node(gemma2, "embedding"), "scale").f, 59.75);
  EXPECT_EQ(attribute(node(gemma2, "layer.0.attention"), "softcap").f, 50);
  EXPECT_EQ(attribute(node(gemma2, "layer.0.attention"), "window").i, 4096);
  EXPECT_EQ(attribute(node(gemma2, "layer.1.attention"), "window").i, 0);
  EXPECT_EQ(attribute(node(gemma2, "softcap"), "cap").f, 30);
  const Graph llama3 = build("llama3");
  const GraphNode& angles = node(llama3, "rope_angles");
  EXPECT_EQ(attribute(angles, "scaling").s, "llama3");
  EXPECT_EQ(attribute(angles, "base").f, 500000);
  EXPECT_EQ(attribute(angles, "factor").f, 32);
  EXPECT_EQ(attribute(angles, "original_context").i, 8192);
}

TEST(Models, TheHeadIsTiedWhereTheModelsIs) {
  for (const auto& [name, tied] : {std::pair{"tinyllama", false},
                                   {"phi3", false},
                                   {"llama3", true},
                                   {"gemma", true},
                                   {"gemma2", true}}) {
    const Graph graph = build(name);
    EXPECT_EQ(weight(graph, "lm_head").alias_of != kNone, tied) << name;
  }
}

TEST(Models, Phi3LongContextSwitchesItsRope) {
  const Json config = phi3_long();
  const Graph graph = build("phi3", &config);
  EXPECT_EQ(graph.context_tokens, 131072u);
  EXPECT_EQ(graph.rope_switch_tokens, 4096u);
  EXPECT_EQ(graph.kv_layers[0].window, 0u);  // 262144 keys hide nothing
  const GraphNode& angles = node(graph, "rope_angles");
  EXPECT_EQ(attribute(angles, "scaling").s, "longrope");
  EXPECT_NEAR(attribute(angles, "attention_factor").f, 1.19024, 1e-5);
  EXPECT_EQ(attribute(angles, "long_factors").floats, std::vector<double>(48, 2.5));
}

TEST(Models, Phi3HonoursATiedHead) {
  Json config = phi3_long();
  config["tie_word_embeddings"] = true;
  EXPECT_NE(weight(build("phi3", &config), "lm_head").alias_of, kNone);
}

// Slices of fused tensors, in the checkpoint's order: q | k | v and gate | up.
TEST(Models, Phi3SlicesItsFusedProjections) {
  const Graph graph = build("phi3");
  const GraphWeight& wv = weight(graph, "layer.31.wv");
  EXPECT_EQ(wv.tensor, "model.layers.31.self_attn.qkv_proj.weight");
  EXPECT_EQ(wv.first_row, 6144);
  EXPECT_EQ(wv.tensor_rows, 9216);
  const GraphWeight& up = weight(graph, "layer.31.up");
  EXPECT_EQ(up.first_row, 8192);
  EXPECT_EQ(up.tensor_rows, 16384);
}

struct Refusal {
  const char* graph;
  const char* key;
  const char* value;  // JSON; "" removes the key
  const char* message;
};

// A published-like config of each graph, from what it assumes.
Json base_config(const std::string& name) {
  if (name == "gemma2") return Json::parse(kGemma2Small);
  if (name == "phi3") return phi3_long();
  Json config = Json::parse(R"({"vocab_size": 512, "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 128, "rms_norm_eps": 1e-05, "rope_theta": 10000.0})");
  if (name == "gemma") config["head_dim"] = 16;
  config["architectures"] = {name == "gemma" ? "GemmaForCausalLM" : "LlamaForCausalLM"};
  return config;
}

TEST(Models, BaseConfigsBuild) {
  for (const char* name : {"tinyllama", "phi3", "llama3", "gemma", "gemma2"}) {
    const Json config = base_config(name);
    EXPECT_NO_THROW(build(name, &config)) << name;
  }
}

// bad-inputs: every field of every graph that sizes something, with every wrong value.
TEST(Models, WrongSizesAreFieldErrors) {
  const std::vector<std::pair<const char*, const char*>> values = {
      {"0", "is 0, expected an integer from 1 to"},
      {"-1", "is -1, expected an integer"},
      {"1000000000000000000", "is 1000000000000000000, expected an integer"},
      {"18446744073709551615", "is 18446744073709551615, expected an integer"},
      {"3.5", "is 3.5, expected an integer"},
      {"4096.0", "is 4096.0, expected an integer"},
      {"\"4096\"", "is \"4096\", expected an integer"},
      {"true", "is true, expected an integer"},
      {"[4096]", "is a list, expected an integer"},
      {"{}", "is an object, expected an integer"},
      {"null", "is missing or null; expected an integer"},
      {"", "is missing or null; expected an integer"},
  };
  for (const char* name : {"tinyllama", "phi3", "llama3", "gemma", "gemma2"}) {
    for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                            "num_attention_heads", "max_position_embeddings"}) {
      for (const auto& [value, wanted] : values) {
        Json config = base_config(name);
        if (*value == 0) {
          config.erase(key);
        } else {
          config[key] = Json::parse(value);
        }
        const Error error = refusal(name, config);
        EXPECT_EQ(error.fault, Fault::kBadInput) << name << " " << key << " " << value;
        EXPECT_EQ(error.message.find(std::string("config.json: ") + key + " " + wanted), 0u)
            << name << " " << key << " " << value << ": " << error.message;
      }
    }
  }
}

// What transformers reads first is read first.
TEST(Models, RopeIsBoundWhereTransformersFindsIt) {
  Json config = base_config("llama3");
  const auto rope = [&](const char* name) -> Attribute {
    const Graph graph = build("llama3", &config);
    for (const GraphNode& node : graph.nodes) {
      for (const Attribute& attr : node.attrs) {
        if (node.op == "rope_angles" && attr.name == name) return attr;
      }
    }
    return {};
  };
  EXPECT_EQ(rope("base").f, 10000);
  config["rope_parameters"] = {{"type", "linear"}, {"rope_theta", 777.0}, {"factor", 2.0}};
  EXPECT_EQ(rope("base").f, 777);
  EXPECT_EQ(rope("scaling").s, "linear");
  config["rope_scaling"] = {{"rope_type", "llama3"},
                            {"rope_theta", 555.0},
                            {"factor", 4.0},
                            {"low_freq_factor", 1.0},
                            {"high_freq_factor", 4.0}};
  EXPECT_EQ(rope("base").f, 555);
  EXPECT_EQ(rope("scaling").s, "llama3");
  config["rope_scaling"]["original_max_position_embeddings"] = 64;
  EXPECT_EQ(rope("original_context").i, 64);
  config["original_max_position_embeddings"] = 32;
  EXPECT_EQ(rope("original_context").i, 32);
}

// Keys that change what other models of the same tensors compute are named where nothing reads
// them.
TEST(Models, KeysThatNothingReadsAreNamed) {
  Json config = base_config("llama3");
  config["sliding_window"] = nullptr;
  config["residual_multiplier"] = 1.0;
  config["no_rope_layers"] = {1, 1};
  config["layer_types"] = {"full_attention", "full_attention"};
  config["attention_bias"] = false;
  EXPECT_TRUE(build("llama3", &config).config_notes.empty());
  config["sliding_window"] = 16;
  config["use_sliding_window"] = false;
  EXPECT_TRUE(build("llama3", &config).config_notes.empty());
  config["use_sliding_window"] = true;
  config["residual_multiplier"] = 0.22;
  config["no_rope_layers"] = {1, 0};
  const std::vector<std::string> notes = build("llama3", &config).config_notes;
  ASSERT_EQ(notes.size(), 3u);
  EXPECT_NE(notes[0].find("no_rope_layers is a list, which"), std::string::npos) << notes[0];
  EXPECT_NE(notes[1].find("residual_multiplier is 0.22, which"), std::string::npos) << notes[1];
  EXPECT_NE(notes[2].find("sliding_window is 16, which"), std::string::npos) << notes[2];
}

TEST(Models, RefuseWhatTheyDoNotCompute) {
  const std::vector<Refusal> rows = {
      {"tinyllama", "architectures", "[\"MambaForCausalLM\"]",
       "architectures is 'MambaForCausalLM', but"},
      {"tinyllama", "architectures", "[3]", "architectures holds 3, expected names"},
      {"tinyllama", "architectures", "null", "architectures is missing or null; expected Llama"},

      {"tinyllama", "rope_parameters", "{\"type\": \"llama3\"}", "rope scaling is 'llama3'"},
      {"gemma2", "hidden_activation", "\"gelu\"", "expected one of gelu_pytorch_tanh"},
      {"tinyllama", "num_hidden_layers", "1000000000", "expected an integer from 1 to 10000"},
      {"tinyllama", "num_attention_heads", "7", "64 / 7 does not come out even"},
      {"tinyllama", "num_key_value_heads", "8", "(4) is no multiple of num_key_value_heads (8)"},
      {"tinyllama", "num_key_value_heads", "3", "is no multiple"},
      {"tinyllama", "head_dim", "0", "expected an integer from 1 to 256"},
      {"tinyllama", "head_dim", "257", "expected an integer from 1 to 256"},
      {"tinyllama", "head_dim", "15", "the head width (15) is odd"},
      {"tinyllama", "hidden_act", "\"relu\"", "hidden_act is \"relu\", expected one of silu"},
      {"tinyllama", "attention_bias", "true", "this graph has no biases"},
      {"tinyllama", "mlp_bias", "true", "this graph has no biases"},
      {"tinyllama", "attention_bias", "\"no\"", "expected true or false"},
      {"tinyllama", "rms_norm_eps", "-1", "expected a number from 0.0 to 1.0"},
      {"tinyllama", "rms_norm_eps", "\"1e-5\"", "expected a number from 0.0 to 1.0"},
      {"tinyllama", "rope_theta", "0", "rope_theta is 0, expected a number of at least 1.0"},
      {"tinyllama", "rope_scaling", "{\"type\": \"linear\", \"factor\": 2}",
       "rope scaling is 'linear'; graphs/llama3.yaml serves"},
      {"tinyllama", "rope_scaling", "\"linear\"",
       "rope_scaling is \"linear\", expected an object or null"},
      {"tinyllama", "torch_dtype", "\"int8\"", "expected one of float32, bfloat16, float16"},
      {"tinyllama", "tie_word_embeddings", "1", "expected true or false"},
      {"llama3", "rope_scaling", "{\"rope_type\": \"yarn\"}",
       "rope_scaling.rope_type is \"yarn\", expected one of default, linear, llama3"},
      {"llama3", "rope_scaling",
       "{\"rope_type\": \"llama3\", \"factor\": 2, \"low_freq_factor\": 4, "
       "\"high_freq_factor\": 4}",
       "low_freq_factor (4.0) is not below"},
      {"llama3", "rope_scaling", "{\"rope_type\": \"linear\"}",
       "rope scaling 'linear' has no factor"},
      {"llama3", "rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 2}",
       "has no low_freq_factor or no high_freq_factor"},
      {"llama3", "rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 0.5}",
       "rope_scaling.factor is 0.5, expected a number of at least 1.0"},
      {"phi3", "sliding_window", "0", "sliding_window is 0, expected an integer from 1"},
      {"phi3", "sliding_window", "-5", "sliding_window is -5"},
      {"phi3", "partial_rotary_factor", "0.75", "expected a number from 1.0 to 1.0"},
      {"phi3", "original_max_position_embeddings", "1", "not a finite number"},
      {"phi3", "rope_scaling", "{\"type\": \"longrope\"}", "LongRoPE wants 48 factors, found 0"},
      {"phi3", "rope_scaling", "{\"type\": \"longrope\", \"short_factor\": [1, 0]}",
       "rope_scaling.short_factor[1] is 0, expected a list of numbers of at least 0.001"},
      {"phi3", "rope_scaling", "{\"type\": \"longrope\", \"short_factor\": [1, \"2\"]}",
       "rope_scaling.short_factor[1] is \"2\""},
      {"phi3", "rope_scaling", "{\"type\": \"longrope\", \"short_factor\": 1}",
       "rope_scaling.short_factor is 1"},
      {"gemma", "hidden_activation", "\"gelu_new\"", "expected one of gelu, gelu_pytorch_tanh"},
      {"gemma", "use_bidirectional_attention", "true", "attends to earlier tokens only"},
      {"gemma2", "attn_logit_softcapping", "0", "expected a number of at least 0.001"},
      {"gemma2", "final_logit_softcapping", "-30", "expected a number of at least 0.001"},
      {"gemma2", "attn_logit_softcapping", "null", "is missing or null"},
      {"gemma2", "query_pre_attn_scalar", "0", "expected a number of at least 0.001"},
      {"gemma2", "sliding_window", "null", "sliding_window is missing or null"},
      {"gemma2", "layer_types", "[\"sliding_attention\"]",
       "layer_types has 1 entries for 26 layers"},
      {"gemma2", "layer_types", "[\"chunked_attention\"]",
       "layer_types[0] is \"chunked_attention\", expected a list of sliding_attention and"},
      {"gemma2", "layer_types", "\"sliding_attention\"", "layer_types is \"sliding_attention\""},
  };
  for (const Refusal& row : rows) {
    Json config = base_config(row.graph);
    config[row.key] = Json::parse(row.value);
    const Error error = refusal(row.graph, config);
    EXPECT_EQ(error.fault, Fault::kBadInput);
    EXPECT_NE(error.message.find(row.message), std::string::npos)
        << row.graph << " " << row.key << ": " << error.message;
  }
}

TEST(Models, AConfigIsAnObject) {
  EXPECT_EQ(refusal("phi3", Json::parse("[1]")).message,
            "config.json: expected an object, found a list");
}

TEST(Models, LayerTypesDecideWhereTheyAreGiven) {
  Json config = Json::parse(kGemma2Small);
  std::vector<std::string> types(26, "full_attention");
  types[25] = "sliding_attention";
  config["layer_types"] = types;
  const Graph graph = build("gemma2", &config);
  EXPECT_EQ(graph.kv_layers[0].window, 0u);
  EXPECT_EQ(graph.kv_layers[25].window, 4096u);
}

// The most layers there may be: no step of the expansion is quadratic in them.
TEST(Models, TenThousandLayersAreQuick) {
  Json config = Json::parse(kGemma2Small);
  config["num_hidden_layers"] = kMaxLayers;
  config["layer_types"] = std::vector<std::string>(kMaxLayers, "sliding_attention");
  const auto start = std::chrono::steady_clock::now();
  const Graph graph = build("gemma2", &config);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(graph.kv_layers.size(), static_cast<std::size_t>(kMaxLayers));
  EXPECT_LT(took.count(), 120.0);
  std::printf("10,000 layers: %.3f s\n", took.count());
}

// Tensors of a safetensors file, by a few lines of our own: the loader is another layer's.
std::vector<NamedTensor> tensors_of(const std::filesystem::path& folder) {
  std::vector<NamedTensor> out;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    if (file.path().extension() != ".safetensors") continue;
    const std::string text = read_file(file.path().string(), 1u << 30).value();
    std::uint64_t length = 0;
    std::memcpy(&length, text.data(), sizeof length);
    const Json header = Json::parse(text.substr(8, length));
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      const auto dtype = entry["dtype"].get<std::string>();
      out.push_back({name,
                     static_cast<rt_dtype>(dtype == "F32"   ? RT_F32
                                           : dtype == "F16" ? RT_F16
                                                            : RT_BF16),
                     dtype, entry["shape"].get<std::vector<std::uint64_t>>()});
    }
  }
  return out;
}

// The real model of ../shared: tied, and only lm_head.weight is in the file.
TEST(Models, TinyStoriesBinds) {
  const std::filesystem::path folder =
      std::string(RT_SOURCE_DIR) + "/../shared/data/models/tinystories656K";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not there";
  const Json config = read_json(folder / "config.json", 1 << 20).value();
  Graph graph = build("tinyllama", &config);
  EXPECT_EQ(graph.kv_layers[0].head_width, 16u);
  EXPECT_EQ(attribute(node(graph, "rms_norm"), "eps").f, 1e-6);
  const Status status = bind_checkpoint(graph, tensors_of(folder));
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_EQ(weight(graph, "embed").tensor, "lm_head.weight");
  EXPECT_NE(weight(graph, "lm_head").alias_of, kNone);
  EXPECT_EQ(describe(weight(graph, "lm_head").type), "f32[2048, 128]");
}

// Every fixture made by tools/make_fixtures.py: config.json of transformers 4 and 5 give one graph,
// and the checkpoint's tensors are exactly the graph's.
TEST(Models, FixturesBindByBothSpellingsOfTheirConfig) {
  const std::filesystem::path root = std::string(RT_SOURCE_DIR) + "/tests/fixtures";
  int found = 0;
  if (std::filesystem::exists(root)) {
    for (const auto& folder : std::filesystem::directory_iterator(root)) {
      const std::filesystem::path golden_path = folder.path() / "golden.json";
      if (!std::filesystem::exists(golden_path)) continue;
      ++found;
      const Json golden = read_json(golden_path, 16 << 20).value();
      const auto family = golden["family"].get<std::string>();
      const Json config = read_json(folder.path() / "config.json", 1 << 20).value();
      Graph graph = build(family, &config);
      const Json config5 = read_json(folder.path() / "config_v5.json", 1 << 20).value();
      Graph graph5 = build(family, &config5);
      graph.config.clear();
      graph5.config.clear();
      EXPECT_EQ(to_yaml(graph), to_yaml(graph5)) << folder;
      const Status status = bind_checkpoint(graph, tensors_of(folder.path()));
      EXPECT_TRUE(status.ok()) << folder << ": " << status.error().message;
      EXPECT_EQ(graph.vocabulary(), golden["vocab"].get<std::uint64_t>());
      EXPECT_EQ(weight(graph, "lm_head").alias_of != kNone, golden["tied"].get<bool>());
      if (golden.contains("rope_switch")) {
        const Json& wanted = golden["rope_switch"];
        EXPECT_EQ(graph.rope_switch_tokens,
                  wanted["original_max_position_embeddings"].get<std::uint64_t>());
        EXPECT_DOUBLE_EQ(attribute(node(graph, "rope_angles"), "attention_factor").f,
                         wanted["attention_factor"].get<double>());
      }
    }
  }
  if (found == 0) GTEST_SKIP() << root << " holds no fixtures";
}

}  // namespace
}  // namespace rt
