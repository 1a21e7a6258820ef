#include "core/base/options.h"

#include <charconv>
#include <cmath>

#include "core/base/text.h"

namespace rt {
namespace {

const char* type_name(rt_attr_type type) {
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
      return "of a type this runtime does not know";
  }
}

std::string describe(const OptionValue& value) {
  struct Visitor {
    std::string operator()(std::int64_t v) const { return std::to_string(v); }
    std::string operator()(double v) const { return std::to_string(v); }
    std::string operator()(bool v) const { return v ? "true" : "false"; }
    std::string operator()(const std::string& v) const { return quote(v); }
    std::string operator()(const std::vector<double>& v) const {
      return "a list of " + std::to_string(v.size()) + " numbers";
    }
  };
  return std::visit(Visitor{}, value);
}

std::vector<std::string> split_choices(const char* choices) {
  std::vector<std::string> out(1);
  for (const char* c = choices; *c != '\0'; ++c) {
    if (*c == '|') {
      out.emplace_back();
    } else {
      out.back() += *c;
    }
  }
  return out;
}

bool has_type(const OptionValue& value, rt_attr_type type) {
  switch (type) {
    case RT_ATTR_INT:
      return std::holds_alternative<std::int64_t>(value);
    case RT_ATTR_FLOAT:
      return std::holds_alternative<double>(value);
    case RT_ATTR_BOOL:
      return std::holds_alternative<bool>(value);
    case RT_ATTR_STRING:
      return std::holds_alternative<std::string>(value);
    case RT_ATTR_FLOATS:
      return std::holds_alternative<std::vector<double>>(value);
    default:
      return false;
  }
}

std::string number(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return std::string(text, end);
}

Status check_value(const std::string& where, const rt_attr_spec& spec, OptionValue& value) {
  if (spec.type == RT_ATTR_FLOAT && std::holds_alternative<std::int64_t>(value)) {
    value = static_cast<double>(std::get<std::int64_t>(value));
  }
  const std::string name = where + ": " + quote(spec.name);
  if (!has_type(value, spec.type)) {
    return bad_input(name + ": expected " + type_name(spec.type) + ", found " + describe(value));
  }
  if (spec.type == RT_ATTR_INT || spec.type == RT_ATTR_FLOAT) {
    const double x = spec.type == RT_ATTR_INT ? static_cast<double>(std::get<std::int64_t>(value))
                                              : std::get<double>(value);
    if (!(x >= spec.minimum && x <= spec.maximum)) {
      return bad_input(name + ": expected a value in [" + number(spec.minimum) + ", " +
                       number(spec.maximum) + "], found " + describe(value));
    }
  }
  if (spec.type == RT_ATTR_STRING && spec.choices != nullptr) {
    const std::vector<std::string> choices = split_choices(spec.choices);
    const std::string& text = std::get<std::string>(value);
    for (const std::string& choice : choices) {
      if (choice == text) return {};
    }
    return bad_input(name + ": expected " + join(choices, " or ") + ", found " + quote(text) +
                     did_you_mean(text, choices));
  }
  return {};
}

OptionValue default_value(const rt_attr_spec& spec) {
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

}  // namespace

void OptionList::add(const Option& option) {
  Entry& entry = entries_.emplace_back(Entry{option, {}});
  rt_attr& c = entry.c;
  c.struct_size = sizeof(rt_attr);
  c.name = entry.option.name.c_str();
  const OptionValue& value = entry.option.value;
  if (const auto* i = std::get_if<std::int64_t>(&value)) {
    c.type = RT_ATTR_INT;
    c.i = *i;
  } else if (const auto* f = std::get_if<double>(&value)) {
    c.type = RT_ATTR_FLOAT;
    c.f = *f;
  } else if (const auto* b = std::get_if<bool>(&value)) {
    c.type = RT_ATTR_BOOL;
    c.i = *b ? 1 : 0;
  } else if (const auto* s = std::get_if<std::string>(&value)) {
    c.type = RT_ATTR_STRING;
    c.s = s->c_str();
  } else {
    const auto& list = std::get<std::vector<double>>(value);
    c.type = RT_ATTR_FLOATS;
    c.floats = list.data();
    c.count = list.size();
  }
  pointers_.push_back(&c);
}

Result<std::vector<Option>> complete_options(const std::string& where,
                                             std::span<const Option> given,
                                             std::span<const rt_attr_spec* const> specs) {
  std::vector<std::string> names;
  for (const rt_attr_spec* spec : specs) names.emplace_back(spec->name);
  for (const Option& option : given) {
    bool known = false;
    for (const std::string& name : names) known = known || name == option.name;
    if (!known) {
      return bad_input(where + ": unknown option " + quote(option.name) +
                       did_you_mean(option.name, names));
    }
  }
  std::vector<Option> complete;
  for (const rt_attr_spec* spec : specs) {
    const Option* found = nullptr;
    for (const Option& option : given) {
      if (option.name == spec->name) found = &option;
    }
    if (found == nullptr && spec->required != 0) {
      return bad_input(where + ": option " + quote(spec->name) + " is missing; expected " +
                       type_name(spec->type));
    }
    Option option{spec->name, found != nullptr ? found->value : default_value(*spec)};
    if (found != nullptr) RT_RETURN_IF_ERROR(check_value(where, *spec, option.value));
    complete.push_back(std::move(option));
  }
  return complete;
}

OptionValue parse_option_value(const std::string& text) {
  if (text == "true") return true;
  if (text == "false") return false;
  const char* end = text.data() + text.size();
  std::int64_t integer = 0;
  if (const auto [rest, code] = std::from_chars(text.data(), end, integer);
      code == std::errc() && rest == end) {
    return integer;
  }
  double real = 0;
  if (const auto [rest, code] = std::from_chars(text.data(), end, real);
      code == std::errc() && rest == end && std::isfinite(real)) {
    return real;
  }
  return text;
}

}  // namespace rt
