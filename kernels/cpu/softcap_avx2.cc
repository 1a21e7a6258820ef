// softcap, eight at a time; the last elements go through the same code, so their bits do not depend
// on where a range ends.
#include "kernels/cpu/softcap.h"
#include "kernels/cpu/vector_avx2.h"

namespace rt::cpu {

void softcap_avx2(const float* x, uint64_t count, float cap, float* out) {
  const __m256 c = _mm256_set1_ps(cap);
  uint64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256 v = _mm256_div_ps(_mm256_loadu_ps(x + i), c);
    _mm256_storeu_ps(out + i, _mm256_mul_ps(c, tanh8(v)));
  }
  if (i < count) {
    const __m256 v = _mm256_div_ps(load_part<Element::kF32>(x + i, count - i), c);
    store_part(out + i, _mm256_mul_ps(c, tanh8(v)), count - i);
  }
}

}  // namespace rt::cpu
