// The plain product as a job of dense_rows.h.
#pragma once

#include "kernels/cuda/dense_rows.h"

namespace rt::cuda {

// One row of weights for one token, two where several tokens' values are read for them.
template <class W, unsigned kLaneRows>
struct Product {
  using Weight = W;
  static constexpr unsigned kRows = kLaneRows;
  static constexpr bool kNorms = false;
  Matrix weight;
  Matrix residual;
  Matrix out;

  __device__ uint64_t groups() const { return (weight.rows + kRows - 1) / kRows; }
  // The last row again where a group has one too many.
  __device__ const W* row(uint64_t group, unsigned r) const {
    const uint64_t n = group * kRows + r;
    return static_cast<const W*>(weight.data) +
           (n < weight.rows ? n : weight.rows - 1) * weight.columns;
  }
  // Lane l finishes row l % kRows for token l / kRows.
  template <unsigned kTokens>
  __device__ void store_sums(uint64_t group, TokenRange tokens,
                             const float (&sums)[kRows][kTokens]) const {
    const unsigned lane = threadIdx.x % kWarp;
    const uint64_t n = group * kRows + lane % kRows;
    const unsigned t = lane / kRows;
    if (n >= weight.rows || t >= tokens.count) return;
    store_sum(out, residual, (tokens.first + t) * out.columns + n,
              sum_of_lane(sums, lane % kRows, t));
  }
};

}  // namespace rt::cuda
