// What fits: refused before a byte is taken, the largest budget exact, and offers that are true.
#include "core/engine/admission.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/engine/outlook.h"
#include "tests/support/models.h"

namespace rt::test {
namespace {

EngineOptions fixture(const std::string& planner) {
  EngineOptions options = exact_options("gemma2.yaml", source_path("tests/fixtures/gemma2"));
  options.planner = planner;
  return options;
}

std::unique_ptr<Blueprint> drawn(const EngineOptions& options) {
  auto blueprint = draw(registry(), options);
  EXPECT_TRUE(blueprint.ok()) << blueprint.error().message;
  return blueprint.ok() ? std::move(blueprint).value() : nullptr;
}

Demand hard_demand(EngineOptions options, std::uint64_t tokens) {
  options.prompt_tokens = std::min<std::uint64_t>(options.prompt_tokens, tokens - 1);
  options.new_tokens = tokens - options.prompt_tokens;
  options.hard_budget = true;
  auto demand = demand_of(*drawn(options));
  EXPECT_TRUE(demand.ok()) << demand.error().message;
  return *demand;
}

// For every planner that is loaded, limits from too little to plenty, two dtypes and prompts:
// N* fits and N* + 1 does not, or N* is the context; and fitting never ends and begins again.
TEST(Admission, TheLargestBudgetIsExact) {
  for (const std::string& planner : registry().planner_names()) {
    for (const rt_dtype dtype : {rt_dtype{RT_F32}, rt_dtype{RT_BF16}}) {
      for (const std::uint64_t prompt : {1, 40, 200}) {
        EngineOptions options = fixture(planner);
        options.kv_dtype = dtype;
        options.prompt_tokens = prompt;
        const std::uint64_t fixed = drawn(options)->fixed_memory().owned();
        const std::uint64_t context = drawn(options)->bounds.context_tokens;
        for (const std::uint64_t room : {0, 4096, 70'000, 300'000, 1'000'000, 100'000'000}) {
          options.memory_limit_bytes = fixed + room;
          const auto most = largest_budget(registry(), *drawn(options));
          ASSERT_TRUE(most.ok()) << most.error().message;
          if (*most > 1) {
            EXPECT_TRUE(hard_demand(options, *most).fits()) << planner << " " << *most;
          }
          if (*most < context) {
            const std::uint64_t over = std::max<std::uint64_t>(*most + 1, 2);
            EXPECT_FALSE(hard_demand(options, over).fits()) << planner << " " << *most;
          }
        }
      }
    }
  }
}

TEST(Admission, ARefusalOffersWhatFits) {
  EngineOptions options = fixture("static");
  options.prompt_tokens = 10;
  options.new_tokens = 100;
  options.hard_budget = true;
  const Demand lean = hard_demand(fixture("elastic"), 110);
  options.memory_limit_bytes = lean.bytes();
  const auto blueprint = drawn(options);
  ASSERT_TRUE(blueprint);
  const Status refused = admit_or_offer(registry(), *blueprint);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().fault, Fault::kEnvironment);
  const std::string& text = refused.error().message;
  EXPECT_NE(text.find("asked 100 new tokens after a prompt of 10"), std::string::npos) << text;
  EXPECT_NE(text.find("with --planner "), std::string::npos) << text;
  EXPECT_NE(text.find("--memory-limit"), std::string::npos) << text;
  // A smaller type is offered where it is enough.
  const auto halved = drawn(options);
  KvChoice quantized = kv_choice(options);
  quantized.kv_dtype = RT_KV_INT8;
  const auto smaller = redraw(registry(), *halved, quantized);
  ASSERT_TRUE(smaller.ok()) << smaller.error().message;
  halved->limit_bytes = demand_of(**smaller)->bytes();
  const Status offered = admit_or_offer(registry(), *halved);
  ASSERT_FALSE(offered.ok());
  EXPECT_NE(offered.error().message.find("with --kv-dtype "), std::string::npos)
      << offered.error().message;
  options.memory_limit_bytes = std::uint64_t{1} << 30;
  EXPECT_TRUE(admit_or_offer(registry(), *drawn(options)).ok());
}

// What a step takes beside the cache goes down with its tokens, and each offer is true.
TEST(Admission, ShorterStepsAreOfferedWhereTheyMakeRoom) {
  EngineOptions options = fixture("static");
  options.prompt_tokens = 10;
  options.new_tokens = 100;
  options.hard_budget = true;
  options.step_tokens = 256;
  EngineOptions shorter = options;
  shorter.step_tokens = 64;
  const auto whole = drawn(options);
  const std::uint64_t less = demand_of(*drawn(shorter))->bytes();
  ASSERT_LT(less, demand_of(*whole)->bytes());
  whole->limit_bytes = less;
  const Status refused = admit_or_offer(registry(), *whole);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("with --step-tokens 64 all 100 fit"), std::string::npos)
      << refused.error().message;
}

