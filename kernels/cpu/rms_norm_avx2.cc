// rms_norm: two walks over a row that fits the first-level cache.
#include "kernels/cpu/rms_norm.h"
#include "kernels/cpu/vector_avx2.h"

namespace rt::cpu {
namespace {

// Four chains of eight lanes: one would wait 4 cycles for each addition.
float mean_square(const float* x, uint64_t width) {
  __m256 chains[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                      _mm256_setzero_ps()};
  uint64_t i = 0;
  for (; i + 32 <= width; i += 32) {
    for (int c = 0; c < 4; ++c) {
      const __m256 v = _mm256_loadu_ps(x + i + 8 * c);
      chains[c] = _mm256_fmadd_ps(v, v, chains[c]);
    }
  }
  for (; i < width; i += 8) {
    const __m256 v =
        i + 8 <= width ? _mm256_loadu_ps(x + i) : load_part<Element::kF32>(x + i, width - i);
    chains[0] = _mm256_fmadd_ps(v, v, chains[0]);
  }
  return sum_lanes(_mm256_add_ps(_mm256_add_ps(chains[0], chains[1]),
                                 _mm256_add_ps(chains[2], chains[3]))) /
         (float)width;
}

template <Element element>
void rows_of(const float* x, uint64_t rows, uint64_t width, const RmsNormWeight& weight, float eps,
             float* out) {
  const unsigned char* w = (const unsigned char*)weight.data;
  const __m256 offset = _mm256_set1_ps(weight.offset);
  for (uint64_t r = 0; r < rows; ++r, x += width, out += width) {
    const __m256 scale = _mm256_set1_ps(1.0f / __builtin_sqrtf(mean_square(x, width) + eps));
    uint64_t i = 0;
    for (; i + 8 <= width; i += 8) {
      const __m256 gain = _mm256_add_ps(load<element>(w + i * kBytes<element>), offset);
      const __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), scale);
      _mm256_storeu_ps(out + i, _mm256_mul_ps(v, gain));
    }
    for (; i < width; ++i) {
      const __m256 gain = _mm256_add_ps(load_part<element>(w + i * kBytes<element>, 1), offset);
      const __m256 v = _mm256_mul_ps(load_part<Element::kF32>(x + i, 1), scale);
      store_part(out + i, _mm256_mul_ps(v, gain), 1);
    }
  }
}

}  // namespace

void rms_norm_avx2(const float* x, uint64_t rows, uint64_t width, const RmsNormWeight& weight,
                   float eps, float* out) {
  switch (weight.element) {
    case Element::kF32:
      return rows_of<Element::kF32>(x, rows, width, weight, eps, out);
    case Element::kBf16:
      return rows_of<Element::kBf16>(x, rows, width, weight, eps, out);
    case Element::kF16:
      return rows_of<Element::kF16>(x, rows, width, weight, eps, out);
  }
}

}  // namespace rt::cpu
