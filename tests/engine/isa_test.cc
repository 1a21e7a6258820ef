// Each level of instruction sets on its own: what is above it is hidden from the selection, so that
// a processor with AVX-512 also runs what one without it would. Tokens and logits are those of
// transformers at every level (tests/fixtures/README.md).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <optional>
#include <set>
#include <tuple>

#include "core/base/json.h"
#include "core/engine/device_file.h"
#include "tests/support/models.h"

namespace rt::test {
namespace {

constexpr const char* kAvx2 = "avx2,fma,f16c";
constexpr const char* kAvx512 = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl";
constexpr const char* kVnni =
    "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512_vnni,avx512_vbmi";
constexpr const char* kBf16 = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512_bf16";

EngineOptions fixture(const std::string& name, const std::string& graph, const std::string& isa) {
  EngineOptions options = exact_options(graph + ".yaml", source_path("tests/fixtures/" + name));
  options.device_options = {{"threads", std::int64_t{2}}, {"isa", isa}};
  return options;
}

// Why this machine cannot run `isa`, or "".
std::string lacking(const std::string& isa) {
  const auto blueprint = draw(registry(), fixture("phi3", "phi3", isa));
  return blueprint.ok() ? "" : blueprint.error().message;
}

bool has_words(const std::string& list, std::string words) {
  for (words += ','; !words.empty(); words.erase(0, words.find(',') + 1)) {
    const std::string word = words.substr(0, words.find(','));
    if (("," + list + ",").find("," + word + ",") == std::string::npos) return false;
  }
  return true;
}

// Every node uses the allowed sets at most, and the products what `name` says.
void expect_choices(const Blueprint& blueprint, const std::string& isa, const std::string& name) {
  for (std::size_t n = 0; n < blueprint.nodes.size(); ++n) {
    const std::string& op = blueprint.graph.nodes[n].op;
    for (const Selection* use : {&blueprint.nodes[n].decode, &blueprint.nodes[n].prefill}) {
      const std::string needs = use->chosen.c->isa;
      EXPECT_TRUE(needs.empty() || isa == "all" || has_words(isa, needs))
          << use->chosen.full_name << " needs " << needs;
      if ((op != "linear" && op != "mlp") || name.empty()) continue;
      EXPECT_EQ(use->chosen.c->name, name) << blueprint.graph.nodes[n].name;
    }
  }
}

// Products whose prefill is computed by `name`.
int prefills_with(const Blueprint& blueprint, const std::string& name) {
  int count = 0;
  for (std::size_t n = 0; n < blueprint.nodes.size(); ++n) {
    const std::string& op = blueprint.graph.nodes[n].op;
    if ((op == "linear" || op == "mlp") && blueprint.nodes[n].prefill.chosen.c->name == name) {
      ++count;
    }
  }
  return count;
}

struct Level {
  const char* test;
  const char* isa;
  const char* implementation;  // of products in exact mode; "": whichever this processor has
};
constexpr Level kLevels[] = {{"Portable", "none", "portable"},
                             {"Avx2", kAvx2, "avx2"},
                             {"Avx512", kAvx512, "avx512"},
                             {"All", "all", ""}};

class ExactLevels : public testing::TestWithParam<Level> {};

TEST_P(ExactLevels, GreedyTokensAreTransformers) {
  const Level& level = GetParam();
  if (const std::string why = lacking(level.isa); !why.empty()) GTEST_SKIP() << why;
  for (const std::string name : {"phi3", "gemma2", "phi3_wide", "gemma2_wide"}) {
    SCOPED_TRACE(name);
    const Json golden = read_golden(source_path("tests/fixtures/" + name + "/golden.json"));
    auto session = open_session(fixture(name, golden.at("family"), level.isa));
    ASSERT_TRUE(session);
    expect_choices(session->blueprint(), level.isa, level.implementation);
    for (const Json& c : golden.at("cases")) {
      auto sequence = start(*session);
      const std::vector<std::int32_t> ids = c.at("greedy_ids");
      EXPECT_EQ(continue_greedy(*session, *sequence, c.at("prompt_ids"), ids.size()), ids)
          << c.at("name");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, ExactLevels, testing::ValuesIn(kLevels),
                         [](const auto& level) { return level.param.test; });

// Products that round, with the largest logit difference allowed. Logits have deviation 1 and are
// the end of about ten products in a row. Rounding x to bf16 adds 0.1 % (2^-9 at most) to each of
// them, int8 weights 0.7 % (a step is 1/127 of a row's largest, about three deviations; the error
// is step / sqrt(12)), int8 x beside int8 weights as much again. Ten independent ones are 0.003,
// 0.02 and 0.03; attention, whose scores have deviation 2, doubles or triples them, and the largest
// of 10,000 logits is four deviations out: 0.04, 0.25, 0.35. Integers of 16 bits err by 0.01 % in x
// and 0.025 % in w, with a run's largest at 3.5 deviations: 0.01. Allowed is about twice that; a
// window that is wrong by one moves a logit by 1.7 and more.
constexpr float kInt16Tolerance = 0.02f;
constexpr float kBf16Tolerance = 0.15f;
constexpr float kInt8Tolerance = 0.6f;
constexpr float kInt8BothTolerance = 0.8f;

struct Rounding {
  const char* test;
  const char* isa;
  rt_dtype weights;  // 0: bf16, as the checkpoint has them
  const char* prefill;
  float tolerance;
};
constexpr Rounding kRoundings[] = {
    {"Bf16", kBf16, rt_dtype{}, "avx512_bf16", kBf16Tolerance},
    {"Int16", kAvx2, rt_dtype{}, "int16", kInt16Tolerance},
    {"Int8Int16", kAvx2, RT_W_INT8, "int16", kInt8Tolerance},
    {"Int8Portable", "none", RT_W_INT8, "portable", kInt8Tolerance},
    {"Int8Avx2", kAvx2, RT_W_INT8, "avx2", kInt8Tolerance},
    {"Int8Avx512", kAvx512, RT_W_INT8, "avx512", kInt8Tolerance},
    {"Int8Vnni", kVnni, RT_W_INT8, "avx512_vnni", kInt8BothTolerance}};

class RoundingLevels : public testing::TestWithParam<Rounding> {};

TEST_P(RoundingLevels, LogitsAreNear) {
  const Rounding& level = GetParam();
  if (const std::string why = lacking(level.isa); !why.empty()) GTEST_SKIP() << why;
  for (const std::string name : {"phi3_wide", "gemma2_wide"}) {
    SCOPED_TRACE(name);
    const std::string folder = source_path("tests/fixtures/" + name);
    const Json golden = read_golden(folder + "/golden.json");
    EngineOptions options = fixture(name, golden.at("family"), level.isa);
    options.exact = false;
    options.all_rows = true;
    options.step_tokens = 512;
    options.weight_formats.all = level.weights;
    options.selection.prefer = {level.prefill};
    auto session = open_session(options);
    ASSERT_TRUE(session);
    expect_choices(session->blueprint(), level.isa, "");
    EXPECT_GT(prefills_with(session->blueprint(), level.prefill), 0);
    const std::uint64_t vocabulary = session->graph().vocabulary();
    for (const Json& c : golden.at("cases")) {
      const auto truth = read_floats(folder + "/" + c.at("logits_file").get<std::string>());
      auto sequence = start(*session);
      sequence->all_rows = true;
      sequence->push(c.at("prompt_ids").get<std::vector<std::int32_t>>());
      Sequence* const one[] = {sequence.get()};
      auto rows = session->step(one);
      ASSERT_TRUE(rows.ok()) << rows.error().message;
      ASSERT_EQ(rows->size() * vocabulary, truth.size());
      float most = 0;
      for (std::size_t r = 0; r < rows->size(); ++r) {
        most =
            std::max(most, max_difference((*rows)[r].logits, &truth[r * vocabulary], vocabulary));
      }
      EXPECT_LT(most, level.tolerance) << c.at("name");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, RoundingLevels, testing::ValuesIn(kRoundings),
                         [](const auto& level) { return level.param.test; });

// Logits of every row of `prompt`, with nf4 weights and products by whatever `prefer` says.
std::vector<float> nf4_logits(const std::string& name, const Json& golden,
                              const std::vector<std::string>& prefer, int* rounded) {
  EngineOptions options = fixture(name, golden.at("family"), kVnni);
  options.exact = false;
  options.all_rows = true;
  options.weight_formats.all = RT_W_NF4;
  options.selection.prefer = prefer;
  auto session = open_session(options);
  if (!session) return {};
  *rounded = prefills_with(session->blueprint(), "avx512_vnni_nf4");
  auto sequence = start(*session);
  sequence->all_rows = true;
  sequence->push(golden.at("cases").at(0).at("prompt_ids").get<std::vector<std::int32_t>>());
  Sequence* const one[] = {sequence.get()};
  auto rows = session->step(one);
  EXPECT_TRUE(rows.ok()) << rows.error().message;
  std::vector<float> out;
  for (std::size_t r = 0; rows.ok() && r < rows->size(); ++r) {
    const float* logits = (*rows)[r].logits;
    out.insert(out.end(), logits, logits + session->graph().vocabulary());
  }
  return out;
}

// nf4 itself moves logits far from transformers', so the truth is nf4 in f32.
TEST(IntegerNf4, IsChosenByNameAloneAndNearF32) {
  if (const std::string why = lacking(kVnni); !why.empty()) GTEST_SKIP() << why;
  for (const std::string name : {"phi3_wide", "gemma2_wide"}) {
    SCOPED_TRACE(name);
    const Json golden = read_golden(source_path("tests/fixtures/" + name + "/golden.json"));
    int by_default = -1;
    int preferred = -1;
    const std::vector<float> truth = nf4_logits(name, golden, {}, &by_default);
    const std::vector<float> found = nf4_logits(name, golden, {"avx512_vnni_nf4"}, &preferred);
    EXPECT_EQ(by_default, 0);
    EXPECT_GT(preferred, 0);
    ASSERT_EQ(found.size(), truth.size());
    ASSERT_FALSE(truth.empty());
    EXPECT_LT(max_difference(found.data(), truth.data(), truth.size()), kInt8BothTolerance);
  }
}

// A processor on paper, so that the choice is tested wherever this runs.
std::unique_ptr<Blueprint> drawn_for(const std::string& isa, bool exact,
                                     std::optional<rt_dtype> weights = std::nullopt) {
  // Tests run beside each other.
  const std::string path = testing::TempDir() + "isa_test_device_" +
                           testing::UnitTest::GetInstance()->current_test_info()->name() + ".yaml";
  std::ofstream(path) << "kind: cpu\nmemory: 8GiB\nisa: [" << isa << "]\n";
  auto device = DescribedDevice::read(path);
  if (!device.ok()) return nullptr;
  EngineOptions options = exact_options("phi3.yaml", source_path("tests/fixtures/phi3_wide"));
  options.device_options.clear();
  options.described_device = *device;
  options.exact = exact;
  options.kv_dtype = RT_BF16;
  if (weights) options.weight_formats.all = *weights;
  auto blueprint = draw(registry(), options);
  EXPECT_TRUE(blueprint.ok()) << blueprint.error().message;
  return blueprint.ok() ? std::move(blueprint).value() : nullptr;
}

// The names that a device file may have are written beside its reader.
TEST(Isa, ADeviceFileMayNameWhatThisProcessorHas) {
  EngineOptions options = exact_options("phi3.yaml", source_path("tests/fixtures/phi3_wide"));
  options.device_options.clear();
  const auto here = draw(registry(), options);
  ASSERT_TRUE(here.ok()) << here.error().message;
  EXPECT_NE(drawn_for((*here)->desc.isa, false), nullptr) << (*here)->desc.isa;
}

// bf16 products go first where they are the faster ones, and nowhere in exact mode.
TEST(Isa, FastBf16GoesFirstInPrefill) {
  const std::string fast = std::string(kBf16) + ",fast_bf16";
  for (const auto& [isa, exact, expected] :
       {std::tuple{fast, false, "fast_bf16"}, {fast, true, "avx512"}, {kBf16, false, "avx512"}}) {
    const auto blueprint = drawn_for(isa, exact);
    ASSERT_NE(blueprint, nullptr);
    EXPECT_GT(prefills_with(*blueprint, expected), 0) << isa << exact;
    for (const NodeChoice& node : blueprint->nodes) {
      EXPECT_STRNE(node.decode.chosen.c->name, "fast_bf16");
      if (std::string(expected) != "fast_bf16") {
        EXPECT_STRNE(node.prefill.chosen.c->name, "fast_bf16");
      }
    }
  }
}

// 16-bit integers go before f32 where there is no AVX-512, and nowhere in exact mode.
TEST(Isa, Int16GoesFirstWithoutAvx512) {
  for (const auto& [isa, exact, expected] :
       {std::tuple{kAvx2, false, "int16"}, {kAvx2, true, "avx2"}, {kAvx512, false, "avx512"}}) {
    const auto blueprint = drawn_for(isa, exact);
    ASSERT_NE(blueprint, nullptr);
    EXPECT_GT(prefills_with(*blueprint, expected), 0) << isa << exact;
    EXPECT_EQ(prefills_with(*blueprint, "int16") > 0, std::string(expected) == "int16");
  }
}

// "op decode prefill" of the nodes of attention and of products, each choice once.
std::set<std::string> choices_of(const Blueprint& blueprint) {
  std::set<std::string> choices;
  for (std::size_t n = 0; n < blueprint.nodes.size(); ++n) {
    const std::string& op = blueprint.graph.nodes[n].op;
    if (op != "linear" && op != "mlp" && op != "attention") continue;
    if (blueprint.graph.nodes[n].name == "lm_head") continue;  // in the checkpoint's type
    choices.insert(op + " " + blueprint.nodes[n].decode.chosen.c->name + " " +
                   blueprint.nodes[n].prefill.chosen.c->name);
  }
  return choices;
}

// Weights of nf4 take bf16 for both kinds of steps where it is fast, a cache of bf16 for a prompt;
// without AVX-512 they take 16-bit integers.
TEST(Isa, Nf4AndAttentionGoToBf16WhereItIsFast) {
  using Choices = std::set<std::string>;
  const std::string fast = std::string(kBf16) + ",fast_bf16";
  for (const auto& [isa, exact, expected] :
       {std::tuple{fast, false,
                   Choices{"attention avx512 fast_bf16", "linear fast_bf16_decode fast_bf16",
                           "mlp fast_bf16_decode fast_bf16"}},
        {fast, true,
         Choices{"attention avx512 avx512", "linear avx512 avx512", "mlp avx512 avx512"}},
        {kBf16, false,
         Choices{"attention avx512 avx512", "linear avx512 avx512", "mlp avx512 avx512"}},
        {kAvx2, false,
         Choices{"attention avx2 avx2", "linear int16_decode int16", "mlp int16_decode int16"}},
        {kAvx2, true, Choices{"attention avx2 avx2", "linear avx2 avx2", "mlp avx2 avx2"}}}) {
    const auto blueprint = drawn_for(isa, exact, RT_W_NF4);
    ASSERT_NE(blueprint, nullptr);
    EXPECT_EQ(choices_of(*blueprint), expected) << isa << exact;
  }
}

}  // namespace
}  // namespace rt::test