// At the smallest context the lengths that a planner is asked for do not rise on their own.
TEST(Admission, EveryPlannerServesAContextOfTwoTokens) {
  for (const char* planner : {"elastic", "exact", "grow", "paged", "static", "auto"}) {
    EngineOptions options = fixture(planner);
    options.context_tokens = 2;
    const auto blueprint = draw(registry(), options);
    EXPECT_TRUE(blueprint.ok()) << planner << ": " << blueprint.error().message;
  }
}

// The matrix that makes the logits keeps its type, also where a soft cap stands behind it.
TEST(Admission, TheHeadIsNotQuantized) {
  const std::string folder = ::testing::TempDir() + "untied";
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/config.json")
      << R"({"architectures": ["Gemma2ForCausalLM"], "tie_word_embeddings": false,
             "vocab_size": 512, "hidden_size": 128, "intermediate_size": 256, "head_dim": 32,
             "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
             "max_position_embeddings": 256, "sliding_window": 64,
             "query_pre_attn_scalar": 32, "attn_logit_softcapping": 50,
             "final_logit_softcapping": 30, "torch_dtype": "bfloat16"})";
  EngineOptions options;
  options.graph = source_path("graphs/gemma2.yaml");
  options.source = WeightSource::kNoWeights;
  options.weights = folder;
  options.weight_formats.all = RT_W_NF4;
  const auto blueprint = drawn(options);
  ASSERT_TRUE(blueprint);
  const auto& weights = blueprint->graph.weights;
  const auto head = std::find_if(weights.begin(), weights.end(),
                                 [](const GraphWeight& w) { return w.name == "lm_head"; });
  ASSERT_NE(head, weights.end());
  EXPECT_EQ(head->alias_of, kNone);
  EXPECT_EQ(head->type.dtype, rt_dtype{RT_BF16});
}

// A limit is raised only by who has set one, and only as far as the machine goes.
TEST(Admission, ARaisedLimitIsOfferedOnlyWhereItHelps) {
  const auto refused = [](std::uint64_t memory_limit_bytes, std::uint64_t available_bytes) {
    EngineOptions options = fixture("elastic");
    options.memory_limit_bytes = memory_limit_bytes;
    const auto blueprint = drawn(options);
    blueprint->limit_bytes = 1;
    if (available_bytes != 0) blueprint->desc.memory_available_bytes = available_bytes;
    const Status status = admit_or_offer(registry(), *blueprint);
    return status.ok() ? "" : status.error().message;
  };
  EXPECT_TRUE(refused(1, 0).ends_with("not one token fits; raise --memory-limit")) << refused(1, 0);
  EXPECT_TRUE(refused(1, 1).ends_with("not one token fits")) << refused(1, 1);
  EXPECT_TRUE(refused(0, 0).ends_with("not one token fits")) << refused(0, 0);
}

TEST(Admission, AnOpenBudgetNeedsThePromptAndOneToken) {
  EngineOptions options = fixture("elastic");
  options.prompt_tokens = 100;
  const auto demand = demand_of(*drawn(options));
  ASSERT_TRUE(demand.ok());
  EXPECT_EQ(demand->tokens, 101u);
  options.memory_limit_bytes = demand->bytes();
  EXPECT_TRUE(admit(*drawn(options)).ok());
  options.memory_limit_bytes = demand->bytes() - 1;
  const Status refused = admit_or_offer(registry(), *drawn(options));
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("not one token fits"), std::string::npos)
      << refused.error().message;
  options.planner = "exact";
  options.planner_options = {{"open_tokens", std::int64_t{1}}};
  options.memory_limit_bytes = demand_of(*drawn(options))->bytes() - 1;
  const Status shorter = admit_or_offer(registry(), *drawn(options));
  ASSERT_FALSE(shorter.ok());
  EXPECT_NE(shorter.error().message.find("a prompt of "), std::string::npos)
      << shorter.error().message;
}

