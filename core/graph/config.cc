// config.json is a stranger's file: each field is found, typed and held against its range before
// anything is computed from it.
#include "core/graph/config.h"

#include <algorithm>
#include <cmath>

#include "core/base/json.h"
#include "core/base/text.h"

namespace rt {
namespace {

// The JSON value, short, for errors. A string keeps its quotes: "4096" is not 4096.
std::string show(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 60) + "..." : text;
}

class Binder {
 public:
  Binder(const Json& json, const std::string& path, const Scope& scope)
      : json_(json), path_(path), scope_(scope) {}

  Result<Value> bind(const ConfigBinding& binding, std::string& origin) const {
    for (const std::string& key : binding.keys) {
      RT_TRY(const Json* found, find(key, binding));
      if (found == nullptr || found->is_null()) continue;
      origin = "config.json: " + key;
      return convert(binding, key, *found);
    }
    origin = "absent from config.json";
    if (binding.absent.has_value()) return binding.absent->evaluate(scope_);
    return bad_input(path_ + ": " + join(binding.keys, " or ") + " is missing or null; expected " +
                     wanted(binding) + bound_by(binding));
  }

 private:
  // The value at a dotted key, or nullptr. What stands in the way must be an object or null.
  Result<const Json*> find(const std::string& key, const ConfigBinding& binding) const {
    const Json* at = &json_;
    std::size_t begin = 0;
    while (true) {
      const std::size_t dot = std::min(key.find('.', begin), key.size());
      const auto found = at->find(key.substr(begin, dot - begin));
      if (found == at->end() || found->is_null()) return static_cast<const Json*>(nullptr);
      if (dot == key.size()) return &*found;
      if (!found->is_object()) {
        return bad_input(path_ + ": " + key.substr(0, dot) + " is " + show(*found) +
                         ", expected an object or null" + bound_by(binding));
      }
      at = &*found;
      begin = dot + 1;
    }
  }

  static std::string number(const ConfigBinding& binding, double bound) {
    return binding.type == ConfigType::kInt ? Value(static_cast<std::int64_t>(bound)).text()
                                            : Value(bound).text();
  }

  static std::string wanted(const ConfigBinding& binding) {
    switch (binding.type) {
      case ConfigType::kBool:
        return "true or false";
      case ConfigType::kString:
        return binding.choices.empty() ? "a string" : "one of " + join(binding.choices, ", ");
      case ConfigType::kStrings:
        return "a list of " +
               (binding.choices.empty() ? "strings" : join(binding.choices, " and "));
      default:
        break;
    }
    std::string out = binding.type == ConfigType::kInt    ? "an integer"
                      : binding.type == ConfigType::kReal ? "a number"
                                                          : "a list of numbers";
    const bool low = binding.minimum > -1e300;
    const bool high = binding.maximum < 1e300;
    if (low) out += (high ? " from " : " of at least ") + number(binding, binding.minimum);
    if (high) out += (low ? " to " : " of at most ") + number(binding, binding.maximum);
    return out;
  }

  static std::string bound_by(const ConfigBinding& binding) {
    return " (" + binding.where.text() + " binds it to " + quote(binding.name) + ")";
  }

  Error wrong(const ConfigBinding& binding, const std::string& key, const Json& found) const {
    return bad_input(path_ + ": " + key + " is " + show(found) + ", expected " + wanted(binding) +
                     bound_by(binding));
  }

  static bool in_range(const ConfigBinding& binding, double value) {
    return std::isfinite(value) && value >= binding.minimum && value <= binding.maximum;
  }

  Result<Value> convert(const ConfigBinding& binding, const std::string& key,
                        const Json& json) const {
    switch (binding.type) {
      case ConfigType::kInt:
        // Beyond 2^53 the double is rounded, but such a bound is beyond every range we have.
        if (!json.is_number_integer() || !in_range(binding, json.get<double>())) break;
        return Value(json.get<std::int64_t>());
      case ConfigType::kReal:
        if (!json.is_number() || !in_range(binding, json.get<double>())) break;
        return Value(json.get<double>());
      case ConfigType::kBool:
        if (!json.is_boolean()) break;
        return Value(json.get<bool>());
      case ConfigType::kString:
        if (!is_choice(binding, json)) break;
        return Value(json.get<std::string>());
      case ConfigType::kReals:
      case ConfigType::kStrings:
        return list(binding, key, json);
    }
    return wrong(binding, key, json);
  }

  static bool is_choice(const ConfigBinding& binding, const Json& json) {
    if (!json.is_string()) return false;
    const auto& choices = binding.choices;
    return choices.empty() || std::find(choices.begin(), choices.end(),
                                        json.get_ref<const std::string&>()) != choices.end();
  }

  Result<Value> list(const ConfigBinding& binding, const std::string& key, const Json& json) const {
    constexpr std::size_t kLongest = kMaxLayers;  // layer types; rope factors are half a head
    if (!json.is_array() || json.size() > kLongest) return wrong(binding, key, json);
    const bool reals = binding.type == ConfigType::kReals;
    Value::List items;
    for (const Json& item : json) {
      const bool fair = reals ? item.is_number() && in_range(binding, item.get<double>())
                              : is_choice(binding, item);
      if (!fair) return wrong(binding, key + "[" + std::to_string(items.size()) + "]", item);
      items.push_back(reals ? Value(item.get<double>()) : Value(item.get<std::string>()));
    }
    return Value(std::move(items));
  }

