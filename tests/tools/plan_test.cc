// `runtime plan`: planners compared before anything is loaded, and true in the run that follows.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "core/base/json.h"
#include "tests/tools/command.h"

namespace rt::test {
namespace {

Json json_of(const std::vector<std::string>& words) {
  const CommandResult result = run_command(words);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  auto json = parse_json(result.out, "stdout");
  EXPECT_TRUE(json.ok()) << result.out;
  return json.ok() ? *json : Json::object();
}

Json plan_fixture(const std::vector<std::string>& rest) {
  std::vector<std::string> words{"--json"};
  words.insert(words.end(), rest.begin(), rest.end());
  return json_of(arguments("plan", fixture_model(), words));
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Plan, NeedsNoCheckpoint) {
  const Json json =
      json_of({"plan", "--graph", "phi3", "--json", "--kv-dtype", "f16", "--planner", "static"});
  EXPECT_EQ(json["assumed"], true);
  EXPECT_EQ(json["context"], 4096);
  // Phi-3 mini: 3,821,079,552 parameters of 2 bytes.
  EXPECT_EQ(json["fixed"]["weights_mapped"], 7642159104u);
  ASSERT_EQ(json["planners"].size(), 1u);
  EXPECT_EQ(json["planners"][0]["name"], "static");
  const std::string text = run_command({"plan", "--graph", "phi3"}).out;
  for (const char* part : {"weights_mapped", "elastic *", "static", "exact", "are assumed"}) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

TEST(Plan, ComparesAllPlannersAndMarksTheConfiguredOne) {
  const TemporaryFolder folder;
  const std::string config = folder.write("c.yaml", "planner: {name: exact}\n");
  for (const std::vector<std::string>& rest :
       {std::vector<std::string>{"--config", config},
        std::vector<std::string>{"--config", config, "--set", "planner.options.open_tokens=7"}}) {
    const Json planners = plan_fixture(rest)["planners"];
    ASSERT_GE(planners.size(), 3u);
    EXPECT_EQ(planners[0]["name"], "exact");
    std::set<std::string> names;
    for (const Json& one : planners) {
      EXPECT_TRUE(one["refusal"].is_null()) << one.dump();
      EXPECT_EQ(one["configured"], one["name"] == "exact");
      names.insert(one["name"].get<std::string>());
    }
    EXPECT_EQ(names.size(), planners.size());
  }
  EXPECT_EQ(plan_fixture({"--config", config, "--planner", "all"})["planners"][0]["name"],
            "elastic");
}

TEST(Plan, IsWhatARunThenTakesUnderEveryPlanner) {
  const Json plan = plan_fixture({"--prompt-tokens", "3", "--new-tokens", "40"});
  for (const Json& one : plan["planners"]) {
    const Json run =
        json_of(arguments("generate", fixture_model(),
                          {"--prompt-ids", "1,2,3", "-n", "40", "--ignore-eos", "--json", "--temp",
                           "0", "--planner", one["name"].get<std::string>()}));
    EXPECT_EQ(one["highest"], run["memory"]["measured"]) << one["name"];
    EXPECT_EQ(one["standing"], run["memory"]["standing"]) << one["name"];
  }
}

// A stated context is a run's budget, and penalties on all of it need room for its ids.
TEST(Plan, OfAStatedContextIsWhatARunTakes) {
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{}, {"--set", "sampling.repeat_last_n=-1"}}) {
    std::vector<std::string> words{"--prompt-tokens", "3", "-c", "100"};
    words.insert(words.end(), more.begin(), more.end());
    const Json plan = plan_fixture(words);
    for (const Json& one : plan["planners"]) {
      std::vector<std::string> rest{"--prompt-ids", "1,2,3",  "-c", "100",      "--ignore-eos",
                                    "--json",       "--temp", "0",  "--planner"};
      rest.push_back(one["name"].get<std::string>());
      rest.insert(rest.end(), more.begin(), more.end());
      const Json run = json_of(arguments("generate", fixture_model(), rest));
      EXPECT_EQ(one["highest"], run["memory"]["measured"]) << one["name"];
    }
  }
}

// Several requests at once: pages of a shared prefix stand once, everything else B times.
TEST(Plan, OfRequestsAtOnce) {
  const auto plan = [](const std::vector<std::string>& rest) {
    std::vector<std::string> words{"plan", "--graph",      "tinyllama", "--json", "--prompt-tokens",
                                   "130",  "--new-tokens", "62"};
    words.insert(words.end(), rest.begin(), rest.end());
    return json_of(words);
  };
  const Json alone = plan({});
  const Json apart = plan({"--parallel", "4"});
  const Json shared = plan({"--parallel", "4", "--shared-tokens", "129"});
  EXPECT_EQ(apart["parallel"], 4);
  const auto kv = [](const Json& page, const std::string& planner) {
    for (const Json& one : page["planners"]) {
      if (one["name"] == planner) return one["highest"]["kv"].get<std::uint64_t>();
    }
    return std::uint64_t{0};
  };
  for (const char* planner : {"static", "elastic", "paged"}) {
    EXPECT_EQ(kv(apart, planner), 4 * kv(alone, planner)) << planner;
  }
  EXPECT_EQ(kv(shared, "static"), kv(apart, "static"));
  // 192 tokens are 3 pages, 2 of them shared: 2 + 4 for 4 * 3.
  EXPECT_EQ(kv(shared, "paged"), kv(apart, "paged") / 12 * 6);
  for (const Json& one : shared["planners"]) {
    const bool pages = one["name"] == "paged" || one["name"] == "auto";  // which picks paged here
    EXPECT_EQ(one["shared_tokens"], pages ? 128 : 0) << one["name"];
  }
}

TEST(Plan, SaysWhetherItFits) {
  const std::vector<std::string> words{"plan", "--graph", "phi3", "--json", "--memory-limit"};
  for (const auto& [limit, fits] : {std::pair{"1MiB", false}, {"1TiB", true}}) {
    std::vector<std::string> all = words;
    all.push_back(limit);
    const Json planners = json_of(all)["planners"];
    for (const Json& one : planners) {
      EXPECT_EQ(one["fits"], fits) << one.dump();
      EXPECT_EQ(one["largest_tokens"], fits ? 4096 : 0);
    }
  }
}

// The largest budget is admitted and one token more is not, by the run itself.
TEST(Plan, TheLargestBudgetRunsAndOneMoreDoesNot) {
  const Json open = plan_fixture({"--prompt-tokens", "3", "--new-tokens", "60"});
  for (const Json& one : open["planners"]) {
    const std::string limit = std::to_string(one["highest"]["owned"].get<std::uint64_t>());
    const std::string name = one["name"];
    const Json bounded = plan_fixture(
        {"--prompt-tokens", "3", "--new-tokens", "60", "--memory-limit", limit, "--planner", name});
    const std::uint64_t most = bounded["planners"][0]["largest_tokens"];
    EXPECT_GE(most, 63u) << name;
    EXPECT_EQ(bounded["planners"][0]["fits"], true) << name;
    const auto run = [&](std::uint64_t tokens) {
      return run_command(
          arguments("generate", fixture_model(),
                    {"--prompt-ids", "1,2,3", "-n", std::to_string(tokens - 3), "--ignore-eos",
                     "--temp", "0", "--memory-limit", limit, "--planner", name}));
    };
    const CommandResult fits = run(most);
    EXPECT_EQ(fits.exit_code, 0) << name << ": " << fits.err;
    if (most == bounded["context"]) continue;
    const CommandResult refused = run(most + 1);
    EXPECT_EQ(refused.exit_code, 3) << name;
    EXPECT_NE(refused.err.find(std::to_string(most - 3) + " new tokens fit"), std::string::npos)
        << name << ": " << refused.err;
    EXPECT_EQ(refused.out, "");
  }
}

// Whatever a refusal offers is then admitted.
TEST(Plan, CounterOffersAreTrue) {
  const std::vector<std::string> asked{"--prompt-ids", "1,2,3", "-n",         "400", "--ignore-eos",
                                       "--temp",       "0",     "--kv-dtype", "f32", "--json"};
  const auto run = [&](const std::vector<std::string>& rest) {
    std::vector<std::string> words = asked;
    words.insert(words.end(), rest.begin(), rest.end());
    return run_command(arguments("generate", demo_model(), words));
  };
  const CommandResult whole = run({"--planner", "elastic"});
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  const auto taken = parse_json(whole.out, "stdout");
  ASSERT_TRUE(taken.ok());
  const std::string limit =
      std::to_string((*taken)["memory"]["measured"]["owned"].get<std::uint64_t>());
  const CommandResult refused = run({"--planner", "static", "--memory-limit", limit});
  ASSERT_EQ(refused.exit_code, 3) << refused.err;
  const auto word_after = [&](const std::string& flag) {
    const std::size_t at = refused.err.find(flag + " ");
    EXPECT_NE(at, std::string::npos) << refused.err;
    if (at == std::string::npos) return std::string();
    const std::size_t begin = at + flag.size() + 1;
    return refused.err.substr(begin, refused.err.find(' ', begin) - begin);
  };
  EXPECT_NE(refused.err.find("asked 400 new tokens after a prompt of 3"), std::string::npos);
  EXPECT_EQ(run({"--planner", word_after("with --planner"), "--memory-limit", limit}).exit_code, 0);
  const CommandResult thinner = run({"--planner", "static", "--memory-limit", limit, "--kv-dtype",
                                     word_after("with --kv-dtype")});
  EXPECT_EQ(thinner.exit_code, 0) << thinner.err;
}

TEST(Plan, TurnsGiveEachPlannersCurve) {
  const TemporaryFolder folder;
  const std::string json = folder.write("turns.json", "[[10, 20], [5, 30], [40, 60]]");
  const std::string yaml = folder.write("turns.yaml", "- [10, 20]\n- [5, 30]\n- [40, 60]\n");
  const Json plan = plan_fixture({"--turns", json, "--memory-limit", "1GiB"});
  EXPECT_EQ(plan["tokens"], 165);
  for (const Json& one : plan["planners"]) {
    ASSERT_EQ(one["turns"].size(), 3u) << one["name"];
    EXPECT_EQ(one["turns"][0]["tokens"], 29);
    EXPECT_EQ(one["turns"][2]["tokens"], 164);
    EXPECT_EQ(one["turns"][2]["standing"], one["standing"]["kv"]);
    EXPECT_EQ(one["turns"][2]["peak"], one["highest"]["kv"]);
    EXPECT_GE(one["curve"].size(), 1u);
  }
  EXPECT_EQ(plan_fixture({"--turns", yaml, "--memory-limit", "1GiB"}), plan);
}

TEST(Plan, DrawsItsCurves) {
  const TemporaryFolder folder;
  const std::string path = folder.path("plan.svg");
  const CommandResult result =
      run_command({"plan", "--graph", "gemma2", "--svg", path, "--ctx-size", "4096"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string svg = read_text(path);
  EXPECT_TRUE(svg.starts_with("<svg xmlns=")) << svg.substr(0, 80);
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  for (const char* part :
       {"<title>KV cache memory of gemma2</title>", "prefers-color-scheme: dark", ">elastic ",
        ">static ", ">exact ", " GiB", "tokens of the conversation", "viewBox"}) {
    EXPECT_NE(svg.find(part), std::string::npos) << part;
  }
  // Nothing needed to view it: no reference to anything outside.
  EXPECT_EQ(svg.find("href"), std::string::npos);
  EXPECT_EQ(svg.find("@import"), std::string::npos);
}

// Gemma 2's windows of 4096 in a context of 1024 hide nothing and cost nothing more.
TEST(Plan, WindowsLargerThanTheContextAreTheContext) {
  const Json json =
      json_of({"plan", "--graph", "gemma2", "--json", "--ctx-size", "1024", "--planner", "static"});
  EXPECT_EQ(json["planners"][0]["standing"]["kv"], 42u * 2 * 8 * 256 * 2 * 1024);
}

TEST(Plan, ForADescribedMachine) {
  const TemporaryFolder folder;
  const std::string file = folder.write("big.yaml",
                                        "kind: cpu\nname: a big one\nmemory: 1TiB\n"
                                        "granule: 2MiB\nthreads: 2\n");
  const Json big = plan_fixture({"--device", file, "--prompt-tokens", "3"});
  EXPECT_EQ(big["device"], "a big one");
  EXPECT_EQ(big["limit"], std::uint64_t{1} << 40);
  for (const Json& one : big["planners"]) {
    if (one["name"] == "elastic") {
      EXPECT_EQ(one["standing"]["kv"].get<std::uint64_t>() % (2 << 20), 0u);
    }
  }
  const Json laptop = plan_fixture({"--device", "laptop.yaml"});
  EXPECT_EQ(laptop["limit"], 10'000'000'000u);
  const CommandResult run =
      run_command(arguments("generate", fixture_model(), {"--device", file, "--prompt-ids", "1"}));
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_NE(run.err.find("describes a machine to plan for"), std::string::npos) << run.err;
}

TEST(Plan, WeightsThatPassTheMachinesMemoryAreSaid) {
  const auto notes = [](const std::string& graph) {
    return json_of({"plan", "--graph", graph, "--device", "laptop", "--json", "-c", "64"})["notes"]
        .dump();
  };
  EXPECT_NE(notes("gemma2").find("mapped weights of 17.2 GiB"), std::string::npos)
      << notes("gemma2");
  EXPECT_EQ(notes("phi3").find("mapped weights"), std::string::npos) << notes("phi3");
}

// Quadratic in the pages of the context, this took minutes.
TEST(Plan, AContextOfMillionsIsPlanned) {
  const TemporaryFolder folder;
  std::string graph = read_text(source_path("graphs/tinyllama.yaml"));
  const std::string line = "\ncontext: N\n";
  ASSERT_NE(graph.find(line), std::string::npos);
  graph.replace(graph.find(line), line.size(), "\ncontext: N * 3000\n");
  const std::string file = folder.write("long.yaml", graph);
  const Json plan = json_of({"plan", "--graph", file, "--planner", "paged", "--json"});
  EXPECT_EQ(plan["context"], 2048 * 3000);
}

TEST(Plan, ThreadsAreTheProcessors) {
  const TemporaryFolder folder;
  const std::string file = folder.write("card.yaml", "kind: cuda\nmemory: 24GB\n");
  const CommandResult result =
      run_command(arguments("plan", fixture_model(), {"--device", file, "-t", "2"}));
  EXPECT_EQ(result.err.find("unknown option"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("--threads: threads are the cpu device's"), std::string::npos)
      << result.err;
}

TEST(Plan, APreferenceThatServesNothingIsSaid) {
  const auto notes = [](const std::string& names) {
    return run_command(arguments("plan", fixture_model(), {"--prefer", names})).out;
  };
  const std::string nf4 = notes("avx512_vnni_nf4");
  // With the reason; on a machine that lacks the instructions as any fall-back is.
  EXPECT_NE(nf4.find("quantized_linear_cpu/avx512_vnni_nf4: "), std::string::npos) << nf4;
  EXPECT_EQ(notes("reference").find("operators.prefer"), std::string::npos);
}

}  // namespace
}  // namespace rt::test
