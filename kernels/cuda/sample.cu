// Two kernels: penalties, and the largest logit of each part of each row, by a warp each; then one
// block per row, which for a greedy row has 512 values to compare, and with a top_k of up to 64
// reads the parts that can have one of the k alone. What depends on the order of ids is done on
// segments: thread i, or warp i, has the i-th part of a list, walks it from front to back, and a
// scan over the threads joins the parts.
#include "kernels/cuda/sample.h"

#include "kernels/cuda/block_scan.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/number.h"
#include "kernels/cuda/philox.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 512;  // of a row's block: one per part
constexpr unsigned kPartThreads = 256;
constexpr unsigned kPartWarps = kPartThreads / kWarp;
constexpr unsigned kGroups = 64;  // of parts, whose largest bound a top_k of up to as many
static_assert(kThreads == kSampleParts);
constexpr double kLargest = 3.4028234663852886e38;  // of f32

__device__ inline double never() {
  return -static_cast<double>(__uint_as_float(0x7f800000u));
}

// One row under way: values [V] are logits, then probabilities up to a factor (never(): cannot be
// chosen); ids [kept] are the candidates.
struct Row {
  Best* parts;  // the largest of each, of as many as there are
  double* values;
  int32_t* ids;
  uint64_t count;  // V
  unsigned part_bits;
};
static_assert(sizeof(Best) == 16);

__device__ inline Row row_at(unsigned char* scratch, uint64_t count, unsigned part_bits) {
  Best* const parts = reinterpret_cast<Best*>(scratch);
  double* const values = reinterpret_cast<double*>(parts + kSampleParts);
  return {parts, values, reinterpret_cast<int32_t*>(values + count), count, part_bits};
}

// A logit as it can be compared: -0 is 0, also as bits; NaN is never chosen.
__device__ inline double comparable(double logit) {
  const double value = logit + 0.0;
  if (value != value) return never();
  return value == -never() ? kLargest : value;
}

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

// Step 1, the penalties of a token that stands so often in the history.
__device__ inline double penalised(double logit, unsigned occurrences, const SamplingRow& rule) {
  if (occurrences == 0) return logit;
  const auto repeat = static_cast<double>(rule.repeat_penalty);
  logit = logit > 0 ? logit / repeat : logit * repeat;
  logit -= static_cast<double>(rule.presence_penalty);
  return logit - occurrences * static_cast<double>(rule.frequency_penalty);
}

constexpr unsigned kLoads = 8;  // logits that a lane has under way
constexpr unsigned kTurn = kLoads * kWarp;

// How often each of the ids [base, base + kTurn) stands in the history, by one warp for itself.
__device__ void count_ids(const SamplingRow& rule, const int32_t* history, uint64_t base,
                          unsigned (&counts)[kTurn]) {
  const unsigned lane = threadIdx.x % kWarp;
  __syncwarp();  // the counts of the turn before have been read
  for (unsigned i = lane; i < kTurn; i += kWarp) counts[i] = 0;
  __syncwarp();
  for (unsigned i = lane; i < rule.history_count; i += kWarp) {
    const uint64_t at = static_cast<uint64_t>(static_cast<int64_t>(history[i])) - base;
    if (at < kTurn) atomicAdd(&counts[at], 1u);
  }
  __syncwarp();
}

