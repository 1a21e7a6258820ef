#include "core/base/options.h"

#include <charconv>
#include <cmath>

#include "core/base/text.h"

namespace rt {
namespace {

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

Status check_value(const std::string& where, const rt_attr_spec& spec, OptionValue& value) {
  if (allows(spec, value)) return {};
  const auto* text = std::get_if<std::string>(&value);
  return bad_input(where + ": " + quote(spec.name) + ": expected " + wanted(spec) + ", found " +
                   describe(value) +
                   (text == nullptr ? "" : did_you_mean(*text, choices_of(spec))));
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
                       wanted(*spec));
    }
    Option option{spec->name, found != nullptr ? found->value : default_of(*spec)};
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
