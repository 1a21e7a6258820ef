// Device side of norm_after.h: what a kernel does that multiplies one token's row, at its end.
#pragma once

#include "kernels/cuda/count_arrivals.h"
#include "kernels/cuda/norm_after.h"
#include "kernels/cuda/norm_row.h"

namespace rt::cuda {

// A job of a product's kernel that has a norm after it.
template <class Job>
constexpr bool kNormsAfter = requires(const Job& job) {
  job.after;
};

// By all threads of all blocks of the grid's x; the block that comes last norms the row.
template <unsigned kThreads>
__device__ inline void norm_after(const NormAfter& after) {
  if (!comes_last(after.arrivals.counts, gridDim.x)) return;
  norm_add_row<kThreads, true>(after.product, 0, after.residual, after.out, after.out_is_aligned);
}

}  // namespace rt::cuda
