// Sizes that people write and read: "8GiB", "4k", "32K" in; "1.5 GiB" out. Exact integers within.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/result.h"

namespace rt {

// Parses a byte count: digits, an optional fraction and a unit. KiB/MiB/GiB/TiB are powers of
// 1024, KB/MB/GB/TB powers of 1000, bare k/K/m/M/g/G powers of 1024 (llama.cpp's habit).
Result<std::uint64_t> parse_bytes(std::string_view text);

// Parses a token count: "4096", "4k" and "32K" (x 1024), "25.6k".
Result<std::uint64_t> parse_count(std::string_view text);

// "1.50 GiB", "24.8 MiB", "512 B": three significant figures, binary units.
std::string format_bytes(std::uint64_t bytes);

// a rounded up to a multiple of `multiple` (> 0). The caller guarantees that it does not overflow.
constexpr std::uint64_t round_up(std::uint64_t a, std::uint64_t multiple) {
  return (a + multiple - 1) / multiple * multiple;
}

// True and *out = a * b (a + b) unless it overflows 64 bits.
inline bool checked_mul(std::uint64_t a, std::uint64_t b, std::uint64_t* out) {
  return !__builtin_mul_overflow(a, b, out);
}
inline bool checked_add(std::uint64_t a, std::uint64_t b, std::uint64_t* out) {
  return !__builtin_add_overflow(a, b, out);
}

}  // namespace rt
