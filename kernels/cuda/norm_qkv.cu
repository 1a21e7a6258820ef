#include "kernels/cuda/norm_qkv.h"

#include "kernels/cuda/dense_rows.h"
#include "kernels/cuda/qkv_rows.h"

namespace rt::cuda {
namespace {

// A warp has the two rows of a pair, and lane t finishes token t.
template <class W>
struct Qkv {
  using Weight = W;
  static constexpr unsigned kRows = 2;
  static constexpr bool kNorms = true;
  const W* q;
  const W* k;
  const W* v;
  uint64_t columns;  // D
  QkvJob job;

  __device__ uint64_t groups() const { return job.pairs(); }
  __device__ const W* row(uint64_t group, unsigned r) const {
    const RowPair pair = job.pair(static_cast<uint32_t>(group));
    // Chosen, not pointed to: an array would lie in local memory.
    const W* const weight = pair.kind == 0 ? q : pair.kind == 1 ? k : v;
    return weight + (pair.row + r * (job.kv.head_width / 2)) * columns;
  }
  template <unsigned kTokens>
  __device__ void store_sums(uint64_t group, TokenRange tokens,
                             const float (&sums)[2][kTokens]) const {
    const unsigned lane = threadIdx.x % kWarp;
    if (lane == 0) job.clear_arrivals(group);
    if (lane >= tokens.count) return;
    job.finish(job.pair(static_cast<uint32_t>(group)), tokens.first + lane,
               sum_of_lane(sums, 0, lane), sum_of_lane(sums, 1, lane));
  }
};

template <class W>
void launch_weights(const NormedRows& rows, const QkvWeights& w, const QkvJob& job, void* stream) {
  const Qkv<W> qkv = {static_cast<const W*>(w.q.data), static_cast<const W*>(w.k.data),
                      static_cast<const W*>(w.v.data), rows.x.columns, job};
  const uint64_t pairs = w.q.rows / 2 + w.k.rows;
  if (!rows_aligned(w.q) || !rows_aligned(w.k) || !rows_aligned(w.v) || !rows_aligned(rows.x)) {
    return launch_dense_elements(rows, qkv, pairs, stream);
  }
  if (rows.x.rows > 1) return launch_dense<kMostTokens>(rows, qkv, pairs, stream);
  launch_dense<1>(rows, qkv, pairs, stream);
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
