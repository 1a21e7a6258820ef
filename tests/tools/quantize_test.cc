// Quantized weights as a user meets them: --weights-format, `runtime quantize` and the checkpoints
// it writes, against what bitsandbytes and transformers make of the demo model
// (tools/make_quantized_fixtures.py); and bad input.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>

#include "core/base/file.h"
#include "core/base/json.h"
#include "tests/tools/command.h"

namespace rt::test {
namespace {

namespace fs = std::filesystem;

Json read(const std::string& path) {
  auto json = read_json(path, 64 << 20);
  EXPECT_TRUE(json.ok()) << path;
  return json.ok() ? *json : Json::object();
}

Json golden(const std::string& format) {
  return read(source_path("tests/tools/data/demo_quantized.json"))["formats"][format];
}

std::string ids_text(const Json& ids) {
  std::string text;
  for (const Json& id : ids) text += (text.empty() ? "" : ",") + id.dump();
  return text;
}

// How far a logit (they reach 20) may be from transformers'. nf4: the same weights, sums in another
// order. nf4-dq: the mean of the scales is rounded another way, which moves 98 of 36,864 scale
// codes by one. int8: bitsandbytes rounds bf16 to f16 before it quantizes, which moves 720 of 3.9
// million codes by one.
double tolerance(const std::string& format) {
  return format == "nf4" ? 2e-5 : format == "nf4-dq" ? 2e-3 : 1e-2;
}

void expect_golden(const std::string& format, const std::vector<std::string>& model,
                   const std::vector<std::string>& rest) {
  const Json all = golden(format);
  ASSERT_FALSE(all["cases"].empty());
  for (const Json& one : all["cases"]) {
    const TemporaryFolder folder;
    const std::string logits_path = folder.path("logits");
    std::vector<std::string> words{"--exact",
                                   "--kv-dtype",
                                   "f32",
                                   "--temp",
                                   "0",
                                   "--json",
                                   "-n",
                                   "12",
                                   "--ignore-eos",
                                   "--logits",
                                   logits_path,
                                   "--prompt-ids",
                                   ids_text(one["prompt_ids"])};
    words.insert(words.end(), rest.begin(), rest.end());
    const CommandResult result = run_command(arguments("generate", model, words));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto json = parse_json(result.out, "stdout");
    ASSERT_TRUE(json.ok()) << result.out;
    EXPECT_EQ((*json)["ids"], one["greedy_ids"]) << format;
    const auto bytes = read_file(logits_path, 64 << 20);
    ASSERT_TRUE(bytes.ok());
    for (std::size_t i = 0; i < one["logits"].size(); ++i) {
      float logit = 0;
      std::memcpy(&logit, bytes->data() + i * sizeof logit, sizeof logit);
      ASSERT_NEAR(logit, one["logits"][i].get<double>(), tolerance(format)) << format << " " << i;
    }
  }
}

std::vector<std::string> model_in(const std::string& folder) {
  return {"--graph", source_path("graphs/phi3.yaml"), "--weights", folder};
}

CommandResult quantize_demo(const std::string& format, const std::string& out) {
  return run_command(
      arguments("quantize", demo_model(), {"--weights-format", format, "--out", out}));
}

std::string fnv1a(const char* bytes, std::size_t count) {
  std::uint64_t value = 0xcbf29ce484222325u;
  for (std::size_t i = 0; i < count; ++i) {
    value = (value ^ static_cast<unsigned char>(bytes[i])) * 0x100000001b3u;
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

// Hashes of a safetensors file's tensors by name.
std::map<std::string, std::string> hashes(const std::string& path) {
  const auto bytes = read_file(path, 64 << 20);
  EXPECT_TRUE(bytes.ok()) << path;
  std::uint64_t length = 0;
  std::memcpy(&length, bytes->data(), sizeof length);
  const auto header = parse_json(bytes->substr(8, length), path);
  EXPECT_TRUE(header.ok());
  std::map<std::string, std::string> out;
  for (const auto& [name, tensor] : header->items()) {
    if (name == "__metadata__") continue;
    const std::size_t begin = tensor["data_offsets"][0];
    const std::size_t end = tensor["data_offsets"][1];
    out[name] = fnv1a(bytes->data() + 8 + length + begin, end - begin);
  }
  return out;
}

class Quantized : public testing::TestWithParam<const char*> {};

TEST_P(Quantized, AtLoadAgreesWithTransformers) {
  expect_golden(GetParam(), demo_model(), {"--weights-format", GetParam()});
}

TEST_P(Quantized, ByTheReferencesToo) {
  expect_golden(GetParam(), demo_model(),
                {"--weights-format", GetParam(), "--set", "operators.prefer=reference"});
}

TEST_P(Quantized, ACheckpointGivesTheSame) {
  const TemporaryFolder folder;
  const std::string out = folder.path("small");
  const CommandResult written = quantize_demo(GetParam(), out);
  ASSERT_EQ(written.exit_code, 0) << written.err;
  EXPECT_FALSE(fs::exists(out + ".part"));
  EXPECT_TRUE(fs::exists(out + "/tokenizer.json"));
  const Json config = read(out + "/config.json")["quantization_config"];
  EXPECT_EQ(config["quant_method"], "bitsandbytes");
  EXPECT_EQ(config["load_in_8bit"], std::string(GetParam()) == "int8");
  expect_golden(GetParam(), model_in(out), {});
}

// nf4's tensors are bitsandbytes' to the byte. Of nf4-dq and int8 the few codes that tolerance()
// explains differ, so what holds none of them is compared.
TEST_P(Quantized, TensorsAreThoseOfBitsandbytes) {
  const TemporaryFolder folder;
  const std::string out = folder.path("small");
  ASSERT_EQ(quantize_demo(GetParam(), out).exit_code, 0);
  const auto found = hashes(out + "/model.safetensors");
  const Json expected = golden(GetParam())["tensors"];
  ASSERT_FALSE(expected.empty());
  const std::string format = GetParam();
  for (const auto& [name, hash] : expected.items()) {
    ASSERT_TRUE(found.contains(name)) << name;
    const bool differs = (format == "nf4-dq" && name.ends_with(".absmax")) ||
                         (format == "int8" && name.ends_with(".weight"));
    if (differs) continue;
    EXPECT_EQ(found.at(name), hash.get<std::string>()) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(, Quantized, testing::Values("nf4", "nf4-dq", "int8"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(WeightsFormat, AHeadOfItsOwn) {
  const CommandResult result = run_command(arguments(
      "generate", demo_model(),
      {"--weights-format", "linear=nf4,lm_head=int8", "-p", "Once", "-n", "4", "--temp", "0"}));
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

TEST(WeightsFormat, AConfigMayHoldAMapping) {
  const TemporaryFolder folder;
  const std::string config =
      folder.write("small.yaml", "weights_format: {linear: nf4, lm_head: int8}\n");
  const CommandResult result =
      run_command(arguments("generate", demo_model(), {"--config", config, "--print-config"}));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("{linear: nf4, lm_head: int8}"), std::string::npos) << result.out;
}

TEST(WeightsFormat, IsInThePlan) {
  const CommandResult result = run_command(
      {"plan", "--graph", "phi3", "--weights-format", "nf4", "--prompt-tokens", "8", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  // 32 layers of 113,246,208 weights: half a byte each and an f32 per 64.
  const std::string owned = std::to_string(32ull * 113246208 * 9 / 16);
  EXPECT_NE(result.out.find(owned), std::string::npos) << result.out;
}

struct Refusal {
  std::vector<std::string> words;
  const char* message;
};

TEST(WeightsFormat, RefusesWithAReason) {
  const Refusal refusals[] = {
      {{"--weights-format", "nf5"}, "did you mean 'nf4'"},
      {{"--weights-format", "lm_haed=int8"}, "'lm_haed' is no operator and no node"},
      {{"--weights-format", "rms_norm=nf4"}, "is no operator and no node that reads a matrix"},
      {{"--weights-format", "=nf4"}, "expected FORMAT or NAME=FORMAT"},
      {{"--weights-format", "nf4,int8"}, "'int8' is a second format of all products"},
      {{"--weights-format", "lm_head=nf4,lm_head=int8"}, "is a second format of lm_head"},
  };
  for (const Refusal& refusal : refusals) {
    std::vector<std::string> words = refusal.words;
    words.insert(words.end(), {"-p", "Once", "-n", "1"});
    const CommandResult result = run_command(arguments("generate", demo_model(), words));
    EXPECT_EQ(result.exit_code, 2) << refusal.message;
    EXPECT_NE(result.err.find(refusal.message), std::string::npos) << result.err;
  }
}

TEST(Quantize, RefusesWithAReason) {
  const TemporaryFolder folder;
  const std::string out = folder.path("out");
  const std::string there = folder.path("there");
  fs::create_directory(there);
  const Refusal refusals[] = {
      {{"--weights-format", "nf4"}, "give a new folder with --out DIR"},
      {{"--weights-format", "nf4", "--out", there}, "is there already"},
      {{"--weights-format", "nf4", "--out", folder.path("no/such/parent")}, "cannot be made"},
      {{"--weights-format", "bf16", "--out", out}, "expected --weights-format nf4, nf4-dq or int8"},
      {{"--weights-format", "linear=nf4,lm_head=int8", "--out", out}, "has one type"},
      {{"--out", out}, "found 'auto'"},
  };
  for (const Refusal& refusal : refusals) {
    const CommandResult result = run_command(arguments("quantize", demo_model(), refusal.words));
    EXPECT_NE(result.exit_code, 0) << refusal.message;
    EXPECT_NE(result.err.find(refusal.message), std::string::npos) << result.err;
    EXPECT_FALSE(fs::exists(out));
  }
}

TEST(Quantize, NotTwiceAndNotToAnotherType) {
  const TemporaryFolder folder;
  const std::string out = folder.path("small");
  ASSERT_EQ(quantize_demo("nf4", out).exit_code, 0);
  const CommandResult twice = run_command(arguments(
      "quantize", model_in(out), {"--weights-format", "nf4", "--out", folder.path("smaller")}));
  EXPECT_EQ(twice.exit_code, 2);
  EXPECT_NE(twice.err.find("is nf4 already"), std::string::npos) << twice.err;
  const CommandResult other =
      run_command(arguments("generate", model_in(out), {"--weights-format", "int8", "-p", "Once"}));
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_NE(other.err.find("is stored in nf4, which is not converted to int8"), std::string::npos)
      << other.err;
}

}  // namespace
}  // namespace rt::test
