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

// Scales [first, first + count) of all, count <= 16; the rest is 0.
static inline __m512 nf4_scales(const QuantizedMatrix& w, uint64_t first, uint64_t count) {
  const __mmask16 lanes = (__mmask16)((1u << count) - 1);
  if (w.kind == Codes::kNf4) return _mm512_maskz_loadu_ps(lanes, w.scales + first * sizeof(float));
  const __m512i codes = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, w.scales + first));
  const __m512 map = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), lanes, codes, w.map, 4);
  // 16 scales lie in at most two nested blocks.
  const uint64_t at = w.phase + first;
  const uint64_t left = kNestedScales - at % kNestedScales;
  __m512 nested = _mm512_set1_ps(w.nested[at / kNestedScales]);
  if (left < count) {
    nested = _mm512_mask_mov_ps(nested, (__mmask16)(0xffffu << left),
                                _mm512_set1_ps(w.nested[at / kNestedScales + 1]));
  }
  return _mm512_maskz_add_ps(lanes, _mm512_mul_ps(map, nested), _mm512_set1_ps(w.offset));
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
