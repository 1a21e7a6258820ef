// Every planner under a real session: the same tokens, the cost that was forecast, and for the
// default no cost at all.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>

#include "core/base/json.h"
#include "core/engine/planner_choice.h"
#include "core/memory/kv_forecast.h"
#include "tests/support/kv_world.h"

namespace rt::test {
namespace {

// Small steps, so that a conversation of a few hundred tokens meets many growths.
std::vector<PlannerCase> eager_planners() {
  return {{"static", {}},
          {"exact", {option("open_tokens", 8)}},
          {"elastic", {option("stripe", 8)}},
          {"grow", {option("first", 8), {"factor", 1.2}}},
          {"grow", {option("first", 8), option("step", 16)}},
          {"paged", {option("page", 8)}}};
}

EngineOptions fixture(const std::string& name, const PlannerCase& planner) {
  const Json golden = read_golden(source_path("tests/fixtures/" + name + "/golden.json"));
  const std::string graph = golden.at("graph");
  EngineOptions options =
      exact_options(graph.substr(graph.find('/') + 1), source_path("tests/fixtures/" + name));
  options.planner = planner.name;
  options.planner_options = planner.options;
  options.step_tokens = 16;
  return options;
}

constexpr std::uint64_t kTurns = 100;
constexpr std::uint64_t kPrompt = 3;
constexpr std::uint64_t kAnswer = 2;

// A chat of 100 turns as Chat makes it: trim, declare, prefill, decode.
std::vector<std::int32_t> chat(Session& session, Sequence& sequence) {
  std::vector<std::int32_t> answers;
  for (std::uint64_t turn = 0; turn < kTurns; ++turn) {
    EXPECT_TRUE(session.trim().ok());
    sequence.set_budget(sequence.ids().size() + kPrompt + kAnswer);
    const auto word = static_cast<std::int32_t>(turn % 50 + 3);
    for (const std::int32_t id : continue_greedy(session, sequence, {word, word + 1, 2}, kAnswer)) {
      answers.push_back(id);
    }
  }
  return answers;
}

class LongChat : public testing::TestWithParam<std::string> {};

TEST_P(LongChat, SameTokensAndTheCostThatWasForecast) {
  std::vector<std::int32_t> expected;
  for (const PlannerCase& planner : eager_planners()) {
    SCOPED_TRACE(planner.name);
    auto session = open_session(fixture(GetParam(), planner));
    ASSERT_TRUE(session);
    std::uint64_t growths = 0;
    session->observe(
        [&](const KvEvent& event) { growths += event.kind == KvEventKind::kCommit ? 1 : 0; });
    auto sequence = start(*session);
    const std::vector<std::int32_t> answers = chat(*session, *sequence);
    if (expected.empty()) expected = answers;
    EXPECT_EQ(answers, expected);

    const std::vector<KvTurn> turns(kTurns, KvTurn{kPrompt, kAnswer});
    auto planned = forecast(*session->blueprint().kv, turns, session->graph().rope_switch_tokens);
    ASSERT_TRUE(planned.ok()) << planned.error().message;
    const Ledger& ledger = session->ledger();
    EXPECT_EQ(planned->standing_bytes, ledger.now()[MemoryKind::kKv]);
    EXPECT_EQ(planned->peak_bytes, ledger.peak()[MemoryKind::kKv]);
    EXPECT_EQ(planned->copied_bytes, ledger.events.copied_bytes);
    EXPECT_EQ(planned->address_changes, ledger.events.address_changes);
    EXPECT_EQ(planned->reprefill_tokens, ledger.events.reprefill_tokens);
    EXPECT_EQ(planned->reserved_bytes, ledger.peak_reserved_bytes());
    if (planner.name == "elastic" || planner.name == "paged") {
      EXPECT_EQ(ledger.events.copied_bytes, 0u);
      EXPECT_EQ(ledger.events.address_changes, 0u);
    }
    if (planner.name == "grow") {
      EXPECT_GT(ledger.events.copied_bytes, 0u);
    }
  }
}

// A chat of 100 turns stands where one prompt of the same tokens does.
TEST_P(LongChat, CostsNoMoreThanOneGeneration) {
  for (const PlannerCase& planner : eager_planners()) {
    SCOPED_TRACE(planner.name);
    auto session = open_session(fixture(GetParam(), planner));
    ASSERT_TRUE(session);
    auto talked = start(*session);
    chat(*session, *talked);
    const std::uint64_t by_chat = session->ledger().now()[MemoryKind::kKv];
    std::vector<std::int32_t> ids = talked->ids();
    talked.reset();
    EXPECT_EQ(session->ledger().now()[MemoryKind::kKv], 0u);
    auto at_once = start(*session, ids.size());
    const std::int32_t last = ids.back();
    ids.pop_back();
    EXPECT_EQ(continue_greedy(*session, *at_once, ids, 1), std::vector<std::int32_t>{last});
    EXPECT_EQ(session->ledger().now()[MemoryKind::kKv], by_chat);
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, LongChat, testing::Values("gemma2", "llama3", "phi3_longrope"),
                         [](const auto& fixture) { return fixture.param; });

// Undo and clear give back what was forecast, before the next prompt.
TEST_P(LongChat, RewindsAsForecast) {
  for (const PlannerCase& planner : eager_planners()) {
    SCOPED_TRACE(planner.name);
    auto session = open_session(fixture(GetParam(), planner));
    ASSERT_TRUE(session);
    auto sequence = start(*session);
    std::vector<KvTurn> turns;
    for (const std::uint64_t keep : {UINT64_MAX, UINT64_MAX, std::uint64_t{70}, std::uint64_t{0},
                                     UINT64_MAX, std::uint64_t{55}, std::uint64_t{20}}) {
      turns.push_back({30, 10, turns.size() % 2 == 0, keep});
      const std::uint64_t left = std::min<std::uint64_t>(keep, sequence->ids().size());
      ASSERT_TRUE(sequence->truncate(left).ok());
      ASSERT_TRUE(session->trim().ok());
      sequence->set_budget(turns.back().declared ? left + 40 : 0);
      continue_greedy(*session, *sequence, std::vector<std::int32_t>(30, 5), 10);
      auto planned = forecast(*session->blueprint().kv, turns, session->graph().rope_switch_tokens);
      ASSERT_TRUE(planned.ok()) << planned.error().message;
      const Ledger& ledger = session->ledger();
      EXPECT_EQ(planned->standing_bytes, ledger.now()[MemoryKind::kKv]) << turns.size();
      EXPECT_EQ(planned->peak_bytes, ledger.peak()[MemoryKind::kKv]) << turns.size();
      EXPECT_EQ(planned->copied_bytes, ledger.events.copied_bytes) << turns.size();
      EXPECT_EQ(planned->reprefill_tokens, ledger.events.reprefill_tokens) << turns.size();
    }
  }
}

// Random weights whose rows are wide enough that every stripe is memory of its own.
EngineOptions wide_model(const PlannerCase& planner) {
  const std::string folder = testing::TempDir() + "/wide_model";
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/config.json")
      << R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 64, "hidden_size": 64,
             "intermediate_size": 64,
             "num_hidden_layers": 2, "num_attention_heads": 16, "num_key_value_heads": 16,
             "head_dim": 64, "max_position_embeddings": 512, "torch_dtype": "float32"})";
  EngineOptions options = exact_options("tinyllama.yaml", folder);
  options.source = WeightSource::kRandom;
  options.random_seed = 7;
  options.planner = planner.name;
  options.planner_options = planner.options;
  options.step_tokens = 16;
  return options;
}

// The reason the project exists: growth that costs nothing.
TEST(LongChatOfAWideModel, GrowsOftenAndCopiesNothing) {
  std::vector<std::int32_t> expected;
  for (const PlannerCase& planner : eager_planners()) {
    SCOPED_TRACE(planner.name);
    auto session = open_session(wide_model(planner));
    ASSERT_TRUE(session);
    std::uint64_t growths = 0;
    session->observe(
        [&](const KvEvent& event) { growths += event.kind == KvEventKind::kCommit ? 1 : 0; });
    auto sequence = start(*session);
    const std::vector<std::int32_t> answers = chat(*session, *sequence);
    if (expected.empty()) expected = answers;
    EXPECT_EQ(answers, expected);
    const MemoryEvents& events = session->ledger().events;
    if (planner.name == "elastic" || planner.name == "paged") {
      EXPECT_GE(growths, 20u);
      EXPECT_EQ(events.copied_bytes, 0u);
      EXPECT_EQ(events.address_changes, 0u);
    } else if (planner.name != "static") {
      EXPECT_GE(events.address_changes, 10u);
    }
  }
}

// A fork goes on exactly as its origin does, whatever either of them does afterwards.
TEST(Fork, GoesOnLikeItsOrigin) {
  for (const PlannerCase& planner : eager_planners()) {
    SCOPED_TRACE(planner.name);
    EngineOptions options = fixture("gemma2", planner);
    options.max_sequences = 3;
    auto session = open_session(options);
    ASSERT_TRUE(session);
    auto origin = start(*session);
    continue_greedy(*session, *origin, {1, 2, 3}, 90);
    auto fork = session->fork(*origin);
    ASSERT_TRUE(fork.ok()) << fork.error().message;
    auto other = session->fork(*origin);
    ASSERT_TRUE(other.ok()) << other.error().message;
    EXPECT_FALSE(session->fork(*origin).ok());
    EXPECT_EQ((*fork)->cached(), origin->cached());
    if (planner.name == "paged") {
      EXPECT_EQ(session->ledger().events.copied_bytes, 0u);
    }
    continue_greedy(*session, **other, {9, 8, 7}, 30);
    const auto expected = continue_greedy(*session, *origin, {}, 60);
    EXPECT_EQ(continue_greedy(*session, **fork, {}, 60), expected);
    origin.reset();
    ASSERT_TRUE((*fork)->truncate(50).ok());
    auto again = start(*session);
    const std::vector<std::int32_t> prefix((*fork)->ids().begin(), (*fork)->ids().end());
    EXPECT_EQ(continue_greedy(*session, **fork, {4}, 20), continue_greedy(
                                                              *session, *again,
                                                              [&] {
                                                                auto ids = prefix;
                                                                ids.push_back(4);
                                                                return ids;
                                                              }(),
                                                              20));
  }
}

TEST(Auto, ChoosesElasticForAnOpenConversation) {
  EngineOptions options;
  options.graph = source_path("graphs/gemma2.yaml");
  options.source = WeightSource::kNoWeights;
  options.memory_limit_bytes = std::uint64_t{64} << 30;
  options.planner = "auto";
  auto blueprint = draw(registry(), options);
  ASSERT_TRUE(blueprint.ok()) << blueprint.error().message;
  EXPECT_EQ((*blueprint)->kv->planner_name(), "elastic");
  const auto& notes = (*blueprint)->notes;
  EXPECT_TRUE(std::any_of(notes.begin(), notes.end(), [](const std::string& note) {
    return note.find("chose elastic of 5 planners: it fits, with 0 address changes") == 0;
  }));
}

// --- `auto` on paper

struct Offer {
  const char* name;
  std::uint32_t fits;
  std::uint64_t changes, copied, peak, standing;
};

std::string choice_of(const std::vector<Offer>& offers) {
  const Planner chooser = registry().planner("auto").value();
  std::vector<rt_plan_candidate> candidates;
  for (const Offer& o : offers) {
    candidates.push_back(
        {sizeof(rt_plan_candidate), o.fits, o.name, 0, o.standing, o.peak, o.copied, o.changes, 0});
  }
  std::vector<const rt_plan_candidate*> pointers;
  for (const rt_plan_candidate& candidate : candidates) pointers.push_back(&candidate);
  rt_plan_problem problem{};
  problem.struct_size = sizeof problem;
  rt_plan_sink sink{};
  sink.struct_size = sizeof sink;
  sink.explain = [](rt_plan_sink*, const char*) {};
  std::uint32_t chosen = 99;
  EXPECT_EQ(chooser.c->choose(chooser.host, &problem, static_cast<std::uint32_t>(pointers.size()),
                              pointers.data(), &sink, &chosen),
            RT_OK);
  return offers[chosen].name;
}

TEST(Auto, TakesItsCriteriaInOrder) {
  EXPECT_EQ(choice_of({{"a", 0, 0, 0, 1, 1}, {"b", 1, 9, 9, 9, 9}}), "b");
  EXPECT_EQ(choice_of({{"a", 1, 1, 0, 1, 1}, {"b", 1, 0, 9, 9, 9}}), "b");
  EXPECT_EQ(choice_of({{"a", 1, 0, 1, 1, 1}, {"b", 1, 0, 0, 9, 9}}), "b");
  EXPECT_EQ(choice_of({{"a", 1, 0, 0, 9, 1}, {"b", 1, 0, 0, 1, 9}}), "b");
  EXPECT_EQ(choice_of({{"a", 1, 0, 0, 6400, 9}, {"b", 1, 0, 0, 6500, 1}}), "b");
  EXPECT_EQ(choice_of({{"a", 1, 0, 0, 6400, 9}, {"b", 1, 0, 0, 6501, 1}}), "a");
  EXPECT_EQ(choice_of({{"a", 0, 5, 5, 5, 5}}), "a");
}

TEST(Auto, HasNoLayoutOfItsOwn) {
  KvProblem problem;
  problem.layers = {{"kv.0", 0, 0, 2, 8, 4, 0}};
  problem.context_tokens = 100;
  auto plan = plan_with({"auto", {}}, problem);
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.error().message.find("asked to choose among planners"), std::string::npos);
}

