// Where a fused operator fits. Parts are matched one after the other, each among the nodes that
// share a value with what is matched already, and taken back where the rest does not fit.
#include <algorithm>
#include <optional>

#include "core/graph/fused_operator.h"

namespace rt {
namespace {

constexpr std::uint32_t kMostTries = 10'000;  // per place: ours need some ten

struct Reader {
  std::uint32_t node;
  std::uint32_t reads;  // how many of its inputs are this value
};

// Who reads each value and each weight.
struct Readers {
  explicit Readers(const Graph& graph)
      : of_values(graph.values.size()), of_weights(graph.weights.size()) {
    for (std::uint32_t n = 0; n < graph.nodes.size(); ++n) {
      for (const Operand input : graph.nodes[n].inputs) {
        std::vector<Reader>& list = of(input);
        if (!list.empty() && list.back().node == n) {
          ++list.back().reads;
        } else {
          list.push_back({n, 1});
        }
      }
    }
  }
  std::vector<Reader>& of(Operand o) { return (o.is_weight ? of_weights : of_values)[o.index]; }
  const std::vector<Reader>& of(Operand o) const {
    return (o.is_weight ? of_weights : of_values)[o.index];
  }
  std::vector<std::vector<Reader>> of_values;
  std::vector<std::vector<Reader>> of_weights;
};

bool same(Operand a, Operand b) {
  return a.is_weight == b.is_weight && a.index == b.index;
}

bool same_value(const Attribute& attribute, const Value& wanted) {
  switch (attribute.type) {
    case RT_ATTR_INT:
      return wanted.as_int() != nullptr && *wanted.as_int() == attribute.i;
    case RT_ATTR_FLOAT:
      return wanted.is_number() && wanted.number() == attribute.f;
    case RT_ATTR_BOOL:
      return wanted.as_bool() != nullptr && *wanted.as_bool() == (attribute.i != 0);
    case RT_ATTR_STRING:
      return wanted.as_string() != nullptr && *wanted.as_string() == attribute.s;
    default:
      return false;
  }
}

// Constants only: a pattern knows no names of a graph.
bool attributes_fit(const FusedPart& part, const GraphNode& node) {
  const Scope nothing;
  for (const AttrDeclaration& wanted : part.attrs) {
    if (wanted.is_list) return false;
    const auto found = std::find_if(node.attrs.begin(), node.attrs.end(),
                                    [&](const Attribute& a) { return a.name == wanted.name; });
    const Result<Value> value = wanted.items[0].evaluate(nothing);
    if (!value.ok() || found == node.attrs.end() || !same_value(*found, *value)) return false;
  }
  return true;
}

class Matcher {
 public:
  Matcher(const Graph& graph, const Readers& readers, const FusedOperator& fused)
      : graph_(graph),
        readers_(readers),
        fused_(fused),
        names_(fused.name_count()),
        nodes_(fused.parts().size(), kNone) {}

  // The place at which the first part is node `first`.
  bool find(std::uint32_t first) {
    std::fill(names_.begin(), names_.end(), std::nullopt);
    std::fill(nodes_.begin(), nodes_.end(), kNone);
    tries_ = 0;
    return take(0, first);
  }

  FusionMatch match(const std::shared_ptr<const FusedOperator>& fused) const {
    FusionMatch out;
    out.fused = fused;
    out.parts = nodes_;
    std::sort(out.parts.begin(), out.parts.end());
    GraphNode& node = out.node;
    node.name = name_of(*fused);
    node.op = fused->op();
    node.op_version = fused->schema().version;
    node.schema = &fused->schema();
    node.where = graph_.nodes[out.parts.back()].where;
    for (std::uint32_t i = 0; i < fused->input_count(); ++i) node.inputs.push_back(*names_[i]);
    for (const std::uint32_t o : fused->outputs()) node.outputs.push_back(names_[o]->index);
    for (std::size_t p = 0; p < nodes_.size(); ++p) {
      const GraphNode& part = graph_.nodes[nodes_[p]];
      if (part.kv_layer != kNone) node.kv_layer = part.kv_layer;
      for (Attribute attribute : part.attrs) {
        attribute.name = fused->parts()[p].name + "." + attribute.name;
        node.attrs.push_back(std::move(attribute));
      }
    }
    return out;
  }

