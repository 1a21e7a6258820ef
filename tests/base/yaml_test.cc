// The strict YAML loader: what it takes, what it refuses, where it says the mistake is, and that a
// bomb costs neither time nor memory.
#include "core/base/yaml.h"

#include <gtest/gtest.h>

#include <chrono>
#include <clocale>
#include <cmath>
#include <cstdio>
#include <locale>

namespace rt {
namespace {

YamlNode parse(const std::string& text) {
  Result<YamlNode> node = parse_yaml(text, "f.yaml");
  if (!node.ok()) throw std::runtime_error(node.error().message);
  return std::move(node).value();
}

std::string refusal(std::string_view text, YamlLimits limits = {}) {
  const Result<YamlNode> node = parse_yaml(text, "f.yaml", limits);
  if (node.ok()) return "accepted";
  EXPECT_EQ(node.error().fault, Fault::kBadInput);
  return node.error().message;
}

TEST(Yaml, ReadsMappingsSequencesAndScalarsInOrder) {
  const YamlNode root = parse("b: 1\na: [x, 'y']\nc:\n  - {d: e}\n  -\n");
  ASSERT_TRUE(root.is_mapping());
  ASSERT_EQ(root.entries.size(), 3u);
  EXPECT_EQ(root.entries[0].key, "b");
  EXPECT_EQ(root.find("a")->items[0].scalar, "x");
  EXPECT_FALSE(root.find("a")->items[0].quoted);
  EXPECT_TRUE(root.find("a")->items[1].quoted);
  EXPECT_EQ(root.find("c")->items[0].find("d")->scalar, "e");
  EXPECT_TRUE(root.find("c")->items[1].is_null());
  EXPECT_EQ(root.find("nothing"), nullptr);
}

TEST(Yaml, KnowsWhereEverythingStands) {
  const YamlNode root = parse("a: 1\nb:\n  c: [2, 30]\n");
  EXPECT_EQ(root.where.text(), "f.yaml:1:1");
  EXPECT_EQ(root.entries[1].where.text(), "f.yaml:2:1");
  EXPECT_EQ(root.find("b")->find("c")->items[1].where.text(), "f.yaml:3:10");
}

TEST(Yaml, SkipsAByteOrderMarkAndTakesWindowsLineEnds) {
  EXPECT_EQ(parse("\xEF\xBB\xBF"
                  "a: 1\r\nb: 2\r\n")
                .find("b")
                ->as_int()
                .value(),
            2);
}

TEST(Yaml, TakesOneDocumentWithItsMarkers) {
  EXPECT_EQ(parse("---\na: 1\n...\n").find("a")->as_int().value(), 1);
  EXPECT_EQ(parse("# only\na: '<<'\n").find("a")->scalar, "<<");
  EXPECT_EQ(parse("a: 'it''s'").find("a")->scalar, "it's");
  EXPECT_EQ(parse("a: \"a\\\"b\"").find("a")->scalar, "a\"b");
  EXPECT_EQ(parse("a: \"tab\\tin\\u00e9\"").find("a")->scalar, "tab\tin\xC3\xA9");
}

struct Refusal {
  const char* name;
  std::string_view text;
  const char* message;  // a part of it
};

class YamlRefusals : public ::testing::TestWithParam<Refusal> {};

TEST_P(YamlRefusals, SayWhereAndWhat) {
  const std::string message = refusal(GetParam().text);
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
}

constexpr std::string_view kNul("a: \0", 4);
constexpr std::string_view kUtf16(
    "\xFF\xFE"
    "a\0:\0",
    6);
constexpr std::string_view kUtf16NoMark("a\0:\0 \0", 6);

INSTANTIATE_TEST_SUITE_P(
    All, YamlRefusals,
    ::testing::Values(
        Refusal{"empty", "", "f.yaml: the file is empty"},
        Refusal{"comment_only", "# nothing\n", "f.yaml: the file is empty"},
        Refusal{"anchor", "a: &x [1]\n", "f.yaml:1:4: an anchor, &x"},
        Refusal{"cycle", "a: &a [*a]", "f.yaml:1:4: an anchor"},
        Refusal{"alias", "a: 1\nb: *a\n", "f.yaml:2:4: "},
        Refusal{"merge_key", "a: {<<: {b: 1}}\n", "f.yaml:1:5: a merge key"},
        Refusal{"tag", "a: !!python/object:os.system x\n", "f.yaml:1:4: a tag"},
        Refusal{"local_tag", "a: !mine {b: 1}\n", "f.yaml:1:4: a tag"},
        Refusal{"tagged_null", "a: !!null\n", "a tag"},
        Refusal{"duplicate", "a: 1\nb: 2\na: 3\n", "f.yaml:3:1: key 'a' stands twice"},
        Refusal{"duplicate_quoted", "{a: 1, 'a': 2}", "f.yaml:1:8: key 'a' stands twice"},
        Refusal{"two_documents", "a: 1\n---\nb: 2\n", "a second document"},
        Refusal{"list_key", "? [a]\n: 1\n", "expected a plain key"},
        Refusal{"map_key", "{{a: 1}: 2}", "expected a plain key"},
        Refusal{"null_key", "~: 1\n", "a key is empty or null"},
        Refusal{"empty_key", ": 1\n", "a key is empty or null"},
        Refusal{"tab", "a:\n\tb: 1\n", "f.yaml:2:1: a tab in the indentation"},
        Refusal{"tab_behind_spaces", "a:\n  \tb: 1\n", "f.yaml:2:3: a tab"},
        Refusal{"control", "a: \x01\n", "f.yaml:1:4: a control character, '\\x01'"},
        Refusal{"nul", kNul, "UTF-16 or UTF-32"}, Refusal{"utf16", kUtf16, "UTF-16 or UTF-32"},
        Refusal{"utf16_no_mark", kUtf16NoMark, "UTF-16 or UTF-32"},
        Refusal{"stray_byte", "a: \xFF\n", "f.yaml:1:4: expected UTF-8"},
        Refusal{"overlong", "a: \xC0\xAF\n", "f.yaml:1:4: expected UTF-8"},
        Refusal{"surrogate", "a: \xED\xA0\x80\n", "f.yaml:1:4: expected UTF-8"},
        Refusal{"cut_character", "a: \xE2\x82", "f.yaml:1:4: expected UTF-8"},
        Refusal{"beyond_unicode", "a: \xF4\x90\x80\x80", "f.yaml:1:4: expected UTF-8"},
        Refusal{"open_flow", "a: [1, 2\n", "not valid YAML"},
        Refusal{"open_quote", "a: 'x\n", "f.yaml:1:4: a quoted text without its closing quote"},
        Refusal{"open_doubled", "a: 'it''\n", "f.yaml:1:4: a quoted text without"},
        Refusal{"open_escaped", "a: \"x\\\"\n", "f.yaml:1:4: a quoted text without"},
        Refusal{"open_key", "'a: 1\n", "a quoted text without"},
        Refusal{"bare_tag", "a: ! 1\n", "f.yaml:1:4: a tag"},
        Refusal{"unequal_indentation", "a:\n    b: 1\n  c: 2\n", "not valid YAML"},
        Refusal{"at_sign", "a: @x\n", "not valid YAML"}),
    [](const auto& row) { return row.param.name; });

struct Reading {
  const char* text;
  const char* integer;  // what as_int gives, or a part of its refusal
  const char* real;
  const char* boolean;
};

template <class T>
std::string shown(const Result<T>& result) {
  if (!result.ok()) return result.error().message;
  if constexpr (std::is_same_v<T, bool>) return result.value() ? "true" : "false";
  char text[64];
  std::snprintf(text, sizeof text, "%.17g", static_cast<double>(result.value()));
  return text;
}

void expect_reading(const std::string& found, const std::string& wanted, const char* text) {
  if (wanted.starts_with("!")) {
    EXPECT_NE(found.find(wanted.substr(1)), std::string::npos) << text << ": " << found;
  } else {
    EXPECT_EQ(found, wanted) << text;
  }
}

// YAML 1.1's surprises (NO, 010, 1_000, 0o17, .inf) have no meaning here.
TEST(Yaml, TypesScalarsOnlyOneWay) {
  constexpr const char* kInt = "!expected an integer";
  constexpr const char* kReal = "!expected a number";
  constexpr const char* kBool = "!expected true or false";
  const std::vector<Reading> rows = {
      {"4096", "4096", "4096", kBool},
      {"-1", "-1", "-1", kBool},
      {"+7", "7", "7", kBool},
      {"0", "0", "0", kBool},
      {"010", "!without leading zeros", "10", kBool},
      {"0o17", kInt, kReal, kBool},
      {"0x1F", kInt, kReal, kBool},
      {"1_000", kInt, kReal, kBool},
      {"1e5", kInt, "100000", kBool},
      {"1e-5", kInt, "1.0000000000000001e-05", kBool},
      {"3.5", kInt, "3.5", kBool},
      {"3,5", kInt, kReal, kBool},
      {".5", kInt, kReal, kBool},
      {".inf", kInt, kReal, kBool},
      {"inf", kInt, kReal, kBool},
      {"nan", kInt, kReal, kBool},
      {"-inf", kInt, kReal, kBool},
      {"1e400", kInt, "!double range", kBool},
      {"9223372036854775807", "9.2233720368547758e+18", "9.2233720368547758e+18", kBool},
      {"9223372036854775808", "!at most 64 bits", "9.2233720368547758e+18", kBool},
      {"--1", kInt, kReal, kBool},
      {"+-1", kInt, kReal, kBool},
      {"+-0.5", kInt, kReal, kBool},
      {"++1", kInt, kReal, kBool},
      {"1 ", "1", "1", kBool},
      {"'4096'", "!the quoted text '4096'", "!the quoted text '4096'", kBool},
      {"true", kInt, kReal, "true"},
      {"false", kInt, kReal, "false"},
      {"True", kInt, kReal, kBool},
      {"NO", kInt, kReal, "!found 'NO'"},
      {"on", kInt, kReal, kBool},
      {"'true'", kInt, kReal, kBool},
      {"[1]", "!found a list", "!found a list", "!found a list"},
      {"{a: 1}", "!found a mapping", kReal, kBool},
      {"", "!found nothing", kReal, kBool},
  };
  for (const Reading& row : rows) {
    const YamlNode root = parse(std::string("a: ") + row.text);
    const YamlNode& node = *root.find("a");
    expect_reading(shown(node.as_int()), row.integer, row.text);
    expect_reading(shown(node.as_real()), row.real, row.text);
    expect_reading(shown(node.as_bool()), row.boolean, row.text);
  }
}

TEST(Yaml, StringsAreTheTextAsWritten) {
  const YamlNode root = parse("a: 1.10\nb: NO\nc: ''\nd: [x, 2]\ne: [[1]]\n");
  EXPECT_EQ(root.find("a")->as_string().value(), "1.10");
  EXPECT_EQ(root.find("b")->as_string().value(), "NO");
  EXPECT_EQ(root.find("c")->as_string().value(), "");
  EXPECT_FALSE(root.find("d")->as_string().ok());
  EXPECT_EQ(root.find("d")->as_strings().value(), (std::vector<std::string>{"x", "2"}));
  EXPECT_EQ(root.find("a")->as_strings().value(), (std::vector<std::string>{"1.10"}));
  EXPECT_FALSE(root.find("e")->as_strings().ok());
}

TEST(Yaml, ARangeIsNamed) {
  const YamlNode root = parse("a: 9");
  EXPECT_EQ(root.find("a")->as_int(1, 9).value(), 9);
  EXPECT_EQ(root.find("a")->as_int(1, 8).error().message,
            "f.yaml:1:4: expected an integer from 1 to 8, found '9'");
}

struct DecimalComma : std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
};

TEST(Yaml, NumbersDoNotDependOnTheLocale) {
  const std::locale before = std::locale::global(std::locale(std::locale(), new DecimalComma));
  std::setlocale(LC_ALL, "de_DE.UTF-8");  // where the machine has it
  const YamlNode root = parse("a: 3.5\nb: 3,5");
  EXPECT_EQ(root.find("a")->as_real().value(), 3.5);
  EXPECT_FALSE(root.find("b")->as_real().ok());
  std::locale::global(before);
  std::setlocale(LC_ALL, "C");
}

TEST(YamlMapping, RefusesWhatNobodyAskedFor) {
  const YamlNode root = parse("device: cpu\nplaner: elastic\n");
  Result<YamlMapping> mapping = YamlMapping::of(root, "a config");
  ASSERT_TRUE(mapping.ok());
  EXPECT_EQ(mapping->need("device").value()->scalar, "cpu");
  EXPECT_EQ(mapping->find("planner"), nullptr);
  EXPECT_EQ(mapping->finish().error().message,
            "f.yaml:2:1: a config has no key 'planer'; did you mean 'planner'?");
  EXPECT_EQ(mapping->need("planner").error().message,
            "f.yaml:1:1: a config needs the key 'planner'; is 'planer' in line 2 a misspelling of "
            "it?");
  EXPECT_EQ(mapping->need("memory_limit").error().message,
            "f.yaml:1:1: a config needs the key 'memory_limit'");
  EXPECT_EQ(mapping->find("planer")->scalar, "elastic");
  EXPECT_TRUE(mapping->finish().ok());
}

TEST(YamlMapping, ListsItsKeysWhereNoneIsNear) {
  const YamlNode root = parse("zzzzzzzz: 1");
  Result<YamlMapping> mapping = YamlMapping::of(root, "a config");
  mapping->find("device");
  EXPECT_EQ(mapping->finish().error().message,
            "f.yaml:1:1: a config has no key 'zzzzzzzz'; it knows device");
}

TEST(YamlMapping, IsOfAMappingOnly) {
  EXPECT_EQ(YamlMapping::of(parse("[1]"), "a config").error().message,
            "f.yaml:1:1: expected a mapping for a config, found a list");
}

TEST(YamlMapping, ANullValueIsAbsent) {
  const YamlNode root = parse("a:\nb: ~\nc: null\n");
  Result<YamlMapping> mapping = YamlMapping::of(root, "it");
  for (const char* key : {"a", "b", "c"}) EXPECT_EQ(mapping->find(key), nullptr);
  EXPECT_TRUE(mapping->finish().ok());
}

std::string repeated(const std::string& piece, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += piece;
  return text;
}

std::string indented_bomb(std::size_t levels) {
  std::string text;
  for (std::size_t i = 0; i < levels; ++i) text += std::string(i, ' ') + "a:\n";
  return text;
}

std::string laughs() {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before +
            repeated(", " + before, 9) + "]\n";
  }
  return text;
}

