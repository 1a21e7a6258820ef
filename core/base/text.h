// Small text functions that several layers need: "did you mean", quoting, joining.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rt {

// The candidate nearest to `word` by edit distance, or "" if none is near (distance > 1/3 of the
// word's length + 1). Words longer than 64 bytes, and any among more than 20,000 candidates, have
// no neighbours, so the cost is bounded.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

// "; did you mean 'x'?" or "".
std::string did_you_mean(std::string_view word, std::span<const std::string> candidates);

// `text` in single quotes, control characters escaped, cut at 80 bytes: safe to print.
std::string quote(std::string_view text);

// What can steer a terminal becomes a space or '?': for text that is not ours.
constexpr char printable(char c) {
  if (c == '\n' || c == '\t') return ' ';
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
}
std::string printable(std::string_view text);

std::string join(std::span<const std::string> parts, std::string_view separator);

}  // namespace rt
