// Decode: the cache of a sequence is cut into pieces of kPieceKeys tokens, which the splits take in
// turns; a second kernel joins the splits. How many splits there are depends on the heads and the
// longest context alone, so that a recorded step serves every length and a query has the same bits
// in every batch.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/kv_rows.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/softmax.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 128;
constexpr unsigned kBatch = 4;      // keys whose loads a thread has in flight together
constexpr unsigned kTileHeads = 4;  // query heads that share one read of their kv head

struct Split {
  AttentionShape shape;
  uint32_t lanes;  // threads that share a row: a power of two, at least E / 8
  uint32_t splits;
  uint32_t group;        // H / G
  uint32_t group_tiles;  // ceil(group / kHeads)
  uint64_t first_token;
  bool q_is_aligned;
  bool kv_is_aligned;
};

// m, l, sums[E] of one head in one split.
__device__ inline float* partial_at(float* partials, const Split& split, uint64_t token, uint32_t s,
                                    uint32_t h) {
  const uint64_t index = (token * split.splits + s) * split.shape.heads + h;
  return partials + index * (split.shape.head_width + 2);
}

// What the threads of a row slot hold of the keys that they have seen.
template <unsigned kHeads>
struct SlotState {
  float m[kHeads];
  float l[kHeads];
  float sums[kHeads][8];
};

// The scores of one key for all heads of the tile: a dot product over the slot's lanes.
template <unsigned kHeads>
__device__ void score_key(const Split& split, const float (&q)[kHeads][8], const float (&k)[8],
                          bool visible, float (&scores)[kHeads]) {
  for (unsigned h = 0; h < kHeads; ++h) {
    float dot = 0;
    for (int i = 0; i < 8; ++i) dot = fmaf(q[h][i], k[i], dot);
    for (unsigned step = split.lanes / 2; step > 0; step /= 2) {
      dot += __shfl_xor_sync(kAllLanes, dot, static_cast<int>(step));
    }
    scores[h] = visible ? capped(dot, split.shape.scale, split.shape.softcap) : minus_infinity();
  }
}

template <unsigned kHeads>
__device__ void add_batch(const float (&scores)[kBatch][kHeads], const float (&v)[kBatch][8],
                          SlotState<kHeads>& state) {
  for (unsigned h = 0; h < kHeads; ++h) {
    float m = state.m[h];
    for (unsigned u = 0; u < kBatch; ++u) m = fmaxf(m, scores[u][h]);
    const float keep = weight_of(state.m[h], m);
    state.m[h] = m;
    state.l[h] *= keep;
    for (int i = 0; i < 8; ++i) state.sums[h][i] *= keep;
    for (unsigned u = 0; u < kBatch; ++u) {
      const float weight = weight_of(scores[u][h], m);
      state.l[h] += weight;
      for (int i = 0; i < 8; ++i) {
        state.sums[h][i] = fmaf(weight, v[u][i], state.sums[h][i]);
      }
    }
  }
}

// Keys [begin, end) of one piece. The slots take them in turns, kBatch at a time.
template <KvElement kElement, unsigned kHeads>
__device__ void attend_piece(const Split& split, const KvCache& kv, uint32_t b, uint32_t g,
                             uint64_t piece, uint64_t begin, uint64_t end,
                             const float (&q)[kHeads][8], SlotState<kHeads>& state) {
  const uint32_t slots = kThreads / split.lanes;
  const uint32_t slot = threadIdx.x / split.lanes;
  const uint32_t e = threadIdx.x % split.lanes * 8;
  for (uint32_t base = 0; base < kPieceKeys; base += slots * kBatch) {
    float k[kBatch][8];
    float v[kBatch][8];
    bool visible[kBatch];
    for (unsigned u = 0; u < kBatch; ++u) {
      const uint32_t within = base + u * slots + slot;
      const uint64_t t = piece * kPieceKeys + within;
      visible[u] = within < kPieceKeys && t >= begin && t < end;
      for (int i = 0; i < 8; ++i) k[u][i] = v[u][i] = 0;
      if (!visible[u] || e >= kv.head_width) continue;
      KvReader<kElement>::load8(kv, kv_row(kv, b, t, kKeys), g, e, split.kv_is_aligned, k[u]);
      KvReader<kElement>::load8(kv, kv_row(kv, b, t, kValues), g, e, split.kv_is_aligned, v[u]);
    }
    float scores[kBatch][kHeads];
    for (unsigned u = 0; u < kBatch; ++u) score_key<kHeads>(split, q, k[u], visible[u], scores[u]);
    add_batch<kHeads>(scores, v, state);
  }
}

