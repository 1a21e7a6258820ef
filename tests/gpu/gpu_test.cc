// The engine on a real GPU, with what lies beside this program: ../lib/runtime/plugins and
// ../share/runtime. Where there is no GPU every test is skipped with the device's own sentence.
// With $RT_TEST_CUDA_PLUGINS, a folder of plugins that come first, the same runs on the emulated
// one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/base/json.h"
#include "core/engine/session.h"
#include "core/plugin/registry.h"

namespace rt::test {
namespace {

namespace fs = std::filesystem;

fs::path share() {
  return fs::read_symlink("/proc/self/exe").parent_path().parent_path() / "share/runtime";
}

Registry& registry() {
  static const std::unique_ptr<Registry> one = [] {
    std::vector<std::string> files;
    const char* folder = std::getenv("RT_TEST_CUDA_PLUGINS");
    std::error_code missing;
    for (const auto& entry : fs::directory_iterator(folder == nullptr ? "" : folder, missing)) {
      if (entry.path().string().ends_with(".rtp.so")) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    RegistryOptions options;
    options.sources = process_sources(std::move(files));
    return Registry::scan(options);
  }();
  return *one;
}

Json golden_of(const std::string& fixture) {
  auto json = read_json((share() / "fixtures" / fixture / "golden.json").string(), 64 << 20);
  EXPECT_TRUE(json.ok());
  return json.ok() ? std::move(json).value() : Json::object();
}

EngineOptions on_gpu(const std::string& fixture, const std::string& values) {
  const std::string graph = golden_of(fixture).at("graph");
  EngineOptions options;
  options.graph = (share() / graph).string();
  options.weights = (share() / "fixtures" / fixture).string();
  options.kv_dtype = RT_F32;
  options.device = "cuda";
  options.device_options = {{"values", values}};
  options.exact = values == "f32";
  options.step_tokens = 16;
  options.memory_limit_bytes = std::uint64_t{1} << 30;
  return options;
}

std::unique_ptr<Session> open_session(const EngineOptions& options) {
  auto blueprint = draw(registry(), options);
  EXPECT_TRUE(blueprint.ok()) << blueprint.error().message;
  if (!blueprint.ok()) return nullptr;
  auto session = Session::open(std::move(blueprint).value());
  EXPECT_TRUE(session.ok()) << session.error().message;
  return session.ok() ? std::move(session).value() : nullptr;
}

std::vector<std::int32_t> continue_greedy(Session& session, Sequence& sequence,
                                          const std::vector<std::int32_t>& prompt,
                                          std::size_t count) {
  std::vector<std::int32_t> ids;
  sequence.sampling.temperature = 0;
  sequence.push(prompt);
  while (ids.size() < count) {
    auto row = session.run(sequence);
    if (!row.ok()) {
      ADD_FAILURE() << row.error().message;
      return ids;
    }
    ids.push_back(row->sampled);
    sequence.push(row->sampled);
  }
  return ids;
}

std::unique_ptr<Sequence> start(Session& session) {
  auto sequence = session.start();
  EXPECT_TRUE(sequence.ok());
  return std::move(sequence).value();
}

std::vector<float> read_floats(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::vector<float> values(fs::file_size(path) / sizeof(float));
  file.read(reinterpret_cast<char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(float)));
  return values;
}

class OnGpu : public testing::Test {
 protected:
  void SetUp() override {
    auto blueprint = draw(registry(), on_gpu("tinyllama", "f32"));
    if (blueprint.ok()) return;
    if (blueprint.error().fault == Fault::kBadInput) FAIL() << blueprint.error().message;
    GTEST_SKIP() << "needs a GPU: " << blueprint.error().message;
  }
};
class Gpu : public OnGpu {};
class GpuFixtures : public OnGpu, public testing::WithParamInterface<std::string> {};
class GpuPlanners : public OnGpu, public testing::WithParamInterface<std::string> {};

TEST_P(GpuFixtures, TokensOfExactModeAreThoseOfTransformers) {
  const Json golden = golden_of(GetParam());
  auto session = open_session(on_gpu(GetParam(), "f32"));
  ASSERT_TRUE(session);
  for (const Json& c : golden.at("cases")) {
    SCOPED_TRACE(c.at("name").get<std::string>());
    auto sequence = start(*session);
    const std::vector<std::int32_t> answer = c.at("greedy_ids");
    EXPECT_EQ(continue_greedy(*session, *sequence, c.at("prompt_ids"), answer.size()), answer);
  }
  auto plan = session->blueprint().memory(0, 0, false);
  ASSERT_TRUE(plan.ok());
  const MemoryBytes& now = session->ledger().now();
  EXPECT_EQ(plan->owned() - (*plan)[MemoryKind::kKv], now.owned() - now[MemoryKind::kKv]);
}

// Of the last position, beside the largest of them: bf16 keeps 8 bits, f16 11.
TEST_P(GpuFixtures, SixteenBitValuesStayNearTheLogits) {
  const Json golden = golden_of(GetParam());
  const Json& c = golden.at("cases").front();
  const auto expected =
      read_floats(share() / "fixtures" / GetParam() / c.at("logits_file").get<std::string>());
  for (const auto& [values, tolerance] : {std::pair{"bf16", 0.1f}, std::pair{"f16", 0.02f}}) {
    SCOPED_TRACE(values);
    auto session = open_session(on_gpu(GetParam(), values));
    ASSERT_TRUE(session);
    session->keep_logits(true);
    auto sequence = start(*session);
    sequence->push(c.at("prompt_ids").get<std::vector<std::int32_t>>());
    auto row = session->run(*sequence);
    ASSERT_TRUE(row.ok()) << row.error().message;
    const std::uint64_t vocabulary = session->graph().vocabulary();
    const float* last = expected.data() + expected.size() - vocabulary;
    float largest = 0;
    float most = 0;
    for (std::uint64_t i = 0; i < vocabulary; ++i) {
      largest = std::max(largest, std::abs(last[i]));
      most = std::max(most, std::abs(last[i] - row->logits[i]));
    }
    EXPECT_LT(most, tolerance * largest);
  }
}

INSTANTIATE_TEST_SUITE_P(All, GpuFixtures,
                         testing::Values("gemma", "gemma2", "gemma2_wide", "gemma_mqa", "llama3",
                                         "phi3", "phi3_longrope", "phi3_wide", "tinyllama"),
                         [](const auto& fixture) { return fixture.param; });

// With 16-bit values too: the same implementations give the same bits whatever holds the cache.
TEST_P(GpuPlanners, GiveTheTokensOfStatic) {
  const std::vector<std::int32_t> prompt = golden_of("gemma2").at("cases").back().at("prompt_ids");
  for (const char* values : {"f32", "bf16"}) {
    SCOPED_TRACE(values);
    std::vector<std::int32_t> answers[2];
    for (int side = 0; side < 2; ++side) {
      EngineOptions options = on_gpu("gemma2", values);
      options.planner = side == 0 ? "static" : GetParam();
      auto session = open_session(options);
      ASSERT_TRUE(session);
      auto sequence = start(*session);
      answers[side] = continue_greedy(*session, *sequence, prompt, 32);
    }
    EXPECT_EQ(answers[0], answers[1]);
  }
}

INSTANTIATE_TEST_SUITE_P(All, GpuPlanners, testing::Values("exact", "grow", "elastic", "paged"),
                         [](const auto& planner) { return planner.param; });

TEST_F(Gpu, GrowthNeedsNoNewRecordingAndNoCopy) {
  for (const char* planner : {"elastic", "paged"}) {
    SCOPED_TRACE(planner);
    EngineOptions options = on_gpu("tinyllama", "bf16");
    options.planner = planner;
    options.planner_options = {{options.planner == "paged" ? "page" : "stripe", std::int64_t{4}}};
    auto session = open_session(options);
    ASSERT_TRUE(session);
    auto sequence = start(*session);
    const std::uint64_t turns = std::min<std::uint64_t>(session->context_tokens() / 5, 100);
    for (std::uint64_t turn = 0; turn + 1 < turns; ++turn) {
      continue_greedy(*session, *sequence, {1, 2}, 3);
    }
    EXPECT_EQ(session->captures(), 1u);
    EXPECT_EQ(session->ledger().events.copied_bytes, 0u);
    EXPECT_EQ(session->ledger().events.address_changes, 0u);
  }
}

TEST_F(Gpu, TooLittleMemoryIsRefused) {
  EngineOptions options = on_gpu("tinyllama", "bf16");
  options.memory_limit_bytes = 64 << 10;
  auto blueprint = draw(registry(), options);
  ASSERT_TRUE(blueprint.ok()) << blueprint.error().message;
  EXPECT_FALSE(Session::open(std::move(blueprint).value()).ok());
}

TEST_F(Gpu, AGpuThatIsNotThereIsRefused) {
  EngineOptions options = on_gpu("tinyllama", "bf16");
  options.device_index = 63;
  auto blueprint = draw(registry(), options);
  ASSERT_FALSE(blueprint.ok());
  EXPECT_NE(blueprint.error().message.find("cuda:63"), std::string::npos)
      << blueprint.error().message;
}

}  // namespace
}  // namespace rt::test
