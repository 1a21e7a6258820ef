// docs/PLANNERS.md keeps its word: the planner is taken from the page, built outside the tree
// against an installed SDK as a stranger would, named with --plugin, and every number of the page's
// tables is computed again.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>

#include "core/base/bytes.h"
#include "core/base/json.h"
#include "tests/support/page_files.h"
#include "tests/tools/command.h"

namespace rt::test {
namespace {

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

const std::string& page() {
  static const std::string text = read_text(source_path("docs/PLANNERS.md"));
  return text;
}

Json plan(const std::vector<std::string>& words) {
  std::vector<std::string> all{"plan", "--json"};
  all.insert(all.end(), words.begin(), words.end());
  const CommandResult result = run_command(all);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  auto json = parse_json(result.out, "stdout");
  EXPECT_TRUE(json.ok()) << result.out;
  return json.ok() ? *json : Json::object();
}

// Runs a command and returns "" or what it printed.
std::string shell(const std::string& command, const std::string& log) {
  const int status = std::system((command + " > " + log + " 2>&1").c_str());
  return status == 0 ? "" : command + "\n" + read_text(log);
}

// litgpt_chat, built once for all tests of this file.
class Litgpt {
 public:
  Litgpt() {
    for (const auto& [name, text] : files_of_page(page())) {
      std::filesystem::create_directories(std::filesystem::path(folder_.path(name)).parent_path());
      folder_.write(name, text);
    }
    const std::string source = folder_.path("litgpt_chat");
    const std::string log = folder_.path("log");
    EXPECT_EQ(shell(RT_CMAKE " --install " RT_BINARY_DIR " --component sdk --prefix " +
                        folder_.path("sdk"),
                    log),
              "");
    EXPECT_EQ(shell(RT_CMAKE " -S " + source + " -B " + source +
                        "/build -G '" RT_GENERATOR "' -DCMAKE_CXX_COMPILER=" RT_CXX_COMPILER
                        " '-DCMAKE_CXX_FLAGS=-Wall -Wextra -pedantic -Werror'"
                        " -DCMAKE_PREFIX_PATH=" +
                        folder_.path("sdk"),
                    log),
              "");
    EXPECT_EQ(shell(RT_CMAKE " --build " + source + "/build", log), "");
  }
  std::string plugin() const { return folder_.path("litgpt_chat/build/litgpt_chat.rtp.so"); }

