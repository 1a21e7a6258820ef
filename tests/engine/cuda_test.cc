// The CUDA plugins on an emulated GPU (tests/cuda_emulation): the same sources that nvcc compiles,
// run through the engine. Tokens of exact mode are those of transformers, as on the CPU, and growth
// neither copies nor records again.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <thread>

#include "core/base/json.h"
#include "core/engine/chat.h"
#include "core/memory/kv_forecast.h"
#include "tests/cuda_emulation/control.h"
#include "tests/support/cuda_models.h"
#include "tests/support/models.h"

namespace rt::test {
namespace {

class Cuda : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { cuda_emulation_reset(); }
};

// Tokens of the first `cases` of the fixture, and the ledger against the plan.
void expect_golden_tokens(const EngineOptions& options, const Json& golden, std::size_t cases) {
  auto session = open_session(options, cuda_registry());
  ASSERT_TRUE(session);
  for (std::size_t i = 0; i < std::min(cases, golden.at("cases").size()); ++i) {
    const Json& c = golden.at("cases").at(i);
    SCOPED_TRACE(c.at("name").get<std::string>());
    auto sequence = start(*session);
    const std::vector<std::int32_t> answer = c.at("greedy_ids");
    EXPECT_EQ(continue_greedy(*session, *sequence, c.at("prompt_ids"), answer.size()), answer);
  }
  auto plan = session->blueprint().memory(0, 0, false);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->owned() - (*plan)[MemoryKind::kKv],
            session->ledger().now().owned() - session->ledger().now()[MemoryKind::kKv]);
  EXPECT_GE(cuda_emulation_used_bytes(), session->ledger().now().owned());
}

TEST_P(Cuda, TokensOfExactModeAreThoseOfTransformers) {
  expect_golden_tokens(on_cuda(GetParam()), golden_of(GetParam()), 100);
}

TEST_P(Cuda, LogitsOfEveryPosition) {
  const Json golden = golden_of(GetParam());
  const std::string folder = source_path("tests/fixtures/" + GetParam());
  EngineOptions options = on_cuda(GetParam());
  options.all_rows = true;
  options.step_tokens = 512;
  auto session = open_session(options, cuda_registry());
  ASSERT_TRUE(session);
  session->keep_logits(true);
  const std::uint64_t vocabulary = session->graph().vocabulary();
  for (const Json& c : golden.at("cases")) {
    SCOPED_TRACE(c.at("name").get<std::string>());
    const auto expected = read_floats(folder + "/" + c.at("logits_file").get<std::string>());
    auto sequence = start(*session);
    sequence->all_rows = true;
    sequence->push(c.at("prompt_ids").get<std::vector<std::int32_t>>());
    Sequence* const one[] = {sequence.get()};
    auto rows = session->step(one);
    ASSERT_TRUE(rows.ok()) << rows.error().message;
    ASSERT_EQ(rows->size() * vocabulary, expected.size());
    EXPECT_LT(max_difference(rows->front().logits, expected.data(), expected.size()),
              golden.at("tolerance").get<float>());
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, Cuda,
                         testing::Values("gemma", "gemma2", "llama3", "phi3", "phi3_longrope",
                                         "tinyllama"),
                         [](const auto& fixture) { return fixture.param; });

class CudaPlanners : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { cuda_emulation_reset(); }
};

TEST_P(CudaPlanners, GiveTheSameTokens) {
  EngineOptions options = on_cuda("gemma2");
  options.planner = GetParam();
  expect_golden_tokens(options, golden_of("gemma2"), 2);
}

INSTANTIATE_TEST_SUITE_P(All, CudaPlanners,
                         testing::Values("static", "exact", "grow", "elastic", "paged"),
                         [](const auto& planner) { return planner.param; });

