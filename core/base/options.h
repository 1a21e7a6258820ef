// An owned list of named constants that can be shown to a plugin as rt_attr structs: options of a
// planner or device. Checked against specs here, in one place, so that every wrong option reads the
// same ("unknown option 'x'; did you mean 'y'?").
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "core/base/attribute_spec.h"
#include "core/base/result.h"
#include "core/sdk/abi.h"

namespace rt {

using OptionValue = AttributeValue;

struct Option {
  std::string name;
  OptionValue value;
};

// Stable storage behind a span of `const rt_attr*`; movable, the pointers stay valid.
class OptionList {
 public:
  OptionList() = default;
  explicit OptionList(std::span<const Option> options) {
    for (const Option& option : options) add(option);
  }
  OptionList(OptionList&&) = default;
  OptionList& operator=(OptionList&&) = default;
  OptionList(const OptionList&) = delete;
  OptionList& operator=(const OptionList&) = delete;

  void add(const Option& option);
  std::span<const rt_attr* const> view() const { return pointers_; }

 private:
  struct Entry {
    Option option;
    rt_attr c{};
  };
  std::deque<Entry> entries_;  // a deque does not move its elements
  std::vector<const rt_attr*> pointers_;
};

// Checks names, types, ranges and choices, converts int to float where the spec says so, and adds
// every default. `where` names the owner in errors ("planner 'elastic'").
Result<std::vector<Option>> complete_options(const std::string& where,
                                             std::span<const Option> given,
                                             std::span<const rt_attr_spec* const> specs);

// "4" -> int, "0.5" -> real, "true" -> bool, anything else a string: for key=value on the command
// line.
OptionValue parse_option_value(const std::string& text);

}  // namespace rt
