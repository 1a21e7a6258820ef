// Decode: the cache of a sequence is cut into pieces of kPieceKeys tokens, which the splits take in
// turns; the split that comes last joins them. How many splits there are depends on the heads and
// the longest context alone, so that a recorded step serves every length and a query has the same
// bits in every batch.
#include <type_traits>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_join.h"
#include "kernels/cuda/count_arrivals.h"
#include "kernels/cuda/kv_rows.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/softmax.h"

namespace rt::cuda {
namespace {

constexpr unsigned kBatch = 4;      // keys whose loads a thread has in flight together
constexpr unsigned kTileHeads = 4;  // query heads that share one read of their kv head

// Blocks that run on a multiprocessor at once: sums of four heads take 168 registers.
constexpr unsigned split_blocks(unsigned heads) {
  return heads == kTileHeads ? 3 : 4;
}

// What the threads of a row slot hold of the keys that they have seen.
template <unsigned kHeads>
struct SlotState {
  float m[kHeads];
  float l[kHeads];
  float sums[kHeads][8];
};

// Eight elements of a key or value on their way, of a cache that is aligned or not.
template <KvElement kElement, bool kAligned>
struct Element8 {
  using Reader = KvReader<kElement>;
  std::conditional_t<kAligned, typename Reader::Raw, Raw8<float>> raw = {};

