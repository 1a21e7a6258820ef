// Codes and scales of quantized weights in registers of 512 bits.
//
// nf4: a chunk is 128 elements, 64 bytes, seen as 16 lanes of 8 nibbles. vpermps looks at the low 4
// bits of each lane, so step i of a chunk needs them brought down to the lanes' low ends: by
// shifts, and for the upper half by loading 2 bytes further, across a line. (A load for every
// second step saves 2 more of 24 operations on two ports, and is 3 % slower from memory; shifts
// alone are 2 % slower.) A byte's high nibble is the even element: step i is element 8 j + (i ^ 1)
// of lane j, and x is prepared in that order. Lanes 0-7 and 8-15 are blocks of one scale each.
//
// For files compiled for AVX-512 (F, BW, DQ, VL); all functions are `static inline`.
#pragma once

// g++ 12 takes the undefined registers in its own headers for mistakes (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include "kernels/cpu/quantized_weight.h"
#include "kernels/cpu/vector_avx512.h"

namespace rt::cpu {

constexpr uint64_t kChunk = 128;

// Step i of the chunk at `codes`: the codes' own values. `lanes`: 0xffff, or 0xff for half a chunk;
// then, too, at most 2 bytes beyond the codes are read, which are scales.
static inline __m512 nf4_step(const unsigned char* codes, __mmask16 lanes, int i) {
  __m512i nibbles = _mm512_maskz_loadu_epi32(lanes, codes + i / 4 * 2);
  if (i % 4 != 0) nibbles = _mm512_srli_epi32(nibbles, i % 4 * 4);
  return _mm512_permutexvar_ps(nibbles, _mm512_load_ps(kNf4Values));
}

// The 256 values that nf4-dq's scales are codes of, for lookups.
struct ScaleMap {
  __m512 of[16];
};

static inline ScaleMap scale_map(const QuantizedMatrix& w) {
  ScaleMap map;
  RT_UNROLL
  for (int i = 0; i < 16; ++i) map.of[i] = _mm512_loadu_ps(w.map + 16 * i);
  return map;
}

// Eight lookups among 32 values, of which three bits choose one: 18 operations, where a Zen 4 core
// gathers 16 values in some 50 cycles.
static inline __m512 look_up(const ScaleMap& map, __m512i codes) {
  __m512 found[8];
  RT_UNROLL
  for (int i = 0; i < 8; ++i) {
    found[i] = _mm512_permutex2var_ps(map.of[2 * i], codes, map.of[2 * i + 1]);
  }
  const auto choose = [&](int n, int bit) __attribute__((always_inline)) {
    const __mmask16 odd = _mm512_test_epi32_mask(codes, _mm512_set1_epi32(bit));
    RT_UNROLL
    for (int i = 0; i < n; ++i) {
      found[i] = _mm512_mask_mov_ps(found[2 * i], odd, found[2 * i + 1]);
    }
  };
  choose(4, 32);
  choose(2, 64);
  choose(1, 128);
  return found[0];
}

// nf4: scales [first, first + count) of all, count <= 16; the rest is 0.
static inline __m512 plain_scales(const QuantizedMatrix& w, uint64_t first, uint64_t count) {
  const __mmask16 lanes = (__mmask16)((1u << count) - 1);
  return _mm512_maskz_loadu_ps(lanes, w.scales + first * sizeof(float));
}

// The same of nf4-dq. They lie in at most two nested blocks.
static inline __m512 nested_scales(const QuantizedMatrix& w, const ScaleMap& map, uint64_t first,
                                   uint64_t count) {
  const __mmask16 lanes = (__mmask16)((1u << count) - 1);
  const __m512i codes = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, w.scales + first));
  const uint64_t at = w.phase + first;
  const uint64_t left = kNestedScales - at % kNestedScales;
  __m512 nested = _mm512_set1_ps(w.nested[at / kNestedScales]);
  if (left < count) {
    nested = _mm512_mask_mov_ps(nested, (__mmask16)(0xffffu << left),
                                _mm512_set1_ps(w.nested[at / kNestedScales + 1]));
  }
  const __m512 product = _mm512_mul_ps(look_up(map, codes), nested);
  return _mm512_maskz_add_ps(lanes, product, _mm512_set1_ps(w.offset));
}

static inline __m512 nf4_scales(const QuantizedMatrix& w, uint64_t first, uint64_t count) {
  if (w.kind == Codes::kNf4) return plain_scales(w, first, count);
  return nested_scales(w, scale_map(w), first, count);
}

// Where 16 scales have those of chunk c: of its two blocks, for eight lanes each.
static inline __m512i chunk_places(uint64_t c) {
  const __m512i halves = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  return _mm512_add_epi32(halves, _mm512_set1_epi32((int)(2 * c)));
}

static inline __m512 chunk_scales(__m512 scales, uint64_t c) {
  return _mm512_permutexvar_ps(chunk_places(c), scales);
}

// Sixteen codes of int8, of which `lanes` exist.
static inline __m512 int8_step(const unsigned char* codes, __mmask16 lanes) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes, codes)));
}

}  // namespace rt::cpu