// Values of 16 bits take the tensor cores in prefill. Weights of the fixtures are f32, so `mma`
// needs a model of random ones; here the rest of the path: how far 16-bit values move the logits.
TEST_F(CudaGpu, SixteenBitValuesStayNearTheLogits) {
  const Json golden = golden_of("tinyllama");
  const Json& c = golden.at("cases").front();
  const auto expected = read_floats(source_path("tests/fixtures/tinyllama/") +
                                    c.at("logits_file").get<std::string>());
  for (const auto& [values, tolerance] : {std::pair{"bf16", 0.1f}, std::pair{"f16", 0.02f}}) {
    SCOPED_TRACE(values);
    auto session = open_session(on_cuda("tinyllama", values), cuda_registry());
    ASSERT_TRUE(session);
    session->keep_logits(true);
    auto sequence = start(*session);
    sequence->push(c.at("prompt_ids").get<std::vector<std::int32_t>>());
    auto row = session->run(*sequence);
    ASSERT_TRUE(row.ok()) << row.error().message;
    const std::uint64_t vocabulary = session->graph().vocabulary();
    const float* last = expected.data() + expected.size() - vocabulary;
    float largest = 0;
    for (std::uint64_t i = 0; i < vocabulary; ++i) largest = std::max(largest, std::abs(last[i]));
    EXPECT_LT(max_difference(row->logits, last, vocabulary), tolerance * largest);
  }
}

std::int64_t count_of(const std::string& prefill, const Session& session) {
  const auto& nodes = session.blueprint().nodes;
  return std::count_if(nodes.begin(), nodes.end(),
                       [&](const auto& node) { return node.prefill.chosen.full_name == prefill; });
}

// The demo model's weights are bf16, so its prompts go through cuBLASLt, or the tensor cores where
// those are preferred.
class CudaPrompts : public CudaGpu, public testing::WithParamInterface<int> {};

TEST_P(CudaPrompts, StayNearTheCpu) {
  EngineOptions cpu = exact_options("phi3.yaml", source_path("graphs/demo"));
  EngineOptions cuda = cpu;
  cuda.device = "cuda";
  cuda.device_options = {};
  cuda.exact = false;
  std::vector<std::int32_t> prompt;
  for (std::int32_t i = 0; i < GetParam(); ++i) prompt.push_back(3 + i * 37 % 900);
  std::vector<float> logits[3];
  for (const std::size_t side : {0, 1, 2}) {
    if (side == 2) cuda.selection.prefer = {"linear_cuda/mma", "mlp_cuda/mma"};
    auto session = side == 0 ? open_session(cpu) : open_session(cuda, cuda_registry());
    ASSERT_TRUE(session);
    if (side > 0) {
      EXPECT_GT(count_of(side == 1 ? "linear_cuda/cublaslt" : "linear_cuda/mma", *session), 4);
      EXPECT_GT(count_of(side == 1 ? "mlp_cuda/cublaslt" : "mlp_cuda/mma", *session), 1);
    }
    session->keep_logits(true);
    auto sequence = start(*session);
    sequence->push(prompt);
    auto row = session->run(*sequence);
    ASSERT_TRUE(row.ok()) << row.error().message;
    logits[side].assign(row->logits, row->logits + session->graph().vocabulary());
  }
  float largest = 0;
  for (const float x : logits[0]) largest = std::max(largest, std::abs(x));
  for (const std::size_t side : {1, 2}) {
    EXPECT_LT(max_difference(logits[0].data(), logits[side].data(), logits[0].size()),
              0.03f * largest);
  }
}

// The emulated library has no algorithm for 47 tokens; our product serves then.
INSTANTIATE_TEST_SUITE_P(Lengths, CudaPrompts, testing::Values(40, 47),
                         testing::PrintToStringParamName());

