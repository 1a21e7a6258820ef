// What must hold for a graph as a whole.
#include <algorithm>
#include <unordered_set>

#include "core/base/text.h"
#include "core/graph/expansion.h"
#include "core/graph/infer.h"

namespace rt {
namespace {

Status check_names(const Graph& graph) {
  std::unordered_set<std::string_view> names;
  for (const GraphNode& node : graph.nodes) {
    if (!names.insert(node.name).second) {
      return node_error(node, "another node has this name; give one of them a 'name'");
    }
  }
  names.clear();
  for (const GraphWeight& weight : graph.weights) {
    if (!names.insert(weight.name).second) {
      return bad_input_at(weight.where, "two weights are named " + quote(weight.name) +
                                            "; give one of the repeats a 'name'");
    }
  }
  return {};
}

// A node whose outputs nobody reads, or a weight, is a slip of the pen: a wire to the wrong name.
Status check_use(const GraphDocument& document, const Graph& graph) {
  std::vector<bool> value_read(graph.values.size(), false);
  std::vector<bool> weight_read(graph.weights.size(), false);
  for (const GraphNode& node : graph.nodes) {
    for (const Operand input : node.inputs) {
      (input.is_weight ? weight_read : value_read)[input.index] = true;
    }
  }
  for (const GraphNode& node : graph.nodes) {
    const bool read = std::any_of(node.outputs.begin(), node.outputs.end(),
                                  [&](std::uint32_t output) { return value_read[output]; });
    if (!read && &node != &graph.nodes.back()) {
      return node_error(
          node, "nothing reads what it makes, " + quote(graph.values[node.outputs[0]].name));
    }
  }
  for (std::size_t w = 0; w < graph.weights.size(); ++w) {
    const GraphWeight& weight = graph.weights[w];
    if (!weight_read[w]) {
      return bad_input_at(weight.where, "no node reads the weight " + quote(weight.name));
    }
  }
  for (const KvLayer& layer : graph.kv_layers) {
    if (layer.node == kNone) {
      return bad_input(document.path + ": KV layer " + quote(layer.name) +
                       " is declared and no node uses it");
    }
  }
  return {};
}

Status check_sampler(const GraphDocument& document, const Graph& graph) {
  const GraphNode& node = graph.sampler();
  const auto refuse = [&](const std::string& found) {
    return node_error(node,
                      "the last node is the sampler: it reads logits [R, V] and makes "
                      "i32[R]; found " +
                          found + " (" + document.graph_where.text() + ")");
  };
  if (node.outputs.size() != 1) return refuse(std::to_string(node.outputs.size()) + " outputs");
  const TensorType& ids = graph.values[node.outputs[0]].type;
  if (ids.dtype != RT_I32 || ids.rank != 1 || ids.shape[0] != RT_DIM_ROWS) {
    return refuse("the output " + describe(ids));
  }
  if (node.inputs.empty() || node.inputs[0].is_weight) return refuse("no logits");
  const TensorType& logits = graph.values[node.inputs[0].index].type;
  if (logits.rank != 2 || logits.shape[0] != RT_DIM_ROWS) {
    return refuse("the input " + describe(logits));
  }
  return {};
}

}  // namespace

Status verify(const GraphDocument& document, const Graph& graph) {
  if (graph.nodes.empty()) return bad_input_at(document.graph_where, "a graph without nodes");
  RT_RETURN_IF_ERROR(check_names(graph));
  RT_RETURN_IF_ERROR(check_sampler(document, graph));
  return check_use(document, graph);
}

}  // namespace rt
