// The tree and its typed readings; yaml_parse.cc makes the tree.
#include "core/base/yaml.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>

#include "core/base/text.h"

namespace rt {
namespace {

// One sign at most: from_chars reads a '-', and would behind a '+' too.
std::string_view without_plus(std::string_view number) {
  const bool positive = number.starts_with('+') && !number.starts_with("+-");
  return positive ? number.substr(1) : number;
}

bool is_decimal(std::string_view digits) {
  return !digits.empty() &&
         std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// What a person would call this node in an error.
std::string describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kSequence:
      return "a list";
    case YamlNode::Kind::kMapping:
      return "a mapping";
    case YamlNode::Kind::kScalar:
      break;
  }
  return (node.quoted ? "the quoted text " : "") + quote(node.scalar);
}

}  // namespace

std::string YamlPosition::text() const {
  std::string out = file != nullptr ? *file : "";
  if (line != 0) out += ":" + std::to_string(line) + ":" + std::to_string(column);
  return out;
}

Error bad_input_at(const YamlPosition& where, const std::string& message) {
  return bad_input(where.text() + ": " + message);
}

const YamlNode* YamlNode::find(std::string_view key) const {
  for (const Entry& entry : entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

Error YamlNode::expected(const std::string& what) const {
  return bad_input_at(where, "expected " + what + ", found " + describe(*this));
}

Result<std::int64_t> YamlNode::as_int() const {
  if (!is_scalar() || quoted) return expected("an integer");
  const std::string_view text = without_plus(scalar);
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  if (!is_decimal(digits)) return expected("an integer (decimal digits)");
  if (digits.size() > 1 && digits[0] == '0') {
    return expected("an integer without leading zeros");
  }
  std::int64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc()) return expected("an integer of at most 64 bits");
  return value;
}

Result<std::int64_t> YamlNode::as_int(std::int64_t minimum, std::int64_t maximum) const {
  RT_TRY(const std::int64_t value, as_int());
  if (value < minimum || value > maximum) {
    return expected("an integer from " + std::to_string(minimum) + " to " +
                    std::to_string(maximum));
  }
  return value;
}

Result<double> YamlNode::as_real() const {
  if (!is_scalar() || quoted) return expected("a number");
  const std::string_view text = without_plus(scalar);
  // from_chars reads "inf" and "nan", and ".5"; a number here begins with a digit.
  const std::size_t first = text.starts_with('-') ? 1 : 0;
  if (text.size() <= first || text[first] < '0' || text[first] > '9') {
    return expected("a number such as 0.5 or 1e-5");
  }
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ec == std::errc::result_out_of_range) return expected("a number of double range");
  if (parsed.ec != std::errc() || parsed.ptr != end) {
    return expected("a number such as 0.5 or 1e-5");
  }
  return value;
}

Result<bool> YamlNode::as_bool() const {
  if (is_scalar() && !quoted) {
    if (scalar == "true") return true;
    if (scalar == "false") return false;
  }
  return expected("true or false");
}

Result<std::string> YamlNode::as_string() const {
  if (!is_scalar()) return expected("a text");
  return scalar;
}

Result<std::vector<std::string>> YamlNode::as_strings() const {
  std::vector<std::string> out;
  if (!is_sequence()) {
    RT_TRY(std::string text, as_string());
    out.push_back(std::move(text));
    return out;
  }
  for (const YamlNode& item : items) {
    RT_TRY(std::string text, item.as_string());
    out.push_back(std::move(text));
  }
  return out;
}

Result<YamlMapping> YamlMapping::of(const YamlNode& node, std::string what) {
  if (!node.is_mapping()) return node.expected("a mapping for " + what);
  return YamlMapping(node, std::move(what));
}

const YamlNode* YamlMapping::find(std::string_view key) {
  asked_.emplace_back(key);
  const YamlNode* value = node_->find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Result<const YamlNode*> YamlMapping::need(std::string_view key) {
  const YamlNode* value = find(key);
  if (value != nullptr) return value;
  std::string message = what_ + " needs the key " + quote(key);
  // Misspelled, it is there and nobody has asked for it.
  std::vector<std::string> others;
  for (const YamlNode::Entry& entry : node_->entries) {
    if (std::find(asked_.begin(), asked_.end(), entry.key) == asked_.end()) {
      others.push_back(entry.key);
    }
  }
  const std::string near = nearest(key, others);
  for (const YamlNode::Entry& entry : node_->entries) {
    if (near.empty() || entry.key != near) continue;
    message += "; is " + quote(near) + " in line " + std::to_string(entry.where.line) +
               " a misspelling of it?";
  }
  return bad_input_at(node_->where, message);
}

Status YamlMapping::finish() const {
  for (const YamlNode::Entry& entry : node_->entries) {
    if (std::find(asked_.begin(), asked_.end(), entry.key) == asked_.end()) {
      const std::string neighbour = nearest(entry.key, asked_);
      return bad_input_at(entry.where, what_ + " has no key " + quote(entry.key) +
                                           (neighbour.empty() ? "; it knows " + join(asked_, ", ")
                                                              : did_you_mean(entry.key, asked_)));
    }
  }
  return {};
}

}  // namespace rt