// Step 1: the largest of each part; where it is drawn, values become the logits, greedy keeps none.
// grid [64, rows], block 256, 8 KiB of shared memory. Moves 4 V bytes in and 8 V through L2 where
// it is drawn; bound by latency: 512 logits a warp at V = 256,000, eight loads a thread at once.
// With penalties a warp walks the history for every 256 of them.
__global__ void __launch_bounds__(kPartThreads)
    find_largest(Matrix logits, uint64_t first, const SamplingRow* rules, const int32_t* history,
                 unsigned char* scratch, uint64_t scratch_bytes, unsigned part_bits) {
  __shared__ unsigned counts[kPartWarps][kTurn];
  after_previous();
  const unsigned lane = threadIdx.x % kWarp;
  const unsigned warp = threadIdx.x / kWarp;
  const uint64_t r = first + blockIdx.y;
  const SamplingRow rule = rules[r];
  const Row row = row_at(scratch + blockIdx.y * scratch_bytes, logits.columns, part_bits);
  const uint64_t part = blockIdx.x * kPartWarps + warp;
  const uint64_t begin = part << part_bits;
  const uint64_t part_end = begin + (uint64_t{1} << part_bits);
  const uint64_t end = part_end < row.count ? part_end : row.count;
  if (begin >= end) return;
  const bool counted = penalises(rule);
  Best best = {never(), -1};
  for (uint64_t base = begin; base < end; base += kTurn) {
    float logit[kLoads];
    RT_UNROLL
    for (unsigned u = 0; u < kLoads; ++u) {
      const uint64_t i = base + u * kWarp + lane;
      logit[u] = i < end ? load(logits.data, logits.element, r * row.count + i) : 0.0f;
    }
    if (counted) count_ids(rule, history + rule.history_offset, base, counts[warp]);
    RT_UNROLL
    for (unsigned u = 0; u < kLoads; ++u) {
      const uint64_t i = base + u * kWarp + lane;
      if (i >= end) continue;
      double value = static_cast<double>(logit[u]);
      if (counted) value = penalised(value, counts[warp][u * kWarp + lane], rule);
      value = comparable(value);
      if (rule.temperature > 0) row.values[i] = value;
      const Best found = {value, static_cast<long long>(i)};
      if (value != never() && better(found, best)) best = found;
    }
  }
  best = warp_best(best);
  if (lane == 0) row.parts[part] = best;
}

// This thread's part, if the row has so many.
__device__ inline Best own_part(const Row& row) {
  const bool there = static_cast<uint64_t>(threadIdx.x) << row.part_bits < row.count;
  return there ? row.parts[threadIdx.x] : Best{never(), -1};
}

// A value that the k largest do not lie below: the k-th largest of the groups' largest, where there
// are so many groups. Parts i, i + 64, ... are group i.
__device__ double least_of_top(const Best& own, int32_t k) {
  __shared__ Best parts[kThreads];
  __shared__ Best groups[kGroups];
  __shared__ double bound;
  parts[threadIdx.x] = own;
  if (threadIdx.x == 0) bound = never();
  __syncthreads();
  Best largest = own;
  if (threadIdx.x < kGroups) {
    for (unsigned i = threadIdx.x + kGroups; i < kThreads; i += kGroups) {
      if (better(parts[i], largest)) largest = parts[i];
    }
    groups[threadIdx.x] = largest;
  }
  __syncthreads();
  if (threadIdx.x < kGroups && largest.index >= 0) {
    int32_t before = 0;
    for (unsigned i = 0; i < kGroups; ++i) before += better(groups[i], largest) ? 1 : 0;
    if (before == k - 1) bound = largest.value;
  }
  __syncthreads();
  return bound;
}

// What compact() does with an element; of those at the threshold the first few stay.
enum class Fate { kDrop, kAtThreshold, kKeep };

