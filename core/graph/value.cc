// Values and scopes of the expression language.
#include <array>
#include <charconv>

#include "core/base/assert.h"
#include "core/graph/expression.h"

namespace rt {
namespace {

// The shortest decimal text that reads back as the same double; always looks like a real.
std::string real_text(double value) {
  std::array<char, 32> buffer;
  const auto written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  std::string text(buffer.data(), written.ptr);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

}  // namespace

double Value::number() const {
  if (const std::int64_t* i = as_int()) return static_cast<double>(*i);
  RT_ASSERT(as_real() != nullptr);
  return *as_real();
}

std::string Value::type_name() const {
  static constexpr std::array<const char*, 5> kNames = {"int", "real", "bool", "string", "list"};
  return kNames[state_.index()];
}

std::string Value::text() const {
  if (const std::int64_t* i = as_int()) return std::to_string(*i);
  if (const double* f = as_real()) return real_text(*f);
  if (const bool* b = as_bool()) return *b ? "true" : "false";
  if (const std::string* s = as_string()) return *s;
  constexpr std::size_t kShown = 6;  // LongRoPE's lists have 48 elements
  std::string out = "[";
  for (std::size_t i = 0; i < as_list()->size(); ++i) {
    if (i > 0) out += ", ";
    if (i == kShown) {
      out += "...";
      break;
    }
    out += (*as_list())[i].text();
  }
  return out + "]";
}

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent_) {
    if (const auto found = scope->values_.find(name); found != scope->values_.end()) {
      return &found->second;
    }
  }
  return nullptr;
}

bool Scope::define(const std::string& name, Value value) {
  if (find(name) != nullptr) return false;
  values_.emplace(name, std::move(value));
  return true;
}

std::vector<std::string> Scope::names() const {
  std::vector<std::string> names;
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent_) {
    for (const auto& [name, value] : scope->values_) names.push_back(name);
  }
  return names;
}

}  // namespace rt
