// Eight f32 at a time, with the names of lanes_avx512.h, which has sixteen.
//
// For files compiled with -mavx2 -mfma -mf16c only; the struct is of each file's own that
// includes it (number.h says why).
#pragma once

#include "kernels/cpu/kv_row.h"
#include "kernels/cpu/vector_avx2.h"

namespace rt::cpu {
namespace {

struct Lanes8 {
  using F = __m256;
  using I = __m256i;
  static constexpr uint32_t kCount = 8;
  // 3 x 4 sums, 3 of one operand, 1 of the other: all 16 registers.
  static constexpr int kRows = 3;
  static constexpr bool kFetchesEachStep = false;  // beside 12 sums they would cost a third

  static inline F zero() { return _mm256_setzero_ps(); }
  static inline F all(float x) { return _mm256_set1_ps(x); }
  static inline F load(const float* p) { return _mm256_loadu_ps(p); }
  static inline void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static inline F add(F a, F b) { return _mm256_add_ps(a, b); }
  static inline F subtract(F a, F b) { return _mm256_sub_ps(a, b); }
  static inline F multiply(F a, F b) { return _mm256_mul_ps(a, b); }
  static inline F divide(F a, F b) { return _mm256_div_ps(a, b); }
  static inline F larger(F a, F b) { return _mm256_max_ps(a, b); }
  static inline F multiply_add(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  // Lane i: the sum, or the largest, of the lanes of v[i], for eight vectors.
  static inline F sum_of_each(const F* v) {
    return _mm256_setr_m128(sum_lanes(v[0], v[1], v[2], v[3]), sum_lanes(v[4], v[5], v[6], v[7]));
  }
  static inline F largest_of_each(const F* v) {
    I m[8];
    RT_UNROLL
    for (int i = 0; i < 8; ++i) m[i] = _mm256_castps_si256(v[i]);
    transpose(m);
    F largest = _mm256_castsi256_ps(m[0]);
    RT_UNROLL
    for (int i = 1; i < 8; ++i) largest = larger(largest, _mm256_castsi256_ps(m[i]));
    return largest;
  }
  static inline F exp(F x) { return exp8(x); }
  static inline F tanh(F x) { return tanh8(x); }

  // v in the lanes of keys [begin, end), for the eight from key i; else -infinity.
  static inline F only_seen(F v, uint32_t i, uint32_t begin, uint32_t end) {
    const I key =
        _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32((int)i));
    const I seen = _mm256_and_si256(_mm256_cmpgt_epi32(key, _mm256_set1_epi32((int)begin - 1)),
                                    _mm256_cmpgt_epi32(_mm256_set1_epi32((int)end), key));
    return _mm256_blendv_ps(all(-__builtin_inff()), v, _mm256_castsi256_ps(seen));
  }

  // The first `count` <= 32 bytes at p, then zeros; reads nothing beyond them.
  static inline I load_bytes(const unsigned char* p, uint64_t count) {
    if (count == 32) return _mm256_loadu_si256((const __m256i*)p);
    unsigned char bytes[32] = {};
    memcpy(bytes, p, count);
    return _mm256_loadu_si256((const __m256i*)bytes);
  }

  // Row r, column c becomes row c, column r: 24 shuffles.
  static inline void transpose(I (&m)[8]) {
    I t[8];
    RT_UNROLL
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_epi32(m[i], m[i + 1]);
      t[i + 1] = _mm256_unpackhi_epi32(m[i], m[i + 1]);
    }
    RT_UNROLL
    for (int i = 0; i < 8; i += 4) {
      m[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
      m[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
      m[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
      m[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    // m[4 i + j] holds columns j and 4 + j of rows [4 i, 4 i + 4).
    RT_UNROLL
    for (int j = 0; j < 4; ++j) {
      t[j] = _mm256_permute2x128_si256(m[j], m[4 + j], 0x20);
      t[4 + j] = _mm256_permute2x128_si256(m[j], m[4 + j], 0x31);
    }
    RT_UNROLL
    for (int j = 0; j < 8; ++j) m[j] = t[j];
  }

  // Element or code j of each dword, as f32.
  template <KvElement element>
  static inline F unpack(I dwords, int j) {
    if constexpr (element == KvElement::kF32) return _mm256_castsi256_ps(dwords);
    if constexpr (element == KvElement::kBf16) {
      return _mm256_castsi256_ps(j == 0 ? _mm256_slli_epi32(dwords, 16)
                                        : _mm256_and_si256(dwords, _mm256_set1_epi32(~0xffff)));
    }
    if constexpr (element == KvElement::kF16) {
      const I half = j == 0 ? _mm256_and_si256(dwords, _mm256_set1_epi32(0xffff))
                            : _mm256_srli_epi32(dwords, 16);
      const I packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(half, half), 0x08);
      return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
    }
    if constexpr (element == KvElement::kQ4_0) {
      const I code = _mm256_and_si256(_mm256_srli_epi32(dwords, 4 * j), _mm256_set1_epi32(15));
      return _mm256_cvtepi32_ps(_mm256_sub_epi32(code, _mm256_set1_epi32(8)));
    }
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(dwords, 24 - 8 * j), 24));
  }

  // Eight elements or codes at p as f32. `count` < 8: the first ones, the others are not used.
  template <KvElement element>
  static inline F widen(const unsigned char* p, uint64_t count) {
    if constexpr (is_dense(element)) {
      constexpr Element kType = (Element)element;
      return count == 8 ? rt::cpu::load<kType>(p) : load_part<kType>(p, count);
    } else if constexpr (element == KvElement::kQ4_0) {
      uint32_t nibbles = 0;
      memcpy(&nibbles, p, count == 8 ? 4 : (count + 1) / 2);
      const I shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
      const I codes = _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32((int)nibbles), shifts),
                                       _mm256_set1_epi32(15));
      return _mm256_cvtepi32_ps(_mm256_sub_epi32(codes, _mm256_set1_epi32(8)));
    } else {
      uint64_t bytes = 0;
      memcpy(&bytes, p, count == 8 ? 8 : count);
      return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128((long long)bytes)));
    }
  }

  static inline F widen_halves(const uint16_t (&halves)[8]) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)halves));
  }
};

}  // namespace
}  // namespace rt::cpu
