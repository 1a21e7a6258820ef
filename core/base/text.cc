#include "core/base/text.h"

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <utility>

namespace rt {
namespace {

constexpr std::size_t kLongestWord = 64;
constexpr std::size_t kMostCandidates = 20'000;  // 2 to 5 us each
constexpr std::size_t kLongestQuote = 80;

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substitution = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitution});
    }
  }
  return row.back();
}

}  // namespace

std::string nearest(std::string_view word, std::span<const std::string> candidates) {
  if (word.size() > kLongestWord || candidates.size() > kMostCandidates) return "";
  std::size_t best_distance = word.size() / 3 + 2;
  std::string best;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > kLongestWord) continue;
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string did_you_mean(std::string_view word, std::span<const std::string> candidates) {
  const std::string neighbour = nearest(word, candidates);
  return neighbour.empty() ? "" : "; did you mean '" + neighbour + "'?";
}

std::string quote(std::string_view text) {
  std::string out = "'";
  for (const char c : text.substr(0, kLongestQuote)) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned char>(c));
      out += escape;
    } else {
      out += c;
    }
  }
  if (text.size() > kLongestQuote) out += "...";
  return out + "'";
}

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = printable(c);
  return out;
}

std::string join(std::span<const std::string> parts, std::string_view separator) {
  std::string out;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out += separator;
    out += parts[i];
  }
  return out;
}

}  // namespace rt
