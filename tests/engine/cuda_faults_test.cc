// Every way that a GPU fails comes out as a sentence and loses nothing: what the machine lacks, too
// little memory, any allocation, a kernel. On the emulated GPU.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "core/engine/chat.h"
#include "tests/support/cuda_models.h"

namespace rt::test {
namespace {

std::string refusal_of(const EngineOptions& options, Fault fault) {
  auto blueprint = draw(cuda_registry(), options);
  if (blueprint.ok()) return "not refused";
  EXPECT_EQ(blueprint.error().fault, fault);
  return blueprint.error().message;
}

TEST_F(CudaGpu, SaysWhatTheMachineLacks) {
  EngineOptions options = on_cuda("tinyllama");
  const auto expect_refusal = [&](const char* text, Fault fault) {
    EXPECT_NE(refusal_of(options, fault).find(text), std::string::npos)
        << refusal_of(options, fault);
  };
  cuda_emulation_set_driver(0);
  expect_refusal("no NVIDIA driver found", Fault::kEnvironment);
  cuda_emulation_set_driver(12040);
  expect_refusal("too old: expected one for CUDA 13.0 (580 or later), found one for CUDA 12.4",
                 Fault::kEnvironment);
  cuda_emulation_reset();
  cuda_emulation_set_devices(0);
  expect_refusal("finds no GPU", Fault::kEnvironment);
  cuda_emulation_reset();
  cuda_emulation_set_capability(7, 5);
  expect_refusal("expected compute capability 8.0 (A100, RTX 30) or later, found 7.5",
                 Fault::kEnvironment);
  cuda_emulation_reset();
  options.device_index = 1;
  expect_refusal("expected a GPU below 1, found cuda:1", Fault::kBadInput);
  cuda_emulation_set_devices(2);
  EXPECT_TRUE(draw(cuda_registry(), options).ok());
}

TEST_F(CudaGpu, TooLittleMemoryIsRefusedBeforeAnythingIsTaken) {
  cuda_emulation_set_memory((1 << 30) + (64 << 10));  // a context's share leaves 64 KiB
  EngineOptions options = on_cuda("tinyllama");
  options.memory_limit_bytes = 0;
  auto blueprint = draw(cuda_registry(), options);
  ASSERT_TRUE(blueprint.ok()) << blueprint.error().message;
  EXPECT_EQ((*blueprint)->limit_bytes, std::uint64_t{64} << 10);
  EXPECT_FALSE(Session::open(std::move(blueprint).value()).ok());
  EXPECT_EQ(cuda_emulation_allocations(), 0u);
}

// As some virtual GPUs are: planners that need none of it serve.
TEST_F(CudaGpu, WithoutVirtualMemoryElasticIsRefusedAndGrowRuns) {
  EngineOptions options = on_cuda("tinyllama");
  const auto tokens = [&] {
    auto session = open_session(options, cuda_registry());
    return continue_greedy(*session, *start(*session), {1, 2, 3}, 8);
  };
  options.planner = "elastic";
  const std::vector<std::int32_t> expected = tokens();
  cuda_emulation_set_virtual_memory(false);
  EXPECT_NE(refusal_of(options, Fault::kBadInput).find("reserve address space"), std::string::npos);
  for (const char* planner : {"grow", "exact", "static", "auto"}) {
    options.planner = planner;
    EXPECT_EQ(tokens(), expected) << planner;
  }
}

// A plan for a GPU that is not here needs no driver, and its numbers are the GPU's.
TEST_F(CudaGpu, PlansForNamedGpusWithoutADriver) {
  cuda_emulation_set_driver(0);
  struct Row {
    const char* file;
    std::uint64_t mebibytes;
    bool fits;  // Gemma 2 9B with its whole context of 8192 tokens, bf16
  };
  for (const Row& row : {Row{"h100", 81559, true}, Row{"h200", 143771, true},
                         Row{"a100", 81920, true}, Row{"rtx4090", 24564, true}}) {
    SCOPED_TRACE(row.file);
    EngineOptions options;
    options.graph = source_path("graphs/gemma2.yaml");
    options.source = WeightSource::kNoWeights;
    options.planner = "static";
    auto described = DescribedDevice::read(source_path("configs/devices/") + row.file + ".yaml");
    ASSERT_TRUE(described.ok()) << described.error().message;
    options.described_device = *described;
    options.device = options.described_device->kind();
    auto blueprint = draw(cuda_registry(), options);
    ASSERT_TRUE(blueprint.ok()) << blueprint.error().message;
    const Blueprint& b = **blueprint;
    EXPECT_EQ(b.desc.memory_total_bytes, row.mebibytes << 20);
    EXPECT_EQ(b.desc.granule_bytes, std::uint64_t{2} << 20);
    EXPECT_EQ(b.mapped_weight_bytes, 0u) << "a GPU reads no files";
    auto memory = b.memory(8192, 0, false);
    ASSERT_TRUE(memory.ok());
    EXPECT_EQ(memory->owned() < b.desc.memory_available_bytes, row.fits);
    EXPECT_LT(memory->owned(), 24'000'000'000u) << "the limit of the report's 24 GB card";
  }
}

// Opens a session and decodes some tokens; "" or what was said.
std::string outcome_of(const EngineOptions& options) {
  auto blueprint = draw(cuda_registry(), options);
  if (!blueprint.ok()) return blueprint.error().message;
  auto session = Session::open(std::move(blueprint).value());
  if (!session.ok()) return session.error().message;
  auto sequence = (*session)->start();
  if (!sequence.ok()) return sequence.error().message;
  (*sequence)->sampling = greedy();
  (*sequence)->push(std::vector<std::int32_t>{1, 2, 3});
  for (int i = 0; i < 12; ++i) {
    auto row = (*session)->run(**sequence, i < 11);
    if (!row.ok()) return row.error().message;
    (*sequence)->push(row->sampled);
  }
  return "";
}

// Without a word what could be made ready is made by the commits, and their refusals are told.
TEST_F(CudaGpu, EveryAllocationMayFail) {
  const EngineOptions options = with_pages_of_four();
  const auto reset = [] {
    cuda_emulation_reset();
    cuda_emulation_fail_creations_beside(true);
  };
  reset();
  ASSERT_EQ(outcome_of(options), "");
  const std::uint64_t allocations = cuda_emulation_allocations();
  ASSERT_GT(allocations, 8u);
  int went_on = 0;
  for (std::uint64_t n = 1; n <= allocations; ++n) {
    SCOPED_TRACE(n);
    reset();
    cuda_emulation_fail_allocation(n);
    const std::string said = outcome_of(options);
    went_on += said.empty() ? 1 : 0;
    EXPECT_TRUE(said.empty() || said.find("out of memory") != std::string::npos) << said;
    EXPECT_EQ(cuda_emulation_used_bytes(), 0u);
  }
  EXPECT_EQ(went_on, 1) << "a step that cannot be recorded is run";
  for (std::uint64_t n = 1; n <= allocations; ++n) {
    SCOPED_TRACE(n);
    cuda_emulation_reset();
    cuda_emulation_fail_allocation(n);
    outcome_of(options);  // who makes what is a matter of speed
    EXPECT_EQ(cuda_emulation_used_bytes(), 0u);
  }
  cuda_emulation_reset();
  EXPECT_EQ(outcome_of(options), "");
}

TEST_F(CudaGpu, AFailedKernelMakesTheSessionSickForGood) {
  for (const char* planner : {"elastic", "static", "exact", "grow", "paged"}) {
    SCOPED_TRACE(planner);
    cuda_emulation_reset();
    EngineOptions options = on_cuda("tinyllama");
    options.planner = planner;
    auto session = open_session(options, cuda_registry());
    ASSERT_TRUE(session);
    auto sequence = start(*session);
    continue_greedy(*session, *sequence, {1, 2, 3}, 4);
    cuda_emulation_fail_kernel(5);
    sequence->push(7);
    auto row = session->run(*sequence);
    ASSERT_FALSE(row.ok());
    EXPECT_FALSE(session->healthy());
    EXPECT_EQ(row.error().fault, Fault::kInternal);
    const std::string& said = row.error().message;
    for (const char* text : {"illegal memory access", "can only be destroyed", "(step 5,",
                             "operators.blocking: true says which operator"}) {
      EXPECT_NE(said.find(text), std::string::npos) << said;
    }
    for (int i = 0; i < 2; ++i) EXPECT_FALSE(session->run(*sequence).ok()) << "sick for good";
  }
}

// A long prompt in steps, some tokens, and back by less than a step. `refused`: the launch that is
// refused once; the step is asked for again.
std::vector<std::int32_t> talk(Session& session, std::uint64_t refused, int& refusals) {
  auto sequence = start(session);
  std::vector<std::int32_t> tokens;
  const auto go_on = [&] {
    for (int i = 0; i < 4; ++i) {
      auto row = session.run(*sequence, true);
      if (!row.ok()) {
        ++refusals;
        EXPECT_NE(row.error().message.find("out of memory"), std::string::npos)
            << row.error().message;
        EXPECT_TRUE(session.healthy());
        row = session.run(*sequence, true);
      }
      ASSERT_TRUE(row.ok()) << row.error().message;
      tokens.push_back(row->sampled);
      sequence->push(row->sampled);
    }
  };
  cuda_emulation_refuse_launch(refused);
  sequence->push(std::vector<std::int32_t>(2 * session.blueprint().bounds.tokens + 3, 5));
  go_on();
  EXPECT_TRUE(
      sequence->truncate(sequence->ids().size() - session.blueprint().bounds.tokens + 1).ok());
  sequence->push(3);
  go_on();
  cuda_emulation_refuse_launch(0);
  return tokens;
}

TEST_F(CudaGpu, ARefusedLaunchLosesNothing) {
  for (const char* planner : {"elastic", "paged"}) {
    SCOPED_TRACE(planner);
    cuda_emulation_reset();
    EngineOptions options = on_cuda("gemma2");
    options.planner = planner;
    int refusals = 0;
    auto undisturbed = open_session(options, cuda_registry());
    ASSERT_TRUE(undisturbed);
    const std::uint64_t before = cuda_emulation_launches();
    const std::vector<std::int32_t> tokens = talk(*undisturbed, 0, refusals);
    const std::uint64_t launches = cuda_emulation_launches() - before;
    ASSERT_GT(launches, 100u);
    for (std::uint64_t n = 1; n <= launches; n += launches / 12) {
      SCOPED_TRACE(n);
      auto session = open_session(options, cuda_registry());
      ASSERT_TRUE(session);
      EXPECT_EQ(talk(*session, n, refusals), tokens);
    }
    EXPECT_GT(refusals, 4) << "those of steps that are begun ahead are nobody's business";
  }
}

// The rows of a step that was refused at its end are in the rings, in place of older ones that a
// rewind would find missing: the sequence is computed again, or the rewind is short enough.
TEST_F(CudaGpu, ARefusedStepIsNotTrustedWithWhatItOverwrote) {
  const EngineOptions options = on_cuda("gemma2");
  const std::size_t step = options.step_tokens;
  for (const std::size_t back : {std::size_t{1}, step / 2, step}) {
    SCOPED_TRACE(back);
    std::vector<std::int32_t> ids(4 * step);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(7 * i % 60);
    std::vector<std::int32_t> answers[2];
    for (const bool refused : {false, true}) {
      auto session = open_session(options, cuda_registry());
      ASSERT_TRUE(session);
      auto sequence = start(*session);
      sequence->push(ids);
      ASSERT_TRUE(session->run(*sequence).ok());
      if (refused) {
        const std::uint64_t before = cuda_emulation_launches();
        sequence->push(std::vector<std::int32_t>(step, 9));
        ASSERT_TRUE(session->run(*sequence).ok());
        const std::uint64_t launches = cuda_emulation_launches() - before;
        ASSERT_TRUE(sequence->truncate(0).ok());  // as new
        sequence->push(ids);
        ASSERT_TRUE(session->run(*sequence).ok());
        cuda_emulation_refuse_launch(launches);
        sequence->push(std::vector<std::int32_t>(step, 9));
        ASSERT_FALSE(session->run(*sequence).ok());
      }
      ASSERT_TRUE(sequence->truncate(ids.size() - back).ok());
      answers[refused ? 1 : 0] = continue_greedy(*session, *sequence, {3}, 6);
    }
    EXPECT_EQ(answers[0], answers[1]);
  }
}

TEST_F(CudaGpu, AFaultInASecondAnswerIsToldAndTheProcessLives) {
  const std::string folder = shared_path("models/tinystories656K");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder;
  EngineOptions options = exact_options("tinyllama.yaml", folder);
  options.device = "cuda";
  options.device_options = {{"values", std::string("f32")}};
  auto session = open_session(options, cuda_registry());
  ASSERT_TRUE(session);
  const Checkpoint& checkpoint = *session->blueprint().checkpoint;
  auto text =
      load_text(session->graph(), folder, &checkpoint.config(), checkpoint.generation_config());
  ASSERT_TRUE(text.ok()) << text.error().message;
  text->chat = {};
  text->chat.bos = "<s>";
  text->chat.assistant = {"", "</s>"};
  text->has_chat = true;
  ChatOptions chat_options;
  chat_options.max_new_tokens = 4;
  auto chat = Chat::start(*session, *text, chat_options);
  ASSERT_TRUE(chat.ok());
  ASSERT_TRUE((*chat)->ask("Once", {}).ok());
  cuda_emulation_fail_kernel(60);
  for (int i = 0; i < 2; ++i) {  // the second finds a device that has failed
    EXPECT_FALSE((*chat)->regenerate({}).ok());
    EXPECT_FALSE(session->healthy());
    EXPECT_EQ((*chat)->messages().size(), 2u);
  }
}

TEST_F(CudaGpu, BlockingNamesTheOperatorAndItsPlugin) {
  EngineOptions options = on_cuda("tinyllama");
  options.blocking = true;
  auto session = open_session(options, cuda_registry());
  ASSERT_TRUE(session);
  auto sequence = start(*session);
  sequence->push(std::vector<std::int32_t>{1, 2, 3});
  cuda_emulation_fail_kernel(2);  // embedding, then rope_angles
  auto row = session->run(*sequence);
  ASSERT_FALSE(row.ok());
  const std::string& said = row.error().message;
  EXPECT_NE(said.find("rope_angles_cuda/rows at node "), std::string::npos) << said;
  EXPECT_NE(said.find("(step 1,"), std::string::npos) << said;
  EXPECT_EQ(session->captures(), 0u);
}

}  // namespace
}  // namespace rt::test