TEST(Admission, APromptAsLongAsTheContextIsBadInput) {
  EngineOptions options = fixture("elastic");
  options.prompt_tokens = options.context_tokens = 64;
  const Status refused = admit(*drawn(options));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().fault, Fault::kBadInput);
  EXPECT_NE(refused.error().message.find("shorten it or raise --ctx-size"), std::string::npos);
  options.context_tokens = 0;
  options.prompt_tokens = 512;  // the fixture's own
  const Status longest = admit(*drawn(options));
  ASSERT_FALSE(longest.ok());
  EXPECT_TRUE(longest.error().message.ends_with("shorten it")) << longest.error().message;
}

// Drawing again gives what drawing afresh gives.
TEST(Admission, RedrawnIsDrawn) {
  for (const std::string& planner : registry().planner_names()) {
    EngineOptions options = fixture(planner);
    options.kv_dtype = RT_BF16;
    options.prompt_tokens = 30;
    options.new_tokens = 70;
    options.hard_budget = true;
    const auto fresh = drawn(options);
    const auto again = redraw(registry(), *drawn(fixture("static")), kv_choice(options));
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_EQ(fresh->fixed_memory(), (*again)->fixed_memory()) << planner;
    EXPECT_EQ(fresh->notes, (*again)->notes);
    const auto a = demand_of(*fresh);
    const auto b = demand_of(**again);
    ASSERT_TRUE(a.ok() && b.ok());
    EXPECT_EQ(a->peak, b->peak) << planner;
    EXPECT_EQ(fresh->kv->explanation(), (*again)->kv->explanation());
  }
}

// A type that the cache cannot have costs nothing, and must not be offered for that.
TEST(Admission, NoOtherTypeThanACachesIsDrawn) {
  const auto base = drawn(fixture("static"));
  for (const rt_dtype dtype : {rt_dtype{RT_F64}, rt_dtype{RT_I32}}) {
    KvChoice choice = kv_choice(base->options);
    choice.kv_dtype = dtype;
    const auto other = redraw(registry(), *base, choice);
    ASSERT_FALSE(other.ok());
    EXPECT_NE(other.error().message.find("no type of KV caches"), std::string::npos)
        << other.error().message;
  }
}

TEST(Session, APlanForAnotherMachineIsNotRun) {
  const std::string path = ::testing::TempDir() + "another_machine.yaml";
  std::ofstream(path) << "kind: cpu\nmemory: 8GiB\n";
  EngineOptions options = fixture("static");
  const auto described = DescribedDevice::read(path);
  ASSERT_TRUE(described.ok()) << described.error().message;
  options.described_device = *described;
  auto base = drawn(options);
  ASSERT_TRUE(base);
  const auto session = Session::open(std::move(base));
  ASSERT_FALSE(session.ok());
  EXPECT_EQ(session.error().message,
            "the plan is for the machine that " + path +
                " describes; a session needs one for a device of this machine");
}

TEST(Outlook, APlannerThatRefusesIsInTheAnswerWithItsReason) {
  const std::string path = ::testing::TempDir() + "no_reserve.yaml";
  std::ofstream(path) << "kind: cpu\nmemory: 8GiB\ncan_reserve: false\n";
  EngineOptions options = fixture("static");
  const auto described = DescribedDevice::read(path);
  ASSERT_TRUE(described.ok()) << described.error().message;
  options.described_device = *described;
  KvTurn turn;
  turn.prompt_tokens = 10;
  turn.new_tokens = 10;
  const auto base = drawn(options);
  ASSERT_TRUE(base);
  const auto all = look_ahead(registry(), *base, {&turn, 1}, {});
  ASSERT_TRUE(all.ok()) << all.error().message;
  EXPECT_EQ(all->front().planner, "static");
  EXPECT_TRUE(all->front().configured);
  bool seen = false;
  for (const PlannerOutlook& one : *all) {
    if (one.planner != "elastic") continue;
    seen = true;
    EXPECT_NE(one.refusal.find("reserve address space"), std::string::npos) << one.refusal;
  }
  EXPECT_TRUE(seen);
  EXPECT_FALSE(look_ahead(registry(), *base, {&turn, 1}, {"elastik"}).ok());
}

}  // namespace
}  // namespace rt::test
