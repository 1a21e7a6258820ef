// What `runtime bench` is asked to measure: tests with llama-bench's names, and the deployments
// that each is run under.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "tools/runtime/settings.h"

namespace rt {

// pp: `prompt` tokens in steps of U; tg: `generated` tokens one by one; both: one after the other.
// In a cache that holds `depth` tokens already.
struct BenchTest {
  std::uint64_t prompt = 0;
  std::uint64_t generated = 0;
  std::uint64_t depth = 0;

  std::uint64_t tokens() const { return prompt + generated; }
  std::string name() const;  // "pp512", "tg128 @ d2048", "pp512+tg128"
};

struct BenchPlan {
  std::vector<BenchTest> tests;
  std::vector<Settings> deployments;  // one per combination of the lists of flags
};

// -p, -n, -pg, -d and the lists of --weights-format, --kv-dtype, --planner, --threads.
Result<BenchPlan> bench_plan(const Settings& settings);

}  // namespace rt
