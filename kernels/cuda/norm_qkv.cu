#include "kernels/cuda/norm_qkv.h"

#include "kernels/cuda/kv_rows.h"
#include "kernels/cuda/normed_rows.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kWarps = kThreads / kWarp;

// What a warp multiplies: the two rows of a head that rope turns with each other.
struct RowPair {
  const void* weight;
  uint64_t weight_rows;
  uint32_t kind;    // 0: q, 1: k, 2: v
  uint64_t row;     // the first one; the other is E/2 further
  uint64_t column;  // of cos and sin
};

__device__ inline RowPair row_pair(const QkvWeights& weights, uint64_t pair, uint64_t half) {
  const uint64_t q_pairs = weights.q.rows / 2;
  const uint64_t k_pairs = weights.k.rows / 2;
  const uint32_t kind = pair < q_pairs ? 0u : pair < q_pairs + k_pairs ? 1u : 2u;
  const uint64_t own = kind == 0 ? pair : kind == 1 ? pair - q_pairs : pair - q_pairs - k_pairs;
  // Chosen, not pointed to: a pointer would put the weights' descriptions into local memory.
  const void* weight = kind == 0 ? weights.q.data : kind == 1 ? weights.k.data : weights.v.data;
  return {weight, kind == 0 ? weights.q.rows : weights.k.rows, kind,
          own / half * 2 * half + own % half, own % half};
}

// grid [(H + 2 G) E / 16, T / kTokens], block 256, shared memory of kTokens D values. Moves
// (H + 2 G) E D weights for every kTokens tokens; bound by the bandwidth of global memory.
template <class W, unsigned kTokens>
__global__ void __launch_bounds__(kThreads)
    norm_qkv_rows(NormedRows normed, QkvWeights weights, const float* cos, const float* sin,
                  KvCache kv, StepTokens step, QkvOut out, bool weights_are_aligned,
                  bool x_is_aligned) {
  const uint64_t half = kv.head_width / 2;
  const uint64_t pairs = weights.q.rows / 2 + weights.k.rows;
  const uint64_t pair = static_cast<uint64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  const uint64_t first = static_cast<uint64_t>(blockIdx.y) * kTokens;
  const uint64_t left = step.tokens - first;
  const TokenRange tokens = {first, left < kTokens ? left : kTokens};
  const ProductRows x = product_rows<kThreads>(normed, x_is_aligned, tokens);
  if (pair >= pairs) return;
  const RowPair at = row_pair(weights, pair, half);
  const uint64_t columns = weights.q.columns;
  const W* const begin = static_cast<const W*>(at.weight) + at.row * columns;
  const W* const rows[2] = {begin, begin + half * columns};
  float sums[2][kTokens];
  dot_rows<W, 2, kTokens>(rows, weights_are_aligned, x.x, x.aligned, x.tokens, sums);
  const unsigned lane = threadIdx.x % kWarp;  // finishes the token of its number
  float low = 0;
  float high = 0;
  RT_UNROLL
  for (unsigned t = 0; t < kTokens; ++t) {
    if (t == lane) low = sums[0][t], high = sums[1][t];
  }
  if (lane >= tokens.count) return;
  const uint64_t t = first + lane;
  const Element values = out.q.element;
  low = rounded(low, values);
  high = rounded(high, values);
  if (at.kind != 2) {  // products are not fused, as in rope.cu
    const float c = cos[t * half + at.column];
    const float s = sin[t * half + at.column];
    const float turned = low * c - high * s;
    high = rounded(high * c + low * s, values);
    low = rounded(turned, values);
  }
  void* to = at.kind == 0 ? out.q.data : at.kind == 1 ? out.k.data : out.v.data;
  Element type = values;
  uint64_t i = t * at.weight_rows + at.row;
  if (at.kind != 0 && out.to_cache) {
    to = kv_row(kv, static_cast<uint32_t>(step.sequences[t]),
                static_cast<uint64_t>(step.positions[t]), at.kind == 1 ? kKeys : kValues);
    type = static_cast<Element>(kv.element);
    i = at.row;
  }
  store(to, type, i, low);
  store(to, type, i + half, high);
}

template <class W, unsigned kTokens>
void launch_rows(const NormedRows& rows, const QkvWeights& weights, const float* cos,
                 const float* sin, const KvCache& kv, const StepTokens& step, const QkvOut& out,
                 void* stream) {
  const bool aligned =
      rows_aligned(weights.q) && rows_aligned(weights.k) && rows_aligned(weights.v);
  const dim3 grid(divide_up(weights.q.rows / 2 + weights.k.rows, kWarps),
                  divide_up(step.tokens, kTokens));
  launch(norm_qkv_rows<W, kTokens>, grid, kThreads, normed_bytes(rows, kTokens), stream, rows,
         weights, cos, sin, kv, step, out, aligned, rows_aligned(rows.x));
}

template <class W>
void launch_weights(const NormedRows& rows, const QkvWeights& weights, const float* cos,
                    const float* sin, const KvCache& kv, const StepTokens& step, const QkvOut& out,
                    void* stream) {
  if (step.tokens > 4) return launch_rows<W, 8>(rows, weights, cos, sin, kv, step, out, stream);
  if (step.tokens > 1) return launch_rows<W, 4>(rows, weights, cos, sin, kv, step, out, stream);
  launch_rows<W, 1>(rows, weights, cos, sin, kv, step, out, stream);
}

}  // namespace

void norm_qkv(const NormedRows& rows, const QkvWeights& weights, const float* cos, const float* sin,
              const KvCache& kv, const StepTokens& step, const QkvOut& out, void* stream) {
  if (step.tokens == 0) return;
  const auto launch_for = weights.q.element == Element::kF32    ? launch_weights<float>
                          : weights.q.element == Element::kBf16 ? launch_weights<Bf16>
                                                                : launch_weights<F16>;
  launch_for(rows, weights, cos, sin, kv, step, out, stream);
}

}  // namespace rt::cuda
