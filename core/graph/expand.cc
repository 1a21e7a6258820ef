// Statements to nodes. One Instance is one scope of names: the file's `graph`, or a copy of a
// block.
#include "core/graph/expand.h"

#include <algorithm>
#include <set>

#include "core/base/json.h"
#include "core/base/text.h"
#include "core/graph/config.h"
#include "core/graph/expansion.h"
#include "core/graph/infer.h"

namespace rt {
namespace {

constexpr int kDeepestBlock = 8;  // a block that repeats itself ends here

// Expands the statements of one scope.
class Instance {
 public:
  Instance(Expansion& expansion, std::string prefix, const Scope& scope, int depth)
      : expansion_(expansion), prefix_(std::move(prefix)), scope_(scope), depth_(depth) {}

  NameTable& names() { return names_; }

  Status run(const std::vector<StatementDeclaration>& statements) {
    std::map<std::string_view, int> unnamed;  // nodes by operator
    for (const StatementDeclaration& statement : statements) {
      if (statement.node.has_value() && statement.node->name.empty()) ++unnamed[statement.node->op];
    }
    for (const StatementDeclaration& statement : statements) {
      if (statement.node.has_value()) {
        const NodeDeclaration& node = *statement.node;
        RT_RETURN_IF_ERROR(add_node(node, default_name(node, unnamed[node.op])));
      } else {
        RT_RETURN_IF_ERROR(repeat(*statement.repeat));
      }
    }
    return {};
  }

  Result<Operand> resolve(const NameUse& use) const {
    if (const auto own = names_.find(use.name); own != names_.end()) return own->second;
    if (const auto weight = expansion_.weights.find(use.name); weight != expansion_.weights.end()) {
      return weight->second;
    }
    NameTable visible = names_;
    visible.insert(expansion_.weights.begin(), expansion_.weights.end());
    return bad_input_at(use.where, "no value or weight is named " + quote(use.name) + " here" +
                                       did_you_mean(use.name, names_of(visible)));
  }

 private:
  // "attention"; where a scope has several nodes of one operator, "linear.q" by what they make.
  static std::string default_name(const NodeDeclaration& node, int unnamed) {
    if (!node.name.empty()) return node.name;
    return unnamed == 1 || node.out.empty() ? node.op : node.op + "." + node.out[0].name;
  }

  Status find_schema(const NodeDeclaration& declaration, GraphNode& node) const {
    node.schema = expansion_.schemas.find(node.op, node.op_version);
    if (node.schema != nullptr) return {};
    if (const std::string parts = expansion_.schemas.parts(node.op); !parts.empty()) {
      return node_error(node, quote(node.op) + " is a fused operator; write its parts (" + parts +
                                  "), and it runs in their place where it can");
    }
    const std::vector<std::uint32_t> versions = expansion_.schemas.versions(node.op);
    std::string hint = did_you_mean(node.op, expansion_.schemas.known()) +
                       "; --plugin FILE loads one from outside";
    if (!versions.empty()) {
      hint = "; loaded are versions";
      for (const std::uint32_t version : versions) hint += " " + std::to_string(version);
    }
    return node_error(
        node, "no loaded plugin declares the operator " +
                  quote(declaration.op + "@" + std::to_string(declaration.op_version)) + hint);
  }

  Status find_state(const NodeDeclaration& declaration, GraphNode& node) {
    if (!declaration.state.has_value()) {
      if (node.schema->has_kv_state == 0) return {};
      return node_error(node, node.op + " keeps KV state; say which, as 'state: kv.$i'");
    }
    RT_TRY(const std::string name, declaration.state->fill(scope_));
    if (node.schema->has_kv_state == 0) {
      return node_error(node, node.op + " keeps no KV state, found 'state: " + name + "'");
    }
    const auto found = expansion_.kv_layers.find(name);
    if (found == expansion_.kv_layers.end()) {
      return bad_input_at(declaration.state->where(),
                          "no KV layer is named " + quote(name) + "; the graph has " +
                              std::to_string(expansion_.kv_layers.size()) +
                              ", named <state>.<number from 0>");
    }
    KvLayer& layer = expansion_.graph.kv_layers[found->second];
    if (layer.node != kNone) {
      return bad_input_at(declaration.state->where(),
                          "KV layer " + quote(name) + " is already used by node " +
                              quote(expansion_.graph.nodes[layer.node].name) +
                              "; each layer belongs to one node");
    }
    layer.node = static_cast<std::uint32_t>(expansion_.graph.nodes.size());
    node.kv_layer = layer.index;
    return {};
  }

