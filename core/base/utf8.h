// UTF-8, for all files and texts: validate, walk by character, and replace what is invalid.
//
// Replacement follows Unicode's "maximal subpart" practice (one U+FFFD for each longest prefix of a
// valid character, one for each other stray byte), which is also what Python's errors="replace" and
// Rust's from_utf8_lossy do. Overlong forms, surrogates and code points past U+10FFFF are invalid;
// noncharacters such as U+FFFE and NUL are valid.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace rt {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;
inline constexpr std::string_view kReplacementUtf8 = "\xEF\xBF\xBD";

// What stands at the front of `text` (which is not empty).
struct Utf8Head {
  char32_t code_point;  // kReplacementCharacter unless valid
  std::uint8_t length;  // bytes of the character, or of the maximal subpart when invalid: 1 to 4
  bool valid;
  bool truncated;  // invalid only because `text` ends inside what could still become a character
};
Utf8Head utf8_head(std::string_view text);

// Byte length of the character that starts at text[0]. Precondition: text is valid and not empty.
std::size_t utf8_length(std::string_view text);

// Bytes before the first that is not part of a valid character: all of them if there is none.
std::size_t utf8_valid_bytes(std::string_view text);
inline bool utf8_valid(std::string_view text) {
  return utf8_valid_bytes(text) == text.size();
}

// `text` with every invalid sequence replaced by U+FFFD; `text` itself when it is valid.
std::string utf8_replace_invalid(std::string_view text);

// Appends the UTF-8 of a code point (a Unicode scalar value).
void utf8_append(std::string& out, char32_t code_point);

// Length of the longest prefix of `text` that does not end inside a possible character: what a
// stream may hand out now; the rest (at most 3 bytes) waits for more bytes.
std::size_t utf8_complete_prefix(std::string_view text);

// Unicode's White_Space property: what \s means to Hugging Face's tokenizers.
bool is_white_space(char32_t code_point);

// `text` (valid UTF-8) without white space at its ends, as Python's and Jinja's strip and trim do.
std::string trim_white_space(std::string_view text);

}  // namespace rt
