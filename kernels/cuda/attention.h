// Causal grouped-query attention over the KV cache, in kernels of their own: the new rows are
// written to the cache, then queries meet keys either split over the cache (few queries) or in
// tiles (many), the latter with tensor cores or without.
//
// The bits of a query depend on its position and on nothing beside it: keys are cut at multiples of
// a fixed number of tokens, whatever stripes, planners, chunks and batches do.
#pragma once

#include "kernels/cuda/arrivals.h"
#include "kernels/cuda/element.h"
#include "kernels/cuda/kv_cache.h"

namespace rt::cuda {

constexpr uint32_t kMostHeadWidth = 256;  // E: 32 lanes of 8 elements

// The cache is cut at multiples of this for splitting: the stripe that elastic and paged use, so
// that a piece is one run of rows.
constexpr uint32_t kPieceKeys = 64;

struct AttentionShape {
  uint32_t heads;  // H
  uint32_t kv_heads;
  uint32_t head_width;
  uint32_t window;  // 0: all keys
  float scale;
  float softcap;    // 0: off
  uint32_t pieces;  // of the longest context, ceil(N / kPieceKeys): no more splits than these
};

// Rows of k and v [T, G*E] to the cache, rounded to its type; `arrivals` are cleared for
// attention_split behind it.
void append_kv(const KvCache& kv, const StepTokens& step, const Matrix& k, const Matrix& v,
               const Arrivals& arrivals, void* stream);

// Work memory for `count` tokens.
struct SplitWork {
  Arrivals arrivals;  // at least H count
  float* partials;    // partial_bytes(shape) * count
};

// Tokens [first, first + count) of the step.
void attention_split(const AttentionShape& shape, const KvCache& kv, const StepTokens& step,
                     uint64_t first, uint64_t count, const Matrix& q, const Matrix& out,
                     const SplitWork& work, void* stream);
uint64_t partial_bytes(const AttentionShape& shape);

// All tokens of the step.
void attention_tiled(const AttentionShape& shape, const KvCache& kv, const StepTokens& step,
                     const Matrix& q, const Matrix& out, void* stream);

// The same on tensor cores; q and out bf16 or f16, head_width 64, 96, 128 or 256.
void attention_mma(const AttentionShape& shape, const KvCache& kv, const StepTokens& step,
                   const Matrix& q, const Matrix& out, void* stream);

}  // namespace rt::cuda
