#include "tools/runtime/settings.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/text.h"

namespace rt {
namespace {

bool is_list(ValueKind kind) {
  return kind == ValueKind::kTexts || kind == ValueKind::kNames || kind == ValueKind::kPairs ||
         kind == ValueKind::kFormats;
}

std::vector<std::string> split_names(const std::string& text) {
  std::vector<std::string> names(1);
  for (const char c : text) {
    if (c == ',') {
      names.emplace_back();
    } else {
      names.back() += c;
    }
  }
  return names;
}

std::string name_of(const std::string& pair) {
  return pair.substr(0, pair.find('='));
}

// A later pair replaces an earlier one of the same name.
void merge_pairs(std::vector<std::string>& pairs, const std::vector<std::string>& later) {
  for (const std::string& pair : later) {
    std::erase_if(pairs, [&](const std::string& old) { return name_of(old) == name_of(pair); });
    pairs.push_back(pair);
  }
}

Error unknown_path(const std::string& path, const std::string& origin) {
  for (const Setting& setting : all_settings()) {
    if (setting.in_config && path == setting.key) {
      return bad_input(origin + ": " + quote(path) + " is a mapping; set one of its keys, as " +
                       path + ".NAME=VALUE");
    }
  }
  return bad_input(origin + ": unknown key " + quote(path) + near_keys(path));
}

}  // namespace

Settings::Settings() {
  for (const Setting& setting : all_settings()) {
    Slot& slot = slots_[setting.key];
    if (!is_list(setting.kind)) slot.values = {setting.value};
  }
}

const Settings::Slot& Settings::slot(std::string_view key) const {
  const auto found = slots_.find(key);
  RT_ASSERT(found != slots_.end());
  return found->second;
}

Status Settings::assign(const Setting& setting, std::vector<std::string> values,
                        const std::string& origin, Level level) {
  if (setting.kind == ValueKind::kNames || setting.kind == ValueKind::kFormats) {
    std::vector<std::string> names;
    for (const std::string& value : values) {
      for (std::string& name : split_names(value)) names.push_back(std::move(name));
    }
    values = std::move(names);
  }
  for (const std::string& value : values) {
    if (Status checked = check_setting(setting, value); !checked.ok()) {
      return in(origin, std::move(checked).error());
    }
  }
  Slot& slot = slots_[setting.key];
  if (level < slot.level) return {};
  if (std::string_view(setting.key) == "planner.name") forget_planner_options(values.back(), level);
  slot.level = level;
  slot.origin = origin;
  if (setting.kind == ValueKind::kPairs) {
    merge_pairs(slot.values, values);
    for (const std::string& pair : values) slot.pair_levels[name_of(pair)] = level;
  } else {
    slot.values = std::move(values);
  }
  return {};
}

// A config's options are its planner's; those of --set are the user's, for the one they name.
void Settings::forget_planner_options(const std::string& planner, Level level) {
  if (level <= Level::kConfig || planner == text("planner.name")) return;
  Slot& options = slots_["planner.options"];
  std::erase_if(options.values, [&](const std::string& pair) {
    return options.pair_levels[name_of(pair)] <= Level::kConfig;
  });
}

Status Settings::assign_path(const std::string& path, const std::string& value,
                             const std::string& origin, Level level) {
  const Setting* setting = find_setting(path);
  if (setting != nullptr && setting->in_config && setting->kind != ValueKind::kPairs) {
    return assign(*setting, {value}, origin, level);
  }
  for (const Setting& free : all_settings()) {
    const std::string prefix = std::string(free.key) + ".";
    if (free.kind != ValueKind::kPairs || !path.starts_with(prefix)) continue;
    if (path.size() == prefix.size()) break;
    return assign(free, {path.substr(prefix.size()) + "=" + value}, origin, level);
  }
  return unknown_path(path, origin);
}

Status Settings::assign_environment(std::uint32_t verbs) {
  for (const Setting& setting : all_settings()) {
    const std::string name = variable_name(setting);
    if (name.empty() || (setting.verbs & verbs) == 0) continue;
    const char* value = secure_getenv(name.c_str());
    if (value == nullptr || *value == '\0') continue;
    std::string text = value;
    if (setting.kind == ValueKind::kFlag && text == "1") text = "true";
    if (setting.kind == ValueKind::kFlag && text == "0") text = "false";
    RT_RETURN_IF_ERROR(assign(setting, {text}, name, Level::kEnvironment));
  }
  return {};
}

// What is missing from the end of a name was left out rather than misspelled: RUNTIME_PLUGIN means
// RUNTIME_PLUGIN_PATH, although other names are nearer.
static std::string meant_by(const std::string& name, const std::vector<std::string>& known) {
  for (const std::string& full : known) {
    if (full.starts_with(name + "_")) return "; did you mean " + quote(full) + "?";
  }
  return did_you_mean(name, known);
}

std::vector<std::string> misspelled_variables() {
  std::vector<std::string> known{"RUNTIME_MODELS", "RUNTIME_PLUGIN_PATH", "RUNTIME_BUILD_DIR"};
  for (const Setting& setting : all_settings()) {
    if (std::string name = variable_name(setting); !name.empty()) known.push_back(std::move(name));
  }
  std::vector<std::string> found;
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const std::string name(text.substr(0, text.find('=')));
    if (!name.starts_with("RUNTIME_")) continue;
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string meant = meant_by(name, known);
    if (!meant.empty()) found.push_back(quote(name) + meant);
  }
  return found;
}

bool Settings::given(std::string_view key) const {
  return slot(key).level > Level::kBuiltIn;
}
bool Settings::stated(std::string_view key) const {
  return slot(key).level >= Level::kConfig;
}
const std::string& Settings::origin(std::string_view key) const {
  return slot(key).origin;
}

std::string Settings::text(std::string_view key) const {
  const Slot& found = slot(key);
  return found.values.empty() ? "" : found.values.back();
}

bool Settings::flag(std::string_view key) const {
  return text(key) == "true";
}
std::int64_t Settings::integer(std::string_view key) const {
  return integer_value(text(key));
}
double Settings::real(std::string_view key) const {
  return real_value(text(key));
}

std::optional<std::uint64_t> Settings::count(std::string_view key) const {
  const std::string value = text(key);
  if (value == "-1") return std::nullopt;
  const Result<std::uint64_t> parsed = parse_count(value);
  RT_ASSERT(parsed.ok());
  return *parsed;
}

std::optional<std::uint64_t> Settings::seed() const {
  const std::string value = text("sampling.seed");
  if (value == "-1") return std::nullopt;
  return unsigned_value(value);
}

std::uint64_t Settings::bytes(std::string_view key) const {
  const std::string value = text(key);
  if (value.empty()) return 0;
  const Result<std::uint64_t> parsed = parse_bytes(value);
  RT_ASSERT(parsed.ok());
  return *parsed;
}

const std::vector<std::string>& Settings::list(std::string_view key) const {
  return slot(key).values;
}

std::vector<std::pair<std::string, std::string>> Settings::pairs(std::string_view key) const {
  std::vector<std::pair<std::string, std::string>> out;
  for (const std::string& pair : slot(key).values) {
    const std::size_t equals = pair.find('=');
    out.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
  }
  return out;
}

}  // namespace rt
