// Prefill: a block takes query rows (tokens times the heads of one group) of one sequence at a
// time, and walks their keys in tiles. f32 arithmetic without tensor cores, for every form and type
// of the cache, windows and soft caps.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_segment.h"
#include "kernels/cuda/kv_rows.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/softmax.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 128;
constexpr unsigned kRows = 32;      // query rows of a block
constexpr unsigned kTileKeys = 32;  // of a tile; tiles begin at multiples of it
constexpr unsigned kRowThreads = kThreads / kRows;
constexpr unsigned kMostColumns = kMostHeadWidth / kRowThreads;  // of a row's sums, per thread

struct Tiled : QueryTiles {
  uint32_t stride;  // E + 1, so that rows begin in different banks
};

struct Shared {
  float* q;       // f32[kRows, stride]
  float* keys;    // f32[kTileKeys, stride]: K, then V of the same tile
  float* scores;  // f32[kRows, kTileKeys + 1]
};

__device__ inline Shared shared_of(const Tiled& tiled) {
  float* at = static_cast<float*>(dynamic_shared());
  return {at, at + kRows * tiled.stride, at + (kRows + kTileKeys) * tiled.stride};
}

__device__ void load_queries(const Tiled& tiled, const Segment& segment, const Matrix& q,
                             const Shared& shared) {
  const uint32_t E = tiled.shape.head_width;
  for (unsigned i = threadIdx.x; i < kRows * E; i += kThreads) {
    const unsigned row = i / E;
    shared.q[row * tiled.stride + i % E] =
        row_exists(tiled, segment, row)
            ? load(q.data, q.element, query_at(tiled, segment, row) + i % E)
            : 0.0f;
  }
}

// Keys [begin, end) of the tile that starts at `base`; the others are 0.
template <KvElement kElement>
__device__ void load_keys(const Tiled& tiled, const KvCache& kv, const Segment& segment,
                          uint64_t base, uint64_t begin, uint64_t end, KvStream stream,
                          const Shared& shared) {
  const uint32_t E = tiled.shape.head_width;
  const unsigned pieces = (E + 7) / 8;
  for (unsigned i = threadIdx.x; i < kTileKeys * pieces; i += kThreads) {
    const uint64_t t = base + i / pieces;
    const unsigned e = i % pieces * 8;
    float values[8] = {};
    if (t >= begin && t < end) {
      KvReader<kElement>::load8(kv, kv_row(kv, segment.b, t, stream), segment.g, e,
                                tiled.kv_is_aligned, values);
    }
    for (unsigned j = 0; j < 8 && e + j < E; ++j) {
      shared.keys[i / pieces * tiled.stride + e + j] = values[j];
    }
  }
}

// What a thread holds of its row: columns part, part + 4, ... of the sums.
struct RowState {
  float m;
  float l;
  float sums[kMostColumns];
};

// Scores of this thread's row with keys part, part + 4, ... of the tile.
__device__ void score_tile(const Tiled& tiled, uint64_t base, uint64_t begin, uint64_t end,
                           const Shared& shared) {
  const unsigned row = threadIdx.x / kRowThreads;
  const float* q = shared.q + row * tiled.stride;
  for (unsigned key = threadIdx.x % kRowThreads; key < kTileKeys; key += kRowThreads) {
    const float* k = shared.keys + key * tiled.stride;
    float dot = 0;
    for (uint32_t e = 0; e < tiled.shape.head_width; ++e) dot = fmaf(q[e], k[e], dot);
    const bool visible = base + key >= begin && base + key < end;
    shared.scores[row * (kTileKeys + 1) + key] =
        visible ? capped(dot, tiled.shape.scale, tiled.shape.softcap) : minus_infinity();
  }
}

__device__ void add_tile(const Tiled& tiled, const Shared& shared, RowState& state) {
  const unsigned row = threadIdx.x / kRowThreads;
  const float* scores = shared.scores + row * (kTileKeys + 1);
  float m = state.m;
  for (unsigned key = 0; key < kTileKeys; ++key) m = fmaxf(m, scores[key]);
  const float keep = weight_of(state.m, m);
  state.m = m;
  state.l *= keep;
  for (float& sum : state.sums) sum *= keep;
  for (unsigned key = 0; key < kTileKeys; ++key) {
    const float weight = weight_of(scores[key], m);
    if (weight == 0) continue;  // also keys that are not there
    state.l += weight;
    const float* v = shared.keys + key * tiled.stride;
    for (unsigned c = 0; c < kMostColumns; ++c) {
      const unsigned e = c * kRowThreads + threadIdx.x % kRowThreads;
      if (e < tiled.shape.head_width) state.sums[c] = fmaf(weight, v[e], state.sums[c]);
    }
  }
}