// A stranger's chooser that lies, dies or hangs costs one sentence.
std::string refusal_of_chooser(decltype(rt_planner::choose) choose) {
  rt_planner liar = *registry().planner("auto").value().c;
  liar.name = "liar";
  liar.choose = choose;
  KvProblem problem;
  problem.layers = {{"kv.0", 0, 0, 2, 8, 4, 0}};
  problem.context_tokens = 100;
  const Planner chooser{&liar, registry().planner("auto").value().host, "acme/liar", false};
  auto choice = choose_planner(registry(), chooser, problem, {}, true);
  return choice.ok() ? "" : choice.error().message;
}

TEST(Auto, LiarsAreRefused) {
  EXPECT_EQ(
      refusal_of_chooser([](const rt_host*, const rt_plan_problem*, std::uint32_t,
                            const rt_plan_candidate* const*, rt_plan_sink*, std::uint32_t* chosen) {
        *chosen = 99;
        return rt_status{RT_OK};
      }),
      "planner acme/liar: chose candidate 99 of 5");
  EXPECT_NE(refusal_of_chooser([](const rt_host*, const rt_plan_problem*, std::uint32_t,
                                  const rt_plan_candidate* const*, rt_plan_sink*,
                                  std::uint32_t*) -> rt_status {
              throw 1;
            }).find("exception"),
            std::string::npos);
  EXPECT_NE(refusal_of_chooser([](const rt_host*, const rt_plan_problem*, std::uint32_t,
                                  const rt_plan_candidate* const*, rt_plan_sink*,
                                  std::uint32_t*) -> rt_status {
              std::abort();
            }).find("crashed with SIGABRT in a trial run"),
            std::string::npos);
  EXPECT_NE(refusal_of_chooser([](const rt_host*, const rt_plan_problem*, std::uint32_t,
                                  const rt_plan_candidate* const*, rt_plan_sink*,
                                  std::uint32_t*) -> rt_status {
              for (volatile int forever = 1; forever != 0;) {
              }
              return RT_OK;
            }).find("gave no answer within"),
            std::string::npos);
}

