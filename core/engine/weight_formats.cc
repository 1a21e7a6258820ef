#include "core/engine/weight_formats.h"

#include <algorithm>
#include <map>

#include "core/base/text.h"
#include "core/graph/node_view.h"
#include "core/memory/weight_writer.h"
#include "core/plugin/selection.h"
#include "core/sdk/weight_format.hpp"

namespace rt {
namespace {

// A port that reads a weight.
struct Reader {
  std::uint32_t node = 0;
  std::uint32_t input = 0;
};

class Setter {
 public:
  Setter(Graph& graph, const WeightFormats& formats)
      : graph_(graph),
        formats_(formats),
        readers_(graph.weights.size()),
        makes_logits_(graph.nodes.size()) {
    for (std::uint32_t n = 0; n < graph.nodes.size(); ++n) {
      for (std::uint32_t i = 0; i < graph.nodes[n].inputs.size(); ++i) {
        const Operand input = graph.nodes[n].inputs[i];
        if (input.is_weight) readers_[storage_of(graph, input.index)].push_back({n, i});
      }
    }
    find_head();
    for (const WeightFormatRule& rule : formats.rules) rule_used_[rule.target] = false;
  }

  Status run() {
    for (std::uint32_t w = 0; w < graph_.weights.size(); ++w) {
      if (storage_of(graph_, w) != w) continue;
      const WeightFormatRule* rule = rule_of(w);
      const rt_dtype wanted = rule != nullptr ? rule->dtype : wanted_by_all(w);
      if (wanted != 0) RT_RETURN_IF_ERROR(set(w, wanted));
    }
    for (GraphWeight& weight : graph_.weights) {
      if (weight.alias_of == kNone) continue;
      weight.type.dtype = graph_.weights[weight.alias_of].type.dtype;
      weight.stored_dtype = graph_.weights[weight.alias_of].stored_dtype;
    }
    for (const auto& [target, used] : rule_used_) {
      if (used) continue;
      return bad_input("weights_format: " + quote(target) +
                       " is no operator and no node that reads a matrix; `runtime graph expand` "
                       "lists the nodes");
    }
    return {};
  }

 private:
  // The products whose outputs reach the logits through no other one; a soft cap may stand between.
  void find_head() {
    std::vector<bool> seen(graph_.nodes.size());
    std::vector<std::uint32_t> values{graph_.logits()};
    while (!values.empty()) {
      const std::uint32_t n = graph_.values[values.back()].producer;
      values.pop_back();
      if (n == kNone || seen[n]) continue;
      seen[n] = true;
      const std::vector<Operand>& inputs = graph_.nodes[n].inputs;
      makes_logits_[n] = std::any_of(inputs.begin(), inputs.end(), [&](const Operand& input) {
        return input.is_weight && graph_.weights[input.index].type.rank == 2;
      });
      if (makes_logits_[n]) continue;
      for (const Operand& input : inputs) {
        if (!input.is_weight) values.push_back(input.index);
      }
    }
  }

  const WeightFormatRule* rule_of(std::uint32_t w) {
    if (graph_.weights[w].type.rank != 2) return nullptr;
    for (const WeightFormatRule& rule : formats_.rules) {
      for (const Reader& reader : readers_[w]) {
        const NodeView view(graph_, graph_.nodes[reader.node], {});
        if (!pin_matches({rule.target, ""}, *view.get())) continue;
        rule_used_[rule.target] = true;
        return &rule;
      }
    }
    return nullptr;
  }

  rt_dtype wanted_by_all(std::uint32_t w) const {
    const rt_dtype all = formats_.all;
    if (all == 0 || !sdk::weight_is_quantized(all)) return all;
    if (graph_.weights[w].type.rank != 2) return 0;
    for (const Reader& reader : readers_[w]) {
      const GraphNode& node = graph_.nodes[reader.node];
      const bool makes_logits = makes_logits_[reader.node];
      const bool reads_value = std::any_of(node.inputs.begin(), node.inputs.end(),
                                           [](Operand input) { return !input.is_weight; });
      if (makes_logits || !reads_value || !takes(reader, all)) return 0;
    }
    return all;
  }

  bool takes(const Reader& reader, rt_dtype dtype) const {
    const rt_port& port = *graph_.nodes[reader.node].schema->inputs[reader.input];
    return (port.dtypes & RT_DTYPE_BIT(dtype)) != 0;
  }

  Status set(std::uint32_t w, rt_dtype wanted) {
    GraphWeight& weight = graph_.weights[w];
    if (wanted == RT_W_NF4_DQ && weight.type.shape[1] % 64 != 0) wanted = RT_W_NF4;
    for (const Reader& reader : readers_[w]) {
      if (takes(reader, wanted)) continue;
      return bad_input("weights_format: node " + quote(graph_.nodes[reader.node].name) +
                       " does not read weight " + quote(weight.name) + " in " + dtype_name(wanted));
    }
    const rt_dtype stored = weight.type.dtype;
    if (!can_write(stored, wanted)) {
      return bad_input("weights_format: weight " + quote(weight.name) + " is stored in " +
                       dtype_name(stored) + ", which is not converted to " + dtype_name(wanted) +
                       "; take the dense checkpoint, or leave it at auto");
    }
    if (stored == wanted) return {};
    weight.stored_dtype = stored;
    weight.type.dtype = wanted;
    return {};
  }

  Graph& graph_;
  const WeightFormats& formats_;
  std::vector<std::vector<Reader>> readers_;  // by the weight whose storage they read
  std::vector<bool> makes_logits_;            // by node
  std::map<std::string, bool> rule_used_;
};

}  // namespace

Status set_weight_formats(Graph& graph, const WeightFormats& formats) {
  if (formats.all == 0 && formats.rules.empty()) return {};
  return Setter(graph, formats).run();
}

std::string weight_formats_text(const Graph& graph) {
  std::map<std::string, int> counts;
  int matrices = 0;
  for (const GraphWeight& weight : graph.weights) {
    if (weight.alias_of != kNone || weight.type.rank != 2) continue;
    ++matrices;
    if (sdk::weight_is_quantized(weight.type.dtype)) ++counts[dtype_name(weight.type.dtype)];
  }
  std::string text;
  for (const auto& [name, count] : counts) {
    text += (text.empty() ? "" : ", ") + std::to_string(count) +
            (text.empty() ? " of " + std::to_string(matrices) + " matrices in " : " in ") + name;
  }
  return text;
}

}  // namespace rt
