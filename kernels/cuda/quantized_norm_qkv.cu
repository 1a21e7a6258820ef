#include "kernels/cuda/norm_qkv.h"
#include "kernels/cuda/qkv_rows.h"
#include "kernels/cuda/quantized_rows.h"

namespace rt::cuda {
namespace {

// A row of lanes has the two rows of a pair.
struct QuantizedQkv {
  static constexpr unsigned kLaneRows = 1;
  static constexpr unsigned kMaps = 3;
  static constexpr bool kNorms = true;
  QuantizedMatrix q;  // k and v differ in their addresses
  QuantizedMatrix k;
  QuantizedMatrix v;
  QkvJob job;

  __device__ uint64_t outputs() const { return job.pairs(); }
  __device__ const float* map(unsigned i) const { return i == 0 ? q.map : i == 1 ? k.map : v.map; }
  __device__ CodeRow part(uint64_t n, unsigned r) const {
    const RowPair pair = job.pair(static_cast<uint32_t>(inside(*this, n)));
    const unsigned i = pair.kind;
    CodeRow row = {q, pair.row + r * (job.kv.head_width / 2), i};
    // Chosen, not pointed to: an array would lie in local memory.
    row.weight.codes = i == 0 ? q.codes : i == 1 ? k.codes : v.codes;
    row.weight.scales = i == 0 ? q.scales : i == 1 ? k.scales : v.scales;
    row.weight.nested = i == 0 ? q.nested : i == 1 ? k.nested : v.nested;
    row.weight.header = i == 0 ? q.header : i == 1 ? k.header : v.header;
    row.weight.map = map(i);
    return row;
  }
  __device__ void finish(uint64_t n, uint64_t t, const float (&sums)[2]) const {
    if (n >= outputs()) return;
    if (t == 0) job.clear_arrivals(n);
    job.finish(job.pair(static_cast<uint32_t>(n)), t, sums[0], sums[1]);
  }
};

}  // namespace

void quantized_norm_qkv(const NormedRows& rows, const QuantizedQkvWeights& weights,
                        const float* cos, const float* sin, const KvCache& kv,
                        const StepTokens& step, const QkvOut& out, void* stream) {
  if (step.tokens == 0) return;
  const auto q_rows = static_cast<uint32_t>(weights.q.rows);
  const auto kv_rows = static_cast<uint32_t>(weights.k.rows);
  const QuantizedQkv job = {
      weights.q, weights.k, weights.v, {q_rows, kv_rows, cos, sin, kv, step, out}};
  const uint64_t pairs = q_rows / 2 + kv_rows;
  if (!in_pieces(weights.q, rows.x)) return launch_elements<2>(rows, job, pairs, stream);
  if (step.tokens > 1)
    return launch_formats<2, 8>(rows, ValueOrder::kCounted, weights.q.kind, job, pairs, stream);
  launch_formats<2, 1>(rows, ValueOrder::kCounted, weights.q.kind, job, pairs, stream);
}

}  // namespace rt::cuda
