// `generate` as a user runs it: the golden tokens, --json, --logits, batches, interruption.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "core/base/json.h"
#include "tests/tools/command.h"

namespace rt::test {
namespace {

Json parse(const std::string& text) {
  auto json = parse_json(text, "stdout");
  EXPECT_TRUE(json.ok()) << text;
  return json.ok() ? *json : Json::object();
}

Json golden() {
  auto json = read_json(source_path("tests/fixtures/phi3/golden.json"), 64 << 20);
  EXPECT_TRUE(json.ok());
  return json.ok() ? *json : Json::object();
}

std::string ids_text(const Json& ids) {
  std::string text;
  for (const Json& id : ids) text += (text.empty() ? "" : ",") + id.dump();
  return text;
}

const std::vector<std::string> kExact{"--exact", "--kv-dtype", "f32", "--temp", "0"};

std::vector<std::string> exact_fixture(const std::vector<std::string>& rest) {
  std::vector<std::string> words = kExact;
  words.insert(words.end(), {"--ignore-eos", "--json"});
  words.insert(words.end(), rest.begin(), rest.end());
  return arguments("generate", fixture_model(), words);
}

TEST(Generate, GivesTheGoldenTokensOfEveryCase) {
  const Json cases = golden()["cases"];
  for (const Json& one : cases) {
    const std::size_t count = one["greedy_ids"].size();
    const CommandResult result = run_command(
        exact_fixture({"--prompt-ids", ids_text(one["prompt_ids"]), "-n", std::to_string(count)}));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const Json json = parse(result.out);
    EXPECT_EQ(json["ids"], one["greedy_ids"]) << one["name"];
    EXPECT_EQ(json["prompt_ids"], one["prompt_ids"]);
    EXPECT_EQ(json["finish_reason"], "length");
    EXPECT_EQ(json["timings"]["prompt_n"], one["prompt_ids"].size());
    EXPECT_EQ(json["timings"]["predicted_n"], count);
  }
}

TEST(Generate, TheReferencesAloneGiveTheSameTokens) {
  const Json one = golden()["cases"][0];
  const CommandResult result =
      run_command(exact_fixture({"--set", "operators.prefer=reference", "--prompt-ids",
                                 ids_text(one["prompt_ids"]), "-n", "16"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json ids = parse(result.out)["ids"];
  ASSERT_EQ(ids.size(), 16u);
  EXPECT_TRUE(std::equal(ids.begin(), ids.end(), one["greedy_ids"].begin()));
}

TEST(Generate, PlanEqualsLedgerUnderEveryPlanner) {
  const CommandResult plan = run_command(
      arguments("plan", fixture_model(), {"--json", "--prompt-tokens", "3", "--new-tokens", "40"}));
  ASSERT_EQ(plan.exit_code, 0) << plan.err;
  const Json planners = parse(plan.out)["planners"];
  for (const Json& planner : planners) {
    const std::string name = planner["name"];
    const CommandResult result =
        run_command(exact_fixture({"--prompt-ids", "1,2,3", "-n", "40", "--planner", name}));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const Json memory = parse(result.out)["memory"];
    EXPECT_EQ(memory["planned"], memory["measured"]) << name << memory.dump();
    EXPECT_EQ(memory["planned_standing"], memory["standing"]) << name << memory.dump();
    EXPECT_EQ(memory["copied_bytes"], planner["copied_bytes"]) << name;
    EXPECT_EQ(memory["address_changes"], planner["address_changes"]) << name;
    EXPECT_EQ(memory["reprefill_tokens"], 0) << name;
  }
}

TEST(Generate, WritesTheLogitsOfEachToken) {
  const TemporaryFolder folder;
  const Json one = golden()["cases"][0];
  const std::string path = folder.path("logits");
  const CommandResult result = run_command(
      exact_fixture({"--prompt-ids", ids_text(one["prompt_ids"]), "-n", "5", "--logits", path}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  constexpr std::size_t kVocabulary = 128;
  ASSERT_EQ(std::filesystem::file_size(path), 5 * kVocabulary * sizeof(float));
  std::vector<float> logits(5 * kVocabulary);
  std::ifstream(path, std::ios::binary)
      .read(reinterpret_cast<char*>(logits.data()),
            static_cast<std::streamsize>(logits.size() * sizeof(float)));
  const Json ids = parse(result.out)["ids"];
  for (std::size_t i = 0; i < 5; ++i) {
    const auto row = logits.begin() + static_cast<std::ptrdiff_t>(i * kVocabulary);
    const auto best = std::max_element(row, row + kVocabulary);
    EXPECT_EQ(best - row, ids[i].get<std::ptrdiff_t>());
  }
}

TEST(Generate, ABatchRowEqualsThePromptAlone) {
  std::string lines;
  const Json cases = golden()["cases"];
  for (const Json& one : cases) {
    Json line = Json::object();
    line["prompt_ids"] = one["prompt_ids"];
    line["max_new_tokens"] = one["greedy_ids"].size();
    lines += line.dump() + "\n\n";  // empty lines are passed over
  }
  CommandInput input;
  input.arguments = arguments("generate", fixture_model(), kExact);
  input.arguments.insert(input.arguments.end(), {"--ignore-eos", "--prompts", "-", "-np", "2"});
  input.stdin_text = lines;
  const CommandResult result = run_command(input);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  std::istringstream stream(result.out);
  std::string line;
  std::map<std::size_t, Json> by_index;
  while (std::getline(stream, line)) {
    const Json json = parse(line);
    by_index[json["index"].get<std::size_t>()] = json;
  }
  ASSERT_EQ(by_index.size(), cases.size());
  for (const auto& [index, json] : by_index) EXPECT_EQ(json["ids"], cases[index]["greedy_ids"]);
}

std::map<std::size_t, Json> batch(const std::string& lines, const std::vector<std::string>& rest) {
  CommandInput input;
  input.arguments = arguments("generate", fixture_model(), kExact);
  input.arguments.insert(input.arguments.end(), {"--ignore-eos", "--prompts", "-"});
  input.arguments.insert(input.arguments.end(), rest.begin(), rest.end());
  input.stdin_text = lines;
  const CommandResult result = run_command(input);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  std::istringstream stream(result.out);
  std::map<std::size_t, Json> by_index;
  for (std::string line; std::getline(stream, line);) {
    const Json json = parse(line);
    by_index[json["index"].get<std::size_t>()] = json;
  }
  return by_index;
}

// configs/shared-prefix.yaml does what its name says, and the answers are the same.
TEST(Generate, ABatchSharesItsPrefixUnderPaged) {
  std::string common;
  for (int i = 0; i < 70; ++i) common += std::to_string(3 + i * 7 % 90) + ",";
  std::string lines;
  for (int i = 0; i < 5; ++i) {
    lines += "{\"prompt_ids\":[" + common + std::to_string(100 + i) + "]}\n";
  }
  const auto shared = batch(lines, {"--config", "shared-prefix", "-n", "9"});
  const auto alone = batch(lines, {"-n", "9", "-np", "1"});
  ASSERT_EQ(shared.size(), 5u);
  for (const auto& [index, json] : shared) {
    EXPECT_EQ(json["shared_tokens"], 64) << json.dump();
    EXPECT_EQ(json["timings"]["cache_n"], 64);
    EXPECT_EQ(json["timings"]["prompt_n"], 7);
    EXPECT_EQ(json["ids"], alone.at(index)["ids"]);
    EXPECT_EQ(alone.at(index)["shared_tokens"], 0);
  }
}

// The answers that the context cuts are said, as of a single prompt.
TEST(Generate, ABatchSaysWhereTheContextWasFull) {
  CommandInput input;
  input.arguments = arguments("generate", fixture_model(), kExact);
  input.arguments.insert(input.arguments.end(), {"--ignore-eos", "--prompts", "-", "-c", "8"});
  input.stdin_text =
      "{\"prompt_ids\":[3,4],\"max_new_tokens\":2}\n"
      "{\"prompt_ids\":[3,4],\"max_new_tokens\":99}\n";
  const CommandResult result = run_command(input);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find("index 1: the answer stops here: the context is full (8 tokens)"),
            std::string::npos)
      << result.err;
  EXPECT_EQ(result.err.find("index 0"), std::string::npos) << result.err;
}

TEST(Generate, ASeedHas64Bits) {
  const auto seed_of = [](const std::string& seed) {
    return parse(run_command(arguments("generate", fixture_model(),
                                       {"--prompt-ids", "1", "-n", "1", "--json", "-s", seed}))
                     .out)["seed"];
  };
  EXPECT_EQ(seed_of("18446744073709551615"), 18446744073709551615u);
  EXPECT_EQ(seed_of("9300000000000000001"), 9300000000000000001u);
}

// Without a verb the flags of both are taken, and none is ignored.
TEST(Generate, AChatsFlagWithoutAVerbIsRefused) {
  std::vector<std::string> words = demo_model();
  words.insert(words.end(), {"-p", "Hello", "--system", "Be brief."});
  const CommandResult result = run_command(words);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_NE(result.err.find("--system is a flag of a chat; begin with its verb: runtime chat -p"),
            std::string::npos)
      << result.err;
}

// -n makes the whole batch hard: refused with what would fit, and that runs. Without -n fewer run.
TEST(Generate, ABatchIsAdmittedAsAWhole) {
  const std::string lines =
      "{\"prompt_ids\":[3,4,5]}\n{\"prompt_ids\":[6,7]}\n"
      "{\"prompt_ids\":[8]}\n{\"prompt_ids\":[9,10]}\n";
  const Json plan =
      parse(run_command(arguments("plan", fixture_model(),
                                  {"--json", "--prompt-tokens", "3", "--new-tokens", "200",
                                   "--parallel", "2", "--planner", "elastic", "--kv-dtype", "f32",
                                   "--set", "operators.exact=true"}))
                .out);
  const std::string limit =
      std::to_string(plan["planners"][0]["highest"]["owned"].get<std::uint64_t>() + 4096);
  CommandInput input;
  input.arguments = arguments("generate", fixture_model(), kExact);
  input.arguments.insert(input.arguments.end(),
                         {"--ignore-eos", "--prompts", "-", "-n", "200", "-np", "4",
                          "--memory-limit", limit, "--planner", "elastic"});
  input.stdin_text = lines;
  const CommandResult refused = run_command(input);
  EXPECT_EQ(refused.exit_code, 3) << refused.err;
  EXPECT_EQ(refused.out, "");
  EXPECT_NE(refused.err.find("4 prompts at once"), std::string::npos) << refused.err;
  EXPECT_NE(refused.err.find("with --parallel 2 they fit"), std::string::npos) << refused.err;
  const auto fewer = batch(lines, {"-n", "200", "-np", "2", "--memory-limit", limit});
  ASSERT_EQ(fewer.size(), 4u);
  for (const auto& [index, json] : fewer) EXPECT_EQ(json["ids"].size(), 200u);
}

TEST(Generate, AnswersGoToStdoutAndNothingElse) {
  CommandInput input;
  input.arguments = arguments("generate", demo_model(), {"-n", "8", "--temp", "0"});
  input.stdin_text = "Once upon a time\n";
  const CommandResult plain = run_command(input);
  ASSERT_EQ(plain.exit_code, 0) << plain.err;
  EXPECT_EQ(plain.err, "");
  EXPECT_TRUE(plain.out.ends_with("\n"));
  input.arguments.push_back("--stats");
  const CommandResult stats = run_command(input);
  EXPECT_EQ(stats.out, plain.out);
  for (const char* part :
       {"[ load ", "| prompt ", "| gen 8 tok", "| TTFT ", "| ctx ", "| KV ", "| peak "}) {
    EXPECT_NE(stats.err.find(part), std::string::npos) << stats.err;
  }
  // -p, -f and stdin are the same question.
  const TemporaryFolder folder;
  const std::string file = folder.write("prompt", "Once upon a time\n");
  EXPECT_EQ(
      run_command(arguments("generate", demo_model(), {"-n", "8", "--temp", "0", "-f", file})).out,
      plain.out);
  // Without a verb a prompt is continued.
  std::vector<std::string> words = demo_model();
  words.insert(words.end(), {"-p", "Once upon a time", "-n", "8", "--temp", "0"});
  EXPECT_EQ(run_command(words).out, plain.out);
}

TEST(Generate, TheSameSeedGivesTheSameText) {
  const auto with_seed = [](const std::string& seed) {
    return run_command(
               arguments("generate", demo_model(), {"-p", "The king", "-n", "24", "--seed", seed}))
        .out;
  };
  EXPECT_EQ(with_seed("1"), with_seed("1"));
  EXPECT_NE(with_seed("1"), with_seed("2"));
  EXPECT_NE(with_seed("9223372036854775807"), "");
  const CommandResult drawn =
      run_command(arguments("generate", demo_model(), {"-p", "The king", "-n", "24"}));
  const std::size_t at = drawn.err.find("seed ");
  ASSERT_NE(at, std::string::npos) << drawn.err;
  std::string seed = drawn.err.substr(at + 5);
  seed.resize(seed.find_first_not_of("0123456789"));
  EXPECT_EQ(with_seed(seed), drawn.out);
}

TEST(Generate, AStopStringEndsTheTextBeforeIt) {
  const CommandResult whole = run_command(
      arguments("generate", demo_model(), {"-p", "The king", "-n", "24", "--temp", "0", "--json"}));
  const std::string text = parse(whole.out)["text"];
  ASSERT_GT(text.size(), 12u);
  const std::string stop = text.substr(8, 3);
  const CommandResult cut = run_command(
      arguments("generate", demo_model(),
                {"-p", "The king", "-n", "24", "--temp", "0", "--json", "--stop", stop}));
  const Json json = parse(cut.out);
  EXPECT_EQ(json["text"], text.substr(0, text.find(stop)));
  EXPECT_EQ(json["finish_reason"], "stop");
}

TEST(Generate, NoTokensWantedIsNoTokens) {
  const CommandResult result = run_command(
      arguments("generate", fixture_model(), {"--prompt-ids", "1", "-n", "0", "--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(parse(result.out)["ids"], Json::array());
  EXPECT_EQ(parse(result.out)["finish_reason"], "length");
}

TEST(Generate, MoreTokensThanTheContextHoldsEndsThere) {
  const CommandResult result =
      run_command(exact_fixture({"--prompt-ids", "1,2,3", "-n", "2147483648", "-c", "16"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(parse(result.out)["ids"].size(), 13u);
  EXPECT_EQ(parse(result.out)["finish_reason"], "length");
}

TEST(Generate, TopKBeyondTheVocabularyIsTheVocabulary) {
  const CommandResult result =
      run_command(arguments("generate", fixture_model(),
                            {"--prompt-ids", "1", "-n", "8", "--top-k", "1000000", "--seed", "3",
                             "--ignore-eos", "--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(parse(result.out)["ids"].size(), 8u);
}

TEST(Generate, RandomWeightsNeedNoFiles) {
  const CommandResult result = run_command({"generate", "--graph", "phi3", "--weights",
                                            "random:" + source_path("tests/fixtures/phi3"),
                                            "--prompt-ids", "1,2", "-n", "3", "--temp", "0"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), ' '), 2);
}

TEST(Generate, AClosedStdoutEndsItQuietly) {
  CommandInput input;
  input.arguments =
      arguments("generate", demo_model(), {"-p", "The king", "--ignore-eos", "--seed", "1"});
  input.close_stdout = true;
  const CommandResult result = run_command(input);
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.err, "");
}

TEST(Generate, AnInterruptKeepsTheTextSoFar) {
  CommandInput input;
  input.arguments =
      arguments("generate", demo_model(), {"-p", "The king", "--ignore-eos", "--stats"});
  input.interrupts = 1;
  const CommandResult once = run_command(input);
  EXPECT_EQ(once.exit_code, 130);
  EXPECT_NE(once.out, "");
  EXPECT_NE(once.err.find("[ load "), std::string::npos) << once.err;
  input.interrupts = 2;
  EXPECT_EQ(run_command(input).exit_code, 130);
}

TEST(Generate, TinystoriesTellsItsStory) {
  const std::string model = RT_SOURCE_DIR "/../shared/data/models/tinystories656K";
  if (!std::filesystem::exists(model)) GTEST_SKIP() << "no " << model;
  const CommandResult result = run_command({"generate", "--graph", "tinyllama", "--weights", model,
                                            "-p", "Once upon a time", "-n", "20", "--temp", "0"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("little girl"), std::string::npos) << result.out;
}

}  // namespace
}  // namespace rt::test
