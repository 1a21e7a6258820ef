#include "core/base/utf8.h"

#include <cstring>

#include "core/base/assert.h"

namespace rt {
namespace {

// Bytes of the character that `lead` opens, 0 if no character starts with it, and the range that
// the second byte must be in (it alone rules out overlong forms, surrogates and > U+10FFFF).
struct Lead {
  std::uint8_t length;
  std::uint8_t second_min;
  std::uint8_t second_max;
};

Lead classify(std::uint8_t lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead < 0xC2) return {0, 0, 0};
  if (lead < 0xE0) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead < 0xF0) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead < 0xF4) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

std::uint8_t byte_at(std::string_view text, std::size_t i) {
  return static_cast<std::uint8_t>(text[i]);
}

}  // namespace

Utf8Head utf8_head(std::string_view text) {
  const std::uint8_t first = byte_at(text, 0);
  const Lead lead = classify(first);
  if (lead.length == 1) return {first, 1, true, false};
  if (lead.length == 0) return {kReplacementCharacter, 1, false, false};
  char32_t code_point = first & (0x7Fu >> lead.length);
  for (std::uint8_t i = 1; i < lead.length; ++i) {
    if (i == text.size()) return {kReplacementCharacter, i, false, true};
    const std::uint8_t byte = byte_at(text, i);
    const std::uint8_t low = i == 1 ? lead.second_min : 0x80;
    const std::uint8_t high = i == 1 ? lead.second_max : 0xBF;
    if (byte < low || byte > high) return {kReplacementCharacter, i, false, false};
    code_point = code_point << 6 | (byte & 0x3Fu);
  }
  return {code_point, lead.length, true, false};
}

std::size_t utf8_length(std::string_view text) {
  const std::uint8_t length = classify(byte_at(text, 0)).length;
  RT_ASSERT(length > 0 && length <= text.size());
  return length;
}

std::size_t utf8_valid_bytes(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    std::uint64_t eight = ~std::uint64_t{0};
    // Eight ASCII bytes at a time: a header is nearly all ASCII and may have 100 MB.
    if (text.size() - at >= 8) std::memcpy(&eight, text.data() + at, 8);
    if ((eight & 0x8080808080808080u) == 0) {
      at += 8;
      continue;
    }
    const Utf8Head head = utf8_head(text.substr(at));
    if (!head.valid) return at;
    at += head.length;
  }
  return at;
}

std::string utf8_replace_invalid(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Head head = utf8_head(text);
    out += head.valid ? text.substr(0, head.length) : kReplacementUtf8;
    text.remove_prefix(head.length);
  }
  return out;
}

void utf8_append(std::string& out, char32_t code_point) {
  const auto put = [&out](char32_t byte) { out += static_cast<char>(byte); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

bool is_white_space(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::string trim_white_space(std::string_view text) {
  // str.strip() also takes the four separators U+001C to U+001F.
  const auto strips = [](char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); };
  std::size_t begin = text.size();  // of the first character that stays
  std::size_t end = text.size();    // of the last one
  bool any = false;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Head head = utf8_head(text.substr(at));
    if (!strips(head.code_point)) {
      if (!any) begin = at;
      any = true;
      end = at + head.length;
    }
    at += head.length;
  }
  return std::string(text.substr(begin, end - begin));
}

std::size_t utf8_complete_prefix(std::string_view text) {
  // An unfinished character is at most 3 bytes long, so its lead byte is one of the last three.
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const std::size_t start = text.size() - back;
    if ((byte_at(text, start) & 0xC0) == 0x80) continue;
    return utf8_head(text.substr(start)).truncated ? start : text.size();
  }
  return text.size();
}

}  // namespace rt
