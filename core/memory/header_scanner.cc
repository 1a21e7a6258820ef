#include "core/memory/header_scanner.h"

#include <charconv>
#include <cstring>

#include "core/base/text.h"
#include "core/base/utf8.h"

namespace rt {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::uint32_t read_hex4(std::string_view digits) {
  std::uint32_t unit = 0;
  std::from_chars(digits.data(), digits.data() + 4, unit, 16);
  return unit;
}

constexpr std::string_view kEscapes = "\"\\/bfnrt";
constexpr std::string_view kEscaped = "\"\\/\b\f\n\r\t";

}  // namespace

bool HeaderScanner::fail(std::string sentence) {
  if (failure_.empty()) {
    failure_ = std::move(sentence);
    failure_offset_ = at_;
  }
  return false;
}

std::string HeaderScanner::found() const {
  return at_ < text_.size() ? "found " + quote(text_.substr(at_, 1)) : "found the header's end";
}

void HeaderScanner::skip_space() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return;
    ++at_;
  }
}

bool HeaderScanner::take(char c) {
  if (failed()) return false;
  skip_space();
  if (at_ == text_.size() || text_[at_] != c) return false;
  ++at_;
  return true;
}

bool HeaderScanner::expect(char c) {
  if (take(c)) return true;
  return fail(std::string("expected '") + c + "', " + found());
}

bool HeaderScanner::at_end() {
  skip_space();
  return at_ == text_.size();
}

bool HeaderScanner::string(std::string_view* raw) {
  if (!take('"')) return fail("expected a string, " + found());
  const std::size_t begin = at_;
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == '"') {
      *raw = text_.substr(begin, at_ - begin);
      ++at_;
      return true;
    }
    if (static_cast<unsigned char>(c) < 0x20) return fail("a control character in a string");
    ++at_;
    if (c == '\\' && !escape()) return false;
  }
  return fail("expected '\"', found the header's end");
}

// What follows a backslash. A surrogate must be the first half of a pair, with the second behind.
bool HeaderScanner::escape() {
  if (at_ == text_.size()) return fail("expected an escape, found the header's end");
  const char c = text_[at_];
  if (c != 'u') {
    if (kEscapes.find(c) == std::string_view::npos) return fail("an unknown escape in a string");
    ++at_;
    return true;
  }
  ++at_;
  std::uint32_t unit = 0;
  if (!hex4(&unit)) return false;
  if (unit < 0xD800 || unit > 0xDFFF) return true;
  std::uint32_t second = 0;
  if (unit > 0xDBFF || text_.substr(at_, 2) != "\\u") return fail("a lone surrogate in a string");
  at_ += 2;
  if (!hex4(&second)) return false;
  return (second >= 0xDC00 && second <= 0xDFFF) || fail("a lone surrogate in a string");
}

bool HeaderScanner::hex4(std::uint32_t* unit) {
  for (std::size_t i = 0; i < 4; ++i) {
    const char c = at_ + i < text_.size() ? text_[at_ + i] : ' ';
    const bool hex = is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (!hex) return fail("expected four hexadecimal digits after \\u");
  }
  *unit = read_hex4(text_.substr(at_, 4));
  at_ += 4;
  return true;
}

bool HeaderScanner::integer(std::uint64_t* value) {
  if (failed()) return false;
  skip_space();
  const char* first = text_.data() + at_;
  const char* last = text_.data() + text_.size();
  if (first == last || !is_digit(*first)) {
    return fail("expected a non-negative integer, " + found());
  }
  const auto [end, code] = std::from_chars(first, last, *value);
  if (code != std::errc()) return fail("expected an integer below 2^64, found a larger one");
  if (*first == '0' && end - first > 1) return fail("an integer with a leading zero");
  if (end != last && (*end == '.' || *end == 'e' || *end == 'E')) {
    return fail("expected an integer, found a fraction or an exponent");
  }
  at_ += static_cast<std::size_t>(end - first);
  return true;
}

bool HeaderScanner::take_null() {
  if (failed()) return false;
  skip_space();
  if (text_.substr(at_, 4) != "null") return false;
  at_ += 4;
  return true;
}

// true, false, null or a number.
bool HeaderScanner::skip_word() {
  skip_space();
  for (const std::string_view word : {"true", "false", "null"}) {
    if (text_.substr(at_, word.size()) != word) continue;
    at_ += word.size();
    return true;
  }
  const auto peek = [this] { return at_ < text_.size() ? text_[at_] : ' '; };
  const auto digits = [&] {
    if (!is_digit(peek())) return fail("expected a value, " + found());
    while (is_digit(peek())) ++at_;
    return true;
  };
  if (peek() == '-') ++at_;
  if (peek() == '0') {
    ++at_;
  } else if (!digits()) {
    return false;
  }
  if (peek() == '.') {
    ++at_;
    if (!digits()) return false;
  }
  if (peek() == 'e' || peek() == 'E') {
    ++at_;
    if (peek() == '+' || peek() == '-') ++at_;
    if (!digits()) return false;
  }
  return true;
}

bool HeaderScanner::skip_value(int depth) {
  if (failed()) return false;
  if (depth >= kDepthLimit) {
    return fail("nested deeper than " + std::to_string(kDepthLimit) + " levels");
  }
  if (take('{')) return skip_members('}', depth);
  if (take('[')) return skip_members(']', depth);
  std::string_view dropped;
  if (at_ < text_.size() && text_[at_] == '"') return string(&dropped);
  return skip_word();
}

bool HeaderScanner::skip_members(char close, int depth) {
  if (take(close)) return true;
  do {
    std::string_view key;
    if (close == '}' && !(string(&key) && expect(':'))) return false;
    if (!skip_value(depth + 1)) return false;
  } while (take(','));
  return expect(close);
}

std::string unescape(std::string_view raw) {
  if (raw.find('\\') == std::string_view::npos) return std::string(raw);
  std::string out;
  for (std::size_t at = 0; at < raw.size(); ++at) {
    if (raw[at] != '\\') {
      out.push_back(raw[at]);
      continue;
    }
    const char c = raw[++at];
    if (c != 'u') {
      out.push_back(kEscaped[kEscapes.find(c)]);
      continue;
    }
    std::uint32_t point = read_hex4(raw.substr(at + 1, 4));
    at += 4;
    if (point >= 0xD800 && point <= 0xDBFF) {
      point = 0x10000 + ((point - 0xD800) << 10) + (read_hex4(raw.substr(at + 3, 4)) - 0xDC00);
      at += 6;
    }
    utf8_append(out, point);
  }
  return out;
}

}  // namespace rt
