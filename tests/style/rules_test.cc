// Each rule finds what it is for and leaves its neighbours alone.
#include <gtest/gtest.h>

#include "tests/style/layers.h"
#include "tests/style/pages.h"
#include "tests/style/wording.h"

namespace rt::style {
namespace {

const Arrows& arrows() {
  static const Arrows one = parse_arrows(
      "```layers\n"
      "core/sdk   the boundary -> nothing\n"
      "core/base  the ground   -> core/sdk\n"
      "plugins/*  one folder   -> core/sdk, plugins/shared.h\n"
      "plugins/shared.h  both  -> core/sdk\n"
      "tests      tests        -> anything\n"
      "```\n"
      "core/graph is not in the block -> core/base\n"
      "```libraries\n"
      "yaml-cpp/ -> core/base/yaml\n"
      "system    -> plugins/cpu, tests\n"
      "gtest/    -> tests\n"
      "```\n");
  return one;
}

struct IncludeRow {
  const char* path;
  const char* line;
  bool allowed;
};

class Includes : public testing::TestWithParam<IncludeRow> {};

TEST_P(Includes, AreJudged) {
  const IncludeRow& row = GetParam();
  const Findings findings = check_includes(arrows(), {row.path, std::string(row.line) + "\n"});
  EXPECT_EQ(findings.empty(), row.allowed) << row.path << ": " << row.line;
}

INSTANTIATE_TEST_SUITE_P(
    , Includes,
    testing::Values(IncludeRow{"core/sdk/a.h", "#include \"core/sdk/b.h\"", true},
                    IncludeRow{"core/sdk/a.h", "#include \"core/base/b.h\"", false},
                    IncludeRow{"core/base/a.cc", "#include \"core/sdk/b.h\"", true},
                    IncludeRow{"core/base/a.cc", "#include \"core/based/b.h\"", false},
                    IncludeRow{"plugins/add/cpu.cc", "#include \"plugins/add/b.h\"", true},
                    IncludeRow{"plugins/add/cpu.cc", "#include \"plugins/shared.h\"", true},
                    IncludeRow{"plugins/add/cpu.cc", "#include \"plugins/mlp/b.h\"", false},
                    IncludeRow{"plugins/add/cpu.cc", "#include \"core/base/b.h\"", false},
                    IncludeRow{"plugins/shared.h", "#include \"plugins/add/b.h\"", false},
                    IncludeRow{"core/graph/a.cc", "#include <map>", false},
                    IncludeRow{"tests/a_test.cc", "#include \"plugins/mlp/b.h\"", true},
                    IncludeRow{"core/base/a.cc", "#include <map>", true},
                    IncludeRow{"core/base/yaml.cc", "#include <yaml-cpp/parser.h>", true},
                    IncludeRow{"core/base/yaml_parse.cc", "#include <yaml-cpp/parser.h>", true},
                    IncludeRow{"core/base/json.cc", "#include <yaml-cpp/parser.h>", false},
                    IncludeRow{"core/base/a.cc", "#include <unistd.h>", false},
                    IncludeRow{"plugins/cpu/a.cc", "#include <unistd.h>", true},
                    IncludeRow{"tests/a_test.cc", "#include <gtest/gtest.h>", true},
                    IncludeRow{"core/base/a.cc", "#include <gtest/gtest.h>", false}));

TEST(Rules, UnknownLibrariesNeedARow) {
  Arrows bare = arrows();
  bare.libraries.clear();
  EXPECT_EQ(check_includes(bare, {"core/base/a.cc", "#include <zlib.h>\n"}).size(), 1u);
}

TEST(Rules, FileNames) {
  EXPECT_EQ(check_file_name({"core/base/string_util.h", ""}).size(), 1u);
  EXPECT_EQ(check_file_name({"core/common/text.h", ""}).size(), 1u);
  EXPECT_TRUE(check_file_name({"core/base/utility.h", ""}).empty());
}

TEST(Rules, Heads) {
  EXPECT_TRUE(check_head({"a/b.h", "// What.\n#pragma once\n"}).empty());
  EXPECT_TRUE(check_head({"a/b.h", "/* What. */\n#ifndef B_H\n#define B_H\n#endif\n"}).empty());
  EXPECT_EQ(check_head({"a/b.h", "// What.\nint x;\n"}).size(), 1u);
  EXPECT_EQ(check_head({"a/b.h", "#pragma once\n"}).size(), 2u);
  EXPECT_TRUE(check_head({"a/b.cc", "#include \"a/b.h\"\n"}).empty());
  EXPECT_EQ(check_head({"a/b.cc", "#include \"a/c.h\"\n"}).size(), 1u);
  EXPECT_EQ(check_head({"a/b.cc", ""}).size(), 1u);
}

TEST(Rules, Units) {
  for (const char* good : {"std::uint64_t arena_bytes = 0;", "int layer_count;", "double load_ms;",
                           "std::uint64_t bytes;", "int length;", "// int num_layers;",
                           "std::uint64_t bytes_of(int x);", "double timeout_s = 2;"}) {
    EXPECT_TRUE(check_units({"a.h", good}).empty()) << good;
  }
  for (const char* bad : {"std::uint64_t bytes_arena = 0;", "int num_layers;", "double latency;",
                          "void f(int key_len);", "std::size_t block_idx{};"}) {
    EXPECT_EQ(check_units({"a.h", bad}).size(), 1u) << bad;
  }
}

TEST(Rules, Words) {
  for (const char* good : {"mkdtemp /tmp/x-XX"
                           "XX",
                           "the home/wo"
                           "rk folder",
                           "$D/wo"
                           "rk",
                           "TO"
                           "DOS",
                           "a/ro"
                           "ot/b",
                           "/wo"
                           "rk_group"}) {
    EXPECT_TRUE(check_words({"a.md", good}).empty()) << good;
  }
  for (const char* bad : {"// TO"
                          "DO: later",
                          "FIX"
                          "ME",
                          "cd /wo"
                          "rk/main",
                          "'/ro"
                          "ot'",
                          "https://pypi"
                          ".org/simple",
                          "/ho"
                          "me/me/x"}) {
    EXPECT_EQ(check_words({"a.md", bad}).size(), 1u) << bad;
  }
}

TEST(Rules, Pages) {
  const World world{[](const std::string& path) {
                      return path == "core/base/text.h" || path == "docs/TOUR.md" ||
                             path == "graphs" || path == "graphs/phi3.yaml";
                    },
                    [](const std::string& flag) { return flag == "--seed"; }};
  for (const char* good :
       {"`core/base/text.h`", "[x](TOUR.md#a)", "[x](https://example.org/a.md)", "`--seed 1`",
        "`cmake --install build`", "core/base/none.h in prose", "`plugins/*/x.cc`", "`a/b`",
        "```cpp a/b.cc\n#include \"core/base/text.h\"\n```\n`a/b.cc`", "`build/bin/x.py`",
        "```\nruntime --graph=graphs/phi3.yaml\n```\n`a.h`"}) {
    const Findings findings = check_page({"docs/A.md", good}, world);
    const bool graph = std::string(good).find("--graph") != std::string::npos;
    EXPECT_EQ(findings.size(), graph ? 1u : 0u) << good;
  }
  for (const char* bad : {"`core/base/none.h`", "[x](NONE.md)", "`--sed`", "`core/none`",
                          "```\ntools/run --graph x\n```", "`cmake --build x && run --sed`"}) {
    EXPECT_FALSE(check_page({"docs/A.md", bad}, world).empty()) << bad;
  }
}

TEST(Rules, TheTreeIsThere) {
  EXPECT_GT(tree().size(), 100u);
  EXPECT_NE(find_file("CMakeLists.txt"), nullptr);
  EXPECT_EQ(find_file("none"), nullptr);
  EXPECT_EQ(words_of("a  b", " ").size(), 2u);
  EXPECT_EQ(lines_of("a\nb").size(), 2u);
}

}  // namespace
}  // namespace rt::style
