// What the command refuses: exit code, and what the line on stderr must say. A new case is a row.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/tools/command.h"

namespace rt::test {
namespace {

enum class Model { kNone, kFixture, kDemo };

struct Refusal {
  const char* name;
  const char* verb;
  Model model;
  std::vector<std::string> rest;
  int exit_code;
  const char* says;
  const char* stdin_text = "";
  const char* variable = "";
};

const Refusal kRefusals[] = {
    // The command line itself.
    {"UnknownVerb", "generat", Model::kNone, {}, 2, "did you mean 'generate'"},
    {"UnknownFlag", "generate", Model::kNone, {"--tempp", "1"}, 2, "did you mean '--temp'"},
    {"FlagOfAnotherVerb", "generate", Model::kNone, {"--detokenize"}, 2, "runtime tokenize"},
    {"VerbNotFirst", "generate", Model::kNone, {"chat"}, 2, "the verb comes first"},
    {"StrayWord", "generate", Model::kNone, {"hello"}, 2, "a prompt is given with -p"},
    {"MissingValue", "generate", Model::kNone, {"--prompt"}, 2, "--prompt"},
    {"NoGraph", "generate", Model::kNone, {"-p", "a"}, 2, "which model?"},
    {"UnknownGraph",
     "generate",
     Model::kNone,
     {"--graph", "phi33", "-p", "a"},
     2,
     "did you mean 'phi3'"},
    {"UnknownPluginsWord", "plugins", Model::kNone, {"lst"}, 2, "did you mean 'list'"},
    {"UnknownGraphWord", "graph", Model::kNone, {"chek"}, 2, "did you mean 'check'"},

    // Values.
    {"TemperatureNan", "generate", Model::kFixture, {"--temp", "nan"}, 2, "--temp: expected a num"},
    {"TemperatureNegative", "generate", Model::kFixture, {"--temp", "-1"}, 2, "found '-1'"},
    {"TemperatureHuge", "generate", Model::kFixture, {"--temp", "1e308"}, 2, "in [0, 1000]"},
    {"TemperatureOverflow", "generate", Model::kFixture, {"--temp", "1e999"}, 2, "--temp"},
    {"TopPZero", "generate", Model::kFixture, {"--top-p", "0"}, 2, "in (0, 1]"},
    {"TopPTwo", "generate", Model::kFixture, {"--top_p", "2"}, 2, "in (0, 1]"},
    {"TopPNan", "generate", Model::kFixture, {"--top-p", "nan"}, 2, "--top-p"},
    {"TopKNegative", "generate", Model::kFixture, {"--top-k", "-1"}, 2, "--top-k"},
    {"TopKFraction", "generate", Model::kFixture, {"--top-k", "1.5"}, 2, "whole number"},
    {"MinPTwo", "generate", Model::kFixture, {"--min-p", "2"}, 2, "--min-p"},
    {"PenaltyInfinite", "generate", Model::kFixture, {"--repeat-penalty", "inf"}, 2, "found 'inf'"},
    {"PenaltyZero", "generate", Model::kFixture, {"--repeat-penalty", "0"}, 2, "(0, 1000]"},
    {"TokensMinusTwo", "generate", Model::kFixture, {"-n", "-2"}, 2, "--max-new-tokens"},
    {"TokensHuge",
     "generate",
     Model::kFixture,
     {"-n", "9223372036854775808"},
     2,
     "--max-new-tokens"},
    {"TokensFraction", "generate", Model::kFixture, {"-n", "1.5"}, 2, "--max-new-tokens"},
    {"TokensText", "generate", Model::kFixture, {"-n", "ten"}, 2, "found 'ten'"},
    {"SeedText", "generate", Model::kFixture, {"--seed", "x"}, 2, "--seed"},
    {"SeedHuge", "generate", Model::kFixture, {"--seed", "99999999999999999999"}, 2, "--seed"},
    {"ContextOverModel",
     "generate",
     Model::kFixture,
     {"-c", "1M", "--prompt-ids", "1"},
     2,
     "the model's context is"},
    {"ThreadsHuge", "generate", Model::kFixture, {"-t", "1000000000"}, 2, "in [0, 1024]"},
    {"LimitText", "generate", Model::kFixture, {"--memory-limit", "lots"}, 2, "expected a size"},
    {"KvDtype", "generate", Model::kFixture, {"-ctk", "f17"}, 2, "did you mean 'f16'"},
    {"EmptyStop", "generate", Model::kFixture, {"--stop", ""}, 2, "--stop"},
    {"UnknownDevice",
     "generate",
     Model::kFixture,
     {"--device", "cpuu", "--prompt-ids", "1"},
     2,
     "cpuu"},
    {"DeviceNumber",
     "generate",
     Model::kFixture,
     {"--device", "cpu:x", "--prompt-ids", "1"},
     2,
     "NAME:NUMBER"},
    {"UnknownPlanner",
     "generate",
     Model::kFixture,
     {"--planner", "elastik", "--prompt-ids", "1"},
     2,
     "did you mean"},
    {"UnknownPlannerOption",
     "generate",
     Model::kFixture,
     {"--set", "planner.options.stripes=1", "--prompt-ids", "1"},
     2,
     "unknown option 'stripes'"},
    {"UnknownPreference",
     "generate",
     Model::kFixture,
     {"--prefer", "refrence", "--prompt-ids", "1"},
     2,
     "did you mean 'reference'"},
    {"SetUnknown",
     "generate",
     Model::kFixture,
     {"--set", "sampling.topk=1"},
     2,
     "did you mean 'sampling.top_k'"},
    {"SetWithoutValue", "generate", Model::kFixture, {"--set", "threads"}, 2, "KEY=VALUE"},
    {"SetFraction", "generate", Model::kFixture, {"--set", "threads=1.5"}, 2, "--set threads"},
    {"VariableText",
     "generate",
     Model::kFixture,
     {"--prompt-ids", "1"},
     2,
     "RUNTIME_THREADS",
     "",
     "RUNTIME_THREADS=abc"},
    {"VariableNegative",
     "generate",
     Model::kFixture,
     {"--prompt-ids", "1"},
     2,
     "RUNTIME_THREADS",
     "",
     "RUNTIME_THREADS=-1"},
    {"VariableHuge",
     "generate",
     Model::kFixture,
     {"--prompt-ids", "1"},
     2,
     "RUNTIME_THREADS",
     "",
     "RUNTIME_THREADS=1e9"},

    // The prompt.
    {"IdNegative", "generate", Model::kFixture, {"--prompt-ids", "1,-1"}, 2, "at position 1"},
    {"IdOverVocabulary", "generate", Model::kFixture, {"--prompt-ids", "128"}, 2, "[0, 128)"},
    {"IdHuge",
     "generate",
     Model::kFixture,
     {"--prompt-ids", "99999999999999999999"},
     2,
     "[0, 128)"},
    {"IdFraction", "generate", Model::kFixture, {"--prompt-ids", "1.5"}, 2, "found '1.5'"},
    {"IdNested", "generate", Model::kFixture, {"--prompt-ids", "[1]"}, 2, "found '[1]'"},
    {"IdsNone", "generate", Model::kFixture, {"--prompt-ids", ""}, 2, "empty"},
    {"EmptyStdin", "generate", Model::kDemo, {}, 2, "the prompt is empty"},
    {"PromptAndIds", "generate", Model::kFixture, {"-p", "a", "--prompt-ids", "1"}, 2, "either"},
    {"PromptAndFile", "generate", Model::kFixture, {"-p", "a", "-f", "b"}, 2, "either"},
    {"NoSuchFile", "generate", Model::kFixture, {"-f", "/nonexistent/prompt"}, 2, "/nonexistent"},
    {"TextWithoutTokenizer", "generate", Model::kFixture, {"-p", "a"}, 2, "--prompt-ids"},
    {"StopWithoutTokenizer",
     "generate",
     Model::kFixture,
     {"--prompt-ids", "1", "--stop", "a"},
     2,
     "stop strings need a tokenizer"},
    {"PromptOverContext",
     "generate",
     Model::kFixture,
     {"--prompt-ids", "1,2,3,4,5", "-c", "4"},
     2,
     "--ctx-size"},
    {"PromptAtContext",
     "generate",
     Model::kFixture,
     {"--prompt-ids", "1,2,3,4", "-c", "4"},
     2,
     "--ctx-size"},
    {"PromptsAndPrompt", "generate", Model::kFixture, {"--prompts", "x", "-p", "a"}, 2, "--prompt"},
    {"PromptsMissing",
     "generate",
     Model::kFixture,
     {"--prompts", "/nonexistent/p.jsonl"},
     2,
     "/nonexistent"},
    {"PromptsEmpty", "generate", Model::kFixture, {"--prompts", "-"}, 2, "there is no prompt"},
    {"PromptsJson",
     "generate",
     Model::kFixture,
     {"--prompts", "-"},
     2,
     "-:2",
     "{\"prompt_ids\":[1]}\n{\"prompt_ids\":\n"},
    {"PromptsKey",
     "generate",
     Model::kFixture,
     {"--prompts", "-"},
     2,
     "did you mean 'prompt_ids'",
     "{\"promptids\":[1]}\n"},
    {"PromptsId",
     "generate",
     Model::kFixture,
     {"--prompts", "-"},
     2,
     "at position 1",
     "{\"prompt_ids\":[1,128]}\n"},
    {"PromptsFloat",
     "generate",
     Model::kFixture,
     {"--prompts", "-"},
     2,
     "found '1.5'",
     "{\"prompt_ids\":[1.5]}\n"},
    {"PromptsLong",
     "generate",
     Model::kFixture,
     {"--prompts", "-", "-c", "2"},
     2,
     "-:1",
     "{\"prompt_ids\":[1,2,3]}\n"},
    {"ParallelZero", "generate", Model::kFixture, {"--prompts", "-", "-np", "0"}, 2, "--parallel"},

    // Files and machines.
    {"NoWeights",
     "generate",
     Model::kNone,
     {"--graph", "phi3", "--prompt-ids", "1"},
     2,
     "hf download microsoft/Phi-3-mini-4k-instruct"},
    {"WeightsMissing",
     "generate",
     Model::kNone,
     {"--graph", "phi3", "--weights", "/nonexistent/x", "--prompt-ids", "1"},
     2,
     "/nonexistent/x (--weights)"},
    {"PluginMissing",
     "generate",
     Model::kFixture,
     {"--plugin", "/nonexistent/x.rtp.so", "--prompt-ids", "1"},
     2,
     "/nonexistent/x.rtp.so"},
    {"LogitsFolder",
     "generate",
     Model::kFixture,
     {"--prompt-ids", "1", "--logits", "/nonexistent/x"},
     3,
     "--logits: /nonexistent/x"},
    {"MemoryLimit",
     "generate",
     Model::kFixture,
     {"--prompt-ids", "1", "-n", "2", "--memory-limit", "1k"},
     3,
     "--memory-limit"},
    {"ChatWithoutTokenizer", "chat", Model::kFixture, {}, 2, "there is no tokenizer"},
    {"TokenizeWithoutModel", "tokenize", Model::kNone, {"a"}, 2, "--weights"},
    {"DetokenizeRange", "tokenize", Model::kDemo, {"--detokenize", "4096000"}, 2, "[0, "},
    {"RenderNotJson", "render", Model::kDemo, {}, 2, "messages", "not json"},
    {"RenderRole",
     "render",
     Model::kDemo,
     {},
     2,
     "message 0",
     "[{\"role\":\"robot\",\"content\":\"x\"}]"},
    {"RenderNull",
     "render",
     Model::kDemo,
     {},
     2,
     "content: expected a string",
     "[{\"role\":\"user\",\"content\":null}]"},
    {"RenderEmpty", "render", Model::kDemo, {}, 2, "error", "[]"},
    {"NodeMissing", "plugins", Model::kFixture, {"why", "--node", "nothing"}, 2, "'nothing'"},
};

std::vector<std::string> words_of(const Refusal& refusal) {
  const std::vector<std::string> model = refusal.model == Model::kFixture ? fixture_model()
                                         : refusal.model == Model::kDemo
                                             ? demo_model()
                                             : std::vector<std::string>();
  return arguments(refusal.verb, model, refusal.rest);
}

class Refused : public testing::TestWithParam<Refusal> {};

TEST_P(Refused, WithItsExitCodeAndReason) {
  const Refusal& refusal = GetParam();
  CommandInput input;
  input.arguments = words_of(refusal);
  input.stdin_text = refusal.stdin_text;
  if (*refusal.variable != '\0') input.variables = {refusal.variable};
  const CommandResult result = run_command(input);
  EXPECT_EQ(result.exit_code, refusal.exit_code) << result.err;
  EXPECT_NE(result.err.find(refusal.says), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("runtime: error: "), std::string::npos) << result.err;
  EXPECT_EQ(result.out, "");
}

INSTANTIATE_TEST_SUITE_P(Command, Refused, testing::ValuesIn(kRefusals),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace rt::test
