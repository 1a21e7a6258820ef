// Rows of a KV cache widened to f32, eight elements at a time.
//
// For files compiled with -mavx2 -mfma -mf16c only (vector_avx2.h).
#pragma once

#include "kernels/cpu/kv_row.h"
#include "kernels/cpu/vector_avx2.h"

namespace rt::cpu {

// Eight elements or codes at p as f32. `count` < 8: the first ones, the others
// are not used.
template <KvElement element>
static inline __m256 load_kv(const unsigned char* p, uint64_t count = 8) {
  if constexpr (is_dense(element)) {
    constexpr Element kType = (Element)element;
    return count == 8 ? load<kType>(p) : load_part<kType>(p, count);
  } else if constexpr (element == KvElement::kQ4_0) {
    uint32_t nibbles = 0;
    memcpy(&nibbles, p, count == 8 ? 4 : (count + 1) / 2);
    const __m256i shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    const __m256i codes = _mm256_and_si256(
        _mm256_srlv_epi32(_mm256_set1_epi32((int)nibbles), shifts), _mm256_set1_epi32(15));
    return _mm256_cvtepi32_ps(codes);
  } else {
    uint64_t bytes = 0;
    memcpy(&bytes, p, count == 8 ? 8 : count);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128((long long)bytes)));
  }
}

// Types whose values are made block by block; int8's one scale per head
// multiplies scores and weights instead.
static constexpr bool has_blocks(KvElement element) {
  return element == KvElement::kQ8_0 || element == KvElement::kQ4_0;
}

// Bytes of eight elements.
template <KvElement element>
static constexpr uint64_t kEightBytes = element == KvElement::kF32    ? 32
                                        : element == KvElement::kQ4_0 ? 4
                                        : is_dense(element)           ? 16
                                                                      : 8;

// The scale of one block in all lanes, for code * scale in one rounding; q4_0
// as code * scale - 8 * scale, where only the sum rounds. Nothing for types
// without blocks.
template <KvElement element>
struct BlockScale {
  __m256 scale = _mm256_setzero_ps();
  __m256 offset = _mm256_setzero_ps();

  // `scales`: of the head.
  inline void find(const unsigned char* scales, uint64_t block) {
    if constexpr (has_blocks(element)) {
      int16_t half;
      memcpy(&half, scales + 2 * block, 2);
      scale = _mm256_cvtph_ps(_mm_set1_epi16(half));
    }
    if constexpr (element == KvElement::kQ4_0) offset = _mm256_mul_ps(scale, _mm256_set1_ps(-8));
  }
  inline __m256 apply(__m256 codes) const {
    if constexpr (element == KvElement::kQ4_0) return _mm256_fmadd_ps(codes, scale, offset);
    if constexpr (element == KvElement::kQ8_0) return _mm256_mul_ps(codes, scale);
    return codes;
  }
};

// Elements [e, end) of a head to `to`, then zeros up to a multiple of 8; of one
// block, if there are.
template <KvElement element>
static inline void widen_part(const unsigned char* head, uint64_t e, uint64_t end,
                              const BlockScale<element>& scale, float* to) {
  for (; e + 8 <= end; e += 8) {
    _mm256_storeu_ps(to + e, scale.apply(load_kv<element>(head + e / 8 * kEightBytes<element>)));
  }
  if (e == end) return;
  const __m256 rest = scale.apply(load_kv<element>(head + e / 8 * kEightBytes<element>, end - e));
  memset(to + e, 0,
         8 * sizeof(float));  // a missing nibble is -8, and a scale need not be finite
  store_part(to + e, rest, end - e);
}

// Head g of a row to f32[E'], E' = E rounded up to 8, then zeros; without
// int8's scale.
template <KvElement element>
static inline void widen_head(const KvRowShape& shape, const unsigned char* row, uint32_t g,
                              float* to) {
  const unsigned char* head = row + g * shape.head_bytes;
  const uint64_t width = shape.head_width;
  BlockScale<element> scale;
  if constexpr (!has_blocks(element)) {
    widen_part<element>(head, 0, width, scale, to);
  } else {
    const unsigned char* scales = row + shape.scales_offset + uint64_t{g} * shape.head_scales * 2;
    for (uint64_t e = 0; e < width; e += kKvBlock) {
      scale.find(scales, e / kKvBlock);
      if (e + kKvBlock <= width) {
        widen_part<element>(head, e, e + kKvBlock, scale, to);
      } else {
        widen_part<element>(head, e, width, scale, to);
      }
    }
  }
}

}  // namespace rt::cpu
