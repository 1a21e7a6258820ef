#include "core/graph/emit.h"

#include <cstdio>

#include "core/base/bytes.h"

namespace rt {
namespace {

// A scalar of YAML: bare where that reads back as the same text, else in double quotes.
std::string scalar(const std::string& text) {
  constexpr std::string_view kBare =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./@";
  if (!text.empty() && text.find_first_not_of(kBare) == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned char>(c));
      out += escape;
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::string attribute_text(const Attribute& attribute) {
  switch (attribute.type) {
    case RT_ATTR_INT:
      return std::to_string(attribute.i);
    case RT_ATTR_FLOAT:
      return Value(attribute.f).text();
    case RT_ATTR_BOOL:
      return attribute.i != 0 ? "true" : "false";
    case RT_ATTR_STRING:
      return scalar(attribute.s);
    default:
      break;
  }
  std::string out = "[";
  for (std::size_t i = 0; i < attribute.floats.size(); ++i) {
    out += (i > 0 ? ", " : "") + Value(attribute.floats[i]).text();
  }
  return out + "]";
}

std::string operand_name(const Graph& graph, Operand operand) {
  return operand.is_weight ? graph.weights[operand.index].name : graph.values[operand.index].name;
}

std::string weight_line(const Graph& graph, const GraphWeight& weight) {
  std::string out = "  - {name: " + scalar(weight.name) +
                    ", type: " + scalar(describe(weight.type)) +
                    ", tensor: " + scalar(weight.tensor);
  if (weight.tensor_rows != weight.type.shape[0]) {
    out += ", rows: [" + std::to_string(weight.first_row) + ", " +
           std::to_string(weight.type.shape[0]) + "]";
  }
  if (weight.alias_of != kNone) {
    out += ", shares: " + scalar(graph.weights[weight.alias_of].name);
  }
  return out + "}\n";
}

std::string node_line(const Graph& graph, const GraphNode& node) {
  std::string out = "  - {name: " + scalar(node.name) +
                    ", op: " + scalar(node.op + "@" + std::to_string(node.op_version)) + ", in: [";
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    out += (i > 0 ? ", " : "") + scalar(operand_name(graph, node.inputs[i]));
  }
  out += "], out: {";
  for (std::size_t o = 0; o < node.outputs.size(); ++o) {
    const GraphValue& value = graph.values[node.outputs[o]];
    out += (o > 0 ? ", " : "") + scalar(value.name) + ": " + scalar(describe(value.type));
  }
  out += "}";
  if (!node.attrs.empty()) {
    out += ", attrs: {";
    for (std::size_t a = 0; a < node.attrs.size(); ++a) {
      out +=
          (a > 0 ? ", " : "") + scalar(node.attrs[a].name) + ": " + attribute_text(node.attrs[a]);
    }
    out += "}";
  }
  if (node.kv_layer != kNone) out += ", state: " + scalar(graph.kv_layers[node.kv_layer].name);
  return out + "}\n";
}

std::string layer_line(const KvLayer& layer) {
  return "  - {name: " + scalar(layer.name) + ", heads: " + std::to_string(layer.query_heads) +
         ", kv_heads: " + std::to_string(layer.kv_heads) +
         ", head_width: " + std::to_string(layer.head_width) +
         ", window: " + std::to_string(layer.window) + "}\n";
}

}  // namespace

std::string to_yaml(const Graph& graph) {
  std::string out = "# " + summary_line(graph) + "\n";
  out += "expanded: " + scalar(graph.name) + "\n";
  if (!graph.source.empty()) out += "source: " + scalar(graph.source) + "\n";
  out += "context: " + std::to_string(graph.context_tokens) + "\n";
  if (graph.rope_switch_tokens != 0) {
    out += "rope_switch: " + std::to_string(graph.rope_switch_tokens) + "\n";
  }
  if (!graph.config.empty()) out += "config:\n";
  for (const ConfigValue& value : graph.config) {
    out += "  " + value.name + ": {value: " + scalar(value.text) +
           ", origin: " + scalar(value.origin) + "}\n";
  }
  if (!graph.kv_layers.empty()) out += "kv_layers:\n";
  for (const KvLayer& layer : graph.kv_layers) out += layer_line(layer);
  if (!graph.weights.empty()) out += "weights:\n";
  for (const GraphWeight& weight : graph.weights) out += weight_line(graph, weight);
  out += "nodes:\n";
  for (const GraphNode& node : graph.nodes) out += node_line(graph, node);
  return out;
}

std::string to_dot(const Graph& graph) {
  std::string out = "digraph " + scalar("graph " + graph.name) +
                    " {\n  node [shape=box, fontname=\"monospace\"];\n";
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const GraphNode& node = graph.nodes[n];
    out += "  n" + std::to_string(n) + " [label=\"" + node.name + "\\n" + node.op;
    if (node.kv_layer != kNone) out += " (" + graph.kv_layers[node.kv_layer].name + ")";
    out += "\"];\n";
    for (const Operand input : node.inputs) {
      if (input.is_weight) continue;
      const GraphValue& value = graph.values[input.index];
      out += "  n" + std::to_string(value.producer) + " -> n" + std::to_string(n) + " [label=\"" +
             describe(value.type) + "\"];\n";
    }
  }
  return out + "}\n";
}

std::string summary_line(const Graph& graph) {
  char count[32];
  std::snprintf(count, sizeof count, "%.3f", static_cast<double>(parameter_count(graph)) / 1e9);
  return graph.name + ": " + std::to_string(graph.nodes.size()) + " nodes, " +
         std::to_string(graph.weights.size()) + " weights (" + count + " G parameters, " +
         format_bytes(weight_bytes(graph)) + "), " + std::to_string(graph.kv_layers.size()) +
         " KV layers, context " + std::to_string(graph.context_tokens) +
         (graph.assumed ? " (sizes assumed: no config.json)" : "");
}

}  // namespace rt
