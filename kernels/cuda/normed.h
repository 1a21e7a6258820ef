// Rows and the root-mean-square norm that stands before their product, as the host says it.
#pragma once

#include "kernels/cuda/element.h"

namespace rt::cuda {

struct NormedRows {
  Matrix x;
  Matrix weight;  // [1, D]; data NULL: x is taken as it is
  float offset;   // added to the weight
  float eps;
  bool is_aligned;  // eight elements of x and of the weight can be read at once
};

inline NormedRows normed_rows(const Matrix& x, const Matrix& weight, float offset, float eps) {
  return {x, weight, offset, eps, rows_aligned(x) && rows_aligned(weight)};
}
inline NormedRows plain_rows(const Matrix& x) {
  return {x, {nullptr, x.element, 0, 0}, 0, 0, rows_aligned(x)};
}

// Shared memory that the rows of a block may take: what a kernel may have unasked, and where there
// is a table of quantized weights what is left beside it. More would also leave a multiprocessor
// with fewer than four blocks.
constexpr uint64_t kMostNormedBytes = 48 << 10;
constexpr uint64_t kMostNormedBytesBesideTable = 12 << 10;

// True if a block that multiplies up to eight rows of x has them all.
inline bool norms_in_block(const Matrix& x, uint64_t most_bytes) {
  return (x.rows < 8 ? x.rows : 8) * x.columns * element_bytes(x.element) <= most_bytes;
}

}  // namespace rt::cuda
