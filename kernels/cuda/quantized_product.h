// The plain product as a job of quantized_rows.h.
#pragma once

#include "kernels/cuda/quantized_rows.h"

namespace rt::cuda {

// Below this many rows two rows per lane leave multiprocessors with little work; values of f32 are
// worth sharing all the same, since eight of them are two reads of L1.
constexpr uint64_t kManyRows = 4096;
inline bool shares_values(const QuantizedMatrix& weight, const Matrix& x) {
  return weight.rows >= kManyRows || x.element == Element::kF32;
}

template <unsigned kRows>
struct QuantizedProduct {
  static constexpr unsigned kLaneRows = kRows;
  static constexpr unsigned kMaps = 1;
  static constexpr bool kNorms = false;
  QuantizedMatrix weight;
  Matrix residual;
  Matrix out;

  __device__ uint64_t outputs() const { return weight.rows; }
  __device__ const float* map(unsigned) const { return weight.map; }
  __device__ CodeRow part(uint64_t n, unsigned r) const {
    return {weight, inside(*this, n + r), 0};
  }
  __device__ void finish(uint64_t n, uint64_t t, const float (&sums)[kRows]) const {
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) {
      if (n + r < weight.rows) store_sum(out, residual, t * out.columns + n + r, sums[r]);
    }
  }
};

}  // namespace rt::cuda
