// One block per row. What depends on the order of ids is done on segments: thread i has the i-th
// part of a list, walks it from front to back, and a scan over the threads joins the parts.
#include "kernels/cuda/sample.h"

#include "kernels/cuda/block_scan.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/number.h"
#include "kernels/cuda/philox.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 512;
constexpr double kLargest = 3.4028234663852886e38;  // of f32

__device__ inline double never() {
  return -static_cast<double>(__uint_as_float(0x7f800000u));
}

// One row under way: values [V] are logits, then probabilities up to a factor (never(): cannot be
// chosen); ids [kept] are the candidates.
struct Row {
  double* values;
  int32_t* ids;
  uint64_t count;  // V
};

struct Segment {
  uint64_t begin, end;
};
__device__ inline Segment segment_of(uint64_t count) {
  const uint64_t part = (count + kThreads - 1) / kThreads;
  const uint64_t begin = threadIdx.x * part;
  const uint64_t end = begin + part;
  return {begin < count ? begin : count, end < count ? end : count};
}

__device__ inline bool penalises(const SamplingRow& rule) {
  return rule.history_count > 0 &&
         (rule.repeat_penalty != 1 || rule.presence_penalty != 0 || rule.frequency_penalty != 0);
}

// Step 1, the penalties: the first occurrence of an id in the history does the work for all.
__device__ void penalise(const Row& row, const SamplingRow& rule, const int32_t* history) {
  for (uint64_t i = threadIdx.x; i < rule.history_count; i += kThreads) {
    const int64_t id = history[i];
    if (id < 0 || static_cast<uint64_t>(id) >= row.count) continue;
    bool first = true;
    for (uint64_t j = 0; j < i && first; ++j) first = history[j] != id;
    if (!first) continue;
    double occurrences = 0;
    for (uint64_t j = i; j < rule.history_count; ++j) occurrences += history[j] == id ? 1 : 0;
    double logit = row.values[id];
    logit = logit > 0 ? logit / static_cast<double>(rule.repeat_penalty)
                      : logit * static_cast<double>(rule.repeat_penalty);
    logit -= static_cast<double>(rule.presence_penalty);
    row.values[id] = logit - occurrences * static_cast<double>(rule.frequency_penalty);
  }
}

// Step 1; returns the largest logit. Greedy without penalties keeps no values: it reads the row
// once.
__device__ Best load_row(const Row& row, const Matrix& logits, uint64_t r, const SamplingRow& rule,
                         const int32_t* history) {
  const bool penalised = penalises(rule);
  if (penalised) {
    for (uint64_t i = threadIdx.x; i < row.count; i += kThreads) {
      row.values[i] = load(logits.data, logits.element, r * row.count + i);
    }
    __syncthreads();
    penalise(row, rule, history);
    __syncthreads();
  }
  Best best = {never(), -1};
  for (uint64_t i = threadIdx.x; i < row.count; i += kThreads) {
    const double logit =
        penalised ? row.values[i] : load(logits.data, logits.element, r * row.count + i);
    double value = logit + 0.0;  // -0 is 0, also as bits
    if (value != value) value = never();
    if (value == -never()) value = kLargest;
    if (rule.temperature > 0) row.values[i] = value;
    if (value == never()) continue;
    const Best found = {value, static_cast<long long>(i)};
    if (better(found, best)) best = found;
  }
  return block_best<kThreads>(best);
}

// ids become those of [0, V) that `keep` holds for, in rising order. Returns how many.
template <class Keep>
__device__ uint64_t compact(const Row& row, Keep&& keep) {
  const Segment segment = segment_of(row.count);
  uint64_t mine = 0;
  for (uint64_t i = segment.begin; i < segment.end; ++i) mine += keep(i) ? 1 : 0;
  const Scan<unsigned long long> scan = block_scan<unsigned long long, kThreads>(mine);
  uint64_t at = scan.before;
  for (uint64_t i = segment.begin; i < segment.end; ++i) {
    if (keep(i)) row.ids[at++] = static_cast<int32_t>(i);
  }
  __syncthreads();
  return scan.total;
}

// Doubles as integers of the same order.
__device__ inline uint64_t order_of(double value) {
  const auto bits = static_cast<uint64_t>(__double_as_longlong(value));
  return bits >> 63 != 0 ? ~bits : bits | uint64_t{1} << 63;
}