// Shared memory of a block: f32[slots, kHeads, E + 2].
__device__ inline float* slot_at(const Split& split, uint32_t slot, uint32_t heads, uint32_t h) {
  return static_cast<float*>(dynamic_shared()) +
         (static_cast<uint64_t>(slot) * heads + h) * (split.shape.head_width + 2);
}

// Joins the slots in their order and writes the split's partial of each head.
template <unsigned kHeads>
__device__ void join_slots(const Split& split, uint32_t first_head, uint32_t heads,
                           const SlotState<kHeads>& state, uint64_t token, uint32_t s,
                           float* partials) {
  const uint32_t E = split.shape.head_width;
  const uint32_t slots = kThreads / split.lanes;
  const uint32_t slot = threadIdx.x / split.lanes;
  const uint32_t e = threadIdx.x % split.lanes * 8;
  for (unsigned h = 0; h < kHeads; ++h) {
    float* at = slot_at(split, slot, kHeads, h);
    if (e == 0) {
      at[0] = state.m[h];
      at[1] = state.l[h];
    }
    for (uint32_t i = 0; i < 8; ++i) {
      if (e + i < E) at[2 + e + i] = state.sums[h][i];
    }
  }
  __syncthreads();
  for (uint32_t index = threadIdx.x; index < heads * (E + 1); index += kThreads) {
    const uint32_t h = index / (E + 1);
    const uint32_t column = index % (E + 1);  // 0: l, else sums[column - 1]
    float m = minus_infinity();
    for (uint32_t i = 0; i < slots; ++i) m = fmaxf(m, slot_at(split, i, kHeads, h)[0]);
    float sum = 0;
    for (uint32_t i = 0; i < slots; ++i) {
      const float* at = slot_at(split, i, kHeads, h);
      sum = fmaf(weight_of(at[0], m), at[1 + column], sum);
    }
    float* out = partial_at(partials, split, token, s, first_head + h);
    if (column == 0) out[0] = m;
    out[1 + column] = sum;
  }
}

// grid [splits, G ceil(group / kHeads), tokens], block 128, shared memory f32[128 / lanes, kHeads,
// E + 2] (17 KiB for E = 128 and four heads). Moves (K row + V row) of every visible key once per
// tile of heads, and splits H (E + 2) floats; bound by the bandwidth of global memory. A split
// whose turn does not come writes that it has seen nothing, and ends.
template <KvElement kElement, unsigned kHeads>
__global__ void __launch_bounds__(kThreads)
    attend_splits(Split split, KvCache kv, StepTokens step, Matrix q_rows, float* partials) {
  const uint32_t s = blockIdx.x;
  const uint32_t g = blockIdx.y / split.group_tiles;
  const uint32_t first_in_group = blockIdx.y % split.group_tiles * kHeads;
  const uint64_t token = blockIdx.z;
  const uint64_t t = split.first_token + token;
  const uint32_t first_head = g * split.group + first_in_group;
  const uint32_t left = split.group - first_in_group;
  const uint32_t heads = left < kHeads ? left : kHeads;
  const auto b = static_cast<uint32_t>(step.sequences[t]);
  const auto end = static_cast<uint64_t>(step.positions[t]) + 1;
  const uint64_t window = split.shape.window;
  const uint64_t begin = window > 0 && end > window ? end - window : 0;
  const uint64_t first_piece = begin / kPieceKeys;
  uint64_t piece = first_piece / split.splits * split.splits + s;
  if (piece < first_piece) piece += split.splits;
  if (piece * kPieceKeys >= end) {
    if (threadIdx.x < heads) {
      partial_at(partials, split, token, s, first_head + threadIdx.x)[0] = minus_infinity();
    }
    return;
  }
  const uint32_t e = threadIdx.x % split.lanes * 8;
  float q[kHeads][8] = {};
  SlotState<kHeads> state = {};
  for (unsigned h = 0; h < kHeads; ++h) {
    state.m[h] = minus_infinity();
    if (h >= heads || e >= split.shape.head_width) continue;
    const uint64_t row =
        t * q_rows.columns + static_cast<uint64_t>(first_head + h) * split.shape.head_width;
    load8(q_rows.data, q_rows.element, row + e, row + split.shape.head_width, split.q_is_aligned,
          q[h]);
  }
  for (; piece * kPieceKeys < end; piece += split.splits) {
    attend_piece<kElement, kHeads>(split, kv, b, g, piece, begin, end, q, state);
  }
  join_slots<kHeads>(split, first_head, heads, state, token, s, partials);
}

