// A norm behind a product and the residual connection behind that (Gemma 2), as the host says it:
// out = residual + norm(product).
#pragma once

#include "kernels/cuda/arrivals.h"
#include "kernels/cuda/normed.h"
#include "kernels/cuda/quantized_matrix.h"
#include "kernels/cuda/value_order.h"

namespace rt::cuda {

struct NormAfter {
  NormedRows product;  // x: where the product goes, rounded as between two operators
  Matrix residual;
  Matrix out;
  Arrivals arrivals;    // one, cleared by the kernel before the product's
  bool out_is_aligned;  // eight elements of out and of the residual can be reached at once
};

// out = residual + norm(x weight^T), in the bits of the kernels that it stands for: one kernel for
// one token, whose block that comes last norms the row, and two for several, whose norms would
// follow each other there. The weight is dense or quantized, and x lies in `order` then.
void linear_norm_add(const Matrix& x, const Matrix& weight, const NormAfter& after, void* stream);
void quantized_linear_norm_add(const Matrix& x, ValueOrder order, const QuantizedMatrix& weight,
                               const NormAfter& after, void* stream);

}  // namespace rt::cuda
