#include "core/text/byte_level.h"

#include <array>
#include <cstdint>

#include "core/base/utf8.h"

namespace rt {
namespace {

struct Alphabet {
  std::array<char32_t, 256> character{};
  std::array<std::int16_t, 0x144> byte{};  // by code point; -1: not in the alphabet
};

Alphabet make_alphabet() {
  Alphabet alphabet;
  alphabet.byte.fill(-1);
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    const char32_t character = printable ? static_cast<char32_t>(byte) : next++;
    alphabet.character[static_cast<std::size_t>(byte)] = character;
    alphabet.byte[character] = static_cast<std::int16_t>(byte);
  }
  return alphabet;
}

const Alphabet kAlphabet = make_alphabet();

}  // namespace

void byte_level_encode(std::string_view bytes, std::string& out) {
  for (const char byte : bytes)
    utf8_append(out, kAlphabet.character[static_cast<std::uint8_t>(byte)]);
}

bool byte_level_decode(std::string_view text, std::string& out) {
  const std::size_t before = out.size();
  for (std::string_view rest = text; !rest.empty();) {
    const Utf8Head head = utf8_head(rest);
    const std::int16_t byte = head.code_point < kAlphabet.byte.size()
                                  ? kAlphabet.byte[head.code_point]
                                  : std::int16_t{-1};
    if (byte < 0) {
      out.resize(before);
      out += text;
      return false;
    }
    out += static_cast<char>(byte);
    rest.remove_prefix(head.length);
  }
  return true;
}

}  // namespace rt