 private:
  TemporaryFolder folder_;
};

const Litgpt& litgpt() {
  static const Litgpt one;
  return one;
}

struct Term {
  const char* graph;
  std::uint64_t n;
  std::uint64_t weights;
  std::uint64_t layers;
  std::uint64_t heads;
  std::uint64_t width;
  std::uint64_t second_head;
  const char* gigabytes;  // of 10^9 bytes, as on the page
};

// Sizes as the three models are published.
constexpr Term kReport[] = {
    {"phi3", 4096, 7642159104, 32, 32, 96, 0, "9.273"},
    {"tinyllama", 2048, 2200096768, 22, 32, 64, 0, "2.574"},
    {"gemma2", 8192, 18483411968, 42, 16, 256, 256000ull * 3584 * 2, "26.04"},
};

std::string gigabytes(std::uint64_t bytes, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, static_cast<double>(bytes) / 1e9);
  return text;
}

TEST(PlannersPage, EveryTermOfTheReport) {
  std::vector<std::vector<std::string>> rows(8);
  for (const Term& term : kReport) {
    const Json json =
        plan({"--graph", term.graph, "--plugin", litgpt().plugin(), "--planner", "litgpt_chat",
              "--set", "planner.options.second_head=" + std::to_string(term.second_head)});
    ASSERT_EQ(json["planners"].size(), 1u);
    const Json& one = json["planners"][0];
    EXPECT_EQ(json["context"], term.n);
    EXPECT_EQ(json["assumed"], true);
    const std::uint64_t kv = 2 * term.layers * term.heads * term.width * term.n * 2;
    EXPECT_EQ(one["highest"]["weights_mapped"], term.weights) << term.graph;
    EXPECT_EQ(one["highest"]["kv"], kv) << term.graph;
    EXPECT_EQ(one["standing"]["kv"], kv) << term.graph;
    EXPECT_EQ(one["charges"]["mask"], term.n * term.n);
    EXPECT_EQ(one["charges"]["rope"], 2 * term.n * term.width * 4);
    if (term.second_head > 0) {
      EXPECT_EQ(one["charges"]["second_head"], term.second_head);
    } else {
      EXPECT_FALSE(one["charges"].contains("second_head"));
    }
    const std::uint64_t sum = term.weights + kv + one["charged"].get<std::uint64_t>();
    const int digits = term.n == 8192 ? 2 : 3;
    EXPECT_EQ(gigabytes(sum, digits), term.gigabytes);
    const std::uint64_t cells[] = {
        term.n,           term.weights, kv, term.n * term.n, 2 * term.n * term.width * 4,
        term.second_head, sum};
    for (std::size_t i = 0; i < std::size(cells); ++i) rows[i].push_back(std::to_string(cells[i]));
    rows[7].push_back(term.gigabytes);
  }
  for (const auto& row : rows) {
    const std::string cells = "| " + row[0] + " | " + row[1] + " | " + row[2] + " |\n";
    EXPECT_NE(page().find(cells), std::string::npos) << "not on the page: " << cells;
  }
}

// "| `elastic` | 50.3 | ..." in MB, for every planner that is loaded.
TEST(PlannersPage, WhatOursTakeForTheSameChat) {
  std::map<std::string, std::string> rows;
  for (const Term& term : kReport) {
    const Json json = plan({"--graph", term.graph, "--plugin", litgpt().plugin(), "--prompt-tokens",
                            "30", "--new-tokens", "50"});
    for (const Json& one : json["planners"]) {
      ASSERT_TRUE(one["refusal"].is_null()) << one.dump();
      const std::uint64_t bytes =
          one["highest"]["kv"].get<std::uint64_t>() + one["charged"].get<std::uint64_t>();
      rows[one["name"].get<std::string>()] += " | " + gigabytes(bytes * 1000, 1);
    }
  }
  EXPECT_GE(rows.size(), 3u);
  for (const auto& [name, cells] : rows) {
    const std::string row = "| `" + name + "`" + cells + " |\n";
    EXPECT_NE(page().find(row), std::string::npos) << "not on the page: " << row;
  }
}

const std::string& readme() {
  static const std::string text = read_text(source_path("README.md"));
  return text;
}

// "| `fast` | `static` | 959 MiB | ..." for the configs of the README's table.
TEST(Readme, TheSameChatUnderThreeConfigs) {
  for (const char* config : {"fast", "lean", "default"}) {
    std::string cells;
    std::string planner;
    for (const char* graph : {"llama3", "phi3", "gemma2"}) {
      for (const char* prompt : {"80", "2000"}) {
        const Json json = plan({"--graph", graph, "--config", config, "--prompt-tokens", prompt,
                                "--new-tokens", "50"});
        const Json& one = json["planners"][0];
        EXPECT_EQ(one["configured"], true);
        planner = one["name"];
        cells += " | " + format_bytes(one["highest"]["kv"].get<std::uint64_t>());
      }
    }
    const std::string row = "| `" + std::string(config) + "` | `" + planner + "`" + cells + " | ";
    EXPECT_NE(readme().find(row), std::string::npos) << "not in the README: " << row;
  }
}

// The page shown is the page printed, for the described laptop on any machine.
TEST(Readme, ThePlanIsThePlan) {
  const std::string prompt = "$ build/bin/runtime ";
  const std::size_t begin = readme().find(prompt + "plan ");
  ASSERT_NE(begin, std::string::npos);
  const std::size_t line_end = readme().find('\n', begin);
  std::istringstream words(
      readme().substr(begin + prompt.size(), line_end - begin - prompt.size()));
  const std::vector<std::string> arguments{std::istream_iterator<std::string>(words), {}};
  const std::string shown =
      readme().substr(line_end + 1, readme().find("```", line_end) - line_end - 1);
  const CommandResult result = run_command(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find(shown), std::string::npos) << "shown:\n"
                                                       << shown << "printed:\n"
                                                       << result.out;
}

TEST(PlannersPage, LitgptChatRunsAndGivesTheSameTokens) {
  const std::vector<std::string> rest{"--prompt-ids", "1,2,3",  "-n",     "8",
                                      "--ignore-eos", "--json", "--temp", "0"};
  std::vector<std::string> as_litgpt = rest;
  as_litgpt.insert(as_litgpt.end(), {"--plugin", litgpt().plugin(), "--planner", "litgpt_chat"});
  const CommandResult ours = run_command(arguments("generate", fixture_model(), rest));
  const CommandResult theirs = run_command(arguments("generate", fixture_model(), as_litgpt));
  ASSERT_EQ(theirs.exit_code, 0) << theirs.err;
  const auto a = parse_json(ours.out, "stdout");
  const auto b = parse_json(theirs.out, "stdout");
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ((*a)["ids"], (*b)["ids"]);
  EXPECT_EQ((*b)["memory"]["planned"], (*b)["memory"]["measured"]);
}

TEST(PlannersPage, LitgptChatStandsAmongTheOthers) {
  const Json json =
      plan({"--graph", "tinyllama", "--plugin", litgpt().plugin(), "--prompt-tokens", "30"});
  bool seen = false;
  for (const Json& one : json["planners"]) seen = seen || one["name"] == "litgpt_chat";
  EXPECT_TRUE(seen);
}

}  // namespace
}  // namespace rt::test
