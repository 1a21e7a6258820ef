// tokenize, render, plugins, graph: what they print for scripts.
#include <gtest/gtest.h>

#include "core/base/json.h"
#include "tests/tools/command.h"

namespace rt::test {
namespace {

Json json_of(const std::vector<std::string>& words, const std::string& stdin_text = "") {
  CommandInput input;
  input.arguments = words;
  input.stdin_text = stdin_text;
  const CommandResult result = run_command(input);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  auto json = parse_json(result.out, "stdout");
  EXPECT_TRUE(json.ok()) << result.out;
  return json.ok() ? *json : Json::object();
}

TEST(Tokenize, ThereAndBack) {
  const Json json = json_of({"tokenize", "--weights", "demo", "--json", "Hello world"});
  ASSERT_GE(json["ids"].size(), 3u);
  EXPECT_EQ(json["ids"][0], 1);
  EXPECT_EQ(json["tokens"][0], "<s>");
  CommandInput input;
  input.arguments = {"tokenize", "--weights", "demo", "--no-special"};
  input.stdin_text = "Hello world\n";
  const CommandResult ids = run_command(input);
  ASSERT_EQ(ids.exit_code, 0) << ids.err;
  const CommandResult text =
      run_command({"tokenize", "--weights", "demo", "--no-special", "--detokenize", ids.out});
  EXPECT_EQ(text.out, "Hello world\n") << text.err;
}

TEST(Tokenize, TakesAListAsPythonPrintsIt) {
  EXPECT_EQ(run_command({"tokenize", "--weights", "demo", "--detokenize", "[15, 16]"}).out,
            run_command({"tokenize", "--weights", "demo", "--detokenize", "15 16"}).out);
}

TEST(Tokenize, SpecialTokensInTextAreTextUnlessAskedFor) {
  const auto count = [](const std::vector<std::string>& rest) {
    return json_of(arguments("tokenize", {"--weights", "demo"}, rest))["ids"].size();
  };
  EXPECT_EQ(count({"--json", "--no-special", "--parse-special", "<|end|>"}), 1u);
  EXPECT_GT(count({"--json", "--no-special", "<|end|>"}), 1u);
}

TEST(Render, MakesTheChatPrompt) {
  CommandInput input;
  input.arguments = {"render", "--graph", "phi3"};
  input.stdin_text = R"({"messages": [{"role": "user", "content": "a"},
      {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]})";
  EXPECT_EQ(run_command(input).out,
            "<s><|user|>\na<|end|>\n<|assistant|>\nb<|end|>\n<|user|>\nc<|end|>\n<|assistant|>\n");
  const Json json = json_of({"render", "--graph", "phi3", "--weights", "demo", "--json"},
                            R"([{"role": "user", "content": "<|end|>"}])");
  EXPECT_GT(json["ids"].size(), 6u);  // the user's <|end|> is text
}

TEST(Render, ASystemMessageThatTheFormatDropsIsSaid) {
  CommandInput input;
  input.arguments = {"render", "--graph", "phi3"};
  input.stdin_text = R"([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}])";
  const CommandResult result = run_command(input);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_NE(result.err.find("no system turn"), std::string::npos) << result.err;
}

TEST(Plugins, ListSaysWhatIsThere) {
  const Json list = json_of({"plugins", "list", "--json"});
  bool cpu = false;
  for (const Json& entry : list) {
    EXPECT_NE(entry["state"], "refused") << entry.dump();
    if (entry["name"] == "cpu") cpu = true;
  }
  EXPECT_TRUE(cpu);
  const TemporaryFolder folder;
  const std::string broken = folder.write("broken.rtp.so", "no library");
  const CommandResult text = run_command({"plugins", "list", "--plugin", broken});
  EXPECT_EQ(text.exit_code, 2);
  EXPECT_NE(text.out.find("[refused, named by the user]  " + broken), std::string::npos)
      << text.out;
  EXPECT_NE(text.out.find("looked in: "), std::string::npos);
}

TEST(Plugins, ARefusedPlaceIsSaidInARun) {
  CommandInput input;
  input.arguments = arguments("graph", fixture_model(), {"check"});
  input.variables = {"RUNTIME_PLUGIN_PATH=plugins"};
  const CommandResult result = run_command(input);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_NE(result.err.find("warning: plugin refused: plugins: "), std::string::npos) << result.err;
}

TEST(Plugins, VerboseSaysWhatWasFoundAndWhatRuns) {
  const CommandResult result =
      run_command(arguments("generate", fixture_model(), {"--prompt-ids", "1", "-n", "1", "-v"}));
  for (const char* part :
       {"debug: plugin cpu ", "debug: attention, decode: ", "debug: loaded in "}) {
    EXPECT_NE(result.err.find(part), std::string::npos) << part << result.err;
  }
}

