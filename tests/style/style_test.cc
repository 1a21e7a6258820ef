// The checkout against the rules of this folder. rules_test.cc shows that each rule can fail.
#include <gtest/gtest.h>

#include <cctype>
#include <cstdio>
#include <utility>

#include "tests/style/layers.h"
#include "tests/style/pages.h"
#include "tests/style/tree.h"
#include "tests/style/wording.h"

namespace rt::style {
namespace {

// Beyond this a file is reported, not refused: a longer one may still be one noun.
constexpr std::size_t kLongFileLines = 450;

void expect_none(const Findings& findings) {
  for (const std::string& text : findings) ADD_FAILURE() << text;
}

// Code of ours: everything but test data and the plugins that are broken on purpose.
bool is_own_source(const std::string& path) {
  return is_source(path) && !path.starts_with("tests/plugin/cases/");
}

TEST(Style, IncludesFollowTheLayers) {
  const SourceFile* page = find_file("docs/ARCHITECTURE.md");
  ASSERT_NE(page, nullptr);
  const Arrows arrows = parse_arrows(page->text);
  ASSERT_FALSE(arrows.layers.empty());
  ASSERT_FALSE(arrows.libraries.empty());
  for (const SourceFile& file : tree()) {
    if (is_source(file.path)) expect_none(check_includes(arrows, file));
  }
}

// The page may grow rows; these hold whatever it says.
TEST(Style, TheLayersKeepTheBoundary) {
  const SourceFile* page = find_file("docs/ARCHITECTURE.md");
  ASSERT_NE(page, nullptr);
  const Arrows arrows = parse_arrows(page->text);
  for (const auto& [from, header] : {std::pair{"core/engine/a.cc", "plugins/cpu/memory.h"},
                                     {"core/engine/a.cc", "kernels/cpu/add.h"},
                                     {"core/sdk/a.h", "core/base/result.h"},
                                     {"core/base/a.cc", "core/graph/graph.h"},
                                     {"core/graph/a.cc", "core/plugin/registry.h"},
                                     {"core/text/a.cc", "core/graph/graph.h"},
                                     {"core/memory/a.cc", "core/plugin/host.h"},
                                     {"kernels/cpu/a.cc", "core/sdk/abi.h"},
                                     {"plugins/add/a.cc", "core/base/result.h"},
                                     {"plugins/add/a.cc", "plugins/mlp/a.h"},
                                     {"tools/runtime/a.cc", "plugins/cpu/memory.h"},
                                     {"tools/runtime/a.cc", "kernels/cpu/add.h"}}) {
    const SourceFile file{from, "#include \"" + std::string(header) + "\"\n"};
    EXPECT_EQ(check_includes(arrows, file).size(), 1u) << from << " -> " << header;
  }
}

TEST(Style, FilesAreNamedAfterWhatIsInThem) {
  for (const SourceFile& file : tree()) expect_none(check_file_name(file));
}

TEST(Style, FilesSayWhatTheyAre) {
  for (const SourceFile& file : tree()) {
    if (is_own_source(file.path)) expect_none(check_head(file));
  }
}

TEST(Style, UnitsStandLast) {
  for (const SourceFile& file : tree()) {
    if (is_own_source(file.path)) expect_none(check_units(file));
  }
}

TEST(Style, NoNotesNoMachinesNoRegistries) {
  for (const SourceFile& file : tree()) {
    if (!file.path.ends_with("tokenizer.json")) expect_none(check_words(file));
  }
}

TEST(Style, PagesNameWhatExists) {
  std::string sources;
  for (const SourceFile& file : tree()) {
    if (file.path.starts_with("tools/runtime/") && is_source(file.path)) sources += file.text;
  }
  const bool has_command = !sources.empty();
  const World world{exists, [&](const std::string& flag) {
                      // "--seed" is not found in "--seeds": the name ends there.
                      for (std::size_t at = sources.find(flag); at != std::string::npos;
                           at = sources.find(flag, at + 1)) {
                        const char after = sources[at + flag.size()];
                        if (after != '-' && std::isalnum(static_cast<unsigned char>(after)) == 0) {
                          return true;
                        }
                      }
                      return !has_command;
                    }};
  std::size_t pages = 0;
  for (const SourceFile& file : tree()) {
    if (file.path != "README.md" &&
        !(file.path.starts_with("docs/") && file.path.ends_with(".md"))) {
      continue;
    }
    ++pages;
    expect_none(check_page(file, world));
  }
  EXPECT_GE(pages, 4u);
}

TEST(Style, LongFilesAreReported) {
  for (const SourceFile& file : tree()) {
    const std::size_t lines = lines_of(file.text).size();
    if (is_source(file.path) && lines > kLongFileLines) {
      std::printf("%s has %zu lines; is it still one noun?\n", file.path.c_str(), lines);
    }
  }
}

}  // namespace
}  // namespace rt::style