  Status add_node(const NodeDeclaration& declaration, const std::string& name) {
    Graph& graph = expansion_.graph;
    if (graph.nodes.size() >= kMaxNodes) {
      return bad_input_at(declaration.where, "more than " + std::to_string(kMaxNodes) + " nodes");
    }
    GraphNode node;
    node.name = prefix_ + name;
    node.op = declaration.op;
    node.op_version = declaration.op_version;
    node.where = declaration.where;
    RT_RETURN_IF_ERROR(find_schema(declaration, node));
    for (const NameUse& use : declaration.in) {
      RT_TRY(const Operand operand, resolve(use));
      node.inputs.push_back(operand);
    }
    for (std::size_t o = 0; o < declaration.out.size(); ++o) {
      node.outputs.push_back(static_cast<std::uint32_t>(graph.values.size() + o));
    }
    RT_RETURN_IF_ERROR(check_inputs(graph, node));
    RT_RETURN_IF_ERROR(find_state(declaration, node));
    RT_RETURN_IF_ERROR(complete_attributes(expansion_, declaration, scope_, node));
    RT_TRY(const std::vector<TensorType> types, infer_outputs(graph, node));
    for (std::size_t o = 0; o < types.size(); ++o) {
      const NameUse& made = declaration.out[o];
      RT_RETURN_IF_ERROR(
          define(expansion_, names_, made.name, {false, node.outputs[o]}, made.where));
      graph.values.push_back(
          {prefix_ + made.name, types[o], static_cast<std::uint32_t>(graph.nodes.size())});
    }
    graph.nodes.push_back(std::move(node));
    return {};
  }

  Result<const BlockDeclaration*> find_block(const NameUse& use) const {
    const BlockDeclaration* block = expansion_.document.find_block(use.name);
    if (block != nullptr) return block;
    std::vector<std::string> known;
    for (const BlockDeclaration& candidate : expansion_.document.blocks) {
      known.push_back(candidate.name);
    }
    return bad_input_at(use.where,
                        "no block is named " + quote(use.name) + did_you_mean(use.name, known));
  }

  // The name, among `names`, of each entry of `wires`.
  static Status check_wires(const std::vector<std::pair<std::string, NameUse>>& wires,
                            const std::vector<std::string>& names, const std::string& block) {
    for (const auto& [name, use] : wires) {
      if (std::find(names.begin(), names.end(), name) == names.end()) {
        return bad_input_at(use.where, "block " + quote(block) + " has no input " + quote(name) +
                                           did_you_mean(name, names));
      }
    }
    return {};
  }

  Status check_signature(const RepeatDeclaration& declaration,
                         const BlockDeclaration& block) const {
    RT_RETURN_IF_ERROR(check_wires(declaration.in, block.in, block.name));
    RT_RETURN_IF_ERROR(check_wires(declaration.carry, block.in, block.name));
    for (const std::string& name : block.in) {
      const auto given = std::find_if(declaration.in.begin(), declaration.in.end(),
                                      [&](const auto& wire) { return wire.first == name; });
      if (given == declaration.in.end()) {
        return bad_input_at(declaration.where, "block " + quote(block.name) + " needs its input " +
                                                   quote(name) + " under 'in'");
      }
    }
    for (const auto& [name, use] : declaration.carry) {
      const auto made = std::find_if(block.out.begin(), block.out.end(),
                                     [&](const NameUse& out) { return out.name == use.name; });
      if (made == block.out.end()) {
        return bad_input_at(use.where, "block " + quote(block.name) + " has no output " +
                                           quote(use.name) + " to carry");
      }
    }
    if (declaration.out.size() == block.out.size()) return {};
    return bad_input_at(declaration.where,
                        "block " + quote(block.name) + " has " + std::to_string(block.out.size()) +
                            " outputs, 'out' names " + std::to_string(declaration.out.size()));
  }