TEST(Plugins, WhyTellsEveryCandidatesFate) {
  const Json nodes =
      json_of(arguments("plugins", fixture_model(),
                        {"why", "--node", "layer.0.attention", "--json", "--prefer", "reference"}));
  ASSERT_EQ(nodes.size(), 1u);
  EXPECT_EQ(nodes[0]["op"], "attention");
  EXPECT_EQ(nodes[0]["decode"][0]["name"], "reference/reference");
  EXPECT_EQ(nodes[0]["decode"][0]["chosen"], true);
  ASSERT_GE(nodes[0]["decode"].size(), 2u);
  for (const Json& decision : nodes[0]["prefill"]) EXPECT_NE(decision["reason"], "");
  const CommandResult text = run_command(arguments("plugins", fixture_model(), {"why"}));
  EXPECT_NE(text.out.find("layer.0.attention and 2 more like it: attention@1"), std::string::npos)
      << text.out;
}

TEST(Plugins, WhyTellsWhereFusedOperatorsRun) {
  const std::string stranger = RT_BINARY_DIR "/tests/strangers/acme_fused.rtp.so";
  const auto why = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"why", "--plugin", stranger, "--exact"};
    words.insert(words.end(), more.begin(), more.end());
    const CommandResult result = run_command(arguments("plugins", fixture_model(), words));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  };
  const std::string taken = why({"--prefer", "acme_fused"});
  for (const char* part :
       {"layer.0.acme.linear_add.m and 2 more like it: acme.linear_add@1 of "
        "linear, add\n  decode\n    * acme_fused/serial: preferred by the config",
        "  decode: runs in acme.linear_add (acme_fused/serial)\n"}) {
    EXPECT_NE(taken.find(part), std::string::npos) << taken;
  }
  const std::string stands_back = why({});
  EXPECT_NE(stands_back.find("+ acme_fused/serial: fits; its parts run\n"), std::string::npos)
      << stands_back;
  const std::string off = why({"--prefer", "acme_fused", "--set", "operators.fuse=false"});
  EXPECT_EQ(off.find("linear_add"), std::string::npos) << off;
  const CommandResult list = run_command({"plugins", "list", "--plugin", stranger});
  EXPECT_NE(list.out.find("fusion acme.linear_add@1 of linear@1 add@1"), std::string::npos)
      << list.out;
}

// The implementation that decoding's products of a fixture would take.
std::string linear_with(const std::string& isa) {
  const Json nodes = json_of(arguments(
      "plugins", fixture_model(), {"why", "--node", "layer.0.linear.o", "--json", "--isa", isa}));
  for (const Json& decision : nodes.at(0).at("decode")) {
    if (decision.at("chosen")) return decision.at("name");
  }
  return "";
}

TEST(Plugins, WhyNamesWhatFewerInstructionSetsLeave) {
  EXPECT_EQ(linear_with("none"), "linear_cpu/portable");
  const auto why = [](const std::string& isa) {
    return run_command(arguments("plugins", fixture_model(), {"why", "--isa", isa}));
  };
  const CommandResult wrong = why("avx9");
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_NE(wrong.err.find("instruction sets of this processor"), std::string::npos) << wrong.err;
  EXPECT_NE(wrong.err.find("found 'avx9'"), std::string::npos) << wrong.err;
  const std::string avx2 = "avx2,fma,f16c";
  if (why(avx2).exit_code != 0) GTEST_SKIP() << why(avx2).err;
  EXPECT_EQ(linear_with(avx2), "linear_cpu/avx2");
  const std::string avx512 = avx2 + ",avx512f,avx512bw,avx512dq,avx512vl";
  if (why(avx512).exit_code != 0) GTEST_SKIP() << why(avx512).err;
  EXPECT_EQ(linear_with(avx512), "linear_cpu/avx512");
}

TEST(Graph, ChecksExpandsAndDraws) {
  for (const char* name : {"phi3", "gemma", "gemma2", "llama3", "tinyllama"}) {
    const CommandResult result = run_command({"graph", "check", name});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_NE(result.out.find("ok: no checkpoint"), std::string::npos);
  }
  const Json check = json_of(arguments("graph", fixture_model(), {"check", "--json"}));
  EXPECT_EQ(check["context"], 512);
  EXPECT_NE(run_command({"graph", "expand", "phi3"}).out.find("layer.31.attention"),
            std::string::npos);
  EXPECT_TRUE(run_command({"graph", "dot", "phi3"}).out.starts_with("digraph"));
  const TemporaryFolder folder;
  const std::string wrong = folder.write("wrong.yaml", "rtgraph: 1\nnaem: x\n");
  const CommandResult refused = run_command({"graph", "check", wrong});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.err.find("wrong.yaml:"), std::string::npos) << refused.err;
}

TEST(Help, IsOnStdout) {
  EXPECT_NE(run_command({"--help"}).out.find("Verbs:"), std::string::npos);
  EXPECT_NE(run_command({"generate", "--help"}).out.find("--max-new-tokens"), std::string::npos);
  EXPECT_NE(run_command({"graph", "--help"}).out.find("\n  expand  "), std::string::npos);
  EXPECT_NE(run_command({"plugins", "--help"}).out.find("\n  why     "), std::string::npos);
  EXPECT_TRUE(run_command({"--version"}).out.starts_with("runtime "));
}

}  // namespace
}  // namespace rt::test
