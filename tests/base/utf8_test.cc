// Truth: Python 3's bytes.decode("utf-8", errors="replace") (the strings beside each case).
#include "core/base/utf8.h"

#include <gtest/gtest.h>

namespace rt {
namespace {

using namespace std::string_view_literals;

const std::string kBad(kReplacementUtf8);

struct Case {
  std::string_view bytes;
  std::string replaced;
};

const Case kInvalid[] = {
    {"\x80"sv, kBad},
    {"\xC0\x80"sv, kBad + kBad},                        // overlong NUL
    {"\xC1\xBF"sv, kBad + kBad},                        // overlong
    {"\xE0\x80\xAF"sv, kBad + kBad + kBad},             // overlong '/'
    {"\xF0\x80\x80\xAF"sv, kBad + kBad + kBad + kBad},  // overlong
    {"\xED\xA0\x80"sv, kBad + kBad + kBad},             // surrogate
    {"\xF4\x90\x80\x80"sv, kBad + kBad + kBad + kBad},  // past U+10FFFF
    {"\xF5\x80"sv, kBad + kBad},
    {"\xFF\xFE"sv, kBad + kBad},
    {"a\xE4\xB8"sv, "a" + kBad},  // cut short: one maximal subpart
    {"\xF0\x9F\x98z"sv, kBad + "z"},
    {"\xF0\x9F z"sv, kBad + " z"},
    {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"sv, kBad + kBad + kBad + kBad + "A"},  // Unicode 3-8
    {"\xC3"sv, kBad},
};

TEST(Utf8, ReplacesMaximalSubparts) {
  for (const Case& test : kInvalid) {
    EXPECT_FALSE(utf8_valid(test.bytes));
    EXPECT_EQ(utf8_replace_invalid(test.bytes), test.replaced);
    EXPECT_TRUE(utf8_valid(test.replaced));
  }
}

TEST(Utf8, AcceptsEveryScalarValue) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    utf8_append(text, c);
    const Utf8Head head = utf8_head(text);
    ASSERT_TRUE(head.valid);
    ASSERT_EQ(head.code_point, c);
    ASSERT_EQ(head.length, text.size());
    ASSERT_EQ(utf8_length(text), text.size());
  }
  EXPECT_TRUE(utf8_valid("\0\xEF\xBF\xBE"sv));  // NUL, U+FFFE
}

TEST(Utf8, SaysHowFarATextIsValid) {
  for (std::size_t before = 0; before < 20; ++before) {
    const std::string good = std::string(before, 'a') + "é";
    EXPECT_EQ(utf8_valid_bytes(good), good.size());
    for (const char* bad : {"\xFF", "\xC3", "\xED\xA0\x80", "\xE2\x82"}) {
      EXPECT_EQ(utf8_valid_bytes(good + bad), good.size());
      EXPECT_EQ(utf8_valid_bytes(good + bad + "abcdefgh"), good.size());
    }
  }
}

TEST(Utf8, CompletePrefixNeverEndsInsideACharacter) {
  const std::string text = "aé中🚀z";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    const std::string_view part = std::string_view(text).substr(0, cut);
    const std::size_t complete = utf8_complete_prefix(part);
    EXPECT_TRUE(utf8_valid(part.substr(0, complete)));
    EXPECT_LE(cut - complete, 3u);
  }
  EXPECT_EQ(utf8_complete_prefix("a\xFF"sv), 2u);  // cannot become a character: not held
  EXPECT_EQ(utf8_complete_prefix("\x80\x80\x80\x80"sv), 4u);
  EXPECT_EQ(utf8_complete_prefix(""), 0u);
}

TEST(Utf8, TrimsAsPythonStrips) {
  EXPECT_EQ(trim_white_space(" \t\n\x1f\u00a0\u2003 a b\u3000\n"), "a b");
  EXPECT_EQ(trim_white_space("\u200b "), "\u200b");
  EXPECT_EQ(trim_white_space(" \n "), "");
  EXPECT_EQ(trim_white_space(""), "");
}

}  // namespace
}  // namespace rt