int forks = 0;

// Under `auto` a search for the largest budget asks many times; a trial costs a process each.
TEST(Auto, AStrangerIsTriedOnceAndLeftOutForGoodIfItCrashes) {
  static const int counting = pthread_atfork([] { ++forks; }, nullptr, nullptr);
  ASSERT_EQ(counting, 0);
  auto plugins = bundled_registry({built_path("tests/plugin/cases/crash_in_planner.rtp.so")});
  KvProblem problem;
  problem.layers = {{"kv.0", 0, 0, 2, 8, 4, 0}};
  problem.context_tokens = 100;
  const Planner chooser = plugins->planner("auto").value();
  ASSERT_TRUE(plugins->planner("roomy").ok());  // opened, which is tried in a child of its own
  for (const bool trial : {true, false}) {
    forks = 0;
    auto choice = choose_planner(*plugins, chooser, problem, {}, trial);
    ASSERT_TRUE(choice.ok()) << choice.error().message;
    EXPECT_EQ(forks, trial ? 1 : 0);
    EXPECT_EQ(choice->explanation.back(),
              "not considered: planner crash_in_planner/roomy: crashed with SIGSEGV in a trial "
              "run; it is not used");
  }
}

// --- where address space is refused

// Runs `body` in a child whose address space cannot grow by more than `more`; its exit code.
int in_small_space(std::uint64_t more, const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    std::uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlimit limit{pages * 4096 + more, pages * 4096 + more};
    _exit(setrlimit(RLIMIT_AS, &limit) == 0 ? body() : 99);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

KvProblem wide_problem() {
  KvProblem problem;
  problem.layers = {{"kv.0", 0, 0, 8, 128, 8, 0}};  // 8 KiB per token
  problem.context_tokens = 1 << 20;                 // 8 GiB
  problem.step_tokens = 64;
  return problem;
}

int grow_to(const PlannerCase& planner, std::uint64_t budget, std::uint64_t tokens) {
  auto plan = plan_with(planner, wide_problem());
  if (!plan.ok()) return 1;
  auto device = open_cpu(wide_problem(), UINT64_MAX);
  auto store = KvStore::make(*device, *plan);
  if (!store.ok()) return 2;
  const KvStore::Slot slot = (*store)->add(budget);
  KvStore::Demand demand{slot, 10};
  if (!(*store)->make_room({&demand, 1}).ok()) return 3;
  (*store)->advance(slot, 10);
  demand.tokens = tokens;
  if (const Status grown = (*store)->make_room({&demand, 1}); !grown.ok()) {
    return grown.error().fault == Fault::kEnvironment ? 4 : 7;  // as where memory has run out
  }
  std::uint64_t resident = 0;
  for (const auto& [address, bytes] : (*store)->ranges()) {
    resident += device->resident(address, bytes).value();
  }
  if (resident != device->ledger().now()[MemoryKind::kKv]) return 5;
  return (*store)->max_tokens(slot) < wide_problem().context_tokens ? 0 : 6;
}

// A budget of 2000 tokens is all that was reserved; a conversation that begins again has another.
int begin_again(std::uint64_t budget) {
  auto plan = plan_with({"elastic", {}}, wide_problem());
  auto device = open_cpu(wide_problem(), UINT64_MAX);
  auto store = KvStore::make(*device, *plan);
  const KvStore::Slot slot = (*store)->add(2000);
  const KvStore::Demand first{slot, 2000};
  if (!(*store)->make_room({&first, 1}).ok()) return 1;
  (*store)->advance(slot, 2000);
  (*store)->truncate(slot, 0);
  if (!(*store)->trim().ok() || device->ledger().now()[MemoryKind::kKv] != 0) return 2;
  (*store)->set_budget(slot, budget);
  const KvStore::Demand second{slot, budget};
  return (*store)->make_room({&second, 1}).ok() ? 0 : 3;
}

TEST(AddressSpace, TheBudgetIsReservedWhereTheContextIsRefused) {
  constexpr std::uint64_t kMore = std::uint64_t{256} << 20;
  EXPECT_EQ(in_small_space(kMore, [] { return grow_to({"elastic", {}}, 2000, 2000); }), 0);
  EXPECT_EQ(in_small_space(kMore, [] { return grow_to({"elastic", {}}, 2000, 2001); }), 4);
  // Or nothing: 100000 tokens are 800 MB.
  EXPECT_EQ(in_small_space(kMore, [] { return grow_to({"elastic", {}}, 100000, 2000); }), 3);
  EXPECT_EQ(in_small_space(kMore, [] { return begin_again(4000); }), 0);
  // An open budget gets what is to be had by halves.
  EXPECT_EQ(in_small_space(kMore, [] { return grow_to({"elastic", {}}, 0, 2000); }), 0);
  EXPECT_EQ(in_small_space(kMore, [] { return grow_to({"elastic", {}}, 0, 100000); }), 4);
  // Pages need no reserved space: they become allocations, and the context stays.
  EXPECT_EQ(in_small_space(kMore, [] { return grow_to({"paged", {}}, 0, 2000); }), 6);
}

}  // namespace
}  // namespace rt::test
