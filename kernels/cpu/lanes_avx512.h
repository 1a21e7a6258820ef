// Sixteen f32 at a time, as kernels/cpu/attention_tile.h takes them: arithmetic, exp and tanh, the
// elements of a KV cache widened, a square of dwords transposed.
//
// For files compiled with -mavx512f -mavx512bw -mavx512dq -mavx512vl only; the struct is
// this file's own for each that includes it (number.h says why).
#pragma once

// g++ 12 warns of its own header's operands that are undefined on purpose (its bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "kernels/cpu/kv_row.h"
#include "kernels/cpu/vector_avx2.h"
#include "kernels/cpu/vector_avx512.h"

namespace rt::cpu {
namespace {

struct Lanes16 {
  using F = __m512;
  using I = __m512i;
  static constexpr uint32_t kCount = 16;
  // Rows x vectors of sums that fill the 32 registers without spilling: 4 x 4 sums, 4 of one
  // operand, 1 of the other. 16 chains cover 2 FMAs of 4 cycles.
  static constexpr int kRows = 4;
  static constexpr bool kFetchesEachStep = true;  // its some 10 instructions beside 16 sums

  static inline F zero() { return _mm512_setzero_ps(); }
  static inline F all(float x) { return _mm512_set1_ps(x); }
  static inline F load(const float* p) { return _mm512_loadu_ps(p); }
  static inline void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static inline F add(F a, F b) { return _mm512_add_ps(a, b); }
  static inline F subtract(F a, F b) { return _mm512_sub_ps(a, b); }
  static inline F multiply(F a, F b) { return _mm512_mul_ps(a, b); }
  static inline F divide(F a, F b) { return _mm512_div_ps(a, b); }
  static inline F larger(F a, F b) { return _mm512_max_ps(a, b); }
  static inline F multiply_add(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }

  static inline __m256 low_half(F v) { return _mm512_castps512_ps256(v); }
  static inline __m256 high_half(F v) { return _mm512_extractf32x8_ps(v, 1); }
  static inline F joined(__m256 low, __m256 high) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
  }
  // Lane i: the sum, or the largest, of the lanes of v[i], for sixteen vectors.
  static inline F sum_of_each(const F* v) { return joined(sum_lanes8(v), sum_lanes8(v + 8)); }
  static inline F largest_of_each(const F* v) { return joined(max_lanes8(v), max_lanes8(v + 8)); }

  // v in the lanes of keys [begin, end), for the sixteen from key i; else -infinity.
  static inline F only_seen(F v, uint32_t i, uint32_t begin, uint32_t end) {
    const I key =
        _mm512_add_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                         _mm512_set1_epi32((int)i));
    const __mmask16 seen = _mm512_cmpge_epu32_mask(key, _mm512_set1_epi32((int)begin)) &
                           _mm512_cmplt_epu32_mask(key, _mm512_set1_epi32((int)end));
    return _mm512_mask_blend_ps(seen, all(-__builtin_inff()), v);
  }