  // Defines the block's params, from the repeat's index and `params`, and its lets.
  Status fill_scope(const RepeatDeclaration& declaration, const BlockDeclaration& block,
                    std::int64_t copy, Scope& inner) const {
    Scope outer(&scope_);
    if (!declaration.index.empty() && !outer.define(declaration.index, Value(copy))) {
      return bad_input_at(declaration.where, "the index " + quote(declaration.index) +
                                                 " has the name of another value");
    }
    for (const std::string& param : block.params) {
      const auto given =
          std::find_if(declaration.params.begin(), declaration.params.end(),
                       [&](const auto& candidate) { return candidate.first == param; });
      std::optional<Value> value;
      if (given != declaration.params.end()) {
        RT_TRY(value, given->second.evaluate(outer));
      } else if (param == declaration.index) {
        value = Value(copy);
      } else {
        return bad_input_at(declaration.where, "block " + quote(block.name) +
                                                   " needs its parameter " + quote(param) +
                                                   " as 'index' or under 'params'");
      }
      if (!inner.define(param, std::move(*value))) {
        return bad_input_at(block.where,
                            "the parameter " + quote(param) + " has the name of another value");
      }
    }
    for (const auto& [name, expression] : declaration.params) {
      if (std::find(block.params.begin(), block.params.end(), name) == block.params.end()) {
        return bad_input_at(expression.where(), "block " + quote(block.name) +
                                                    " has no parameter " + quote(name) +
                                                    did_you_mean(name, block.params));
      }
    }
    return define_lets(block.lets, inner);
  }

 public:
  static Status define_lets(const std::vector<LetBinding>& lets, Scope& scope) {
    for (const LetBinding& let : lets) {
      RT_TRY(Value value, let.value.evaluate(scope));
      if (!scope.define(let.name, std::move(value))) {
        return bad_input_at(let.value.where(), quote(let.name) + " is defined twice");
      }
    }
    return {};
  }

 private:
  Status repeat(const RepeatDeclaration& declaration) {
    if (depth_ >= kDeepestBlock) {
      return bad_input_at(
          declaration.where,
          "blocks nest deeper than " + std::to_string(kDeepestBlock) + "; does one repeat itself?");
    }
    std::vector<const BlockDeclaration*> blocks;
    for (const NameUse& use : declaration.blocks) {
      RT_TRY(const BlockDeclaration* block, find_block(use));
      RT_RETURN_IF_ERROR(check_signature(declaration, *block));
      blocks.push_back(block);
    }
    std::int64_t count = 1;
    if (declaration.count.has_value()) {
      RT_TRY(count, declaration.count->evaluate_int(scope_, 1, kMaxLayers));
    }
    std::vector<std::pair<std::string, Operand>> made;  // outputs of the copy before
    for (std::int64_t copy = 0; copy < count; ++copy) {
      const auto which = static_cast<std::size_t>(copy) % blocks.size();
      RT_RETURN_IF_ERROR(expand_copy(declaration, *blocks[which], copy, made));
    }
    for (std::size_t o = 0; o < made.size(); ++o) {
      const NameUse& use = declaration.out[o];
      RT_RETURN_IF_ERROR(define(expansion_, names_, use.name, made[o].second, use.where));
    }
    return {};
  }

  Status expand_copy(const RepeatDeclaration& declaration, const BlockDeclaration& block,
                     std::int64_t copy, std::vector<std::pair<std::string, Operand>>& made) {
    Scope inner(&expansion_.scope);
    RT_RETURN_IF_ERROR(fill_scope(declaration, block, copy, inner));
    std::string prefix = prefix_ + (declaration.name.empty() ? block.name : declaration.name);
    if (declaration.count.has_value()) prefix += "." + std::to_string(copy);
    prefix += ".";
    Instance instance(expansion_, prefix, inner, depth_ + 1);
    for (const auto& [name, use] : declaration.in) {
      RT_TRY(Operand operand, resolve(use));
      if (copy > 0) operand = carried(declaration, name, made).value_or(operand);
      RT_RETURN_IF_ERROR(define(expansion_, instance.names_, name, operand, block.where));
    }
    RT_RETURN_IF_ERROR(add_weights(expansion_, block.weights, prefix, inner, instance.names_));
    RT_RETURN_IF_ERROR(instance.run(block.nodes));
    made.clear();
    for (const NameUse& out : block.out) {
      RT_TRY(const Operand operand, instance.resolve(out));
      made.emplace_back(out.name, operand);
    }
    return {};
  }

