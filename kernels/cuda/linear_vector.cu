#include <stdint.h>

#include "kernels/cuda/dense_product.h"
#include "kernels/cuda/linear.h"

namespace rt::cuda {
namespace {

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
