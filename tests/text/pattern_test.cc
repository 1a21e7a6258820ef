// What patterns match, where PCRE2 and Oniguruma read the same words differently. Truth: stretches
// that Split(Regex, "isolated") of Hugging Face's `tokenizers` 0.23 gives.
#include "core/text/pattern.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace rt {
namespace {

struct Row {
  const char* expression;
  const char* text;
  std::vector<std::string> stretches;
};

std::vector<std::string> stretches_of(const Pattern& pattern, std::string_view text) {
  std::vector<std::string> stretches;
  const Status walked = pattern.for_each(text, [&](std::size_t begin, std::size_t end, bool) {
    stretches.emplace_back(text.substr(begin, end - begin));
    return Status();
  });
  EXPECT_TRUE(walked.ok());
  return stretches;
}

TEST(Pattern, MatchesWhatOnigurumaMatches) {
  const Row rows[] = {
      {"\\p{N}{,3}", "12345", {"123", "45"}},
      {"a{b", "a{b", {"a{b"}},
      {"\\p{Lu}{2}", "ABCD", {"AB", "CD"}},
      {"\\w+", "नि e\u0301 ⓐ² x_1-y", {"नि", " ", "e\u0301", " ", "ⓐ²", " ", "x_1", "-", "y"}},
      {"[\\w]+", "a½²b", {"a", "½²", "b"}},
      {"\\W+", "a नि,b", {"a", " ", "नि", ",", "b"}},
      {"[^\\w\\s]+", "a नि, .b", {"a नि", ",", " ", ".", "b"}},
      {"\\bx", "ax x निx -x", {"ax ", "x", " निx -", "x"}},
      {"x\\B", "xa x", {"x", "a x"}},
      {"\\p{Hiragana}+", "らー", {"ら", "ー"}},
      {"\\p{^Han}+", "〆漢a", {"〆", "漢", "a"}},
      {"\\P{Han}+", "〆漢a", {"〆", "漢", "a"}},
      {"\\h+", "xbeefyq", {"x", "beef", "yq"}},
      {"\\v", "a\x0b\nb", {"a", "\x0b", "\nb"}},
      {"[]a]+", "b]a]b", {"b", "]a]", "b"}},
      {"[\\s\\S]", "\u180ea", {"\u180e", "a"}},
      {"\\x{20}+", "a  b", {"a", "  ", "b"}},
      {"\\d{2}", "12345", {"12", "34", "5"}},
      {"(?i:ab)+", "xABab", {"x", "ABab"}},
  };
  for (const Row& row : rows) {
    const auto pattern = Pattern::compile(row.expression, "pattern");
    ASSERT_TRUE(pattern.ok()) << pattern.error().message;
    EXPECT_EQ(stretches_of(*pattern, row.text), row.stretches) << row.expression;
  }
}

// Refused rather than taken for something else.
TEST(Pattern, RefusesWhatItCannotSpell) {
  for (const char* expression : {"\\p{N}{1,3}+", "\\d{2}+", "a{2}?", "\\V", "\\Qa\\E", "[\\W]",
                                 "[\\H]", "(?m:.)", "(?s)a", "(?ix:a)", "[a[b]]", "[a&&b]", "("}) {
    const auto pattern = Pattern::compile(expression, "tokenizer.json: pattern");
    ASSERT_FALSE(pattern.ok()) << expression;
    EXPECT_TRUE(pattern.error().message.starts_with("tokenizer.json: pattern: unsupported pattern"))
        << pattern.error().message;
  }
}

}  // namespace
}  // namespace rt
