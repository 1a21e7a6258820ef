// Small files of /proc and /sys. A file that is missing or unreadable reads as empty: all of them
// are optional, and what is not known limits nothing.
#pragma once

#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace rt::cpu {

inline std::vector<std::string> read_lines(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// The number that `text` begins with; none for "max" or nothing.
inline std::optional<std::uint64_t> leading_number(const std::string& text) {
  std::size_t i = text.find_first_not_of(" \t");
  std::uint64_t value = 0;
  bool any = false;
  for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i, any = true) {
    if (__builtin_mul_overflow(value, 10u, &value)) return UINT64_MAX;
    if (__builtin_add_overflow(value, static_cast<unsigned>(text[i] - '0'), &value)) {
      return UINT64_MAX;
    }
  }
  return any ? std::optional<std::uint64_t>(value) : std::nullopt;
}

// The number in the first line.
inline std::optional<std::uint64_t> read_number(const std::string& path) {
  const std::vector<std::string> lines = read_lines(path);
  return lines.empty() ? std::nullopt : leading_number(lines[0]);
}

// The number after `key` at the start of a line ("MemTotal:  24683712 kB" -> 24683712), or 0.
inline std::uint64_t read_field(const std::string& path, const std::string& key) {
  for (const std::string& line : read_lines(path)) {
    if (line.starts_with(key)) return leading_number(line.substr(key.size())).value_or(0);
  }
  return 0;
}

}  // namespace rt::cpu
