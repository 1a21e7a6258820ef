// Settings: precedence, the config file, --print-config.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/tools/command.h"

namespace rt::test {
namespace {

std::string print_config(const std::vector<std::string>& rest,
                         const std::vector<std::string>& variables = {}) {
  CommandInput input;
  input.arguments = arguments("generate", {}, rest);
  input.arguments.push_back("--print-config");
  input.variables = variables;
  const CommandResult result = run_command(input);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return result.out;
}

// The printed line of a key, blanks squeezed: "temperature: 0.5 # --temp".
std::string line_of(const std::string& text, const std::string& key) {
  std::size_t at = text.find(key + ": ");
  if (at == std::string::npos) return "";
  std::string line;
  for (; at < text.size() && text[at] != '\n'; ++at) {
    if (text[at] == ' ' && line.ends_with(' ')) continue;
    line += text[at];
  }
  return line;
}

// A config's options are its planner's: one that is named instead has none of them.
TEST(Config, AnotherPlannerHasItsOwnOptions) {
  const std::vector<std::string> words{"--graph", "phi3", "--config", "default"};
  EXPECT_EQ(line_of(print_config(words), "stripe").substr(0, 9), "stripe: 0");
  for (const char* planner : {"exact", "paged", "grow", "static", "auto", "all"}) {
    std::vector<std::string> named = words;
    named.insert(named.end(), {"--planner", planner});
    EXPECT_EQ(line_of(print_config(named), "stripe"), "") << planner;
    named.insert(named.end(), {"--set", "planner.options.page=4"});
    EXPECT_EQ(line_of(print_config(named), "page").substr(0, 7), "page: 4") << planner;
  }
  std::vector<std::string> same = words;
  same.insert(same.end(), {"--planner", "elastic"});
  EXPECT_EQ(line_of(print_config(same), "stripe").substr(0, 9), "stripe: 0");
}

// Without sampling Hugging Face takes the likeliest token; its penalty looks at everything.
TEST(Config, AGenerationConfigMeansWhatHuggingFaceReads) {
  const TemporaryFolder folder;
  folder.write("generation_config.json",
               R"({"do_sample": false, "temperature": 0.7, "repetition_penalty": 1.3})");
  folder.write("config.json", "{}");
  const std::string text = print_config({"--graph", "phi3", "--weights", folder.path("")});
  EXPECT_EQ(line_of(text, "temperature").substr(0, 14), "temperature: 0");
  EXPECT_EQ(line_of(text, "repeat_last_n").substr(0, 17), "repeat_last_n: -1");
  const std::string asked =
      print_config({"--graph", "phi3", "--weights", folder.path(""), "--temp", "0.5"});
  EXPECT_EQ(line_of(asked, "temperature"), "temperature: 0.5 # --temp");
}

TEST(Config, EachLevelReplacesTheOneBelow) {
  const TemporaryFolder folder;
  folder.write("generation_config.json", R"({"temperature": 0.1, "top_k": 11})");
  folder.write("config.json", "{}");
  const std::string config =
      folder.write("c.yaml", "sampling:\n  temperature: 0.2\n  top_p: 0.22\n");
  const std::string model = folder.path("");
  std::vector<std::string> words{"--graph", "phi3", "--weights", model};
  EXPECT_EQ(line_of(print_config(words), "temperature"),
            "temperature: 0.1 # " + model + "/generation_config.json: temperature");
  words.insert(words.end(), {"--config", config});
  EXPECT_EQ(line_of(print_config(words), "temperature"), "temperature: 0.2 # " + config + ":2:16");
  words.insert(words.end(), {"--set", "sampling.temperature=0.3"});
  EXPECT_EQ(line_of(print_config(words), "temperature"),
            "temperature: 0.3 # --set sampling.temperature");
  const std::vector<std::string> variables{"RUNTIME_TEMP=0.4"};
  EXPECT_EQ(line_of(print_config(words, variables), "temperature"),
            "temperature: 0.4 # RUNTIME_TEMP");
  words.insert(words.end(), {"--temp", "0.5"});
  const std::string last = print_config(words, variables);
  EXPECT_EQ(line_of(last, "temperature"), "temperature: 0.5 # --temp");
  EXPECT_EQ(line_of(last, "top_p"), "top_p: 0.22 # " + config + ":3:10");
  EXPECT_NE(line_of(last, "top_k").find("generation_config.json: top_k"), std::string::npos);
  EXPECT_EQ(line_of(last, "min_p"), "min_p: 0.05 # built-in");
  EXPECT_EQ(line_of(last, "fuse"), "fuse: true # built-in");
}

TEST(Config, AMisspelledVariableIsSaid) {
  CommandInput input;
  input.arguments = arguments("plan", fixture_model(), {});
  input.variables = {"RUNTIME_PLANER=exact", "RUNTIME_OF_SOMEBODY_ELSE=1",
                     "RUNTIME_PLUGIN=/x.rtp.so"};
  const CommandResult result = run_command(input);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err,
            "runtime: warning: the environment: nothing reads 'RUNTIME_PLANER'; did you mean "
            "'RUNTIME_PLANNER'?\n"
            "runtime: warning: the environment: nothing reads 'RUNTIME_PLUGIN'; did you mean "
            "'RUNTIME_PLUGIN_PATH'?\n");
}

TEST(Config, WhatIsPrintedIsAConfigThatMeansTheSame) {
  const std::string first =
      print_config({"--temp", "0.5", "--set", "planner.options.stripe_tokens=64", "--prefer", "a,b",
                    "--stop", "x: \"y\"\n", "--memory-limit", "1.5GiB", "-c", "4k", "--set",
                    "operators.pin.layer.*.mlp=avx2"});
  const TemporaryFolder folder;
  const std::string again = print_config({"--config", folder.write("c.yaml", first)});
  for (const char* key :
       {"temperature", "options", "prefer", "stop", "memory_limit", "context", "pin"}) {
    const std::string before = line_of(first, key);
    EXPECT_EQ(before.substr(0, before.find(" # ")),
              line_of(again, key).substr(0, before.find(" # ")))
        << key;
  }
}

struct BadConfig {
  const char* name;
  const char* text;
  const char* says;
};

const BadConfig kBadConfigs[] = {
    {"UnknownKey", "plannr: {name: static}\n", "c.yaml:1:1: unknown key 'plannr'; did you mean"},
    {"UnknownInner", "sampling:\n  topk: 3\n", "c.yaml:2:3: unknown key 'sampling.topk'; did you"},
    {"NotAMapping", "planner: static\n",
     "c.yaml:1:10: expected a mapping of settings, found 'static'"},
    {"NotAMappingButOneKey", "kv: int8\n", "did you mean 'kv.dtype'?"},
    {"LastPart", "temperature: 0\n", "'temperature'; did you mean 'sampling.temperature'?"},
    {"List", "- a\n", "c.yaml:1:1"},
    {"Text", "sampling: {top_k: many}\n", "c.yaml:1:19: expected a whole number"},
    {"Range", "sampling: {top_p: 2}\n", "in (0, 1]"},
    {"QuotedNumber", "threads: \"4\"\n", "c.yaml:1:10"},
    {"NotABool", "operators: {exact: yes}\n", "true or false"},
    {"Infinite", "sampling: {temperature: 1e400}\n", "c.yaml:1:25"},
    {"Twice", "threads: 1\nthreads: 2\n", "c.yaml:2:1"},
    {"Alias", "a: &a [*a]\n", "c.yaml:1"},
    {"Tab", "planner:\n\tname: static\n", "c.yaml:2"},
    {"Prompt", "prompt: hello\n", "unknown key 'prompt'"},
};

class BadConfigFile : public testing::TestWithParam<BadConfig> {};

TEST_P(BadConfigFile, IsRefusedWhereItIsWrong) {
  const TemporaryFolder folder;
  const std::string path = folder.write("c.yaml", GetParam().text);
  const CommandResult result = run_command({"generate", "--config", path, "--print-config"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find(GetParam().says), std::string::npos) << result.err;
}

INSTANTIATE_TEST_SUITE_P(Command, BadConfigFile, testing::ValuesIn(kBadConfigs),
                         [](const auto& row) { return std::string(row.param.name); });

// Every file there is: it is read, and a plan can be made with it.
TEST(Config, ShippedOnesAreFoundByNameAndGood) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source_path("configs"))) {
    if (entry.path().extension() != ".yaml") continue;
    const std::string name = entry.path().stem();
    const CommandResult result =
        run_command(arguments("plan", fixture_model(), {"--config", name, "--prompt-tokens", "8"}));
    EXPECT_EQ(result.exit_code, 0) << name << ": " << result.err;
    EXPECT_NE(result.out.find(" * "), std::string::npos) << name << ": " << result.out;
    ++count;
  }
  EXPECT_GE(count, 4u);
}

TEST(Config, BadGenerationConfigIsNamed) {
  const TemporaryFolder folder;
  folder.write("generation_config.json", R"({"top_p": 7})");
  const CommandResult result =
      run_command({"generate", "--graph", "phi3", "--weights", folder.path(""), "--print-config"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("generation_config.json: top_p"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace rt::test
