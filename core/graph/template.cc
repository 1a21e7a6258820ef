// `$name` and `$(expression)` inside names, messages and attributes.
#include <algorithm>

#include "core/base/text.h"
#include "core/graph/term.h"

namespace rt {
namespace {

constexpr std::size_t kLongestFilled = 4096;

// The length of the identifier at the start of `text`, or 0.
std::size_t identifier_length(std::string_view text) {
  constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
  const std::size_t length = std::min(text.find_first_not_of(kLetters), text.size());
  return is_identifier(text.substr(0, length)) ? length : 0;
}

// The length of "(...)" at the start of `text`, parentheses balanced, or 0. Strings may hold
// parentheses of their own.
std::size_t parenthesis_length(std::string_view text) {
  int open = 0;
  char string = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (string != 0) {
      if (text[i] == string) string = 0;
    } else if (text[i] == '\'' || text[i] == '"') {
      string = text[i];
    } else if (text[i] == '(') {
      ++open;
    } else if (text[i] == ')' && --open == 0) {
      return i + 1;
    }
  }
  return 0;
}

}  // namespace

Result<Template> Template::parse(const YamlNode& node) {
  if (!node.is_scalar()) return node.expected("a text");
  Template out;
  out.where_ = node.where;
  out.quoted_ = node.quoted;
  YamlPosition start = node.where;
  if (node.quoted) ++start.column;
  std::string_view rest = node.scalar;
  std::string literal;
  const auto place = [&] {
    YamlPosition position = start;
    position.column += static_cast<std::uint32_t>(rest.data() - node.scalar.data());
    return position;
  };
  while (!rest.empty()) {
    if (rest[0] != '$') {
      literal += rest[0];
      rest.remove_prefix(1);
      continue;
    }
    const YamlPosition dollar = place();
    rest.remove_prefix(1);
    if (rest.starts_with('$')) {
      literal += '$';
      rest.remove_prefix(1);
      continue;
    }
    const bool group = rest.starts_with('(');
    const std::size_t length = group ? parenthesis_length(rest) : identifier_length(rest);
    if (length == 0) {
      return bad_input_at(dollar, "expected $name or $(expression) in " + quote(node.scalar) +
                                      "; a dollar sign is written $$");
    }
    if (!literal.empty()) out.pieces_.push_back({std::move(literal), {}});
    literal.clear();
    RT_TRY(Expression hole, Expression::parse(rest.substr(0, length), place()));
    out.pieces_.push_back({"", std::move(hole)});
    rest.remove_prefix(length);
  }
  if (!literal.empty()) out.pieces_.push_back({std::move(literal), {}});
  return out;
}

Result<std::string> Template::fill(const Scope& scope) const {
  std::string out;
  for (const Piece& piece : pieces_) {
    if (piece.hole.empty()) {
      out += piece.literal;
    } else {
      RT_TRY(const Value value, piece.hole.evaluate(scope));
      out += value.text();
    }
    if (out.size() > kLongestFilled) {
      return bad_input_at(where_, "a text of more than " + std::to_string(kLongestFilled) +
                                      " bytes once its holes are filled");
    }
  }
  return out;
}

Result<Value> Template::evaluate(const Scope& scope) const {
  if (pieces_.size() == 1 && !pieces_[0].hole.empty()) return pieces_[0].hole.evaluate(scope);
  RT_TRY(std::string text, fill(scope));
  const bool plain = !quoted_ && pieces_.size() == 1;
  if (plain) {
    YamlNode scalar;
    scalar.kind = YamlNode::Kind::kScalar;
    scalar.scalar = text;
    if (const auto i = scalar.as_int(); i.ok()) return Value(i.value());
    if (const auto f = scalar.as_real(); f.ok()) return Value(f.value());
    if (const auto b = scalar.as_bool(); b.ok()) return Value(b.value());
  }
  return Value(std::move(text));
}

}  // namespace rt
