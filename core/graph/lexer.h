// The words of an expression; private to core/graph.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/base/yaml.h"

namespace rt {

constexpr bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

struct Token {
  enum class Kind : std::uint8_t { kEnd, kInt, kReal, kString, kName, kSign };
  Kind kind = Kind::kEnd;
  std::string text;  // without quotes
  std::uint32_t offset = 0;
};

// The tokens of `text`, which stands at `where`; the last is kEnd.
Result<std::vector<Token>> lex_expression(std::string_view text, const YamlPosition& where);

}  // namespace rt
