// Reference of sample: the eight steps of schema.cc, in its order and with its numbers.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "plugins/sample/philox.h"

#include "plugins/reference/matrix.h"

extern const rt_implementation rt_reference_sample;

namespace {
using rt::reference::Matrix;
namespace sdk = rt::sdk;

struct Candidate {
  std::int64_t id;
  double value;  // logit, later probability
};

bool before(const Candidate& a, const Candidate& b) {
  return a.value > b.value || (a.value == b.value && a.id < b.id);
}

struct Sample {
  explicit Sample(const sdk::Node&) {}

  void execute(const sdk::Call& call) const {
    const Matrix logits(call.input(0));  // [R, V]
    for (std::int64_t r = 0; r < logits.rows; ++r) {
      const rt_sampling& how = call.step().sampling[r];
      std::vector<Candidate> candidates = penalised(logits, r, how, call.step().history);
      std::int32_t& id = call.out<std::int32_t>(0)[r];
      id = -1;
      if (candidates.empty()) continue;
      std::sort(candidates.begin(), candidates.end(), before);
      id =
          static_cast<std::int32_t>(how.temperature > 0 ? draw(candidates, how) : candidates[0].id);
    }
  }

  // Step 1: the ids that can be chosen.
  static std::vector<Candidate> penalised(const Matrix& logits, std::int64_t r,
                                          const rt_sampling& how, const std::int32_t* history) {
    std::vector<std::int64_t> occurrences(static_cast<std::size_t>(logits.width));
    for (std::uint32_t i = 0; i < how.history_count; ++i) {
      const std::int64_t id = history[how.history_offset + i];
      if (id >= 0 && id < logits.width) ++occurrences[static_cast<std::size_t>(id)];
    }
    std::vector<Candidate> candidates;
    for (std::int64_t id = 0; id < logits.width; ++id) {
      double logit = logits.at(r, id);
      if (const std::int64_t count = occurrences[static_cast<std::size_t>(id)]; count > 0) {
        const double repeat = how.repeat_penalty;
        logit = logit > 0 ? logit / repeat : logit * repeat;
        logit -= how.presence_penalty;
        logit -= static_cast<double>(count) * how.frequency_penalty;
      }
      if (std::isnan(logit) || logit == -std::numeric_limits<double>::infinity()) continue;
      constexpr double kLargest = std::numeric_limits<float>::max();
      candidates.push_back({id, std::isinf(logit) ? kLargest : logit});
    }
    return candidates;
  }

  // Steps 3 to 8. Candidates come by falling logit, which is the order of falling probability.
  static std::int64_t draw(std::vector<Candidate>& candidates, const rt_sampling& how) {
    if (how.top_k > 0 && static_cast<std::size_t>(how.top_k) < candidates.size()) {
      candidates.resize(static_cast<std::size_t>(how.top_k));
    }
    const double largest = candidates[0].value;
    double total = 0;
    for (Candidate& c : candidates) {
      total += c.value = std::exp((c.value - largest) / static_cast<double>(how.temperature));
    }
    if (how.top_p < 1) {
      double mass = 0;
      std::size_t kept = 0;
      do {
        mass += candidates[kept++].value;
      } while (kept < candidates.size() && mass < how.top_p * total);
      candidates.resize(kept);
    }
    if (how.min_p > 0) {
      const double least = std::min(1.0, static_cast<double>(how.min_p)) * candidates[0].value;
      std::erase_if(candidates, [&](const Candidate& c) { return c.value < least; });
    }
    std::sort(candidates.begin(), candidates.end(),
              [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
    double mass = 0;
    for (const Candidate& c : candidates) mass += c.value;
    const double target = rt::sample::uniform(how.seed, how.position) * mass;
    double running = 0;
    for (const Candidate& c : candidates) {
      running += c.value;
      if (running > target) return c.id;
    }
    return candidates.back().id;  // the running sum is the mass, which exceeds the target
  }
};

}  // namespace

const rt_implementation rt_reference_sample = sdk::implementation<Sample>(
    {.op = "sample", .name = "reference", .device_kind = "cpu", .tier = 0});
