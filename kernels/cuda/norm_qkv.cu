#include "kernels/cuda/norm_qkv.h"

#include "kernels/cuda/normed_rows.h"
#include "kernels/cuda/qkv_rows.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kWarps = kThreads / kWarp;

// grid [(H + 2 G) E / 16, T / kTokens], block 256, shared memory of kTokens D values. Moves
// (H + 2 G) E D weights for every kTokens tokens; bound by the bandwidth of global memory. A warp
// has the two rows of a pair, and lane t finishes token t.
template <class W, unsigned kTokens>
__global__ void __launch_bounds__(kThreads, blocks_for(kTokens))
    norm_qkv_rows(NormedRows normed, const W* wq, const W* wk, const W* wv, QkvJob job,
                  bool weights_are_aligned, bool x_is_aligned) {
  const uint32_t i = blockIdx.x * kWarps + threadIdx.x / kWarp;
  const uint64_t first = static_cast<uint64_t>(blockIdx.y) * kTokens;
  const uint64_t left = job.step.tokens - first;
  const TokenRange tokens = {first, left < kTokens ? left : kTokens};
  const bool inside = i < job.pairs();
  const RowPair pair = job.pair(inside ? i : 0);
  // Chosen, not pointed to: an array would lie in local memory.
  const W* const weight = pair.kind == 0 ? wq : pair.kind == 1 ? wk : wv;
  const uint64_t D = normed.x.columns;
  const W* const begin = weight + pair.row * D;
  const W* const rows[2] = {begin, begin + job.kv.head_width / 2 * D};
  float first_w[2][8];  // on their way while the block norms
  first_weights<W, 2>(rows, weights_are_aligned, D, first_w);
  after_previous();
  const ProductRows x = product_rows<kThreads>(normed, x_is_aligned, tokens);
  if (!inside) return;
  float sums[2][kTokens];
  dot_rows<W, 2, kTokens>(rows, weights_are_aligned, first_w, x.x, x.aligned, x.tokens, sums);
  const unsigned lane = threadIdx.x % kWarp;
  float low = 0;
  float high = 0;
  RT_UNROLL
  for (unsigned t = 0; t < kTokens; ++t) {
    if (t != lane) continue;
    low = sums[0][t];
    high = sums[1][t];
  }
  if (lane == 0) job.clear_arrivals(i);
  if (lane < tokens.count) job.finish(pair, first + lane, low, high);
}

template <class W, unsigned kTokens>
void launch_rows(const NormedRows& rows, const QkvWeights& w, const QkvJob& job, void* stream) {
  const bool aligned = rows_aligned(w.q) && rows_aligned(w.k) && rows_aligned(w.v);
  const dim3 grid(divide_up(w.q.rows / 2 + w.k.rows, kWarps), divide_up(rows.x.rows, kTokens));
  launch(norm_qkv_rows<W, kTokens>, grid, kThreads, normed_bytes(rows, kTokens), stream, rows,
         static_cast<const W*>(w.q.data), static_cast<const W*>(w.k.data),
         static_cast<const W*>(w.v.data), job, aligned, rows_aligned(rows.x));
}

template <class W>
void launch_weights(const NormedRows& rows, const QkvWeights& w, const QkvJob& job, void* stream) {
  if (rows.x.rows > 4) return launch_rows<W, 8>(rows, w, job, stream);
  if (rows.x.rows > 1) return launch_rows<W, 4>(rows, w, job, stream);
  launch_rows<W, 1>(rows, w, job, stream);
}

}  // namespace

void norm_qkv(const NormedRows& rows, const QkvWeights& weights, const float* cos, const float* sin,
              const KvCache& kv, const StepTokens& step, const QkvOut& out, void* stream) {
  if (step.tokens == 0) return;
  const auto launch_for = weights.q.element == Element::kF32    ? launch_weights<float>
                          : weights.q.element == Element::kBf16 ? launch_weights<Bf16>
                                                                : launch_weights<F16>;
  const QkvJob job = {static_cast<uint32_t>(weights.q.rows),
                      static_cast<uint32_t>(weights.k.rows),
                      cos,
                      sin,
                      kv,
                      step,
                      out};
  launch_for(rows, weights, job, stream);
}

}  // namespace rt::cuda
