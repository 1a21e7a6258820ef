// Softmax in progress over one tile, for sixteen rows at a time: what is one number per row (the
// largest score, the sum, the fade) is computed for all of them in one vector, where row by row
// each cost a chain of shuffles as long as the exponentials themselves. A row's bits are the same
// in any company.
#pragma once

#include "kernels/cpu/attention.h"
#include "kernels/cpu/lanes_avx512.h"
#include "kernels/cpu/vector_avx512.h"

namespace rt::cpu {
namespace {

// The keys of a tile that each row sees: rows of one token, then of the next, for each kv head.
struct SeenKeys {
  const uint32_t* begins;  // [tokens]
  const uint32_t* ends;
  uint32_t rows;   // of one kv head
  uint32_t group;  // of one token

  uint32_t begin(uint32_t r) const { return begins[r % rows / group]; }
  uint32_t end(uint32_t r) const { return ends[r % rows / group]; }
};

// Scores of keys [begin, end) are scaled and capped; those beside them in a vector become
// -infinity. Returns the largest, lane by lane.
inline __m512 scale_row(const AttentionShape& shape, uint32_t begin, uint32_t end, float* scores) {
  const __m512 scale = _mm512_set1_ps(shape.scale);
  const __m512 cap = _mm512_set1_ps(shape.softcap);
  __m512 largest = _mm512_set1_ps(-__builtin_inff());
  for (uint32_t i = begin / 16 * 16; i < end; i += 16) {
    __m512 s = _mm512_mul_ps(_mm512_loadu_ps(scores + i), scale);
    if (shape.softcap > 0) s = _mm512_mul_ps(cap, Lanes16::tanh(_mm512_div_ps(s, cap)));
    if (i < begin || i + 16 > end) s = Lanes16::only_seen(s, i, begin, end);
    _mm512_storeu_ps(scores + i, s);
    largest = _mm512_max_ps(largest, s);
  }
  return largest;
}

// Scores become weights, exp(score - largest). Returns their sum, lane by lane.
inline __m512 weigh_row(uint32_t begin, uint32_t end, float largest, float* scores) {
  const __m512 shift = _mm512_set1_ps(largest);
  __m512 sum = _mm512_setzero_ps();
  for (uint32_t i = begin / 16 * 16; i < end; i += 16) {
    const __m512 weight = Lanes16::exp(_mm512_sub_ps(_mm512_loadu_ps(scores + i), shift));
    _mm512_storeu_ps(scores + i, weight);
    sum = _mm512_add_ps(sum, weight);
  }
  return sum;
}

inline __m512 joined(__m256 low, __m256 high) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

// Rows [r, r + count), count <= 16: scores f32[count, kTileKeys] become weights; sum_v f32[count,
// width] fades.
inline void soften_sixteen(const AttentionShape& shape, const SeenKeys& seen, uint32_t r,
                           uint32_t count, uint64_t width, float* scores, SoftmaxState* states,
                           float* sum_v) {
  __m512 lanes[16];
  alignas(64) float old_largest[16];
  alignas(64) float old_sum[16];
  alignas(64) float largest[16];
  alignas(64) float fade[16];
  for (uint32_t i = 0; i < 16; ++i) {
    lanes[i] = _mm512_set1_ps(-__builtin_inff());
    old_largest[i] = i < count ? states[i].largest : 0;
    old_sum[i] = i < count ? states[i].sum : 0;
  }
  for (uint32_t i = 0; i < count; ++i) {
    lanes[i] = scale_row(shape, seen.begin(r + i), seen.end(r + i), scores + i * kTileKeys);
  }
  const __m512 was = _mm512_load_ps(old_largest);
  const __m512 now = _mm512_max_ps(was, joined(max_lanes8(lanes), max_lanes8(lanes + 8)));
  const __m512 fades = Lanes16::exp(_mm512_sub_ps(was, now));
  _mm512_store_ps(largest, now);
  _mm512_store_ps(fade, fades);
  for (uint32_t i = 0; i < count; ++i) {
    lanes[i] = weigh_row(seen.begin(r + i), seen.end(r + i), largest[i], scores + i * kTileKeys);
  }
  const __m512 sum = _mm512_fmadd_ps(_mm512_load_ps(old_sum), fades,
                                     joined(sum_lanes8(lanes), sum_lanes8(lanes + 8)));
  _mm512_store_ps(old_sum, sum);
  for (uint32_t i = 0; i < count; ++i) {
    if (seen.begin(r + i) >= seen.end(r + i)) continue;
    states[i] = {largest[i], old_sum[i]};
    if (fade[i] == 1.0f) continue;
    float* to = sum_v + i * width;
    const __m512 factor = _mm512_set1_ps(fade[i]);
    for (uint64_t e = 0; e < width; e += 16) {
      _mm512_storeu_ps(to + e, _mm512_mul_ps(_mm512_loadu_ps(to + e), factor));
    }
  }
}

inline void soften_rows(const AttentionShape& shape, const SeenKeys& seen, uint32_t rows,
                        uint64_t width, float* scores, SoftmaxState* states, float* sum_v) {
  for (uint32_t r = 0; r < rows; r += 16) {
    const uint32_t count = rows - r < 16 ? rows - r : 16;
    soften_sixteen(shape, seen, r, count, width, scores + r * kTileKeys, states + r,
                   sum_v + r * width);
  }
}

}  // namespace
}  // namespace rt::cpu
