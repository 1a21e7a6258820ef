// Element types of weights and KV caches, and conversions between them and f32.
//
//   bf16: the upper half of an f32          f16: IEEE binary16
//
// Narrowing rounds to nearest, ties to even; NaN stays a quiet NaN. Every function is `static
// inline`: files compiled for different instruction sets include this, and each must keep its own
// copy (an ordinary inline function compiled for AVX2 could be the one the linker keeps for all).
#pragma once

#include <stdint.h>
#include <string.h>

namespace rt::cpu {

// Numbered as rt_dtype, which the plugins cast to this.
enum class Element : uint32_t { kF32 = 1, kBf16 = 2, kF16 = 3 };

static inline uint64_t element_bytes(Element element) {
  return element == Element::kF32 ? 4 : 2;
}

static inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline float widen_bf16(uint16_t half) {
  return float_of((uint32_t)half << 16);
}

// Without a branch, so that loops over it vectorise: the exponent is rebiased by a product with
// 2^112, which also makes subnormals right; infinity and NaN are rebiased a second time.
static inline float widen_f16(uint16_t half) {
  const uint32_t magnitude = (uint32_t)(half & 0x7fffu) << 13;
  const uint32_t special = magnitude >= 0x0f800000u ? 0x70000000u : 0u;
  const uint32_t quiet = magnitude > 0x0f800000u ? 0x00400000u : 0u;
  const uint32_t scaled = bits_of(float_of(magnitude) * 0x1p112f);
  const uint32_t wide = special != 0 ? (magnitude + special) | quiet : scaled;
  return float_of(wide | (uint32_t)(half & 0x8000u) << 16);
}

static inline uint16_t narrow_bf16(float value) {
  const uint32_t bits = bits_of(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);  // quiet NaN
  return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static inline uint16_t narrow_f16(float value) {
  const uint32_t bits = bits_of(value);
  const uint32_t sign = bits >> 16 & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
  if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);  // 65520 and up: infinity
  if (magnitude < 0x38800000u) {
    // Below 2^-14 the result is subnormal: a unit in the last place of 0.5f is 2^-24, f16's
    // smallest step, so the adder itself rounds the mantissa into place.
    return (uint16_t)(sign | (bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return (uint16_t)(sign | (rounded - 0x38000000u) >> 13);
}

// to[0, count) = from[first, first + count), an array of `element` that may be aligned to nothing.
static inline void widen(const void* from, Element element, uint64_t first, uint64_t count,
                         float* to) {
  const unsigned char* source = (const unsigned char*)from + first * element_bytes(element);
  if (element == Element::kF32) {
    memcpy(to, source, count * 4);
    return;
  }
  const bool bf16 = element == Element::kBf16;
  for (uint64_t i = 0; i < count; ++i) {
    uint16_t half;
    memcpy(&half, source + i * 2, 2);
    to[i] = bf16 ? widen_bf16(half) : widen_f16(half);
  }
}

// to[0, count) of `element` = from[0, count), rounded to nearest even.
static inline void narrow(const float* from, uint64_t count, Element element, void* to) {
  if (element == Element::kF32) {
    memcpy(to, from, count * 4);
    return;
  }
  const bool bf16 = element == Element::kBf16;
  for (uint64_t i = 0; i < count; ++i) {
    const uint16_t half = bf16 ? narrow_bf16(from[i]) : narrow_f16(from[i]);
    memcpy((unsigned char*)to + i * 2, &half, 2);
  }
}

}  // namespace rt::cpu
