// A node's attributes: what the file gives, held against the schema; what its KV layer gives; and
// the schema's defaults for the rest. Plugins are shown all of them, in the schema's order.
#include <algorithm>
#include <array>
#include <cmath>

#include "core/base/text.h"
#include "core/graph/expansion.h"
#include "core/graph/infer.h"

namespace rt {
namespace {

std::vector<std::string> split_choices(const char* choices) {
  std::vector<std::string> out(1);
  for (const char* c = choices; *c != 0; ++c) {
    if (*c == '|') {
      out.emplace_back();
    } else {
      out.back() += *c;
    }
  }
  return out;
}

const char* type_text(rt_attr_type type) {
  switch (type) {
    case RT_ATTR_INT:
      return "an int";
    case RT_ATTR_FLOAT:
      return "a number";
    case RT_ATTR_BOOL:
      return "true or false";
    case RT_ATTR_STRING:
      return "a string";
    default:
      return "a list of numbers";
  }
}

// A spec whose bounds are both 0 sets none.
bool in_range(const rt_attr_spec& spec, double value) {
  if (!std::isfinite(value)) return false;
  return (spec.minimum == 0 && spec.maximum == 0) ||
         (value >= spec.minimum && value <= spec.maximum);
}

std::string wanted(const rt_attr_spec& spec) {
  if (spec.type == RT_ATTR_STRING && spec.choices != nullptr) {
    return "one of " + join(split_choices(spec.choices), ", ");
  }
  std::string out = type_text(spec.type);
  const bool ranged = spec.type == RT_ATTR_INT || spec.type == RT_ATTR_FLOAT;
  if (ranged && (spec.minimum != 0 || spec.maximum != 0)) {
    const auto bound = [&](double value) {
      return spec.type == RT_ATTR_INT && std::fabs(value) < 9e15
                 ? std::to_string(static_cast<std::int64_t>(value))
                 : Value(value).text();
    };
    out += " from " + bound(spec.minimum) + " to " + bound(spec.maximum);
  }
  return out;
}

// True if `value` is what the spec wants; then `out` holds it.
bool convert(const rt_attr_spec& spec, const Value& value, Attribute& out) {
  switch (spec.type) {
    case RT_ATTR_INT:
      if (value.as_int() == nullptr || !in_range(spec, value.number())) return false;
      out.i = *value.as_int();
      return true;
    case RT_ATTR_FLOAT:
      if (!value.is_number() || !in_range(spec, value.number())) return false;
      out.f = value.number();
      return true;
    case RT_ATTR_BOOL:
      if (value.as_bool() == nullptr) return false;
      out.i = *value.as_bool() ? 1 : 0;
      return true;
    case RT_ATTR_STRING: {
      if (value.as_string() == nullptr) return false;
      out.s = *value.as_string();
      if (spec.choices == nullptr) return true;
      const std::vector<std::string> choices = split_choices(spec.choices);
      return std::find(choices.begin(), choices.end(), out.s) != choices.end();
    }
    case RT_ATTR_FLOATS:
      if (value.as_list() == nullptr) return false;
      for (const Value& item : *value.as_list()) {
        if (!item.is_number()) return false;
        out.floats.push_back(item.number());
      }
      return true;
    default:
      return false;
  }
}

Attribute default_of(const rt_attr_spec& spec) {
  Attribute out;
  out.name = spec.name;
  out.type = spec.type;
  out.i = spec.type == RT_ATTR_INT || spec.type == RT_ATTR_BOOL ? spec.default_i : 0;
  out.f = spec.type == RT_ATTR_FLOAT ? spec.default_f : 0;
  if (spec.type == RT_ATTR_STRING && spec.default_s != nullptr) out.s = spec.default_s;
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
    Attribute attribute = default_of(spec);
    if (value.has_value() && !convert(spec, *value, attribute)) {
      return bad_input_at(where, "node " + quote(node.name) + ": attribute " + quote(spec.name) +
                                     " of " + node.op + " expects " + wanted(spec) +
                                     ", found the " + value->type_name() + " " +
                                     quote(value->text()));
    }
    if (!value.has_value() && spec.required != 0) {
      return node_error(node,
                        node.op + " needs the attribute " + quote(spec.name) + ", " + wanted(spec));
    }
    node.attrs.push_back(std::move(attribute));
  }
  return {};
}

}  // namespace rt
