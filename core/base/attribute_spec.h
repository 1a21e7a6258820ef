// What an rt_attr_spec allows (the rules are in core/sdk/abi.h): one reading of it for the options
// of planners and devices, the attributes of nodes, and the defaults that a plugin declares.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "core/sdk/abi.h"

namespace rt {

// Of types RT_ATTR_INT, RT_ATTR_FLOAT, RT_ATTR_BOOL, RT_ATTR_STRING, RT_ATTR_FLOATS.
using AttributeValue = std::variant<std::int64_t, double, bool, std::string, std::vector<double>>;

// True if the spec allows `value`; an integer has become a real number where the spec wants one.
bool allows(const rt_attr_spec& spec, AttributeValue& value);

// Of RT_ATTR_INT and RT_ATTR_FLOAT.
bool in_range(const rt_attr_spec& spec, double number);

// "an integer from 0 to 20", "one of silu, gelu_tanh"
std::string wanted(const rt_attr_spec& spec);

// "a|b|c" in words; none where the spec has no choices.
std::vector<std::string> choices_of(const rt_attr_spec& spec);

AttributeValue default_of(const rt_attr_spec& spec);

}  // namespace rt
