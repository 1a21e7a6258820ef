// Conversions between f32 and the two 16-bit types of weights and KV caches.
//
//   bf16: 1 sign, 8 exponent, 7 mantissa bits: the upper half of an f32
//   f16:  1 sign, 5 exponent, 10 mantissa bits (IEEE binary16)
//
// Narrowing rounds to nearest, ties to even; what is too large becomes infinity, a NaN stays a
// quiet NaN. Both agree bit for bit with the processor's own conversions (vcvtps2ph, vcvtneps2bf16
// but for its flushing of subnormals), so that a cache written by one implementation can be
// compared with that of another.
//
// Unlike sdk.hpp, this file may be included by files that are compiled for one instruction set:
// every function is `static inline`, so each file keeps its own copy, and nothing of the C++
// library is used.
#pragma once

#include <stdint.h>
#include <string.h>

#include "core/sdk/abi.h"

namespace rt::sdk {

static inline uint32_t f32_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float f32_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline float bf16_to_f32(uint16_t half) {
  return f32_of_bits((uint32_t)half << 16);
}

static inline uint16_t f32_to_bf16(float value) {
  const uint32_t bits = f32_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);  // quiet NaN
  return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static inline float f16_to_f32(uint16_t half) {
  const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
  const uint32_t exponent = half >> 10 & 0x1fu;
  const uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0x1fu) {  // infinity, or a NaN made quiet
    return f32_of_bits(sign | 0x7f800000u | mantissa << 13 | (mantissa != 0 ? 0x400000u : 0u));
  }
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24, exact in f32
    const float magnitude = (float)mantissa * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  return f32_of_bits(sign | (exponent + 112u) << 23 | mantissa << 13);
}

static inline uint16_t f32_to_f16(float value) {
  const uint32_t bits = f32_bits(value);
  const uint32_t sign = bits >> 16 & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
  if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);  // >= 65520 rounds to infinity
  if (magnitude < 0x38800000u) {
    // Below 2^-14: adding 0.5 leaves the subnormal's mantissa, rounded by the adder itself, in the
    // low bits (0.5 has a unit in the last place of 2^-24, f16's smallest step).
    const float sum = f32_of_bits(magnitude) + 0.5f;
    return (uint16_t)(sign | (f32_bits(sum) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return (uint16_t)(sign | (rounded - 0x38000000u) >> 13);
}

// Element `index` of a dense array of f32, bf16 or f16, which may be aligned to nothing. Any other
// type reads as 0 and is not written: shape rules have refused it before.
static inline float load_number(const void* array, rt_dtype dtype, uint64_t index) {
  if (dtype == RT_F32) {
    float value;
    memcpy(&value, (const unsigned char*)array + index * 4, 4);
    return value;
  }
  uint16_t half;
  memcpy(&half, (const unsigned char*)array + index * 2, 2);
  return dtype == RT_BF16 ? bf16_to_f32(half) : dtype == RT_F16 ? f16_to_f32(half) : 0.0f;
}

static inline void store_number(void* array, rt_dtype dtype, uint64_t index, float value) {
  if (dtype == RT_F32) {
    memcpy((unsigned char*)array + index * 4, &value, 4);
  } else if (dtype == RT_BF16 || dtype == RT_F16) {
    const uint16_t half = dtype == RT_BF16 ? f32_to_bf16(value) : f32_to_f16(value);
    memcpy((unsigned char*)array + index * 2, &half, 2);
  }
}

}  // namespace rt::sdk
