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

// Columns [begin, end) of hidden, `width` at a time: g and u f32[tokens, width] are made by the
// products `gate` and `up`(first column, their number, where they go), then joined.
template <class Gate, class Up>
static inline void join_columns(uint64_t tokens, uint64_t width, Activation activation,
                                uint64_t begin, uint64_t end, float* g, float* u, float* hidden,
                                uint64_t stride, const Gate& gate, const Up& up) {
  for (uint64_t f = begin; f < end; f += width) {
    const uint64_t columns = end - f < width ? end - f : width;
    gate(f, f + columns, g);
    up(f, f + columns, u);
    for (uint64_t t = 0; t < tokens; ++t) {
      float* to = hidden + t * stride + (f - begin);
      for (uint64_t j = 0; j < columns; j += 16) {
        const __mmask16 lanes = columns - j < 16 ? first_lanes(columns - j) : (__mmask16)0xffff;
        const __m512 v = _mm512_maskz_loadu_ps(lanes, g + t * width + j);
        _mm512_mask_storeu_ps(to + j, lanes,
                              _mm512_mul_ps(activate(activation, v),
                                            _mm512_maskz_loadu_ps(lanes, u + t * width + j)));
      }
    }
  }
}

}  // namespace rt::cpu
