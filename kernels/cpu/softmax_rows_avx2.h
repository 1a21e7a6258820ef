// Softmax in progress over one tile, for eight rows at a time, as softmax_rows_avx512.h has it:
// what is one number per row is computed for all of them in one vector. A row's bits are the same
// in any company.
#pragma once

#include "kernels/cpu/attention.h"
#include "kernels/cpu/lanes_avx2.h"

namespace rt::cpu {
namespace {

// The keys of a tile that each row sees: rows of one token, then of the next.
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
inline __m256 scale_row(const AttentionShape& shape, uint32_t begin, uint32_t end, float* scores) {
  const __m256 scale = _mm256_set1_ps(shape.scale);
  const __m256 cap = _mm256_set1_ps(shape.softcap);
  __m256 largest = _mm256_set1_ps(-__builtin_inff());
  for (uint32_t i = begin / 8 * 8; i < end; i += 8) {
    __m256 s = _mm256_mul_ps(_mm256_loadu_ps(scores + i), scale);
    if (shape.softcap > 0) s = _mm256_mul_ps(cap, tanh8(_mm256_div_ps(s, cap)));
    if (i < begin || i + 8 > end) s = Lanes8::only_seen(s, i, begin, end);
    _mm256_storeu_ps(scores + i, s);
    largest = _mm256_max_ps(largest, s);
  }
  return largest;
}

// Scores become weights, exp(score - largest). Returns their sum, lane by lane.
inline __m256 weigh_row(uint32_t begin, uint32_t end, float largest, float* scores) {
  const __m256 shift = _mm256_set1_ps(largest);
  __m256 sum = _mm256_setzero_ps();
  for (uint32_t i = begin / 8 * 8; i < end; i += 8) {
    const __m256 weight = exp8(_mm256_sub_ps(_mm256_loadu_ps(scores + i), shift));
    _mm256_storeu_ps(scores + i, weight);
    sum = _mm256_add_ps(sum, weight);
  }
  return sum;
}

// Of eight vectors, lane i of the result is the sum, or the largest, of the lanes of vector i.
inline __m256 sum_lanes8(const __m256* v) {
  return _mm256_setr_m128(sum_lanes(v[0], v[1], v[2], v[3]), sum_lanes(v[4], v[5], v[6], v[7]));
}
inline __m256 max_lanes8(const __m256* v) {
  __m256i m[8];
  RT_UNROLL
  for (int i = 0; i < 8; ++i) m[i] = _mm256_castps_si256(v[i]);
  Lanes8::transpose(m);
  __m256 largest = _mm256_castsi256_ps(m[0]);
  RT_UNROLL
  for (int i = 1; i < 8; ++i) largest = _mm256_max_ps(largest, _mm256_castsi256_ps(m[i]));
  return largest;
}

// Rows [r, r + count), count <= 8: scores f32[count, kTileKeys] become weights; sum_v f32[count,
// width] fades.
inline void soften_eight(const AttentionShape& shape, const SeenKeys& seen, uint32_t r,
                         uint32_t count, uint64_t width, float* scores, SoftmaxState* states,
                         float* sum_v) {
  __m256 lanes[8];
  alignas(32) float old_largest[8];
  alignas(32) float old_sum[8];
  alignas(32) float largest[8];
  alignas(32) float fade[8];
  for (uint32_t i = 0; i < 8; ++i) {
    lanes[i] = _mm256_set1_ps(-__builtin_inff());
    old_largest[i] = i < count ? states[i].largest : 0;
    old_sum[i] = i < count ? states[i].sum : 0;
  }
  for (uint32_t i = 0; i < count; ++i) {
    lanes[i] = scale_row(shape, seen.begin(r + i), seen.end(r + i), scores + i * kTileKeys);
  }
  const __m256 was = _mm256_load_ps(old_largest);
  const __m256 now = _mm256_max_ps(was, max_lanes8(lanes));
  const __m256 fades = exp8(_mm256_sub_ps(was, now));
  _mm256_store_ps(largest, now);
  _mm256_store_ps(fade, fades);
  for (uint32_t i = 0; i < count; ++i) {
    lanes[i] = weigh_row(seen.begin(r + i), seen.end(r + i), largest[i], scores + i * kTileKeys);
  }
  _mm256_store_ps(old_sum, _mm256_fmadd_ps(_mm256_load_ps(old_sum), fades, sum_lanes8(lanes)));
  for (uint32_t i = 0; i < count; ++i) {
    if (seen.begin(r + i) >= seen.end(r + i)) continue;
    states[i] = {largest[i], old_sum[i]};
    if (fade[i] == 1.0f) continue;
    float* to = sum_v + i * width;
    const __m256 factor = _mm256_set1_ps(fade[i]);
    for (uint64_t e = 0; e < width; e += 8) {
      _mm256_storeu_ps(to + e, _mm256_mul_ps(_mm256_loadu_ps(to + e), factor));
    }
  }
}

inline void soften_rows(const AttentionShape& shape, const SeenKeys& seen, uint32_t rows,
                        uint64_t width, float* scores, SoftmaxState* states, float* sum_v) {
  for (uint32_t r = 0; r < rows; r += 8) {
    const uint32_t count = rows - r < 8 ? rows - r : 8;
    soften_eight(shape, seen, r, count, width, scores + r * kTileKeys, states + r,
                 sum_v + r * width);
  }
}

}  // namespace
}  // namespace rt::cpu