  static std::optional<Operand> carried(const RepeatDeclaration& declaration,
                                        const std::string& input,
                                        const std::vector<std::pair<std::string, Operand>>& made) {
    for (const auto& [name, use] : declaration.carry) {
      if (name != input) continue;
      for (const auto& [output, operand] : made) {
        if (output == use.name) return operand;
      }
    }
    return std::nullopt;
  }

  Expansion& expansion_;
  std::string prefix_;
  const Scope& scope_;
  int depth_;
  NameTable names_;
};

Status check_asserts(const GraphDocument& document, const Scope& scope,
                     const std::string& config_path) {
  for (const AssertRule& rule : document.asserts) {
    RT_TRY(const bool holds, rule.that.evaluate_bool(scope));
    if (holds) continue;
    RT_TRY(const std::string message, rule.message.fill(scope));
    return bad_input(config_path + ": " + message + " (" + rule.where.text() + " requires " +
                     quote(rule.that.text()) + ")");
  }
  return {};
}

// What the file says about the model as a whole.
Status set_facts(Expansion& expansion) {
  const GraphDocument& document = expansion.document;
  Graph& graph = expansion.graph;
  constexpr std::int64_t kMostTokens = 2147483647;  // positions are i32
  RT_TRY(const std::int64_t context,
         document.context.evaluate_int(expansion.scope, 1, kMostTokens));
  graph.context_tokens = static_cast<std::uint64_t>(context);
  if (document.weight_dtype.has_value()) {
    RT_TRY(const std::string name, document.weight_dtype->evaluate_string(expansion.scope));
    expansion.weight_dtype = parse_dtype(name);
    if (expansion.weight_dtype == 0) {
      return bad_input_at(document.weight_dtype->where(),
                          "expected an element type, as bfloat16, found " + quote(name));
    }
  }
  if (!document.rope_switch.has_value()) return {};
  if (document.rope_switch->when.has_value()) {
    RT_TRY(const bool on, document.rope_switch->when->evaluate_bool(expansion.scope));
    if (!on) return {};
  }
  RT_TRY(const std::int64_t at,
         document.rope_switch->at.evaluate_int(expansion.scope, 1, kMostTokens));
  graph.rope_switch_tokens = static_cast<std::uint64_t>(at);
  return {};
}

}  // namespace

Result<Graph> build_graph(const GraphDocument& document, const Json* config_json,
                          const SchemaSet& schemas, const GraphOptions& options) {
  Expansion expansion{document, schemas, {}, Scope(), RT_F32, {}, {}};
  Graph& graph = expansion.graph;
  graph.name = document.name;
  graph.summary = document.summary;
  graph.source = document.source;
  graph.assumed = config_json == nullptr;
  graph.value_dtype = options.value_dtype;
  graph.ignore = document.ignore;
  graph.chat = document.chat;
  const std::string config_path = graph.assumed ? document.path : options.config_path;
  RT_RETURN_IF_ERROR(
      bind_config(document, config_json, config_path, expansion.scope, graph.config));
  if (config_json != nullptr) graph.config_notes = unread_config(document, *config_json);
  RT_RETURN_IF_ERROR(Instance::define_lets(document.lets, expansion.scope));
  RT_RETURN_IF_ERROR(check_asserts(document, expansion.scope, config_path));
  RT_RETURN_IF_ERROR(set_facts(expansion));
  RT_RETURN_IF_ERROR(add_state(expansion));
  NameTable weights;
  RT_RETURN_IF_ERROR(add_weights(expansion, document.weights, "", expansion.scope, weights));
  expansion.weights = std::move(weights);
  RT_RETURN_IF_ERROR(Instance(expansion, "", expansion.scope, 0).run(document.graph));
  RT_RETURN_IF_ERROR(verify(document, graph));
  RT_RETURN_IF_ERROR(settle_slices(graph));
  return std::move(graph);
}

}  // namespace rt
