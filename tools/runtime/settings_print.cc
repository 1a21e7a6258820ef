// --print-config: the settings as a config file that means the same, each line with its origin.
#include <string>

#include "core/base/json.h"
#include "tools/runtime/settings.h"

namespace rt {
namespace {

// A JSON string is a YAML string in double quotes.
std::string quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool is_plain(const std::string& text) {
  return !text.empty() &&
         text.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
             "_./-") == std::string::npos &&
         text[0] != '-';
}

std::string scalar(const Setting& setting, const std::string& text) {
  const bool textual = setting.kind == ValueKind::kText || setting.kind == ValueKind::kTexts ||
                       setting.kind == ValueKind::kNames;
  return !textual || is_plain(text) ? text : quoted(text);
}

std::string sequence(const Setting& setting, const std::vector<std::string>& values) {
  std::string out = "[";
  for (const std::string& value : values) {
    out += (out.size() > 1 ? ", " : "") + scalar(setting, value);
  }
  return out + "]";
}

std::string mapping(const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::string out = "{";
  for (const auto& [name, value] : pairs) {
    out += (out.size() > 1 ? ", " : "") + (is_plain(name) ? name : quoted(name)) + ": " +
           (is_plain(value) ? value : quoted(value));
  }
  return out + "}";
}

// "auto", "nf4", or "{linear: nf4, lm_head: int8}".
std::string formats(const std::vector<std::string>& values) {
  if (values.empty()) return "auto";
  if (values.size() == 1 && values[0].find('=') == std::string::npos) return values[0];
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& value : values) {
    const std::size_t equals = value.find('=');
    pairs.emplace_back(equals == std::string::npos ? "linear" : value.substr(0, equals),
                       value.substr(equals + 1));
  }
  return mapping(pairs);
}

std::string value_text(const Settings& settings, const Setting& setting) {
  switch (setting.kind) {
    case ValueKind::kTexts:
    case ValueKind::kNames:
      return sequence(setting, settings.list(setting.key));
    case ValueKind::kFormats:
      return formats(settings.list(setting.key));
    case ValueKind::kPairs:
      return mapping(settings.pairs(setting.key));
    default:
      return settings.text(setting.key).empty() ? "null"
                                                : scalar(setting, settings.text(setting.key));
  }
}

}  // namespace

std::string Settings::print(std::uint32_t verbs) const {
  std::string out;
  std::string group;
  for (const Setting& setting : all_settings()) {
    if ((setting.verbs & verbs) == 0) continue;
    const std::string key = setting.key;
    const std::size_t dot = key.find('.');
    const std::string head = dot == std::string::npos ? "" : key.substr(0, dot);
    if (head != group && !head.empty()) out += head + ":\n";
    group = head;
    std::string line = (setting.in_config ? "" : "# ") + std::string(head.empty() ? "" : "  ") +
                       (head.empty() ? key : key.substr(dot + 1)) + ": " +
                       value_text(*this, setting);
    constexpr std::size_t kOriginColumn = 44;
    if (line.size() < kOriginColumn) line.resize(kOriginColumn, ' ');
    out += line + "  # " + origin(key) + "\n";
  }
  return out;
}

}  // namespace rt
