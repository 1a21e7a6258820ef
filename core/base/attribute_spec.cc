#include "core/base/attribute_spec.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/base/text.h"

namespace rt {
namespace {

const char* type_text(rt_attr_type type) {
  switch (type) {
    case RT_ATTR_INT:
      return "an integer";
    case RT_ATTR_FLOAT:
      return "a number";
    case RT_ATTR_BOOL:
      return "true or false";
    case RT_ATTR_STRING:
      return "a string";
    case RT_ATTR_FLOATS:
      return "a list of numbers";
    default:
      return "what this runtime does not know";
  }
}

bool is_bounded(const rt_attr_spec& spec) {
  const bool number = spec.type == RT_ATTR_INT || spec.type == RT_ATTR_FLOAT;
  return number && (spec.minimum != 0 || spec.maximum != 0);
}

std::string bound_text(const rt_attr_spec& spec, double bound) {
  if (spec.type == RT_ATTR_INT && std::fabs(bound) < 9e15) {
    return std::to_string(static_cast<std::int64_t>(bound));
  }
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof text, bound).ptr);
}

bool is_finite(double number) {
  return std::isfinite(number);
}

}  // namespace

bool in_range(const rt_attr_spec& spec, double number) {
  if (!std::isfinite(number)) return false;
  return !is_bounded(spec) || (number >= spec.minimum && number <= spec.maximum);
}

std::vector<std::string> choices_of(const rt_attr_spec& spec) {
  std::vector<std::string> choices;
  if (spec.choices == nullptr) return choices;
  choices.emplace_back();
  for (const char* c = spec.choices; *c != '\0'; ++c) {
    if (*c == '|') {
      choices.emplace_back();
    } else {
      choices.back() += *c;
    }
  }
  return choices;
}

std::string wanted(const rt_attr_spec& spec) {
  if (spec.type == RT_ATTR_STRING && spec.choices != nullptr) {
    return "one of " + join(choices_of(spec), ", ");
  }
  if (!is_bounded(spec)) return type_text(spec.type);
  return std::string(type_text(spec.type)) + " from " + bound_text(spec, spec.minimum) + " to " +
         bound_text(spec, spec.maximum);
}

bool allows(const rt_attr_spec& spec, AttributeValue& value) {
  if (const auto* i = std::get_if<std::int64_t>(&value); i != nullptr) {
    if (spec.type == RT_ATTR_FLOAT) value = static_cast<double>(*i);
  }
  switch (spec.type) {
    case RT_ATTR_INT:
      return std::holds_alternative<std::int64_t>(value) &&
             in_range(spec, static_cast<double>(std::get<std::int64_t>(value)));
    case RT_ATTR_FLOAT:
      return std::holds_alternative<double>(value) && in_range(spec, std::get<double>(value));
    case RT_ATTR_BOOL:
      return std::holds_alternative<bool>(value);
    case RT_ATTR_STRING: {
      const auto* text = std::get_if<std::string>(&value);
      if (text == nullptr || spec.choices == nullptr) return text != nullptr;
      const std::vector<std::string> choices = choices_of(spec);
      return std::find(choices.begin(), choices.end(), *text) != choices.end();
    }
    case RT_ATTR_FLOATS: {
      const auto* list = std::get_if<std::vector<double>>(&value);
      return list != nullptr && std::all_of(list->begin(), list->end(), is_finite);
    }
    default:
      return false;
  }
}

AttributeValue default_of(const rt_attr_spec& spec) {
  switch (spec.type) {
    case RT_ATTR_INT:
      return spec.default_i;
    case RT_ATTR_FLOAT:
      return spec.default_f;
    case RT_ATTR_BOOL:
      return spec.default_i != 0;
    case RT_ATTR_STRING:
      return std::string(spec.default_s == nullptr ? "" : spec.default_s);
    default:
      return std::vector<double>{};
  }
}

}  // namespace rt
