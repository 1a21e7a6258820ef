#include "tools/runtime/bench_plan.h"

#include <algorithm>
#include <charconv>

#include "core/base/text.h"

namespace rt {
namespace {

constexpr std::uint64_t kMostTokens = std::uint64_t{1} << 24;

// A flag of bench that takes a list, and the setting of other verbs that takes one of it.
struct Axis {
  const char* list;
  const char* one;
};

// The last one varies fastest; it is the one that is cheapest to compare by eye.
constexpr Axis kAxes[] = {{"bench.weights_format", "weights_format"},
                          {"bench.kv_dtype", "kv.dtype"},
                          {"bench.planner", "planner.name"},
                          {"bench.threads", "threads"}};

Result<std::uint64_t> parse_tokens(const std::string& origin, const std::string& text) {
  std::uint64_t tokens = 0;
  const char* end = text.data() + text.size();
  const auto [rest, code] = std::from_chars(text.data(), end, tokens);
  if (code == std::errc() && rest == end && tokens <= kMostTokens) return tokens;
  return bad_input(origin + ": expected whole numbers in [0, " + std::to_string(kMostTokens) +
                   "] with commas between, found " + quote(text));
}

Result<std::vector<std::uint64_t>> token_list(const Settings& settings, const char* key,
                                              std::uint64_t built_in) {
  if (!settings.given(key)) return std::vector<std::uint64_t>{built_in};
  std::vector<std::uint64_t> list;
  for (const std::string& text : settings.list(key)) {
    RT_TRY(const std::uint64_t tokens, parse_tokens(settings.origin(key), text));
    list.push_back(tokens);
  }
  return list;
}

Status add_pairs(const Settings& settings, std::uint64_t depth, std::vector<BenchTest>& tests) {
  const std::string& origin = settings.origin("bench.pairs");
  for (const std::string& text : settings.list("bench.pairs")) {
    const std::size_t comma = text.find(',');
    if (comma == std::string::npos) {
      return bad_input(origin + ": expected PROMPT,GENERATED (512,128), found " + quote(text));
    }
    RT_TRY(const std::uint64_t prompt, parse_tokens(origin, text.substr(0, comma)));
    RT_TRY(const std::uint64_t generated, parse_tokens(origin, text.substr(comma + 1)));
    if (prompt + generated > 0) tests.push_back({prompt, generated, depth});
  }
  return {};
}

Result<std::vector<BenchTest>> tests_of(const Settings& settings) {
  // A pair alone is measured alone.
  const bool pairs_only = settings.given("bench.pairs") && !settings.given("bench.prompt") &&
                          !settings.given("bench.generated");
  RT_TRY(const auto prompts, token_list(settings, "bench.prompt", pairs_only ? 0 : 512));
  RT_TRY(const auto generated, token_list(settings, "bench.generated", pairs_only ? 0 : 128));
  RT_TRY(const auto depths, token_list(settings, "bench.depth", 0));
  std::vector<BenchTest> tests;
  for (const std::uint64_t depth : depths) {
    for (const std::uint64_t n : prompts) {
      if (n > 0) tests.push_back({n, 0, depth});
    }
    for (const std::uint64_t n : generated) {
      if (n > 0) tests.push_back({0, n, depth});
    }
    RT_RETURN_IF_ERROR(add_pairs(settings, depth, tests));
  }
  if (!tests.empty()) return tests;
  return bad_input("nothing to measure: --n-prompt and --n-gen are 0");
}

// The values of a list. One with a = in it has commas of its own: linear=nf4,lm_head=int8.
std::vector<std::string> values_of(const std::vector<std::string>& list) {
  std::vector<std::string> values;
  for (const std::string& text : list) {
    const bool whole = text.find('=') != std::string::npos;
    for (std::size_t at = 0; at <= text.size();) {
      const std::size_t end = whole ? text.size() : std::min(text.find(',', at), text.size());
      values.push_back(text.substr(at, end - at));
      at = end + 1;
    }
  }
  return values;
}

// Every deployment once for each value of the axis.
Status multiply(const Axis& axis, std::vector<Settings>& deployments) {
  const Settings first = deployments.front();
  if (!first.given(axis.list)) return {};
  std::vector<Settings> product;
  for (const Settings& deployment : deployments) {
    for (const std::string& value : values_of(first.list(axis.list))) {
      product.push_back(deployment);
      RT_RETURN_IF_ERROR(product.back().assign(*find_setting(axis.one), {value},
                                               first.origin(axis.list), Level::kCommandLine));
    }
  }
  deployments = std::move(product);
  return {};
}

}  // namespace

std::string BenchTest::name() const {
  std::string name;
  if (prompt > 0) name = "pp" + std::to_string(prompt);
  if (generated > 0) name += (name.empty() ? "tg" : "+tg") + std::to_string(generated);
  if (depth > 0) name += " @ d" + std::to_string(depth);
  return name;
}

Result<BenchPlan> bench_plan(const Settings& settings) {
  BenchPlan plan;
  RT_TRY(plan.tests, tests_of(settings));
  plan.deployments = {settings};
  for (const Axis& axis : kAxes) RT_RETURN_IF_ERROR(multiply(axis, plan.deployments));
  return plan;
}

}  // namespace rt
