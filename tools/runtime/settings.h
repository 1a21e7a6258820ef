// The value of every setting with where it came from. A value is replaced only by one of the same
// or a higher level:
//
//   built-in < generation_config.json < config file < --set < environment < command line
//
// (the environment stands above --set because --set speaks for the config file).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "tools/runtime/setting.h"

namespace rt {

enum class Level { kBuiltIn, kGenerationConfig, kConfig, kSet, kEnvironment, kCommandLine };

class Settings {
 public:
  Settings();  // built-in values

  // Checks the values and takes them unless a higher level has spoken. `origin` is for people:
  // "--temp", "RUNTIME_TEMP", "configs/small.yaml:3:12".
  Status assign(const Setting& setting, std::vector<std::string> values, const std::string& origin,
                Level level);
  // `path=value` of --set; the path may go into a mapping of free names (planner.options.x).
  Status assign_path(const std::string& path, const std::string& value, const std::string& origin,
                     Level level);
  // Every RUNTIME_<FLAG> of the environment that is not empty. Ignored under set-uid.
  Status assign_environment(std::uint32_t verbs);

  // True if anybody but the built-in table said it.
  bool given(std::string_view key) const;
  // True if the user said it: in a config, the environment or on the command line.
  bool stated(std::string_view key) const;
  const std::string& origin(std::string_view key) const;
  Level level(std::string_view key) const { return slot(key).level; }

  // Precondition of all: the key exists and has such a type.
  std::string text(std::string_view key) const;  // "" if there is none
  bool flag(std::string_view key) const;
  std::int64_t integer(std::string_view key) const;
  double real(std::string_view key) const;
  std::optional<std::uint64_t> count(std::string_view key) const;  // none for -1
  std::optional<std::uint64_t> seed() const;                       // none for -1: one is drawn
  std::uint64_t bytes(std::string_view key) const;                 // 0 if there is none
  const std::vector<std::string>& list(std::string_view key) const;
  std::vector<std::pair<std::string, std::string>> pairs(std::string_view key) const;

  // The settings of a verb as a config file with origins as comments; what may not stand in one is
  // commented out.
  std::string print(std::uint32_t verbs) const;

 private:
  struct Slot {
    std::vector<std::string> values;
    std::string origin = "built-in";
    Level level = Level::kBuiltIn;
    std::map<std::string, Level> pair_levels{};  // of a mapping: by name, who said it
  };
  const Slot& slot(std::string_view key) const;
  void forget_planner_options(const std::string& planner, Level level);

  std::map<std::string, Slot, std::less<>> slots_;
};

// Variables of the environment that nothing reads and that are called nearly as one that is:
// "'RUNTIME_PLANER'; did you mean 'RUNTIME_PLANNER'?". Others with that beginning may be somebody
// else's.
std::vector<std::string> misspelled_variables();

}  // namespace rt
