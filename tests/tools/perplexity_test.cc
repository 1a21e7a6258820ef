// perplexity: bits per byte against transformers (tools/demo/evaluation.py, model_bits, float32)
// for windows and strides that do and do not divide the text; what a KV type changes; bad input.
#include <gtest/gtest.h>

#include "core/base/json.h"
#include "tests/tools/command.h"

namespace rt::test {
namespace {

constexpr const char* kText =
    "The old clock in the hall struck nine, and the children looked up from the table. Nobody had "
    "come to the door since supper. \"It is the wind,\" said the grandmother, but she put down her "
    "needle and listened, and the dog went slowly to the stairs and stood there with one foot in "
    "the air.\n";

CommandResult perplexity(const std::vector<std::string>& rest, const std::string& text) {
  CommandInput input;
  input.arguments = arguments("perplexity", demo_model(), rest);
  input.stdin_text = text;
  return run_command(input);
}

double bits_per_byte(std::vector<std::string> rest) {
  rest.push_back("--json");
  const CommandResult result = perplexity(rest, kText);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const auto json = parse_json(result.out, "stdout");
  EXPECT_TRUE(json.ok()) << result.out;
  if (!json.ok()) return 0;
  EXPECT_EQ(json->at("bytes"), 286);
  EXPECT_EQ(json->at("scored_tokens"), 68);
  return json->at("bits_per_byte");
}

struct Windows {
  const char* window;
  const char* stride;
  double expected;
};

TEST(Perplexity, AgreesWithTransformers) {
  for (const Windows& w : {Windows{"1024", "512", 1.6122185}, Windows{"32", "16", 1.5622494},
                           Windows{"32", "31", 1.5958962}, Windows{"33", "5", 1.5877495}}) {
    EXPECT_NEAR(bits_per_byte(
                    {"--ctx-size", w.window, "--stride", w.stride, "--kv-dtype", "f32", "--exact"}),
                w.expected, 2e-6)
        << "windows of " << w.window;
  }
  EXPECT_EQ(bits_per_byte({"--ctx-size", "32"}),
            bits_per_byte({"--ctx-size", "32", "--stride", "16"}))
      << "half a window is the default stride";
}

TEST(Perplexity, DoesNotDependOnChunks) {
  const std::vector<std::string> plain = {"--exact"};
  EXPECT_NEAR(bits_per_byte({"--exact", "--step-tokens", "7"}), bits_per_byte(plain), 1e-9);
}

TEST(Perplexity, ShowsWhatAKvTypeCosts) {
  const double truth = bits_per_byte({"--kv-dtype", "f32"});
  EXPECT_NEAR(bits_per_byte({"--kv-dtype", "int8"}), truth, 0.01);
  EXPECT_NEAR(bits_per_byte({"--kv-dtype", "q8_0"}), truth, 0.01);
  const double coarse = bits_per_byte({"--kv-dtype", "q4_0"});
  EXPECT_NEAR(coarse, truth, 0.2);
  EXPECT_NE(coarse, truth);
}

TEST(Perplexity, ReadsFilesAndTellsPeople) {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", kText);
  const CommandResult result = run_command(
      arguments("perplexity", demo_model(), {"--file", file, "--kv-dtype", "f32", "--exact"}));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("bits per byte  1.6122"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("scored         68 tokens of 286 bytes"), std::string::npos);
}

TEST(Perplexity, RefusesWhatItCannotScore) {
  struct Bad {
    std::vector<std::string> rest;
    const char* text;
    const char* message;
  };
  for (const Bad& bad :
       {Bad{{}, "", "the text is empty"}, Bad{{"--ctx-size", "1"}, kText, "at least 2 tokens"},
        Bad{{"--ctx-size", "32", "--stride", "32"}, kText, "less than the window"},
        Bad{{"--kv-dtype", "q5_0"}, kText, "auto, f32, f16, bf16, int8, q8_0, q4_0"},
        Bad{{"--file", "/nonexistent"}, kText, "/nonexistent"}}) {
    const CommandResult result = perplexity(bad.rest, bad.text);
    EXPECT_GE(result.exit_code, 2);
    EXPECT_NE(result.err.find(bad.message), std::string::npos) << result.err;
  }
}

}  // namespace
}  // namespace rt::test
