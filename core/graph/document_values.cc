// `config:`, `let:` and `chat:` of a graph file.
#include <algorithm>
#include <array>
#include <limits>

#include "core/base/text.h"
#include "core/graph/document_parts.h"

namespace rt {
namespace {

// A size, unless the file says otherwise: config.json's ints are widths and counts.
constexpr double kSmallestInt = 1;
constexpr double kGreatestInt = 2147483647;

constexpr std::array<std::pair<const char*, ConfigType>, 6> kTypes = {{
    {"int", ConfigType::kInt},
    {"real", ConfigType::kReal},
    {"bool", ConfigType::kBool},
    {"string", ConfigType::kString},
    {"reals", ConfigType::kReals},
    {"strings", ConfigType::kStrings},
}};

Result<Value> read_constant(const YamlNode& node, ConfigType type) {
  switch (type) {
    case ConfigType::kInt: {
      RT_TRY(const std::int64_t value, node.as_int());
      return Value(value);
    }
    case ConfigType::kReal: {
      RT_TRY(const double value, node.as_real());
      return Value(value);
    }
    case ConfigType::kBool: {
      RT_TRY(const bool value, node.as_bool());
      return Value(value);
    }
    case ConfigType::kString: {
      RT_TRY(std::string value, node.as_string());
      return Value(std::move(value));
    }
    case ConfigType::kReals:
    case ConfigType::kStrings:
      break;
  }
  if (!node.is_sequence()) return node.expected("a list");
  const ConfigType of = type == ConfigType::kReals ? ConfigType::kReal : ConfigType::kString;
  Value::List items;
  for (const YamlNode& item : node.items) {
    RT_TRY(Value value, read_constant(item, of));
    items.push_back(std::move(value));
  }
  return Value(std::move(items));
}

// `int: hidden_size` or `real: [rope_theta, rope_parameters.rope_theta]`.
Status read_type(YamlMapping& mapping, const YamlNode& node, ConfigBinding& out) {
  const YamlNode* keys = nullptr;
  for (const auto& [word, type] : kTypes) {
    const YamlNode* found = mapping.find(word);
    if (found == nullptr) continue;
    if (keys != nullptr) return bad_input_at(found->where, "a binding has one type, found two");
    keys = found;
    out.type = type;
  }
  if (keys == nullptr) {
    return bad_input_at(node.where, "config " + quote(out.name) +
                                        " needs a type and its key: int, real, bool, string, "
                                        "reals or strings (D: {int: hidden_size, default: 3072})");
  }
  RT_TRY(out.keys, keys->as_strings());
  if (out.keys.empty()) return keys->expected("at least one key of config.json");
  return {};
}

Status read_range(YamlMapping& mapping, ConfigBinding& out) {
  const bool whole = out.type == ConfigType::kInt;
  out.minimum = whole ? kSmallestInt : std::numeric_limits<double>::lowest();
  out.maximum = whole ? kGreatestInt : std::numeric_limits<double>::max();
  const bool ranged = whole || out.type == ConfigType::kReal || out.type == ConfigType::kReals;
  for (const auto& [key, bound] : {std::pair{"min", &out.minimum}, {"max", &out.maximum}}) {
    if (!ranged) continue;  // finish() then refuses the key
    if (const YamlNode* node = mapping.find(key)) {
      RT_TRY(*bound, node->as_real());
    }
  }
  if (out.type == ConfigType::kString || out.type == ConfigType::kStrings) {
    if (const YamlNode* node = mapping.find("choices")) {
      RT_TRY(out.choices, node->as_strings());
    }
  }
  return {};
}

Result<ConfigBinding> read_binding(const YamlNode::Entry& entry) {
  const YamlNode& node = entry.value;
  RT_TRY(YamlMapping mapping, YamlMapping::of(node, "config " + quote(entry.key)));
  ConfigBinding out;
  out.name = entry.key;
  out.where = entry.where;
  RT_RETURN_IF_ERROR(check_name(out.name, entry.where));
  RT_RETURN_IF_ERROR(read_type(mapping, node, out));
  RT_RETURN_IF_ERROR(read_range(mapping, out));
  const YamlNode* fallback = mapping.find("default");
  if (fallback != nullptr) {
    RT_TRY(out.fallback, read_constant(*fallback, out.type));
  }
  const bool literal = out.type == ConfigType::kString || out.type == ConfigType::kReals ||
                       out.type == ConfigType::kStrings;
  if (const YamlNode* absent = mapping.find("absent"); absent != nullptr && literal) {
    RT_TRY(Value value, read_constant(*absent, out.type));
    out.absent = Expression::constant(std::move(value), absent->where);
  } else if (absent != nullptr) {
    RT_TRY(out.absent, Expression::parse(*absent));
  }
  if (!out.fallback.has_value() && !out.absent.has_value()) {
    return bad_input_at(node.where, "config " + quote(out.name) +
                                        " needs 'default' (the published model's value) or "
                                        "'absent', so that a plan needs no checkpoint");
  }
  RT_RETURN_IF_ERROR(mapping.finish());
  return out;
}

Result<ChatTurnDeclaration> read_turn(const YamlNode& node) {
  RT_TRY(YamlMapping mapping, YamlMapping::of(node, "a chat turn"));
  ChatTurnDeclaration out;
  RT_TRY(out.prefix, find_string(mapping, "prefix", ""));
  RT_TRY(out.suffix, find_string(mapping, "suffix", ""));
  RT_RETURN_IF_ERROR(mapping.finish());
  return out;
}

Result<bool> find_bool(YamlMapping& mapping, std::string_view key) {
  const YamlNode* node = mapping.find(key);
  return node == nullptr ? Result<bool>(false) : node->as_bool();
}

}  // namespace

Status check_name(const std::string& name, const YamlPosition& where) {
  if (is_identifier(name)) return {};
  return bad_input_at(where,
                      "expected a name (letters, digits, _; no word of the expression "
                      "language), found " +
                          quote(name));
}

Result<Expression> need_expression(YamlMapping& mapping, std::string_view key) {
  RT_TRY(const YamlNode* node, mapping.need(key));
  return Expression::parse(*node);
}

Result<std::optional<Expression>> find_expression(YamlMapping& mapping, std::string_view key) {
  const YamlNode* node = mapping.find(key);
  if (node == nullptr) return std::optional<Expression>();
  RT_TRY(Expression expression, Expression::parse(*node));
  return std::optional<Expression>(std::move(expression));
}

Result<std::string> find_string(YamlMapping& mapping, std::string_view key,
                                const std::string& fallback) {
  const YamlNode* node = mapping.find(key);
  return node == nullptr ? Result<std::string>(fallback) : node->as_string();
}

Result<std::vector<LetBinding>> read_lets(const YamlNode& node) {
  if (!node.is_mapping()) return node.expected("a mapping of names to expressions");
  std::vector<LetBinding> out;
  for (const YamlNode::Entry& entry : node.entries) {
    RT_RETURN_IF_ERROR(check_name(entry.key, entry.where));
    RT_TRY(Expression value, Expression::parse(entry.value));
    out.push_back({entry.key, std::move(value)});
  }
  return out;
}

Result<std::vector<ConfigBinding>> read_config(const YamlNode& node) {
  if (!node.is_mapping()) return node.expected("a mapping of names to fields of config.json");
  std::vector<ConfigBinding> out;
  for (const YamlNode::Entry& entry : node.entries) {
    RT_TRY(ConfigBinding binding, read_binding(entry));
    out.push_back(std::move(binding));
  }
  return out;
}

Result<ChatDeclaration> read_chat(const YamlNode& node) {
  RT_TRY(YamlMapping mapping, YamlMapping::of(node, "chat"));
  ChatDeclaration out;
  RT_TRY(out.bos, find_string(mapping, "bos", ""));
  if (const YamlNode* system = mapping.find("system")) {
    RT_TRY(out.system, read_turn(*system));
  } else if (const YamlNode* none = mapping.find("no_system")) {
    RT_TRY(const std::string word, none->as_string());
    if (word != "refuse" && word != "drop") return none->expected("refuse or drop");
    out.drop_system = word == "drop";
  }
  RT_TRY(const YamlNode* user, mapping.need("user"));
  RT_TRY(out.user, read_turn(*user));
  RT_TRY(const YamlNode* assistant, mapping.need("assistant"));
  RT_TRY(out.assistant, read_turn(*assistant));
  RT_TRY(out.generation_prompt, find_string(mapping, "generation_prompt", ""));
  RT_TRY(out.trim, find_bool(mapping, "trim"));
  RT_TRY(out.must_alternate, find_bool(mapping, "must_alternate"));
  RT_TRY(const YamlNode* end_tokens, mapping.need("end_tokens"));
  RT_TRY(out.end_tokens, end_tokens->as_strings());
  RT_RETURN_IF_ERROR(mapping.finish());
  return out;
}

}  // namespace rt
