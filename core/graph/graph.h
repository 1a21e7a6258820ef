// A typed graph: one model, fully expanded. Nodes stand in the order in which they run; every
// shape, attribute and weight is a number. It has no device, planner or memory in it: those are
// decisions about a deployment (configs/*.yaml).
//
// Made by build_graph (expand.h) from a GraphDocument and the checkpoint's config.json; the
// checkpoint's tensors are bound to it by bind_checkpoint (bind_weights.h).
//
// Invariants after build_graph: ids index the vectors below; a node reads what nodes before it
// made; no node is idle (something reads one of its outputs), no weight unread; attributes are
// complete and within their specs; each KV layer is used by exactly one node; the last node is the
// sampler: it reads logits [R, V] first and makes ids i32[R].
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/yaml.h"
#include "core/graph/document.h"
#include "core/sdk/operator.h"

namespace rt {

constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

constexpr std::int64_t kMaxLayers = 10'000;
constexpr std::size_t kMaxNodes = 200'000;
constexpr std::size_t kMaxWeights = 1'000'000;  // as many as a checkpoint may hold

// dtype and shape of a value or weight. shape[0] may be RT_DIM_TOKENS or RT_DIM_ROWS.
struct TensorType {
  rt_dtype dtype = 0;
  std::uint32_t rank = 0;
  std::array<std::int64_t, RT_MAX_RANK> shape{};

  bool operator==(const TensorType&) const = default;
};

// "bf16[4096, 2048]", "f32[T, 3072]".
std::string describe(const TensorType& type);

// "f32", "bf16", ...; "dtype 99" for an unknown one.
std::string dtype_name(rt_dtype dtype);

// Bytes of one element; 0 for an unknown dtype.
std::uint32_t dtype_bytes(rt_dtype dtype);

// RT_BF16 for "bfloat16" and "bf16", and so on; 0 for a name we do not know.
rt_dtype parse_dtype(std::string_view name);

// The same for the types of KV caches: f32, bf16, f16, int8, q8_0, q4_0.
rt_dtype parse_kv_dtype(std::string_view name);

// The same for the types of weights: f32, bf16, f16, int8, nf4, nf4-dq.
rt_dtype parse_weight_dtype(std::string_view name);

// Bytes of a weight: dense of any rank, or quantized of rank 2.
std::uint64_t tensor_bytes(const TensorType& type);

// Elements of a type without T or R.
std::uint64_t element_count(const TensorType& type);

// An edge: what one node makes and others read. No memory.
struct GraphValue {
  std::string name;  // "layer.3.q"
  TensorType type;
  std::uint32_t producer = kNone;  // node
};

struct GraphWeight {
  std::string name;  // "layer.3.wq"
  TensorType type;   // dtype: the graph's default until bind_checkpoint says what the file has
  // What the checkpoint has where a deployment gives the weight another type; 0: the same.
  rt_dtype stored_dtype = 0;
  std::string tensor;  // exact name in the checkpoint
  // The weight is rows [first_row, first_row + shape[0]) of `tensor`, which has tensor_rows.
  std::int64_t first_row = 0;
  std::int64_t tensor_rows = 0;
  // Shares the storage of that weight (a tied head and its embedding), else kNone. Never a chain.
  std::uint32_t alias_of = kNone;
  // bind_checkpoint: which of the tensors it was given; kNone before.
  std::uint32_t checkpoint_index = kNone;
  YamlPosition where;
};

struct Operand {
  bool is_weight = false;
  std::uint32_t index = 0;  // into Graph::weights or Graph::values
};

struct Attribute {
  std::string name;
  rt_attr_type type = RT_ATTR_INT;
  std::int64_t i = 0;  // INT, BOOL
  double f = 0;
  std::string s;
  std::vector<double> floats;
};

struct GraphNode {
  std::string name;  // "layer.3.attention", unique
  std::string op;
  std::uint32_t op_version = 1;
  const rt_schema* schema = nullptr;   // lives as long as its library: for ever
  std::vector<Operand> inputs;         // in the schema's order
  std::vector<std::uint32_t> outputs;  // values
  std::vector<Attribute> attrs;        // in the schema's order, complete
  std::uint32_t kv_layer = kNone;      // into Graph::kv_layers
  YamlPosition where;
};

// The KV cache of one layer, [G, E] for K and for V per token.
struct KvLayer {
  std::string name;          // "kv.3"
  std::uint32_t index = 0;   // its place in Graph::kv_layers
  std::uint32_t window = 0;  // W, keys visible to a query, itself included; 0: all
  std::uint32_t kv_heads = 0;
  std::uint32_t head_width = 0;
  std::uint32_t query_heads = 0;
  std::uint32_t node = kNone;
};

// One bound name of `config:`, for people.
struct ConfigValue {
  std::string name;
  std::string text;    // "3072"
  std::string origin;  // "config.json: hidden_size", "assumed", "absent from config.json"
};

struct Graph {
  std::string name;
  std::string summary;
  std::string source;
  bool assumed = false;  // made without a config.json: the published model's sizes
  rt_dtype value_dtype = RT_F32;
  std::uint64_t context_tokens = 0;
  std::uint64_t rope_switch_tokens = 0;  // > 0: a sequence of more tokens in total uses regime 1
  std::vector<ConfigValue> config;
  std::vector<std::string> config_notes;  // for people: what of config.json the graph passes over
  std::vector<GraphNode> nodes;
  std::vector<GraphValue> values;
  std::vector<GraphWeight> weights;
  std::vector<KvLayer> kv_layers;
  std::vector<std::string> ignore;
  std::optional<ChatDeclaration> chat;

  const GraphNode& sampler() const { return nodes.back(); }
  // The value the sampler reads: [R, V].
  std::uint32_t logits() const { return sampler().inputs[0].index; }
  std::uint64_t vocabulary() const {
    return static_cast<std::uint64_t>(values[logits()].type.shape[1]);
  }
  // The type of a node's input, value or weight.
  const TensorType& type_of(Operand operand) const {
    return operand.is_weight ? weights[operand.index].type : values[operand.index].type;
  }
};

// Elements of all weights, a shared one counted once.
std::uint64_t parameter_count(const Graph& graph);

// Bytes of all weights, a shared one counted once.
std::uint64_t weight_bytes(const Graph& graph);

// The weight whose memory this one is: itself, or what it is an alias of.
inline std::uint32_t storage_of(const Graph& graph, std::uint32_t weight) {
  const std::uint32_t alias = graph.weights[weight].alias_of;
  return alias == kNone ? weight : alias;
}

}  // namespace rt
