// GPT-2's alphabet: every byte as one printable character, so that a vocabulary of characters can
// spell any bytes. Printable Latin-1 bytes stand for themselves, the other 68 for U+0100 onwards.
#pragma once

#include <string>
#include <string_view>

namespace rt {

// "\n the" -> "ĊĠthe".
void byte_level_encode(std::string_view bytes, std::string& out);

// The bytes of `text`, or `text` itself (false) if a character of it is not in the alphabet.
bool byte_level_decode(std::string_view text, std::string& out);

}  // namespace rt
