// Batches: admitted as a whole and run to their end, and prefixes shared without changing an
// answer.
#include "core/engine/batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>

#include "core/base/bytes.h"
#include "core/engine/admission.h"
#include "core/engine/batch_admission.h"
#include "tests/support/models.h"

namespace rt::test {
namespace {

using Ids = std::vector<std::int32_t>;

EngineOptions fixture(const std::string& planner, const std::string& graph = "gemma2.yaml",
                      const std::string& folder = "gemma2") {
  EngineOptions options = exact_options(graph, source_path("tests/fixtures/" + folder));
  options.planner = planner;
  return options;
}

GenerateRequest request(Ids prompt, std::optional<std::uint64_t> most_new) {
  GenerateRequest out;
  out.prompt = std::move(prompt);
  out.max_new_tokens = most_new;
  out.sampling = greedy();
  return out;
}

Ids some_ids(std::size_t count, std::uint32_t seed) {
  std::mt19937 draw(seed);
  Ids ids;
  for (std::size_t i = 0; i < count; ++i) ids.push_back(static_cast<std::int32_t>(3 + draw() % 90));
  return ids;
}

// Prompts that begin with the same `common` tokens.
std::vector<GenerateRequest> requests(std::size_t count, std::size_t common, std::uint32_t seed,
                                      bool hard) {
  std::mt19937 draw(seed);
  std::vector<GenerateRequest> out;
  for (std::size_t i = 0; i < count; ++i) {
    Ids ids = some_ids(common, seed);
    const Ids own = some_ids(1 + draw() % 70, seed * 100 + static_cast<std::uint32_t>(i));
    ids.insert(ids.end(), own.begin(), own.end());
    ids[common] = static_cast<std::int32_t>(3 + i);  // here they differ
    std::optional<std::uint64_t> most_new;
    if (hard) most_new = 1 + draw() % 40;
    out.push_back(request(std::move(ids), most_new));
  }
  return out;
}

struct Answers {
  std::vector<Ids> ids;  // by index
  std::vector<Finish> finish;
  std::uint64_t shared = 0;
};

Answers run_all(Session& session, const std::vector<GenerateRequest>& asked) {
  Answers out;
  out.ids.resize(asked.size());
  out.finish.resize(asked.size());
  Batch batch(session, nullptr, asked);
  while (!batch.finished()) {
    auto ended = batch.advance();
    if (!ended.ok()) {
      ADD_FAILURE() << ended.error().message;
      return out;
    }
    for (const auto& one : *ended) {
      out.ids[one->index] = one->generation.ids();
      out.finish[one->index] = one->generation.finish();
      out.shared += one->shared_tokens;
    }
  }
  return out;
}

std::unique_ptr<Session> admitted(const EngineOptions& options,
                                  const std::vector<GenerateRequest>& asked) {
  return opened(admit_batch(registry(), options, asked));
}

Demand demand(const EngineOptions& options, const std::vector<GenerateRequest>& asked) {
  auto blueprint = admit_batch(registry(), options, asked);
  EXPECT_TRUE(blueprint.ok()) << (blueprint.ok() ? "" : blueprint.error().message);
  return blueprint.ok() ? *demand_of(**blueprint) : Demand{};
}

// The least limit that admits is the forecast's, and under it everything runs to its last token;
// a byte less, a request more at once or a token more is refused.
TEST(Batch, WhatIsAdmittedRunsToItsEnd) {
  for (const std::string& planner : registry().planner_names()) {
    for (const std::size_t common : {0, 100, 150}) {
      for (const std::uint32_t at_a_time : {1u, 2u, 5u}) {
        const std::string where =
            planner + " " + std::to_string(common) + " " + std::to_string(at_a_time);
        EngineOptions options = fixture(planner);
        options.max_sequences = at_a_time;
        const auto asked = requests(7, common, 11 + at_a_time, true);
        const Demand wanted = demand(options, asked);
        options.memory_limit_bytes = wanted.bytes();
        const auto session = admitted(options, asked);
        ASSERT_TRUE(session) << where;
        const Answers answers = run_all(*session, asked);
        for (std::size_t i = 0; i < asked.size(); ++i) {
          EXPECT_EQ(answers.finish[i], Finish::kLength) << where;
          EXPECT_EQ(answers.ids[i].size(), *asked[i].max_new_tokens) << where;
        }
        EXPECT_LE(session->ledger().peak_owned(), wanted.bytes()) << where;
        options.memory_limit_bytes = wanted.bytes() - 1;
        const auto refused = admit_batch(registry(), options, asked);
        if (refused.ok()) {
          // Without sharing it may take less than with: a prefix that stands for one at a time.
          EXPECT_LE(demand_of(**refused)->bytes(), options.memory_limit_bytes) << where;
        } else {
          EXPECT_EQ(refused.error().fault, Fault::kEnvironment) << where;
        }
      }
    }
  }
}

// Under planners that move what has grown, whoever moves last does so beside all others: also a
// shorter one, whose old rows are more than the longest's.
TEST(Batch, OfMovingSequencesAnyMayBeTheLast) {
  for (const char* planner : {"grow", "exact"}) {
    for (std::uint32_t seed = 1; seed <= 12; ++seed) {
      EngineOptions options = fixture(planner);
      if (options.planner == "grow") {
        options.planner_options = {{"first", std::int64_t{16}}};
      }
      options.max_sequences = 3;
      std::mt19937 draw(seed);
      std::vector<GenerateRequest> asked;
      for (std::uint32_t i = 0; i < 4; ++i) {
        const std::size_t prompt = 1 + draw() % 150;
        asked.push_back(request(some_ids(prompt, seed + i), 1 + draw() % 100));
      }
      const Demand wanted = demand(options, asked);
      options.memory_limit_bytes = wanted.bytes();
      const auto session = admitted(options, asked);
      ASSERT_TRUE(session) << planner << " " << seed;
      const Answers answers = run_all(*session, asked);
      for (std::size_t i = 0; i < asked.size(); ++i) {
        EXPECT_EQ(answers.ids[i].size(), *asked[i].max_new_tokens) << planner << " " << seed;
      }
      EXPECT_LE(session->ledger().peak_owned(), wanted.bytes()) << planner << " " << seed;
    }
  }
}

TEST(Batch, ARefusalOffersWhatFits) {
  EngineOptions options = fixture("elastic");
  options.max_sequences = 3;
  std::vector<GenerateRequest> asked;
  for (std::uint32_t i = 0; i < 4; ++i) asked.push_back(request(some_ids(40 + i, i), 150));
  options.memory_limit_bytes = demand(options, asked).bytes();
  options.max_sequences = 4;
  const auto refused = admit_batch(registry(), options, asked);
  ASSERT_FALSE(refused.ok());
  const std::string& text = refused.error().message;
  EXPECT_EQ(refused.error().fault, Fault::kEnvironment);
  EXPECT_NE(text.find("4 prompts at once"), std::string::npos) << text;
  EXPECT_NE(text.find("with --parallel 3 they fit"), std::string::npos) << text;
  EXPECT_NE(text.find("--kv-dtype bf16 they fit"), std::string::npos) << text;
  // Each number is true: so many fit, one more does not.
  const std::size_t at = text.find("with at most ");
  ASSERT_NE(at, std::string::npos) << text;
  const std::uint64_t most = std::stoull(text.substr(at + 13));
  for (GenerateRequest& one : asked) one.max_new_tokens = most;
  EXPECT_TRUE(admit_batch(registry(), options, asked).ok()) << text;
  for (GenerateRequest& one : asked) one.max_new_tokens = most + 1;
  EXPECT_FALSE(admit_batch(registry(), options, asked).ok()) << text;
}

// Open budgets: fewer at once, with a note; all answers end, none is lost.
TEST(Batch, OpenBudgetsRunFewerAtOnce) {
  for (const char* planner : {"elastic", "paged", "exact", "grow"}) {
    EngineOptions options = fixture(planner);
    std::vector<GenerateRequest> asked;
    for (std::uint32_t i = 0; i < 5; ++i) asked.push_back(request(some_ids(90, i), std::nullopt));
    options.max_sequences = 2;
    options.memory_limit_bytes = demand(options, asked).bytes();
    options.max_sequences = 5;
    const auto session = admitted(options, asked);
    ASSERT_TRUE(session) << planner;
    EXPECT_EQ(at_once(session->blueprint().options), 2u) << planner;
    const auto& notes = session->blueprint().notes;
    EXPECT_TRUE(std::any_of(notes.begin(), notes.end(), [](const std::string& note) {
      return note.find("5 prompts at once do not fit") != std::string::npos &&
             note.find("2 at a time do") != std::string::npos;
    })) << planner;
    const Answers answers = run_all(*session, asked);
    for (std::size_t i = 0; i < asked.size(); ++i) {
      EXPECT_FALSE(answers.ids[i].empty()) << planner << " " << i;
      EXPECT_NE(answers.finish[i], Finish::kRunning) << planner << " " << i;
    }
    EXPECT_LE(session->ledger().peak_owned(), options.memory_limit_bytes) << planner;
  }
}

// One at a time is the least: below it an open batch is refused.
TEST(Batch, AnOpenPromptThatDoesNotFitIsRefused) {
  EngineOptions options = fixture("elastic");
  options.max_sequences = 1;
  const std::vector<GenerateRequest> asked{request(some_ids(90, 1), std::nullopt),
                                           request(some_ids(20, 2), std::nullopt)};
  options.memory_limit_bytes = demand(options, asked).bytes() - 1;
  options.max_sequences = 4;
  const auto refused = admit_batch(registry(), options, asked);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("--memory-limit"), std::string::npos);
}

struct SharedCase {
  const char* graph;
  const char* folder;
};

// The same answers as each prompt alone gives; under tables the prefix is computed and stands once.
TEST(Batch, SharedPrefixesChangeNoAnswer) {
  for (const SharedCase& model : {SharedCase{"gemma2.yaml", "gemma2"},
                                  {"phi3.yaml", "phi3"},
                                  {"tinyllama.yaml", "tinyllama"}}) {
    const std::string where = model.folder;
    EngineOptions options = fixture("paged", model.graph, model.folder);
    options.planner_options = {{"page", std::int64_t{16}}};
    options.max_sequences = 3;
    std::vector<GenerateRequest> asked = requests(6, 70, 5, true);
    const auto session = admitted(options, asked);
    ASSERT_TRUE(session) << where;
    EXPECT_EQ(session->blueprint().options.shared_tokens, 64u) << where;
    const Answers answers = run_all(*session, asked);
    EXPECT_EQ(answers.shared, 6u * 64) << where;
    for (std::size_t i = 0; i < asked.size(); ++i) {
      EXPECT_EQ(answers.ids[i], generate_greedy(fixture("static", model.graph, model.folder),
                                                asked[i].prompt, *asked[i].max_new_tokens))
          << where << " " << i;
    }
    // No page was copied: the forks begin at a page of their own.
    EXPECT_EQ(session->ledger().events.copied_bytes, 0u) << where;
  }
}

// LongRoPE: prompts on the far side of the switch compute their own prefix.
TEST(Batch, APrefixIsNotSharedAcrossTheRopeSwitch) {
  EngineOptions options = fixture("paged", "phi3.yaml", "phi3_longrope");
  options.planner_options = {{"page", std::int64_t{8}}};
  options.max_sequences = 2;
  const std::uint64_t at = [&] {
    auto blueprint = draw(registry(), options);
    return (*blueprint)->graph.rope_switch_tokens;
  }();
  ASSERT_GT(at, 10u);
  const Ids common = some_ids(10, 1);
  std::vector<GenerateRequest> asked;
  for (const std::size_t length : {std::size_t{14}, at - 2, at + 4}) {
    Ids ids = common;
    const Ids own = some_ids(length - 10, static_cast<std::uint32_t>(length));
    ids.insert(ids.end(), own.begin(), own.end());
    asked.push_back(request(std::move(ids), 6));
  }
  const auto session = admitted(options, asked);
  ASSERT_TRUE(session);
  ASSERT_EQ(session->blueprint().options.shared_tokens, 8u);
  const Answers answers = run_all(*session, asked);
  EXPECT_EQ(answers.shared, 2u * 8);
  for (std::size_t i = 0; i < asked.size(); ++i) {
    EXPECT_EQ(answers.ids[i],
              generate_greedy(fixture("static", "phi3.yaml", "phi3_longrope"), asked[i].prompt, 6))
        << i;
  }
}

TEST(Batch, CommonTokens) {
  const auto of = [](std::vector<Ids> prompts) {
    std::vector<GenerateRequest> asked;
    for (Ids& prompt : prompts) asked.push_back(request(std::move(prompt), 1));
    return common_tokens(asked);
  };
  EXPECT_EQ(of({{1, 2, 3}}), 0u);
  EXPECT_EQ(of({{1, 2, 3}, {1, 2, 4, 5}}), 2u);
  EXPECT_EQ(of({{1, 2}, {1, 2, 3}, {1, 2, 3}}), 1u);
  EXPECT_EQ(of({{1, 2}, {1, 2}}), 1u);
  EXPECT_EQ(of({{1}, {2}}), 0u);
}

// The forecast of a set is what the store does: prefix once, forks beside it.
// Prompts that differ in the token behind the common ones.
std::vector<GenerateRequest> four_alike(std::size_t common) {
  std::vector<GenerateRequest> asked;
  for (std::int32_t i = 0; i < 4; ++i) {
    Ids ids = some_ids(common, 1);
    ids.push_back(10 + i);
    asked.push_back(request(std::move(ids), 15));
  }
  return asked;
}

TEST(Batch, SharedPagesAreCountedOnce) {
  EngineOptions options = fixture("paged", "tinyllama.yaml", "tinyllama");
  options.planner_options = {{"page", std::int64_t{16}}};
  options.max_sequences = 4;
  const std::vector<GenerateRequest> asked = four_alike(64);
  const auto session = admitted(options, asked);
  ASSERT_TRUE(session);
  const std::uint64_t page = session->blueprint().kv->page_bytes(0);
  (void)run_all(*session, asked);
  EXPECT_EQ(session->ledger().peak()[MemoryKind::kKv], (4 + 4) * page);
  EXPECT_EQ(demand_of(session->blueprint())->peak[MemoryKind::kKv], (4 + 4) * page);
}

// Room for the batch with its common prefix held once, and not without: `auto` picks who can share,
// and who cannot is told who can.
TEST(Batch, WhatSharingSavesIsCountedWhereAPlannerIsPickedOrOffered) {
  // Of a model whose pages are more than one granule each, or none of it would be saved.
  EngineOptions options = exact_options("phi3.yaml", source_path("graphs/demo"));
  options.planner = "paged";
  options.max_sequences = 4;
  const std::vector<GenerateRequest> asked = four_alike(448);
  const Demand shared = demand(options, asked);
  options.memory_limit_bytes = shared.bytes();
  ASSERT_TRUE(admitted(options, asked));
  options.planner = "auto";
  const auto picked = admit_batch(registry(), options, asked);
  ASSERT_TRUE(picked.ok()) << picked.error().message;
  EXPECT_GT((*picked)->options.shared_tokens, 0u);
  options.planner = "static";
  const auto other = admit_batch(registry(), options, asked);
  ASSERT_FALSE(other.ok());
  EXPECT_NE(other.error().message.find("with --planner paged they fit"), std::string::npos)
      << other.error().message;
  // The least that is wanted is what is said.
  options.planner = "paged";
  options.memory_limit_bytes = shared.bytes() - 1;
  const auto refused = admit_batch(registry(), options, asked);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("need " + format_bytes(shared.bytes())), std::string::npos)
      << refused.error().message;
}

}  // namespace
}  // namespace rt::test
