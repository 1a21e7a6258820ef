// The 256 tokens "<0x00>" to "<0xFF>" that spell what a vocabulary has no character for.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string_view>

#include "core/text/pieces.h"

namespace rt {

// The byte of a token spelled "<0xAB>".
inline std::optional<char> byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + digit;
  }
  return static_cast<char>(value);
}

class ByteTokens {
 public:
  ByteTokens() { ids_.fill(-1); }
  explicit ByteTokens(const Pieces& pieces) {
    for (unsigned byte = 0; byte < 256; ++byte) {
      char name[8];
      std::snprintf(name, sizeof name, "<0x%02X>", byte);
      ids_[byte] = pieces.find(name);
    }
  }

  std::int32_t operator[](char byte) const { return ids_[static_cast<std::uint8_t>(byte)]; }
  bool complete() const { return *std::min_element(ids_.begin(), ids_.end()) >= 0; }
  bool spell(std::string_view bytes) const {
    for (const char byte : bytes) {
      if ((*this)[byte] < 0) return false;
    }
    return true;
  }

 private:
  std::array<std::int32_t, 256> ids_;
};

}  // namespace rt
