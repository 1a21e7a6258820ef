// The gated feed-forward block with AVX-512, as mlp_avx2.cc has it: some rows of gate, then the
// same rows of up, then their activation while both products are near.
#pragma once

#include "kernels/cpu/mlp.h"
#include "kernels/cpu/product_avx512.h"

namespace rt::cpu {

// x * sigmoid(z); see mlp.cc for z.
static inline __m512 activate(Activation activation, __m512 x) {
  __m512 z = x;
  if (activation == Activation::kGeluTanh) {
    const __m512 cubic = _mm512_mul_ps(_mm512_mul_ps(x, x), x);
    z = _mm512_mul_ps(_mm512_set1_ps(1.5957691216057308f),
                      _mm512_fmadd_ps(_mm512_set1_ps(0.044715f), cubic, x));
  }
  const __m512 e = exp16(_mm512_sub_ps(_mm512_setzero_ps(), z));
  return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
}

// `linear` packs its tokens once per call, so a call has as many of them as a block, and 256 rows.
// Few tokens: turns of 64 rows, long enough that the wait at the beginning of each is small.
template <LinearKernel linear>
static inline void gate_up(const float* x, uint64_t tokens, const Matrix& gate, const Matrix& up,
                           Activation activation, uint64_t begin, uint64_t end, float* hidden,
                           uint64_t stride) {
  constexpr uint64_t kColumns = 256;  // f32[192, 256] is 192 KiB, twice
  constexpr uint64_t kFewColumns = 64;
  alignas(64) float g[kBlockRows * kColumns];
  alignas(64) float u[kBlockRows * kColumns];
  for (uint64_t t = 0; t < tokens; t += kBlockRows) {
    const uint64_t rows = tokens - t < kBlockRows ? tokens - t : kBlockRows;
    const float* x_t = x + t * gate.columns;
    const uint64_t width = rows <= kTileTokens ? kFewColumns : kColumns;
    for (uint64_t f = begin; f < end; f += width) {
      const uint64_t columns = end - f < width ? end - f : width;
      linear(x_t, rows, gate, f, f + columns, g, width);
      linear(x_t, rows, up, f, f + columns, u, width);
      for (uint64_t i = 0; i < rows; ++i) {
        float* to = hidden + (t + i) * stride + (f - begin);
        for (uint64_t j = 0; j < columns; j += 16) {
          const __mmask16 lanes = columns - j < 16 ? first_lanes(columns - j) : (__mmask16)0xffff;
          const __m512 v = _mm512_maskz_loadu_ps(lanes, g + i * width + j);
          _mm512_mask_storeu_ps(to + j, lanes,
                                _mm512_mul_ps(activate(activation, v),
                                              _mm512_maskz_loadu_ps(lanes, u + i * width + j)));
        }
      }
    }
  }
}

}  // namespace rt::cpu
