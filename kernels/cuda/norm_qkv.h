// The way into attention as one kernel, for a few tokens: norm, the three products of q, k and v,
// rope, and k and v on to the cache. The bits are those of the kernels that it stands for.
#pragma once

#include "kernels/cuda/arrivals.h"
#include "kernels/cuda/kv_cache.h"
#include "kernels/cuda/normed.h"
#include "kernels/cuda/quantized_matrix.h"

namespace rt::cuda {

// wq [H*E, D], wk and wv [G*E, D], of one type; E even. Of E and the heads, kv's are taken.
struct QkvWeights {
  Matrix q;
  Matrix k;
  Matrix v;
};

struct QuantizedQkvWeights {
  QuantizedMatrix q;
  QuantizedMatrix k;
  QuantizedMatrix v;
};

// Where the products go, and what is cleared for attention_split: q [T, H*E] always; k and v [T,
// G*E] where the rows of the cache are codes, which need a whole head at a time (append_kv then),
// and else to the cache alone.
struct QkvOut {
  Matrix q;
  Matrix k;
  Matrix v;
  bool to_cache;
  Arrivals arrivals[2];
};

// cos and sin f32[T, E/2].
void norm_qkv(const NormedRows& rows, const QkvWeights& weights, const float* cos, const float* sin,
              const KvCache& kv, const StepTokens& step, const QkvOut& out, void* stream);

// The same with quantized weights of one kind.
void quantized_norm_qkv(const NormedRows& rows, const QuantizedQkvWeights& weights,
                        const float* cos, const float* sin, const KvCache& kv,
                        const StepTokens& step, const QkvOut& out, void* stream);

}  // namespace rt::cuda