TEST(Yaml, BombsEndQuickly) {
  const std::vector<std::pair<std::string, std::string>> bombs = {
      {"open lists", repeated("[", 100'000)},
      {"open mappings", repeated("{a: ", 100'000)},
      {"dashes", repeated("- ", 100'000)},
      {"indents", indented_bomb(1'400)},
      {"questions", repeated("? ", 100'000)},
      {"quotes", repeated("\"", 100'001)},
      {"colons", repeated(":", 190'000)},
      {"one key", std::string(1'000'000, 'k') + ": 1"},
      {"laughs", laughs()},
      {"many nodes", "[" + repeated("1,", 99'999) + "1, 2]"},
      {"many keys", repeated("a: 1\n", 99'000)},
      {"open quote lines", "'" + repeated("x\n", 90'000) + std::string(800'000, 'x')},
      {"closing", repeated("]", 100'000)},
      {"block scalar", "a: |\n" + repeated(" x\n", 190'000) + "\n\tb: 1"},
      {"flow keys", "{" + repeated("a, ", 190'000) + "}"},
      {"tags", repeated("!a ", 100'000)},
      {"comments", repeated("#####\n", 170'000)},
      {"multi-line plain", "a: " + repeated("x\n  ", 190'000) + ": b"},
  };
  for (const auto& [name, text] : bombs) {
    const auto start = std::chrono::steady_clock::now();
    const std::string message = refusal(text);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    EXPECT_NE(message, "accepted") << name;
    // One second is the promise; a sanitizer and a busy machine get a minute.
    EXPECT_LT(took.count(), 60.0) << name;
    std::printf("%-20s %6.3f s  %.80s\n", name.c_str(), took.count(), message.c_str());
  }
}

TEST(Yaml, LimitsAreTheCallers) {
  EXPECT_EQ(refusal("a: 12345", {.bytes = 4}), "f.yaml: expected at most 4 bytes, found 8");
  EXPECT_EQ(refusal("[[1]]", {.depth = 1}), "f.yaml:1:2: nested deeper than 1 levels");
  EXPECT_EQ(refusal("[1, 2]", {.nodes = 2}), "f.yaml:1:5: more than 2 values");
  EXPECT_EQ(refusal("[1, 2]", {.nodes = 1}), "f.yaml:1:6: more than 1 values");
  EXPECT_EQ(refusal(std::string(1 << 20, ' ') + "a"),
            "f.yaml: expected at most 1048576 bytes, found 1048577");
}

TEST(Yaml, FilesAreReadWithTheSameLimits) {
  EXPECT_FALSE(read_yaml("/nonexistent/x.yaml").ok());
  EXPECT_FALSE(read_yaml("/dev/zero").ok());
  EXPECT_TRUE(read_yaml(std::string(RT_SOURCE_DIR) + "/graphs/phi3.yaml").ok());
}

}  // namespace
}  // namespace rt
