// Every setting of the command, once: its key in a config, its flags, its type, range and built-in
// value. Parsing, the environment, --set, config files, --help and --print-config all read this
// table; a new setting is a new row of setting.cc.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"

namespace rt {

enum class Verb {
  kGenerate,
  kChat,
  kPlan,
  kPerplexity,
  kBench,
  kQuantize,
  kTokenize,
  kRender,
  kPlugins,
  kGraph
};

constexpr std::uint32_t verb_bit(Verb verb) {
  return 1u << static_cast<std::uint32_t>(verb);
}

enum class ValueKind {
  kText,
  kFlag,
  kInteger,
  kReal,
  kCount,    // tokens: 4096, 4k, 32K; -1 where minimum < 0
  kSize,     // bytes: 8GiB
  kTexts,    // repeatable, each as it is
  kNames,    // repeatable, or with commas between
  kPairs,    // name=value; in a config a mapping of free names
  kFormats,  // a name, or name=value with commas between; in a config also a mapping
};

struct Setting {
  const char* key;    // "sampling.top_k"
  const char* flags;  // "-n,--max-new-tokens,..."; the first long one names it; "" for none
  ValueKind kind;
  const char* value;  // built-in; "" for none
  double minimum;     // of numbers, inclusive unless `open`
  double maximum;
  std::uint32_t verbs;
  bool in_config;  // may stand in a config file and in --set
  const char* metavar;
  const char* help;
  const char* choices = "";  // "a|b": of kText
  bool open = false;         // the minimum itself is refused
};

// `plan --planner all`: every planner, as without the flag, but over what a config says.
inline constexpr const char* kAllPlanners = "all";

std::span<const Setting> all_settings();
const Setting* find_setting(std::string_view key);

// "-n" and "--max-new-tokens" of a setting, in the table's order.
std::vector<std::string> flags_of(const Setting& setting);
// "--max-new-tokens"; "" if it has no flag.
std::string flag_name(const Setting& setting);
// "; did you mean 'sampling.temperature'?" for "temperature", "temp" or "sampling.temprature", and
// for "planner" what is below it; "" if no key of a config is near.
std::string near_keys(const std::string& path);
// "RUNTIME_MAX_NEW_TOKENS"; "" where the environment may not set it.
std::string variable_name(const Setting& setting);

// An Error without the origin if `text` is no value of the setting.
Status check_setting(const Setting& setting, const std::string& text);

// Number of a setting's text that check_setting has accepted.
double real_value(const std::string& text);
std::int64_t integer_value(const std::string& text);
std::uint64_t unsigned_value(const std::string& text);  // of a seed, whose 64 bits are all used

}  // namespace rt
