// Quantized weights [N, K] as kernels see them. core/sdk/weight_format.hpp defines the formats and
// computes offsets; plugins/quantized_linear turns them into this struct.
#pragma once

#include "kernels/cpu/number.h"

namespace rt::cpu {

// Numbered as rt_dtype, which the plugin casts to this.
enum class Codes : uint32_t { kInt8 = 12, kNf4 = 13, kNf4Dq = 14 };

// alignas: one register of 512 bits, or two of 256.
alignas(64) constexpr float kNf4Values[16] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

constexpr uint64_t kScaleBlock = 64;     // elements of nf4 that share a scale, where 64 divides K
constexpr uint64_t kNestedScales = 256;  // scales of nf4-dq that share a nested one
constexpr float kInt8Scale = 0x1.020408p-7f;  // f32(1/127)

// Element k of a row is codes[k] (int8), or a nibble of codes[k / 2], the high one where k is even.
// Its value is the code's own (the number, kNf4Values) times the scale of its block.
struct QuantizedMatrix {
  Codes kind;
  uint64_t columns;             // K
  uint64_t block;               // elements of a row that share a scale
  uint64_t row_scales;          // K / block
  uint64_t row_bytes;           // of codes
  const unsigned char* codes;   // [N, row_bytes]
  const unsigned char* scales;  // f32[N, row_scales]; int8: times 127; nf4-dq: u8, an index of map
  const float* map;             // nf4-dq: scale i is map[scales[i]] * nested[(phase + i) / 256]
  const float* nested;          //         + offset, two roundings
  uint64_t phase;
  float offset;
};

static inline bool is_nf4(const QuantizedMatrix& w) {
  return w.kind != Codes::kInt8;
}

static inline float scale_of(const QuantizedMatrix& w, uint64_t row, uint64_t block) {
  const uint64_t at = row * w.row_scales + block;
  if (w.kind == Codes::kNf4Dq) {
    const float product = w.map[w.scales[at]] * w.nested[(w.phase + at) / kNestedScales];
    return product + w.offset;
  }
  float scale;
  memcpy(&scale, w.scales + at * sizeof(float), sizeof scale);
  return w.kind == Codes::kInt8 ? scale * kInt8Scale : scale;
}

// to[0, count) = elements [first, first + count) of a row, code * scale rounded to f32.
static inline void widen_weight(const QuantizedMatrix& w, uint64_t row, uint64_t first,
                                uint64_t count, float* to) {
  const unsigned char* codes = w.codes + row * w.row_bytes;
  const uint64_t end = first + count;
  for (uint64_t k = first, next; k < end; k = next) {
    const float scale = scale_of(w, row, k / w.block);
    next = (k / w.block + 1) * w.block;
    next = next < end ? next : end;
    if (w.kind == Codes::kInt8) {
      for (uint64_t i = k; i < next; ++i) *to++ = (float)(int8_t)codes[i] * scale;
    } else {
      for (uint64_t i = k; i < next; ++i) {
        *to++ = kNf4Values[codes[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15] * scale;
      }
    }
  }
}

}  // namespace rt::cpu
