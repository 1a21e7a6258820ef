// Memory in a run: what a rewind gives back, --trace, the planned peak in the stats line.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <sstream>

#include "core/base/json.h"
#include "tests/tools/command.h"

namespace rt::test {
namespace {

CommandResult chat(const std::string& lines, const std::vector<std::string>& rest = {}) {
  CommandInput input;
  input.arguments = arguments("chat", demo_model(), {"-n", "40", "--temp", "0", "--ignore-eos"});
  input.arguments.insert(input.arguments.end(), rest.begin(), rest.end());
  input.stdin_text = lines;
  return run_command(input);
}

Json parse(const std::string& text) {
  auto json = parse_json(text, "output");
  EXPECT_TRUE(json.ok()) << text;
  return json.ok() ? *json : Json::object();
}

std::vector<std::string> planners() {
  const Json plan = parse(
      run_command(arguments("plan", fixture_model(), {"--json", "--prompt-tokens", "3"})).out);
  std::vector<std::string> names;
  for (const Json& one : plan["planners"]) names.push_back(one["name"].get<std::string>());
  return names;
}

// The rows of every `/show memory` in turn: class -> now, planned, at most, planned.
using Shown = std::map<std::string, std::vector<std::string>>;
std::vector<Shown> shown_memory(const std::string& err) {
  std::vector<Shown> all;
  std::istringstream lines(err);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    words >> name;
    if (name == "now") all.emplace_back();
    if (all.empty() || line.find("iB") == std::string::npos) continue;
    std::string number;
    std::string unit;
    while (words >> number >> unit) all.back()[name].push_back(number + unit);
  }
  return all;
}

constexpr const char* kTalk =
    "It was a dark night.\n/show memory\nThen the king came.\n/show memory\n/undo\n/show memory\n"
    "And the queen.\n/show memory\n/regen\n/show memory\n/clear\n/show memory\n"
    "Once more.\n/show memory\n";

TEST(Memory, ARewindGivesBackWhatWasPredictedUnderEveryPlanner) {
  for (const std::string& planner : planners()) {
    const CommandResult result = chat(kTalk, {"--planner", planner});
    ASSERT_EQ(result.exit_code, 0) << planner << ": " << result.err;
    const auto shown = shown_memory(result.err);
    ASSERT_EQ(shown.size(), 7u) << planner << ": " << result.err;
    EXPECT_EQ(result.err.find("NOT as planned"), std::string::npos) << planner << ":\n"
                                                                    << result.err;
    for (const Shown& one : shown) {
      const auto kv = one.find("kv");
      ASSERT_NE(kv, one.end()) << result.err;
      ASSERT_EQ(kv->second.size(), 4u);
      EXPECT_EQ(kv->second[0], kv->second[1]) << planner;
      EXPECT_EQ(kv->second[2], kv->second[3]) << planner;
    }
  }
}

TEST(Memory, ClearLeavesNothingOfTheCacheStanding) {
  const auto shown = shown_memory(chat(kTalk, {"--planner", "elastic"}).err);
  ASSERT_EQ(shown.size(), 7u);
  EXPECT_NE(shown[1].at("kv")[0], "0B");
  EXPECT_EQ(shown[2].at("kv")[0], shown[0].at("kv")[0]);  // /undo: as after the first answer
  EXPECT_EQ(shown[5].at("kv")[0].front(), '0');           // "0 B ..."
}

// The stats line says both peaks, and they agree.
TEST(Memory, TheStatsLineHasThePlannedPeak) {
  const CommandResult result = chat("It was a dark night.\nThen the king came.\n", {"--stats"});
  std::size_t lines = 0;
  for (std::size_t at = result.err.find("| peak "); at != std::string::npos;
       at = result.err.find("| peak ", at + 1)) {
    const std::size_t comma = result.err.find(", planned ", at);
    ASSERT_NE(comma, std::string::npos) << result.err;
    const std::string measured = result.err.substr(at + 7, comma - at - 7);
    EXPECT_EQ(result.err.substr(comma + 10, measured.size()), measured) << result.err;
    ++lines;
  }
  EXPECT_EQ(lines, 2u);
}

struct Traced {
  Json trace;
  Json memory;
  std::map<std::string, std::uint64_t> count;   // of events by name
  std::map<std::string, std::uint64_t> bytes;   // sums
  std::map<std::string, std::uint64_t> tokens;  // sums
};

Traced traced(const std::vector<std::string>& rest) {
  const TemporaryFolder folder;
  const std::string path = folder.path("trace.json");
  std::vector<std::string> words{"--prompt-ids", "1,2,3",  "-n", "200",     "--ignore-eos",
                                 "--json",       "--temp", "0",  "--trace", path};
  words.insert(words.end(), rest.begin(), rest.end());
  const CommandResult result = run_command(arguments("generate", fixture_model(), words));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  std::ifstream file(path, std::ios::binary);
  Traced out;
  out.trace = parse({std::istreambuf_iterator<char>(file), {}});
  out.memory = parse(result.out)["memory"];
  for (const Json& event : out.trace["traceEvents"]) {
    const std::string name = event["name"];
    ++out.count[name];
    if (!event.contains("cat") || event["cat"] != "kv") continue;
    out.bytes[name] += event["args"]["bytes"].get<std::uint64_t>();
    out.tokens[name] += event["args"]["tokens"].get<std::uint64_t>();
  }
  return out;
}

TEST(Trace, CountsAreTheLedgers) {
  for (const std::string& planner : planners()) {
    const Traced run = traced({"--planner", planner});
    const auto count = [&](const char* name) {
      return run.count.contains(name) ? run.count.at(name) : 0;
    };
    EXPECT_EQ(count("prefill") + count("decode"), 200u) << planner;
    EXPECT_EQ(count("commit"), run.memory["commits"]) << planner;
    EXPECT_EQ(count("decommit"), run.memory["decommits"]) << planner;
    EXPECT_EQ(count("address_change"), run.memory["address_changes"]) << planner;
    EXPECT_EQ(run.bytes.contains("copy") ? run.bytes.at("copy") : 0, run.memory["copied_bytes"])
        << planner;
  }
}

TEST(Trace, IsChromesFormat) {
  const Traced run = traced({});
  ASSERT_TRUE(run.trace["traceEvents"].is_array());
  double last_us = 0;
  for (const Json& event : run.trace["traceEvents"]) {
    for (const char* key : {"name", "ph", "ts", "pid", "tid"}) {
      ASSERT_TRUE(event.contains(key)) << event.dump();
    }
    if (event["ph"] == "X") {
      EXPECT_GE(event["ts"].get<double>(), last_us);
      EXPECT_GE(event["dur"].get<double>(), 0);
      last_us = event["ts"];
    }
  }
  EXPECT_GT(run.count.at("KV cache"), 0u);
}

// A chat that comes back below its context's switch, and one that is taken back: both are traced.
TEST(Trace, AChatsRewindsAreInIt) {
  const TemporaryFolder folder;
  const std::string path = folder.path("trace.json");
  const CommandResult result =
      chat("It was a dark night.\nThen the king came.\n/clear\n", {"--trace", path});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  std::ifstream file(path, std::ios::binary);
  const Json trace = parse({std::istreambuf_iterator<char>(file), {}});
  std::int64_t standing = 0;
  for (const Json& event : trace["traceEvents"]) {
    const std::string name = event["name"];
    if (name == "commit") standing += event["args"]["bytes"].get<std::int64_t>();
    if (name == "decommit") standing -= event["args"]["bytes"].get<std::int64_t>();
  }
  EXPECT_EQ(standing, 0);
}

}  // namespace
}  // namespace rt::test
