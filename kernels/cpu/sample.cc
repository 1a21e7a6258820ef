#include "kernels/cpu/sample.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace rt::cpu {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();
constexpr double kLargest = std::numeric_limits<float>::max();

struct Row {
  double* values;  // [count]: logits, then probabilities up to a factor; kNever: cannot be chosen
  int32_t* ids;    // [count]: occurrences in the history, then the candidates
  uint64_t count;

  // The order of falling probability: of equals, the lower id first.
  bool before(int32_t a, int32_t b) const {
    return values[a] > values[b] || (values[a] == values[b] && a < b);
  }
};

bool penalises(const SamplingRule& rule) {
  return rule.history_count > 0 &&
         (rule.repeat_penalty != 1 || rule.presence_penalty != 0 || rule.frequency_penalty != 0);
}

double clean(double logit) {
  if (std::isnan(logit)) return kNever;
  return logit == std::numeric_limits<double>::infinity() ? kLargest : logit;
}

double penalised(double logit, int32_t occurrences, const SamplingRule& rule) {
  logit = logit > 0 ? logit / rule.repeat_penalty : logit * rule.repeat_penalty;
  logit -= rule.presence_penalty;
  return logit - static_cast<double>(occurrences) * rule.frequency_penalty;
}

// Step 1.
void load(const Row& row, const float* logits, const SamplingRule& rule) {
  for (uint64_t i = 0; i < row.count; ++i) row.values[i] = logits[i];
  if (penalises(rule)) {
    std::fill_n(row.ids, row.count, 0);
    for (uint64_t i = 0; i < rule.history_count; ++i) {
      const int64_t id = rule.history[i];
      if (id >= 0 && static_cast<uint64_t>(id) < row.count) ++row.ids[id];
    }
    for (uint64_t i = 0; i < row.count; ++i) {
      if (row.ids[i] > 0) row.values[i] = penalised(row.values[i], row.ids[i], rule);
    }
  }
  for (uint64_t i = 0; i < row.count; ++i) row.values[i] = clean(row.values[i]);
}

int64_t largest_of(const Row& row) {
  int64_t best = -1;
  double value = kNever;
  for (uint64_t i = 0; i < row.count; ++i) {
    if (row.values[i] > value) {
      value = row.values[i];
      best = static_cast<int64_t>(i);
    }
  }
  return best;
}

// Step 4: ids[0, k) become the k largest. A heap with its last candidate on top; an id that is met
// later loses against its equals, so only a larger value enters.
uint64_t keep_top_k(const Row& row, uint64_t k) {
  const auto before = [&](int32_t a, int32_t b) { return row.before(a, b); };
  uint64_t kept = 0;
  for (uint64_t i = 0; i < row.count; ++i) {
    if (kept == k && !(row.values[i] > row.values[row.ids[0]])) continue;
    if (row.values[i] == kNever) continue;
    if (kept == k) std::pop_heap(row.ids, row.ids + kept--, before);
    row.ids[kept++] = static_cast<int32_t>(i);
    std::push_heap(row.ids, row.ids + kept, before);
  }
  std::sort(row.ids, row.ids + kept, before);
  return kept;
}

// Step 6 where top_k is off: ids become those that can be in the shortest run of mass >= top_p,
// sorted; returns how many, and the mass of all. Ids below half of (1 - top_p) / V of the mass hold
// less than (1 - top_p) / 2 together, so that run ends before them.
uint64_t keep_likely(const Row& row, double largest, const SamplingRule& rule, double* total) {
  *total = 0;
  for (uint64_t i = 0; i < row.count; ++i) {
    *total += std::exp((row.values[i] - largest) / rule.temperature);
  }
  const double share = 0.5 * (1 - std::max(rule.top_p, 0.0)) / static_cast<double>(row.count);
  const double least = largest + rule.temperature * std::log(share * *total);
  uint64_t kept = 0;
  for (uint64_t i = 0; i < row.count; ++i) {
    if (row.values[i] != kNever && row.values[i] >= least) {
      row.ids[kept++] = static_cast<int32_t>(i);
    }
  }
  std::sort(row.ids, row.ids + kept, [&](int32_t a, int32_t b) { return row.before(a, b); });
  return kept;
}

uint64_t keep_possible(const Row& row) {
  uint64_t kept = 0;
  for (uint64_t i = 0; i < row.count; ++i) {
    if (row.values[i] != kNever) row.ids[kept++] = static_cast<int32_t>(i);
  }
  return kept;
}

// Steps 3 and 5: the values of ids[0, kept) become probabilities times a factor. Returns their sum.
double exponentiate(const Row& row, uint64_t kept, double largest, double temperature) {
  double sum = 0;
  for (uint64_t i = 0; i < kept; ++i) {
    double& value = row.values[row.ids[i]];
    sum += value = std::exp((value - largest) / temperature);
  }
  return sum;
}

// Step 6: length of the shortest run of ids[0, kept), kept >= 1, whose mass is >= `wanted`.
uint64_t shortest_run(const Row& row, uint64_t kept, double wanted) {
  double mass = 0;
  uint64_t run = 0;
  do {
    mass += row.values[row.ids[run++]];
  } while (run < kept && mass < wanted);
  return run;
}

// Steps 7 and 8 over ids[0, kept), whose values are probabilities times a factor.
int64_t draw(const Row& row, uint64_t kept, double top, const SamplingRule& rule) {
  const double least = rule.min_p > 0 ? std::min(1.0, rule.min_p) * top : 0.0;
  const auto unlikely = [&](int32_t id) { return row.values[id] < least; };
  int32_t* end = std::remove_if(row.ids, row.ids + kept, unlikely);
  if (!std::is_sorted(row.ids, end)) std::sort(row.ids, end);
  double mass = 0;
  for (const int32_t* id = row.ids; id < end; ++id) mass += row.values[*id];
  const double target = rule.uniform * mass;
  double running = 0;
  for (const int32_t* id = row.ids; id < end; ++id) {
    running += row.values[*id];
    if (running > target) return *id;
  }
  return end[-1];
}

}  // namespace

int64_t argmax_portable(const float* logits, uint64_t count) {
  int64_t best = -1;
  float value = -std::numeric_limits<float>::infinity();
  for (uint64_t i = 0; i < count; ++i) {
    const float logit = std::min(logits[i], std::numeric_limits<float>::max());
    if (logit > value) {
      value = logit;
      best = static_cast<int64_t>(i);
    }
  }
  return best;
}

int64_t sample_row(const float* logits, uint64_t count, const SamplingRule& rule,
                   ArgmaxKernel argmax, void* scratch) {
  const bool greedy = !(rule.temperature > 0);
  if (greedy && !penalises(rule)) return argmax(logits, count);
  double* values = static_cast<double*>(scratch);
  const Row row = {values, reinterpret_cast<int32_t*>(values + count), count};
  load(row, logits, rule);
  const int64_t best = largest_of(row);
  if (best < 0 || greedy) return best;

  const double largest = row.values[best];
  const bool top_k = rule.top_k > 0 && static_cast<uint64_t>(rule.top_k) < count;
  double total = 0;
  uint64_t kept = top_k            ? keep_top_k(row, static_cast<uint64_t>(rule.top_k))
                  : rule.top_p < 1 ? keep_likely(row, largest, rule, &total)
                                   : keep_possible(row);
  const double sum = exponentiate(row, kept, largest, rule.temperature);
  if (top_k) total = sum;
  if (rule.top_p < 1) kept = shortest_run(row, kept, rule.top_p * total);
  return draw(row, kept, 1.0, rule);  // the largest probability is exp(0) times the factor
}

}  // namespace rt::cpu
