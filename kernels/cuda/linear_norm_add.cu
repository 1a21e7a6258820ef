#include "kernels/cuda/dense_product.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/norm_after.h"
#include "kernels/cuda/quantized_linear.h"
#include "kernels/cuda/quantized_product.h"
#include "kernels/cuda/rms_norm.h"

namespace rt::cuda {
namespace {

template <class W>
struct NormedProduct : Product<W, 1> {
  NormAfter after;
};

template <unsigned kLaneRows>
struct QuantizedNormedProduct : QuantizedProduct<kLaneRows> {
  NormAfter after;
};

template <class W>
void launch_weights(const Matrix& x, const Matrix& weight, const NormAfter& after, void* stream) {
  const NormedProduct<W> job = {{weight, kNoResidual, after.product.x}, after};
  if (!rows_aligned(x) || !rows_aligned(weight)) {
    return launch_dense_elements(plain_rows(x), job, weight.rows, stream);
  }
  launch_dense<1>(plain_rows(x), job, weight.rows, stream);
}

}  // namespace

void linear_norm_add(const Matrix& x, const Matrix& weight, const NormAfter& after, void* stream) {
  if (x.rows == 0) return;
  if (x.rows > 1) {
    linear_vector(x, weight, after.product.x, stream);
    return rms_norm(after.product, after.residual, after.out, stream);
  }
  const auto launch_for = weight.element == Element::kF32    ? launch_weights<float>
                          : weight.element == Element::kBf16 ? launch_weights<Bf16>
                                                             : launch_weights<F16>;
  launch_for(x, weight, after, stream);
}

void quantized_linear_norm_add(const Matrix& x, ValueOrder order, const QuantizedMatrix& weight,
                               const NormAfter& after, void* stream) {
  if (x.rows == 0) return;
  if (x.rows > 1) {
    quantized_linear_add_vector(x, order, weight, kNoResidual, after.product.x, stream);
    return rms_norm(after.product, after.residual, after.out, stream);
  }
  const NormedRows rows = plain_rows(x);
  const Matrix& out = after.product.x;
  if (in_pieces(weight, x) && shares_values(weight, x)) {
    const QuantizedNormedProduct<2> job = {{weight, kNoResidual, out}, after};
    return launch_formats<2, 1>(rows, order, weight.kind, job, weight.rows, stream);
  }
  const QuantizedNormedProduct<1> job = {{weight, kNoResidual, out}, after};
  if (!in_pieces(weight, x)) return launch_elements<1>(rows, job, weight.rows, stream);
  launch_formats<1, 1>(rows, order, weight.kind, job, weight.rows, stream);
}

}  // namespace rt::cuda
