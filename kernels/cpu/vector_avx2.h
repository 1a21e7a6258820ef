// Eight f32 at a time: loads that widen, sums in a fixed order, exp and tanh.
//
// For files compiled with -mavx2 -mfma -mf16c only; all functions are `static inline` (number.h
// says why).
#pragma once

#include <immintrin.h>

#include "kernels/cpu/number.h"

// Before a loop of constant length over an array of sums: unrolled early, the array is registers.
// Left to itself g++ 12 at times stores every sum in every round, which halves a kernel's speed.
#define RT_UNROLL _Pragma("GCC unroll 16")

namespace rt::cpu {

static inline __m256 load_f32(const void* p) {
  return _mm256_loadu_ps((const float*)p);
}

// One shuffle: both halves hold the 16 bytes, each picks four elements into the upper halves of its
// lanes. (vpmovzxwd and a shift take three operations of the same two ports on Zen 3, which caps a
// product below the memory's speed.)
static inline __m256 load_bf16(const void* p) {
  const __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)p));
  const __m256i pick = _mm256_setr_epi8(-1, -1, 0, 1, -1, -1, 2, 3, -1, -1, 4, 5, -1, -1, 6, 7, -1,
                                        -1, 8, 9, -1, -1, 10, 11, -1, -1, 12, 13, -1, -1, 14, 15);
  return _mm256_castsi256_ps(_mm256_shuffle_epi8(both, pick));
}

static inline __m256 load_f16(const void* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
}

// load<element>(p): eight elements at p, of any alignment, as f32.
template <Element element>
static inline __m256 load(const void* p) {
  if constexpr (element == Element::kF32) return load_f32(p);
  if constexpr (element == Element::kBf16) return load_bf16(p);
  return load_f16(p);
}

template <Element element>
static constexpr uint64_t kBytes = element == Element::kF32 ? 4 : 2;

// The first `count` < 8 elements at p, the rest 0; reads nothing beyond them.
template <Element element>
static inline __m256 load_part(const void* p, uint64_t count) {
  unsigned char bytes[32] = {};
  memcpy(bytes, p, count * kBytes<element>);
  return load<element>(bytes);
}

static inline void store_part(float* p, __m256 v, uint64_t count) {
  float lanes[8];
  _mm256_storeu_ps(lanes, v);
  memcpy(p, lanes, count * sizeof(float));
}

// ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)), the order of all sums over lanes.
static inline float sum_lanes(__m256 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// sum_lanes of four vectors at once. Blends may use any port, shuffles two: half of each.
static inline __m128 sum_lanes(__m256 a, __m256 b, __m256 c, __m256 d) {
  const __m256 ab = _mm256_add_ps(_mm256_blend_ps(a, b, 0xf0), _mm256_permute2f128_ps(a, b, 0x21));
  const __m256 cd = _mm256_add_ps(_mm256_blend_ps(c, d, 0xf0), _mm256_permute2f128_ps(c, d, 0x21));
  const __m256 pairs =  // a0+2 a1+3 c0+2 c1+3 | b.. b.. d.. d..
      _mm256_add_ps(_mm256_blend_ps(ab, cd, 0xcc), _mm256_shuffle_ps(ab, cd, 0x4e));
  const __m256 sums = _mm256_add_ps(pairs, _mm256_permute_ps(pairs, 0xb1));  // a a c c | b b d d
  return _mm_blend_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1), 0xa);
}

static inline float max_lanes(__m256 v) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

// e^x for x in [-87.3, 88], relative error at most 9e-8 (1.01 units in the last place, over one
// float in 13 of the range); below it 0, above it e^88. x = n ln 2 + r, |r| <= ln(2)/2; e^r = 1 + r
// + r^2 p(r) with p of least weighted error (3e-9), ln 2 in two parts so that r is exact.
static inline __m256 exp8(__m256 x) {
  const __m256 flushed = _mm256_cmp_ps(x, _mm256_set1_ps(-87.33654f), _CMP_LT_OQ);
  x = _mm256_min_ps(_mm256_set1_ps(88.0f), x);  // second operand is returned if x is a NaN
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
  __m256 p = _mm256_set1_ps(0x1.6a23cep-10f);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.123a20p-7f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.5558f2p-5f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.555492p-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.fffffcp-2f));
  const __m256 e = _mm256_add_ps(_mm256_fmadd_ps(_mm256_mul_ps(r, r), p, r), _mm256_set1_ps(1.0f));
  const __m256i power =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_andnot_ps(flushed, _mm256_mul_ps(e, _mm256_castsi256_ps(power)));
}

// tanh(x), relative error at most 1.5e-7: below 0.625 in magnitude x + x^3 p(x^2) with p of least
// weighted error (6e-9), else 1 - 2 / (e^(2|x|) + 1) with the sign of x.
static inline __m256 tanh8(__m256 x) {
  const __m256 sign = _mm256_and_ps(x, _mm256_set1_ps(-0.0f));
  const __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
  const __m256 z = _mm256_mul_ps(x, x);
  __m256 p = _mm256_set1_ps(-0.005528633017092943f);
  p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(0.020483314990997314f));
  p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(-0.05369296669960022f));
  p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(0.1333089917898178f));
  p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(-0.3333326280117035f));
  const __m256 near = _mm256_fmadd_ps(_mm256_mul_ps(p, z), x, x);
  const __m256 one = _mm256_set1_ps(1.0f);
  const __m256 e = exp8(_mm256_add_ps(magnitude, magnitude));
  const __m256 tail = _mm256_div_ps(_mm256_set1_ps(2.0f), _mm256_add_ps(e, one));
  const __m256 far = _mm256_or_ps(_mm256_sub_ps(one, tail), sign);
  return _mm256_blendv_ps(near, far, _mm256_cmp_ps(magnitude, _mm256_set1_ps(0.625f), _CMP_NLT_UQ));
}

}  // namespace rt::cpu