  __device__ void load(const KvCache& kv, const unsigned char* row, uint32_t g, uint32_t e) {
    if constexpr (kAligned) {
      raw = Reader::load_raw(kv, row, g, e);
    } else {
      float values[8];
      Reader::load8(kv, row, g, e, false, values);
      raw = pack(values, static_cast<const float*>(nullptr));
    }
  }
  __device__ void unpack_to(float (&out)[8]) const {
    if constexpr (kAligned) {
      Reader::unpack_raw(raw, out);
    } else {
      unpack(raw, out);
    }
  }
};

// Caps scores that all lanes of a slot hold alike: where there are lanes enough each takes one, for
// a tanh is some 45 instructions.
template <unsigned kHeads>
__device__ void cap_batch(const Split& split, float (&scores)[kBatch][kHeads]) {
  constexpr unsigned kScores = kBatch * kHeads;
  const auto cap = [&](float score) {
    return capped(score, split.shape.scale, split.shape.softcap) * kLog2OfE;
  };
  if (split.lanes < kScores) {
    RT_UNROLL
    for (unsigned i = 0; i < kScores; ++i) {
      scores[i / kHeads][i % kHeads] = cap(scores[i / kHeads][i % kHeads]);
    }
    return;
  }
  const unsigned lane = threadIdx.x % kWarp;
  const unsigned first = lane / split.lanes * split.lanes;
  float own = 0;
  RT_UNROLL
  for (unsigned i = 0; i < kScores; ++i) {
    own = lane - first == i ? scores[i / kHeads][i % kHeads] : own;
  }
  own = cap(own);
  RT_UNROLL
  for (unsigned i = 0; i < kScores; ++i) {
    scores[i / kHeads][i % kHeads] = __shfl_sync(kAllLanes, own, static_cast<int>(first + i));
  }
}

// The scores of a batch of keys for all heads of the tile, in powers of two: dot products over the
// slot's lanes, all of them side by side, since a shuffle takes as long as five of them.
template <KvElement kElement, unsigned kHeads, bool kAligned>
__device__ void score_batch(const Split& split, const float (&q)[kHeads][8],
                            const Element8<kElement, kAligned> (&keys)[kBatch],
                            const bool (&visible)[kBatch], float (&scores)[kBatch][kHeads]) {
  RT_UNROLL
  for (unsigned u = 0; u < kBatch; ++u) {
    float key[8];
    keys[u].unpack_to(key);
    RT_UNROLL
    for (unsigned h = 0; h < kHeads; ++h) {
      scores[u][h] = 0;
      RT_UNROLL
      for (int i = 0; i < 8; ++i) scores[u][h] = fmaf(q[h][i], key[i], scores[u][h]);
    }
  }
  for (unsigned step = split.lanes / 2; step > 0; step /= 2) {
    RT_UNROLL
    for (unsigned u = 0; u < kBatch; ++u) {
      RT_UNROLL
      for (unsigned h = 0; h < kHeads; ++h) {
        scores[u][h] += __shfl_xor_sync(kAllLanes, scores[u][h], static_cast<int>(step));
      }
    }
  }
  if (split.shape.softcap > 0) cap_batch<kHeads>(split, scores);
  RT_UNROLL
  for (unsigned u = 0; u < kBatch; ++u) {
    RT_UNROLL
    for (unsigned h = 0; h < kHeads; ++h) {
      scores[u][h] = visible[u] ? scores[u][h] : minus_infinity();
    }
  }
}

template <unsigned kHeads>
__device__ void add_batch(const float (&scores)[kBatch][kHeads], const float (&v)[kBatch][8],
                          SlotState<kHeads>& state) {
  RT_UNROLL
  for (unsigned h = 0; h < kHeads; ++h) {
    float m = state.m[h];
    RT_UNROLL
    for (unsigned u = 0; u < kBatch; ++u) m = fmaxf(m, scores[u][h]);
    const float keep = power_of(state.m[h], m);
    state.m[h] = m;
    state.l[h] *= keep;
    RT_UNROLL
    for (int i = 0; i < 8; ++i) state.sums[h][i] *= keep;
    RT_UNROLL
    for (unsigned u = 0; u < kBatch; ++u) {
      const float weight = power_of(scores[u][h], m);
      state.l[h] += weight;
      RT_UNROLL
      for (int i = 0; i < 8; ++i) {
        state.sums[h][i] = fmaf(weight, v[u][i], state.sums[h][i]);
      }
    }
  }
}

// Keys [begin, end) of one piece. The slots take them in turns, kBatch at a time, whose loads are
// under way together: 4 KiB a warp of a 16-bit cache. A piece is one run of rows unless stripes end
// within it.
template <KvElement kElement, unsigned kHeads, bool kAligned>
__device__ void attend_piece(const Split& split, const KvCache& kv, uint32_t b, uint32_t g,
                             uint32_t piece, uint32_t begin, uint32_t end,
                             const float (&q)[kHeads][8], SlotState<kHeads>& state) {
  const uint32_t slots = kSplitThreads / split.lanes;
  const uint32_t slot = threadIdx.x / split.lanes;
  const uint32_t e = threadIdx.x % split.lanes * 8;
  const uint32_t first = piece * kPieceKeys;
  const uint32_t keys = end - first < kPieceKeys ? end - first : kPieceKeys;
  const KvRun run = kv_run(kv, b, first);
  for (uint32_t base = 0; base < keys; base += slots * kBatch) {
    Element8<kElement, kAligned> k[kBatch];
    Element8<kElement, kAligned> v[kBatch];
    bool visible[kBatch];
    RT_UNROLL
    for (unsigned u = 0; u < kBatch; ++u) {
      const uint32_t within = base + u * slots + slot;
      visible[u] = within < keys && first + within >= begin;
      if (!visible[u] || e >= kv.head_width) continue;
      KvRun rows = {run.keys + within * kv.row_bytes[0], run.values + within * kv.row_bytes[1], 1};
      if (keys > run.tokens) rows = kv_run(kv, b, first + within);
      k[u].load(kv, rows.keys, g, e);
      v[u].load(kv, rows.values, g, e);
    }
    float scores[kBatch][kHeads];
    score_batch<kElement, kHeads, kAligned>(split, q, k, visible, scores);
    float values[kBatch][8];
    RT_UNROLL
    for (unsigned u = 0; u < kBatch; ++u) v[u].unpack_to(values[u]);
    add_batch<kHeads>(scores, values, state);
  }
}

// Shared memory of a block: f32[slots, kHeads, E + 2].
__device__ inline float* slot_at(const Split& split, uint32_t slot, uint32_t heads, uint32_t h) {
  return static_cast<float*>(dynamic_shared()) +
         (static_cast<uint64_t>(slot) * heads + h) * (split.shape.head_width + 2);
}

// Joins the slots in their order: to `target` where this split is the only one, else to its
// partial of each head.
template <unsigned kHeads>
__device__ void join_slots(const Split& split, const Target& target, const SlotState<kHeads>& state,
                           uint32_t s, bool is_only, float* partials) {
  const uint32_t E = split.shape.head_width;
  const uint32_t slots = kSplitThreads / split.lanes;
  const uint32_t slot = threadIdx.x / split.lanes;
  const uint32_t e = threadIdx.x % split.lanes * 8;
  RT_UNROLL
  for (unsigned h = 0; h < kHeads; ++h) {
    float* at = slot_at(split, slot, kHeads, h);
    if (e == 0) {
      at[0] = state.m[h];
      at[1] = state.l[h];
    }
    RT_UNROLL
    for (uint32_t i = 0; i < 8; ++i) {
      if (e + i < E) at[2 + e + i] = state.sums[h][i];
    }
  }
  __syncthreads();
  for (uint32_t index = threadIdx.x; index < target.heads * E; index += kSplitThreads) {
    const uint32_t h = index / E;
    const uint32_t column = index % E;
    float m = minus_infinity();
    for (uint32_t i = 0; i < slots; ++i) m = fmaxf(m, slot_at(split, i, kHeads, h)[0]);
    float l = 0;
    float sum = 0;
    for (uint32_t i = 0; i < slots; ++i) {
      const float* at = slot_at(split, i, kHeads, h);
      const float weight = power_of(at[0], m);
      l = fmaf(weight, at[1], l);
      sum = fmaf(weight, at[2 + column], sum);
    }
    if (is_only) {
      target.store_sum(split, h, column, sum, l);
      continue;
    }
    float* out = partial_at(partials, split, target.token, s, target.first_head + h);
    if (column == 0) {
      out[0] = m;
      out[1] = l;
    }
    out[2 + column] = sum;
  }
}

// grid [splits, G ceil(group / kHeads), tokens], block 128, shared memory f32[128 / lanes, kHeads,
// E + 2] (17 KiB for E = 128 and four heads). Moves (K row + V row) of every visible key once per
// tile of heads, and splits H (E + 2) floats through L2; bound by the bandwidth of global memory. A
// split whose turn does not come ends at once.
template <KvElement kElement, unsigned kHeads, bool kAligned>
__global__ void __launch_bounds__(kSplitThreads, !kAligned     ? 2
                                                 : kHeads == 4 ? 3
                                                               : 4)
    attend_splits(Split split, KvCache kv, StepTokens step, Matrix q_rows, Matrix out,
                  SplitWork work) {
  const uint32_t s = blockIdx.x;
  const uint32_t g = blockIdx.y / split.group_tiles;
  const uint32_t first_in_group = blockIdx.y % split.group_tiles * kHeads;
  const uint64_t t = split.first_token + blockIdx.z;
  const uint32_t left = split.group - first_in_group;
  const Target target = {blockIdx.z, g * split.group + first_in_group,
                         left < kHeads ? left : kHeads, out};
  const auto b = static_cast<uint32_t>(step.sequences[t]);
  const auto end = static_cast<uint32_t>(step.positions[t]) + 1;
  const uint32_t window = split.shape.window;
  const uint32_t begin = window > 0 && end > window ? end - window : 0;
  const uint32_t first_piece = begin / kPieceKeys;
  const LiveSplits live(first_piece, (end - 1) / kPieceKeys, split.splits);
  uint32_t piece = first_piece / split.splits * split.splits + s;
  if (piece < first_piece) piece += split.splits;
  after_previous();
  if (piece * kPieceKeys >= end) return;
  const uint32_t e = threadIdx.x % split.lanes * 8;
  float q[kHeads][8] = {};
  SlotState<kHeads> state = {};
  RT_UNROLL
  for (unsigned h = 0; h < kHeads; ++h) {
    state.m[h] = minus_infinity();
    if (h >= target.heads || e >= split.shape.head_width) continue;
    const uint64_t row =
        t * q_rows.columns + static_cast<uint64_t>(target.first_head + h) * split.shape.head_width;
    load8(q_rows.data, q_rows.element, row + e, row + split.shape.head_width, split.q_is_aligned,
          q[h]);
    // Scores in powers of two: the scale is in the query, unless a cap comes after it.
    const float factor = split.shape.softcap > 0 ? 1.0f : split.shape.scale * kLog2OfE;
    RT_UNROLL
    for (int i = 0; i < 8; ++i) q[h][i] *= factor;
  }
  for (; piece * kPieceKeys < end; piece += split.splits) {
    attend_piece<kElement, kHeads, kAligned>(split, kv, b, g, piece, begin, end, q, state);
  }
  const bool is_only = live.count == 1;
  join_slots<kHeads>(split, target, state, s, is_only, work.partials);
  if (is_only) return;
  uint32_t* const arrived = work.arrivals.counts + blockIdx.z * split.tiles() + blockIdx.y;
  if (comes_last(arrived, live.count)) join_splits(split, target, live, work.partials);
}

// Blocks for the 132 multiprocessors of an H100 or H200 at batch 1 and no more than run there at
// once, or the last ones have the GPU to themselves: a constant, since the bits depend on it.
uint32_t splits_for(const AttentionShape& shape) {
  const uint32_t group = shape.heads / shape.kv_heads;
  const uint32_t heads = group < 3 ? group : kTileHeads;
  const uint32_t blocks = shape.kv_heads * divide_up(group, heads);
  uint32_t splits = 132 * split_blocks(heads) / blocks;
  splits = splits < 64 ? splits : 64;
  splits = splits > 8 ? splits : 8;
  return splits < shape.pieces ? splits : shape.pieces;
}

Split split_for(const AttentionShape& shape, uint64_t first) {
  Split split{};
  split.shape = shape;
  split.lanes = 1;
  while (split.lanes * 8 < shape.head_width) split.lanes *= 2;
  split.splits = splits_for(shape);
  split.group = shape.heads / shape.kv_heads;
  split.first_token = first;
  return split;
}

// kHeads heads share one read of their kv head.
template <KvElement kElement, unsigned kHeads, bool kAligned>
void launch_splits(Split split, const KvCache& kv, const StepTokens& step, uint64_t count,
                   const Matrix& q, const Matrix& out, const SplitWork& work, void* stream) {
  split.group_tiles = divide_up(split.group, kHeads);
  const unsigned shared =
      kSplitThreads / split.lanes * kHeads * (split.shape.head_width + 2) * sizeof(float);
  launch(attend_splits<kElement, kHeads, kAligned>,
         dim3(split.splits, split.shape.kv_heads * split.group_tiles, static_cast<unsigned>(count)),
         kSplitThreads, shared, stream, split, kv, step, q, out, work);
}

template <KvElement kElement>
void launch_heads(const Split& split, const KvCache& kv, const StepTokens& step, uint64_t count,
                  const Matrix& q, const Matrix& out, const SplitWork& work, void* stream) {
  const auto launch_for = !cache_is_aligned(kv) ? launch_splits<kElement, kTileHeads, false>
                          : split.group == 1    ? launch_splits<kElement, 1, true>
                          : split.group == 2    ? launch_splits<kElement, 2, true>
                                                : launch_splits<kElement, kTileHeads, true>;
  launch_for(split, kv, step, count, q, out, work, stream);
}

}  // namespace

uint64_t partial_bytes(const AttentionShape& shape) {
  return sizeof(float) * splits_for(shape) * shape.heads * (shape.head_width + 2ull);
}

void attention_split(const AttentionShape& shape, const KvCache& kv, const StepTokens& step,
                     uint64_t first, uint64_t count, const Matrix& q, const Matrix& out,
                     const SplitWork& work, void* stream) {
  if (count == 0) return;
  Split split = split_for(shape, first);
  split.q_is_aligned = shape.head_width % 8 == 0 && rows_aligned(q);
  const auto launch_for = [&]() {
    switch (kv.element) {
      case KvElement::kF32:
        return launch_heads<KvElement::kF32>;
      case KvElement::kBf16:
        return launch_heads<KvElement::kBf16>;
      case KvElement::kF16:
        return launch_heads<KvElement::kF16>;
      case KvElement::kInt8:
        return launch_heads<KvElement::kInt8>;
      case KvElement::kQ8_0:
        return launch_heads<KvElement::kQ8_0>;
      default:
        return launch_heads<KvElement::kQ4_0>;
    }
  }();
  launch_for(split, kv, step, count, q, out, work, stream);
}

}  // namespace rt::cuda