// grid [H, tokens], block 128, no shared memory. Moves splits (E + 2) floats per head from L2;
// bound by latency.
__global__ void __launch_bounds__(kThreads) join_splits(Split split, Matrix out, float* partials) {
  const uint32_t h = blockIdx.x;
  const uint64_t token = blockIdx.y;
  const uint32_t E = split.shape.head_width;
  float m = minus_infinity();
  for (uint32_t s = 0; s < split.splits; ++s) {
    m = fmaxf(m, partial_at(partials, split, token, s, h)[0]);
  }
  for (uint32_t e = threadIdx.x; e < E; e += kThreads) {
    float l = 0;
    float sum = 0;
    for (uint32_t s = 0; s < split.splits; ++s) {
      const float* at = partial_at(partials, split, token, s, h);
      if (at[0] == minus_infinity()) continue;  // the rest of it is not written
      const float weight = weight_of(at[0], m);
      l = fmaf(weight, at[1], l);
      sum = fmaf(weight, at[2 + e], sum);
    }
    store(out.data, out.element,
          (split.first_token + token) * out.columns + static_cast<uint64_t>(h) * E + e, sum / l);
  }
}

// Enough blocks for the 132 multiprocessors of an H200 at batch 1, four of 128 threads on each, and
// no more of them without work at short lengths than the grid costs nothing for.
uint32_t splits_for(const AttentionShape& shape) {
  const uint32_t group = shape.heads / shape.kv_heads;
  const uint32_t blocks = shape.kv_heads * divide_up(group, group == 1 ? 1 : kTileHeads);
  uint32_t splits = 64;
  while (splits > 8 && splits * blocks > 512) splits /= 2;
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

template <KvElement kElement, unsigned kHeads>
void launch_splits(Split split, const KvCache& kv, const StepTokens& step, uint64_t count,
                   const Matrix& q, const Matrix& out, float* partials, void* stream) {
  split.group_tiles = divide_up(split.group, kHeads);
  const unsigned shared =
      kThreads / split.lanes * kHeads * (split.shape.head_width + 2) * sizeof(float);
  const auto tokens = static_cast<unsigned>(count);
  launch(attend_splits<kElement, kHeads>,
         dim3(split.splits, split.shape.kv_heads * split.group_tiles, tokens), kThreads, shared,
         stream, split, kv, step, q, partials);
  launch(join_splits, dim3(split.shape.heads, tokens), kThreads, 0, stream, split, out, partials);
}

template <KvElement kElement>
void launch_heads(const Split& split, const KvCache& kv, const StepTokens& step, uint64_t count,
                  const Matrix& q, const Matrix& out, float* partials, void* stream) {
  if (split.group == 1) {
    return launch_splits<kElement, 1>(split, kv, step, count, q, out, partials, stream);
  }
  launch_splits<kElement, kTileHeads>(split, kv, step, count, q, out, partials, stream);
}

}  // namespace

uint64_t split_bytes(const AttentionShape& shape) {
  return sizeof(float) * splits_for(shape) * shape.heads * (shape.head_width + 2ull);
}

void attention_split(const AttentionShape& shape, const KvCache& kv, const StepTokens& step,
                     uint64_t first, uint64_t count, const Matrix& q, const Matrix& out,
                     float* partials, void* stream) {
  if (count == 0) return;
  Split split = split_for(shape, first);
  split.q_is_aligned = shape.head_width % 8 == 0 && rows_aligned(q);
  split.kv_is_aligned = cache_is_aligned(kv);
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
  launch_for(split, kv, step, count, q, out, partials, stream);
}

}  // namespace rt::cuda
