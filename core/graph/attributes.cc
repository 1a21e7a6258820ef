// A node's attributes: what the file gives, held against the schema; what its KV layer gives; and
// the schema's defaults for the rest. Plugins are shown all of them, in the schema's order.
#include <algorithm>
#include <array>
#include <optional>

#include "core/base/attribute_spec.h"
#include "core/base/text.h"
#include "core/graph/expansion.h"
#include "core/graph/infer.h"

namespace rt {
namespace {

// `value` as an attribute's; nothing where no attribute can be so (a list of texts).
std::optional<AttributeValue> attribute_value(const Value& value) {
  if (const auto* i = value.as_int()) return *i;
  if (const auto* f = value.as_real()) return *f;
  if (const auto* b = value.as_bool()) return *b;
  if (const auto* s = value.as_string()) return *s;
  std::vector<double> numbers;
  for (const Value& item : *value.as_list()) {
    if (!item.is_number()) return std::nullopt;
    numbers.push_back(item.number());
  }
  return numbers;
}

Attribute attribute_of(const rt_attr_spec& spec, AttributeValue value) {
  Attribute out;
  out.name = spec.name;
  out.type = spec.type;
  if (const auto* i = std::get_if<std::int64_t>(&value)) out.i = *i;
  if (const auto* f = std::get_if<double>(&value)) out.f = *f;
  if (const auto* b = std::get_if<bool>(&value)) out.i = *b ? 1 : 0;
  if (auto* s = std::get_if<std::string>(&value)) out.s = std::move(*s);
  if (auto* list = std::get_if<std::vector<double>>(&value)) out.floats = std::move(*list);
  return out;
}

Result<Value> evaluate(const AttrDeclaration& declaration, const Scope& scope) {
  if (!declaration.is_list) return declaration.items[0].evaluate(scope);
  Value::List items;
  for (const Template& item : declaration.items) {
    RT_TRY(Value value, item.evaluate(scope));
    items.push_back(std::move(value));
  }
  return Value(std::move(items));
}

// What a KV layer says about the node that uses it, under the attribute names it goes by.
std::array<std::pair<std::string_view, std::int64_t>, 4> facts(const KvLayer& layer) {
  return {{{"heads", layer.query_heads},
           {"kv_heads", layer.kv_heads},
           {"head_width", layer.head_width},
           {"window", layer.window}}};
}

Status check_known(const NodeDeclaration& declaration, const GraphNode& node) {
  std::vector<std::string> known;
  for (std::uint32_t a = 0; a < node.schema->attr_count; ++a) {
    known.emplace_back(node.schema->attrs[a]->name);
  }
  for (const AttrDeclaration& given : declaration.attrs) {
    if (std::find(known.begin(), known.end(), given.name) != known.end()) continue;
    return bad_input_at(given.where, "node " + quote(node.name) + ": " + node.op +
                                         " has no attribute " + quote(given.name) +
                                         did_you_mean(given.name, known));
  }
  return {};
}

}  // namespace

Status complete_attributes(const Expansion& expansion, const NodeDeclaration& declaration,
                           const Scope& scope, GraphNode& node) {
  RT_RETURN_IF_ERROR(check_known(declaration, node));
  for (std::uint32_t a = 0; a < node.schema->attr_count; ++a) {
    const rt_attr_spec& spec = *node.schema->attrs[a];
    const auto given =
        std::find_if(declaration.attrs.begin(), declaration.attrs.end(),
                     [&](const AttrDeclaration& attr) { return attr.name == spec.name; });
    std::optional<Value> value;
    YamlPosition where = node.where;
    if (node.kv_layer != kNone) {
      for (const auto& [name, fact] : facts(expansion.graph.kv_layers[node.kv_layer])) {
        if (name == spec.name) value = Value(fact);
      }
    }
    if (given != declaration.attrs.end()) {
      where = given->where;
      if (value.has_value()) {
        return bad_input_at(where, "node " + quote(node.name) + ": attribute " + quote(spec.name) +
                                       " comes from its state; leave it out here");
      }
      RT_TRY(value, evaluate(*given, scope));
    }
    if (!value.has_value() && spec.required != 0) {
      return node_error(node,
                        node.op + " needs the attribute " + quote(spec.name) + ", " + wanted(spec));
    }
    auto chosen = value.has_value() ? attribute_value(*value) : default_of(spec);
    if (value.has_value() && (!chosen.has_value() || !allows(spec, *chosen))) {
      return bad_input_at(where, "node " + quote(node.name) + ": attribute " + quote(spec.name) +
                                     " of " + node.op + " expects " + wanted(spec) +
                                     ", found the " + value->type_name() + " " +
                                     quote(value->text()));
    }
    node.attrs.push_back(attribute_of(spec, *std::move(chosen)));
  }
  return {};
}

}  // namespace rt
