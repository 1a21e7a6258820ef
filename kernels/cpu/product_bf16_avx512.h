// The Arithmetic of product_avx512.h on bf16 pairs (vdpbf16ps): x is rounded to bf16, to nearest
// even, when it is packed; weights are gathered as bf16, 1024 columns a run. Products are exact in
// f32 and each is added by itself, the odd element of a pair first, with one rounding; so apart
// from the rounding of x the sums are as good as f32's. Subnormal numbers count as 0 on the way in
// and out, whatever MXCSR says.
//
// Where it pays: a Zen 4 has one vdpbf16ps of 512 bits a cycle, twice the products of its FMAs. An
// Xeon of 2023 (Emerald Rapids) has one in two cycles and two FMAs in one: half (bench_kernels, the
// peaks of avx512 and avx512_bf16). There f32 panels are the faster ones, for any weight format.
//
// For files compiled with -mavx512bf16 and what product_avx512.h asks for.
#pragma once

#include "kernels/cpu/product_avx512.h"

namespace rt::cpu {

struct Bf16Arithmetic {
  static constexpr uint64_t kRunColumns = kRunBytes / 2;
  static constexpr uint64_t steps(uint64_t count) { return (count + 31) / 32; }

  static inline void pack(const float* x, uint64_t count, char* to) {
    for (uint64_t k = 0; k < count; k += 32, to += 64) {
      const __mmask32 lanes = count - k < 32 ? (1u << (count - k)) - 1u : ~0u;
      const __m512 low = _mm512_maskz_loadu_ps((__mmask16)lanes, x + k);
      const __m512 high = _mm512_maskz_loadu_ps((__mmask16)(lanes >> 16), x + k + 16);
      _mm512_store_si512(to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
  }
  static inline __m512 add(__m512 sum, __m512 a, __m512 b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  }
};

}  // namespace rt::cpu
