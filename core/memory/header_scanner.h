// A JSON scanner for one schema, the safetensors header: it walks the text where it lies and hands
// out pieces of it. A general parser copies every string (nlohmann twice per token), which a header
// with 99 MB of metadata turns into 300 MB of heap; this one keeps nothing.
//
// Grammar: RFC 8259, strictly. Every function returns false after a failure and stays failed; the
// first failure's sentence and position are kept. The text must be UTF-8 (utf8_valid_bytes first).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace rt {

class HeaderScanner {
 public:
  // serde_json, the reference's parser, stops at 128; nothing legal is deeper than 3.
  static constexpr int kDepthLimit = 100;

  explicit HeaderScanner(std::string_view text) : text_(text) {}

  // Skips white space; consumes `c` if it stands next. Not standing there is no failure.
  bool take(char c);
  // The same, and anything else is a failure.
  bool expect(char c);
  // A string; *raw is what stands between the quotes, escapes checked but not replaced.
  bool string(std::string_view* raw);
  // A non-negative integer below 2^64, written without sign, fraction or exponent.
  bool integer(std::uint64_t* value);
  // Consumes `null` if it stands next.
  bool take_null();
  // Any value, checked and dropped.
  bool skip_value() { return skip_value(0); }
  // True if only white space is left.
  bool at_end();

  // Records a failure at the current position (the first one is kept); returns false.
  bool fail(std::string sentence);

  bool failed() const { return !failure_.empty(); }
  const std::string& failure() const { return failure_; }
  std::size_t failure_offset() const { return failure_offset_; }
  std::size_t offset() const { return at_; }

 private:
  void skip_space();
  std::string found() const;
  bool escape();
  bool hex4(std::uint32_t* unit);
  bool skip_word();
  bool skip_value(int depth);
  bool skip_members(char close, int depth);

  std::string_view text_;
  std::size_t at_ = 0;
  std::string failure_;
  std::size_t failure_offset_ = 0;
};

// The text of a string that HeaderScanner::string accepted, with its escapes replaced.
std::string unescape(std::string_view raw);

}  // namespace rt
