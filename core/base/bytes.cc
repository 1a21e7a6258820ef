#include "core/base/bytes.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace rt {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr double kKi = 1024.0;

constexpr std::array<Unit, 20> kByteUnits{{{"", 1},
                                           {"B", 1},
                                           {"k", kKi},
                                           {"K", kKi},
                                           {"m", kKi* kKi},
                                           {"M", kKi* kKi},
                                           {"g", kKi* kKi* kKi},
                                           {"G", kKi* kKi* kKi},
                                           {"T", kKi* kKi* kKi* kKi},
                                           {"KiB", kKi},
                                           {"MiB", kKi* kKi},
                                           {"GiB", kKi* kKi* kKi},
                                           {"TiB", kKi* kKi* kKi* kKi},
                                           {"kB", 1e3},
                                           {"KB", 1e3},
                                           {"MB", 1e6},
                                           {"GB", 1e9},
                                           {"TB", 1e12},
                                           {"Mi", kKi* kKi},
                                           {"Gi", kKi* kKi* kKi}}};

constexpr std::array<Unit, 5> kCountUnits{
    {{"", 1}, {"k", kKi}, {"K", kKi}, {"m", kKi* kKi}, {"M", kKi* kKi}}};

template <std::size_t N>
Result<std::uint64_t> parse_with(std::string_view text, const std::array<Unit, N>& units,
                                 const char* what, const char* examples) {
  const auto refuse = [&] {
    return bad_input(std::string("'") + std::string(text) + "' is not a " + what + "; write " +
                     examples);
  };
  double number = 0;
  const char* end = text.data() + text.size();
  // from_chars, not strtod: the decimal point must not depend on the locale.
  const auto [rest, code] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (code != std::errc() || !(number >= 0)) return refuse();
  std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  for (const Unit& candidate : units) {
    if (candidate.name != unit) continue;
    const double value = number * candidate.factor;
    if (value != std::floor(value) && candidate.factor == 1) return refuse();
    if (value >= 9.2e18) return refuse();
    return static_cast<std::uint64_t>(value);
  }
  return refuse();
}

}  // namespace

Result<std::uint64_t> parse_bytes(std::string_view text) {
  return parse_with(text, kByteUnits, "size", "e.g. 8GiB, 512MiB or 1000000");
}

Result<std::uint64_t> parse_count(std::string_view text) {
  return parse_with(text, kCountUnits, "count", "e.g. 4096, 4k or 32K");
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kNames{"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  const int digits = unit == 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  std::snprintf(text, sizeof text, "%.*f %s", digits, value, kNames[unit]);
  return text;
}

}  // namespace rt