// A plan asks the description of the device for cuBLASLt, never this machine.
TEST_F(CudaGpu, CublasLtIsInTheDescription) {
  EngineOptions options;
  options.graph = source_path("graphs/phi3.yaml");
  options.source = WeightSource::kNoWeights;
  const std::string with = source_path("configs/devices/h100.yaml");
  const std::string without = testing::TempDir() + "/bare_gpu.yaml";
  std::ofstream(without) << "kind: cuda\nmemory: 80GiB\ncan_reserve: true\nhost_readable: false\n"
                            "values: bf16\n";
  for (const std::string& file : {with, without}) {
    auto described = DescribedDevice::read(file);
    ASSERT_TRUE(described.ok()) << described.error().message;
    options.described_device = *described;
    options.device = "cuda";
    auto blueprint = draw(cuda_registry(), options);
    ASSERT_TRUE(blueprint.ok()) << blueprint.error().message;
    const Blueprint& b = **blueprint;
    const bool chosen = std::any_of(b.nodes.begin(), b.nodes.end(), [](const auto& node) {
      return node.prefill.chosen.full_name == "mlp_cuda/cublaslt";
    });
    EXPECT_EQ(chosen, file == with);
    const auto refused = [](const Decision& decision) {
      return decision.full_name == "mlp_cuda/cublaslt" &&
             decision.reason.find("expected libcublasLt.so.13") != std::string::npos;
    };
    EXPECT_EQ(std::any_of(b.nodes.begin(), b.nodes.end(),
                          [&](const auto& node) {
                            const auto& all = node.prefill.decisions;
                            return std::any_of(all.begin(), all.end(), refused);
                          }),
              file == without);
  }
}

// cuDNN by name: prompts in chunks over a cache of one stripe, against our own kernels; in a
// striped cache it is refused and ours serve.
TEST_F(CudaGpu, CudnnServesWhoNamesItWhereTheCacheIsOnePiece) {
  EngineOptions options = on_cuda("gemma_mqa", "bf16");
  options.kv_dtype = RT_BF16;
  options.planner = "static";
  std::vector<std::int32_t> prompt;
  for (std::int32_t i = 0; i < 43; ++i) prompt.push_back(3 + i * 7 % 60);
  std::vector<float> logits[2];
  for (int side = 0; side < 2; ++side) {
    if (side == 1) options.selection.prefer = {"attention_cuda/cudnn"};
    auto session = open_session(options, cuda_registry());
    ASSERT_TRUE(session);
    const auto& nodes = session->blueprint().nodes;
    const auto named = [&](const auto& node) {
      return node.prefill.chosen.full_name == "attention_cuda/cudnn";
    };
    EXPECT_EQ(std::any_of(nodes.begin(), nodes.end(), named), side == 1);
    auto plan = session->blueprint().memory(0, 0, false);
    ASSERT_TRUE(plan.ok());
    session->keep_logits(true);
    auto sequence = start(*session);
    sequence->push(prompt);
    auto row = session->run(*sequence);
    ASSERT_TRUE(row.ok()) << row.error().message;
    EXPECT_EQ(plan->owned() - (*plan)[MemoryKind::kKv],
              session->ledger().now().owned() - session->ledger().now()[MemoryKind::kKv]);
    logits[side].assign(row->logits, row->logits + session->graph().vocabulary());
  }
  float largest = 0;
  for (const float x : logits[0]) largest = std::max(largest, std::abs(x));
  EXPECT_LT(max_difference(logits[0].data(), logits[1].data(), logits[0].size()), 0.03f * largest);

  options.planner = "elastic";
  auto striped = draw(cuda_registry(), options);
  ASSERT_TRUE(striped.ok()) << striped.error().message;
  const std::vector<std::string>& notes = (*striped)->notes;
  EXPECT_TRUE(std::any_of(notes.begin(), notes.end(), [](const std::string& note) {
    return note.find("affine in one stripe") != std::string::npos;
  }));
}

TEST_F(CudaGpu, ExactWantsUnroundedValues) {
  EngineOptions options = on_cuda("tinyllama", "bf16");
  options.exact = true;
  auto blueprint = draw(cuda_registry(), options);
  ASSERT_FALSE(blueprint.ok());
  EXPECT_NE(blueprint.error().message.find("exact: expected values of f32"), std::string::npos)
      << blueprint.error().message;
}

