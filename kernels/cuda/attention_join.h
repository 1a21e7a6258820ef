// How the splits of decode attention become one result: who has pieces of a query, where each
// leaves its part, and the sum of the parts by the block that comes last (attention_split.cu).
#pragma once

#include "kernels/cuda/attention.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/number.h"
#include "kernels/cuda/softmax.h"

namespace rt::cuda {

constexpr unsigned kSplitThreads = 128;

struct Split {
  AttentionShape shape;
  uint32_t lanes;  // threads that share a row: a power of two, at least E / 8
  uint32_t splits;
  uint32_t group;        // H / G
  uint32_t group_tiles;  // ceil(group / kHeads)
  uint64_t first_token;
  bool q_is_aligned;

  // Tiles of heads of a token: each has its count of arrivals.
  __device__ uint32_t tiles() const { return shape.kv_heads * group_tiles; }
};

// m, l, sums[E] of one head in one split.
__device__ inline float* partial_at(float* partials, const Split& split, uint64_t token, uint32_t s,
                                    uint32_t h) {
  const uint64_t index = (token * split.splits + s) * split.shape.heads + h;
  return partials + index * (split.shape.head_width + 2);
}

// The splits that have pieces of one query, in rising order: split `at(j)` for j of [0, count).
struct LiveSplits {
  uint32_t first;    // that has the first piece
  uint32_t wrapped;  // how many lie before it, having pieces beyond the last split's
  uint32_t count;

  __device__ LiveSplits(uint32_t first_piece, uint32_t last_piece, uint32_t splits) {
    const uint32_t pieces = last_piece - first_piece + 1;
    count = pieces < splits ? pieces : splits;
    first = first_piece % splits;
    wrapped = first + count > splits ? first + count - splits : 0;
  }
  __device__ uint32_t at(uint32_t j) const { return j < wrapped ? j : first + j - wrapped; }
};

// Where a block's result goes: one query's heads [first_head, first_head + heads).
struct Target {
  uint64_t token;  // of the round
  uint32_t first_head;
  uint32_t heads;
  Matrix out;

  __device__ void store_sum(const Split& split, uint32_t h, uint32_t e, float sum, float l) const {
    const uint64_t row = (split.first_token + token) * out.columns;
    store(out.data, out.element,
          row + static_cast<uint64_t>(first_head + h) * split.shape.head_width + e, sum / l);
  }
};

// Columns of the result that a thread joins side by side. A partial comes from L2, some 300 cycles
// away, so those of kJoinBatch splits are under way together; they are added in the splits' order.
constexpr unsigned kJoinColumns = 2;
constexpr unsigned kJoinBatch = 16;

struct JoinedColumns {
  uint32_t h[kJoinColumns];
  uint32_t column[kJoinColumns];
  bool present[kJoinColumns];
  float l[kJoinColumns] = {};
  float sum[kJoinColumns] = {};

  template <class Partial>
  __device__ void join(const LiveSplits& live, const Partial& partial, const float* weights,
                       const float* l_of) {
    for (uint32_t base = 0; base < live.count; base += kJoinBatch) {
      float parts[kJoinBatch][kJoinColumns];
      RT_UNROLL
      for (unsigned u = 0; u < kJoinBatch; ++u) {
        const uint32_t j = base + u < live.count ? base + u : base;
        RT_UNROLL
        for (unsigned c = 0; c < kJoinColumns; ++c) {
          parts[u][c] = __ldcg(partial(h[c], j) + 2 + column[c]);
        }
      }
      RT_UNROLL
      for (unsigned u = 0; u < kJoinBatch; ++u) {
        if (base + u >= live.count) break;
        RT_UNROLL
        for (unsigned c = 0; c < kJoinColumns; ++c) {
          const uint32_t cell = h[c] * live.count + base + u;
          l[c] = fmaf(weights[cell], l_of[cell], l[c]);
          sum[c] = fmaf(weights[cell], parts[u][c], sum[c]);
        }
      }
    }
  }
};

// Joins the partials of the splits in their order. Called by the block that comes last, whose
// shared memory then holds f32[3, heads, count] of them: m, l, weight.
__device__ inline void join_splits(const Split& split, const Target& target, const LiveSplits& live,
                                   float* partials) {
  const uint32_t E = split.shape.head_width;
  const uint32_t cells = target.heads * live.count;
  float* const m_of = static_cast<float*>(dynamic_shared());
  float* const l_of = m_of + cells;
  float* const weights = l_of + cells;
  const auto partial = [&](uint32_t h, uint32_t j) {
    return partial_at(partials, split, target.token, live.at(j), target.first_head + h);
  };
  for (uint32_t i = threadIdx.x; i < cells; i += kSplitThreads) {
    const float* at = partial(i / live.count, i % live.count);
    m_of[i] = __ldcg(at);
    l_of[i] = __ldcg(at + 1);
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < cells; i += kSplitThreads) {
    const float* of_head = m_of + i / live.count * live.count;
    float m = minus_infinity();
    for (uint32_t j = 0; j < live.count; ++j) m = fmaxf(m, of_head[j]);
    weights[i] = power_of(m_of[i], m);
  }
  __syncthreads();
  for (uint32_t first = threadIdx.x; first < target.heads * E;
       first += kJoinColumns * kSplitThreads) {
    JoinedColumns columns;
    for (uint32_t c = 0; c < kJoinColumns; ++c) {
      const uint32_t index = first + c * kSplitThreads;
      columns.present[c] = index < target.heads * E;
      columns.h[c] = columns.present[c] ? index / E : 0;
      columns.column[c] = columns.present[c] ? index % E : 0;
    }
    columns.join(live, partial, weights, l_of);
    for (uint32_t c = 0; c < kJoinColumns; ++c) {
      if (!columns.present[c]) continue;
      target.store_sum(split, columns.h[c], columns.column[c], columns.sum[c], columns.l[c]);
    }
  }
}

}  // namespace rt::cuda