// The k-th largest value, k >= 1 and fewer than can be chosen: all above `bound` are among the k,
// and the first `equals` of those at it. Eight bits at a time, from the top.
struct Threshold {
  uint64_t bound;
  uint64_t mask;  // of the bits that count
  uint64_t equals;
};
__device__ Threshold find_threshold(const Row& row, uint64_t k) {
  __shared__ unsigned bins[256];
  __shared__ Threshold shared;
  Threshold threshold = {0, 0, k};
  for (int shift = 56; shift >= 0; shift -= 8) {
    for (unsigned i = threadIdx.x; i < 256; i += kThreads) bins[i] = 0;
    __syncthreads();
    for (uint64_t i = threadIdx.x; i < row.count; i += kThreads) {
      if (row.values[i] == never()) continue;
      const uint64_t order = order_of(row.values[i]);
      if ((order & threshold.mask) == threshold.bound) atomicAdd(&bins[order >> shift & 255], 1u);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      unsigned bin = 255;
      while (bins[bin] < threshold.equals) threshold.equals -= bins[bin--];
      threshold.bound |= static_cast<uint64_t>(bin) << shift;
      threshold.mask |= uint64_t{255} << shift;
      shared = threshold;
    }
    __syncthreads();
    threshold = shared;
  }
  return threshold;
}

// Step 4. Of the values at the threshold the first by id stay.
__device__ uint64_t keep_top_k(const Row& row, uint64_t k) {
  const Threshold threshold = find_threshold(row, k);
  const auto order = [&](uint64_t i) {
    return row.values[i] == never() ? 0 : order_of(row.values[i]);
  };
  const Segment segment = segment_of(row.count);
  uint64_t mine = 0;
  for (uint64_t i = segment.begin; i < segment.end; ++i) {
    mine += order(i) == threshold.bound ? 1 : 0;
  }
  const uint64_t before = block_scan<unsigned long long, kThreads>(mine).before;
  uint64_t equal = 0;
  uint64_t last = ~uint64_t{0};
  return compact(row, [&](uint64_t i) {
    // Called for the whole segment from its front, twice.
    if (last == ~uint64_t{0} || i <= last) equal = before;
    last = i;
    if (order(i) > threshold.bound) return true;
    return order(i) == threshold.bound && equal++ < threshold.equals;
  });
}

// The sum of value(i) over [0, count), and what stands before this thread's segment.
template <class Value>
__device__ Scan<double> sum_of(uint64_t count, Value&& value) {
  const Segment segment = segment_of(count);
  double mine = 0;
  for (uint64_t i = segment.begin; i < segment.end; ++i) mine += value(i);
  return block_scan<double, kThreads>(mine);
}

__device__ inline double probability(double value, double largest, const SamplingRow& rule) {
  return exp((value - largest) / static_cast<double>(rule.temperature));
}

// Step 6 where top_k is off: ids below half of (1 - top_p) / V of the mass hold less than
// (1 - top_p) / 2 together, so the shortest run of mass >= top_p ends before them.
__device__ uint64_t keep_likely(const Row& row, double largest, const SamplingRow& rule,
                                double* total) {
  *total = sum_of(row.count, [&](uint64_t i) {
             return row.values[i] == never() ? 0.0 : probability(row.values[i], largest, rule);
           }).total;
  const double top_p = rule.top_p > 0 ? static_cast<double>(rule.top_p) : 0.0;
  const double share = 0.5 * (1 - top_p) / static_cast<double>(row.count);
  const double least = largest + static_cast<double>(rule.temperature) * log(share * *total);
  return compact(row,
                 [&](uint64_t i) { return row.values[i] != never() && row.values[i] >= least; });
}

// Sorts ids [0, count) by `before`. Bitonic with mirrored first steps, so that every exchange is
// in one direction and what lies beyond `count` need not be there.
template <class Before>
__device__ void sort_ids(const Row& row, uint64_t count, Before&& before) {
  const auto exchange = [&](uint64_t i, uint64_t j) {
    if (j <= i || j >= count || !before(row.ids[j], row.ids[i])) return;
    const int32_t id = row.ids[i];
    row.ids[i] = row.ids[j];
    row.ids[j] = id;
  };
  for (uint64_t size = 2; size < 2 * count; size *= 2) {
    for (uint64_t i = threadIdx.x; i < count; i += kThreads) exchange(i, i ^ (size - 1));
    __syncthreads();
    for (uint64_t step = size / 4; step > 0; step /= 2) {
      for (uint64_t i = threadIdx.x; i < count; i += kThreads) exchange(i, i ^ step);
      __syncthreads();
    }
  }
}

