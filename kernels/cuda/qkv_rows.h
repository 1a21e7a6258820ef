// The rows of wq, wk and wv in pairs that rope turns with each other, and what becomes of their
// sums.
#pragma once

#include "kernels/cuda/count_arrivals.h"
#include "kernels/cuda/kv_rows.h"
#include "kernels/cuda/norm_qkv.h"

namespace rt::cuda {

struct RowPair {
  uint32_t kind;    // 0: q, 1: k, 2: v
  uint32_t row;     // of that weight; the other is E/2 further
  uint32_t column;  // of cos and sin
};

// Everything but the weights.
struct QkvJob {
  uint32_t q_rows;   // H*E
  uint32_t kv_rows;  // G*E
  const float* cos;
  const float* sin;
  KvCache kv;
  StepTokens step;
  QkvOut out;

  __device__ uint32_t pairs() const { return q_rows / 2 + kv_rows; }

  // Numbers of rows fit 32 bits, whose division is a few instructions and no call.
  __device__ RowPair pair(uint32_t i) const {
    const uint32_t half = kv.head_width / 2;
    const uint32_t kind = i < q_rows / 2 ? 0u : i < (q_rows + kv_rows) / 2 ? 1u : 2u;
    const uint32_t own = kind == 0 ? i : kind == 1 ? i - q_rows / 2 : i - (q_rows + kv_rows) / 2;
    return {kind, own / half * 2 * half + own % half, own % half};
  }

  // Once for each pair.
  __device__ void clear_arrivals(uint64_t i) const {
    RT_UNROLL
    for (unsigned n = 0; n < 2; ++n) clear(out.arrivals[n], i, pairs());
  }

  // The sums of both rows for token t, rounded and turned as the operators apart would, to where
  // they go. Products are not fused, as in rope.cu.
  __device__ void finish(const RowPair& at, uint64_t t, float low, float high) const {
    const uint32_t half = kv.head_width / 2;
    const Element values = out.q.element;
    low = rounded(low, values);
    high = rounded(high, values);
    if (at.kind != 2) {
      const float c = cos[t * half + at.column];
      const float s = sin[t * half + at.column];
      const float turned = low * c - high * s;
      high = rounded(high * c + low * s, values);
      low = rounded(turned, values);
    }
    void* to = at.kind == 0 ? out.q.data : at.kind == 1 ? out.k.data : out.v.data;
    Element type = values;
    uint64_t i = t * (at.kind == 0 ? q_rows : kv_rows) + at.row;
    if (at.kind != 0 && out.to_cache) {
      to = kv_row(kv, static_cast<uint32_t>(step.sequences[t]),
                  static_cast<uint64_t>(step.positions[t]), at.kind == 1 ? kKeys : kValues);
      type = static_cast<Element>(kv.element);
      i = at.row;
    }
    store(to, type, i, low);
    store(to, type, i + half, high);
  }
};

}  // namespace rt::cuda
