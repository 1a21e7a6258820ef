// The gated feed-forward block: some rows of gate, then the same rows of up, then their activation
// while both products are in the first-level cache. So a thread walks two streams in turns, never
// at once; with few tokens the turns are long, for each begins with a wait for memory.
#include "kernels/cpu/mlp.h"
#include "kernels/cpu/vector_avx2.h"

namespace rt::cpu {
namespace {

// Many tokens: as many tokens and rows as linear_avx2 takes at once, for it copies its tokens once
// per call (16 rows a call made 39 Gflop/s of 61). Few tokens: turns of 64 rows.
constexpr uint64_t kTokens = 96;
constexpr uint64_t kColumns = 256;  // f32[96, 256] is 96 KiB, twice
constexpr uint64_t kFewTokens = 6;
constexpr uint64_t kFewColumns = 64;

// x * sigmoid(z); see mlp.cc for z.
__m256 activate(Activation activation, __m256 x) {
  __m256 z = x;
  if (activation == Activation::kGeluTanh) {
    const __m256 cubic = _mm256_mul_ps(_mm256_mul_ps(x, x), x);
    z = _mm256_mul_ps(_mm256_set1_ps(1.5957691216057308f),
                      _mm256_fmadd_ps(_mm256_set1_ps(0.044715f), cubic, x));
  }
  const __m256 e = exp8(_mm256_sub_ps(_mm256_setzero_ps(), z));
  return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

}  // namespace

void gate_up_avx2(const float* x, uint64_t tokens, const Matrix& gate, const Matrix& up,
                  Activation activation, uint64_t begin, uint64_t end, float* hidden,
                  uint64_t stride) {
  alignas(64) float g[kTokens * kColumns];
  alignas(64) float u[kTokens * kColumns];
  for (uint64_t t = 0; t < tokens; t += kTokens) {
    const uint64_t rows = tokens - t < kTokens ? tokens - t : kTokens;
    const float* x_t = x + t * gate.columns;
    const uint64_t width = rows <= kFewTokens ? kFewColumns : kColumns;
    for (uint64_t f = begin; f < end; f += width) {
      const uint64_t columns = end - f < width ? end - f : width;
      linear_avx2(x_t, rows, gate, f, f + columns, g, width);
      linear_avx2(x_t, rows, up, f, f + columns, u, width);
      for (uint64_t i = 0; i < rows; ++i) {
        float* to = hidden + (t + i) * stride + (f - begin);
        for (uint64_t j = 0; j < columns; j += 8) {
          const uint64_t at = i * width + j;
          const __m256 v =
              _mm256_mul_ps(activate(activation, _mm256_loadu_ps(g + at)), _mm256_loadu_ps(u + at));
          if (j + 8 <= columns) {
            _mm256_storeu_ps(to + j, v);
          } else {
            store_part(to + j, v, columns - j);
          }
        }
      }
    }
  }
}

void join_avx2(Activation activation, uint64_t tokens, uint64_t columns, const float* up,
               uint64_t up_stride, float* gate, uint64_t stride) {
  for (uint64_t t = 0; t < tokens; ++t, gate += stride, up += up_stride) {
    uint64_t j = 0;
    for (; j + 8 <= columns; j += 8) {
      const __m256 g = activate(activation, _mm256_loadu_ps(gate + j));
      _mm256_storeu_ps(gate + j, _mm256_mul_ps(g, _mm256_loadu_ps(up + j)));
    }
    if (j < columns) {
      const uint64_t part = columns - j;
      const __m256 g = activate(activation, load_part<Element::kF32>(gate + j, part));
      store_part(gate + j, _mm256_mul_ps(g, load_part<Element::kF32>(up + j, part)), part);
    }
  }
}

}  // namespace rt::cpu