// The first i of [0, count) at which the running sum of value(i) satisfies `reached`; count if
// none.
template <class Value, class Reached>
__device__ uint64_t first_reached(uint64_t count, Value&& value, Reached&& reached) {
  double running = sum_of(count, value).before;
  const Segment segment = segment_of(count);
  Best found = {0, -1};
  for (uint64_t i = segment.begin; i < segment.end && 0 > found.index; ++i) {
    running += value(i);
    if (reached(running)) found.index = static_cast<long long>(i);
  }
  found = block_best<kThreads>(found);  // of equals, the lowest index
  return found.index < 0 ? count : static_cast<uint64_t>(found.index);
}

// Steps 3 to 8 for a row whose largest value is known.
__device__ int32_t draw(const Row& row, double largest, const SamplingRow& rule) {
  const auto possible = [&](uint64_t i) { return row.values[i] != never(); };
  double total = 0;
  uint64_t kept = compact(row, possible);
  const bool top_k = rule.top_k > 0 && static_cast<uint64_t>(rule.top_k) < row.count;
  if (top_k && static_cast<uint64_t>(rule.top_k) < kept) {
    kept = keep_top_k(row, static_cast<uint64_t>(rule.top_k));
  } else if (!top_k && rule.top_p < 1) {
    kept = keep_likely(row, largest, rule, &total);
  }
  const bool shortest = rule.top_p < 1;
  if (shortest) {
    sort_ids(row, kept, [&](int32_t a, int32_t b) {
      return row.values[a] > row.values[b] || (row.values[a] == row.values[b] && a < b);
    });
  }
  for (uint64_t i = threadIdx.x; i < kept; i += kThreads) {
    row.values[row.ids[i]] = probability(row.values[row.ids[i]], largest, rule);
  }
  __syncthreads();
  const auto value = [&](uint64_t i) { return row.values[row.ids[i]]; };
  if (shortest) {
    if (top_k) total = sum_of(kept, value).total;
    const double wanted = static_cast<double>(rule.top_p) * total;
    const uint64_t last = first_reached(kept, value, [&](double mass) { return mass >= wanted; });
    kept = last < kept ? last + 1 : kept;
    sort_ids(row, kept, [](int32_t a, int32_t b) { return a < b; });
  }
  const double min_p = rule.min_p > 0 ? static_cast<double>(rule.min_p) : 0.0;
  const double least = min_p < 1 ? min_p : 1.0;  // of the largest, which is exp(0)
  const auto likely = [&](uint64_t i) { return value(i) >= least ? value(i) : 0.0; };
  const double target = philox_uniform(rule.seed, rule.position) * sum_of(kept, likely).total;
  const uint64_t at = first_reached(kept, likely, [&](double mass) { return mass > target; });
  if (at < kept) return row.ids[at];
  // The last bit of the sums: the last that stayed.
  Best last = {0, -1};
  for (uint64_t i = threadIdx.x; i < kept; i += kThreads) {
    if (value(i) >= least) last = {static_cast<double>(i), static_cast<long long>(i)};
  }
  last = block_best<kThreads>(last);
  return last.index < 0 ? -1 : row.ids[last.index];
}

// grid [rows], block 512, 1 KiB of shared memory and V (8 + 4) bytes of scratch per row. Greedy
// moves 4 V bytes in and 16 V through L2; what draws reads the row some 6 (top_p) to 12 (top_k)
// times from L2. Bound by the one multiprocessor that a row has: some 10 us at V = 32,000 by
// estimate.
__global__ void __launch_bounds__(kThreads)
    sample_rows(Matrix logits, uint64_t first, const SamplingRow* rules, const int32_t* history,
                int32_t* ids, unsigned char* scratch, uint64_t scratch_bytes) {
  after_previous();
  const uint64_t r = first + blockIdx.x;
  const SamplingRow rule = rules[r];
  double* values = reinterpret_cast<double*>(scratch + blockIdx.x * scratch_bytes);
  const Row row = {values, reinterpret_cast<int32_t*>(values + logits.columns), logits.columns};
  const Best best = load_row(row, logits, r, rule, history + rule.history_offset);
  int32_t id = static_cast<int32_t>(best.index);
  __syncthreads();
  if (best.index >= 0 && rule.temperature > 0) id = draw(row, best.value, rule);
  if (threadIdx.x == 0) ids[r] = id;
}

}  // namespace

void sample(const Matrix& logits, uint64_t first, uint64_t count, const SamplingRow* rows,
            const int32_t* history, int32_t* ids, void* scratch, void* stream) {
  if (count == 0) return;
  launch(sample_rows, dim3(static_cast<unsigned>(count)), kThreads, 0, stream, logits, first, rows,
         history, ids, static_cast<unsigned char*>(scratch), sample_scratch_bytes(logits.columns));
}

}  // namespace rt::cuda
