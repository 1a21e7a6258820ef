// Attention with AVX2: attention_tile.h on vectors of eight, and what comes before and after tiles.
#include "kernels/cpu/lanes_avx2.h"

#include "kernels/cpu/attention_tile.h"

namespace rt::cpu {

void load_queries_avx2(const AttentionShape& shape, const QueryBlock& block, const float* q) {
  const uint64_t width = padded_width(shape.head_width);
  const uint32_t group = shape.heads / shape.kv_heads;
  float* to = block.q;
  for (uint32_t g = block.kv_begin; g < block.kv_end; ++g) {
    for (uint32_t t = 0; t < block.tokens; ++t) {
      const float* from = q + (uint64_t{t} * shape.heads + uint64_t{g} * group) * shape.head_width;
      for (uint32_t j = 0; j < group; ++j, from += shape.head_width, to += width) {
        memcpy(to, from, shape.head_width * sizeof(float));
        memset(to + shape.head_width, 0, (width - shape.head_width) * sizeof(float));
      }
    }
  }
}

void reset_avx2(const AttentionShape& shape, const QueryBlock& block) {
  const uint64_t rows =
      uint64_t{block.tokens} * (block.kv_end - block.kv_begin) * (shape.heads / shape.kv_heads);
  memset(block.sum_v, 0, rows * padded_width(shape.head_width) * sizeof(float));
  for (uint64_t r = 0; r < rows; ++r) block.states[r] = {-__builtin_inff(), 0};
}

void attend_avx2(const AttentionShape& shape, const KeyTile& tile, const uint32_t* begins,
                 const uint32_t* ends, const QueryBlock& block) {
  attend<Lanes8>(shape, tile, begins, ends, block);
}

void merge_avx2(uint64_t width, const SoftmaxState& later, const float* later_sum_v,
                SoftmaxState* state, float* sum_v) {
  const float largest = later.largest > state->largest ? later.largest : state->largest;
  const float fade = _mm256_cvtss_f32(exp8(_mm256_set1_ps(state->largest - largest)));
  const float later_fade = _mm256_cvtss_f32(exp8(_mm256_set1_ps(later.largest - largest)));
  const __m256 f = _mm256_set1_ps(fade);
  const __m256 l = _mm256_set1_ps(later_fade);
  for (uint64_t e = 0; e < width; e += 8) {
    const __m256 now = _mm256_mul_ps(_mm256_loadu_ps(sum_v + e), f);
    _mm256_storeu_ps(sum_v + e, _mm256_fmadd_ps(_mm256_loadu_ps(later_sum_v + e), l, now));
  }
  *state = {largest, __builtin_fmaf(later.sum, later_fade, state->sum * fade)};
}

void finish_avx2(uint64_t width, const SoftmaxState& state, const float* sum_v, float* out) {
  const __m256 sum = _mm256_set1_ps(state.sum);
  uint64_t e = 0;
  for (; e + 8 <= width; e += 8) {
    _mm256_storeu_ps(out + e, _mm256_div_ps(_mm256_loadu_ps(sum_v + e), sum));
  }
  if (e < width) store_part(out + e, _mm256_div_ps(_mm256_loadu_ps(sum_v + e), sum), width - e);
}

}  // namespace rt::cpu
