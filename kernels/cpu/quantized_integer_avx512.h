// x of products in integers: each token as i8 codes and one scale, of which code * code is exact.
//
//   scale = largest / 127, code = round(x / scale): 1/254 of a token's largest element is the most
//   that an element errs
//
// Weights enter vpdpbusd as u8, 128 above their codes; the 128 that each code of x meets too often
// is known beforehand: a correction for each block of x.
//
// For files compiled for AVX-512 with VNNI; all functions are `static inline`.
#pragma once

#include "kernels/cpu/quantized_decode_avx512.h"

namespace rt::cpu {

constexpr uint64_t kMostColumns = 1 << 16;  // 2^16 * 255 * 128 < 2^31

// i8[runs][tokens][kRun], zeros beyond K; nf4: of each block of 64 first the even elements, as
// nibbles lie. Then f32[tokens], then i32[tokens][blocks].
struct IntegerTokens {
  int8_t* codes;
  float* scales;
  int32_t* corrections;  // -128 * the sum of a block's codes
  uint64_t tokens;
  uint64_t blocks;  // int8: 1, the row; nf4: of 64

  const int8_t* run(uint64_t first, uint64_t token) const {
    return codes + first * tokens + token * kRun;
  }
};

static inline uint64_t whole_runs(const QuantizedMatrix& w) {
  return (w.columns + kRun - 1) / kRun * kRun;
}

static inline uint64_t integer_blocks(const QuantizedMatrix& w) {
  return is_nf4(w) ? (w.columns + kChunk - 1) / kChunk * 2 : 1;
}

static inline uint64_t integer_bytes(const QuantizedMatrix& w, uint64_t tokens) {
  return tokens * (whole_runs(w) + sizeof(float) + integer_blocks(w) * sizeof(int32_t));
}

static inline IntegerTokens integer_tokens(const QuantizedMatrix& w, const void* prepared,
                                           uint64_t tokens) {
  int8_t* codes = (int8_t*)prepared;
  float* scales = (float*)(codes + tokens * whole_runs(w));
  return {codes, scales, (int32_t*)(scales + tokens), tokens, integer_blocks(w)};
}

static inline float largest_magnitude(const float* x, uint64_t count) {
  __m512 largest = _mm512_setzero_ps();
  for (uint64_t k = 0; k < count; k += 16) {
    const __mmask16 lanes = count - k < 16 ? first_lanes(count - k) : (__mmask16)0xffff;
    largest = _mm512_max_ps(_mm512_abs_ps(_mm512_maskz_loadu_ps(lanes, x + k)), largest);
  }
  return _mm512_reduce_max_ps(largest);
}

// Codes of the first `count` of 64 elements; 0 beyond.
static inline __m512i codes_of(const float* x, uint64_t count, float inverse) {
  __m512i codes = _mm512_setzero_si512();
  RT_UNROLL
  for (uint64_t i = 0; i < 4; ++i) {
    const uint64_t left = 16 * i < count ? count - 16 * i : 0;
    const __mmask16 lanes = left < 16 ? first_lanes(left) : (__mmask16)0xffff;
    const __m512 scaled =
        _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + 16 * i), _mm512_set1_ps(inverse));
    const __m128i some = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(scaled));
    codes = _mm512_mask_broadcast_i32x4(codes, (__mmask16)(15 << 4 * i), some);
  }
  return codes;
}

static inline __m512i evens_first(__m512i codes) {
  const __m256i even = _mm512_cvtepi16_epi8(codes);
  const __m256i odd = _mm512_cvtepi16_epi8(_mm512_srli_epi16(codes, 8));
  return _mm512_inserti64x4(_mm512_castsi256_si512(even), odd, 1);
}

// One token x f32[K].
static inline void prepare_token(const QuantizedMatrix& w, const float* x, const IntegerTokens& to,
                                 uint64_t token) {
  const float largest = largest_magnitude(x, w.columns);
  const float inverse = largest == 0 ? 0 : 127 / largest;
  to.scales[token] = largest / 127;
  int32_t* corrections = to.corrections + token * to.blocks;
  memset(corrections, 0, to.blocks * sizeof(int32_t));
  const __m512i ones = _mm512_set1_epi8(1);
  for (uint64_t k = 0; k < whole_runs(w); k += kScaleBlock) {
    const uint64_t left = k < w.columns ? w.columns - k : 0;
    __m512i codes = codes_of(x + k, left, inverse);
    const __m512i sums = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, codes);
    if (left > 0)
      corrections[is_nf4(w) ? k / kScaleBlock : 0] -= 128 * _mm512_reduce_add_epi32(sums);
    if (is_nf4(w)) codes = evens_first(codes);
    _mm512_storeu_si512((void*)(to.run(k / kRun * kRun, token) + k % kRun), codes);
  }
}

// --- nf4's values in 127ths

struct Nf4Codes {
  alignas(64) uint8_t above[64];  // 128 + round(127 * value), four times
};

constexpr Nf4Codes nf4_codes() {
  Nf4Codes codes{};
  for (int i = 0; i < 64; ++i) {
    const float value = 127 * kNf4Values[i % 16];
    codes.above[i] = (uint8_t)(128 + (int)(value < 0 ? value - 0.5f : value + 0.5f));
  }
  return codes;
}
inline constexpr Nf4Codes kNf4Codes = nf4_codes();

// The even and the odd elements of 64 bytes of nibbles.
struct NibbleCodes {
  __m512i even, odd;
};

static inline NibbleCodes nf4_lookup(__m512i bytes) {
  const __m512i table = _mm512_load_si512(kNf4Codes.above);
  const __m512i low = _mm512_set1_epi8(15);
  return {_mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low)),
          _mm512_shuffle_epi8(table, _mm512_and_si512(bytes, low))};
}

}  // namespace rt::cpu