template <KvElement kElement>
__device__ void attend_segment(const Tiled& tiled, const KvCache& kv, const StepTokens& step,
                               const Segment& segment, const Matrix& q, const Matrix& out) {
  const Shared shared = shared_of(tiled);
  const unsigned row = threadIdx.x / kRowThreads;
  const bool exists = row_exists(tiled, segment, row);
  const uint64_t window = tiled.shape.window;
  const auto first_key = [&](uint64_t end) {
    return window > 0 && end > window ? end - window : 0;
  };
  const uint64_t segment_begin =
      first_key(static_cast<uint64_t>(step.positions[segment.first]) + 1);
  const uint64_t segment_end =
      static_cast<uint64_t>(step.positions[segment.first + segment.count - 1]) + 1;
  uint64_t end = 0;  // of this row's keys
  if (exists) {
    end = static_cast<uint64_t>(step.positions[segment.first + row / tiled.tile_heads]) + 1;
  }
  const uint64_t begin = first_key(end);
  load_queries(tiled, segment, q, shared);
  RowState state = {};
  state.m = minus_infinity();
  for (uint64_t base = segment_begin / kTileKeys * kTileKeys; base < segment_end;
       base += kTileKeys) {
    __syncthreads();  // the last tile's values have been read
    load_keys<kElement>(tiled, kv, segment, base, segment_begin, segment_end, kKeys, shared);
    __syncthreads();
    score_tile(tiled, base, begin, end, shared);
    __syncthreads();
    load_keys<kElement>(tiled, kv, segment, base, segment_begin, segment_end, kValues, shared);
    __syncthreads();
    add_tile(tiled, shared, state);
  }
  if (exists) {
    const uint64_t at = query_at(tiled, segment, row);
    for (unsigned c = 0; c < kMostColumns; ++c) {
      const unsigned e = c * kRowThreads + threadIdx.x % kRowThreads;
      if (e < tiled.shape.head_width) store(out.data, out.element, at + e, state.sums[c] / state.l);
    }
  }
  __syncthreads();  // before the queries of the next segment
}

// grid [T / block_tokens, G head_tiles], block 128, shared memory f32[64, E + 1] and f32[32, 33]:
// 37 KiB for E = 128, 70 KiB for 256. Moves the keys below a block's last position once for 32
// query rows, through L2; bound by f32 arithmetic and shared memory. A block whose tokens belong to
// several sequences takes one after another.
template <KvElement kElement>
__global__ void __launch_bounds__(kThreads)
    attend_tiles(Tiled tiled, KvCache kv, StepTokens step, Matrix q, Matrix out) {
  after_previous();
  for_each_segment(tiled, step, [&](const Segment& segment) {
    attend_segment<kElement>(tiled, kv, step, segment, q, out);
  });
}

template <KvElement kElement>
void launch_tiles(const Tiled& tiled, const KvCache& kv, const StepTokens& step, const Matrix& q,
                  const Matrix& out, void* stream) {
  const unsigned shared =
      ((kRows + kTileKeys) * tiled.stride + kRows * (kTileKeys + 1)) * sizeof(float);
  launch(attend_tiles<kElement>, query_grid(tiled, step), kThreads, shared, stream, tiled, kv, step,
         q, out);
}

}  // namespace

void attention_tiled(const AttentionShape& shape, const KvCache& kv, const StepTokens& step,
                     const Matrix& q, const Matrix& out, void* stream) {
  if (step.tokens == 0) return;
  const Tiled tiled{query_tiles(shape, kv, kRows), shape.head_width + 1};
  switch (kv.element) {
    case KvElement::kF32:
      return launch_tiles<KvElement::kF32>(tiled, kv, step, q, out, stream);
    case KvElement::kBf16:
      return launch_tiles<KvElement::kBf16>(tiled, kv, step, q, out, stream);
    case KvElement::kF16:
      return launch_tiles<KvElement::kF16>(tiled, kv, step, q, out, stream);
    case KvElement::kInt8:
      return launch_tiles<KvElement::kInt8>(tiled, kv, step, q, out, stream);
    case KvElement::kQ8_0:
      return launch_tiles<KvElement::kQ8_0>(tiled, kv, step, q, out, stream);
    case KvElement::kQ4_0:
      return launch_tiles<KvElement::kQ4_0>(tiled, kv, step, q, out, stream);
  }
}

}  // namespace rt::cuda
