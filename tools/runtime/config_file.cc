#include "tools/runtime/config_file.h"

#include "core/base/text.h"
#include "core/base/yaml.h"

namespace rt {
namespace {

// Is there a setting below `path` ("sampling" -> "sampling.top_k")?
bool is_group(const std::string& path) {
  for (const Setting& setting : all_settings()) {
    if (setting.in_config && std::string_view(setting.key).starts_with(path + ".")) return true;
  }
  return false;
}

Error unknown_key(const YamlNode::Entry& entry, const std::string& prefix) {
  std::vector<std::string> siblings;
  for (const Setting& setting : all_settings()) {
    const std::string_view key = setting.key;
    if (!setting.in_config || !key.starts_with(prefix)) continue;
    const std::string_view rest = key.substr(prefix.size());
    siblings.emplace_back(rest.substr(0, rest.find('.')));
  }
  std::string hint = did_you_mean(entry.key, siblings);
  if (hint.empty()) hint = near_keys(entry.key);
  return bad_input_at(entry.where, "unknown key " + quote(prefix + entry.key) + hint);
}

Result<std::vector<std::string>> pair_values(const YamlNode& node) {
  if (!node.is_mapping()) return node.expected("a mapping of names to values");
  std::vector<std::string> pairs;
  for (const YamlNode::Entry& entry : node.entries) {
    RT_TRY(const std::string value, entry.value.as_string());
    pairs.push_back(entry.key + "=" + value);
  }
  return pairs;
}

Status read_value(const Setting& setting, const YamlNode& node, Settings& settings) {
  if (node.is_null()) return {};
  std::vector<std::string> values;
  switch (setting.kind) {
    case ValueKind::kPairs: {
      RT_TRY(values, pair_values(node));
      break;
    }
    case ValueKind::kFormats: {
      if (node.is_mapping()) {
        RT_TRY(values, pair_values(node));
        break;
      }
      RT_TRY(std::string value, node.as_string());
      values.push_back(std::move(value));
      break;
    }
    case ValueKind::kTexts:
    case ValueKind::kNames: {
      RT_TRY(values, node.as_strings());
      break;
    }
    default: {
      RT_TRY(std::string value, node.as_string());
      const bool textual = setting.kind == ValueKind::kText || setting.kind == ValueKind::kSize;
      if (node.quoted && !textual) return node.expected("a value without quotes");
      values.push_back(std::move(value));
    }
  }
  return settings.assign(setting, std::move(values), node.where.text(), Level::kConfig);
}

Status read_mapping(const YamlNode& node, const std::string& prefix, Settings& settings) {
  if (node.is_null()) return {};
  if (!node.is_mapping()) {
    Error error = node.expected("a mapping of settings");
    if (!prefix.empty()) error.message += near_keys(prefix.substr(0, prefix.size() - 1));
    return error;
  }
  for (const YamlNode::Entry& entry : node.entries) {
    const std::string path = prefix + entry.key;
    const Setting* setting = find_setting(path);
    if (setting != nullptr && setting->in_config) {
      RT_RETURN_IF_ERROR(read_value(*setting, entry.value, settings));
    } else if (is_group(path)) {
      RT_RETURN_IF_ERROR(read_mapping(entry.value, path + ".", settings));
    } else {
      return unknown_key(entry, prefix);
    }
  }
  return {};
}

}  // namespace

Status read_config(const std::string& path, Settings& settings) {
  RT_TRY(const YamlNode root, read_yaml(path));
  return read_mapping(root, "", settings);
}

}  // namespace rt