 private:
  // "layer.3.norm_add.y": as a node of the graph, after its operator and its first output.
  std::string name_of(const FusedOperator& fused) const {
    const std::string& value = graph_.values[names_[fused.outputs().front()]->index].name;
    const std::size_t scope = value.rfind('.') + 1;
    return value.substr(0, scope) + fused.op() + "." + value.substr(scope);
  }

  bool take(std::size_t p, std::uint32_t n) {
    const FusedPart& part = fused_.parts()[p];
    const GraphNode& node = graph_.nodes[n];
    if (++tries_ > kMostTries || node.schema != part.schema || !attributes_fit(part, node) ||
        std::find(nodes_.begin(), nodes_.end(), n) != nodes_.end()) {
      return false;
    }
    const auto saved = names_;
    nodes_[p] = n;
    bool fits = true;
    for (std::size_t i = 0; fits && i < node.inputs.size(); ++i) {
      fits = bind(part.inputs[i], node.inputs[i]);
    }
    for (std::size_t o = 0; fits && o < node.outputs.size(); ++o) {
      fits = bind(part.outputs[o], {false, node.outputs[o]});
    }
    if (fits && next()) return true;
    nodes_[p] = kNone;
    names_ = saved;
    return false;
  }

  bool bind(std::uint32_t name, Operand operand) {
    if (names_[name]) return same(*names_[name], operand);
    names_[name] = operand;
    return true;
  }

  // Of the parts that are left, one that a matched value leads to, and through it the rest.
  bool next() {
    for (std::size_t p = 0; p < nodes_.size(); ++p) {
      if (nodes_[p] != kNone) continue;
      const std::optional<std::vector<std::uint32_t>> led = candidates(p);
      if (!led) continue;
      return std::any_of(led->begin(), led->end(), [&](std::uint32_t n) { return take(p, n); });
    }
    return complete();
  }

  std::optional<std::vector<std::uint32_t>> candidates(std::size_t p) const {
    const FusedPart& part = fused_.parts()[p];
    for (const std::uint32_t name : part.outputs) {
      if (names_[name]) return std::vector{graph_.values[names_[name]->index].producer};
    }
    const std::vector<Reader>* fewest = nullptr;
    for (const std::uint32_t name : part.inputs) {
      if (!names_[name]) continue;
      const std::vector<Reader>& list = readers_.of(*names_[name]);
      if (fewest == nullptr || list.size() < fewest->size()) fewest = &list;
    }
    if (fewest == nullptr) return std::nullopt;
    std::vector<std::uint32_t> nodes;
    for (const Reader& reader : *fewest) nodes.push_back(reader.node);
    return nodes;
  }

  // All parts are matched: may they run as one? What stays inside has no reader outside, and nobody
  // reads an output before the last part has run. Logits and ids are read by the host.
  bool complete() const {
    const std::uint32_t last = *std::max_element(nodes_.begin(), nodes_.end());
    if (last + 1 == graph_.nodes.size()) return false;
    for (std::uint32_t name = fused_.input_count(); name < fused_.name_count(); ++name) {
      const std::vector<std::uint32_t>& outputs = fused_.outputs();
      const bool inside = std::find(outputs.begin(), outputs.end(), name) == outputs.end();
      if (inside && names_[name]->index == graph_.logits()) return false;
      for (const Reader& reader : readers_.of(*names_[name])) {
        if (std::find(nodes_.begin(), nodes_.end(), reader.node) != nodes_.end()) continue;
        if (inside || reader.node < last) return false;
      }
    }
    return true;
  }

  const Graph& graph_;
  const Readers& readers_;
  const FusedOperator& fused_;
  std::vector<std::optional<Operand>> names_;
  std::vector<std::uint32_t> nodes_;  // of each part; kNone: not matched yet
  std::uint32_t tries_ = 0;
};

}  // namespace

std::vector<FusionMatch> find_matches(const Graph& graph,
                                      const std::shared_ptr<const FusedOperator>& fused) {
  const Readers readers(graph);
  Matcher matcher(graph, readers, *fused);
  std::vector<FusionMatch> matches;
  for (std::uint32_t n = 0; n < graph.nodes.size(); ++n) {
    if (matcher.find(n)) matches.push_back(matcher.match(fused));
  }
  return matches;
}

}  // namespace rt
