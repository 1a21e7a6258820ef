// Where added tokens are found, beside white space that they absorb. Truth: Hugging Face's
// `tokenizers` 0.23.
#include "core/text/added_tokens.h"

#include <gtest/gtest.h>

namespace rt {
namespace {

AddedToken token(std::string content, bool lstrip, bool rstrip, bool single_word = false) {
  AddedToken token;
  token.pattern = token.content = std::move(content);
  token.lstrip = lstrip;
  token.rstrip = rstrip;
  token.single_word = single_word;
  return token;
}

// "[ab]" for a token, "ab" for text.
std::vector<std::string> split(std::vector<AddedToken> tokens, std::string_view text) {
  const auto set = AddedTokens::create(std::move(tokens));
  EXPECT_TRUE(set.ok());
  std::vector<std::string> out;
  const Status walked = set->split(
      text, [](std::size_t, std::size_t) { return true; },
      [&](std::size_t begin, std::size_t end, const AddedToken* found) {
        out.push_back(found != nullptr ? "[" + found->content + "]"
                                       : std::string(text.substr(begin, end - begin)));
        return Status();
      });
  EXPECT_TRUE(walked.ok());
  return out;
}

using Parts = std::vector<std::string>;

// A token may begin in white space that the one before has absorbed; behind it that is text again.
TEST(AddedTokens, FoundInAbsorbedWhiteSpace) {
  EXPECT_EQ(split({token("ab", false, true), token("\n", false, false)}, "ab\n\x0c"),
            (Parts{"[ab]", "[\n]", "\x0c"}));
  EXPECT_EQ(split({token("ab", false, true)}, "ab \n x"), (Parts{"[ab]", "x"}));
  EXPECT_EQ(split({token("   ", true, true)}, "      "), (Parts{"[   ]"}));
  EXPECT_EQ(split({token("ab", true, false)}, "x  ab  x"), (Parts{"x", "[ab]", "  x"}));
}

TEST(AddedTokens, AWordIsAsLongAsItsLetters) {
  for (const char* letter : {"a", "\u0301", "Ⅷ", "🅰", "ⓐ", "_", "\u200d"}) {
    const std::string text = std::string("<|a|>") + letter;
    EXPECT_EQ(split({token("<|a|>", false, false, true)}, text), (Parts{text})) << letter;
  }
  EXPECT_EQ(split({token("<|a|>", false, false, true)}, "<|a|>-"), (Parts{"[<|a|>]", "-"}));
}

}  // namespace
}  // namespace rt
