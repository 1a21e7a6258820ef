#include <stdint.h>

#include "kernels/cuda/dense_rows.h"
#include "kernels/cuda/linear.h"

namespace rt::cuda {
namespace {

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

template <class W>
void launch_weights(const Matrix& x, const Matrix& weight, const Matrix& residual,
                    const Matrix& out, void* stream) {
  const NormedRows rows = plain_rows(x);
  const Product<W, 1> one = {weight, residual, out};
  const Product<W, 2> two = {weight, residual, out};
  const uint64_t pairs = divide_up(weight.rows, 2);
  if (!rows_aligned(x) || !rows_aligned(weight)) {
    return launch_dense_elements(rows, two, pairs, stream);
  }
  if (x.rows > 1) return launch_dense<kMostTokens>(rows, two, pairs, stream);
  launch_dense<1>(rows, one, weight.rows, stream);
}

}  // namespace

void linear_vector(const Matrix& x, const Matrix& weight, const Matrix& out, void* stream) {
  linear_add_vector(x, weight, kNoResidual, out, stream);
}

void linear_add_vector(const Matrix& x, const Matrix& weight, const Matrix& residual,
                       const Matrix& out, void* stream) {
  if (x.rows == 0) return;
  const auto launch_for = weight.element == Element::kF32    ? launch_weights<float>
                          : weight.element == Element::kBf16 ? launch_weights<Bf16>
                                                             : launch_weights<F16>;
  launch_for(x, weight, residual, out, stream);
}

}  // namespace rt::cuda
