// argmax with 8 lanes: greedy sampling is one walk over the logits.
#include <immintrin.h>

#include "kernels/cpu/sample.h"

namespace rt::cpu {

// Each lane keeps its largest value and the block of 8 it came from; a strict comparison keeps the
// first of equals and never takes a NaN.
int64_t argmax_avx2(const float* logits, uint64_t count) {
  const __m256 largest = _mm256_set1_ps(__FLT_MAX__);
  __m256 best = _mm256_set1_ps(-__builtin_inff());
  __m256i block = _mm256_set1_epi32(-1);
  const uint64_t blocks = count / 8;
  for (uint64_t i = 0; i < blocks; ++i) {
    // min(x, y) is y where x is a NaN or y: the logit goes second.
    const __m256 x = _mm256_min_ps(largest, _mm256_loadu_ps(logits + 8 * i));
    const __m256 greater = _mm256_cmp_ps(x, best, _CMP_GT_OQ);
    best = _mm256_blendv_ps(best, x, greater);
    block = _mm256_blendv_epi8(block, _mm256_set1_epi32((int32_t)i), _mm256_castps_si256(greater));
  }
  float values[8];
  int32_t from[8];
  _mm256_storeu_ps(values, best);
  _mm256_storeu_si256((__m256i*)from, block);
  int64_t winner = -1;
  float value = -__builtin_inff();
  for (int64_t j = 0; j < 8; ++j) {
    if (from[j] < 0) continue;
    const int64_t id = 8 * (int64_t)from[j] + j;
    if (values[j] > value || (values[j] == value && id < winner)) {
      value = values[j];
      winner = id;
    }
  }
  for (uint64_t i = 8 * blocks; i < count; ++i) {
    const float x = logits[i] > __FLT_MAX__ ? __FLT_MAX__ : logits[i];
    if (x > value) {
      value = x;
      winner = (int64_t)i;
    }
  }
  return winner;
}

}  // namespace rt::cpu