// out becomes, in their order, those of id_of(0 .. count - 1) that stay, of which `at_threshold`
// may be at the threshold. Returns how many. fate(id) is asked twice. Warps have neighbouring
// parts, lanes neighbouring elements, so that reads are of whole lines.
template <class IdOf, class FateOf>
__device__ uint64_t compact(uint64_t count, int32_t* out, uint64_t at_threshold, IdOf&& id_of,
                            FateOf&& fate) {
  const unsigned lane = threadIdx.x % kWarp;
  const unsigned before_lane = (1u << lane) - 1;
  const uint64_t part = (count + kThreads / kWarp - 1) / (kThreads / kWarp);
  const uint64_t begin = threadIdx.x / kWarp * part;
  const uint64_t end = begin + part < count ? begin + part : count;
  const auto fates = [&](uint64_t base, Fate(&of_turn)[kLoads]) {
    RT_UNROLL
    for (unsigned u = 0; u < kLoads; ++u) {
      const uint64_t i = base + u * kWarp + lane;
      of_turn[u] = i < end ? fate(id_of(i)) : Fate::kDrop;
    }
  };
  unsigned keeps = 0;
  unsigned equals = 0;
  Fate of_turn[kLoads];
  for (uint64_t base = begin; base < end; base += kTurn) {
    fates(base, of_turn);
    RT_UNROLL
    for (unsigned u = 0; u < kLoads; ++u) {
      keeps += of_turn[u] == Fate::kKeep ? 1 : 0;
      equals += of_turn[u] == Fate::kAtThreshold ? 1 : 0;
    }
  }
  const auto all_keeps = block_scan<unsigned long long, kThreads>(keeps);
  const auto all_equals = block_scan<unsigned long long, kThreads>(equals);
  unsigned long long keeps_before = __shfl_sync(kAllLanes, all_keeps.before, 0);
  unsigned long long equals_before = __shfl_sync(kAllLanes, all_equals.before, 0);
  for (uint64_t base = begin; base < end; base += kTurn) {
    fates(base, of_turn);
    RT_UNROLL
    for (unsigned u = 0; u < kLoads; ++u) {
      const uint64_t i = base + u * kWarp + lane;
      const unsigned keep_votes = __ballot_sync(kAllLanes, of_turn[u] == Fate::kKeep);
      const unsigned equal_votes = __ballot_sync(kAllLanes, of_turn[u] == Fate::kAtThreshold);
      const auto keep_rank = keeps_before + static_cast<unsigned>(__popc(keep_votes & before_lane));
      const auto equal_rank =
          equals_before + static_cast<unsigned>(__popc(equal_votes & before_lane));
      const bool stays = of_turn[u] == Fate::kKeep ||
                         (of_turn[u] == Fate::kAtThreshold && equal_rank < at_threshold);
      if (stays) {
        out[keep_rank + (equal_rank < at_threshold ? equal_rank : at_threshold)] =
            static_cast<int32_t>(id_of(i));
      }
      keeps_before += static_cast<unsigned>(__popc(keep_votes));
      equals_before += static_cast<unsigned>(__popc(equal_votes));
    }
  }
  __syncthreads();
  return all_keeps.total + (all_equals.total < at_threshold ? all_equals.total : at_threshold);
}

// The same of all ids, [0, V).
template <class FateOf>
__device__ uint64_t compact_all(const Row& row, uint64_t at_threshold, FateOf&& fate) {
  return compact(
      row.count, row.ids, at_threshold, [](uint64_t i) { return i; }, fate);
}

// ids become those whose value is one and not below `bound`, in rising order; parts that have none
// are not read. Returns how many.
__device__ uint64_t keep_from(const Row& row, const Best& own, double bound) {
  __shared__ unsigned parts[kThreads];  // that have one, in rising order
  const bool has = own.index >= 0 && own.value >= bound;
  const Scan<unsigned> rank = block_scan<unsigned, kThreads>(has ? 1 : 0);
  if (has) parts[rank.before] = threadIdx.x;
  __syncthreads();
  const uint64_t inside = (uint64_t{1} << row.part_bits) - 1;
  return compact(
      uint64_t{rank.total} << row.part_bits, row.ids, 0,
      [&](uint64_t i) {
        return (uint64_t{parts[i >> row.part_bits]} << row.part_bits) + (i & inside);
      },
      [&](uint64_t id) {
        const bool keeps = id < row.count && row.values[id] != never() && row.values[id] >= bound;
        return keeps ? Fate::kKeep : Fate::kDrop;
      });
}

// Doubles as integers of the same order.
__device__ inline uint64_t order_of(double value) {
  const auto bits = static_cast<uint64_t>(__double_as_longlong(value));
  return bits >> 63 != 0 ? ~bits : bits | uint64_t{1} << 63;
}

