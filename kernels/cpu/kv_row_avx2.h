// Rows of a KV cache widened to f32, eight elements at a time.
//
// For files compiled with -mavx2 -mfma -mf16c only (vector_avx2.h).
#pragma once

#include "kernels/cpu/kv_row.h"
#include "kernels/cpu/vector_avx2.h"

namespace rt::cpu {

// Codes of elements [e, e + 8) of a head as f32; of the last ones if `count` < 8.
template <KvElement element>
static inline __m256 load_codes(const unsigned char* head, uint64_t e, uint64_t count) {
  if constexpr (element == KvElement::kQ4_0) {
    uint32_t nibbles = 0;
    memcpy(&nibbles, head + e / 2, count == 8 ? 4 : (count + 1) / 2);
    const __m256i shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    const __m256i codes = _mm256_and_si256(
        _mm256_srlv_epi32(_mm256_set1_epi32((int)nibbles), shifts), _mm256_set1_epi32(15));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(codes, _mm256_set1_epi32(8)));
  } else {
    uint64_t bytes = 0;
    memcpy(&bytes, head + e, count == 8 ? 8 : count);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128((long long)bytes)));
  }
}

// `count` elements of head g of a quantized row to `to`, then zeros up to a multiple of 8.
template <KvElement element>
static inline void widen_head(const KvRowShape& shape, const unsigned char* row, uint32_t g,
                              float* to) {
  const unsigned char* head = row + g * shape.head_bytes;
  for (uint32_t block = 0; block < shape.head_width; block += kKvBlock) {
    const __m256 scale = _mm256_set1_ps(kv_scale(shape, row, g, block));
    const uint32_t rest = shape.head_width - block;
    const uint32_t end = block + (rest < kKvBlock ? rest : kKvBlock);
    uint32_t e = block;
    for (; e + 8 <= end; e += 8) {
      _mm256_storeu_ps(to + e, _mm256_mul_ps(load_codes<element>(head, e, 8), scale));
    }
    if (e == end) continue;
    // A missing nibble is the code of -8, and a scale need not be finite: lanes behind are cut off.
    float lanes[8];
    _mm256_storeu_ps(lanes, _mm256_mul_ps(load_codes<element>(head, e, end - e), scale));
    for (uint32_t lane = end - e; lane < 8; ++lane) lanes[lane] = 0;
    memcpy(to + e, lanes, sizeof lanes);
  }
}

// Elements of head g of a row of any type to f32[E'], E' = E rounded up to 8.
template <KvElement element>
static inline void widen_any_head(const KvRowShape& shape, const unsigned char* row, uint32_t g,
                                  float* to) {
  if constexpr (!is_dense(element)) {
    widen_head<element>(shape, row, g, to);
  } else {
    constexpr Element kType = (Element)element;
    const unsigned char* head = row + g * shape.head_bytes;
    uint64_t e = 0;
    for (; e + 8 <= shape.head_width; e += 8) {
      _mm256_storeu_ps(to + e, load<kType>(head + e * kBytes<kType>));
    }
    if (e < shape.head_width) {
      _mm256_storeu_ps(to + e, load_part<kType>(head + e * kBytes<kType>, shape.head_width - e));
    }
  }
}

}  // namespace rt::cpu
