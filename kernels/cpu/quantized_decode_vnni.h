// Products of few tokens with weights of nf4 in integers, AVX-512 VNNI: values as
// quantized_linear_vnni.cc says, rows read as quantized_decode_avx512.h does.
//
// 64 bytes of a row are 128 elements, two blocks: 7 operations decode and multiply them, where f32
// takes 24. A block's sum must be whole before its scale enters, as with many tokens: that of eight
// rows together costs 22 more, less than 3 a row.
//
// For files compiled for AVX-512 with VNNI; all functions are `static inline`.
#pragma once

#include "kernels/cpu/quantized_integer_avx512.h"

namespace rt::cpu {

static inline __m512i add_pairs(__m512i a, __m512i b) {
  return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}
static inline __m512i add_quads(__m512i ab, __m512i cd) {
  return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

// Eight vectors: lane r of the result is the sum of the lower half of v[r], lane 8 + r of the
// upper.
static inline __m512i sum_halves8(const __m512i* v) {
  const __m512i abcd = add_quads(add_pairs(v[0], v[1]), add_pairs(v[2], v[3]));
  const __m512i efgh = add_quads(add_pairs(v[4], v[5]), add_pairs(v[6], v[7]));
  const __m512i sums = _mm512_add_epi32(_mm512_shuffle_i32x4(abcd, efgh, 0x88),
                                        _mm512_shuffle_i32x4(abcd, efgh, 0xdd));
  return _mm512_shuffle_i32x4(sums, sums, 0xd8);
}

// f32[16 blocks][8 rows]
struct TurnedScales {
  alignas(64) float of[kScaleColumns / kScaleBlock][kRows];
};

// Scales of the blocks from element `first`; 0 beyond the row.
static inline void turn_scales(const QuantizedMatrix& w, const WeightRows& rows, uint64_t first,
                               TurnedScales& to) {
  RunScales scales;
  load_scales(w, rows, first, scales);
  for (uint64_t i = 0; i < kScaleColumns / kScaleBlock; ++i) {
    RT_UNROLL
    for (uint64_t r = 0; r < kRows; ++r) to.of[i][r] = scales.of[r][i];
  }
}

// The codes of x that meet the even and the odd elements of a chunk.
static inline NibbleCodes chunk_of(const int8_t* x) {
  const __m512i a = _mm512_load_si512(x);
  const __m512i b = _mm512_load_si512(x + 64);
  return {_mm512_shuffle_i32x4(a, b, 0x44), _mm512_shuffle_i32x4(a, b, 0xee)};
}

// sums i32 of two blocks of eight rows; `scales` f32[2][8].
static inline void add_blocks(__m512i sums, const int32_t* corrections, const float* scales,
                              __m256* total) {
  const __m256i one =
      _mm256_add_epi32(_mm512_castsi512_si256(sums), _mm256_set1_epi32(corrections[0]));
  const __m256i two =
      _mm256_add_epi32(_mm512_extracti32x8_epi32(sums, 1), _mm256_set1_epi32(corrections[1]));
  *total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(one), _mm256_load_ps(scales), *total);
  *total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(two), _mm256_load_ps(scales + kRows), *total);
}

// The chunk from element k, for tokens [t, t + M).
template <int M>
static inline void integer_chunk(const QuantizedMatrix& w, const WeightRows& rows,
                                 const IntegerTokens& x, uint64_t t, uint64_t k,
                                 const float* scales, __m256* totals) {
  const __mmask64 bytes = w.columns - k < kChunk ? 0xffffffffu : ~__mmask64{0};
  NibbleCodes token[M];
  RT_UNROLL
  for (int m = 0; m < M; ++m) token[m] = chunk_of(x.run(k / kRun * kRun, t + m) + k % kRun);
  __m512i sums[M][kRows];
  RT_UNROLL
  for (uint64_t r = 0; r < kRows; ++r) {
    const NibbleCodes codes = nf4_lookup(_mm512_maskz_loadu_epi8(bytes, rows.codes[r] + k / 2));
    RT_UNROLL
    for (int m = 0; m < M; ++m) {
      const __m512i even = _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes.even, token[m].even);
      sums[m][r] = _mm512_dpbusd_epi32(even, codes.odd, token[m].odd);
    }
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    const int32_t* corrections = x.corrections + (t + m) * x.blocks + k / kScaleBlock;
    add_blocks(sum_halves8(sums[m]), corrections, scales, &totals[m]);
  }
}

template <int M>
static inline void integer_rows(const QuantizedMatrix& w, const WeightRows& rows,
                                const IntegerTokens& x, uint64_t t, float* out, uint64_t stride) {
  TurnedScales scales;
  __m256 totals[M] = {};
  for (uint64_t k = 0; k < w.columns; k += kChunk) {
    if (k % kScaleColumns == 0) turn_scales(w, rows, k, scales);
    fetch_codes(rows, k / 2);
    integer_chunk<M>(w, rows, x, t, k, scales.of[k % kScaleColumns / kScaleBlock], totals);
  }
  for (int m = 0; m < M; ++m) {
    const float scale = x.scales[t + m] * kInt8Scale;
    _mm256_mask_storeu_ps(out + (t + m) * stride, rows.lanes,
                          _mm256_mul_ps(totals[m], _mm256_set1_ps(scale)));
  }
}

static inline void integer_rows(const QuantizedMatrix& w, const WeightRows& rows,
                                const IntegerTokens& x, float* out, uint64_t stride) {
  uint64_t t = 0;
  for (; t + 2 <= x.tokens; t += 2) integer_rows<2>(w, rows, x, t, out, stride);
  if (t < x.tokens) integer_rows<1>(w, rows, x, t, out, stride);
}

// All tokens and rows [begin, end).
static inline void few_in_integers(const QuantizedMatrix& w, const IntegerTokens& x, uint64_t begin,
                                   uint64_t end, float* out, uint64_t stride) {
  for_rows(w, begin, end, [&](const WeightRows& rows, uint64_t at) {
    integer_rows(w, rows, x, out + at, stride);
  });
}

}  // namespace rt::cpu