// The k-th largest value of ids [0, count), 1 <= k < count: all above `bound` are among the k, and
// the first `equals` of those at it. Eight bits at a time, from the top.
struct Threshold {
  uint64_t bound;
  uint64_t mask;  // of the bits that count
  uint64_t equals;
};
__device__ Threshold find_threshold(const Row& row, uint64_t count, uint64_t k) {
  __shared__ unsigned bins[256];
  __shared__ Threshold shared;
  Threshold threshold = {0, 0, k};
  for (int shift = 56; shift >= 0; shift -= 8) {
    for (unsigned i = threadIdx.x; i < 256; i += kThreads) bins[i] = 0;
    __syncthreads();
    for (uint64_t i = threadIdx.x; i < count; i += kThreads) {
      const uint64_t order = order_of(row.values[row.ids[i]]);
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

// Step 4: ids [0, count) become the k of largest value; of those at the threshold the first by id
// stay. They go behind the list if there is room, and else all values are looked through again.
__device__ uint64_t keep_top_k(Row& row, uint64_t count, uint64_t k) {
  const Threshold threshold = find_threshold(row, count, k);
  const auto fate = [&](double value) {
    const uint64_t order = value == never() ? 0 : order_of(value);
    if (order > threshold.bound) return Fate::kKeep;
    return order == threshold.bound ? Fate::kAtThreshold : Fate::kDrop;
  };
  if (count > row.count / 2) {
    return compact_all(row, threshold.equals, [&](uint64_t id) { return fate(row.values[id]); });
  }
  const int32_t* const list = row.ids;
  row.ids += count;
  return compact(
      count, row.ids, threshold.equals, [&](uint64_t i) { return static_cast<uint64_t>(list[i]); },
      [&](uint64_t id) { return fate(row.values[id]); });
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
  return compact_all(row, 0, [&](uint64_t id) {
    const bool keeps = row.values[id] != never() && row.values[id] >= least;
    return keeps ? Fate::kKeep : Fate::kDrop;
  });
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

// Steps 3 to 8 for a row whose largest value is known, and each part's to its thread.
__device__ int32_t draw(Row row, const Best& own, double largest, const SamplingRow& rule) {
  const bool top_k = rule.top_k > 0 && static_cast<uint64_t>(rule.top_k) < row.count;
  const bool bounded = top_k && static_cast<uint64_t>(rule.top_k) <= kGroups;
  const double bound = bounded ? least_of_top(own, rule.top_k) : never();
  double total = 0;
  uint64_t kept = keep_from(row, own, bound);
  if (top_k && static_cast<uint64_t>(rule.top_k) < kept) {
    kept = keep_top_k(row, kept, static_cast<uint64_t>(rule.top_k));
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

// grid [rows], block 512, 13 KiB of shared memory and V (8 + 4) bytes of scratch per row. Greedy
// reads 8 KiB; what draws reads of the row twice the parts that can have one of the k largest
// (top_k up to 64: some 60 of 500 at V = 256,000 and k = 40, were logits independent) to some 6
// times all of it (top_p alone), from L2. Bound by the one multiprocessor that a row has.
__global__ void __launch_bounds__(kThreads, 1)
    sample_rows(Matrix logits, uint64_t first, const SamplingRow* rules, int32_t* ids,
                unsigned char* scratch, uint64_t scratch_bytes, unsigned part_bits) {
  after_previous();
  const uint64_t r = first + blockIdx.x;
  const SamplingRow rule = rules[r];
  const Row row = row_at(scratch + blockIdx.x * scratch_bytes, logits.columns, part_bits);
  const Best own = own_part(row);
  const Best best = block_best<kThreads>(own);
  int32_t id = static_cast<int32_t>(best.index);
  if (best.index >= 0 && rule.temperature > 0) id = draw(row, own, best.value, rule);
  if (threadIdx.x == 0) ids[r] = id;
}

// A part of 2^this ids: at most 512 parts, each of a warp's width at least.
unsigned part_bits_of(uint64_t count) {
  unsigned bits = 5;
  while (uint64_t{kSampleParts} << bits < count) ++bits;
  return bits;
}

}  // namespace

void sample(const Matrix& logits, uint64_t first, uint64_t count, const SamplingRow* rows,
            const int32_t* history, int32_t* ids, void* scratch, void* stream) {
  if (count == 0) return;
  const unsigned bits = part_bits_of(logits.columns);
  const uint64_t bytes = sample_scratch_bytes(logits.columns);
  launch(find_largest, dim3(kSampleParts / kPartWarps, static_cast<unsigned>(count)), kPartThreads,
         0, stream, logits, first, rows, history, static_cast<unsigned char*>(scratch), bytes,
         bits);
  launch(sample_rows, dim3(static_cast<unsigned>(count)), kThreads, 0, stream, logits, first, rows,
         ids, static_cast<unsigned char*>(scratch), bytes, bits);
}

}  // namespace rt::cuda
