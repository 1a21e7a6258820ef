// Softmax in progress over one tile, as softmax_rows.h has it, where the weights end as bf16: of
// exp only what bf16 keeps is computed, and scores are read twice and written once. 16 weights take
// a Zen 4 core some 15 cycles, where exp to f32's last bits, a pass that scales, one that weighs
// and one that rounds took 25. A row's bits are the same in any company.
#pragma once

#include "kernels/cpu/lanes_avx512.h"

#include "kernels/cpu/softmax_rows.h"

namespace rt::cpu {
namespace {

constexpr float kLog2E = 1.44269504f;

// 2^x with an error of 2.6e-6 of it, where bf16 rounds by up to 2e-3: a polynomial of degree 4 on
// [-1/2, 1/2], fitted for the least largest relative error. 0 below 2^-149; a NaN stays one.
inline __m512 exp2_short(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-200.0f), x);  // second operand is returned if x is a NaN
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 r = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(0x1.3997d6p-7f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.ca1444p-5f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.ec06dap-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.62e0dcp-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.ffffe8p-1f));
  return _mm512_scalef_ps(p, n);
}

// The largest of scores [begin, end), lane by lane; those beside them in a vector become -infinity.
inline __m512 largest_of_row(uint32_t begin, uint32_t end, float* scores) {
  __m512 largest = _mm512_set1_ps(-__builtin_inff());
  for (uint32_t i = begin / 16 * 16; i < end; i += 16) {
    __m512 s = _mm512_loadu_ps(scores + i);
    if (i < begin || i + 16 > end) {
      s = Lanes16::only_seen(s, i, begin, end);
      _mm512_storeu_ps(scores + i, s);
    }
    largest = Lanes16::larger(largest, s);
  }
  return largest;
}

// Scores f32[kTileKeys] become weights exp(score * scale - largest), bf16 in the first half of
// their place, 0 for keys that are not seen. Returns their sum before rounding, lane by lane.
// Products are rounded before `largest` is subtracted, as it was: so the largest score has the
// weight 1, whatever its size.
inline __m512 weigh_row_bf16(uint32_t begin, uint32_t end, float scale, float largest,
                             float* scores) {
  __m512 weights[kTileKeys / 16];
  RT_UNROLL
  for (uint32_t v = 0; v < kTileKeys / 16; ++v) {
    const bool seen = begin < end && begin < 16 * v + 16 && 16 * v < end;
    const __m512 score = _mm512_mul_ps(_mm512_loadu_ps(scores + 16 * v), _mm512_set1_ps(scale));
    const __m512 x =
        _mm512_mul_ps(_mm512_sub_ps(score, _mm512_set1_ps(largest)), _mm512_set1_ps(kLog2E));
    weights[v] = _mm512_maskz_mov_ps(seen ? 0xffff : 0, exp2_short(x));  // no branch: 1 % faster
  }
  RT_UNROLL
  for (uint32_t v = 0; v < kTileKeys / 16; v += 2) {
    _mm512_storeu_si512(scores + 8 * v, (__m512i)_mm512_cvtne2ps_pbh(weights[v + 1], weights[v]));
  }
  return _mm512_add_ps(_mm512_add_ps(weights[0], weights[1]),
                       _mm512_add_ps(weights[2], weights[3]));
}

// Rows [r, r + count), count <= 16: scores f32[count, kTileKeys] become weights; sum_v f32[count,
// width] fades.
inline void soften_some_bf16(const AttentionShape& shape, const SeenKeys& seen, uint32_t r,
                             uint32_t count, uint64_t width, float* scores, SoftmaxState* states,
                             float* sum_v) {
  const bool raw = shape.softcap <= 0 && shape.scale > 0;  // the largest score stays the largest
  const float scale = raw ? shape.scale : 1.0f;            // of what largest_of_row saw
  __m512 lanes[16];
  alignas(64) float was[16], sums[16], largest[16], fade[16];
  for (uint32_t i = 0; i < 16; ++i) {
    lanes[i] = _mm512_set1_ps(-__builtin_inff());
    was[i] = i < count ? states[i].largest : 0;
    sums[i] = i < count ? states[i].sum : 0;
  }
  const RowKeys<16> keys(seen, r, count);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t begin = keys.begin[i], end = keys.end[i];
    float* row = scores + i * kTileKeys;
    lanes[i] = raw ? largest_of_row(begin, end, row) : scale_row<Lanes16>(shape, begin, end, row);
  }
  const __m512 before = _mm512_load_ps(was);
  const __m512 found = _mm512_mul_ps(Lanes16::largest_of_each(lanes), _mm512_set1_ps(scale));
  const __m512 now = Lanes16::larger(before, found);
  const __m512 fades = Lanes16::exp(_mm512_sub_ps(before, now));
  _mm512_store_ps(largest, now);
  _mm512_store_ps(fade, fades);
  for (uint32_t i = 0; i < count; ++i) {
    lanes[i] =
        weigh_row_bf16(keys.begin[i], keys.end[i], scale, largest[i], scores + i * kTileKeys);
  }
  _mm512_store_ps(sums, _mm512_fmadd_ps(_mm512_load_ps(sums), fades, Lanes16::sum_of_each(lanes)));
  for (uint32_t i = 0; i < count; ++i) {
    if (keys.begin[i] >= keys.end[i]) continue;
    states[i] = {largest[i], sums[i]};
    fade_row<Lanes16>(fade[i], width, sum_v + i * width);
  }
}

inline void soften_rows_bf16(const AttentionShape& shape, const SeenKeys& seen, uint64_t width,
                             float* scores, SoftmaxState* states, float* sum_v) {
  for (uint32_t r = 0; r < seen.rows; r += 16) {
    const uint32_t count = seen.rows - r < 16 ? seen.rows - r : 16;
    soften_some_bf16(shape, seen, r, count, width, scores + r * kTileKeys, states + r,
                     sum_v + r * width);
  }
}

}  // namespace
}  // namespace rt::cpu