// A kernel goes to the GPU that is the thread's current one, whatever stream it is put on.
TEST_F(CudaGpu, TwoGpusTakeTurnsOnOneThread) {
  cuda_emulation_set_devices(2);
  std::vector<std::int32_t> answers[2];
  std::unique_ptr<Session> sessions[2];
  std::unique_ptr<Sequence> sequences[2];
  for (std::uint32_t gpu : {0u, 1u}) {
    EngineOptions options = on_cuda("tinyllama");
    options.device_index = gpu;
    sessions[gpu] = open_session(options, cuda_registry());
    ASSERT_TRUE(sessions[gpu]);
    sequences[gpu] = start(*sessions[gpu]);
  }
  for (int turn = 0; turn < 3; ++turn) {
    for (std::uint32_t gpu : {0u, 1u}) {
      for (const std::int32_t id : continue_greedy(*sessions[gpu], *sequences[gpu], {1, turn}, 2)) {
        answers[gpu].push_back(id);
      }
    }
  }
  EXPECT_EQ(answers[0].size(), 6u);
  EXPECT_EQ(answers[0], answers[1]);
}

// One recording serves every token of a long chat whose cache grows all the time.
TEST_F(CudaGpu, GrowthNeedsNoNewRecordingAndNoCopy) {
  for (const char* planner : {"elastic", "paged"}) {
    SCOPED_TRACE(planner);
    EngineOptions options = on_cuda("tinyllama");
    options.planner = planner;
    options.planner_options = {{options.planner == "paged" ? "page" : "stripe", std::int64_t{4}}};
    auto session = open_session(options, cuda_registry());
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
  EXPECT_EQ(cuda_emulation_used_bytes(), 0u);
}

// Bytes that the driver has given out, once what is made ready is all there (or ten seconds on).
std::uint64_t settled_bytes(const Session& session) {
  const std::uint64_t owned = session.ledger().now().owned();
  for (int i = 0; i < 10000 && cuda_emulation_used_bytes() < owned; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return cuda_emulation_used_bytes();
}

// After the prompt's pages no step waits for cuMemCreate; plan, ledger and the driver agree on what
// is ready too.
TEST_F(CudaGpu, GrowthFindsItsMemoryReady) {
  auto session = open_session(with_pages_of_four(), cuda_registry());
  ASSERT_TRUE(session);
  auto sequence = start(*session);
  sequence->push(std::vector<std::int32_t>{1, 2, 3});
  constexpr std::uint64_t kTokens = 60;
  for (std::uint64_t token = 0; token < kTokens; ++token) {
    auto row = session->run(*sequence);
    ASSERT_TRUE(row.ok()) << row.error().message;
    ASSERT_EQ(settled_bytes(*session), session->ledger().now().owned());
    ASSERT_EQ(cuda_emulation_creations(), 1u);
    sequence->push(row->sampled);
  }
  const std::uint64_t commits = session->ledger().events.commits;
  EXPECT_GT(commits, kTokens / 4);
  EXPECT_EQ(cuda_emulation_creations_beside(), commits) << "one is ready";
  const KvTurn turn{3, kTokens, false};
  const auto planned = forecast(*session->blueprint().kv, {&turn, 1});
  ASSERT_TRUE(planned.ok()) << planned.error().message;
  EXPECT_EQ(planned->standing_bytes, session->ledger().now()[MemoryKind::kKv]);
  EXPECT_EQ(planned->peak_bytes, session->ledger().peak()[MemoryKind::kKv]);
  EXPECT_EQ(planned->ready_bytes, std::uint64_t{2} << 20);
  ASSERT_TRUE(sequence->truncate(0).ok());
  ASSERT_TRUE(session->trim().ok());
  EXPECT_EQ(session->ledger().now()[MemoryKind::kKv], 0u);
  EXPECT_EQ(cuda_emulation_used_bytes(), session->ledger().now().owned());
  sequence.reset();
  session.reset();
  EXPECT_EQ(cuda_emulation_used_bytes(), 0u);
}

// Where the limit has room for the conversation and for nothing more, it is held all the same.
TEST_F(CudaGpu, WhatIsReadyMakesWayAtTheLimit) {
  EngineOptions options = with_pages_of_four();
  options.prompt_tokens = 3;
  options.new_tokens = 40;
  options.hard_budget = true;
  auto roomy = draw(cuda_registry(), options);
  ASSERT_TRUE(roomy.ok()) << roomy.error().message;
  const std::uint64_t granule = std::uint64_t{2} << 20;
  const std::uint64_t least = (*roomy)->fixed_memory().owned() + 11 * granule;  // 42 tokens
  for (const std::uint64_t room : {granule, granule - 1, std::uint64_t{0}}) {
    SCOPED_TRACE(room);
    options.memory_limit_bytes = least + room;
    auto session = open_session(options, cuda_registry());
    ASSERT_TRUE(session);
    const KvTurn turn{3, 40, true};
    const auto planned = forecast(*session->blueprint().kv, {&turn, 1});
    ASSERT_TRUE(planned.ok()) << planned.error().message;
    EXPECT_EQ(planned->wanted_more_ready, room < granule);
    auto sequence = start(*session);
    sequence->set_budget(43);
    continue_greedy(*session, *sequence, {1, 2, 3}, 40);
    EXPECT_EQ(sequence->ids().size(), 43u);
    EXPECT_EQ(session->ledger().peak()[MemoryKind::kKv], planned->peak_bytes);
    EXPECT_EQ(settled_bytes(*session), session->ledger().now().owned());
    EXPECT_LE(session->ledger().peak_owned(), options.memory_limit_bytes);
  }
  options.memory_limit_bytes = least - 1;
  auto refused = draw(cuda_registry(), options);
  ASSERT_TRUE(refused.ok()) << refused.error().message;
  EXPECT_FALSE(Session::open(std::move(refused).value()).ok());
}

TEST_F(CudaGpu, EveryPlannersPlanIsItsLedger) {
  for (const char* planner : {"static", "exact", "grow", "elastic", "paged"}) {
    SCOPED_TRACE(planner);
    EngineOptions options = on_cuda("gemma2");
    options.planner = planner;
    auto session = open_session(options, cuda_registry());
    ASSERT_TRUE(session);
    auto sequence = start(*session);
    std::vector<KvTurn> turns;
    for (std::uint64_t turn = 0; turn < 3; ++turn) {
      ASSERT_TRUE(session->trim().ok());
      continue_greedy(*session, *sequence, std::vector<std::int32_t>(20, 5), 6);
      turns.push_back({20, 6, false});
      const auto planned = forecast(*session->blueprint().kv, turns);
      ASSERT_TRUE(planned.ok()) << planned.error().message;
      EXPECT_EQ(planned->standing_bytes, session->ledger().now()[MemoryKind::kKv]);
      EXPECT_EQ(planned->peak_bytes, session->ledger().peak()[MemoryKind::kKv]);
      EXPECT_EQ(settled_bytes(*session), session->ledger().now().owned());
    }
  }
}

TEST_F(CudaGpu, RaggedBatchOfTwo) {
  const Json golden = golden_of("gemma2");
  EngineOptions options = on_cuda("gemma2");
  options.max_sequences = 2;
  auto session = open_session(options, cuda_registry());
  ASSERT_TRUE(session);
  const Json* const cases[] = {&golden.at("cases").front(), &golden.at("cases").back()};
  std::unique_ptr<Sequence> sequences[] = {start(*session), start(*session)};
  Sequence* const batch[] = {sequences[0].get(), sequences[1].get()};
  for (int k = 0; k < 2; ++k) {
    batch[k]->push(cases[k]->at("prompt_ids").get<std::vector<std::int32_t>>());
  }
  constexpr std::size_t kTokens = 24;
  std::vector<std::int32_t> answers[2];
  while (answers[0].size() < kTokens || answers[1].size() < kTokens) {
    auto rows = session->step(batch);
    ASSERT_TRUE(rows.ok()) << rows.error().message;
    for (const StepRow& row : *rows) {
      const int k = row.sequence == batch[0] ? 0 : 1;
      answers[k].push_back(row.sampled);
      if (answers[k].size() < kTokens) batch[k]->push(row.sampled);
    }
  }
  for (int k = 0; k < 2; ++k) {
    std::vector<std::int32_t> expected = cases[k]->at("greedy_ids");
    expected.resize(kTokens);
    answers[k].resize(kTokens);
    EXPECT_EQ(answers[k], expected);
  }
}

}  // namespace
}  // namespace rt::test
