// JSON from files that nobody vouches for: what is read, what is refused, and in what time.
#include "core/base/json.h"

#include <gtest/gtest.h>

#include <string>

namespace rt {
namespace {

std::string refusal(const std::string& text, JsonLimits limits = {}) {
  const Result<Json> json = parse_json(text, "f.json", limits);
  return json.ok() ? "accepted" : json.error().message;
}

// The library's own parser is the truth.
TEST(JsonText, IsReadAsTheLibraryReadsIt) {
  for (
      const std::string text :
      {"null", "true", "-3", "18446744073709551615", "1e2", "0.1", R"("\u00e9\ud83d\ude00\n")",
       "[]", "{}",
       R"([1, [2, {"a": [3, {"b": null}]}, []], {"c": {"d": "e", "f": false}, "g": [[[]]]}, -1.5e-3])",
       R"({"b": 1, "a": {"": [0, ""]}, "c": [{}, {}, {"x": [{}]}]})", " \t\n[1 ,2]\r\n"}) {
    const Result<Json> json = parse_json(text, "f.json");
    ASSERT_TRUE(json.ok()) << text << ": " << json.error().message;
    EXPECT_EQ(json.value(), Json::parse(text)) << text;
    EXPECT_EQ(json.value().dump(), Json::parse(text).dump()) << text;
  }
  EXPECT_EQ(parse_json("\xEF\xBB\xBF{}", "f.json").value(), Json::object());
}

TEST(JsonText, WhatIsNotOneIsRefusedWithItsPlace) {
  EXPECT_EQ(refusal(""),
            "f.json: not valid JSON at line 1, column 1: unexpected end of input; expected '[', "
            "'{', or a literal");
  EXPECT_EQ(refusal("{\n  \"a\": x}"),
            "f.json: not valid JSON at line 2, column 8: invalid literal; last read: '\"a\": x'");
  for (const std::string text : {"[1", "[1,]", "{\"a\" 1}", "[1] 2", "'a'", "\"\x01\"",
                                 "\"\\ud800\"", "\"\xff\"", "nan", "[01]"}) {
    EXPECT_NE(refusal(text).find("f.json: not valid JSON at line 1, column "), std::string::npos)
        << text << ": " << refusal(text);
  }
  EXPECT_NE(refusal("1e999").find("f.json: not valid JSON: number overflow"), std::string::npos)
      << refusal("1e999");
}

TEST(JsonText, LimitsAreTheCallers) {
  EXPECT_EQ(refusal("[[1]]", {.depth = 2}), "accepted");
  EXPECT_EQ(refusal("[[1]]", {.depth = 1}), "f.json: nested deeper than 1 levels");
  EXPECT_EQ(refusal(std::string(1'000'000, '[')), "f.json: nested deeper than 100 levels");
  EXPECT_EQ(refusal(R"({"a": {"b": 1}, "b": [{"a": 1}, {"a": 2}]})"), "accepted");
  EXPECT_EQ(refusal(R"([{"a": 1, "b": 2, "a": 3}])"), "f.json: key 'a' stands twice in one object");
  const Result<Json> last =
      parse_json(R"({"a": [1, 2], "a": {"b": 3}})", "f.json", {.unique_keys = false});
  EXPECT_EQ(last.value(), Json::parse(R"({"a": {"b": 3}})"));
}

// A second where each costs the same; where each object looks at those before it, an hour.
TEST(JsonText, ManyObjectsInOneArrayAreRead) {
  std::string text = "[{}";
  for (int i = 1; i < 1'000'000; ++i) text += ",{}";
  EXPECT_EQ(parse_json(text + "]", "f.json").value().size(), 1'000'000u);
}

}  // namespace
}  // namespace rt
