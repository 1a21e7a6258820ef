// The oracle is a plain search over the whole text: the first place where any stop string ends.
#include "core/text/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

#include "core/base/utf8.h"
#include "tests/text/data_files.h"

namespace rt {
namespace {

std::string cut_by_search(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const std::string& stop : stops) {
      if (text.substr(0, end).ends_with(stop)) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

StopStrings make(const std::vector<std::string>& stops) {
  Result<StopStrings> made = StopStrings::create(stops);
  EXPECT_TRUE(made.ok());
  return std::move(made).value();
}

TEST(StopStrings, AgreesWithASearchHoweverTheTextIsCut) {
  std::mt19937 random(1);
  const std::vector<std::vector<std::string>> sets = {
      {"ab"}, {"aab"}, {"aaa"}, {"abab", "ba"}, {"abc", "bc", "c"}, {"a", "ab"}, {"é", "aé"}, {}};
  const std::string letters[] = {"a", "b", "c", "é"};
  for (int round = 0; round < 4000; ++round) {
    const auto& stops = sets[random() % sets.size()];
    std::string text;
    StopStrings matcher = make(stops);
    std::string shown;
    for (std::uint32_t i = 0; i < random() % 12; ++i) {
      std::string piece;
      for (std::uint32_t k = 0; k < random() % 4; ++k) piece += letters[random() % 4];
      text += piece;
      shown += matcher.push(piece);
      EXPECT_TRUE(utf8_valid(shown));
      EXPECT_TRUE(cut_by_search(text, stops).starts_with(shown)) << "leaked a stop string";
    }
    shown += matcher.flush();
    EXPECT_EQ(shown, cut_by_search(text, stops)) << text;
    EXPECT_EQ(matcher.stopped(), cut_by_search(text, stops) != text);
  }
}

TEST(StopStrings, HoldsBackOnlyWhatMayGrow) {
  StopStrings matcher = make({"</answer>"});
  EXPECT_EQ(matcher.push("one <"), "one ");
  EXPECT_EQ(matcher.push("/b> two </ans"), "</b> two ");
  EXPECT_FALSE(matcher.stopped());
  EXPECT_EQ(matcher.push("wer> three"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.matched(), "</answer>");
  EXPECT_EQ(matcher.push("four"), "");
  EXPECT_EQ(matcher.flush(), "");
}

TEST(StopStrings, FlushGivesBackAnUnfinishedOne) {
  StopStrings matcher = make({"stop"});
  EXPECT_EQ(matcher.push("please sto"), "please ");
  EXPECT_EQ(matcher.flush(), "sto");
}

TEST(StopStrings, OfThoseThatEndTogetherTheLongestWins) {
  StopStrings matcher = make({"c", "abc", "bc"});
  EXPECT_EQ(matcher.push("xabc"), "x");
  EXPECT_EQ(matcher.matched(), "abc");
}

TEST(StopStrings, RefusesWhatCannotBeAStopString) {
  for (const std::string& bad : {std::string(), std::string("\xFF"), std::string(1025, 'a')}) {
    const std::string stops[] = {"fine", bad};
    const auto made = StopStrings::create(stops);
    ASSERT_FALSE(made.ok());
    EXPECT_NE(made.error().message.find("stop string 2"), std::string::npos);
  }
  EXPECT_FALSE(StopStrings::create(std::vector<std::string>(65, "a")).ok());
  EXPECT_TRUE(StopStrings::create({}).ok());
}

TEST(TextStream, StopsAcrossTokensAndCharacters) {
  const auto tokenizer = load_named("byte_level");
  const std::string text = "The Queen 🚀 said 中文 off with ▁ heads";
  const auto ids = tokenizer->encode(text, {.add_special = false});
  ASSERT_TRUE(ids.ok());
  for (const std::string stop : {"off", "🚀", "文 o", "heads", "Th", "none"}) {
    TextStream stream(*tokenizer, make({stop}));
    std::string shown;
    for (const std::int32_t id : *ids) {
      const std::string piece = stream.push(id);
      EXPECT_TRUE(utf8_valid(piece));
      shown += piece;
    }
    shown += stream.flush();
    EXPECT_EQ(shown, text.substr(0, text.find(stop)));
    EXPECT_EQ(stream.stopped(), stop != "none");
  }
}

TEST(TextStream, AnUnfinishedCharacterAtTheEndIsReplaced) {
  const auto tokenizer = load_named("byte_level");
  const auto ids = tokenizer->encode("a🚀", {.add_special = false});
  ASSERT_TRUE(ids.ok());
  ASSERT_GT(ids->size(), 2u);
  TextStream stream(*tokenizer, StopStrings());
  std::string shown;
  for (std::size_t i = 0; i + 1 < ids->size(); ++i) shown += stream.push((*ids)[i]);
  EXPECT_EQ(shown, "a");
  EXPECT_EQ(stream.flush(), std::string(kReplacementUtf8));
}

}  // namespace
}  // namespace rt
