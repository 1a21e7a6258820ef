// Rows [G, E] of a KV cache: dense elements, or integer codes with scales.
//
// core/sdk/kv_row.hpp defines the formats and computes offsets and sizes; these functions are given
// them. A value of a quantized row is code * scale rounded to f32, whoever reads it.
#pragma once

#include "kernels/cpu/number.h"

namespace rt::cpu {

// Numbered as rt_dtype, which the plugins cast to this.
enum class KvElement : uint32_t {
  kF32 = 1,
  kBf16 = 2,
  kF16 = 3,
  kInt8 = 9,
  kQ8_0 = 10,
  kQ4_0 = 11
};

constexpr uint32_t kKvBlock = 32;  // elements of q8_0 and q4_0 that share a scale

struct KvRowShape {
  KvElement element;
  uint32_t kv_heads;       // G
  uint32_t head_width;     // E
  uint32_t head_scales;    // 0: dense
  uint64_t head_bytes;     // of the codes of one head
  uint64_t scales_offset;  // from the begin of the row
};

static constexpr bool is_dense(KvElement element) {
  return element == KvElement::kF32 || element == KvElement::kBf16 || element == KvElement::kF16;
}

// Scale of elements [e, ...) of head g.
static inline float kv_scale(const KvRowShape& shape, const unsigned char* row, uint32_t g,
                             uint32_t e) {
  const unsigned char* scales = row + shape.scales_offset;
  if (shape.element == KvElement::kInt8) {
    float scale;
    memcpy(&scale, scales + uint64_t{g} * 4, 4);
    return scale;
  }
  uint16_t half;
  memcpy(&half, scales + (uint64_t{g} * shape.head_scales + e / kKvBlock) * 2, 2);
  return widen_f16(half);
}

// to[0, count) = elements [first, first + count) of head g. Of one block, if the row has blocks.
static inline void widen_codes(const KvRowShape& shape, const unsigned char* row, uint32_t g,
                               uint32_t first, uint32_t count, float* to) {
  const unsigned char* head = row + g * shape.head_bytes;
  const float scale = kv_scale(shape, row, g, first);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t e = first + i;
    const int code =
        shape.element == KvElement::kQ4_0 ? (head[e / 2] >> (e % 2 * 4) & 15) - 8 : (int8_t)head[e];
    to[i] = (float)code * scale;
  }
}

// The same for any row and any range.
static inline void widen_row(const KvRowShape& shape, const unsigned char* row, uint32_t g,
                             uint32_t first, uint32_t count, float* to) {
  if (is_dense(shape.element)) {
    return widen(row, (Element)shape.element, uint64_t{g} * shape.head_width + first, count, to);
  }
  for (uint32_t done = 0; done < count;) {
    const uint32_t rest = kKvBlock - (first + done) % kKvBlock;
    const uint32_t some = count - done < rest ? count - done : rest;
    widen_codes(shape, row, g, first + done, some, to + done);
    done += some;
  }
}

// codes[e] = round(values[e] / scale) in [low, high], ties to even; low for a NaN.
static inline void round_codes(const float* values, uint32_t count, float scale, float low,
                               float high, int32_t* codes) {
  for (uint32_t e = 0; e < count; ++e) {
    float ratio = values[e] / scale;
    ratio = ratio > high ? high : ratio;
    ratio = ratio > low ? ratio : low;
    codes[e] = (int32_t)(bits_of(ratio + 12582912.0f) - 0x4b400000u);  // 1.5 * 2^23: rounds
  }
}

// The element of largest magnitude, the first of several; a NaN is larger than infinity.
static inline float largest_element(const float* values, uint32_t count) {
  uint32_t most = 0;
  for (uint32_t e = 0; e < count; ++e) {
    const uint32_t magnitude = bits_of(values[e]) & 0x7fffffffu;
    most = magnitude > most ? magnitude : most;
  }
  for (uint32_t e = 0; e < count; ++e) {
    if ((bits_of(values[e]) & 0x7fffffffu) == most) return values[e];
  }
  return 0;
}

// At most kKvBlock elements to codes. `first` is even.
static inline void store_codes(KvElement element, const float* values, uint32_t first,
                               uint32_t count, float scale, unsigned char* head) {
  int32_t codes[kKvBlock] = {};
  const bool nibbles = element == KvElement::kQ4_0;
  if (scale != 0) round_codes(values, count, scale, nibbles ? -8 : -127, nibbles ? 7 : 127, codes);
  if (!nibbles) {
    for (uint32_t e = 0; e < count; ++e) head[first + e] = (unsigned char)codes[e];
    return;
  }
  for (uint32_t e = 0; e < count; e += 2) {
    const int32_t high = e + 1 < count ? codes[e + 1] + 8 : 0;
    head[(first + e) / 2] = (unsigned char)((codes[e] + 8) | high << 4);
  }
}

// row = values f32[G, E].
static inline void store_row(const KvRowShape& shape, const float* values, unsigned char* row) {
  const uint64_t width = uint64_t{shape.kv_heads} * shape.head_width;
  if (is_dense(shape.element)) return narrow(values, width, (Element)shape.element, row);
  const bool by_head = shape.element == KvElement::kInt8;
  for (uint32_t g = 0; g < shape.kv_heads; ++g, values += shape.head_width) {
    unsigned char* head = row + g * shape.head_bytes;
    unsigned char* scales = row + shape.scales_offset;
    float scale = 0;
    for (uint32_t e = 0; e < shape.head_width; e += kKvBlock) {
      const uint32_t left = shape.head_width - e;
      const uint32_t count = left < kKvBlock ? left : kKvBlock;
      if (by_head && e == 0) {
        scale = __builtin_fabsf(largest_element(values, shape.head_width)) / 127;
        memcpy(scales + uint64_t{g} * 4, &scale, 4);
      } else if (!by_head) {
        const float most = largest_element(values + e, count);
        const bool nibbles = shape.element == KvElement::kQ4_0;
        const uint16_t half = narrow_f16(nibbles ? most / -8 : __builtin_fabsf(most) / 127);
        memcpy(scales + (uint64_t{g} * shape.head_scales + e / kKvBlock) * 2, &half, 2);
        scale = widen_f16(half);
      }
      store_codes(shape.element, values + e, e, count, scale, head);
    }
  }
}

}  // namespace rt::cpu
