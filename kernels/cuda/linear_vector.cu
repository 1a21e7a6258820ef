#include <stdint.h>

#include "kernels/cuda/dot_rows.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kWarps = kThreads / kWarp;

// Below this many rows two rows per warp leave multiprocessors without work: 132 of 8 warps each.
constexpr uint64_t kManyRows = 4096;

// grid [N / (8 kRows), T / kTokens], block 256, no shared memory. Moves N K weights for every
// kTokens rows of x, and T (K + N) values, N more with a residual; bound by the bandwidth of global
// memory. In flight per multiprocessor with 8 blocks: 64 warps * 32 lanes * 16 bytes * kRows, 32 or
// 64 KiB.
template <class W, unsigned kRows, unsigned kTokens>
__global__ void __launch_bounds__(kThreads)
    linear_vector_rows(Matrix x, Matrix weight, Matrix residual, Matrix out, bool weight_is_aligned,
                       bool x_is_aligned) {
  const uint64_t n = (static_cast<uint64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp) * kRows;
  const uint64_t first = static_cast<uint64_t>(blockIdx.y) * kTokens;
  const uint64_t left = x.rows - first;
  const TokenRange tokens = {first, left < kTokens ? left : kTokens};
  const W* rows[kRows];
  for (unsigned r = 0; r < kRows; ++r) {
    rows[r] = n + r < weight.rows ? static_cast<const W*>(weight.data) + (n + r) * weight.columns
                                  : nullptr;
  }
  float first_w[kRows][8];
  first_weights<W, kRows>(rows, weight_is_aligned, x.columns, first_w);
  after_previous();
  float sums[kRows][kTokens];
  dot_rows<W, kRows, kTokens>(rows, weight_is_aligned, first_w, x, x_is_aligned, tokens, sums);
  if (threadIdx.x % kWarp != 0) return;
  RT_UNROLL
  for (unsigned r = 0; r < kRows; ++r) {
    RT_UNROLL
    for (unsigned t = 0; t < kTokens; ++t) {
      if (rows[r] == nullptr || t >= tokens.count) continue;
      store_sum(out, residual, (first + t) * out.columns + n + r, sums[r][t]);
    }
  }
}

template <class W, unsigned kRows, unsigned kTokens>
void launch_rows(const Matrix& x, const Matrix& weight, const Matrix& residual, const Matrix& out,
                 void* stream) {
  const dim3 grid(divide_up(weight.rows, kWarps * kRows), divide_up(x.rows, kTokens));
  launch(linear_vector_rows<W, kRows, kTokens>, grid, kThreads, 0, stream, x, weight, residual, out,
         rows_aligned(weight), rows_aligned(x));
}

template <class W>
void launch_weights(const Matrix& x, const Matrix& weight, const Matrix& residual,
                    const Matrix& out, void* stream) {
  if (x.rows > 4) return launch_rows<W, 2, 8>(x, weight, residual, out, stream);
  if (x.rows > 1) return launch_rows<W, 2, 4>(x, weight, residual, out, stream);
  if (weight.rows >= kManyRows) return launch_rows<W, 2, 1>(x, weight, residual, out, stream);
  launch_rows<W, 1, 1>(x, weight, residual, out, stream);
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
