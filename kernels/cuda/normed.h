// Rows and the root-mean-square norm that stands before their product, as the host says it.
#pragma once

#include "kernels/cuda/element.h"

namespace rt::cuda {

struct NormedRows {
  Matrix x;
  Matrix weight;  // [1, D]; data NULL: x is taken as it is
  float offset;   // added to the weight
  float eps;
};

inline NormedRows plain_rows(const Matrix& x) {
  return {x, {nullptr, x.element, 0, 0}, 0, 0};
}

// True if a block that multiplies up to eight rows of x has them all in the shared memory that a
// kernel may have unasked: more would leave a multiprocessor with fewer than four blocks.
inline bool norms_in_block(const Matrix& x) {
  return (x.rows < 8 ? x.rows : 8) * x.columns * element_bytes(x.element) <= 48 << 10;
}

}  // namespace rt::cuda