  // exp8's polynomial (vector_avx2.h), which has its error; below -87.3 it is 0, above 88 e^88.
  static inline F exp(F x) {
    const __mmask16 kept = _mm512_cmp_ps_mask(x, all(-87.33654f), _CMP_NLT_UQ);
    x = _mm512_min_ps(all(88.0f), x);  // second operand is returned if x is a NaN
    const F n = _mm512_roundscale_ps(_mm512_mul_ps(x, all(1.44269504f)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    F r = _mm512_fnmadd_ps(n, all(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, all(-2.12194440e-4f), r);
    F p = all(0x1.6a23cep-10f);
    p = _mm512_fmadd_ps(p, r, all(0x1.123a20p-7f));
    p = _mm512_fmadd_ps(p, r, all(0x1.5558f2p-5f));
    p = _mm512_fmadd_ps(p, r, all(0x1.555492p-3f));
    p = _mm512_fmadd_ps(p, r, all(0x1.fffffcp-2f));
    const F e = _mm512_add_ps(_mm512_fmadd_ps(_mm512_mul_ps(r, r), p, r), all(1.0f));
    return _mm512_maskz_scalef_ps(kept, e, n);
  }
  static inline F tanh(F x) { return joined(tanh8(low_half(x)), tanh8(high_half(x))); }

  // The first `count` <= 64 bytes at p, then zeros; reads nothing beyond them.
  static inline I load_bytes(const unsigned char* p, uint64_t count) {
    if (count == 64) return _mm512_loadu_si512(p);
    return _mm512_maskz_loadu_epi8((1ull << count) - 1, p);
  }

  // Row r, column c becomes row c, column r: 64 shuffles.
  static inline void transpose(I (&m)[16]) {
    I t[16];
    RT_UNROLL
    for (int i = 0; i < 16; i += 2) {
      t[i] = _mm512_unpacklo_epi32(m[i], m[i + 1]);
      t[i + 1] = _mm512_unpackhi_epi32(m[i], m[i + 1]);
    }
    RT_UNROLL
    for (int i = 0; i < 16; i += 4) {
      m[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
      m[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
      m[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
      m[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    // m[4 i + j] holds columns j, 4 + j, 8 + j, 12 + j of rows [4 i, 4 i + 4).
    RT_UNROLL
    for (int j = 0; j < 4; ++j) {
      const I a = _mm512_shuffle_i32x4(m[j], m[4 + j], 0x88);
      const I b = _mm512_shuffle_i32x4(m[j], m[4 + j], 0xdd);
      const I c = _mm512_shuffle_i32x4(m[8 + j], m[12 + j], 0x88);
      const I d = _mm512_shuffle_i32x4(m[8 + j], m[12 + j], 0xdd);
      m[j] = _mm512_shuffle_i32x4(a, c, 0x88);
      m[4 + j] = _mm512_shuffle_i32x4(b, d, 0x88);
      m[8 + j] = _mm512_shuffle_i32x4(a, c, 0xdd);
      m[12 + j] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
  }

  // Element or code j of each dword, as f32.
  template <KvElement element>
  static inline F unpack(I dwords, int j) {
    if constexpr (element == KvElement::kF32) return _mm512_castsi512_ps(dwords);
    if constexpr (element == KvElement::kBf16) {
      return _mm512_castsi512_ps(j == 0 ? _mm512_slli_epi32(dwords, 16)
                                        : _mm512_and_si512(dwords, _mm512_set1_epi32(~0xffff)));
    }
    if constexpr (element == KvElement::kF16) {
      return _mm512_cvtph_ps(
          _mm512_cvtepi32_epi16(j == 0 ? dwords : _mm512_srli_epi32(dwords, 16)));
    }
    if constexpr (element == KvElement::kQ4_0) {
      const I code =
          _mm512_and_si512(_mm512_srli_epi32(dwords, (unsigned)(4 * j)), _mm512_set1_epi32(15));
      return _mm512_cvtepi32_ps(_mm512_sub_epi32(code, _mm512_set1_epi32(8)));
    }
    return _mm512_cvtepi32_ps(
        _mm512_srai_epi32(_mm512_slli_epi32(dwords, (unsigned)(24 - 8 * j)), 24));
  }

  // Sixteen elements or codes at p as f32. `count` < 16: the first ones, the others are not used.
  template <KvElement element>
  static inline F widen(const unsigned char* p, uint64_t count) {
    const __mmask16 some = (__mmask16)((1u << count) - 1);
    if constexpr (element == KvElement::kF32) {
      return count == 16 ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(some, p);
    } else if constexpr (is_dense(element)) {
      const __m256i halves =
          count == 16 ? _mm256_loadu_si256((const __m256i*)p) : _mm256_maskz_loadu_epi16(some, p);
      if constexpr (element == KvElement::kF16) return _mm512_cvtph_ps(halves);
      return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
    } else if constexpr (element == KvElement::kQ4_0) {
      uint32_t nibbles[2] = {};
      memcpy(nibbles, p, count == 16 ? 8 : (count + 1) / 2);
      const I both = _mm512_inserti64x4(_mm512_set1_epi32((int)nibbles[0]),
                                        _mm256_set1_epi32((int)nibbles[1]), 1);
      const I shifts = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
      const I codes = _mm512_and_si512(_mm512_srlv_epi32(both, shifts), _mm512_set1_epi32(15));
      return _mm512_cvtepi32_ps(_mm512_sub_epi32(codes, _mm512_set1_epi32(8)));
    } else {
      const __m128i bytes =
          count == 16 ? _mm_loadu_si128((const __m128i*)p) : _mm_maskz_loadu_epi8(some, p);
      return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
    }
  }

  static inline F widen_halves(const uint16_t (&halves)[16]) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)halves));
  }
};

}  // namespace
}  // namespace rt::cpu
