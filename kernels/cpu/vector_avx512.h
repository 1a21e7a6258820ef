// Sixteen f32 at a time: loads that widen, sums over lanes in a fixed order, exp.
//
// For files compiled with -mavx512f -mavx512bw -mavx512dq -mavx512vl only; all functions are
// `static inline` (number.h says why).
#pragma once

#include <immintrin.h>

#include "kernels/cpu/number.h"

// See vector_avx2.h.
#define RT_UNROLL _Pragma("GCC unroll 16")

namespace rt::cpu {

template <Element element>
static constexpr uint64_t kElementBytes = element == Element::kF32 ? 4 : 2;

static inline __m512 widen_bf16x16(__m256i halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

// load16<element>(p): sixteen elements at p, of any alignment, as f32.
template <Element element>
static inline __m512 load16(const void* p) {
  if constexpr (element == Element::kF32) return _mm512_loadu_ps(p);
  const __m256i halves = _mm256_loadu_si256((const __m256i*)p);
  if constexpr (element == Element::kBf16) return widen_bf16x16(halves);
  return _mm512_cvtph_ps(halves);
}

// The lanes of the first `count` < 16 elements.
static inline __mmask16 first_lanes(uint64_t count) {
  return (__mmask16)((1u << count) - 1u);
}

// The elements at p that `lanes` names, the rest 0; reads nothing else.
template <Element element>
static inline __m512 load16_part(const void* p, __mmask16 lanes) {
  if constexpr (element == Element::kF32) return _mm512_maskz_loadu_ps(lanes, p);
  const __m256i halves = _mm256_maskz_loadu_epi16(lanes, p);
  if constexpr (element == Element::kBf16) return widen_bf16x16(halves);
  return _mm512_cvtph_ps(halves);
}

// a in the lower half, b in the upper: lanes j with j + 8. A blend may use either of the two ports
// for 512 bits, a shuffle one: half of each.
template <class Join>
static inline __m512 fold_pair(Join join, __m512 a, __m512 b) {
  return join(_mm512_mask_blend_ps(0xff00, a, b), _mm512_shuffle_f32x4(a, b, 0x4e));
}

// Eight vectors at once, each joined over its lanes in the order
//   j and j + 8, then j and j + 4, j and j + 2, j and j + 1.
template <class Join>
static inline __m256 join_lanes8(Join join, const __m512* v) {
  const __m512 ab = fold_pair(join, v[0], v[1]);
  const __m512 cd = fold_pair(join, v[2], v[3]);
  const __m512 ef = fold_pair(join, v[4], v[5]);
  const __m512 gh = fold_pair(join, v[6], v[7]);
  const __m512 abcd = join(_mm512_shuffle_f32x4(ab, cd, 0x88),  // one in each 128 bits
                           _mm512_shuffle_f32x4(ab, cd, 0xdd));
  const __m512 efgh = join(_mm512_shuffle_f32x4(ef, gh, 0x88), _mm512_shuffle_f32x4(ef, gh, 0xdd));
  const __m512 two = join(_mm512_shuffle_ps(abcd, efgh, 0x44),  // a a e e | b b f f | ...
                          _mm512_shuffle_ps(abcd, efgh, 0xee));
  const __m512 one = join(two, _mm512_permute_ps(two, 0xb1));
  const __m512i pick = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
  return _mm512_castps512_ps256(_mm512_permutexvar_ps(pick, one));
}

static inline __m256 sum_lanes8(const __m512* v) {
  return join_lanes8([](__m512 a, __m512 b) { return _mm512_add_ps(a, b); }, v);
}
static inline __m256 max_lanes8(const __m512* v) {
  return join_lanes8([](__m512 a, __m512 b) { return _mm512_max_ps(a, b); }, v);
}

// e^x as exp8 in vector_avx2.h, which derives the constants and states the error.
static inline __m512 exp16(__m512 x) {
  const __mmask16 kept = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.33654f), _CMP_NLT_UQ);
  x = _mm512_min_ps(_mm512_set1_ps(88.0f), x);  // second operand is returned if x is a NaN
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(0x1.6a23cep-10f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.123a20p-7f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.5558f2p-5f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.555492p-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.fffffcp-2f));
  const __m512 e = _mm512_add_ps(_mm512_fmadd_ps(_mm512_mul_ps(r, r), p, r), _mm512_set1_ps(1.0f));
  const __m512i power =
      _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23);
  return _mm512_maskz_mul_ps(kept, e, _mm512_castsi512_ps(power));
}

}  // namespace rt::cpu