  const Json& json_;
  const std::string& path_;
  const Scope& scope_;
};

Status check_architecture(const GraphDocument& document, const Json& json,
                          const std::string& path) {
  const auto found = json.find("architectures");
  if (document.architectures.empty()) return {};
  if (found == json.end() || found->is_null()) {
    return bad_input(path + ": architectures is missing or null; expected " +
                     join(document.architectures, " or ") + ", which " + document.path +
                     " describes; if the model is one, add it as a list of one name");
  }
  std::vector<std::string> names;
  const Json list = found->is_array() ? *found : Json::array({*found});
  for (const Json& item : list) {
    if (!item.is_string()) {
      return bad_input(path + ": architectures holds " + show(item) + ", expected names");
    }
    names.push_back(item.get<std::string>());
    const auto& known = document.architectures;
    if (std::find(known.begin(), known.end(), names.back()) != known.end()) return {};
  }
  return bad_input(path + ": architectures is " + quote(join(names, ", ")) + ", but " +
                   document.path + " describes " + join(document.architectures, ", ") +
                   "; choose the graph that was written for this model");
}

// Keys by which published models of one block change what another computes, with tensors of the
// same names and shapes, so that nothing else would tell.
constexpr const char* kKeysOfMathematics[] = {
    "alibi",
    "attention_bias",
    "attention_multiplier",
    "attn_logit_softcapping",
    "clip_qkv",
    "embedding_multiplier",
    "final_logit_softcapping",
    "layer_types",
    "logit_scale",
    "logits_scaling",
    "mlp_bias",
    "no_rope_layers",
    "partial_rotary_factor",
    "qk_layernorm",
    "query_pre_attn_scalar",
    "residual_multiplier",
    "rope_parameters",
    "rope_scaling",
    "sliding_window",
    "use_parallel_residual",
    "use_qk_norm",
};

// Null, off, 1 and lists of nothing but these change nothing.
bool is_neutral(const Json& value) {
  if (value.is_null()) return true;
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value.get<double>() == 1.0;
  if (value.is_string()) return value.get_ref<const std::string&>() == "full_attention";
  return std::all_of(value.begin(), value.end(), is_neutral);
}

bool is_read(const GraphDocument& document, const std::string& key) {
  for (const ConfigBinding& binding : document.config) {
    for (const std::string& bound : binding.keys) {
      if (bound == key || bound.starts_with(key + ".")) return true;
    }
  }
  return false;
}

// The type a value must have, as Value::type_name says it.
const char* type_name(ConfigType type) {
  switch (type) {
    case ConfigType::kInt:
      return "int";
    case ConfigType::kReal:
      return "real";
    case ConfigType::kBool:
      return "bool";
    case ConfigType::kString:
      return "string";
    case ConfigType::kReals:
    case ConfigType::kStrings:
      break;
  }
  return "list";
}

}  // namespace

std::vector<std::string> unread_config(const GraphDocument& document, const Json& json) {
  std::vector<std::string> notes;
  const auto uses_window = json.find("use_sliding_window");
  const bool no_window = uses_window != json.end() && *uses_window == false;
  for (const std::string key : kKeysOfMathematics) {
    const auto found = json.find(key);
    if (found == json.end() || is_neutral(*found) || is_read(document, key)) continue;
    if (key == "sliding_window" && no_window) continue;
    notes.push_back("config.json: " + key + " is " + show(*found) + ", which " + document.path +
                    " does not read; if the model computes with it, its answers are not these");
  }
  return notes;
}

Status bind_config(const GraphDocument& document, const Json* json, const std::string& json_path,
                   Scope& scope, std::vector<ConfigValue>& bound) {
  if (json != nullptr && !json->is_object()) {
    return bad_input(json_path + ": expected an object, found " + show(*json));
  }
  if (json != nullptr) RT_RETURN_IF_ERROR(check_architecture(document, *json, json_path));
  for (const ConfigBinding& binding : document.config) {
    std::string origin = "assumed";
    Value value;
    if (json != nullptr) {
      RT_TRY(value, Binder(*json, json_path, scope).bind(binding, origin));
    } else if (binding.fallback.has_value()) {
      value = *binding.fallback;
    } else {
      RT_TRY(value, binding.absent->evaluate(scope));
    }
    if (binding.type == ConfigType::kReal && value.as_int() != nullptr) value = value.number();
    if (value.type_name() != type_name(binding.type)) {
      return bad_input_at(binding.where, "config " + quote(binding.name) + " is a " +
                                             type_name(binding.type) + ", but its 'absent' gives " +
                                             quote(value.text()));
    }
    bound.push_back({binding.name, value.text(), origin});
    if (!scope.define(binding.name, std::move(value))) {
      return bad_input_at(binding.where, quote(binding.name) + " is defined twice");
    }
  }
  return {};
}

}  // namespace rt
