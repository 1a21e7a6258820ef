// What a row [G, E] of a KV cache looks like in each element type, and its bytes: one computation
// for planners, host and operators.
//
//   f32, bf16, f16   the elements, dense
//   int8             i8[G, E] codes, then f32[G] scales: one scale per head
//   q8_0             i8[G, E] codes, then f16[G, n] scales: one scale per 32 elements of a head
//   q4_0             u4[G, E] codes, then f16[G, n] scales; element e of a head is nibble e mod 2
//                    (0: the low one) of its byte e div 2, a head begins at a whole byte
//
// n = ceil(E / 32): blocks do not cross heads, and the last block of a head may be short. Scales
// begin at the next multiple of 4 bytes after the codes, and rows of quantized types are rounded up
// to 64 bytes; bytes between and behind are not written. Scales stand together at the row's end
// because a walk over codes that are interrupted by scales reached only half of the bandwidth.
//
// A block with elements x, of which m is the one of largest magnitude (the first of several):
//
//   int8, q8_0   scale = |m| / 127, code = round(x / scale) in [-127, 127], value = code * scale
//   q4_0         scale = m / -8,    code = round(x / scale) + 8 in [0, 15],
//                value = (code - 8) * scale
//
// in f32, the scale rounded to its type before it divides, rounding to nearest even. A scale of 0
// makes the block 0. An element that is not finite leaves nothing finite that is not 0 in its
// block.
//
// Like number.hpp: `static inline` and without the C++ library, for files of any instruction set.
#pragma once

#include "core/sdk/number.hpp"

namespace rt::sdk {

constexpr uint32_t kKvBlock = 32;  // elements of q8_0 and q4_0 that share a scale

struct KvRowFormat {
  rt_dtype dtype;
  uint64_t kv_heads;       // G
  uint64_t head_width;     // E
  uint64_t head_bytes;     // of the codes or elements of one head
  uint64_t head_scales;    // scales of one head; 0: dense
  uint64_t scales_offset;  // from the begin of the row
  uint64_t row_bytes;      // from one token to the next; 0: not a type of KV caches
};

static inline bool kv_is_quantized(rt_dtype dtype) {
  return dtype == RT_KV_INT8 || dtype == RT_KV_Q8_0 || dtype == RT_KV_Q4_0;
}

static inline KvRowFormat kv_row_format(rt_dtype dtype, uint64_t kv_heads, uint64_t head_width) {
  KvRowFormat format = {dtype, kv_heads, head_width, 0, 0, 0, 0};
  if (!kv_is_quantized(dtype)) {
    const uint64_t element = dtype == RT_F32 ? 4 : dtype == RT_BF16 || dtype == RT_F16 ? 2 : 0;
    format.head_bytes = head_width * element;
    format.row_bytes = kv_heads * format.head_bytes;
    return format;
  }
  const bool by_head = dtype == RT_KV_INT8;
  format.head_bytes = dtype == RT_KV_Q4_0 ? (head_width + 1) / 2 : head_width;
  format.head_scales = by_head ? 1 : (head_width + kKvBlock - 1) / kKvBlock;
  format.scales_offset = (kv_heads * format.head_bytes + 3) / 4 * 4;
  const uint64_t scale_bytes = kv_heads * format.head_scales * (by_head ? 4 : 2);
  format.row_bytes = (format.scales_offset + scale_bytes + 63) / 64 * 64;
  return format;
}

// 0 for a type that KV caches do not have.
static inline uint64_t kv_row_bytes(rt_dtype dtype, uint64_t kv_heads, uint64_t head_width) {
  return kv_row_format(dtype, kv_heads, head_width).row_bytes;
}

// round(x / scale) in [low, high], ties to even; low for a NaN, 0 if the scale is 0.
static inline int32_t kv_code(float x, float scale, float low, float high) {
  if (scale == 0) return 0;
  float ratio = x / scale;
  ratio = ratio > high ? high : ratio;
  ratio = ratio > low ? ratio : low;
  // Beside 1.5 * 2^23 the unit in the last place is 1: the adder rounds.
  return (int32_t)(f32_bits(ratio + 12582912.0f) - 0x4b400000u);
}

// Scale `index` of the row (g * head_scales + block).
static inline float kv_scale(const KvRowFormat& format, const void* row, uint64_t index) {
  const rt_dtype stored = format.dtype == RT_KV_INT8 ? RT_F32 : RT_F16;
  return load_number((const unsigned char*)row + format.scales_offset, stored, index);
}

// Elements [0, count) of one block to codes from `at` on, with scale `index` of the row.
static inline void kv_store_block(const KvRowFormat& format, const float* values, uint64_t count,
                                  uint64_t index, unsigned char* at, void* row) {
  float largest = 0;  // by magnitude, as bits: a NaN is larger than infinity
  for (uint64_t e = 0; e < count; ++e) {
    const uint32_t magnitude = f32_bits(values[e]) & 0x7fffffffu;
    if (magnitude > (f32_bits(largest) & 0x7fffffffu)) largest = values[e];
  }
  const bool nibbles = format.dtype == RT_KV_Q4_0;
  const float exact =
      nibbles ? largest / -8.0f : f32_of_bits(f32_bits(largest) & 0x7fffffffu) / 127;
  store_number((unsigned char*)row + format.scales_offset,
               format.dtype == RT_KV_INT8 ? RT_F32 : RT_F16, index, exact);
  const float scale = kv_scale(format, row, index);
  for (uint64_t e = 0; e < count; ++e) {
    if (!nibbles) {
      at[e] = (unsigned char)kv_code(values[e], scale, -127, 127);
    } else {
      const unsigned char code = (unsigned char)(kv_code(values[e], scale, -8, 7) + 8);
      at[e / 2] = e % 2 == 0 ? code : (unsigned char)(at[e / 2] | code << 4);
    }
  }
}

// row = values f32[G, E].
static inline void kv_store_row(const KvRowFormat& format, const float* values, void* row) {
  if (format.head_scales == 0) {
    for (uint64_t i = 0; i < format.kv_heads * format.head_width; ++i) {
      store_number(row, format.dtype, i, values[i]);
    }
    return;
  }
  const uint64_t block = format.dtype == RT_KV_INT8 ? format.head_width : kKvBlock;
  for (uint64_t g = 0; g < format.kv_heads; ++g) {
    unsigned char* head = (unsigned char*)row + g * format.head_bytes;
    for (uint64_t e = 0; e < format.head_width; e += block) {
      const uint64_t left = format.head_width - e;
      kv_store_block(format, values + g * format.head_width + e, left < block ? left : block,
                     g * format.head_scales + e / block,
                     head + (format.dtype == RT_KV_Q4_0 ? e / 2 : e), row);
    }
  }
}

// Element e of head g, as the double oracle and slow readers see it: the product is one rounding.
static inline float kv_load(const KvRowFormat& format, const void* row, uint64_t g, uint64_t e) {
  if (format.head_scales == 0) {
    return load_number(row, format.dtype, g * format.head_width + e);
  }
  const unsigned char* head = (const unsigned char*)row + g * format.head_bytes;
  const uint64_t block = format.dtype == RT_KV_INT8 ? 0 : e / kKvBlock;
  const float scale = kv_scale(format, row, g * format.head_scales + block);
  if (format.dtype == RT_KV_Q4_0) {
    return (float)((head[e / 2] >> (e % 2 * 4) & 15) - 8) * scale;
  }
  return (float)(int8_t)head[e] * scale;
}

}  // namespace rt::sdk
